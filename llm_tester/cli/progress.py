"""How far a run has come, on standard error: a live bar in a terminal, lines elsewhere and under CI."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ..runs.comparison import counted
from ..runs.results import CaseResult
from ..runs.threads import in_flight
from ..runs.units import under_ci
from ..usage import format_sum
from .console import console, say

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

__all__ = ["RunProgress", "say_on_stderr", "waiting"]

# Without a terminal, so many lines come in all.
_LINES = 10


class RunProgress:
    """Counts results as they come, and shows them.

    Args:
        flying: what to say before the number of calls in flight.
        quiet: whether to show nothing.
        verbose: whether to list each result.
    """

    def __init__(self, flying: str = "", *, quiet: bool, verbose: bool) -> None:
        self._flying, self._quiet, self._verbose = flying, quiet, verbose
        self._done = self._total = self._failed = self._unknown = 0
        self._spent = 0.0
        self._started = time.monotonic()
        self._bar: Live | None = None

    def __call__(self, result: CaseResult, done: int, total: int) -> None:
        """Counts a result."""
        is_due = done * _LINES // total > self._done * _LINES // total
        self._done, self._total = done, total
        self._failed += result.status == "failed"
        if result.usage and not result.usage.replayed:
            self._spent += result.usage.total_cost or 0.0
            self._unknown += result.usage.total_cost is None
        score = "" if result.accuracy is None else f" {result.accuracy:.1f}"
        what = [f"{result.title} {result.column}: {result.status}{score}"] if self._verbose else []
        if not self._bar and (is_due or self._verbose):
            what.append(self._state())
        if what and not self._quiet and not say_on_stderr(f"[{done}/{total}] {'; '.join(what)}"):
            # The output is no longer read (`2>&1 | head`, a terminal that was closed).
            signal.raise_signal(signal.SIGINT)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows a live bar if standard error is a terminal."""
        if self._quiet or under_ci() or not sys.stderr.isatty() or not console(err=True).is_interactive:
            yield
            return
        from rich.live import Live

        self._bar = Live(self, console=console(err=True), transient=True, redirect_stdout=False)
        self._bar.start()
        try:
            yield
        finally:
            # A terminal that was closed must not keep what was paid for from being saved.
            with suppress(OSError):
                self._bar.stop()

    def __rich__(self) -> "Table":
        """What the bar shows when it is drawn, a few times a second."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(self._total or None, self._done, width=20)
        grid.add_row(bar, f"{self._done}/{self._total or '?'}", self._state())
        return grid

    def _state(self) -> str:
        """The cost so far, the calls in flight, the failures, and the time left at the pace until now."""
        flying = f"{self._flying}{in_flight()} in flight"
        texts = [format_sum(self._spent, self._unknown), flying, f"{self._failed} failed"]
        if 0 < self._done < self._total:
            pace = (time.monotonic() - self._started) / self._done
            texts.append(f"{timedelta(seconds=round(pace * (self._total - self._done)))} left")
        return ", ".join(texts)


def waiting(calls: int) -> None:
    """Says that an interrupted run waits for calls in flight."""
    say_on_stderr(f"waiting for {counted(calls, 'call')} in flight; Ctrl-C again drops what is not answered")


def say_on_stderr(text: str, style: str = "") -> bool:
    """Prints a line on standard error; gives whether that is still read."""
    try:
        say(text, style, err=True)
    except OSError:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stderr.fileno())
        return False
    return True
