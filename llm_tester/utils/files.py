"""Writes our files: as a whole or not at all, and never over another program's. Checks where files to read lead."""

import contextlib
import functools
import os
import stat
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from ..cassettes.temporary import temporary_of
from ..errors import CaseError, ConfigError, ResultsError

__all__ = ["Boundary", "check_folder", "check_own", "links_from", "only_run_in", "write_own"]


class Boundary:
    """A directory that the files to read must lie in, so that a project of others cannot send what is elsewhere.

    Args:
        root: the directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._holds_home = functools.cache(self._holds)

    def check(self, path: Path) -> bool:
        """Whether there is such a file.

        Raises:
            CaseError: it leads out of the directory, or is a pipe, a device or a directory.
        """
        try:
            mode = path.lstat().st_mode
            if is_link := stat.S_ISLNK(mode):
                mode = path.stat().st_mode
        except (OSError, ValueError):
            return False
        if not (self._holds(path) if is_link else self._holds_home(path.parent)):
            target = os.path.realpath(path)
            raise CaseError(f"{path}: leads to {target}, which is outside of {self._root}; copy the file there")
        if not stat.S_ISREG(mode):
            raise CaseError(f"{path}: is a directory, a pipe or a device; expected a file")
        return True

    def _holds(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._root)


def check_folder(path: Path) -> None:
    """Checks that recordings can be in a directory, which need not exist.

    Raises:
        ConfigError: it is a file, or no path that the system knows.
    """
    try:
        problem = None if stat.S_ISDIR(path.stat().st_mode) else "it is no directory"
    except (FileNotFoundError, NotADirectoryError):
        problem = None
    except OSError as error:
        problem = error.strerror
    if problem:
        raise ConfigError(f"{path}: the recordings cannot be there: {problem}; name another directory")


def links_from(directory: Path) -> Callable[[str], str]:
    """A function that turns the path of a file into a link from a directory."""

    @cache
    def relative(folder: str) -> str:
        try:
            return os.path.relpath(folder or ".", directory)
        except ValueError:  # Windows has no relative path from one drive to another.
            return folder

    def link(path: str) -> str:
        folder, name = os.path.split(path)
        return f"{relative(folder)}/{name}".replace(os.sep, "/").removeprefix("./")

    return link


@contextlib.contextmanager
def only_run_in(directory: Path) -> Iterator[None]:
    """Lets one process at a time write results into a directory. The system ends this if the process dies.

    Args:
        directory: the directory, which is made.

    Raises:
        ResultsError: another process writes there, or nothing can be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(directory / ".run.lock")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ResultsError(
            f"{directory}: another run writes its results there; wait for it, or name another directory with --output"
        ) from error
    except OSError as error:
        raise ResultsError(
            f"{directory}: cannot be written ({error}); name another directory with --output, nothing was changed"
        ) from error
    try:
        yield
    finally:
        lock.release()


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
        temporary = temporary_of(path)
        try:
            with temporary.open("x", encoding="utf-8") as file:
                file.write(text or "")
            if text is not None:
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error}); nothing was changed") from error
