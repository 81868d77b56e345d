"""A run against an earlier one: better, worse, or the same within the spread."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ..errors import ResultsError
from .results import RunResult
from .stability import Group, Place, grouped

__all__ = ["Change", "FieldChange", "RunComparison", "compare_runs"]

Verdict = Literal["better", "worse", "same", "new", "gone"]

_ROUNDING = 1e-9


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class FieldChange(_Record):
    """One field of one case: its mean score before and after, 0 to 1."""

    path: str
    before: float
    after: float


class Change(_Record):
    """What became of one case with one provider and model.

    Attributes:
        verdict: `same` where the means differ by no more than the larger spread of the two runs.
        before: the accuracy then, 0 to 100; None where there was no reply.
        after: the accuracy now.
        spread: the larger sample standard deviation of the two runs, in points; 0 without repeats.
        cost_before: mean USD then; None where unknown.
        cost_after: mean USD now.
        seconds_before: mean seconds then.
        seconds_after: mean seconds now.
        fields: the fields whose mean score changed.
        edited: whether prompt, source or expectation are others than then.
    """

    title: str
    provider: str
    model: str
    verdict: Verdict
    before: float | None = None
    after: float | None = None
    spread: float = 0.0
    cost_before: float | None = None
    cost_after: float | None = None
    seconds_before: float | None = None
    seconds_after: float | None = None
    fields: tuple[FieldChange, ...] = ()
    edited: bool = False

    def line(self) -> str:
        """The change in one line."""
        numbers = f"{_points(self.before)} → {_points(self.after)}"
        spread = f" (spread {self.spread:.1f})" if self.spread else ""
        fields = "".join(f"; {field.path} {field.before:.2f} → {field.after:.2f}" for field in self.fields[:8])
        more = f"; and {len(self.fields) - 8} more fields" if len(self.fields) > 8 else ""
        edited = "; the case itself was edited" if self.edited else ""
        return f"{self.verdict}: {self.title}, {self.provider}:{self.model}: {numbers}{spread}{fields}{more}{edited}"


class RunComparison(_Record):
    """A run against an earlier one.

    Attributes:
        baseline: the earlier run's id.
        changes: one a case, provider and model that either run has.
    """

    baseline: str
    changes: tuple[Change, ...]

    def regressions(self) -> list[Change]:
        """What became worse, or lost its reply."""
        return [change for change in self.changes if change.verdict == "worse"]

    def notes(self) -> list[str]:
        """The comparison in lines: the counts, cost and seconds, then each change that is not `same`."""
        counts = dict.fromkeys(("better", "worse", "same", "new", "gone"), 0)
        for change in self.changes:
            counts[change.verdict] += 1
        head = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        lines = [f"against {self.baseline}: {head}", self._sums()]
        return [*lines, *(change.line() for change in self.changes if change.verdict != "same")]

    def _sums(self) -> str:
        costs = [(change.cost_before, change.cost_after) for change in self.changes]
        times = [(change.seconds_before, change.seconds_after) for change in self.changes]
        return f"where both runs know it: cost {_sum(costs, 'USD')}, seconds {_sum(times, 's')}"


def _sum(pairs: Sequence[tuple[float | None, float | None]], unit: str) -> str:
    both = [(before, after) for before, after in pairs if before is not None and after is not None]
    if not both:
        return "unknown"
    return f"{sum(before for before, _ in both):.6g} → {sum(after for _, after in both):.6g} {unit}"


def _points(accuracy: float | None) -> str:
    return "no reply" if accuracy is None else f"{accuracy:.1f}"


def compare_runs(before: RunResult, after: RunResult) -> RunComparison:
    """Compares a run with an earlier one, by case, provider, model and field.

    Args:
        before: the baseline.
        after: the run.

    Raises:
        ResultsError: the two have no case with the same provider and model in common.
    """
    old, new = grouped(before.results), grouped(after.results)
    if not old.keys() & new.keys():
        raise ResultsError(
            f"the baseline {before.run_id} has none of this run's cases with the same provider and model; it holds "
            f"{_examples(old)}, this run {_examples(new)}"
        )
    edited = _edited(before, after)
    places = [*new, *(place for place in old if place not in new)]
    changes = (_change(place, old.get(place), new.get(place), place[:3] in edited) for place in places)
    return RunComparison(baseline=before.run_id, changes=tuple(changes))


def _examples(groups: dict[Place, Group]) -> str:
    titles = [f"{group.first.title} with {group.first.column}" for group in groups.values()]
    return ", ".join(titles[:2]) + (" and more" if len(titles) > 2 else "") if titles else "nothing"


def _edited(before: RunResult, after: RunResult) -> set[tuple[str, ...]]:
    then = {case.key: case for case in before.cases}
    return {case.key for case in after.cases if case.key in then and then[case.key] != case}


def _change(place: Place, old: Group | None, new: Group | None, edited: bool) -> Change:
    group = new or old
    assert group is not None
    first = group.first
    if old is None or new is None:
        return Change(
            title=first.title,
            provider=first.provider,
            model=first.model,
            verdict="new" if old is None else "gone",
            before=old.accuracy if old else None,
            after=new.accuracy if new else None,
        )
    return Change(
        title=first.title,
        provider=first.provider,
        model=first.model,
        verdict=_verdict(old, new),
        before=old.accuracy,
        after=new.accuracy,
        spread=max(old.spread, new.spread),
        cost_before=old.cost_usd,
        cost_after=new.cost_usd,
        seconds_before=old.seconds,
        seconds_after=new.seconds,
        fields=tuple(_fields(old, new)),
        edited=edited,
    )


def _verdict(old: Group, new: Group) -> Verdict:
    if old.accuracy is None or new.accuracy is None:
        return "same" if old.accuracy == new.accuracy else "better" if old.accuracy is None else "worse"
    if abs(new.accuracy - old.accuracy) <= max(old.spread, new.spread) + _ROUNDING:
        return "same"
    return "better" if new.accuracy > old.accuracy else "worse"


def _fields(old: Group, new: Group) -> list[FieldChange]:
    then, now = old.field_scores(), new.field_scores()
    return [
        FieldChange(path=path, before=then.get(path, 0.0), after=now.get(path, 0.0))
        for path in [*now, *(path for path in then if path not in now)]
        if abs(then.get(path, 0.0) - now.get(path, 0.0)) > _ROUNDING
    ]
