"""What a call used and cost, and the limit of what a run may spend."""

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from decimal import Decimal
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, computed_field

from .errors import BudgetError
from .pricing import Cost, Price, Tokens, cost

__all__ = ["Billed", "Budget", "Reservation", "UsageData", "active_budget", "format_sum", "format_usd", "spending"]


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
        model: the model that was asked for.
        answered_model: the model that answered, by the provider's word; None where it did not say.
        prompt_tokens: all input tokens, those read from and written to a cache included.
        completion_tokens: all output tokens, reasoning included.
        cached_tokens: of the input, those read from the provider's cache.
        cache_write_tokens: of the input, those written to it.
        reasoning_tokens: of the output, those spent on reasoning.
        price: the rates used, in USD per million tokens, and where they came from; None where no source has one.
        prompt_cost: USD for the input; None where the price is unknown.
        completion_cost: USD for the output; None where the price is unknown.
        total_cost: USD for both and for the request itself; None where the price is unknown.
        failed_cost: USD that earlier attempts of the call may have cost, at most; None if that is unknown.
        elapsed_seconds: from the request to the whole reply; of a replay, the original seconds.
        attempts: how often the call was tried.
        finish_reason: why the model stopped, in OpenAI's words (`stop`, `length`, …); None where it did not say.
        replayed: whether the reply came from a cassette.
        origin: the host or stand-in that answered; None where nothing was sent over HTTP.
        recorded_at: when a replayed reply was recorded, ISO 8601.
        price_note: what the two price sources disagree about, if they do.
        billed: what the provider itself says that it billed; None if it does not say.
        cost_source: where `total_cost` comes from: "provider" or the price's source; None if the cost is unknown.
        notes: what does not add up in the provider's own usage, one sentence each.
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

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def spent_usd(self) -> float | None:
        """USD that the reply took from an account: nothing for a replay; None if the cost is unknown."""
        if self.replayed:
            return 0.0
        return self.total_cost

    def priced(self, price: Price | None, note: str | None = None) -> Self:
        """The same usage at a price.

        Args:
            price: USD per million tokens; None where unknown.
            note: what the price sources disagree about.

        Returns:
            A copy with the price and the costs, None where the price is or no tokens were counted.
        """
        counted = self.prompt_tokens or self.completion_tokens
        found: Cost | None = cost(self._tokens(), price) if price and counted else None
        return self.model_copy(
            update={
                "price": price,
                "price_note": note,
                "prompt_cost": found.input_usd if found else None,
                "completion_cost": found.output_usd if found else None,
                "total_cost": found.total_usd if found else None,
            }
        )

    def _tokens(self) -> Tokens:
        return Tokens(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens,
        )


def format_usd(usd: float | None, *, at_least: bool = False) -> str:
    """An amount for a person: `unknown`, `$0`, `$0.000123`, `$1.2825`, or `at least $…`."""
    if usd is None:
        return "unknown"
    # Four decimals from a cent on, four significant digits below: an amount that is not 0 never looks like it.
    text = "$0" if usd == 0 else f"${usd:.4f}" if usd >= 0.01 else f"${Decimal(f'{usd:.4g}'):f}"
    return f"at least {text}" if at_least else text


def format_sum(usd: float, unknown: int) -> str:
    """A sum for a person: `unknown` where nothing in it is known, `at least $…` where something is not."""
    return "unknown" if unknown and not usd else format_usd(usd, at_least=unknown > 0)


class Budget:
    """One limit for a whole run, over all threads: what could pass it is not called.

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

    @property
    def spent_usd(self) -> float:
        """What was spent so far; a call that broke off counts with its worst case."""
        with self._lock:
            return float(self._spent)

    def reserve(self, worst_usd: float | None, what: str) -> "Reservation":
        """Sets the worst case of one attempt aside, until the reservation ends.

        Args:
            worst_usd: the most that the attempt can cost, in USD; None if nobody knows.
            what: the call, for the message.

        Raises:
            BudgetError: the worst case is unknown, or would pass the limit with what is spent and set aside.
        """
        if worst_usd is None:
            raise BudgetError(
                f"{what}: what it can cost at most is unknown, so it is not called under a budget; "
                "write cost_input, cost_output and max_output_tokens (or params.max_tokens) in the config"
            )
        worst = Decimal(repr(worst_usd))
        with self._lock:
            left = self.limit - self._spent - self._reserved
            if worst > left:
                raise BudgetError(
                    f"{what}: could cost {format_usd(worst_usd)}, and {format_usd(max(0.0, float(left)))} is left of "
                    f"the budget of {format_usd(float(self.limit))}"
                )
            self._reserved += worst
        return Reservation(self, worst)

    def end(self, reserved: Decimal, spent: Decimal) -> None:
        """Gives back what was set aside, and counts what was spent."""
        with self._lock:
            self._reserved -= reserved
            self._spent += spent


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
        """Says what the attempt did cost, in USD; until then the whole amount counts."""
        self._actual = Decimal(repr(usd))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._budget is not None:
            self._budget.end(self._amount, self._actual)


_budget: ContextVar[Budget | None] = ContextVar("llm_tester_budget", default=None)


def active_budget() -> Budget | None:
    """The budget of the calling context."""
    return _budget.get()


@contextlib.contextmanager
def spending(budget: Budget | None) -> Iterator[None]:
    """Puts the live calls of the calling context under a budget."""
    token = _budget.set(budget)
    try:
        yield
    finally:
        _budget.reset(token)
