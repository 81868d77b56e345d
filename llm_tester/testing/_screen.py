"""Failures that fit a screen: an error of this package without the calls below the test's own."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

from ..errors import LLMTesterError

__all__ = ["on_one_screen"]

_PACKAGE = f"{Path(__file__).parent.parent}{os.sep}"


@contextlib.contextmanager
def on_one_screen(excinfo: pytest.ExceptionInfo[BaseException], root: Path) -> Iterator[bool]:
    """Hides, until the end of the block, the calls below the user's own and the causes of this package's errors.

    Args:
        excinfo: how a test failed. Debuggers and other plugins find it as it was.
        root: the directory of the user's own code.

    Yields:
        Whether there is such an error.
    """
    with contextlib.ExitStack() as stack:
        found = [*_errors(excinfo.value)]
        stack.callback(setattr, excinfo, "traceback", excinfo.traceback)
        for error in found:
            # The last of these is undone first, and setting a cause also suppresses the context.
            stack.callback(setattr, error, "__suppress_context__", error.__suppress_context__)
            stack.callback(setattr, error, "__cause__", error.__cause__)
            error.__cause__ = None
            _cut(error.__traceback__, root, stack)
        excinfo.traceback = type(excinfo.traceback)(excinfo.tb)
        yield bool(found)


def _errors(raised: BaseException) -> Iterator[LLMTesterError]:
    """The errors of this package that an exception is, groups or follows; not what caused these."""
    links = [raised]
    for link in links:
        if isinstance(link, LLMTesterError):
            yield link
        else:
            around = (*getattr(link, "exceptions", ()), link.__cause__, link.__context__)
            links += [other for other in around if other is not None and other not in links]


def _is_own(file: str, root: Path) -> bool:
    path = Path(file)
    return path.is_relative_to(root) and "site-packages" not in path.parts and not file.startswith(_PACKAGE)


def _cut(step: TracebackType | None, root: Path, stack: contextlib.ExitStack) -> None:
    """Ends a traceback above the first call of this package that is below the user's own."""
    is_below = False
    while step is not None and (below := step.tb_next) is not None:
        is_below = is_below or _is_own(step.tb_frame.f_code.co_filename, root)
        if is_below and below.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            stack.callback(setattr, step, "tb_next", below)
            step.tb_next = None
            return
        step = below
