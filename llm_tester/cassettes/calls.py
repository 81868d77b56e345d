"""What one attempt of a provider's call did over HTTP: its exchanges, live, recorded or replayed."""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import LLMTesterError

if TYPE_CHECKING:
    from .cassette import Cassette
    from .storage import Interaction

__all__ = ["Call", "Exchange", "call", "raise_swallowed", "running"]


@dataclass
class Exchange:
    """One HTTP request and its outcome.

    Attributes:
        seconds: from sending the request to the end of the reply; the recorded seconds if it is a replay. None if the
            recording does not say.
        status: the HTTP status; None if no reply came.
        replayed: whether a cassette answered.
        sent: whether the request may have left this machine; False if no connection was made (refused, DNS, TLS) or
            the request could not be sent at all.
        body: the reply's body, decompressed.
    """

    seconds: float | None = None
    status: int | None = None
    replayed: bool = False
    sent: bool = True
    body: bytes = b""


@dataclass
class Call:
    """What one attempt did over HTTP.

    Attributes:
        exchanges: its HTTP exchanges, in order.
        faults: how many requests a fault of a test answered.
        replayed: the interactions that came from a cassette.
        recorded: the interactions that were written into one.
        cassette: the cassette they belong to; None if the attempt used none.
        error: the first error of the cassette or the guard, which an SDK may wrap or swallow.
        timeout: seconds for all of it, from the first live request on; None for no limit.
        max_reply_bytes: the most that a reply may have, unpacked; None for no limit.
        deadline: when the timeout ends, by `time.monotonic`; None before the first live request.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    faults: int = 0
    replayed: "list[Interaction]" = field(default_factory=list)
    recorded: "list[Interaction]" = field(default_factory=list)
    cassette: "Cassette | None" = None
    error: LLMTesterError | None = None
    timeout: float | None = None
    max_reply_bytes: int | None = None
    deadline: float | None = None

    def begin(self) -> None:
        """Starts the clock of the timeout, unless it runs: a redirect is a part of the same attempt."""
        if self.deadline is None and self.timeout is not None:
            self.deadline = time.monotonic() + self.timeout

    def remaining(self, most: float | None = None) -> float | None:
        """Seconds until the timeout ends, `most` at most; 0 after it, and `most` if there is none."""
        if self.deadline is None:
            return most
        left = max(0.0, self.deadline - time.monotonic())
        return left if most is None else min(most, left)

    @property
    def is_replay(self) -> bool:
        """Whether every reply of the attempt came from a cassette."""
        return bool(self.replayed) and not self.recorded

    @property
    def seconds(self) -> float | None:
        """The seconds of all exchanges; None if there was none, or a recording does not say."""
        known = [exchange.seconds for exchange in self.exchanges if exchange.seconds is not None]
        return sum(known) if known and len(known) == len(self.exchanges) else None

    @property
    def body(self) -> bytes:
        """The body of the last reply; b"" if none came."""
        return self.exchanges[-1].body if self.exchanges else b""

    @property
    def was_sent(self) -> bool:
        """Whether a request was made: over the wire, or one that a recording or a fault of a test answered."""
        return bool(self.exchanges or self.faults)

    @property
    def may_be_billed(self) -> bool | None:
        """Whether a live request got no reply, or one with a 2xx status; None if there was no exchange."""
        if not self.exchanges:
            return None
        live = [exchange for exchange in self.exchanges if exchange.sent and not exchange.replayed]
        return any(exchange.status is None or exchange.status < 300 for exchange in live)

    def metadata(self, name: str) -> Any:
        """One value of the last interaction's metadata (`origin`, `at`, `model`, …); None if it has none."""
        last = (self.recorded or self.replayed)[-1:]
        return last[0].recorded.get(name) if last else None

    def annotate(self, **facts: Any) -> None:
        """Adds facts about the call (provider, model, usage, cost) to its recording, before it is written."""
        if self.recorded and self.cassette:
            known = {name: fact for name, fact in facts.items() if fact is not None}
            self.recorded[-1].recorded.update(self.cassette.scrubber.value(known))

    def write(self) -> None:
        """Writes what was recorded so far, so that each reply is written once, with the facts about its call.

        Raises:
            CassetteError: the file cannot be written.
        """
        if self.cassette:
            self.cassette.write(self.recorded)


running: ContextVar[Call | None] = ContextVar("llm_tester_call", default=None)


@contextlib.contextmanager
def call(timeout: float | None = None, max_reply_bytes: int | None = None) -> Iterator[Call]:
    """Collects the exchanges of one attempt, across the threads and tasks that carry its context.

    Args:
        timeout: see `Call`.
        max_reply_bytes: see `Call`.

    Raises:
        UnusableReplyError: a reply was too large, or pointed to another host.
        CassetteMismatch: a request was not recorded, and something below swallowed or wrapped the error.
        CassetteError: a reply could not be written, and something below swallowed or wrapped the error.
    """
    scope = Call(timeout=timeout, max_reply_bytes=max_reply_bytes)
    token = running.set(scope)
    try:
        try:
            yield scope
        finally:
            # A reply that was paid for is kept, whatever became of the call.
            scope.write()
    except Exception as error:
        raise_swallowed(scope.error, error)
        raise
    else:
        raise_swallowed(scope.error, None)
    finally:
        running.reset(token)


def raise_swallowed(error: LLMTesterError | None, came_out: BaseException | None) -> None:
    """Raises the engine's error if something between it and the user's code swallowed or wrapped it.

    Args:
        error: the engine's first error; None if there was none.
        came_out: the exception that reached the user's code; None if none did.
    """
    if error is None or (isinstance(came_out, type(error)) and str(came_out) == str(error)):
        return
    link = came_out
    while link is not None and link is not error:
        link = link.__cause__ or link.__context__
    # An exception that only wraps the error adds nothing to it.
    raise error from (None if link is error else came_out)
