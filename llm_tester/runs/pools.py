"""Where chunks of units are run: processes of our own, or a user's executor; and what happens in such a process."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import NamedTuple, Protocol

from ..config import GlobalConfig
from ..llms import llm_registry
from ..llms.budget import Budget, Share, Spent, spending
from ..llms.rates import Stop, dividing, stoppable
from ..settings import activate
from .journal import Journal
from .results import CaseResult
from .threads import Threads
from .units import Unit

__all__ = ["Chunk", "Done", "GivenPool", "OwnPool", "Pool", "run_chunk"]

# Seconds in which a worker that has to end can write what came last.
LAST = 0.8


class Chunk(NamedTuple):
    """Units of one provider for one worker.

    Attributes:
        units: the units.
        threads: how many of them run at once.
        parts: the number of parts of the provider's limits, of which this chunk has one.
        share: its part of the budget; None without a budget.
        journal: where to add what is done; None for nowhere, or if that is on another machine.
        config: what the config said when the run began, because it may be edited meanwhile.
    """

    units: tuple[Unit, ...]
    threads: int
    parts: int
    share: Share | None
    journal: Journal | None
    config: GlobalConfig


class Done(NamedTuple):
    """What became of a chunk.

    Attributes:
        results: by the index in the chunk; without the units that were not run because the run was interrupted.
        spent: what it cost; None without a budget.
        problem: why the journal could not be written; None if it could.
    """

    results: dict[int, tuple[CaseResult, ...]]
    spent: Spent | None
    problem: str | None


def run_chunk(chunk: Chunk) -> Done:
    """Runs a chunk in the calling process."""
    path = chunk.units[0].config
    if activate(path, chunk.config):
        llm_registry.reset_provider_cache()
        activate(path, chunk.config)
    budget, stop = Budget.of(chunk.share) if chunk.share else None, Stop()
    with spending(budget), dividing(chunk.parts), stoppable(stop):
        threads = Threads(chunk.units, chunk.threads, chunk.journal)
        with _here.running(threads, stop):
            results = dict(threads)
            if stop.asked:
                threads.cancel()
                stop.wake()
                results.update(threads)
    problem = chunk.journal.problem if chunk.journal else None
    return Done(results, budget.spent() if budget else None, problem)


class _Here:
    """What a worker process knows of itself: whether its coordinator has ended the run."""

    def __init__(self) -> None:
        self._stopping = False
        self._open: dict[Threads, Stop] = {}

    @contextlib.contextmanager
    def running(self, threads: Threads, stop: Stop) -> Iterator[None]:
        """Lets the coordinator end a chunk."""
        self._open[threads] = stop
        if self._stopping:
            self._end()
        try:
            yield
        finally:
            self._open.pop(threads, None)

    def _end(self) -> None:
        while self._open:
            threads, stop = self._open.popitem()
            stop.asked += 1
            threads.end()

    def watch(self, calls: Connection, process: Connection) -> None:
        """Starts no more calls when the coordinator closes the one line, and ends the process with the other one.

        The system closes both if the coordinator dies.
        """
        _wait_for_end(calls)
        self._stopping = True
        self._end()
        _wait_for_end(process)
        time.sleep(LAST)
        os._exit(1)


def _wait_for_end(line: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        line.recv_bytes()


_here = _Here()


def _start(calls: Connection, process: Connection) -> None:
    # Ctrl-C reaches all processes of a terminal; the coordinator ends the others.
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_here.watch, args=(calls, process), daemon=True).start()


class Pool(Protocol):
    """Where chunks are run.

    Attributes:
        is_here: whether that is on this machine, so that they can write into its files.
    """

    is_here: bool

    def submit(self, chunk: Chunk) -> "Future[Done]":
        """Starts a chunk."""

    def renew(self) -> bool:
        """Replaces workers that died; False if that is not ours to do."""

    def cancel(self) -> None:
        """Lets the workers start no more calls, if they are ours."""

    def end(self) -> None:
        """Lets go of the workers; what runs in them is stopped if they are ours."""


class OwnPool:
    """Processes that are started for a run. They are spawned: a fork would copy locks that other threads hold.

    Args:
        workers: how many.
    """

    is_here = True

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        calls, self._calls = context.Pipe(duplex=False)
        process, self._process = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(self._workers, context, _start, (calls, process))
        # Each process gets a copy of them when it starts, so they stay open here.
        self._readers = calls, process

    def submit(self, chunk: Chunk) -> "Future[Done]":
        return self._pool.submit(run_chunk, chunk)

    def renew(self) -> bool:
        self.end()
        self._begin()
        return True

    def cancel(self) -> None:
        self._calls.close()

    def end(self) -> None:
        self.cancel()
        self._process.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for reader in self._readers:
            reader.close()


class GivenPool:
    """A user's executor, which the user also ends."""

    is_here = False

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, chunk: Chunk) -> "Future[Done]":
        return self._executor.submit(run_chunk, chunk)

    def renew(self) -> bool:
        return False

    def cancel(self) -> None:
        pass

    def end(self) -> None:
        pass
