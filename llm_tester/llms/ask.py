"""Asks a provider, whatever of `get_response` it overrides."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from .. import cassettes
from ..errors import LLMTesterError
from ..usage import UsageData, active_budget
from .attempts import measured
from .base import BaseLLM, File
from .error_mapping import provider_error

__all__ = ["ask"]


def ask(
    provider: BaseLLM,
    prompt: str,
    source: str,
    model_name: str | None = None,
    *,
    model_class: type[BaseModel] | None = None,
    files: Sequence[File] = (),
) -> tuple[str, UsageData]:
    """Asks a provider; the arguments are those of `BaseLLM.get_response`, of which an override gets those it takes.

    Returns:
        The reply's text and its usage. The usage of an override is priced if it has no cost of its own.

    Raises:
        ProviderError: the call failed, or the override raised something.
        LLMTesterError: what `get_response` raises.
    """
    kind = type(provider)
    keywords: Mapping[str, Any] = {"model_class": model_class, "files": files}
    if kind.get_response is BaseLLM.get_response:
        return provider.get_response(prompt, source, model_name, **keywords)
    accepted = {name: value for name, value in keywords.items() if name in _parameters(kind.get_response)}
    model = model_name or provider.get_default_model() or "default"
    inner: list[UsageData] = []

    def own() -> tuple[object, Any]:
        reply, usage = provider.get_response(prompt, source, model_name, **accepted)
        if isinstance(usage, UsageData) and usage.provider == provider.config.name and usage.model:
            # It went through BaseLLM's own attempts, which have priced and counted it.
            inner.append(usage)
        return reply, usage

    try:
        with cassettes.call(over_http=provider.uses_http) as call:
            reply, usage = measured(provider, model, own, call)
    except LLMTesterError:
        raise
    except Exception as error:
        raise provider_error(error, provider.config.name, model) from error
    if inner:
        return reply, inner[0]
    if (budget := active_budget()) is not None and usage.spent_usd:
        budget.charge(usage.spent_usd)
    return reply, usage


@functools.cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    """The keywords that a function accepts of those that this package adds."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return frozenset({"model_class", "files", "timeout"})
    return frozenset(parameter.name for parameter in parameters)
