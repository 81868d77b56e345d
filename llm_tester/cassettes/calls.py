"""What one attempt of a provider's call did over HTTP: its exchanges, live, recorded or replayed."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import LLMTesterError
from .hidden import raise_hidden
from .storage import Interaction

if TYPE_CHECKING:
    from .cassette import Cassette

__all__ = ["Call", "Exchange", "call", "running"]


@dataclass
class Exchange:
    """One HTTP request and what came of it.

    Attributes:
        seconds: from sending the request to the end of the reply; of a replay, the recorded seconds. None if the
            recording does not say.
        status: the HTTP status; None if no reply came.
        replayed: whether a cassette answered.
        sent: whether the request may have left this machine; False if no connection was made (refused, DNS, TLS) or
            the request could not be sent at all.
        body: the reply's body, not compressed.
    """

    seconds: float | None = None
    status: int | None = None
    replayed: bool = False
    sent: bool = True
    body: bytes = b""


@dataclass
class Call:
    """What one attempt did over HTTP, while it runs and after.

    Attributes:
        exchanges: its HTTP exchanges, in the order in which they were asked.
        replayed: the interactions that came from a cassette.
        recorded: the interactions that were written into one.
        cassette: the cassette they belong to, None if the attempt used none.
        error: the cassette's first error, which an SDK may wrap or swallow.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    replayed: list[Interaction] = field(default_factory=list)
    recorded: list[Interaction] = field(default_factory=list)
    cassette: "Cassette | None" = None
    error: LLMTesterError | None = None

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
    def may_be_billed(self) -> bool | None:
        """Whether a request went out to which no reply came, or one without an error; None if none was seen at all."""
        if not self.exchanges:
            return None
        live = [exchange for exchange in self.exchanges if exchange.sent and not exchange.replayed]
        return any(exchange.status is None or exchange.status < 400 for exchange in live)

    def said(self, name: str) -> Any:
        """What the metadata of the last interaction says under a name; None if it says nothing."""
        last = (self.recorded or self.replayed)[-1:]
        return last[0].recorded.get(name) if last else None

    def note(self, **facts: Any) -> None:
        """Writes facts about the call (provider, model, usage, cost) into what it recorded, None left out."""
        if self.recorded and self.cassette:
            self.cassette.annotate(self.recorded[-1], {name: fact for name, fact in facts.items() if fact is not None})


running: ContextVar[Call | None] = ContextVar("llm_tester_call", default=None)


@contextlib.contextmanager
def call() -> Iterator[Call]:
    """Collects the exchanges of one attempt, across the threads and tasks that carry its context.

    Raises:
        CassetteMismatch: something below swallowed or wrapped it.
        CassetteError: likewise.
    """
    scope = Call()
    token = running.set(scope)
    try:
        yield scope
    except Exception as error:
        raise_hidden(scope.error, error)
        raise
    else:
        raise_hidden(scope.error, None)
    finally:
        running.reset(token)
