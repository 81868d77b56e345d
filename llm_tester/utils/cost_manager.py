"""What calls used and cost: the usage of one call, the tally of a run, and the limit of a run."""

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field

from ..errors import BudgetError, ResultsError
from ..files import write_own
from ..pricing import Cost, Price, Tokens, cost

__all__ = [
    "Budget",
    "CostReport",
    "CostRow",
    "CostTracker",
    "UsageData",
    "active_budget",
    "format_sum",
    "format_usd",
    "spending",
]

COST_FORMAT = 1
COST_KIND: Literal["llm_tester costs"] = "llm_tester costs"


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
        failed_cost: USD that earlier attempts of the call may have cost, at most.
        elapsed_seconds: from the request to the whole reply; of a replay, the original seconds.
        attempts: how often the call was tried.
        finish_reason: why the model stopped, in OpenAI's words (`stop`, `length`, …); None where it did not say.
        replayed: whether the reply came from a cassette.
        origin: the host or stand-in that answered; None where nothing was sent over HTTP.
        recorded_at: when a replayed reply was recorded, ISO 8601.
        price_note: what the two price sources disagree about, if they do.
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
    failed_cost: float = 0.0
    elapsed_seconds: float = Field(default=0.0, ge=0)
    attempts: int = Field(default=1, ge=1)
    finish_reason: str | None = None
    replayed: bool = False
    origin: str | None = None
    recorded_at: str | None = None
    price_note: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def spent_usd(self) -> float | None:
        """USD that the call took from an account: nothing for a replay; None where the price is unknown."""
        if self.replayed:
            return 0.0
        return None if self.total_cost is None else self.total_cost + self.failed_cost

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


class CostRow(BaseModel):
    """The tally of the calls that share a run, module, case, provider and model.

    Attributes:
        calls: how many there were; `replayed` of them came from a cassette.
        cost_usd: what all of them cost at their prices, replays included, as far as prices are known.
        spent_usd: what was taken from an account: live calls and what failed before them.
        unknown: calls with an unknown price; where there are any, both amounts are "at least".
        seconds: of all calls together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    module: str
    case: str
    provider: str
    model: str
    calls: int = 0
    replayed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0
    spent_usd: float = 0.0
    unknown: int = 0
    unknown_spent: int = 0
    seconds: float = 0.0

    def plus(self, other: "CostRow | UsageData") -> "CostRow":
        """This row with another one, or with one more call, added."""
        more = other if isinstance(other, CostRow) else _row_of(self, other)
        names = set(CostRow.model_fields) - {"run_id", "module", "case", "provider", "model"}
        return self.model_copy(update={name: _add(getattr(self, name), getattr(more, name)) for name in names})


def _add(one: float, two: float) -> float:
    if isinstance(one, int) and isinstance(two, int):
        return one + two
    # Decimal of the shortest text, so that a thousand tenths of a cent make a dollar.
    return float(Decimal(repr(one)) + Decimal(repr(two)))


def _row_of(place: CostRow, usage: UsageData) -> CostRow:
    spent = usage.spent_usd
    return CostRow(
        **{name: getattr(place, name) for name in ("run_id", "module", "case", "provider", "model")},
        calls=1,
        replayed=int(usage.replayed),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_usd=usage.total_cost or 0.0,
        spent_usd=usage.failed_cost if spent is None else spent,
        unknown=int(usage.total_cost is None),
        unknown_spent=int(spent is None),
        seconds=usage.elapsed_seconds,
    )


class CostReport(BaseModel):
    """The costs of one or more runs, row by row.

    Attributes:
        kind: says that this is a cost report of llm_tester.
        format: the version of its form.
        rows: one a run, module, case, provider and model, sorted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["llm_tester costs"] = COST_KIND
    format: int = COST_FORMAT
    rows: tuple[CostRow, ...] = ()

    def by(self, *names: str) -> dict[tuple[str, ...], CostRow]:
        """The rows added up.

        Args:
            names: what to keep apart, of `run_id`, `module`, `case`, `provider` and `model`; none gives the total.

        Returns:
            A row for each combination that occurs, in sorted order.
        """
        sums: dict[tuple[str, ...], CostRow] = {}
        blank = CostRow(run_id="", module="", case="", provider="", model="")
        for row in self.rows:
            key = tuple(getattr(row, name) for name in names)
            start = blank.model_copy(update=dict(zip(names, key, strict=True)))
            sums[key] = sums.get(key, start).plus(row)
        return dict(sorted(sums.items()))

    def total(self) -> CostRow:
        """All rows added up."""
        blank = CostRow(run_id="", module="", case="", provider="", model="")
        return self.by().get((), blank)

    def merged(self, others: Iterable["CostReport"]) -> "CostReport":
        """This report with the rows of other runs; a run that is in both counts once."""
        rows = {_place(row): row for report in (self, *others) for row in report.rows}
        return CostReport(rows=tuple(rows[place] for place in sorted(rows)))

    def markdown(self) -> str:
        """The costs by provider and model, as a Markdown table."""
        lines = [
            f"<!-- {COST_KIND} -->",
            "| provider | model | calls | replayed | tokens in | tokens out | cost (USD) | spent (USD) | seconds |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for row in (*self.by("provider", "model").values(), self.total()):
            names = f"{row.provider} | {row.model}" if row.provider else "**total** | "
            lines.append(
                f"| {names} | {row.calls} | {row.replayed} | {row.prompt_tokens} | {row.completion_tokens} "
                f"| {format_sum(row.cost_usd, row.unknown)} "
                f"| {format_sum(row.spent_usd, row.unknown_spent)} | {row.seconds:.2f} |"
            )
        return "\n".join(lines) + "\n"

    def save(self, path: str | Path) -> None:
        """Writes the report as JSON.

        Raises:
            ResultsError: another program's file stands there, or it cannot be written.
        """
        write_own(Path(path), self.model_dump_json(indent=2) + "\n", COST_KIND)

    @classmethod
    def load(cls, path: str | Path) -> "CostReport":
        """Reads a report that `save` wrote.

        Raises:
            ResultsError: it is not one, is not whole, or has another format version.
        """
        try:
            report = cls.model_validate_json(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise ResultsError(f"{path}: not a cost report of llm_tester ({str(error).splitlines()[0]})") from error
        if report.format != COST_FORMAT:
            raise ResultsError(f"{path}: has cost format {report.format}, this llm_tester reads {COST_FORMAT}")
        return report


def _place(row: CostRow) -> tuple[str, ...]:
    return row.run_id, row.module, row.case, row.provider, row.model


def format_sum(usd: float, unknown: int) -> str:
    """A sum for a person: `unknown` where nothing in it is known, `at least $…` where something is not."""
    return "unknown" if unknown and not usd else format_usd(usd, at_least=unknown > 0)


class CostTracker:
    """Tallies the calls of runs; any number of threads may add to it at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, ...], CostRow] = {}

    def start_run(self) -> str:
        """A new run's id, unique and sortable by time."""
        return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"

    def add(self, run_id: str, module: str, case: str, usage: UsageData) -> None:
        """Adds one call.

        Args:
            run_id: from `start_run`.
            module: the case's module.
            case: the case's name.
            usage: what the call used; says which provider and model it was.
        """
        place = (run_id, module, case, usage.provider, usage.model)
        with self._lock:
            names = ("run_id", "module", "case", "provider", "model")
            row = self._rows.get(place) or CostRow(**dict(zip(names, place, strict=True)))  # type: ignore[arg-type]
            self._rows[place] = row.plus(usage)

    def report(self) -> CostReport:
        """What was added so far."""
        with self._lock:
            return CostReport(rows=tuple(self._rows[place] for place in sorted(self._rows)))


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

    @contextlib.contextmanager
    def reserve(self, worst_usd: float | None, what: str) -> Iterator[Callable[[float], None]]:
        """Sets the worst case of one call aside while it runs.

        Args:
            worst_usd: the most that the call can cost; None where nobody knows.
            what: the call, for the message.

        Yields:
            A function to call with what it did cost, in USD; where it is not called, the worst case counts.

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
        actual: list[float] = []
        try:
            yield actual.append
        finally:
            with self._lock:
                self._reserved -= worst
                self._spent += Decimal(repr(actual[-1])) if actual else worst


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
