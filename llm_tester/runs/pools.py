"""Where chunks of units are run: processes of our own, or a user's executor; and what happens in such a process."""

import functools
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

from ..config import GlobalConfig
from ..llms import llm_registry
from ..llms.budget import Budget, Share, Spent, spending
from ..llms.rates import dividing
from ..settings import activate
from .execution import RunStop, execute
from .journal import Journal
from .results import CaseResult
from .threads import Threads
from .units import Unit

__all__ = ["Chunk", "Done", "OwnPool", "Pool", "run_chunk"]

# Seconds in which a worker that has to end can write what came last.
LAST = 0.8

# Whether the coordinator has ended the run; None in a process that is not ours, where each chunk ends by itself.
_ended: RunStop | None = None


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
    budget = Budget.of(chunk.share) if chunk.share else None
    results: dict[int, tuple[CaseResult, ...]] = {}
    with spending(budget), dividing(chunk.parts):
        work = functools.partial(Threads, chunk.units, chunk.threads, chunk.journal)
        execute(work, results.__setitem__, chunk.journal, _ended or RunStop())
    problem = chunk.journal.problem if chunk.journal else None
    return Done(results, budget.spent() if budget else None, problem)


def _start(calls: Connection, process: Connection) -> None:
    global _ended
    _ended = RunStop()
    # Ctrl-C reaches all processes of a terminal; the coordinator ends the others.
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(_ended, calls, process), daemon=True).start()


def _watch(stop: RunStop, calls: Connection, process: Connection) -> None:
    """Starts no more calls when the coordinator closes the one line, and ends the process with the other one.

    The system closes both if the coordinator dies.
    """
    wait([calls])
    stop.ask()
    wait([process])
    time.sleep(LAST)
    os._exit(1)


class Pool:
    """A user's executor, which the user also ends.

    Args:
        executor: the executor.

    Attributes:
        is_here: whether it is on this machine for sure, so that its workers can write into our files.
    """

    is_here = False

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, chunk: Chunk) -> "Future[Done]":
        """Starts a chunk."""
        return self._executor.submit(run_chunk, chunk)

    def renew(self) -> bool:
        """Replaces workers that died; False if that is not ours to do."""
        return False

    def cancel(self) -> None:
        """Lets the workers start no more calls, if they are ours."""

    def end(self) -> None:
        """Lets go of the workers; what runs in them is stopped if they are ours."""


class OwnPool(Pool):
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
        # Each process gets a copy of them when it starts, so they stay open here.
        self._readers = calls, process
        self._executor = ProcessPoolExecutor(self._workers, context, _start, self._readers)

    def renew(self) -> bool:
        self.end()
        self._begin()
        return True

    def cancel(self) -> None:
        self._calls.close()

    def end(self) -> None:
        self._calls.close()
        self._process.close()
        self._executor.shutdown(wait=False, cancel_futures=True)
        for reader in self._readers:
            reader.close()
