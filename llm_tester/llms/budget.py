"""The limit of what a run may spend, over all its threads.

An entry with `max_tokens` in its params has a hard limit: what a call can cost at most is set aside before it is made.
Without one, an estimate is set aside, and the calls in flight can exceed the limit by what their replies are longer.
"""

import threading
from contextlib import AbstractContextManager
from contextvars import ContextVar
from decimal import Decimal
from typing import NamedTuple, Self

from ..cassettes.forks import lock_of
from ..errors import BudgetError
from ..usage import format_usd
from ._context import holding

__all__ = [
    "Budget",
    "Limits",
    "Reservation",
    "Share",
    "Spent",
    "active_budget",
    "expected_tokens",
    "expecting",
    "spending",
]

# What a reply is expected to take at least, in tokens.
LEAST_RESERVED = 1_000


class Limits(NamedTuple):
    """What one attempt can cost.

    Attributes:
        worst_usd: USD at most; None if unknown.
        reserve_usd: USD to set aside under a budget: the worst case, or an estimate if nothing limits the reply; None
            if the price is unknown.
        prompt_tokens: the input at most, in tokens; None if unknown.
    """

    worst_usd: float | None = None
    reserve_usd: float | None = None
    prompt_tokens: int | None = None


class Share(NamedTuple):
    """A part of a budget, for another process.

    Attributes:
        limit: the whole budget in USD, for messages.
        usd: the part, in USD.
        largest: by provider and model, the tokens of the largest reply so far.
    """

    limit: Decimal
    usd: Decimal
    largest: dict[str, int]


class Spent(NamedTuple):
    """What became of a share: USD that were spent, and the largest replies."""

    usd: Decimal
    largest: dict[str, int]


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
        self._lock = lock_of(threading.Lock)
        self._spent = self._start = Decimal(0)
        self._reserved = Decimal(0)
        self._largest: dict[str, int] = {}
        self._refusals: dict[str, str] = {}

    @classmethod
    def of(cls, share: Share) -> Self:
        """A budget in another process, of which only the share is left."""
        budget = cls(float(share.limit))
        budget.limit, budget._spent = share.limit, share.limit - share.usd
        budget._start = budget._spent
        budget._largest = dict(share.largest)
        return budget

    def lend(self, parts: int) -> Share:
        """Sets one of several equal parts of what is left aside, until `take_back`."""
        with self._lock:
            usd = max(Decimal(0), self.limit - self._spent - self._reserved) / parts
            self._reserved += usd
            return Share(self.limit, usd, dict(self._largest))

    def take_back(self, share: Share, spent: Spent) -> None:
        """Ends a share, and counts what was spent of it."""
        self.end(share.usd, spent.usd)
        for what, tokens in spent.largest.items():
            self.note_reply(what, tokens)

    def spent(self) -> Spent:
        """What was spent of the share that this budget was made of."""
        with self._lock:
            return Spent(self._spent - self._start, dict(self._largest))

    @property
    def spent_usd(self) -> float:
        """What was spent so far; a call without a reply that may have been billed counts with what it can have cost."""
        with self._lock:
            return float(self._spent)

    def reserve(self, usd: float | None, what: str, worst_usd: float | None = None) -> "Reservation":
        """Sets an amount aside for one attempt, until the reservation ends.

        Args:
            usd: what the attempt can cost; None if unknown.
            what: the provider and model, for the message.
            worst_usd: what it can cost at most, if `usd` is an estimate; None if that is unknown.

        Raises:
            BudgetError: the amount is unknown, or would exceed the limit with what is spent and set aside. The message
                is the same for every call of a provider and model, so that outputs show it once.
        """
        limit = format_usd(float(self.limit))
        if usd is None:
            raise BudgetError(
                f"{what}: its price is unknown, so it is not called under a budget of {limit}; write cost_input and "
                "cost_output (0 for free) in its config entry"
            )
        amount = Decimal(repr(usd))
        with self._lock:
            left = self.limit - self._spent - self._reserved
            if amount > left:
                needs = f"the first refused one can cost {format_usd(usd)}, and {_usd(left)} was left"
                beyond = "" if worst_usd == usd else _beyond(usd, worst_usd)
                message = f"{what}: the budget of {limit} does not allow another call ({needs}); {_MEND}{beyond}"
                raise BudgetError(self._refusals.setdefault(what, message))
            self._reserved += amount
        return Reservation(self, amount)

    def end(self, reserved: Decimal, spent: Decimal) -> None:
        """Gives back what was set aside, and counts what was spent."""
        with self._lock:
            self._reserved -= reserved
            self._spent += spent

    def note_reply(self, what: str, tokens: int) -> None:
        """Remembers the size of a reply of a model, in tokens, for what is set aside for its next one."""
        with self._lock:
            self._largest[what] = max(tokens, self._largest.get(what, 0))

    def reply_tokens(self, what: str, texts: int = 1) -> int:
        """The tokens to expect of a model's reply if its entry sets no limit.

        Its largest reply so far in this run, else four times the expected JSON for each text; at least 1,000.

        Args:
            what: the provider and model.
            texts: how many texts a reply has (`params.n`).
        """
        with self._lock:
            known = self._largest.get(what)
        return max(LEAST_RESERVED, 4 * expected_tokens() * texts if known is None else known)


_MEND = "raise it, or write a lower max_tokens in the entry's params, so that less is set aside for each call"


def _usd(amount: Decimal) -> str:
    return format_usd(max(0.0, float(amount)))


def _beyond(usd: float, worst_usd: float | None) -> str:
    """By how much a call can cost more than the estimate that is set aside for it."""
    more = "an unknown amount" if worst_usd is None else format_usd(max(0.0, worst_usd - usd))
    return f". Without max_tokens that is an estimate, which each call in flight can exceed by {more}"


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


def spending(budget: Budget | None) -> AbstractContextManager[None]:
    """Puts the live calls of the calling context under a budget."""
    return holding(_budget, budget)


def expecting(tokens: int) -> AbstractContextManager[None]:
    """Says how many tokens the replies to the calling context's calls are expected to have."""
    return holding(_expected, tokens)
