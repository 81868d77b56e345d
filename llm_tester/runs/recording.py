"""Lets one run at a time record a cassette, so that two that need it at once pay for it once."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import CassetteError
from ..llms.rates import check_stop, wait_alone

__all__ = ["recording"]

# Seconds between two looks at a lock that another run holds; on average half of it.
_LOOK = 0.2


@contextlib.contextmanager
def recording(cassette: Path) -> Iterator[None]:
    """Waits until no other run records a cassette. The system ends this if the process dies.

    The lock is in the directory for temporary files, because a project may be under version control.

    Args:
        cassette: the file to be recorded.

    Raises:
        StoppedError: the run was asked to end while it waited.
        CassetteError: the lock cannot be made.
    """
    from filelock import FileLock, Timeout

    name = hashlib.sha256(bytes(cassette.resolve())).hexdigest()[:24]
    # On Windows, each user has a directory for temporary files.
    user = os.getuid() if os.name == "posix" else 0
    path = Path(tempfile.gettempdir(), f"llm_tester-{user}", f"{name}.lock")
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        while not lock.is_locked:
            check_stop()
            try:
                lock.acquire()
            except Timeout:
                wait_alone(_LOOK)
    except OSError as error:
        raise CassetteError(
            f"{cassette}: is not recorded, because the lock {path} cannot be made ({error}); "
            "set TMPDIR to a directory where you can write"
        ) from error
    try:
        yield
    finally:
        # Before the release, so that a run which waits sees that its file is gone and makes another one.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
