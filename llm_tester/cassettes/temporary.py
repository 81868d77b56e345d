"""Temporary files next to the files that they will replace, and what a killed process left of them."""

import contextlib
import os
import re
import secrets
from pathlib import Path

__all__ = ["remove_stale", "temporary_of"]

_NAME = re.compile(r"\.llm_tester-(\d+)-[0-9a-f]+\.tmp")


def temporary_of(path: Path) -> Path:
    """A new name next to a file. It says which process made it; `tempfile` makes files that only their owner reads."""
    return path.with_name(f".llm_tester-{os.getpid()}-{secrets.token_hex(8)}.tmp")


def remove_stale(directory: Path, *, below: bool = False) -> None:
    """Removes the temporary files of processes that have ended.

    Args:
        directory: the directory to look in; it may be missing.
        below: whether to look in those below it as well.
    """
    find = directory.rglob if below else directory.glob
    for path in list(find(".llm_tester-*.tmp")):
        if (match := _NAME.fullmatch(path.name)) and not _is_running(int(match[1])):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_running(process: int) -> bool:
    if os.name == "nt":
        # There, a signal of 0 would end it.
        return False
    try:
        os.kill(process, 0)
    except OSError as error:
        # That of another user is running, too.
        return not isinstance(error, ProcessLookupError)
    return True
