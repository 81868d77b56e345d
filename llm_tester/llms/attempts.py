"""One call of a provider as a flat sequence: budget, recording, the API, the error or the price, and then again.

Each attempt has a `cassettes.Call` of its own, which knows what went over HTTP: whether a request went out, how many
seconds its exchange took, and what the reply's body was.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from .. import cassettes
from ..config import ModelConfig
from ..errors import BudgetError, CassetteError, ConfigError, ProviderError, UnusableReplyError
from ..pricing import Quote
from ..usage import Reservation, UsageData, active_budget
from .error_mapping import provider_error

if TYPE_CHECKING:
    from .base import BaseLLM

__all__ = ["make_call"]

log = logging.getLogger("llm_tester")

# Waiting longer than this for a rate limit is a decision for a person, not for a retry loop.
LONGEST_WAIT = 60.0
FIRST_WAIT = 0.5

_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
_COUNTED = frozenset({*_TOKENS, "answered_model", "finish_reason", "elapsed_seconds"})

Api = Callable[[], tuple[object, Mapping[str, Any] | UsageData]]


def make_call(provider: "BaseLLM", model: ModelConfig, api: Api, worst_usd: float | None) -> tuple[str, UsageData]:
    """Calls a provider's API until it replies, as often as its entry allows.

    Args:
        provider: the provider.
        model: what is known of the model.
        api: makes one request; what `_call_llm_api` returns.
        worst_usd: the most that one attempt can cost, in USD; None if nobody knows.

    Returns:
        The reply's text and its usage.

    Raises:
        ProviderError: the last attempt's error.
        BudgetError: an attempt could pass the run's budget.
        CassetteError: the recording cannot be read or written.
        CassetteMismatch: the request is not what was recorded.
    """
    failed_usd = 0.0
    for number in range(1, provider.config.max_attempts + 1):
        try:
            with cassettes.call() as call, _reserved(provider, model, worst_usd) as reservation:
                try:
                    reply, usage = _measured(provider, model, api, call)
                except Exception as error:
                    mapped = _mapped(error, provider, model)
                    cost = worst_usd or 0.0 if _may_be_billed(mapped, call) else 0.0
                    reservation.settle(cost)
                    failed_usd += cost
                    raise
                usage = usage.model_copy(update={"attempts": number, "failed_cost": failed_usd})
                if usage.spent_usd is not None:
                    reservation.settle(0.0 if usage.replayed else usage.total_cost or 0.0)
                _note(provider, usage, call)
                return reply, usage
        except (BudgetError, ConfigError):
            raise
        except Exception as error:
            if (broken := _cassette_error(error)) is not None:
                raise type(broken)(*broken.args) from error
            mapped = _mapped(error, provider, model)
            mapped.failed_cost = failed_usd
            if number == provider.config.max_attempts or not mapped.retryable or not _pause(mapped, number):
                if mapped is error:
                    raise
                raise mapped from error
            log.info("%s: attempt %d failed, trying again: %s", provider.config.name, number, mapped)
    raise AssertionError("max_attempts is at least 1")


def _mapped(error: Exception, provider: "BaseLLM", model: ModelConfig) -> ProviderError:
    return provider_error(error, provider.config.name, model.name)


def _reserved(provider: "BaseLLM", model: ModelConfig, worst_usd: float | None) -> Reservation:
    """What the budget sets aside for one attempt; nothing without a budget, or if nothing is sent."""
    budget = active_budget()
    if budget is None or cassettes.is_offline():
        return Reservation()
    return budget.reserve(worst_usd, f"{provider.config.name}, {model.name}")


def _may_be_billed(error: ProviderError, call: cassettes.Call) -> bool:
    """Whether a failed attempt may have cost something: a request went out, and no refusal came back."""
    if call.may_be_billed is not None:
        return call.may_be_billed
    # A client that the recorder does not see: a status is a refusal, and what is offline sends nothing.
    return error.status_code is None and not cassettes.is_offline()


def _measured(provider: "BaseLLM", model: ModelConfig, api: Api, call: cassettes.Call) -> tuple[str, UsageData]:
    started = time.perf_counter()
    reply, used = api()
    around = time.perf_counter() - started
    place = {"provider": provider.config.name, "model": model.name}
    if not isinstance(reply, str):
        message = f"{provider.config.name}, {model.name}: _call_llm_api gave {type(reply).__name__}, expected a text"
        raise UnusableReplyError(message, provider=provider.config.name, model=model.name)
    usage = _usage(used, call.seconds if call.seconds is not None else around, place)
    told: dict[str, Any] = {"origin": call.said("origin")}
    if call.is_replay:
        told |= {"replayed": True, "recorded_at": call.said("at")}
    usage = usage.model_copy(update=told)
    return reply, usage if usage.total_cost is not None else _priced(usage, provider.price(model.name), place)


def _usage(used: Mapping[str, Any] | UsageData, seconds: float, place: dict[str, str]) -> UsageData:
    try:
        if isinstance(used, UsageData):
            return used.model_copy(update={**place, "elapsed_seconds": used.elapsed_seconds or seconds})
        known = {name: value for name, value in used.items() if name in _COUNTED and value is not None}
        return UsageData.model_validate({"elapsed_seconds": seconds, **known, **place})
    except ValidationError as error:
        what = error.errors()[0]["msg"]
        raise _unusable(place, what) from error


def _priced(usage: UsageData, found: Quote, place: dict[str, str]) -> UsageData:
    try:
        return usage.priced(found.chosen, _disagreement(found))
    except (TypeError, ValueError) as error:
        raise _unusable(place, str(error)) from error


def _unusable(place: Mapping[str, str], what: str) -> UnusableReplyError:
    message = f"{place['provider']}, {place['model']}: the usage cannot be used: {what}"
    return UnusableReplyError(message, provider=place["provider"], model=place["model"])


def _disagreement(found: Quote) -> str | None:
    if not found.disagreement or not found.chosen or not found.other:
        return None
    rates = ", ".join(f"{item.rate} {item.chosen:g} or {item.other:g}" for item in found.disagreement)
    return f"{found.chosen.source} and {found.other.source} disagree (USD per million tokens): {rates}"


def _note(provider: "BaseLLM", usage: UsageData, call: cassettes.Call) -> None:
    """Writes provider, model, usage and cost into what the attempt recorded."""
    counts = usage.model_dump(include=set(_TOKENS))
    call.note(
        provider=usage.provider,
        model=usage.model,
        answered=usage.answered_model,
        usage=counts if usage.total_tokens else None,
        cost_usd=usage.total_cost,
        origin=provider.config.origin,
    )


def _cassette_error(error: BaseException | None) -> CassetteError | None:
    """The cassette's own error below an SDK's: a reply that cannot be written is no lost connection."""
    while error is not None and not isinstance(error, CassetteError):
        error = error.__cause__ or error.__context__
    return error


def _pause(error: ProviderError, attempt: int) -> bool:
    """Waits before the next attempt; False if the provider asks for longer than anyone should wait unasked."""
    wait = error.retry_after if error.retry_after is not None else FIRST_WAIT * 2 ** (attempt - 1)
    if cassettes.is_offline():
        return True
    if wait > LONGEST_WAIT:
        return False
    time.sleep(wait)
    return True
