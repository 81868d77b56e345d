"""One call of a provider as a flat sequence: budget, recording, the API, the error or the price, and then again.

Each attempt has its own `cassettes.Call`, which knows whether a request went out, how many seconds its exchange took,
and what the reply's body was.
"""

import functools
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from .. import cassettes
from ..config import ModelConfig, ProviderConfig
from ..errors import (
    BudgetError,
    CassetteError,
    LLMTesterError,
    ProviderError,
    RateLimitError,
    StoppedError,
    UnusableReplyError,
)
from ..pricing import Quote
from ..usage import TOKEN_COUNTS, UsageData, add_usd, well_formed
from . import rates
from .budget import Limits, Reservation, active_budget
from .error_mapping import exception_chain, never_connected, provider_error, without_key

if TYPE_CHECKING:
    from .base import BaseLLM

__all__ = ["make_call", "sums"]

log = logging.getLogger("llm_tester")

# In seconds. A provider that asks to wait longer is not tried again: that is a decision for a person.
LONGEST_WAIT = 60.0
FIRST_WAIT = 0.5

_REPORTED = (*TOKEN_COUNTS, "answered_model", "finish_reason", "elapsed_seconds", "billed", "priceable")

# Makes one request within some seconds: gives the reply's text and its usage, and may be a user's own code, which may
# give anything.
Api = Callable[[float], object]
# Computed only under a budget, or if a failed attempt may have been billed.
Cost = Callable[[], Limits]


@dataclass
class _Failures:
    """The failed attempts of a call so far.

    Attributes:
        attempts: how many there were.
        unanswered: of these, how many may have been billed.
        failed_cost: USD that these may have cost, at most; None if that is unknown.
        failed_seconds: how long they took, without the waits between them.
        sent_at: when the last one passed the provider's gate, on the gate's clock.
        deadline: when the entry's `max_seconds` are over; None without a limit, or before the first attempt.
    """

    attempts: int = 0
    unanswered: int = 0
    failed_cost: float | None = 0.0
    failed_seconds: float = 0.0
    sent_at: float = 0.0
    deadline: float | None = None

    def seconds_left(self, config: ProviderConfig) -> float:
        """The seconds that an attempt which starts now may take; at most 0 if `max_seconds` are over."""
        if config.max_seconds is None or cassettes.is_offline():
            return config.timeout
        now = time.monotonic()
        self.deadline = self.deadline or now + config.max_seconds
        return min(config.timeout, self.deadline - now)


def sums(*calls: LLMTesterError | UsageData | _Failures) -> dict[str, Any]:
    """The attempts of several calls together, and what those without a reply may have cost."""
    names = ("attempts", "unanswered", "failed_seconds")
    sums = {name: sum(getattr(call, name) for call in calls) for name in names}
    return {**sums, "failed_cost": add_usd(call.failed_cost for call in calls)}


def _copied(error: LLMTesterError) -> LLMTesterError:
    # Not with `copy`: once Dask is imported, whose tblib registers how exceptions are copied, copies share attributes.
    made = type(error).__new__(type(error), *error.args)
    vars(made).update(vars(error))
    return made


def make_call(
    provider: "BaseLLM",
    model: ModelConfig,
    api: Api,
    limits: Cost,
    max_attempts: int | None = None,
    *,
    prompt_length: int = 0,
) -> tuple[str, UsageData]:
    """Calls a provider's API until it replies, as often as its entry allows.

    Args:
        provider: the provider.
        model: what is known of the model.
        api: makes one request; what `_call_llm_api` returns.
        limits: computes what one attempt can cost.
        max_attempts: tries in all; the entry's if None.
        prompt_length: characters of the prompt; no more tokens than these need no `limits`.

    Returns:
        The reply's text and its usage.

    Raises:
        ProviderError: the last attempt's error; also if the budget does not allow another attempt.
        BudgetError: the first attempt could exceed the run's budget.
        StoppedError: the run was interrupted before the first attempt.
        CassetteError: the recording cannot be read or written.
        CassetteMismatch: the request differs from what was recorded.
    """
    failures, last = _Failures(), None
    while True:
        try:
            return _attempt(provider, model, api, limits, failures, prompt_length)
        except (BudgetError, StoppedError, _TooLate) as error:
            if last is None:
                raise
            last.args = (f"{last}; not tried again: {error}",)
            raise last from last.__cause__
        except Exception as error:  # noqa: BLE001 (whatever a provider raises is mapped, and raised unless tried again)
            last = _ours(error, provider, model)
            vars(last).update(sums(failures))
            is_last = failures.attempts >= (max_attempts or provider.config.max_attempts)
            if is_last or not _is_retryable(last) or not _pause(provider, last, failures):
                raise last from error.__cause__ or error
            log.info("%s: attempt %d failed, trying again: %s", provider.config.name, failures.attempts, last)


def _attempt(
    provider: "BaseLLM", model: ModelConfig, api: Api, limits: Cost, failures: _Failures, prompt_length: int
) -> tuple[str, UsageData]:
    """Makes one attempt under the budget; what fails is added to the failures.

    Raises:
        _TooLate: the entry's `max_seconds` were over before it began.
    """
    with (
        cassettes.call(
            over_http=provider.uses_http,
            timeout=provider.config.timeout,
            max_reply_bytes=provider.config.max_reply_bytes,
        ) as call,
        # Before the budget, so that a call that waits keeps no money from another one.
        rates.passing(provider.config, failures.deadline) as passage,
        _reserved(provider, model, limits) as reservation,
    ):
        failures.sent_at, started = passage.sent_at, time.perf_counter()
        seconds_left = failures.seconds_left(provider.config)
        if seconds_left <= 0:
            reservation.settle(0.0)
            raise _TooLate(f"the call's {provider.config.max_seconds:g} s (max_seconds) are over")
        try:
            reply, usage = _measured(provider, model, lambda: api(seconds_left), call)
            if call.recorded:
                _note(provider, usage, call, failures.attempts + usage.attempts)
            # Here, so that a reply that cannot be written is counted as one that may have been billed.
            call.write()
        except Exception as error:  # noqa: BLE001 (raised as ours, from what holds no key)
            # A copy, because a class may raise one instance again and again.
            sent = call.was_sent or not provider.uses_http
            ours = _copied(_ours(error, provider, model, sent=sent))
            # An override that calls `BaseLLM.get_response` made its own attempts.
            if not ours.attempts:
                is_billed = _may_be_billed(error, ours, call, sent=sent)
                ours.attempts, ours.unanswered = 1, int(is_billed)
                ours.failed_cost = limits().worst_usd if is_billed else 0.0
            took = call.seconds if call.seconds is not None else time.perf_counter() - started
            ours.failed_seconds = ours.failed_seconds or took
            vars(failures).update(sums(failures, ours))
            if ours.failed_cost is not None:
                reservation.settle(ours.failed_cost)
            raise ours from without_key(error)
        if remarks := tuple(_remarks(usage, provider.most_output(model), limits, prompt_length)):
            usage = usage.model_copy(update={"notes": (*usage.notes, *remarks)})
        passage.settle(usage.total_tokens, replayed=usage.replayed)
        own = usage.failed_cost or 0.0
        if usage.spent_usd is not None:
            reservation.settle(usage.spent_usd + own)
        if failures.attempts:
            usage = usage.model_copy(update=sums(failures, usage))
        if (budget := active_budget()) is not None and not usage.replayed:
            budget.note_reply(f"{provider.config.name}, {model.name}", usage.completion_tokens)
        return reply, usage


class _TooLate(Exception):
    """The entry's `max_seconds` are over."""


def _ours(error: Exception, provider: "BaseLLM", model: ModelConfig, *, sent: bool = True) -> LLMTesterError:
    """The error of this package for whatever an attempt raised; raise it `from` the original."""
    link = next((link for link in exception_chain(error) if isinstance(link, CassetteError)), None)
    if link is not None:
        # An SDK wraps it: a reply that cannot be written is no lost connection.
        return link if link is error else type(link)(*link.args)
    if isinstance(error, LLMTesterError) and not isinstance(error, ProviderError):
        return error
    keys = provider.key_variables(model.name)
    return provider_error(error, provider.config.name, model.name, sent=sent, keys=keys)


def _reserved(provider: "BaseLLM", model: ModelConfig, limits: Cost) -> Reservation:
    """What the budget sets aside for one attempt; nothing without a budget, or if nothing is sent."""
    budget = active_budget()
    if budget is None or cassettes.is_offline():
        return Reservation()
    amounts = limits()
    return budget.reserve(amounts.reserve_usd, f"{provider.config.name}, {model.name}", amounts.worst_usd)


def _may_be_billed(error: Exception, ours: LLMTesterError, call: cassettes.Call, *, sent: bool) -> bool:
    """Whether a failed attempt may have cost something: a request went out, and no refusal came back."""
    if call.may_be_billed is not None:
        return call.may_be_billed
    # A client that the recorder does not see: a status is a refusal, and what never connected was never sent.
    is_refusal = not isinstance(ours, ProviderError) or ours.status_code is not None
    return not is_refusal and not cassettes.is_offline() and not never_connected(error, sent=sent)


def _measured(
    provider: "BaseLLM", model: ModelConfig, api: Callable[[], object], call: cassettes.Call
) -> tuple[str, UsageData]:
    """Makes one request, and says what it used, cost and took.

    Raises:
        Exception: whatever `api` raises.
        UnusableReplyError: it did not return a text.
    """
    started = time.perf_counter()
    returned = api()
    around = time.perf_counter() - started
    name = provider.config.name
    reply, used = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    if not isinstance(reply, str):
        message = f"{name}, {model.name}: gave {type(reply).__name__} as its reply, expected a text and its usage"
        raise UnusableReplyError(message, provider=name, model=model.name)
    usage = _reported(used, call, around, {"provider": name, "model": model.name})
    if (clean := well_formed(reply)) != reply:
        reply, note = clean, "the reply has half a surrogate pair, which is no text; it is replaced by U+FFFD"
        usage = usage.model_copy(update={"notes": (*usage.notes, note)})
    if usage.total_cost is not None:
        return reply, usage.model_copy(update={"cost_source": usage.cost_source or "provider"})
    if reply.strip() and usage.priceable and usage.prompt_tokens and not usage.completion_tokens:
        # LiteLLM says 0 if the provider says nothing.
        note = "the provider reports no completion_tokens for a reply with a text"
        usage = usage.model_copy(update={"priceable": False, "notes": (*usage.notes, note)})
    found = provider.price_of(model)
    return reply, usage.priced(found.chosen, _disagreement(found))


def _reported(used: object, call: cassettes.Call, around: float, asked: Mapping[str, str]) -> UsageData:
    """Usage from what a class reports of a call, with what was asked and what the recorder saw of it."""
    facts: dict[str, Any] = {}
    if isinstance(used, UsageData):
        # Validated again, because a class may construct it without.
        facts = dict(vars(used)) | {"elapsed_seconds": used.elapsed_seconds or None}
    elif isinstance(used, Mapping):
        facts = {name: used[name] for name in _REPORTED if name in used}
        notes = used.get("notes")
        facts["notes"] = tuple(map(str, notes)) if isinstance(notes, list | tuple) else ()
    elif used is not None:
        facts["notes"] = (f"the usage is of type {type(used).__name__}, expected a dict or a UsageData",)
    # The transport's clock leads; a class may measure by itself what no recorder sees.
    if (seconds := call.seconds) is not None:
        facts["elapsed_seconds"] = seconds
    elif call.is_replay:
        unknown = "the recording does not say how long the exchange took; the seconds are those of the replay"
        facts["notes"] = (*facts.get("notes", ()), unknown)
    if facts.get("elapsed_seconds") is None:
        facts["elapsed_seconds"] = around
    if call.replayed or call.recorded:
        facts["origin"] = call.metadata("origin")
    if call.is_replay:
        facts |= {"replayed": True, "recorded_at": call.metadata("at")}
    kind = type(used) if isinstance(used, UsageData) else UsageData
    usage = kind.model_validate({**facts, **asked})
    is_timed = "elapsed_seconds" in usage.model_fields_set
    return usage if is_timed else usage.model_copy(update={"elapsed_seconds": around})


def _remarks(usage: UsageData, most_output: int | None, limits: Cost, prompt_length: int) -> Iterator[str]:
    """What a reply's usage says that the call did not ask for."""
    if usage.answered_model and not _is_same(usage.model, usage.answered_model):
        yield f"{usage.answered_model} answered, and {usage.model} was asked for"
    # The bound has at least one token for each character.
    most_input = limits().prompt_tokens if usage.prompt_tokens > prompt_length else None
    for name, most in (("prompt_tokens", most_input), ("completion_tokens", most_output)):
        if most is not None and (found := getattr(usage, name)) > most:
            yield f"{name} ({found}) are more than the call allowed ({most})"


@functools.lru_cache(maxsize=256)
def _is_same(asked: str, answered: str) -> bool:
    """Whether two names may be those of one model: `gpt-4o` and `gpt-4o-2024-08-06`, `vendor/x-latest` and `x-2506`."""
    names = [re.split("[/:]", name.lower())[-1].removesuffix("-latest") for name in (asked, answered)]
    return names[0].startswith(names[1]) or names[1].startswith(names[0])


def _disagreement(found: Quote) -> str | None:
    if not found.disagreement or not found.chosen or not found.other:
        return None
    rates = ", ".join(f"{item.rate} {item.chosen:g} or {item.other:g}" for item in found.disagreement)
    return f"{found.chosen.source} and {found.other.source} disagree (USD per million tokens): {rates}"


def _note(provider: "BaseLLM", usage: UsageData, call: cassettes.Call, attempts: int) -> None:
    """Writes provider, model, usage and cost into what the attempt recorded."""
    counts = usage.model_dump(include=set(TOKEN_COUNTS))
    call.annotate(
        provider=usage.provider,
        model=usage.model,
        answered=usage.answered_model,
        usage=counts if usage.total_tokens else None,
        cost_usd=usage.total_cost,
        origin=provider.config.origin,
        attempts=attempts if attempts > 1 else None,
    )


def _is_retryable(error: LLMTesterError) -> TypeGuard[ProviderError]:
    return isinstance(error, ProviderError) and error.retryable


def _pause(provider: "BaseLLM", error: ProviderError, failures: _Failures) -> bool:
    """Waits before the next attempt; False if the provider asks for longer than anyone should wait unasked.

    A provider that says when to come back, or that is called too often, holds all its calls.
    """
    if cassettes.is_offline():
        return True
    wait = error.retry_after
    if wait is None:
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures.attempts - 1))
    if wait > LONGEST_WAIT:
        return False
    if failures.deadline is not None and time.monotonic() + wait >= failures.deadline:
        limit = provider.config.max_seconds
        error.args = (f"{error}; not tried again: the call's {limit:g} s (max_seconds) do not allow it",)
        return False
    if error.retry_after is not None or isinstance(error, RateLimitError):
        rates.gate_of(provider.config).hold(wait, failures.sent_at)
    else:
        rates.wait_alone(wait)
    return True
