"""One patch of the process; each request goes to the cassette of the context that sends it."""

import contextlib
import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import CassetteError
from . import calls
from .calls import Call
from .cassette import Again, Cassette
from .context import Fault, InForce, current, in_force, injected, is_offline, used
from .hidden import callers, raise_hidden, was_told

__all__ = ["Fault", "call", "current", "entered", "inject", "is_offline", "use_cassette"]

Method = Callable[..., Any]


class _Patch:
    """The one patch of the process; it is put on when it is first needed, and stays."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.writers: set[Cassette] = set()
        # What was patched over, by the patched method; kept so that a method is patched only once, also after a
        # vcrpy cassette put one of ours back.
        self.over: dict[Method, Method] = {}
        self.log_records: Callable[..., logging.LogRecord] | None = None

    def install(self) -> None:
        """Patches the HTTP clients, if they are not, or if a vcrpy cassette took the patch off."""
        with self.lock:
            for owner, name, make in _targets():
                found = owner.__dict__[name]
                if found not in self.over:
                    setattr(owner, name, self._patched(found, make))
            if self.log_records is None:
                self.log_records = logging.getLogRecordFactory()
                logging.setLogRecordFactory(_log_record)

    def add_writer(self, new: Cassette) -> None:
        """Notes a cassette that records.

        Raises:
            CassetteError: its file is already open for recording.
        """
        with self.lock:
            self.writers = {writer for writer in self.writers if not writer.closed}
            if any(writer.real_path == new.real_path for writer in self.writers):
                raise CassetteError(
                    f"{new.path}: is already open for recording in another context; give each its own file"
                )
            self.writers.add(new)

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


_patch = _Patch()


@functools.cache
def _targets() -> tuple[tuple[type, str, Callable[[Method, Method], Method]], ...]:
    # Importing the client libraries takes half a second, which only a process that calls or replays should pay.
    from . import clients

    return tuple(clients.targets())


def _log_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """Keeps the keys of the calling context's cassette out of every log: the HTTP clients' log whole URLs."""
    record = (_patch.log_records or logging.LogRecord)(*args, **kwargs)
    if (cassette := current()) is not None:
        # What `%` raises if a message and its arguments do not fit is for the handlers to complain about.
        with contextlib.suppress(TypeError, ValueError, LookupError, ArithmeticError):
            message = record.getMessage()
            if (clean := cassette.scrubber.parameters(message)) != message:
                record.msg, record.args = clean, ()
    return record


@contextlib.contextmanager
def call(*, over_http: bool = True) -> Iterator[Call]:
    """Collects the exchanges of one attempt; see `calls.call`.

    Args:
        over_http: whether the attempt may use HTTP, so that the clients must be patched.
    """
    if over_http:
        _patch.install()
    with calls.call() as scope:
        yield scope


@contextlib.contextmanager
def _writing(cassette: Cassette) -> Iterator[None]:
    """Keeps a second writer off the cassette's file."""
    try:
        if not cassette.replays_only:
            _patch.add_writer(cassette)
        yield
    finally:
        # Once more than `use_cassette` does, because Ctrl-C may have come in the middle of that.
        cassette.closed = True
        with _patch.lock:
            _patch.writers.discard(cassette)


@contextlib.contextmanager
def use_cassette(
    path: str | Path,
    record: str = "none",
    *,
    origin: str | None = None,
    again: Again | None = None,
    match_body: bool = True,
    fail_on_unused: bool = False,
    record_errors: bool = False,
    ignore: Sequence[str] = (),
    shared: bool = False,
    max_age: float | None = None,
) -> Iterator[Cassette]:
    """Records and replays the HTTP requests of the calling context, and of no other.

    It may be open in any number of threads and tasks at once. A thread that is started inside does not carry the
    context by itself: start it with `contextvars.copy_context().run`.

    Args:
        path: the cassette's file.
        record: the record mode, see `Cassette`.
        origin: what answers, where it is not the host in the URL (`stand-in: …`); goes into the metadata.
        again: the command that records, shown if a request differs from what was recorded; a function gets the mode.
        match_body: whether the bodies must be equal; False is for recordings of other projects.
        fail_on_unused: whether an interaction that nothing asked for is an error.
        record_errors: whether failures (a status of 400 and above) are recorded too; for tests that are about errors.
        ignore: JSON paths of request bodies that are neither matched on nor recorded, such as `$.user`.
        shared: whether other tests use the file too, so that `rewrite` drops nothing from it.
        max_age: days after which a recording is replaced by the same reply too, so that it is no longer old.

    Yields:
        The cassette.

    Raises:
        CassetteError: the file cannot be read or written, or has interactions that nothing asked for.
        CassetteMismatch: a request is not what was recorded. Both are raised at the end where something between, such
            as an SDK that tries again, wrapped or swallowed them.
    """
    cassette = Cassette(
        path,
        record,
        origin=origin,
        again=again,
        match_body=match_body,
        record_errors=record_errors,
        ignore=ignore,
        shared=shared,
        max_age=max_age,
    )
    opened_by = callers(sys._getframe(2))
    _patch.install()
    with _writing(cassette):
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
            f"{first['method']} {first['uri']}; {cassette.again('rewrite')}"
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
    _patch.install()
    try:
        try:
            injected.set((entry, *in_force()))
            yield
        finally:
            entry.closed = True
    finally:
        # Once more, because Ctrl-C may have come in the middle of the first.
        entry.closed = True
        injected.set(in_force())
