"""What a provider's server can do wrong, by name, and the one outcome that each fault has on every route."""

import dataclasses
import gzip
import json
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from hostile_server import FAULTS, REDIRECTS, redirect
from http_server import Reply, Seen
from wire_bodies import Wire

from llm_tester.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionError,
    PermissionDeniedError,
    ProviderError,
    RateLimitError,
    ServerError,
    TimeoutError,
    UnknownModelError,
    UnusableReplyError,
)

__all__ = ["HTTP_GROUPS", "MOST_ATTEMPTS", "Fault", "Outcome", "Request"]

MOST_ATTEMPTS = 2


class Request(NamedTuple):
    """What a fault answers.

    Attributes:
        wire: the format of the route.
        number: which request of the call it is, from 1.
        other: the address of another server.
        seen: the request.
    """

    wire: Wire
    number: int
    other: str
    seen: Seen

    def reply(self) -> Reply:
        """What a provider replies if nothing is wrong."""
        return Reply(json.dumps(self.wire.body).encode())

    def error(self, status: int, message: str = "scripted") -> bytes:
        """An error in the vendor's own form. It quotes the key, as some do."""
        quoted = [self.seen.headers.get(name, "") for name in ("authorization", "x-api-key", "x-goog-api-key")]
        error = {"message": f"{message}; the key is {' '.join(quoted)}", "type": "scripted", "code": status}
        return json.dumps({"type": "error", "error": error}).encode()


class Outcome(NamedTuple):
    """What a call ends with.

    Attributes:
        error: the class of its error; None if it ends with a reply.
        status: the status that the error has.
        attempts: how many attempts there are.
        billed: `no`, `as priced`, `at most` (the failed attempts may have been billed) or `unknown`.
        requests: how many requests reach the server.
        retry_after: seconds that the provider asks to wait.
        text: the reply's text.
        finish: why it ended.
        note: a part of what the usage's notes say; "" if there are none.
    """

    error: type[ProviderError] | None = None
    status: int | None = None
    attempts: int = 1
    billed: str = "as priced"
    requests: int = 1
    retry_after: float | None = None
    text: str = "hello"
    finish: str | None = "stop"
    note: str = ""


class Fault(NamedTuple):
    """One fault.

    Attributes:
        answer: what the server does; None if none listens.
        outcome: what the call ends with.
        is_slow: whether the timeout ends it.
        instead: other outcomes by route.
    """

    answer: Callable[[Request], Reply] | None
    outcome: Outcome
    is_slow: bool = False
    instead: Mapping[str, Outcome] = MappingProxyType({})

    def outcome_on(self, route: str) -> Outcome:
        return self.instead.get(route, self.outcome)


def fails(kind: type[ProviderError], status: int | None = None, billed: str = "no") -> Outcome:
    """An error; its class says whether there is another attempt."""
    attempts = MOST_ATTEMPTS if kind.retryable else 1
    return Outcome(kind, status, attempts, billed, attempts)


_KINDS = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: UnknownModelError,
    408: TimeoutError,
    429: RateLimitError,
}
_REFUSALS = (400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 418, 422, 423, 425, 429, 451, 499)
_FAILURES = (500, 501, 502, 503, 504, 507, *range(520, 530))
_SOME = (400, 401, 403, 404, 408, 413, 429, 500, 503, 529)
_BODIES: dict[str, tuple[str, bytes]] = {
    "HTML": ("text/html", b"<html><body><h1>It does not work</h1></body></html>"),
    "an empty body": ("application/json", b""),
    "5 MB": ("application/json", json.dumps({"error": {"message": "abc-def_123 " * 420_000}}).encode()),
}


def _by_status(status: int) -> Outcome:
    return fails(_KINDS.get(status, ServerError if status >= 500 else BadRequestError), status)


def _status(status: int) -> Callable[[Request], Reply]:
    return lambda request: Reply(request.error(status), status)


def _plain(status: int, kind: str, body: bytes) -> Callable[[Request], Reply]:
    return lambda _: Reply(body, status, {"content-type": kind})


def _statuses() -> Iterator[tuple[str, Fault]]:
    for status in (*_REFUSALS, *_FAILURES):
        yield f"{status}", Fault(_status(status), _by_status(status))
    for name, (kind, body) in _BODIES.items():
        for status in _SOME:
            yield f"{status} with {name}", Fault(_plain(status, kind, body), _by_status(status))


def _retry_after(**headers: str) -> Callable[[Request], Reply]:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return lambda request: Reply(request.error(429), 429, {"content-type": "application/json", **named})


def _waits() -> Iterator[tuple[str, Fault]]:
    tried, left = fails(RateLimitError, 429), Outcome(RateLimitError, 429, 1, "no")
    yield "seconds", Fault(_retry_after(retry_after="0"), tried._replace(retry_after=0.0))
    yield "a fraction of a second", Fault(_retry_after(retry_after="0.01"), tried._replace(retry_after=0.01))
    yield "milliseconds", Fault(_retry_after(retry_after_ms="10"), tried._replace(retry_after=0.01))
    both = _retry_after(retry_after_ms="10", retry_after="3600")
    yield "milliseconds next to seconds", Fault(both, tried._replace(retry_after=0.01))
    past = _retry_after(retry_after="Wed, 21 Oct 2015 07:28:00 GMT")
    yield "a date that is over", Fault(past, tried._replace(retry_after=0.0))
    for name, text in {"garbage": "soon", "nothing": "", "negative": "-5", "NaN": "nan", "infinite": "inf"}.items():
        yield name, Fault(_retry_after(retry_after=text), tried)
    yield "an hour", Fault(_retry_after(retry_after="3600"), left._replace(retry_after=3600.0))
    yield "a thousand years", Fault(_retry_after(retry_after="31557600000"), left._replace(retry_after=31557600000.0))


def _leads(status: int, to: str) -> Callable[[Request], Reply]:
    """To an address that names the call, because a client may leave the body out."""

    def answer(request: Request) -> Reply:
        place = to.replace("OTHER", request.other).replace("SAME", request.seen.path)
        return redirect(status, place)(request.seen)

    return answer


def _redirects() -> Iterator[tuple[str, Fault]]:
    refused = Outcome(UnusableReplyError)._replace(billed="no")
    for status in REDIRECTS:
        yield f"{status} to another origin", Fault(_leads(status, "OTHER/v1/taken"), refused)
        yield f"{status} to itself", Fault(_leads(status, "SAME"), refused._replace(requests=2))
        yield f"{status} to another scheme", Fault(_leads(status, "https://127.0.0.1:1/v1"), refused)


def _hostile(name: str) -> Callable[[Request], Reply]:
    return lambda request: FAULTS[name](request.seen)


def _sends(*parts: bytes, resets: bool = False) -> Callable[[Request], Reply]:
    """Writes to the connection itself, and closes it: with a reset, or as usual."""

    def write(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)
        if resets:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return lambda _: Reply(raw=write)


def _headed(*lines: bytes, body: bytes | None = None) -> Callable[[Request], Reply]:
    """The normal reply, or another body, behind a head of one's own; LENGTH is its length."""

    def answer(request: Request) -> Reply:
        sent = request.reply().body if body is None else body
        # Otherwise the client may keep the connection, and lose its next request on it.
        head = b"\r\n".join([*lines, b"connection: close", b"", b""]).replace(b"LENGTH", b"%d" % len(sent))
        return _sends(head + sent)(request)

    return answer


_OK = b"HTTP/1.1 200 OK"
_JSON = b"content-type: application/json"
_LENGTH = b"content-length: LENGTH"
_START = b"\r\n".join([_OK, _JSON, b""])
# Until here in any reply, the connection works; the model may have been paid.
_BROKEN: dict[str, Callable[[Request], Reply]] = {
    "reset before the headers": lambda _: Reply(reset=True),
    "reset in the headers": _sends(_START, resets=True),
    "reset in the body": _sends(_START + b"content-length: 90\r\n\r\n{", resets=True),
    "closed before the headers": _sends(),
    "closed in the headers": _sends(_START),
    "closed in the body": lambda request: dataclasses.replace(request.reply(), cut=True),
    "closed in a chunk": _sends(_START + b"transfer-encoding: chunked\r\n\r\n50\r\n{"),
    "closed between chunks": _sends(_START + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"),
    "a chunk without a size": _sends(_START + b"transfer-encoding: chunked\r\n\r\nzz\r\n{\r\n0\r\n\r\n"),
    "no HTTP": _sends(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "bytes without a line": _sends(b"\x16\x03\x01\x00\x00" * 20),
    "a body without headers": _sends(b'{"choices": []}\r\n\r\n'),
    "a status that is no number": _headed(b"HTTP/1.1 fine OK", _JSON, _LENGTH),
    "a header without a name": _headed(_OK, b": nothing", _LENGTH),
    "a header without a colon": _headed(_OK, b"nothing", _LENGTH),
    "a control character in a header": _headed(_OK, b"x-a: a\0b", _LENGTH),
    "headers of 1 MB": _headed(_OK, b"x-a: " + b"a" * 1_000_000, _LENGTH),
    "a length that is no number": _headed(_OK, _JSON, b"content-length: many"),
    "a negative length": _headed(_OK, _JSON, b"content-length: -5"),
    "two lengths": _headed(_OK, _JSON, _LENGTH, b"content-length: 5"),
    "a length that is too large": _headed(_OK, _JSON, b"content-length: 99999"),
    "an unknown transfer encoding": _headed(_OK, _JSON, b"transfer-encoding: morse"),
    "another protocol": _headed(b"HTTP/1.1 101 Switching Protocols", b"upgrade: morse"),
}
_HARMLESS: dict[str, Callable[[Request], Reply]] = {
    "100 Continue, then the reply": _headed(b"HTTP/1.1 100 Continue", b"", _OK, _JSON, _LENGTH),
    "103 Early Hints, then the reply": _headed(b"HTTP/1.1 103 Early Hints", b"", _OK, _JSON, _LENGTH),
    "HTTP/1.0 without a length": _headed(b"HTTP/1.0 200 OK", _JSON),
    "an unknown content encoding": _headed(_OK, _JSON, b"content-encoding: morse", _LENGTH),
    "said to be gzip, and is not": _headed(_OK, _JSON, b"content-encoding: gzip", _LENGTH),
    "said to be brotli, and is not": _headed(_OK, _JSON, b"content-encoding: br", _LENGTH),
    "bytes after the reply": lambda request: _headed(
        _OK,
        _JSON,
        b"content-length: %d" % len(request.reply().body),
        body=request.reply().body + b"HTTP/1.1 500 Late\r\n\r\n",
    )(request),
}
_PACKED: dict[str, Callable[[Request], Reply]] = {
    "gzip that is cut": _headed(_OK, _JSON, b"content-encoding: gzip", _LENGTH, body=gzip.compress(b"{}" * 500)[:25]),
    "packed three times": _headed(_OK, _JSON, b"content-encoding: gzip, gzip, gzip", _LENGTH),
    "a length that is too small": _headed(_OK, _JSON, b"content-length: 20"),
}


def _transport() -> Iterator[tuple[str, Fault]]:
    yield "connection refused", Fault(None, fails(ConnectionError)._replace(requests=0))
    for name, answer in _BROKEN.items():
        yield name, Fault(answer, fails(ConnectionError, billed="at most"))
    for name, answer in _HARMLESS.items():
        yield name, Fault(answer, Outcome())
    for name, answer in _PACKED.items():
        yield name, Fault(answer, fails(UnusableReplyError, billed="at most"))
    for name in ("body without end", "chunks without end", "gzip bomb", "gzip bomb in gzip", "brotli bomb"):
        yield name, Fault(_hostile(name), fails(UnusableReplyError, billed="at most"))
    yield "gzip bomb as an error", Fault(_hostile("gzip bomb as an error"), fails(ServerError, 500))


def _once(fault: Callable[[Request], Reply]) -> Callable[[Request], Reply]:
    return lambda request: fault(request) if request.number == 1 else request.reply()


def _recovered() -> Iterator[tuple[str, Fault]]:
    again = Outcome(attempts=2, requests=2)
    for status in (408, 429, 500, 503, 529):
        yield f"{status}, then a reply", Fault(_once(_status(status)), again)
    for name in ("reset before the headers", "closed in the body"):
        yield f"{name}, then a reply", Fault(_once(_BROKEN[name]), again._replace(billed="as priced, and one at most"))
    for status in (307, 308):
        yield f"{status} to the same origin, then a reply", Fault(_once(_leads(status, "SAME")), Outcome(requests=2))


HTTP_GROUPS: dict[str, dict[str, Fault]] = {
    "status": dict(_statuses()),
    "retry-after": dict(_waits()),
    "redirect": dict(_redirects()),
    # A group of its own, so that nothing else is busy while the timeouts are short.
    "time": {
        name: Fault(_hostile(name), fails(TimeoutError, billed="at most"), is_slow=True)
        for name in ("body drips", "chunks drip", "headers drip", "100 continue for ever", "silence")
    },
    "connection": dict(_transport()),
    "first attempt": dict(_recovered()),
}
