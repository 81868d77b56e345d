"""What of earlier results is run again, and what of them is kept."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .cases import Case
from .results import CaseRecord, CaseResult, Place, RunResult
from .units import Unit, skipped

__all__ = ["Kept", "due", "kept", "record_of"]


class Kept(NamedTuple):
    """What a run takes over from earlier results.

    Attributes:
        cases: the cases, by their keys.
        results: the results, by their places, in their order.
    """

    cases: dict[tuple[str, str, str], CaseRecord]
    results: dict[Place, tuple[CaseResult, ...]]

    def with_fresh(self, units: Sequence[Unit], fresh: Mapping[int, tuple[CaseResult, ...]]) -> "Kept":
        """This with the results of a run in their places.

        Args:
            units: what is run.
            fresh: by index, the results so far; a unit without any keeps its earlier ones, or is skipped.
        """
        results = dict(self.results)
        for index, unit in enumerate(units):
            if index in fresh or unit.place not in results:
                results[unit.place] = fresh.get(index) or skipped(unit, "not run: the run was interrupted")
        return Kept({**self.cases, **{unit.case.key: record_of(unit.case) for unit in units}}, results)


def record_of(case: Case) -> CaseRecord:
    """A case as results hold it."""
    return CaseRecord(
        module=case.module,
        name=case.name,
        variant=case.variant,
        prompt=case.prompt,
        source=case.source,
        expected=case.expected,
        files=tuple(path.name for path in case.files),
    )


def due(units: Iterable[Unit], previous: RunResult) -> list[Unit]:
    """The units to run again.

    Args:
        units: those of a whole run.
        previous: its earlier results.

    Returns:
        Those with a repeat that failed or was skipped, those of a provider that could not start, and those of a case
        that has changed since. A case that is not in the earlier results is not run.
    """
    before = {case.key: case for case in previous.cases}
    wanting = {result.place for result in previous.incomplete()}
    return [
        unit
        for unit in units
        if unit.case.key in before
        and (
            unit.place in wanting
            or unit.provider in previous.problems
            or _differs(before[unit.case.key], record_of(unit.case))
        )
    ]


def kept(previous: RunResult | None, units: Sequence[Unit], *, whole: bool) -> Kept:
    """What is still true of earlier results.

    Args:
        previous: the earlier results; None if there are none.
        units: all units, those that are not run again as well.
        whole: whether the units are of all cases; a case that is not among them is then gone.

    Returns:
        Its cases and results; without those of cases that are gone, and as skipped those of cases that have changed.
    """
    if previous is None:
        return Kept({}, {})
    now = {unit.case.key: record_of(unit.case) for unit in units}
    cases = {case.key: now.get(case.key, case) for case in previous.cases if case.key in now or not whole}
    changed = {case.key for case in previous.cases if case.key in now and _differs(case, now[case.key])}
    results: dict[Place, tuple[CaseResult, ...]] = {}
    for result in previous.results:
        if result.case_key in cases:
            still = result.skipped("the case has changed since this was run") if result.case_key in changed else result
            results[result.place] = (*results.get(result.place, ()), still)
    return Kept(cases, results)


def _differs(one: CaseRecord, two: CaseRecord) -> bool:
    # As JSON, because the records of a results file were read from it.
    return one.model_dump(mode="json") != two.model_dump(mode="json")
