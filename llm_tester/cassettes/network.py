"""A guard of the process's network: refuses what leaves this machine, and everything while only replays are open."""

import contextlib
import functools
import importlib
import importlib.util
import ipaddress
import json
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..errors import OfflineError
from .forks import lock_of

__all__ = ["VARIABLE", "Network", "Offline", "network", "stays"]

# Tells the processes that a process starts why, and except to which hosts, nothing may be sent.
VARIABLE = "LLM_TESTER_OFFLINE"

_SENDING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_LOOKING_UP = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})
_EVENTS = _SENDING | _LOOKING_UP
# The packages that connect on behalf of others.
_TRANSPORTS = frozenset({"asyncio", "concurrent", "contextlib", "socket", "tornado"})


class Offline(NamedTuple):
    """Why nothing may be sent.

    Attributes:
        why: what only replays.
        allow: the hosts to which may be sent all the same, each with `:port` for that port only.
    """

    why: str
    allow: tuple[str, ...] = ()


class Network:
    """Refuses connections: those that leave this machine, if a session asks for it, and all while nothing is recorded.

    An audit hook sees every socket of the process, whatever else patches the module `socket`. It cannot be taken off
    again, so it is set when it is first needed, and does nothing while no one asks.

    Attributes:
        refused: counts refusals by host, if a session wants to know them.
        leaving: whether the session refuses what leaves this machine.
        replaying: why the calling context may send nothing; None if it may. Set by the module that opens cassettes.
        note: gets the error of each refusal. Set by the same.
    """

    __cantrace__ = True  # Python's own switch: coverage and debuggers see what a hook does

    def __init__(self) -> None:
        self.refused: Counter[str] | None = None
        self.leaving = False
        self.replaying: Callable[[], Offline | None] = lambda: None
        self.note: Callable[[OfflineError], None] = lambda error: None
        self._lock = lock_of(threading.Lock)
        self._hooked = False
        # Why the whole process is offline; the last one counts.
        self._reasons: list[Offline] = []

    def hook(self) -> None:
        """Sets the audit hook, unless it is."""
        with self._lock:
            if not self._hooked:
                sys.addaudithook(self)
                _guard_curl(self.check_url)
                self._hooked = True

    @contextlib.contextmanager
    def refusing(self, refused: Counter[str], *, leaving: bool) -> Iterator[None]:
        """Counts what is refused, and refuses what leaves this machine if asked to."""
        if leaving:
            self.hook()
        before = self.refused, self.leaving
        self.refused, self.leaving = refused, leaving
        try:
            yield
        finally:
            self.refused, self.leaving = before

    @contextlib.contextmanager
    def offline(self, reason: Offline) -> Iterator[None]:
        """Refuses everything, in all threads of this process and in the processes that it starts meanwhile."""
        self.hook()
        with self._lock:
            self._reasons.append(reason)
        try:
            with self.told(reason):
                yield
        finally:
            with self._lock:
                self._reasons.remove(reason)

    @contextlib.contextmanager
    def told(self, reason: Offline) -> Iterator[None]:
        """Refuses everything in the processes that this one starts meanwhile, if they use this package."""
        with self._lock:
            if first := VARIABLE not in os.environ:
                os.environ[VARIABLE] = json.dumps([os.getpid(), *reason])
        try:
            yield
        finally:
            if first:
                os.environ.pop(VARIABLE, None)

    def inherit(self) -> None:
        """Refuses everything from now on, if the process that started this one told it to."""
        if (told := os.environ.get(VARIABLE)) is None:
            return
        process, why, allow = json.loads(told)
        reason = Offline(f"{why} in the process that started this one", tuple(allow))
        if process != os.getpid() and reason not in self._reasons:
            self.hook()
            self._reasons.append(reason)

    def reason(self) -> Offline | None:
        """Why the calling context may send nothing; None if it may."""
        return self._reasons[-1] if self._reasons else self.replaying()

    def check(self, host: str, port: int | None, *, looked_up: bool = False) -> None:
        """Refuses to reach a host, or to look its address up, if nothing may be sent.

        Raises:
            OfflineError: nothing may be sent there.
        """
        reason = self.reason()
        if reason is None or (looked_up and stays(host, looked_up=True)):
            return
        if looked_up and host in {name for name, _ in _parsed(reason.allow)}:
            return
        if {(host, port), (host, None)} & _resolved(reason.allow) or _is_machinery(sys._getframe(1)):
            return
        if self.refused is not None:
            self.refused[host] += 1
        error = OfflineError(
            f"refused {host if port is None else f'{host}:{port}'}, nothing was sent: {reason.why}. A cassette answers "
            "httpx, aiohttp, requests and urllib3 in threads that have its context (contextvars.copy_context().run). "
            "If the host may be reached, name it in `allow`"
        )
        self.note(error)
        raise error

    def check_url(self, url: str) -> None:
        """As `check`, for the host of a URL."""
        parts = urlsplit(url if "://" in url else f"//{url}")
        self.check(parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme))

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in _EVENTS:
            return
        host, port, looked_up = args[0], None, event in _LOOKING_UP
        if not looked_up:
            if host.family not in (socket.AF_INET, socket.AF_INET6) or not args[1]:
                return
            host, port = args[1][:2]
        name = host.decode(errors="replace") if isinstance(host, bytes | bytearray) else host or ""
        self.check(name, port, looked_up=looked_up)
        if not self.leaving or self.refused is None or stays(name, looked_up=looked_up):
            return
        self.refused[name] += 1
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


@functools.lru_cache
def _parsed(allow: tuple[str, ...]) -> frozenset[tuple[str, int | None]]:
    """The hosts of `allow`, and their ports."""
    parts = [urlsplit(f"//{entry}") for entry in allow]
    return frozenset((part.hostname or "", part.port) for part in parts)


@functools.lru_cache
def _resolved(allow: tuple[str, ...]) -> frozenset[tuple[str, int | None]]:
    """The same and their addresses, because it is an address that a socket connects to."""
    found = set(_parsed(allow))
    for host, port in _parsed(allow):
        with contextlib.suppress(OSError):  # a name without an address connects to nothing
            found |= {(str(info[4][0]), port) for info in socket.getaddrinfo(host, None)}
    return frozenset(found)


def _guard_curl(check: Callable[[str], None]) -> None:
    """Lets pycurl ask before it connects: an audit hook does not see libcurl's sockets."""
    if importlib.util.find_spec("pycurl") is None:
        return
    pycurl: Any = importlib.import_module("pycurl")

    def asking(owner: Any, *names: str) -> Any:
        def method(name: str) -> Callable[..., Any]:
            def ask(self: Any, *args: Any) -> Any:
                check(str((*args, self)[0].getinfo(pycurl.EFFECTIVE_URL)))
                return getattr(super(kind, self), name)(*args)

            return ask

        kind: Any = type(owner.__name__, (owner,), {name: method(name) for name in names})
        return kind

    pycurl.Curl = asking(pycurl.Curl, "perform", "perform_rb", "perform_rs")
    # The argument is the `Curl` to perform.
    pycurl.CurlMulti = asking(pycurl.CurlMulti, "add_handle")


def _is_machinery(frame: FrameType | None) -> bool:
    """Whether Dask connects its processes here, or Windows makes a pair of sockets."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module == "socket" and frame.f_code.co_name.endswith("socketpair"):
            return True
        package = module.partition(".")[0]
        if module != __name__ and package not in _TRANSPORTS:
            return package == "distributed"
        frame = frame.f_back
    return False
