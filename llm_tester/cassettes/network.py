"""A guard of the process's network: only connections to this machine go through."""

import contextlib
import ipaddress
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

__all__ = ["Network", "network", "stays"]

_SENDING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_LOOKING_UP = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})


class Network:
    """Refuses connections that leave this machine, while a session asks for it.

    An audit hook sees every socket of the process, whatever else patches the module `socket`. It cannot be taken off
    again, so it is set when it is first needed, and does nothing while no session asks.
    """

    __cantrace__ = True  # Python's own switch: coverage and debuggers see what a hook does

    def __init__(self) -> None:
        self.refused: Counter[str] | None = None
        self.hooked = False

    @contextlib.contextmanager
    def refusing(self, refused: Counter[str] | None) -> Iterator[None]:
        """Refuses and counts by host; lets everything through if None."""
        if not self.hooked and refused is not None:
            sys.addaudithook(self)
            self.hooked = True
        before, self.refused = self.refused, refused
        try:
            yield
        finally:
            self.refused = before

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        refused = self.refused
        if refused is None or event not in _SENDING | _LOOKING_UP:
            return
        host = args[0]
        if event in _SENDING:
            if host.family not in (socket.AF_INET, socket.AF_INET6) or not args[1]:
                return
            host = args[1][0]
        name = host.decode(errors="replace") if isinstance(host, bytes | bytearray) else host or ""
        if stays(name, looked_up=event in _LOOKING_UP):
            return
        refused[name] += 1
        raise ConnectionRefusedError(
            f"--llm-block-network refused {name!r}: nothing was sent. Give the test a cassette (mark it with "
            "llm_cassette, record it with --llm-record once), or leave the option out"
        )


network = Network()


def stays(host: str, *, looked_up: bool) -> bool:
    """Whether what goes to a host stays on this machine; looking up an address sends nothing."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        name = host.lower().rstrip(".")
        return name in ("", "localhost", socket.gethostname().lower()) or name.endswith(".localhost")
    address = getattr(address, "ipv4_mapped", None) or address
    return looked_up or address.is_loopback or address.is_unspecified
