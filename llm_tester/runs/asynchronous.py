"""Runs in a thread for an event loop, which a cancelled task interrupts as Ctrl-C interrupts others."""

import contextvars
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from ..cassettes.forks import lock_of

__all__ = ["Interrupts", "in_thread"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Interrupts:
    """Interrupts a run in another thread, as Ctrl-C does. It is the run of the context that has it in `of_context`."""

    of_context: contextvars.ContextVar["Interrupts | None"] = contextvars.ContextVar(
        "llm_tester_interrupts", default=None
    )

    def __init__(self) -> None:
        self._lock = lock_of(threading.Lock)
        self._asked = 0
        self._interrupt: Callable[[], None] | None = None

    def ask(self) -> None:
        """Interrupts the run, once more at each call; if it has not begun, as soon as it does."""
        with self._lock:
            self._asked += 1
            if self._interrupt:
                self._interrupt()

    def reach(self, interrupt: Callable[[], None]) -> None:
        """Says how the run is interrupted."""
        with self._lock:
            self._interrupt = interrupt
            for _ in range(self._asked):
                interrupt()


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

        interrupts, context, cancelled = Interrupts(), contextvars.copy_context(), None
        context.run(Interrupts.of_context.set, interrupts)
        work = functools.partial(run, *args, **kwargs)
        future = asyncio.get_running_loop().run_in_executor(None, context.run, work)
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
                interrupts.ask()
        if cancelled:
            raise cancelled from future.exception()
        return future.result()

    return run_in_thread
