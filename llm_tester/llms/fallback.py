"""Asks a provider and, if it does not answer, those that its entry names in `fallback`."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from ..cassettes.context import current, injected_faults
from ..errors import (
    BudgetError,
    CaseError,
    ConfigError,
    LLMTesterError,
    ProviderError,
    StoppedError,
    UnknownModelError,
    suggest,
)
from ..usage import UsageData
from . import llm_registry
from ._attachments import File
from .ask import ask, known_model
from .attempts import sums
from .base import BaseLLM, WantedModel

__all__ = ["Candidate", "ask_in_order", "candidates", "started"]

log = logging.getLogger("llm_tester")


class Candidate(NamedTuple):
    """A model that may answer.

    Attributes:
        provider: its provider.
        model: its name.
        on: the names of the errors after which it is asked.
    """

    provider: BaseLLM
    model: str
    on: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        """`<provider>:<model>`."""
        return f"{self.provider.config.name}:{self.model}"


def started(name: str) -> BaseLLM:
    """A provider by its name.

    Raises:
        ConfigError: it cannot start, or there is none of that name.
    """
    instance = llm_registry.get_llm_provider(name)
    if instance is None:
        hint = suggest(name, llm_registry.discover_providers(), "see `llm-tester providers`")
        raise ConfigError(f"there is no provider {name!r}; add its entry to providers in config.json; {hint}")
    return instance


def candidates(provider: BaseLLM, model_name: str | None = None) -> list[Candidate]:
    """The model that is asked, and those to go to if it does not answer, in order.

    The fallbacks of a fallback are not among them, so two entries may name each other.

    Raises:
        ConfigError: the entry names a provider that cannot start, or a model that no one knows.
    """
    found = [Candidate(provider, known_model(provider, model_name).name)]
    for item in provider.config.fallback:
        name, _, model = item.to.partition(":")
        try:
            other = started(name)
            candidate = Candidate(other, other.resolve(model or None).name, item.on)
            if other.uses_http and not provider.uses_http:
                # Calls without HTTP have no record mode, which under CI is what keeps this one from being made.
                raise ConfigError(f"{name!r} is called over HTTP, which a fallback of an entry without HTTP cannot be")
        except (ConfigError, UnknownModelError) as error:
            raise ConfigError(f"{provider.config.name}: fallback: {error}") from error
        if candidate.column != found[0].column:
            found.append(candidate)
    return found


def ask_in_order(
    provider: BaseLLM,
    prompt: str,
    source: str,
    model_name: str | None = None,
    *,
    model_class: WantedModel | None = None,
    files: Sequence[File] = (),
) -> tuple[str, UsageData]:
    """Asks a provider, and its fallbacks if it does not answer; the arguments are those of `ask`.

    Returns:
        The reply's text and the usage of the call that answered. Its `attempts`, `unanswered`, `failed_cost` and
        `failed_seconds` include the calls that did not, and its `notes` name them.

    Raises:
        ProviderError: no one answered. It is the last one's error; its message has those of all, and its counts are
            their sums.
        ConfigError: see `candidates`.
        LLMTesterError: what `ask` raises.
    """
    if not provider.config.fallback:
        return ask(provider, prompt, source, model_name, model_class=model_class, files=files)
    order = candidates(provider, model_name)
    notes: list[str] = []
    failed: list[ProviderError] = []
    if recorded := _recorded(order):
        notes, order = [f"{order[0].column} did not answer when this was recorded"], [recorded]
    for other in order:
        if failed and not any(kind.__name__ in other.on for kind in type(failed[-1]).__mro__):
            continue
        try:
            reply, usage = ask(other.provider, prompt, source, other.model, model_class=model_class, files=files)
        except ProviderError as error:
            failed.append(error)
            notes.append(f"{other.column} did not answer ({type(error).__name__}): {error}")
            log.info("%s", notes[-1])
        except LLMTesterError as error:
            if not failed or not isinstance(error, BudgetError | StoppedError | CaseError):
                # A run ends with some of these, so their class stays.
                vars(error).update(sums(*failed, error))
                raise
            notes.append(str(error))
            break
        else:
            return reply, usage.model_copy(update={**sums(*failed, usage), "notes": (*usage.notes, *notes)})
    vars(failed[-1]).update(sums(*failed))
    if len(notes) > 1:
        failed[-1].args = ("; ".join(notes),)
    raise failed[-1]


def _recorded(order: Sequence[Candidate]) -> Candidate | None:
    """The fallback whose reply comes next in a recording; None if the first is to be asked.

    A failure is not recorded, so in a replay the request of the first is a mismatch.
    """
    cassette = current()
    if cassette is None or not cassette.replays_only or injected_faults():
        return None
    for interaction in cassette.unused():
        facts = interaction.recorded
        if interaction.is_failure or "provider" in facts:
            column = f"{facts.get('provider')}:{facts.get('model')}"
            return next((other for other in order[1:] if other.column == column), None)
    return None
