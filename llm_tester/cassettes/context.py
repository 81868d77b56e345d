"""What the calling context uses: its cassette and its faults. A closed one is passed over in every context."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from .cassette import Cassette

if TYPE_CHECKING:
    from vcr.request import Request

__all__ = ["Fault", "InForce", "current", "in_force", "injected", "is_offline", "used"]


class Fault(Protocol):
    """Something that answers a request in the provider's place.

    Attributes:
        endless: whether every request meets it, so that nothing reaches the network.
    """

    endless: bool

    def meet(self, client: str, request: "Request") -> dict[str, Any] | None:
        """The reply to give (status, headers, body), None to let the request go on; or raises the client's error.

        Args:
            client: httpx, httpx2, aiohttp or urllib3.
            request: method, uri, headers and body.
        """


class InForce:
    """A fault while it is injected."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.closed = False


# The innermost one. An entered context is left in any order and from any task (pytest-asyncio ends a fixture in another
# one than it began in), so leaving sets `closed` and no token: what is closed is passed over wherever it still stands.
used: ContextVar[Cassette | None] = ContextVar("llm_tester_cassette", default=None)
injected: ContextVar[tuple[InForce, ...]] = ContextVar("llm_tester_faults", default=())


def current() -> Cassette | None:
    """The innermost open cassette of the calling context, None outside any."""
    cassette = used.get()
    while cassette is not None and cassette.closed:
        cassette = cassette.outer
    return cassette


def in_force() -> tuple[InForce, ...]:
    """The faults of the calling context, the innermost first."""
    return tuple(entry for entry in injected.get() if not entry.closed)


def is_offline() -> bool:
    """Whether the calling context's requests are answered here: by a cassette that only replays, or by a fault."""
    cassette = current()
    return (cassette is not None and cassette.replays_only) or any(entry.fault.endless for entry in in_force())
