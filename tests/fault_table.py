"""What a provider's server can do wrong, by name, and the one outcome that each fault has on every route."""

import dataclasses
import json
from collections.abc import Callable, Iterator
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

__all__ = ["GROUPS", "MOST_ATTEMPTS", "Fault", "Outcome", "Request"]

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
    """

    answer: Callable[[Request], Reply] | None
    outcome: Outcome
    is_slow: bool = False


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


def _transport() -> Iterator[tuple[str, Fault]]:
    lost = fails(ConnectionError, billed="at most")
    yield "connection refused", Fault(None, fails(ConnectionError)._replace(requests=0))
    yield "reset before the headers", Fault(lambda _: Reply(reset=True), lost)
    yield "closed in the body", Fault(lambda request: dataclasses.replace(request.reply(), cut=True), lost)
    for name in ("body drips", "chunks drip", "headers drip", "100 continue for ever", "silence"):
        yield name, Fault(_hostile(name), fails(TimeoutError, billed="at most"), is_slow=True)
    for name in ("body without end", "chunks without end", "gzip bomb", "gzip bomb in gzip", "brotli bomb"):
        yield name, Fault(_hostile(name), fails(UnusableReplyError, billed="at most"))
    for name in ("gzip bomb as an error", "error of 5 MB"):
        yield name, Fault(_hostile(name), fails(ServerError, 500))


GROUPS: dict[str, dict[str, Fault]] = {
    "status": dict(_statuses()),
    "retry-after": dict(_waits()),
    "redirect": dict(_redirects()),
    "transport": dict(_transport()),
}
