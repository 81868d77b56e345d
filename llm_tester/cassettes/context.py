"""What answers the requests of the calling context: its cassette and its faults.

A cassette or fault may be closed from another task than the one that opened it (pytest-asyncio ends fixtures that
way), where a context variable cannot be reset. So closing sets a flag, and closed ones are skipped.
"""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from .cassette import Cassette
from .network import Offline

if TYPE_CHECKING:
    from vcr.request import Request

__all__ = [
    "Fault",
    "Injected",
    "current",
    "everywhere",
    "injected",
    "injected_faults",
    "innermost",
    "is_offline",
    "of_context",
    "open_blocks",
    "replaying",
]


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


class Injected:
    """A fault and whether it still applies."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.closed = False


innermost: ContextVar[Cassette | None] = ContextVar("llm_tester_cassette", default=None)
injected: ContextVar[tuple[Injected, ...]] = ContextVar("llm_tester_faults", default=())
# The cassettes of tests, which are open for the whole process: pytest runs one test of a process at a time.
everywhere: list[Cassette] = []
# Every open block of the process: what it lets through if it only replays, and None if it may send.
open_blocks: dict[object, tuple[str, ...] | None] = {}


def of_context() -> Cassette | None:
    """The innermost open cassette of the calling context; None if there is none."""
    cassette = innermost.get()
    while cassette is not None and cassette.closed:
        cassette = cassette.outer
    return cassette


def current() -> Cassette | None:
    """The cassette that answers the calling context: its own, else the running test's; None if there is none."""
    if (cassette := of_context()) is not None or not everywhere:
        return cassette
    return next((cassette for cassette in reversed(everywhere) if not cassette.closed), None)


def injected_faults() -> tuple[Injected, ...]:
    """The faults of the calling context, the innermost first."""
    entries = injected.get()
    return tuple(entry for entry in entries if not entry.closed) if entries else ()


def is_offline() -> bool:
    """Whether no request of the calling context is sent: a cassette that only replays, or a fault, answers them all."""
    if (cassette := current()) is not None and cassette.replays_only:
        return True
    faults = injected_faults()
    return bool(faults) and any(entry.fault.endless for entry in faults)


def replaying() -> Offline | None:
    """Why the calling context may send nothing; None if it may.

    Its own cassette decides, or the running test's. A context without one, such as that of a new thread, may belong to
    any open block: it may send nothing if all of them only replay.
    """
    # One step for the interpreter, so that no other thread changes it meanwhile.
    if not (blocks := open_blocks.copy()):
        return None
    if (cassette := current()) is not None:
        return _why([cassette], blocks.get(cassette) or ()) if cassette.replays_only else None
    found = [cassette for cassette in blocks if isinstance(cassette, Cassette)]
    if not found or None in blocks.values():
        return None
    return _why(found, tuple(host for allow in blocks.values() for host in allow or ()))


def _why(cassettes: list[Cassette], allow: tuple[str, ...]) -> Offline:
    more = f", and {len(cassettes) - 1} others" if len(cassettes) > 1 else ""
    return Offline(f"the open cassette {cassettes[0].path}{more} only replays", allow)
