"""Asks a provider, also one that overrides `get_response`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..config import ModelConfig
from ..errors import UnknownModelError
from ..usage import UsageData
from ._attachments import File, file_bytes
from ._schema import joined_prompt
from ._signatures import accepted_keywords
from .attempts import make_call
from .budget import spending

if TYPE_CHECKING:
    from .base import BaseLLM, WantedModel

__all__ = ["ask", "known_model"]


def ask(
    provider: "BaseLLM",
    prompt: str,
    source: str,
    model_name: str | None = None,
    *,
    model_class: "WantedModel | None" = None,
    files: Sequence[File] = (),
) -> tuple[str, UsageData]:
    """Asks a provider; the arguments are those of `BaseLLM.get_response`, of which an override gets those it takes.

    An override is one attempt under the budget, is timed and recorded as `_call_llm_api` is, and tries again by
    itself if it wants to. Its usage is priced if it reports no cost.

    Returns:
        The reply's text and its usage.

    Raises:
        ProviderError: the call failed, or the override raised something.
        LLMTesterError: what `get_response` raises.
    """
    kind = type(provider)
    if not kind.overrides_get_response():
        return provider.get_response(prompt, source, model_name, model_class=model_class, files=files)
    extras = {"model_class": model_class, "files": tuple(files)}
    accepted = accepted_keywords(kind.get_response)
    keywords = {name: value for name, value in extras.items() if name in accepted}

    def own(_: float) -> object:
        # What the override asks in its turn is within what is set aside for it.
        with spending(None):
            return kind.get_response(provider, prompt, source, model_name, **keywords)  # type: ignore[arg-type]

    model = known_model(provider, model_name)
    wanted = model_class if "model_class" in keywords else None
    size = file_bytes(files)
    return make_call(
        provider,
        model,
        own,
        lambda: provider.limits_of(model, joined_prompt(prompt, source), wanted, size),
        max_attempts=1,
    )


def known_model(provider: "BaseLLM", model_name: str | None) -> ModelConfig:
    """What is known of a model; an override may call models that no one else knows."""
    try:
        return provider.resolve(model_name)
    except UnknownModelError:
        return ModelConfig(name=model_name or "default")
