"""Writes our files: as a whole or not at all, and never over another program's."""

import uuid
from pathlib import Path

from ..errors import ResultsError

__all__ = ["check_own", "write_own"]


def check_own(path: Path, mark: str) -> None:
    """Checks that `write_own` could write a file, so that a run fails before it pays for anything.

    Args:
        path: the file; its directory is made.
        mark: a text that our files of this kind hold near their start.

    Raises:
        ResultsError: the file is another program's, or it cannot be written.
    """
    _replace(path, None, mark)


def write_own(path: Path, text: str, mark: str) -> None:
    """Writes a file whole or not at all, and never over one that is not ours.

    Args:
        path: the file.
        text: what to write; holds the mark.
        mark: a text that our files of this kind hold near their start.

    Raises:
        ResultsError: the file is another program's, or it cannot be written; nothing was changed.
    """
    _replace(path, text, mark)


def _replace(path: Path, text: str | None, mark: str) -> None:
    try:
        if path.exists():
            with path.open(encoding="utf-8", errors="replace") as file:
                if mark not in file.read(2000):
                    raise ResultsError(
                        f"{path}: is not a file that llm_tester wrote; name another one, nothing changed"
                    )
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile's, which only their owner can read.
        temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("x", encoding="utf-8") as file:
                file.write(text or "")
            if text is not None:
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error}); nothing was changed") from error
