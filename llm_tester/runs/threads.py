"""Runs units in the threads of one process: a few at once, and no provider holds up the others."""

import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext

from ..cassettes.forks import lock_of
from ..errors import StorageError
from ..llms.rates import seated
from .journal import Journal
from .results import CaseResult
from .units import Unit, results_of, skipped, worst_usd

__all__ = [
    "CUT_OFF",
    "Finished",
    "Threads",
    "cut_off",
    "disk_problem",
    "dropped",
    "elsewhere",
    "in_flight",
]

# A unit's index and its results.
Finished = tuple[int, tuple[CaseResult, ...]]

CUT_OFF = "the run was interrupted during a call, which may be billed"

# The places in this process that are making a live attempt.
_calling: "set[_Place]" = set()
# How many units other processes run for this one: a function for each run that has such processes.
elsewhere: set[Callable[[], int]] = set()


class _Place:
    """A unit's place among those that run at once; only in threads of ours it can be lent."""

    def __init__(self, unit: Unit, journal: Journal | None, threads: "Threads | None") -> None:
        self.unit, self._journal, self._threads = unit, journal, threads
        self.attempts = 0

    @property
    def calling(self) -> bool:
        """Whether a live attempt is being made."""
        return self in _calling

    @calling.setter
    def calling(self, calling: bool) -> None:
        (_calling.add if calling else _calling.discard)(self)
        if calling:
            self.attempts += 1
            if self._journal:
                self._journal.started(self.unit)

    def aside(self) -> AbstractContextManager[None]:
        """Lends the place to another unit while this one waits."""
        return self._threads.lending() if self._threads else nullcontext()

    def run(self) -> tuple[CaseResult, ...]:
        """Runs the unit, and adds its results to the journal."""
        results: list[CaseResult] = []
        with seated(self):
            for result in results_of(self.unit):
                results.append(result)
                if self._journal:
                    self._journal.finished(self.unit, [result])
        return tuple(results)


class Threads:
    """Runs units in daemon threads, in the context of the caller; iterate over it for what is done.

    Of the providers with units left, the one with the fewest units under way gets the next free place. A unit that
    waits for its provider lends its place. Each provider has at most `concurrency` units under way, waiting ones too.
    No more units start after a reply that has no place on the disk.

    Args:
        units: the units.
        concurrency: how many run at once.
        journal: where to add what is done; None for nowhere.
        pool: a user's threads, which get all units at once; None for threads of ours.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        concurrency: int,
        journal: Journal | None = None,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        self._units, self._journal, self._pool = units, journal, pool
        self._concurrency = self._free = len(units) if pool else concurrency
        self._context = contextvars.copy_context()
        self._changed = lock_of(threading.Condition)
        self._waiting: dict[str, deque[int]] = {}
        for index, unit in enumerate(units):
            self._waiting.setdefault(unit.provider, deque()).append(index)
        self._under_way = dict.fromkeys(self._waiting, 0)
        self._running: dict[int, _Place] = {}
        self._submitted: list[Future[None]] = []
        self._returning = 0
        self._done: queue.SimpleQueue[tuple[int, tuple[CaseResult, ...] | BaseException] | None] = queue.SimpleQueue()
        self._left = len(units)

    def __iter__(self) -> Iterator[Finished]:
        with self._changed:
            self._fill()
        while self._left and (finished := self._done.get()):
            index, outcome = finished
            with self._changed:
                self._left -= 1
            if isinstance(outcome, BaseException):
                raise outcome
            yield index, outcome

    def end(self) -> None:
        """Ends the iteration, from another thread or a signal handler; another one goes on with the rest."""
        self._done.put(None)

    def cancel(self) -> int:
        """Starts no more units.

        Returns:
            How many calls are in flight.
        """
        with self._changed:
            self._left -= sum(map(len, self._waiting.values())) + sum(task.cancel() for task in self._submitted)
            self._waiting.clear()
            self._submitted.clear()
            return sum(place.calling for place in self._running.values())

    def drop(self) -> list[Finished]:
        """What was not given out yet: what is done, and as failed the units whose calls are still in flight."""
        finished: list[Finished] = []
        with self._changed:
            while not self._done.empty():
                if (item := self._done.get()) and not isinstance(item[1], BaseException):
                    finished.append((item[0], item[1]))
            places = list(self._running.items())
        return finished + [(index, dropped(place.unit, place.attempts)) for index, place in places if place.attempts]

    close = cancel

    @contextmanager
    def lending(self) -> Iterator[None]:
        """Gives a place to another unit, and then waits for one before any unit that has not started."""
        with self._changed:
            self._give_up()
        try:
            yield
        finally:
            with self._changed:
                self._returning += 1
                self._changed.wait_for(lambda: self._free)
                self._returning -= 1
                self._free -= 1
                self._fill()

    def _give_up(self) -> None:
        self._free += 1
        self._changed.notify_all()
        self._fill()

    def _fill(self) -> None:
        while self._free > self._returning and (index := self._next()) is not None:
            self._free -= 1
            if self._pool:
                self._submitted.append(self._pool.submit(self._work, index))
            else:
                # A daemon, so that a process that ends does not wait for a call.
                threading.Thread(target=self._work, args=(index,), daemon=True).start()

    def _next(self) -> int | None:
        ready = [name for name, units in self._waiting.items() if units and self._under_way[name] < self._concurrency]
        if not ready:
            return None
        name = min(ready, key=lambda name: (self._under_way[name], self._waiting[name][0]))
        self._under_way[name] += 1
        index = self._waiting[name].popleft()
        self._running[index] = _Place(self._units[index], self._journal, None if self._pool else self)
        return index

    def _work(self, index: int | None) -> None:
        while index is not None:
            unit = self._units[index]
            outcome: tuple[CaseResult, ...] | BaseException
            try:
                outcome = self._context.copy().run(self._running[index].run)
            except BaseException as error:  # noqa: BLE001 (raised again in the thread that reads the results)
                outcome = error
            with self._changed:
                if not isinstance(outcome, BaseException) and disk_problem(outcome, self._journal):
                    self.cancel()
                self._done.put((index, outcome))
                del self._running[index]
                self._under_way[unit.provider] -= 1
                index = self._next() if not self._returning else None
                if index is None:
                    self._give_up()


def in_flight() -> int:
    """How many live attempts this process is making, and how many units, live or not, others run for it."""
    return len(_calling) + sum(count() for count in [*elsewhere])


def disk_problem(results: Sequence[CaseResult], journal: Journal | None) -> str | None:
    """Why a run must end after these results: what it pays for cannot be kept; None if it can."""
    lost = [result.problem for result in results if result.error == StorageError.__name__]
    return next(iter(lost), journal.problem if journal else None)


def cut_off(unit: Unit, problem: str, attempts: int, failed_cost: float | None = None) -> tuple[CaseResult, ...]:
    """The results of a unit whose calls may be billed, and of which nothing else is known.

    Args:
        unit: the unit.
        problem: what happened.
        attempts: how many calls were started.
        failed_cost: the most USD that they may have cost; None if that is unknown.
    """
    first, *others = skipped(unit, problem)
    unknown = {"status": "failed", "unanswered": attempts, "failed_cost": failed_cost, "attempts": attempts}
    return (first.model_copy(update=unknown), *others)


def dropped(unit: Unit, attempts: int) -> tuple[CaseResult, ...]:
    """The results of a unit if its call is not waited for.

    Args:
        unit: the unit.
        attempts: how many calls were started.
    """
    worst = worst_usd(unit)
    return cut_off(unit, CUT_OFF, attempts, None if worst is None else worst * attempts)
