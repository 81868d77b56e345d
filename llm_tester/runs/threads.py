"""Runs units in the threads of one process: a few at once, and no provider holds up the others."""

import contextvars
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager

from ..cassettes.forks import lock_of
from ..llms.rates import seated
from .results import CaseResult
from .units import Unit, run_unit, skipped

__all__ = ["CUT_OFF", "Finished", "Submitted", "Threads", "cut_off"]

# A unit's index and its results.
Finished = tuple[int, tuple[CaseResult, ...]]

CUT_OFF = "the run was interrupted during a call, which may be billed"


class _Place:
    """A unit's place among those that run at once."""

    def __init__(self, threads: "Threads") -> None:
        self._threads = threads
        self.calling = False

    @contextmanager
    def aside(self) -> Iterator[None]:
        self._threads.lend()
        try:
            yield
        finally:
            self._threads.take_back()


class Threads:
    """Runs units in daemon threads, in the context of the caller; iterate over it once.

    Of the providers with units left, the one with the fewest units under way gets the next free place. A unit that
    waits for its provider lends its place. Each provider has at most `concurrency` units under way, waiting ones too.

    Args:
        units: the units.
        concurrency: how many run at once.
    """

    def __init__(self, units: Sequence[Unit], concurrency: int) -> None:
        self._units, self._concurrency = units, concurrency
        self._context = contextvars.copy_context()
        self._changed = lock_of(threading.Condition)
        self._waiting: dict[str, deque[int]] = {}
        for index, unit in enumerate(units):
            self._waiting.setdefault(unit.provider, deque()).append(index)
        self._under_way = dict.fromkeys(self._waiting, 0)
        self._running: dict[int, _Place] = {}
        self._free, self._returning = concurrency, 0
        self._done: queue.SimpleQueue[tuple[int, tuple[CaseResult, ...] | BaseException] | None] = queue.SimpleQueue()
        self._left = len(units)

    def __iter__(self) -> Iterator[Finished]:
        with self._changed:
            self._fill()
        while self._left and (finished := self._done.get()):
            yield self._result(finished)

    def end(self) -> None:
        """Ends the iteration, from another thread."""
        self._done.put(None)

    def stop(self, seconds: float) -> list[Finished]:
        """Starts no more units.

        Args:
            seconds: how long to wait for calls in flight.

        Returns:
            What was finished and not yet given out. A unit whose call is still in flight counts as failed.
        """
        finished: list[Finished] = []
        with self._changed:
            self._waiting.clear()
        until = time.monotonic() + seconds
        while self._running or not self._done.empty():
            try:
                item = self._done.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if item:
                finished.append(self._result(item))
        with self._changed:
            calling = [index for index, place in self._running.items() if place.calling]
        return finished + [(index, cut_off(self._units[index], CUT_OFF)) for index in calling]

    def lend(self) -> None:
        """Gives a place to another unit."""
        with self._changed:
            self._give_up()

    def take_back(self) -> None:
        """Waits for a place, before any unit that has not started."""
        with self._changed:
            self._returning += 1
            self._changed.wait_for(lambda: self._free)
            self._returning -= 1
            self._free -= 1
            self._fill()

    def _result(self, finished: tuple[int, tuple[CaseResult, ...] | BaseException]) -> Finished:
        index, outcome = finished
        self._left -= 1
        if isinstance(outcome, BaseException):
            raise outcome
        return index, outcome

    def _give_up(self) -> None:
        self._free += 1
        self._changed.notify_all()
        self._fill()

    def _fill(self) -> None:
        while self._free > self._returning and (index := self._next()) is not None:
            self._free -= 1
            # A daemon, so that a process that ends does not wait for a call.
            threading.Thread(target=self._work, args=(index,), daemon=True).start()

    def _next(self) -> int | None:
        ready = [name for name, units in self._waiting.items() if units and self._under_way[name] < self._concurrency]
        if not ready:
            return None
        name = min(ready, key=lambda name: (self._under_way[name], self._waiting[name][0]))
        self._under_way[name] += 1
        index = self._waiting[name].popleft()
        self._running[index] = _Place(self)
        return index

    def _work(self, index: int | None) -> None:
        while index is not None:
            unit = self._units[index]
            try:
                outcome: tuple[CaseResult, ...] | BaseException = self._context.copy().run(self._run, index, unit)
            except BaseException as error:  # noqa: BLE001 (raised again in the thread that reads the results)
                outcome = error
            with self._changed:
                self._done.put((index, outcome))
                del self._running[index]
                self._under_way[unit.provider] -= 1
                index = self._next() if not self._returning else None
                if index is None:
                    self._give_up()

    def _run(self, index: int, unit: Unit) -> tuple[CaseResult, ...]:
        with seated(self._running[index]):
            return run_unit(unit)


def cut_off(unit: Unit, problem: str) -> tuple[CaseResult, ...]:
    """The results of a unit whose calls may be billed, and of which nothing else is known.

    Args:
        unit: the unit.
        problem: what happened.
    """
    unknown = {"status": "failed", "unanswered": 1, "failed_cost": None, "attempts": 1}
    return tuple(result.model_copy(update=unknown) for result in skipped(unit, problem))


class Submitted:
    """Runs units in a user's thread pool, each in the context of the caller; iterate over it once.

    Args:
        units: the units.
        pool: the thread pool.
    """

    def __init__(self, units: Sequence[Unit], pool: ThreadPoolExecutor) -> None:
        self._futures = {
            pool.submit(contextvars.copy_context().run, run_unit, unit): index for index, unit in enumerate(units)
        }

    def __iter__(self) -> Iterator[Finished]:
        for future in as_completed(tuple(self._futures)):
            yield self._futures.pop(future), future.result()

    def stop(self, seconds: float) -> list[Finished]:
        """As that of `Threads`; calls in flight go on, because the pool is not ours."""
        for future in self._futures:
            future.cancel()
        done, _ = wait(self._futures, seconds)
        return [(self._futures[future], future.result()) for future in done if not future.cancelled()]
