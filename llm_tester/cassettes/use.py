"""Opens cassettes. HTTP clients are patched once per process; each request goes to the cassette of its context."""

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import CassetteError, OfflineError
from . import calls
from .calls import Call, raise_swallowed
from .cassette import Again, Cassette
from .context import (
    Fault,
    Injected,
    current,
    everywhere,
    injected,
    injected_faults,
    innermost,
    is_offline,
    of_context,
    open_blocks,
    replaying,
)
from .forks import importing, lock_of, watch
from .network import Offline, network
from .secrets import default_scrubber

__all__ = ["Fault", "call", "current", "inject", "is_offline", "live", "opened", "use_cassette"]

Method = Callable[..., Any]
_PATCHED = "_llm_tester_patched"


class _Process:
    """The state of the process: the patch of its HTTP clients, which is never taken off, and the open recordings."""

    def __init__(self) -> None:
        self.lock = lock_of(threading.RLock)
        self.writers: dict[Path, Cassette] = {}
        self.log_records: Callable[..., logging.LogRecord] | None = None

    def patch(self) -> None:
        """Patches the HTTP clients, unless they are; a vcrpy cassette that ends may have taken our patch off."""
        with self.lock:
            with importing:
                targets = _targets()
            for owner, name, make in targets:
                found = owner.__dict__[name]
                # Another copy of this module, as pytester makes, has its own patches.
                if getattr(found, _PATCHED, None) is not self:
                    patched = functools.wraps(found)(make(found, _original(found)))
                    setattr(patched, _PATCHED, self)
                    setattr(owner, name, patched)
            if self.log_records is None:
                self.log_records = logging.getLogRecordFactory()
                logging.setLogRecordFactory(_log_record)

    @contextlib.contextmanager
    def writing(self, cassette: Cassette) -> Iterator[None]:
        """Allows one open recording per file.

        Raises:
            CassetteError: the file is already open for recording.
        """
        try:
            if not cassette.replays_only:
                with self.lock:
                    other = self.writers.get(cassette.real_path)
                    if other is not None and not other.closed:
                        raise CassetteError(
                            f"{cassette.path}: is already open for recording; use one file per cassette"
                        )
                    self.writers[cassette.real_path] = cassette
            yield
        finally:
            cassette.close()
            with self.lock:
                if self.writers.get(cassette.real_path) is cassette:
                    del self.writers[cassette.real_path]


_process = _Process()


def _original(method: Method) -> Method:
    """The client's own method, below vcrpy's patches and ours: an outer vcrpy cassette does not see our requests."""
    while hasattr(method, _PATCHED) or getattr(method, "__globals__", {}).get("__name__", "").startswith("vcr."):
        method = method.__wrapped__  # type: ignore[attr-defined]
    return method


@functools.cache
def _targets() -> tuple[tuple[type, str, Callable[[Method, Method], Method]], ...]:
    # Importing the client libraries takes half a second, which only a process that calls or replays should pay.
    from . import clients

    return tuple(clients.targets())


def _log_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """Keeps keys out of the logs of this package, of calls and of cassettes: the HTTP clients log whole URLs."""
    record = (_process.log_records or logging.LogRecord)(*args, **kwargs)
    cassette = current()
    if cassette is not None or calls.running.get() is not None or record.name == "llm_tester":
        scrubber = cassette.scrubber if cassette is not None else default_scrubber()
        # If a message and its arguments do not fit, the handlers report it.
        with contextlib.suppress(TypeError, ValueError, LookupError, ArithmeticError):
            message = record.getMessage()
            if (clean := scrubber.parameters(message)) != message:
                record.msg, record.args = clean, ()
    return record


def call(
    *, over_http: bool = True, timeout: float | None = None, max_reply_bytes: int | None = None
) -> contextlib.AbstractContextManager[Call]:
    """Collects the exchanges of one attempt; see `calls.call`.

    Args:
        over_http: whether the attempt may use HTTP, so that the clients must be patched.
        timeout: seconds for all of its exchanges together; None for no limit.
        max_reply_bytes: the most that a reply may have, unpacked; None for no limit.
    """
    watch()
    network.inherit()
    if over_http:
        _process.patch()
    return calls.call(timeout, max_reply_bytes)


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
    allow: Sequence[str] = (),
) -> Iterator[Cassette]:
    """Records and replays the HTTP requests of the calling context, and of no other.

    If it only replays, this context can connect to nothing else, whatever the client; and a context without a cassette
    can only do so if some other open cassette records.

    Any number may be open at the same time, in threads and tasks. A new thread does not inherit the context: start it
    with `contextvars.copy_context().run`.

    Args:
        path: the cassette's file.
        record: the record mode, see `Cassette`.
        origin: what answers, if it is not the host in the URL (`stand-in: …`); goes into the metadata.
        again: the command that re-records, shown if a request differs from the recording; a function gets the mode.
        match_body: whether the bodies must be equal; False is for recordings of other projects.
        fail_on_unused: whether an interaction that no request asked for is an error.
        record_errors: whether failures (a status of 400 and above) are recorded too; for tests that are about errors.
        ignore: JSON paths of request bodies that are neither matched on nor recorded, such as `$.user`.
        shared: whether other tests use the file too, so that `rewrite` drops nothing from it.
        allow: hosts that may be reached while it replays by clients that it does not answer, such as `localhost:6379`.

    Yields:
        The cassette.

    Raises:
        CassetteError: the file cannot be read or written, or has interactions that no request asked for.
        CassetteMismatch: a request is not what was recorded. Either is raised again at the end of the block if
            something inside it, such as an SDK that retries, swallowed or wrapped it.
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
    )
    with opened(cassette, allow=allow):
        yield cassette
    if fail_on_unused and cassette.mode not in ("all", "rewrite") and (unused := cassette.unused()):
        first = unused[0].request
        raise CassetteError(
            f"{cassette.path}: {len(unused)} of its interactions were not used, the first is {first['method']} "
            f"{first['uri']}; {cassette.again('rewrite')}"
        )


@contextlib.contextmanager
def opened(cassette: Cassette, *, for_process: bool = False, allow: Sequence[str] = ()) -> Iterator[None]:
    """Uses a cassette until the end of the block; see `use_cassette`.

    Args:
        cassette: the cassette, which can be opened once.
        for_process: whether it answers all threads of the process, as a test's does; a context's own comes first. The
            processes that this one starts can send nothing either if it only replays.
        allow: see `use_cassette`.
    """
    watch()
    network.inherit()
    _process.patch()
    with _process.writing(cassette), _guarding(cassette, tuple(allow), for_process=for_process):
        if for_process:
            everywhere.append(cassette)
        else:
            cassette.outer = of_context()
            innermost.set(cassette)
        try:
            yield
        except (Exception, BaseExceptionGroup) as error:
            raise_swallowed(cassette.error, error)
            raise
        finally:
            cassette.closed = True
            if for_process:
                everywhere.remove(cassette)
            else:
                innermost.set(of_context())
        raise_swallowed(cassette.error, None)
        cassette.finish()


@contextlib.contextmanager
def _guarding(cassette: Cassette, allow: tuple[str, ...], *, for_process: bool) -> Iterator[None]:
    """Lets the network's guard know of an open cassette."""
    open_blocks[cassette] = allow if cassette.replays_only else None
    try:
        if not cassette.replays_only:
            yield
            return
        network.replaying, network.note = replaying, _note
        network.hook()
        told = Offline(f"the cassette {cassette.path} only replays", allow)
        with network.told(told) if for_process else contextlib.nullcontext():
            yield
    finally:
        del open_blocks[cassette]


def _note(error: OfflineError) -> None:
    """Keeps an error that an SDK may wrap or swallow, to raise it at the end of the call or of the block."""
    if (holder := calls.running.get() or of_context()) is not None:
        holder.error = holder.error or error


@contextlib.contextmanager
def live() -> Iterator[Cassette | None]:
    """A block that is meant to send, without a cassette: others that replay do not keep its threads from it."""
    open_blocks[block := object()] = None
    try:
        yield None
    finally:
        del open_blocks[block]


@contextlib.contextmanager
def inject(fault: Fault) -> Iterator[None]:
    """Lets a fault answer the requests of the calling context, before its cassette does."""
    entry = Injected(fault)
    _process.patch()
    try:
        try:
            injected.set((entry, *injected_faults()))
            yield
        finally:
            entry.closed = True
    finally:
        # Again, because Ctrl-C may interrupt the first.
        entry.closed = True
        injected.set(injected_faults())
