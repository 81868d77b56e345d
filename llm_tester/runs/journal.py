"""The journal of a run: what is done, on disk as it comes, so that a run that was killed can go on.

The first line says which run it is. Then there is a line for each live attempt that starts, each unit that is done and
each time the run goes on. A line begins with the line break, so one that was cut off spoils no other.
"""

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import pydantic_core
from pydantic import Field, model_validator

from ..errors import ResultsError
from .again import record_of
from .results import CaseKey, CaseRecord, CaseResult, Place, Record, RunResult, Shard
from .units import Unit

__all__ = ["JOURNAL", "Done", "Head", "Journal", "load_journal"]

JOURNAL = "run.journal"
JOURNAL_FORMAT = 1
JOURNAL_KIND: Literal["llm_tester journal"] = "llm_tester journal"


class Head(Record):
    """Which run a journal is of.

    Attributes:
        kind: marks the file as a journal of llm_tester.
        format: the version of the file format.
        run_id: the run's id.
        started_at: when it was started, ISO 8601, UTC.
        columns: `<provider>:<model>` of the run, in their order, and the providers that could not start.
        modules: the modules or cases that were asked for; all if empty.
        record: the record mode.
        repeats: how often each case is run.
        max_cost: the run's limit in USD; None if it has none.
        shard: which part of a divided run it is; None if it is whole.
        base: the run whose results `--failed` goes by; None if there is none.
    """

    kind: Literal["llm_tester journal"] = JOURNAL_KIND
    format: int = JOURNAL_FORMAT
    run_id: str
    started_at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    columns: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    record: str = "auto"
    repeats: int = 1
    max_cost: float | None = None
    shard: Shard | None = None
    base: str | None = None

    def shared(self) -> dict[str, Any]:
        """What it has in common with the results of its run."""
        names = ("run_id", "started_at", "record", "repeats", "max_cost", "shard")
        return {name: getattr(self, name) for name in names}


class Journal:
    """Appends to a journal. It can be pickled, and any number of threads and processes of a machine may append.

    Args:
        path: the file.

    Attributes:
        problem: why a line could not be written; None if all were.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.problem: str | None = None

    def begin(self, head: Head) -> None:
        """Starts the journal of a new run.

        Raises:
            ResultsError: it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(_line(head.model_dump(mode="json")).lstrip())
        except OSError as error:
            raise ResultsError(f"{self.path}: cannot be written ({error}); nothing was sent") from error

    def resumed(self) -> None:
        """Notes that the run goes on."""
        self._append({"resumed": datetime.now(UTC).isoformat(timespec="seconds")})

    def started(self, unit: Unit) -> None:
        """Notes that a live attempt of a unit starts."""
        self._append({"started": unit.place})

    def finished(self, unit: Unit, results: Sequence[CaseResult]) -> None:
        """Adds the results of a unit. What was paid for and is in no cassette is synced to the disk.

        If that fails, `problem` says why: the results go on, and the run must not.
        """
        is_paid = any(result.usage and not (result.usage.replayed or result.cassette) for result in results)
        self._append({"case": record_of(unit.case), "results": results}, sync=is_paid)

    def _append(self, value: dict[str, Any], *, sync: bool = False) -> None:
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                rest = memoryview(_line(value))
                while rest:
                    rest = rest[os.write(file, rest) :]
                if sync:
                    os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            self.problem = f"{self.path}: cannot be written ({error})"


def _line(value: dict[str, Any]) -> bytes:
    try:
        text = pydantic_core.to_json(value)
    except (pydantic_core.PydanticSerializationError, UnicodeEncodeError):
        # Half a surrogate pair, which a reply may contain, is no UTF-8; escaped, it is JSON.
        text = json.dumps(value, default=lambda item: item.model_dump()).encode()
    return b"\n" + text


class _Entry(Record):
    """A line after the first: exactly one of the start of an attempt, what is done, and when the run went on."""

    started: Place | None = None
    case: CaseRecord | None = None
    results: tuple[CaseResult, ...] = ()
    resumed: str | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(map(bool, (self.started, self.case and self.results, self.resumed))) != 1:
            raise ValueError("not exactly one of them")
        return self


class Done(NamedTuple):
    """What a journal holds.

    Attributes:
        head: which run it is of.
        cases: the cases of the units that are done.
        results: all results, in the order in which they came; a unit that was run again has several.
        lost: for each live attempt that was in flight when the run ended early, its place.
    """

    head: Head
    cases: dict[CaseKey, CaseRecord]
    results: list[CaseResult]
    lost: list[Place]

    @property
    def by_unit(self) -> dict[Place, tuple[CaseResult, ...]]:
        """The last results of each unit."""
        return _by_unit(self.results)

    def over(self, base: RunResult | None) -> RunResult:
        """The results so far.

        Args:
            base: the results that the run went by, or that it had already written; others are left out.
        """
        head, fits = self.head, base is not None and base.run_id in (self.head.base, self.head.run_id)
        cases = {case.key: case for case in base.cases} if base and fits else {}
        results = _by_unit(base.results if base and fits else ()) | self.by_unit
        return RunResult(
            **head.shared(),
            problems=base.problems if base and fits else {},
            cases=tuple({**cases, **self.cases}.values()),
            results=tuple(result for group in results.values() for result in group),
        )


def _by_unit(results: Sequence[CaseResult]) -> dict[Place, tuple[CaseResult, ...]]:
    found: dict[Place, tuple[CaseResult, ...]] = {}
    for result in results:
        before = found.get(result.place, ())
        found[result.place] = (result,) if result.repeat == 1 else (*before, result)
    return found


def load_journal(path: Path, *, since_resumed: bool = False) -> Done | None:
    """Reads a journal, whatever byte it was cut off at.

    Args:
        path: the file.
        since_resumed: whether to leave out what was done before the run last went on.

    Returns:
        What it holds; None if there is none, or not even its first line is whole.

    Raises:
        ResultsError: the file is another program's, has another format, or cannot be read.
    """
    try:
        head, *lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error})") from error
    first = _head(path, head, is_cut=not lines)
    if first is None:
        return None
    done, in_flight = Done(first, {}, [], []), list[Place]()
    for entry in _entries(lines):
        if entry.case:
            done.results.extend(result.of_run(first.run_id) for result in entry.results)
            done.cases[entry.case.key] = entry.case
            in_flight = [place for place in in_flight if place != entry.results[0].place]
        elif entry.started:
            in_flight.append(entry.started)
        else:
            done.lost.extend(in_flight)
            in_flight = []
            if since_resumed:
                done = Done(first, {}, [], [])
    done.lost.extend(in_flight)
    return done


def _head(path: Path, line: bytes, *, is_cut: bool) -> Head | None:
    start = b'{"kind":"' + JOURNAL_KIND.encode() + b'"'
    if not line.startswith(start[: len(line)]):
        raise ResultsError(f"{path}: is not a journal that llm_tester wrote; name another directory, nothing changed")
    try:
        found = json.loads(line)
        if found.get("format") == JOURNAL_FORMAT:
            return Head.model_validate(found)
    except (ValueError, RecursionError) as error:
        if is_cut:
            return None
        raise ResultsError(
            f"{path}, line 1: is damaged, so the run cannot go on; delete the file to start a new run"
        ) from error
    raise ResultsError(
        f"{path}: has journal format {found.get('format')!r}, this llm_tester reads {JOURNAL_FORMAT}; let the version "
        "that wrote it end the run, or delete the file to start a new run"
    )


def _entries(lines: Sequence[bytes]) -> Iterator[_Entry]:
    for line in lines:
        try:
            entry = json.loads(line)
            yield _Entry.model_validate(entry)
        except (ValueError, RecursionError):
            # Only a line that was cut off, or damaged on the disk, is no entry. Its unit is run again.
            continue
