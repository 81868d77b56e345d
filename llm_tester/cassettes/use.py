"""One patch of the process, counted in and out; each request goes to the cassette of the context that sends it."""

import contextlib
import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import CassetteError
from .cassette import Cassette
from .context import Fault, InForce, current, in_force, injected, is_offline, used
from .hidden import callers, raise_hidden, was_told

__all__ = ["Fault", "current", "entered", "inject", "is_offline", "is_patched", "use_cassette"]

Method = Callable[..., Any]


class _Patch:
    """The one patch of the process, and who uses it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users: set[Cassette | InForce] = set()
        # What was patched over, by the patched method; never emptied, because vcrpy may put one of ours back after we
        # took it off, and so that a method is patched only once.
        self.over: dict[Method, Method] = {}
        self.log_records: Callable[..., logging.LogRecord] | None = None

    def add(self, user: Cassette | InForce) -> None:
        """Patches the process, where it is not yet."""
        with self.lock:
            if isinstance(user, Cassette) and not user.replays_only:
                self._refuse_second_writer(user)
            self.users.add(user)
            for owner, name, make in _targets():
                found = owner.__dict__[name]
                if found not in self.over:
                    # Not yet patched, or vcrpy's use_cassette has begun or ended since.
                    setattr(owner, name, self._patched(found, make))
            if self.log_records is None:
                self.log_records = logging.getLogRecordFactory()
                logging.setLogRecordFactory(_log_record)

    def _refuse_second_writer(self, new: Cassette) -> None:
        for user in self.users:
            if isinstance(user, Cassette) and not user.replays_only and user.real_path == new.real_path:
                raise CassetteError(
                    f"{new.path}: is already open for recording in another context; give each its own file"
                )

    def _patched(self, found: Method, make: Callable[[Method, Method], Method]) -> Method:
        for patched, below in self.over.items():
            if below is found:
                return patched
        real = found
        while getattr(real, "__globals__", {}).get("__name__", "").startswith("vcr."):
            # A cassette of plain vcrpy around ours does not see the requests of ours.
            real = real.__wrapped__  # type: ignore[attr-defined]
        patched = functools.wraps(found)(make(found, real))
        self.over[patched] = found
        return patched

    def drop(self, user: Cassette | InForce) -> None:
        """Ends a use, and takes the patch off where it was the last; may be repeated."""
        user.closed = True
        with self.lock:
            self.users.discard(user)
            if self.users:
                return
            for owner, name, _ in _targets():
                # What someone else patched over ours is not ours to take off.
                if (below := self.over.get(owner.__dict__[name])) is not None:
                    setattr(owner, name, below)
            if self.log_records is not None and logging.getLogRecordFactory() is _log_record:
                logging.setLogRecordFactory(self.log_records)
                self.log_records = None


_patch = _Patch()


@functools.cache
def _targets() -> tuple[tuple[type, str, Callable[[Method, Method], Method]], ...]:
    # Importing the client libraries takes half a second, which only a process with a cassette should pay.
    from . import clients

    return tuple(clients.targets())


def _log_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """Keeps the keys of the calling context's cassette out of every log: the HTTP clients' log whole URLs."""
    record = (_patch.log_records or logging.LogRecord)(*args, **kwargs)
    if (cassette := current()) is not None:
        # What `%` raises where a message and its arguments do not fit is for the handlers to complain about.
        with contextlib.suppress(TypeError, ValueError, LookupError, ArithmeticError):
            message = record.getMessage()
            if (clean := cassette.scrubber.parameters(message)) != message:
                record.msg, record.args = clean, ()
    return record


def is_patched() -> bool:
    """Whether the process is patched at the moment."""
    return bool(_patch.users)


@contextlib.contextmanager
def _patched(user: Cassette | InForce) -> Iterator[None]:
    try:
        try:
            _patch.add(user)
            yield
        finally:
            _patch.drop(user)
    finally:
        # Once more, because Ctrl-C may have come in the middle of the first.
        _patch.drop(user)


@contextlib.contextmanager
def use_cassette(
    path: str | Path,
    record: str = "none",
    *,
    origin: str | None = None,
    again: str | None = None,
    match_body: bool = True,
    fail_on_unused: bool = False,
) -> Iterator[Cassette]:
    """Records and replays the HTTP requests of the calling context, and of no other.

    It may be open in any number of threads and tasks at once. A thread that is started inside does not carry the
    context by itself: start it with `contextvars.copy_context().run`.

    Args:
        path: the cassette's file.
        record: the record mode, see `Cassette`.
        origin: what answers, where it is not the host in the URL (`stand-in: …`); goes into the metadata.
        again: the command that records again, shown where a request is not what was recorded.
        match_body: whether the bodies must be equal; False is for recordings of other projects.
        fail_on_unused: whether an interaction that nothing asked for is an error.

    Yields:
        The cassette.

    Raises:
        CassetteError: the file cannot be read or written, or has interactions that nothing asked for.
        CassetteMismatch: a request is not what was recorded. Both are raised at the end where something between, such
            as an SDK that tries again, wrapped or swallowed them.
    """
    cassette = Cassette(path, record, origin=origin, again=again, match_body=match_body)
    opened_by = callers(sys._getframe(2))
    with _patched(cassette):
        cassette.outer = current()
        used.set(cassette)
        try:
            yield cassette
        except (Exception, BaseExceptionGroup) as error:
            if cassette.error is not None and not was_told(cassette.error, opened_by):
                raise_hidden(cassette.error, error)
            raise
        finally:
            cassette.closed = True
            used.set(current())
        if cassette.error is not None and not was_told(cassette.error, opened_by):
            raise_hidden(cassette.error, None)
        cassette.finish()
    if fail_on_unused and cassette.mode not in ("all", "rewrite") and (unused := cassette.unused()):
        first = unused[0].request
        raise CassetteError(
            f"{cassette.path}: nothing asked for {len(unused)} of its interactions, the first "
            f"{first['method']} {first['uri']}; {cassette.again}"
        )


@contextlib.contextmanager
def entered(cassette: Cassette) -> Iterator[None]:
    """Uses an open cassette in the calling context too: another thread or task than the one that opened it.

    Args:
        cassette: what `use_cassette` yielded.
    """
    token = used.set(cassette)
    try:
        yield
    finally:
        used.reset(token)


@contextlib.contextmanager
def inject(fault: Fault) -> Iterator[None]:
    """Lets a fault answer the requests of the calling context, before its cassette does."""
    entry = InForce(fault)
    with _patched(entry):
        injected.set((entry, *in_force()))
        try:
            yield
        finally:
            entry.closed = True
            injected.set(in_force())
