"""Faults without a server: HTTP calls of the calling context meet one, some of them or all.

    with faults.rate_limit(retry_after=0, times=1) as fault:
        text, usage = provider.get_response(prompt, source)
    assert (fault.count, usage.attempts) == (1, 2)

A call that meets no fault goes to the outer fault, then to the cassette, else to the real address. Faults work with
the clients of `use_cassette`: httpx, httpx2, aiohttp, requests, urllib3, and what is built on them.
"""

import contextlib
import errno
import importlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from vcr.request import Request

from ..cassettes import inject
from ..cassettes.forks import lock_of

__all__ = [
    "Injected",
    "connection_reset",
    "cut_body",
    "empty_reply",
    "forbidden",
    "invalid_json",
    "not_found",
    "overloaded",
    "rate_limit",
    "server_error",
    "status",
    "timeout",
    "unauthorized",
]

# What Anthropic and OpenAI, and what Google, call a status.
_KINDS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "INVALID_ARGUMENT"),
    401: ("authentication_error", "UNAUTHENTICATED"),
    403: ("permission_error", "PERMISSION_DENIED"),
    404: ("not_found_error", "NOT_FOUND"),
    429: ("rate_limit_error", "RESOURCE_EXHAUSTED"),
    529: ("overloaded_error", "UNAVAILABLE"),
}

_JSON = {"content-type": ["application/json"]}
Answer = Callable[[str, Request], dict[str, Any]]


class Injected:
    """A fault in force.

    Attributes:
        count: how often it struck so far.
        endless: whether every call meets it, so that nothing reaches the network.
    """

    def __init__(self, answer: Answer, times: int | None, host: str | None) -> None:
        self.count = 0
        self.endless = times is None and host is None
        self._answer = answer
        self._times = times
        self._host = host
        self._lock = lock_of(threading.Lock)

    def meet(self, client: str, request: Request) -> dict[str, Any] | None:
        """Strikes a request or lets it go on; see `cassettes.use.Fault`."""
        if self._host is not None and urlsplit(request.uri).hostname != self._host:
            return None
        with self._lock:
            if self._times is not None and self.count >= self._times:
                return None
            self.count += 1
        return self._answer(client, request)


Injection = contextlib.AbstractContextManager[Injected]


@contextlib.contextmanager
def _injected(answer: Answer, times: int | None, host: str | None) -> Iterator[Injected]:
    fault = Injected(answer, times, host)
    with inject(fault):
        yield fault


def status(
    code: int, *, message: str = "", retry_after: float | None = None, times: int | None = None, host: str | None = None
) -> Injection:
    """Lets calls meet an HTTP status, with an error body for the clients of OpenAI, Anthropic, Mistral and Google.

    Args:
        code: the status.
        message: the provider's message; by default one that names this module.
        retry_after: seconds that it asks to wait, in the header of that name; None leaves the header out.
        times: how many calls meet it before the others go on; None for all.
        host: the only host whose calls meet it, such as `api.openai.com`; None for every host.

    Returns:
        A context manager that yields the fault; its `count` says how often it struck.
    """
    kind, name = _KINDS.get(code, ("api_error", "INTERNAL"))
    text = message or "injected by llm_tester.testing.faults"
    error = {"type": kind, "message": text, "code": code, "status": name}
    body = json.dumps({"type": "error", "object": "error", "message": text, "error": error}).encode()
    headers = _JSON if retry_after is None else {**_JSON, "retry-after": [str(retry_after)]}
    return _injected(lambda *_: {"status": code, "headers": headers, "body": body}, times, host)


def unauthorized(*, times: int | None = None, host: str | None = None) -> Injection:
    """Lets calls meet a 401, a refused key; for the arguments, see `status`."""
    return status(401, times=times, host=host)


def forbidden(*, times: int | None = None, host: str | None = None) -> Injection:
    """Lets calls meet a 403; for the arguments, see `status`."""
    return status(403, times=times, host=host)


def not_found(*, times: int | None = None, host: str | None = None) -> Injection:
    """Lets calls meet a 404, an unknown model; for the arguments, see `status`."""
    return status(404, times=times, host=host)


def rate_limit(*, retry_after: float | None = None, times: int | None = None, host: str | None = None) -> Injection:
    """Lets calls meet a 429; for the arguments, see `status`."""
    return status(429, retry_after=retry_after, times=times, host=host)


def server_error(*, times: int | None = None, host: str | None = None) -> Injection:
    """Lets calls meet a 500; for the arguments, see `status`."""
    return status(500, times=times, host=host)


def overloaded(*, retry_after: float | None = None, times: int | None = None, host: str | None = None) -> Injection:
    """Lets calls meet Anthropic's 529; for the arguments, see `status`."""
    return status(529, retry_after=retry_after, times=times, host=host)


def invalid_json(*, times: int | None = None, host: str | None = None) -> Injection:
    """Lets calls meet a 200 whose JSON ends in the middle; for the arguments, see `status`."""
    return _body(b'{"choices": [{"message": {"content": "', times, host)


def empty_reply(*, times: int | None = None, host: str | None = None) -> Injection:
    """Lets calls meet a 200 without a body; for the arguments, see `status`."""
    return _body(b"", times, host)


def timeout(*, times: int | None = None, host: str | None = None) -> Injection:
    """Lets calls meet the client's own read timeout, without a wait; for the arguments, see `status`."""
    return _injected(_timeout, times, host)


def connection_reset(*, times: int | None = None, host: str | None = None) -> Injection:
    """Lets calls meet the client's own error for a reset connection; for the arguments, see `status`."""
    return _injected(_reset, times, host)


def cut_body(*, times: int | None = None, host: str | None = None) -> Injection:
    """Lets calls meet the client's own error for a body that ends too early; for the arguments, see `status`."""
    return _injected(_cut, times, host)


def _body(body: bytes, times: int | None, host: str | None) -> Injection:
    return _injected(lambda *_: {"status": 200, "headers": _JSON, "body": body}, times, host)


# What each client was seen to raise when the same happened on a socket; the tests compare them.
def _timeout(client: str, request: Request) -> NoReturn:
    library = importlib.import_module(client)
    if client == "aiohttp":
        raise library.SocketTimeoutError("Timeout on reading data from socket")
    if client == "urllib3":
        raise library.exceptions.ReadTimeoutError(library.connection_from_url(request.uri), None, "Read timed out.")
    raise library.ReadTimeout("The read operation timed out")


def _reset(client: str, request: Request) -> NoReturn:
    library, reset = importlib.import_module(client), ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    if client == "aiohttp":
        raise library.ClientOSError(*reset.args)
    if client == "urllib3":
        raise library.exceptions.ProtocolError("Connection aborted.", reset)
    raise library.ReadError(str(reset))


def _cut(client: str, request: Request) -> NoReturn:
    library = importlib.import_module(client)
    if client == "aiohttp":
        raise library.ClientPayloadError("Response payload is not completed")
    if client == "urllib3":
        missing = library.exceptions.IncompleteRead(10, 10)
        raise library.exceptions.ProtocolError(f"Connection broken: {missing!r}", missing)
    raise library.RemoteProtocolError("peer closed connection without sending complete message body")
