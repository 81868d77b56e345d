"""Runs in a thread for an event loop, which a cancelled task interrupts as Ctrl-C interrupts others."""

import contextvars
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from ..llms.rates import Stop

__all__ = ["RunStop", "given_stop", "in_thread"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class RunStop(Stop):
    """Whether a run has been asked to end, and what lets it see that.

    Attributes:
        end: ends the wait of the run for its calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.end: Callable[[], None] = lambda: None

    def ask(self) -> None:
        """Asks the run to end; if it was asked before, without its calls in flight."""
        self.asked += 1
        self.end()


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
