"""Which earlier results are kept, and which units run again."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import to_jsonable_python

from ..cassettes.secrets import default_scrubber
from ..utils.lean import lean
from .cases import Case
from .results import CaseKey, CaseRecord, CaseResult, Place, RunResult
from .units import Unit, skipped

__all__ = ["Kept", "due", "kept", "record_of"]


class Kept(NamedTuple):
    """The earlier results that a run keeps.

    Attributes:
        cases: the cases by key.
        results: the results by place, in their order.
        schemas: the JSON Schemas of the classes, by module; also those of the units.
    """

    cases: dict[CaseKey, CaseRecord]
    results: dict[Place, tuple[CaseResult, ...]]
    schemas: dict[str, dict[str, Any]]

    def with_fresh(self, units: Sequence[Unit], fresh: Mapping[int, tuple[CaseResult, ...]]) -> "Kept":
        """The kept results with those of a run added.

        Args:
            units: the units that are run.
            fresh: by index, their results so far. A unit without any keeps its earlier ones, or counts as skipped.
        """
        results = dict(self.results)
        for index, unit in enumerate(units):
            if index in fresh or unit.place not in results or unit.first > 1:
                now = fresh.get(index) or skipped(unit, "not run: the run was interrupted")
                results[unit.place] = (*results.get(unit.place, ())[: unit.first - 1], *now)
        cases = {**self.cases, **{unit.case.key: record_of(unit.case) for unit in units}}
        return self._replace(cases=cases, results=results)

    def in_order(self, units: Sequence[Unit]) -> "Kept":
        """The same in the order of units, then what is of none."""
        keys = dict.fromkeys([*(unit.case.key for unit in units), *self.cases])
        places = dict.fromkeys([*(unit.place for unit in units), *self.results])
        return self._replace(
            cases={key: self.cases[key] for key in keys if key in self.cases},
            results={place: self.results[place] for place in places if place in self.results},
        )

    def fields(self) -> dict[str, Any]:
        """The same as fields of a `RunResult`."""
        results = tuple(result for group in self.results.values() for result in group)
        return {"schemas": self.schemas, "cases": tuple(self.cases.values()), "results": results}


def record_of(case: Case) -> CaseRecord:
    """A case as the results save it: without keys."""
    shared = {name: getattr(case, name) for name in CaseRecord.model_fields}
    clean = default_scrubber().value({name: shared[name] for name in ("prompt", "source", "expected")})
    return lean(CaseRecord(**shared | clean | {"files": tuple(path.name for path in case.files)}))


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


def kept(previous: RunResult | None, units: Sequence[Unit], *, whole: bool) -> Kept:
    """The earlier results that still hold.

    Args:
        previous: the earlier results; None if there are none.
        units: all units, also those that do not run again.
        whole: whether the units cover all cases. If they do, a case without a unit was deleted.

    Returns:
        The earlier results without those of deleted cases. Those of a changed case count as skipped.
    """
    schemas = _schemas_of(unit.case for unit in units)
    if previous is None:
        return Kept({}, {}, schemas)
    now = {unit.case.key: record_of(unit.case) for unit in units}
    cases = {case.key: now.get(case.key, case) for case in previous.cases if case.key in now or not whole}
    changed = _changed(previous, units)
    results: dict[Place, tuple[CaseResult, ...]] = {}
    for result in previous.results:
        if result.key in cases:
            if result.key in changed:
                result = result.skipped("the case has changed since this was run")
            results[result.place] = (*results.get(result.place, ()), result)
    return Kept(cases, results, {**previous.schemas, **schemas})


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
    now = {unit.case.key: record_of(unit.case).model_dump(mode="json") for unit in units}
    return {key for key in before.keys() & now.keys() if before[key] != now[key]}
