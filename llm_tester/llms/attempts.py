"""One call of a provider as a flat sequence: budget, recording, the API, the error or the price, and then again.

Each attempt has a `cassettes.Call` of its own, which knows what went over HTTP: whether a request went out, how many
seconds its exchange took, and what the reply's body was.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import cassettes
from ..config import ModelConfig
from ..errors import BudgetError, CassetteError, ConfigError, ProviderError, UnusableReplyError
from ..pricing import Quote
from ..usage import Reservation, UsageData, active_budget
from .error_mapping import never_connected, provider_error

if TYPE_CHECKING:
    from .base import BaseLLM

__all__ = ["Limits", "make_call", "measured", "total"]

log = logging.getLogger("llm_tester")

# Waiting longer than this for a rate limit is a decision for a person, not for a retry loop.
LONGEST_WAIT = 60.0
FIRST_WAIT = 0.5

_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")

Used = Mapping[str, Any] | UsageData | None
Api = Callable[[], tuple[object, Used]]


class Limits(NamedTuple):
    """What one attempt can cost.

    Attributes:
        worst_usd: USD at most; None if nobody knows.
        reserve_usd: USD to set aside under a budget: the worst case, or an estimate if nothing limits the reply.
    """

    worst_usd: float | None = None
    reserve_usd: float | None = None


def make_call(provider: "BaseLLM", model: ModelConfig, api: Api, limits: Limits) -> tuple[str, UsageData]:
    """Calls a provider's API until it replies, as often as its entry allows.

    Args:
        provider: the provider.
        model: what is known of the model.
        api: makes one request; what `_call_llm_api` returns.
        limits: what one attempt can cost.

    Returns:
        The reply's text and its usage.

    Raises:
        ProviderError: the last attempt's error.
        BudgetError: an attempt could exceed the run's budget.
        CassetteError: the recording cannot be read or written.
        CassetteMismatch: the request differs from what was recorded.
    """
    failed: list[float | None] = []
    for number in range(1, provider.config.max_attempts + 1):
        try:
            with (
                cassettes.call(over_http=provider.uses_http) as call,
                _reserved(provider, model, limits) as reservation,
            ):
                try:
                    reply, usage = measured(provider, model.name, api, call)
                except Exception as error:
                    if _may_be_billed(_mapped(error, provider, model), call):
                        failed.append(limits.worst_usd)
                        reservation.settle(_known(limits))
                    else:
                        reservation.settle(0.0)
                    raise
                told = {"attempts": number, "failed_cost": total(failed), "unanswered": len(failed)}
                usage = usage.model_copy(update=told)
                _settle(reservation, usage, f"{provider.config.name}, {model.name}", limits)
                _note(provider, usage, call)
                return reply, usage
        except (BudgetError, ConfigError):
            raise
        except Exception as error:
            if (broken := _cassette_error(error)) is not None:
                raise type(broken)(*broken.args) from error
            mapped = _mapped(error, provider, model)
            mapped.failed_cost, mapped.attempts, mapped.unanswered = total(failed), number, len(failed)
            if number == provider.config.max_attempts or not mapped.retryable or not _pause(mapped, number):
                if mapped is error:
                    raise
                raise mapped from error
            log.info("%s: attempt %d failed, trying again: %s", provider.config.name, number, mapped)
    raise AssertionError("max_attempts is at least 1")


def total(costs: Sequence[float | None]) -> float | None:
    """The sum of costs in USD; None if one of them is unknown."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _known(limits: Limits) -> float:
    return limits.worst_usd if limits.worst_usd is not None else limits.reserve_usd or 0.0


def _settle(reservation: Reservation, usage: UsageData, what: str, limits: Limits) -> None:
    """Counts a reply against the budget; one of unknown cost with all that was set aside for it."""
    if usage.spent_usd is not None:
        reservation.settle(usage.spent_usd)
    if (budget := active_budget()) is not None and not usage.replayed:
        budget.note_reply(what, usage.completion_tokens)


def _mapped(error: Exception, provider: "BaseLLM", model: ModelConfig) -> ProviderError:
    return provider_error(error, provider.config.name, model.name)


def _reserved(provider: "BaseLLM", model: ModelConfig, limits: Limits) -> Reservation:
    """What the budget sets aside for one attempt; nothing without a budget, or if nothing is sent."""
    budget = active_budget()
    if budget is None or cassettes.is_offline():
        return Reservation()
    return budget.reserve(limits.reserve_usd, f"{provider.config.name}, {model.name}")


def _may_be_billed(error: ProviderError, call: cassettes.Call) -> bool:
    """Whether a failed attempt may have cost something: a request went out, and no refusal came back."""
    if call.may_be_billed is not None:
        return call.may_be_billed
    # A client that the recorder does not see: a status is a refusal, and what never connected was never sent.
    return error.status_code is None and not cassettes.is_offline() and not never_connected(error)


def measured(provider: "BaseLLM", model: str, api: Api, call: cassettes.Call) -> tuple[str, UsageData]:
    """Makes one request, and says what it used, cost and took.

    Args:
        provider: the provider.
        model: the requested model.
        api: makes the request.
        call: what goes over HTTP meanwhile.

    Raises:
        Exception: whatever `api` raises.
        UnusableReplyError: it did not return a text.
    """
    started = time.perf_counter()
    reply, used = api()
    around = time.perf_counter() - started
    place = {"provider": provider.config.name, "model": model}
    if not isinstance(reply, str):
        message = f"{provider.config.name}, {model}: gave {type(reply).__name__} as its reply, expected a text"
        raise UnusableReplyError(message, provider=provider.config.name, model=model)
    facts: dict[str, Any] = {**place, "origin": call.said("origin")}
    if call.is_replay:
        facts |= {"replayed": True, "recorded_at": call.said("at")}
    own = used.elapsed_seconds or None if isinstance(used, UsageData) else _own_seconds(used)
    # The transport's clock leads; a class may measure by itself what no recorder sees.
    facts["elapsed_seconds"] = next(value for value in (call.seconds, own, around) if value is not None)
    if isinstance(used, UsageData) and used.is_counted:
        usage = used.model_copy(update=facts)
    else:
        usage = UsageData.counted(vars(used) if isinstance(used, UsageData) else used or {}, **facts)
    if usage.total_cost is not None:
        return reply, usage
    found = provider.price(model)
    return reply, usage.priced(found.chosen, _disagreement(found))


def _own_seconds(used: Mapping[str, Any] | None) -> float | None:
    """The seconds that a class measured itself; None if it gives none that can be used."""
    value = (used or {}).get("elapsed_seconds")
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    return float(value) if usable and value is not None else None


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
        attempts=usage.attempts if usage.attempts > 1 else None,
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
