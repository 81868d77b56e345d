"""What runs cost: the tally of their calls, and the report of it."""

import threading
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ..cassettes.forks import lock_of
from ..errors import ResultsError
from ..usage import TOKEN_COUNTS, UsageData, add_usd, format_spent, format_sum
from .files import write_own
from .lean import lean

__all__ = ["CostReport", "CostRow", "CostTracker", "UsageData"]

COST_FORMAT = 2
COST_KIND: Literal["llm_tester costs"] = "llm_tester costs"


class CostRow(BaseModel):
    """The tally of the calls that share a run, module, case, provider and model.

    Attributes:
        calls: calls with a reply; `replayed` of them came from a cassette.
        failed: calls without a reply.
        cost_usd: USD that the replies cost at their prices, replays included, as far as prices are known.
        spent_usd: USD that live replies are known to have cost.
        unknown: replies of unknown cost; if there are any, `cost_usd` is "at least".
        unknown_spent: live replies of unknown cost; if there are any, `spent_usd` is "at least".
        unanswered: attempts that may have been billed although no reply came.
        maybe_usd: USD that these may have cost, at most; None if that is unknown.
        seconds: seconds of all replies together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    module: str
    case: str
    provider: str
    model: str
    calls: int = 0
    replayed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0
    spent_usd: float = 0.0
    unknown: int = 0
    unknown_spent: int = 0
    unanswered: int = 0
    maybe_usd: float | None = 0.0
    seconds: float = 0.0

    @property
    def at_most_usd(self) -> float | None:
        """USD if each attempt without a reply was billed in full; None if that is unknown."""
        return add_usd((self.spent_usd, self.maybe_usd))

    @property
    def spent_text(self) -> str:
        """What was spent, for a person: the same text in every output."""
        return format_spent(self.spent_usd, self.unknown_spent, self.at_most_usd, self.unanswered)

    def plus(self, other: "CostRow") -> "CostRow":
        """This row with another one added."""
        return self.model_copy(update={name: _add(getattr(self, name), getattr(other, name)) for name in _SUMMED})


_PLACE = ("run_id", "module", "case", "provider", "model")
_BLANK = CostRow(run_id="", module="", case="", provider="", model="")
_SUMMED = tuple(name for name in CostRow.model_fields if name not in _PLACE)


def _add(one: float | None, two: float | None) -> float | None:
    if two == 0:
        # Of a replay, nearly all are.
        return one
    if isinstance(one, int) and isinstance(two, int):
        return one + two
    return add_usd((one, two))


def _replied(place: dict[str, Any], usage: UsageData) -> CostRow:
    spent = usage.spent_usd
    return CostRow(
        **place,
        **{name: getattr(usage, name) for name in TOKEN_COUNTS},
        calls=1,
        replayed=int(usage.replayed),
        cost_usd=usage.total_cost or 0.0,
        spent_usd=spent or 0.0,
        unknown=int(usage.total_cost is None),
        unknown_spent=int(spent is None),
        unanswered=usage.unanswered,
        maybe_usd=usage.failed_cost,
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
        for row in self.rows:
            place = {name: getattr(row, name) for name in names}
            key = tuple(place.values())
            sums[key] = sums.get(key, _BLANK.model_copy(update=place)).plus(row)
        return dict(sorted(sums.items()))

    def total(self) -> CostRow:
        """All rows added up."""
        return self.by().get((), _BLANK)

    def merged(self, others: Iterable["CostReport"]) -> "CostReport":
        """This report with the rows of other runs; a run that is in both counts once."""
        rows = {_place(row): row for report in (self, *others) for row in report.rows}
        return CostReport(rows=tuple(rows[place] for place in sorted(rows)))

    def renamed(self, run_id: str, new: str) -> "CostReport":
        """This report with another id for one of its runs."""
        rows = (row.model_copy(update={"run_id": new}) if row.run_id == run_id else row for row in self.rows)
        return CostReport(rows=tuple(rows))

    def write(self, path: Path) -> None:
        """Writes the report as JSON, and as Markdown next to it; errors as for `save`."""
        self.save(path)
        write_own(path.with_suffix(".md"), self.markdown(), COST_KIND)

    def markdown(self) -> str:
        """The costs by provider and model, as a Markdown table."""
        heads = ("calls", "replayed", "failed", "tokens in", "tokens out", "cost (USD)", "spent (USD)", "seconds")
        lines = [f"<!-- {COST_KIND} -->", f"| provider | model | {' | '.join(heads)} |"]
        lines.append(f"| --- | --- |{' ---: |' * len(heads)}")
        for row in (*self.by("provider", "model").values(), self.total()):
            names = [row.provider, row.model] if row.provider else ["**total**", ""]
            counts = [row.calls, row.replayed, row.failed, row.prompt_tokens, row.completion_tokens]
            money = [format_sum(row.cost_usd, row.unknown), row.spent_text, f"{row.seconds:.2f}"]
            lines.append(f"| {' | '.join([*names, *map(str, counts), *money])} |")
        return "\n".join(lines) + "\n"

    def save(self, path: str | Path) -> None:
        """Writes the report as JSON.

        Raises:
            ResultsError: the file is another program's, or it cannot be written.
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
    return tuple(getattr(row, name) for name in _PLACE)


class CostTracker:
    """Tallies the calls of runs; any number of threads may add to it."""

    def __init__(self) -> None:
        self._lock = lock_of(threading.Lock)
        self._rows: dict[tuple[str, ...], CostRow] = {}

    def start_run(self) -> str:
        """A new run's id, unique and sortable by time."""
        return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"

    def add(self, run_id: str, module: str, case: str, usage: UsageData) -> None:
        """Adds one call with a reply.

        Args:
            run_id: from `start_run`.
            module: the case's module.
            case: the case's name.
            usage: what the call used; says which provider and model it was.
        """
        place = {"run_id": run_id, "module": module, "case": case, "provider": usage.provider, "model": usage.model}
        self._add(_replied(place, usage))

    def add_failed(
        self, run_id: str, module: str, case: str, provider: str, model: str, unanswered: int, maybe_usd: float | None
    ) -> None:
        """Adds one call without a reply.

        Args:
            run_id: from `start_run`.
            module: the case's module.
            case: the case's name.
            provider: the provider's name.
            model: the requested model.
            unanswered: its attempts that may have been billed.
            maybe_usd: USD that these may have cost, at most; None if that is unknown.
        """
        place = {"run_id": run_id, "module": module, "case": case, "provider": provider, "model": model}
        self._add(CostRow(**place, failed=1, unanswered=unanswered, maybe_usd=maybe_usd))  # type: ignore[arg-type]

    def _add(self, row: CostRow) -> None:
        place = _place(row)
        with self._lock:
            self._rows[place] = lean(self._rows[place].plus(row) if place in self._rows else row)

    def report(self) -> CostReport:
        """What was added so far."""
        with self._lock:
            return CostReport(rows=tuple(self._rows[place] for place in sorted(self._rows)))

    def spent_by(self, run_id: str) -> dict[str, Any]:
        """What a run spent, by the names of the fields of `RunResult`; empty if it called nothing."""
        row = self.report().by("run_id").get((run_id,))
        if row is None:
            return {}
        known = {"spent_usd": row.spent_usd, "at_most_usd": row.at_most_usd}
        return {**known, "spent_unknown": row.unknown_spent, "unanswered": row.unanswered}

    def save(self, path: Path, *, merge: bool) -> CostReport:
        """Writes the report; see `LLMTester.save_cost_report`."""
        from filelock import FileLock

        report = self.report()
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two runs that end together must not drop each other's rows.
        with FileLock(path.with_name(".costs.lock")):
            if merge and path.exists():
                report = CostReport.load(path).merged([report])
            report.write(path)
        return report
