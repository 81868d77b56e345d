"""What runs cost: the tally of their calls, and the report of it."""

import threading
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import ResultsError
from ..files import write_own
from ..usage import UsageData, format_sum

__all__ = ["CostReport", "CostRow", "CostTracker", "UsageData"]

COST_FORMAT = 1
COST_KIND: Literal["llm_tester costs"] = "llm_tester costs"


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
        spent_usd=spent or 0.0,
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
