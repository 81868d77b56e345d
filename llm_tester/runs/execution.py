"""Runs units until they are done or the run is interrupted.

The first Ctrl-C starts nothing more, and waits for the calls in flight, because they are paid for. The second one drops
them.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from types import FrameType
from typing import Protocol

from ..config import ProviderConfig
from ..errors import ConfigError
from ..llms.rates import stoppable
from .asynchronous import RunStop, given_stop
from .journal import Journal
from .results import CaseResult, RunResult
from .threads import Finished, Submitted, Threads, disk_problem
from .units import Unit

__all__ = ["Ended", "RunInterrupted", "Take", "Work", "execute", "work_of"]

# Gets the index of a unit that is done, and its results.
Take = Callable[[int, tuple[CaseResult, ...]], None]


class Ended(Exception):
    """The run ended early.

    Args:
        problem: why; None if it was interrupted.
    """

    def __init__(self, problem: str | None) -> None:
        super().__init__(problem or "the run was interrupted")
        self.problem = problem


class RunInterrupted(KeyboardInterrupt):
    """A run that ended early: Ctrl-C, or a disk without room for a reply.

    Args:
        results: what was done until then.
        problem: why it ended; None if it was interrupted.
    """

    def __init__(self, results: RunResult, problem: str | None = None) -> None:
        super().__init__(problem or "the run was interrupted")
        self.results, self.problem = results, problem


class Work(Protocol):
    """Units that are run somewhere; see `threads.Threads` for its methods."""

    def __iter__(self) -> Iterator[Finished]: ...
    def end(self) -> None: ...
    def cancel(self) -> int: ...
    def drop(self) -> list[Finished]: ...
    def close(self) -> None: ...


def work_of(
    units: Sequence[Unit],
    concurrency: int,
    executor: Executor | None,
    workers: int | None,
    configs: Mapping[str, ProviderConfig],
    journal: Journal | None,
) -> Work:
    """Where units are run; the arguments are those of `LLMTester.run_tests`."""
    if isinstance(executor, ThreadPoolExecutor):
        return Submitted(units, executor, journal)
    if executor or (workers or 1) > 1:
        if any(unit.case.directory is None for unit in units):
            raise ConfigError(
                "cases made in Python run in threads, because other processes read a case from its files; leave out "
                "workers and the executor, or write the cases into cases.jsonl next to a model.py"
            )
        # Only here: threads need none of what other processes need.
        from .pools import GivenPool, OwnPool
        from .workers import Chunks

        threads = concurrency if executor else -(-concurrency // (workers or 1))
        pool = GivenPool(executor) if executor else OwnPool(workers or 1)
        return Chunks(units, pool, workers, threads, configs, journal)
    return Threads(units, concurrency, journal)


def execute(
    work_in: Callable[[], Work], take: Take, journal: Journal | None, on_wait: Callable[[int], None] | None
) -> None:
    """Runs units, and gives each one's results to `take` as they are done.

    Args:
        work_in: makes the work, in the context in which its calls can be stopped.
        take: gets the results; if it raises `KeyboardInterrupt`, that is a Ctrl-C.
        journal: to which the work adds what is done; None if there is none.
        on_wait: called with the number of calls in flight that an interrupted run waits for.

    Raises:
        Ended: the run was interrupted, or there is no place on the disk for what it pays for.
    """
    stop, problem = given_stop.get() or RunStop(), None
    with stoppable(stop):
        work = work_in()
    stop.end = work.end
    with _interrupting(stop):
        try:
            for is_last in (False, True):
                try:
                    # It may have been asked to end before it began.
                    for index, results in work if is_last or not stop.asked else ():
                        take(index, results)
                        if not stop.asked and (problem := disk_problem(results, journal)):
                            stop.asked = 1
                            break
                except KeyboardInterrupt:
                    stop.asked += 1
                if not stop.asked:
                    return
                if not is_last:
                    in_flight = work.cancel()
                    stop.wake()
                    if in_flight and on_wait:
                        on_wait(in_flight)
            for index, results in work.drop():
                take(index, results)
        finally:
            work.close()
    raise Ended(problem)


@contextlib.contextmanager
def _interrupting(stop: RunStop) -> Iterator[None]:
    """Lets Ctrl-C end the work instead of raising somewhere in it, unless the program has a handler of its own."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        stop.ask()

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
