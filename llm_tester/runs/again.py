"""Which earlier results are kept, and which units run again."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import to_jsonable_python

from ..cassettes.secrets import default_scrubber
from ..utils.cost_manager import CostTracker
from ..utils.lean import lean
from .cases import Case
from .results import CaseKey, CaseRecord, CaseResult, Place, RunResult
from .units import Unit, skipped

__all__ = ["Gathered", "count", "due", "record_of"]


class Gathered:
    """The results of a run as they come, over those of earlier runs that still hold.

    Args:
        previous: the earlier results; None if there are none.
        units: all units, also those that do not run again.
        whole: whether the units cover all cases. If they do, a case without a unit was deleted, and its results go.
        resumed: whether the earlier results are the same run's, in the order in which they came.
    """

    def __init__(self, previous: RunResult | None, units: Sequence[Unit], *, whole: bool, resumed: bool) -> None:
        self._schemas = _schemas_of(unit.case for unit in units)
        self._units, self._cases = units, {unit.case.key: unit.case for unit in units}
        self._old_cases: dict[CaseKey, CaseRecord] = {}
        self._results: dict[Place, tuple[CaseResult, ...]] = {}
        if previous:
            self._schemas = {**previous.schemas, **self._schemas}
            self._old_cases = {case.key: case for case in previous.cases if case.key in self._cases or not whole}
            self._keep(previous, _changed(previous, units))
        # `--failed` keeps the order of the results it goes by.
        self._first: tuple[Place, ...] = () if resumed else tuple(self._results)

    def _keep(self, previous: RunResult, changed: set[CaseKey]) -> None:
        for result in previous.results:
            if result.key in self._old_cases:
                if result.key in changed:
                    result = result.skipped("the case has changed since this was run")
                self._results[result.place] = (*self._results.get(result.place, ()), result)

    def holds_all_of(self, previous: RunResult) -> bool:
        """Whether none of the earlier results goes."""
        return self._results.keys() == {result.place for result in previous.results}

    def add(self, unit: Unit, results: tuple[CaseResult, ...]) -> None:
        """Adds what became of a unit."""
        self._results[unit.place] = (*self._results.get(unit.place, ())[: unit.first - 1], *results)

    def fields(self, units: Sequence[Unit]) -> dict[str, Any]:
        """What there is so far, as fields of a `RunResult`.

        Args:
            units: those that were to run; what an interrupted run did not come to counts as skipped.
        """
        results = dict(self._results)
        for unit in units:
            known = results.get(unit.place, ())
            if len(known) < unit.repeats:
                rest = skipped(unit, "not run: the run was interrupted")[len(known) - unit.first + 1 :]
                results[unit.place] = (*known, *rest)
        ordered = dict.fromkeys([*self._first, *(unit.place for unit in self._units), *results])
        places = [place for place in ordered if place in results]
        keys = dict.fromkeys(place[:3] for place in places)
        return {
            "schemas": self._schemas,
            "cases": tuple(record_of(self._cases[key]) if key in self._cases else self._old_cases[key] for key in keys),
            "results": tuple(result for place in places for result in results[place]),
        }


def count(costs: CostTracker, run_id: str, result: CaseResult) -> None:
    """Adds what a result cost."""
    case = f"{result.name}.{result.variant}" if result.variant else result.name
    if result.usage is not None:
        costs.add(run_id, result.module, case, result.usage)
    elif result.status == "failed":
        place = (run_id, result.module, case, result.provider, result.model)
        costs.add_failed(*place, result.unanswered, result.failed_cost)


def record_of(case: Case) -> CaseRecord:
    """A case as the results save it: without keys."""
    shared = {name: getattr(case, name) for name in CaseRecord.model_fields}
    texts = {name: shared[name] for name in ("prompt", "source", "expected")}
    if (clean := default_scrubber().value(texts)) != texts:
        # Else the record and the case have the texts in common.
        shared |= clean
    return lean(CaseRecord(**shared | {"files": tuple(path.name for path in case.files)}))


def due(units: Iterable[Unit], previous: RunResult, *, missing: bool = False) -> list[Unit]:
    """The units to run again.

    Args:
        units: all units.
        previous: the earlier results.
        missing: whether repeats without a result are run, because the run ended early.

    Returns:
        The units with a repeat that failed, was skipped or is missing, those of a provider that could not start, and
        those of a case that has changed. A case that is not in the earlier results does not run, unless `missing`.
    """
    changed = _changed(previous, units := list(units))
    known = {case.key for case in previous.cases}
    incomplete = {result.place for result in previous.incomplete()}
    recorded = {result.place for result in previous.results if result.cassette}
    done = Counter(result.place for result in previous.results)

    def rest(unit: Unit) -> Unit | None:
        if unit.place in incomplete or unit.provider in previous.problems or unit.case.key in changed:
            return unit if missing or unit.case.key in known else None
        if not missing or done[unit.place] >= unit.repeats:
            return None
        # A cassette replays those that are done.
        return unit if unit.place in recorded else unit.model_copy(update={"first": done[unit.place] + 1})

    return [part for unit in units if (part := rest(unit))]


def _schemas_of(cases: Iterable[Case]) -> dict[str, dict[str, Any]]:
    """By module, the JSON Schema of its class with the names of its fields, without keys."""
    found = {}
    for module, case in {case.module: case for case in cases}.items():
        with suppress(PydanticInvalidForJsonSchema):
            schema = case.model_class().model_json_schema(by_alias=False)
            found[module] = default_scrubber().value(to_jsonable_python(schema, fallback=str))
    return found


def _changed(previous: RunResult, units: Iterable[Unit]) -> set[CaseKey]:
    """The cases that are not the same as in earlier results."""
    before = {case.key: case.model_dump(mode="json") for case in previous.cases}
    # As JSON, because the earlier records were read from it.
    cases = {unit.case.key: unit.case for unit in units}
    return {key for key in before.keys() & cases.keys() if before[key] != record_of(cases[key]).model_dump(mode="json")}
