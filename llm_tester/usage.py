"""What a call used and cost, and the limit of what a run may spend."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, computed_field

from .errors import BudgetError
from .pricing import Cost, Price, Rates, Tokens, cost

__all__ = [
    "Billed",
    "Budget",
    "Reservation",
    "UsageData",
    "active_budget",
    "expected_tokens",
    "expecting",
    "format_spent",
    "format_sum",
    "format_usd",
    "spending",
]

_COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
# No context and no reply comes near it; a larger number is a fault of the server's.
_MOST_TOKENS = 10**12
# What a reply is expected to take if nothing is known: reserved under a budget.
LEAST_RESERVED_TOKENS = 1_000


class Billed(BaseModel):
    """What the provider itself says that it billed; it leads over any price list.

    Attributes:
        usd: USD for the whole reply, such as OpenRouter's `usage.cost`; None if it does not say.
        prompt_tokens: the input tokens it billed, such as Cohere's `billed_units`; None if it does not say.
        completion_tokens: the output tokens it billed; None if it does not say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    prompt_tokens: int | None = Field(default=None, ge=0)
    completion_tokens: int | None = Field(default=None, ge=0)


class UsageData(BaseModel):
    """What one call used, what that costs, and how long it took.

    Attributes:
        provider: the provider's name in the config.
        model: the requested model.
        answered_model: the model that answered, as the provider names it; None if it does not.
        prompt_tokens: all input tokens, those read from and written to a cache included.
        completion_tokens: all output tokens, reasoning included.
        cached_tokens: of the input, those read from the provider's cache.
        cache_write_tokens: of the input, those written to it.
        reasoning_tokens: of the output, those spent on reasoning.
        price: the rates used, in USD per million tokens, and where they came from; None if no source has one.
        prompt_cost: USD for the input; None if unknown.
        completion_cost: USD for the output; None if unknown.
        total_cost: USD for both and for the request itself; None if unknown.
        failed_cost: USD that earlier attempts of the call may have cost, at most; None if that is unknown.
        unanswered: of the earlier attempts, how many may have been billed although no reply came.
        elapsed_seconds: seconds of the HTTP exchange, from the request to the whole reply; of a replay, as recorded.
        attempts: how often the call was tried.
        finish_reason: why the model stopped, in OpenAI's words (`stop`, `length`, …); None if it does not say.
        replayed: whether the reply came from a cassette.
        origin: the host or stand-in that answered; None if nothing was sent over HTTP.
        recorded_at: when a replayed reply was recorded, ISO 8601.
        price_note: what the two price sources disagree about, if they do.
        billed: what the provider itself says that it billed; None if it does not say.
        cost_source: where `total_cost` comes from: "provider" or the price's source; None if the cost is unknown.
        notes: what does not add up in the provider's own usage, one sentence each.
        priceable: whether the token counts can be priced; False if one of them was no count.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    provider: str = ""
    model: str = ""
    answered_model: str | None = None
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    cached_tokens: int = Field(default=0, ge=0)
    cache_write_tokens: int = Field(default=0, ge=0)
    reasoning_tokens: int = Field(default=0, ge=0)
    price: Price | None = None
    prompt_cost: float | None = None
    completion_cost: float | None = None
    total_cost: float | None = None
    failed_cost: float | None = 0.0
    unanswered: int = Field(default=0, ge=0)
    elapsed_seconds: float = Field(default=0.0, ge=0)
    attempts: int = Field(default=1, ge=1)
    finish_reason: str | None = None
    replayed: bool = False
    origin: str | None = None
    recorded_at: str | None = None
    price_note: str | None = None
    billed: Billed | None = None
    cost_source: str | None = None
    notes: tuple[str, ...] = ()
    priceable: bool = True

    @classmethod
    def counted(cls, used: Mapping[str, Any], **facts: Any) -> Self:
        """Usage from what a provider reports; a number that is none is noted and never raises.

        Args:
            used: token counts by the names of this class, and `answered_model`, `finish_reason` and `billed`.
            facts: further fields, such as the provider's name.
        """
        counts: dict[str, Any] = {}
        notes: list[str] = []
        for name in _COUNTS:
            value = used.get(name)
            if value is None:
                continue
            if (count := _count(value)) is None:
                notes.append(f"the provider reports {name} as {_shown(value)}, which is no number of tokens")
            else:
                counts[name] = count
        told = {name: used[name] for name in ("answered_model", "finish_reason") if isinstance(used.get(name), str)}
        billed = used.get("billed") if isinstance(used.get("billed"), Billed) else None
        return cls(**counts, **told, billed=billed, notes=tuple(notes), priceable=not notes, **facts)

    @property
    def is_counted(self) -> bool:
        """Whether its counts are counts; a class may construct usage without validation."""
        return all(type(getattr(self, name)) is int and getattr(self, name) >= 0 for name in _COUNTS)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def spent_usd(self) -> float | None:
        """USD that the reply took from an account: nothing for a replay; None if the cost is unknown."""
        return 0.0 if self.replayed else self.total_cost

    def priced(self, price: Price | None, note: str | None = None) -> Self:
        """The same usage at a price, or at what the provider itself billed.

        Args:
            price: USD per million tokens; None if unknown.
            note: what the price sources disagree about.

        Returns:
            A copy with the price, the costs and where they come from. The costs are None if the price is unknown, no
            tokens were reported, or they do not add up at this price; `notes` then says so.
        """
        tokens, notes = self._tokens(price)
        found: Cost | None = cost(tokens, price) if price and tokens else None
        total, source = (found.total_usd, price.source) if found and price else (None, None)
        if self.billed is not None and self.billed.usd is not None:
            # What was billed is one sum; how it divides into input and output nobody says.
            found, total, source = None, self.billed.usd, "provider"
        elif self.billed is not None and found:
            source = "provider"
        return self.model_copy(
            update={
                "price": price,
                "price_note": note,
                "prompt_cost": found.input_usd if found else None,
                "completion_cost": found.output_usd if found else None,
                "total_cost": total,
                "cost_source": source,
                "notes": tuple(dict.fromkeys([*self.notes, *notes])),
            }
        )

    def _tokens(self, price: Price | None) -> tuple[Tokens | None, list[str]]:
        """The tokens to price, and what does not add up; None if nothing honest can be priced."""
        if self.billed is not None and self.billed.prompt_tokens is not None:
            return Tokens(self.billed.prompt_tokens, self.billed.completion_tokens or 0), []
        if not self.priceable:
            return None, []
        if not self.total_tokens:
            return None, ["the provider reports no tokens"]
        notes: list[str] = []
        rates = price.rates(self.prompt_tokens) if price else None
        cached, written, reasoning = self.cached_tokens, self.cache_write_tokens, self.reasoning_tokens
        if cached + written > self.prompt_tokens:
            notes.append(f"cache tokens ({cached} read, {written} written) exceed the input's {self.prompt_tokens}")
            if rates and not _same(rates, "input", "cached_input", "cache_write"):
                return None, notes
            cached = written = 0
        if reasoning > self.completion_tokens:
            notes.append(f"reasoning tokens ({reasoning}) exceed the output's {self.completion_tokens}")
            if rates and not _same(rates, "output", "reasoning"):
                return None, notes
            reasoning = 0
        return Tokens(self.prompt_tokens, self.completion_tokens, cached, written, reasoning), notes


def _same(rates: Rates, *names: str) -> bool:
    return len({getattr(rates, name) for name in names}) == 1


def _count(value: object) -> int | None:
    """A number of tokens; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    return value if 0 <= value <= _MOST_TOKENS else None


def _shown(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _MOST_TOKENS:
        return "a number of more than 12 digits"
    return repr(value)[:40]


def format_usd(usd: float | None, *, at_least: bool = False) -> str:
    """An amount for a person: `unknown`, `$0`, `$0.000123`, `$1.2825`, or `at least $…`."""
    if usd is None:
        return "unknown"
    # Four decimals from a cent on, four significant digits below: an amount that is not 0 never looks like it.
    text = "$0" if usd == 0 else f"${usd:.4f}" if usd >= 0.01 else f"${Decimal(f'{usd:.4g}'):f}"
    return f"at least {text}" if at_least else text


def format_sum(usd: float, unknown: int) -> str:
    """A sum for a person: `unknown` if nothing in it is known, `at least $…` if something is not."""
    return "unknown" if unknown and not usd else format_usd(usd, at_least=unknown > 0)


def format_spent(spent_usd: float, unknown: int, at_most_usd: float | None, unanswered: int) -> str:
    """What was spent, for a person: what is known, and next to it what it is at most.

    Args:
        spent_usd: USD that replies are known to have cost.
        unknown: live replies of unknown cost.
        at_most_usd: USD if each call that got no reply was billed in full; None if unknown.
        unanswered: calls that may have been billed without a reply.
    """
    text = format_sum(spent_usd, unknown)
    if not unanswered:
        return text
    calls = f"the {unanswered} calls without a reply were" if unanswered > 1 else "the call without a reply was"
    return f"{text}, at most {format_usd(at_most_usd)} if {calls} billed"


class Budget:
    """One limit for a whole run, over all threads: what could exceed it is not called.

    Args:
        limit_usd: the most that may be spent.

    Raises:
        BudgetError: the limit is not a positive, finite number.
    """

    def __init__(self, limit_usd: float) -> None:
        if isinstance(limit_usd, bool) or not isinstance(limit_usd, int | float) or not 0 < limit_usd < float("inf"):
            raise BudgetError(f"a budget of {limit_usd!r} USD is unusable; expected a positive number, such as 0.50")
        self.limit = Decimal(repr(limit_usd))
        self._lock = threading.Lock()
        self._spent = Decimal(0)
        self._reserved = Decimal(0)
        self._largest: dict[str, int] = {}

    @property
    def spent_usd(self) -> float:
        """What was spent so far; a call without a reply that may have been billed counts with its worst case."""
        with self._lock:
            return float(self._spent)

    def reserve(self, usd: float | None, what: str) -> "Reservation":
        """Sets an amount aside for one attempt, until the reservation ends.

        Args:
            usd: what the attempt can cost; None if nobody knows.
            what: the provider and model, for the message.

        Raises:
            BudgetError: the amount is unknown, or would exceed the limit with what is spent and set aside.
        """
        limit = format_usd(float(self.limit))
        if usd is None:
            raise BudgetError(
                f"{what}: its price is unknown, so it is not called under a budget of {limit}; write cost_input and "
                "cost_output (0 for free) in its config entry"
            )
        amount = Decimal(repr(usd))
        with self._lock:
            if amount > self.limit - self._spent - self._reserved:
                raise BudgetError(
                    f"{what}: the budget of {limit} does not allow another call; raise it, or write max_tokens in the "
                    "entry's params, so that less is set aside for each call"
                )
            self._reserved += amount
        return Reservation(self, amount)

    def end(self, reserved: Decimal, spent: Decimal) -> None:
        """Gives back what was set aside, and counts what was spent."""
        with self._lock:
            self._reserved -= reserved
            self._spent += spent

    def charge(self, usd: float) -> None:
        """Counts USD for which nothing was set aside."""
        self.end(Decimal(0), Decimal(repr(usd)))

    def note_reply(self, what: str, tokens: int) -> None:
        """Remembers the size of a reply of a model, in tokens, for what is set aside for its next one."""
        with self._lock:
            self._largest[what] = max(tokens, self._largest.get(what, 0))

    def reply_tokens(self, what: str) -> int:
        """The tokens to expect of a model's reply if its entry sets no limit.

        Its largest reply so far in this run, else four times the expected JSON; at least 1,000.
        """
        with self._lock:
            known = self._largest.get(what)
        return max(LEAST_RESERVED_TOKENS, 4 * expected_tokens() if known is None else known)


class Reservation:
    """What a budget has set aside for one attempt; a context manager that gives it back.

    Args:
        budget: the budget; None for a call without one.
        amount: USD set aside.
    """

    def __init__(self, budget: Budget | None = None, amount: Decimal = Decimal(0)) -> None:
        self._budget = budget
        self._amount = amount
        self._actual = amount

    def settle(self, usd: float) -> None:
        """Says what the attempt cost, in USD; until then the whole amount counts."""
        self._actual = Decimal(repr(usd))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._budget is not None:
            self._budget.end(self._amount, self._actual)


_budget: ContextVar[Budget | None] = ContextVar("llm_tester_budget", default=None)
_expected: ContextVar[int] = ContextVar("llm_tester_expected_tokens", default=0)


def active_budget() -> Budget | None:
    """The budget of the calling context."""
    return _budget.get()


def expected_tokens() -> int:
    """The tokens of the reply that the calling context expects; 0 if it does not say."""
    return _expected.get()


@contextlib.contextmanager
def spending(budget: Budget | None) -> Iterator[None]:
    """Puts the live calls of the calling context under a budget."""
    token = _budget.set(budget)
    try:
        yield
    finally:
        _budget.reset(token)


@contextlib.contextmanager
def expecting(tokens: int) -> Iterator[None]:
    """Says how many tokens the replies to the calling context's calls are expected to have."""
    token = _expected.set(tokens)
    try:
        yield
    finally:
        _expected.reset(token)
