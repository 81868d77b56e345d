"""Runs units until they are done or the run is interrupted.

The first Ctrl-C starts nothing more, and waits for the calls in flight, because they are paid for. The second one drops
them. In an event loop, cancelling the task does the same.
"""

import contextlib
import contextvars
import functools
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, ParamSpec, Protocol, TypeVar

from ..llms.rates import Stop, stoppable
from .journal import Journal
from .results import CaseResult, RunResult
from .threads import Finished, disk_problem

__all__ = ["RunInterrupted", "RunStop", "Take", "Work", "execute", "given_stop", "in_thread"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# Gets the index of a unit that is done, and its results.
Take = Callable[[int, tuple[CaseResult, ...]], None]


class RunInterrupted(KeyboardInterrupt):
    """A run that ended early: Ctrl-C, or a disk without room for a reply.

    Args:
        results: what was done until then.
        problem: why it ended; None if it was interrupted.
    """

    def __init__(self, results: RunResult, problem: str | None = None) -> None:
        super().__init__(problem or "the run was interrupted")
        self.results, self.problem = results, problem


class RunStop(Stop):
    """Whether a run has been asked to end, and what lets it see that.

    Attributes:
        end: ends the wait of the run for its calls.
        problem: why the run ended by itself; None if it was interrupted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.end: Callable[[], None] = lambda: None
        self.problem: str | None = None

    def ask(self) -> None:
        """Asks the run to end; if it was asked before, without its calls in flight."""
        self.asked += 1
        self.end()


class Work(Protocol):
    """Units that are run somewhere; see `threads.Threads` for its methods."""

    def __iter__(self) -> Iterator[Finished]: ...
    def end(self) -> None: ...
    def cancel(self) -> int: ...
    def drop(self) -> list[Finished]: ...
    def close(self) -> object: ...


def execute(
    work_in: Callable[[], Work],
    take: Take,
    journal: Journal | None,
    stop: RunStop,
    on_wait: Callable[[int], None] | None = None,
) -> None:
    """Runs units, and gives each one's results to `take` as they are done.

    Args:
        work_in: makes the work, in the context in which its calls can be stopped.
        take: gets the results; if it raises `KeyboardInterrupt`, that is a Ctrl-C.
        journal: to which the work adds what is done; None if there is none.
        stop: says afterwards whether the run ended early: it was interrupted, or there is no place on the disk for
            what it pays for.
        on_wait: called with the number of calls in flight that an interrupted run waits for.
    """
    with stoppable(stop):
        work = work_in()
    stop.end = work.end
    with _interrupting(stop):
        try:
            # It may have been asked to end before it began.
            if not stop.asked:
                _take_all(work, take, journal, stop)
            if stop.asked:
                in_flight = work.cancel()
                stop.wake()
                if in_flight and on_wait:
                    on_wait(in_flight)
                _take_all(work, take, journal, stop)
                for index, results in work.drop():
                    take(index, results)
        finally:
            work.close()


def _take_all(work: Work, take: Take, journal: Journal | None, stop: RunStop) -> None:
    try:
        for index, results in work:
            take(index, results)
            if not stop.asked and (problem := disk_problem(results, journal)):
                stop.asked, stop.problem = 1, problem
                return
    except KeyboardInterrupt:
        stop.asked += 1


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


# That of the run that the context will start; None if the run makes its own.
given_stop: contextvars.ContextVar[RunStop | None] = contextvars.ContextVar("llm_tester_given_stop", default=None)


def in_thread(run: Callable[Arguments, Result]) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
    """The same for an event loop: it runs in a thread, in the caller's context.

    If its task is cancelled, the run starts nothing more and waits for the calls in flight; if the task is cancelled
    once more, it drops them. The `CancelledError` then has the `RunInterrupted` with what was done as its `__cause__`.

    Args:
        run: `LLMTester.run_tests`. Its callbacks are called in the thread.
    """

    @functools.wraps(run)
    async def run_in_thread(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        import asyncio

        stop, context, cancelled = RunStop(), contextvars.copy_context(), None
        context.run(given_stop.set, stop)
        # Not `asyncio.to_thread`: cancelling that leaves the thread, and what it pays for, to itself.
        work = functools.partial(run, *args, **kwargs)
        future = asyncio.get_running_loop().run_in_executor(None, context.run, work)
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
                stop.ask()
        if cancelled:
            raise cancelled from future.exception()
        return future.result()

    return run_in_thread
