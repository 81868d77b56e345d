"""Runs units in other processes: a process pool, or a cluster's executor.

The coordinator hands out chunks of units of one provider. Each comes with its part of the budget and of the provider's
limits; the worker runs it in threads, and gives back the results and what they cost. Nothing else is shared.
"""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import NamedTuple, Protocol

from ..config import ProviderConfig
from ..errors import BudgetError, ConfigError
from ..llms.budget import Budget, Share, Spent, active_budget, spending
from ..llms.rates import dividing
from .results import CaseResult
from .threads import CUT_OFF, Finished, Threads, cut_off
from .units import Unit

__all__ = ["Chunk", "Chunks", "Done", "OwnPool", "run_chunk"]

# Units of a chunk per thread. Towards its end a chunk leaves threads idle, so it is not too short.
WAVES = 8
# How often the units of a process that died are given to another one.
MOST_DEATHS = 3
# Seconds for calls in flight if the run is interrupted, in the worker, and until a worker ends itself.
GRACE, LAST = 0.3, 0.8


class Chunk(NamedTuple):
    """Units of one provider for one worker.

    Attributes:
        units: the units.
        threads: how many of them run at once.
        parts: the number of parts of the provider's limits, of which this chunk has one.
        share: its part of the budget; None without a budget.
    """

    units: tuple[Unit, ...]
    threads: int
    parts: int
    share: Share | None


class Done(NamedTuple):
    """What became of a chunk.

    Attributes:
        results: by the index in the chunk; without the units that were not run because the run was interrupted.
        spent: what it cost; None without a budget.
    """

    results: dict[int, tuple[CaseResult, ...]]
    spent: Spent | None


def run_chunk(chunk: Chunk) -> Done:
    """Runs a chunk in the calling process."""
    budget = Budget.of(chunk.share) if chunk.share else None
    with spending(budget), dividing(chunk.parts):
        threads = Threads(chunk.units, chunk.threads)
        _here.begin(threads)
        try:
            results = dict(threads)
            if _here.stopping:
                results.update(threads.stop(GRACE))
        finally:
            _here.open.discard(threads)
    return Done(results, budget.spent() if budget else None)


class _Here:
    """What a worker process knows of itself: whether its coordinator has ended the run."""

    def __init__(self) -> None:
        self.stopping = False
        self.open: set[Threads] = set()

    def begin(self, threads: Threads) -> None:
        self.open.add(threads)
        if self.stopping:
            threads.end()

    def watch(self, coordinator: Connection) -> None:
        """Waits until the coordinator closes its end, or dies, and ends the process."""
        with contextlib.suppress(EOFError, OSError):
            coordinator.recv_bytes()
        self.stopping = True
        for threads in tuple(self.open):
            threads.end()
        time.sleep(LAST)
        os._exit(1)


_here = _Here()


def _start(coordinator: Connection) -> None:
    # Ctrl-C reaches all processes of a terminal; the coordinator ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_here.watch, args=(coordinator,), daemon=True).start()


class Pool(Protocol):
    """Where chunks are run."""

    def submit(self, chunk: Chunk) -> "Future[Done]":
        """Starts a chunk."""

    def renew(self) -> bool:
        """Replaces workers that died; False if that is not ours to do."""

    def end(self) -> None:
        """Lets go of the workers; what runs in them is stopped if they are ours."""


class OwnPool:
    """Processes that are started for a run. They are spawned: a fork would copy locks that other threads hold.

    Args:
        workers: how many.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        reader, self._line = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(self._workers, context, _start, (reader,))
        # Each process gets a copy of it when it starts, so it stays open here.
        self._reader = reader

    def submit(self, chunk: Chunk) -> "Future[Done]":
        return self._pool.submit(run_chunk, chunk)

    def renew(self) -> bool:
        self.end()
        self._begin()
        return True

    def end(self) -> None:
        self._line.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._reader.close()


class GivenPool:
    """A user's executor, which the user also ends."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, chunk: Chunk) -> "Future[Done]":
        return self._executor.submit(run_chunk, chunk)

    def renew(self) -> bool:
        return False

    def end(self) -> None:
        pass


class Chunks:
    """Runs units in the workers of a pool; iterate over it once.

    Args:
        units: the units.
        pool: the workers.
        workers: how many chunks run at once; None if that is unknown.
        threads: how many units run at once in a worker.
        configs: the config of each provider.

    Raises:
        BudgetError: there is a budget, and it is unknown into how many parts to divide it.
        ConfigError: a provider has limits, and it is unknown into how many parts to divide them.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        pool: Pool,
        workers: int | None,
        threads: int,
        configs: Mapping[str, ProviderConfig],
    ) -> None:
        self._units, self._pool, self._workers, self._threads = units, pool, workers, threads
        self._budget = active_budget()
        self._waiting: dict[str, deque[int]] = {}
        for index, unit in enumerate(units):
            self._waiting.setdefault(unit.provider, deque()).append(index)
        self._most, self._size = {}, {}
        for name in self._waiting:
            self._most[name], self._size[name] = self._plan(configs.get(name))
        if self._budget and workers is None:
            raise BudgetError("max_cost with an executor needs workers=…, the number of its processes, to divide it")
        self._running: dict[Future[Done], tuple[Chunk, list[int], bool]] = {}
        # Units that the budget's part of their chunk did not allow, and whether any other was done since they were.
        self._refused: list[int] = []
        self._helped = True
        self._deaths: dict[int, int] = {}
        self._ended: queue.SimpleQueue[Future[Done]] = queue.SimpleQueue()

    def _plan(self, config: ProviderConfig | None) -> tuple[int, int]:
        """How many chunks of a provider run at once, and how many units they have."""
        limits = [limit for limit in _limits(config) if limit is not None]
        size = self._threads * WAVES if self._threads > 1 else 1
        if self._workers is None:
            if limits and config:
                raise ConfigError(
                    f"{config.name}: its limits need workers=…, the number of the executor's processes, to divide them"
                )
            return len(self._units), size
        if not limits or config is None:
            return self._workers, size
        # Fixed for the whole run: a part that grew while others still had theirs would exceed the limit.
        most = min(max(1, self._workers // len(self._waiting)), *limits)
        # A chunk of about a minute at most, so that the worker is free for other providers.
        return most, min(size, max(1, (config.requests_per_minute or size * most) // most))

    def __iter__(self) -> Iterator[Finished]:
        self._fill()
        while self._running:
            future = self._ended.get()
            yield from self._finished(future)
            self._fill()

    def stop(self, seconds: float) -> list[Finished]:
        """Ends the run: our own workers are given some seconds; what runs elsewhere is left alone.

        Returns:
            What was finished and not yet given out.
        """
        self._waiting.clear()
        self._refused.clear()
        for future in self._running:
            future.cancel()
        self._pool.end()
        finished: list[Finished] = []
        until = time.monotonic() + seconds
        with contextlib.suppress(queue.Empty):
            while self._running:
                future = self._ended.get(timeout=max(0.0, until - time.monotonic()))
                if not future.cancelled() and future.exception() is None:
                    finished += self._finished(future)
                self._running.pop(future, None)
        for _, indices, _ in self._running.values():
            finished += [(index, cut_off(self._units[index], CUT_OFF)) for index in indices]
        return finished

    def _fill(self) -> None:
        while self._workers is None or len(self._running) < self._workers:
            if not (indices := self._next()):
                break
            self._submit(indices)
        if not self._running and self._refused:
            # Other chunks have given back what they did not need: now one chunk at a time gets all of it. If that does
            # not help, calls in flight may have had it: one at a time, what is refused now cannot be paid.
            name = self._units[self._refused[0]].provider
            same = [index for index in self._refused if self._units[index].provider == name][: self._size[name]]
            self._refused = [index for index in self._refused if index not in set(same)]
            last, self._helped = not self._helped, False
            self._submit(same, last=last, alone=True)

    def _next(self) -> list[int]:
        """The units of the next chunk: of the provider with the fewest chunks under way."""
        running = dict.fromkeys(self._waiting, 0)
        for chunk, _, _ in self._running.values():
            running[chunk.units[0].provider] += 1
        ready = [name for name, units in self._waiting.items() if units and running[name] < self._most[name]]
        if not ready:
            return []
        name = min(ready, key=lambda name: (running[name], self._waiting[name][0]))
        units = self._waiting[name]
        # The rest is divided evenly, so that all workers end together.
        size = min(self._size[name], -(-len(units) // max(1, self._most[name] - running[name])))
        return [units.popleft() for _ in range(min(size, len(units)))]

    def _submit(self, indices: list[int], *, last: bool = False, alone: bool = False) -> None:
        units = tuple(self._units[index] for index in indices)
        share = None
        if self._budget and self._workers:
            share = self._budget.lend(1 if alone else self._workers - len(self._running))
        chunk = Chunk(units, 1 if last else self._threads, self._most[units[0].provider], share)
        future = self._pool.submit(chunk)
        self._running[future] = chunk, indices, last
        future.add_done_callback(self._ended.put)

    def _finished(self, future: "Future[Done]") -> Iterator[Finished]:
        if future not in self._running:
            return
        if error := future.exception():
            yield from self._lost(future, error)
            return
        chunk, indices, last = self._running.pop(future)
        done = future.result()
        if self._budget and chunk.share and done.spent:
            self._budget.take_back(chunk.share, done.spent)
        for number, results in done.results.items():
            if not last and self._budget and all(result.error == BudgetError.__name__ for result in results):
                self._refused.append(indices[number])
            else:
                self._helped = True
                yield indices[number], results

    def _lost(self, future: "Future[Done]", error: BaseException) -> Iterator[Finished]:
        """Gives a chunk whose worker died to another one; its units fail if that is not possible."""
        if not isinstance(error, Exception):
            raise error
        broken = isinstance(error, BrokenExecutor)
        # One dead process breaks the whole pool.
        lost = list(self._running) if broken else [future]
        again = broken and self._pool.renew()
        for each in lost:
            chunk, indices, _ = self._running.pop(each)
            if self._budget and chunk.share:
                # What its calls cost is unknown, so all of it counts as spent.
                self._budget.take_back(chunk.share, Spent(chunk.share.usd, {}))
            for index in reversed(indices):
                self._deaths[index] = self._deaths.get(index, 0) + 1
                if again and self._deaths[index] < MOST_DEATHS:
                    self._waiting[chunk.units[0].provider].appendleft(index)
                else:
                    problem = f"the worker failed, and its calls may be billed: {type(error).__name__}: {error}"
                    yield index, cut_off(self._units[index], problem)


def _limits(config: ProviderConfig | None) -> tuple[int | None, ...]:
    return (config.max_concurrency, config.requests_per_minute, config.tokens_per_minute) if config else ()
