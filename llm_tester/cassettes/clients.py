"""The requests of each client library: read, answered from the cassette of their context, or sent and recorded.

vcrpy's stubs read and answer for httpx and httpx2, and its response class answers for aiohttp. aiohttp's requests are
caught by one of its own middlewares, below its redirects and its `base_url`; vcrpy's stub is above them. For urllib3,
vcrpy's stub removes every patch of the process during each live request, so that requests of other threads pass by;
here the method below it is patched, which covers requests too.
"""

import asyncio
import functools
import http
import importlib
import importlib.util
import io
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from vcr.request import Request
from vcr.stubs.httpx_stubs import vcr_handle_async_request, vcr_handle_request

from . import bodies, guard
from .calls import Exchange, running
from .context import current, injected_faults
from .matching import Request as Asked
from .network import network
from .storage import reply_of

__all__ = ["Target", "targets"]

# A class, the name of one of its methods, and what makes the patched method of the one that passes a request on
# unseen and of the one that sends it.
Method = Callable[..., Any]
Target = tuple[type, str, Callable[[Method, Method], Method]]


def targets() -> Iterator[Target]:
    """Each method to patch, of the client libraries that are installed."""
    makers = {"httpx": _httpx, "httpx2": _httpx, "aiohttp": _aiohttp, "urllib3": _urllib3}
    for name in filter(importlib.util.find_spec, makers):
        yield from makers[name](importlib.import_module(name))


def _is_routed() -> bool:
    return running.get() is not None or current() is not None or bool(injected_faults())


def _check(url: object) -> None:
    """Refuses what no cassette answers while nothing may be sent: a connection that is kept open does not connect."""
    if network.reason() is not None:
        network.check_url(str(url))


# What the clients raise if a request never left this machine: no address, no connection, no TLS, no free connection,
# or a header or an address that cannot be sent.
_NEVER_SENT = frozenset(
    {
        *("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "LocalProtocolError", "ProxyError"),
        *("ClientConnectorError", "ClientConnectorDNSError", "ClientConnectorCertificateError", "InvalidURL"),
        *("ClientConnectorSSLError", "ClientProxyConnectionError", "ConnectionTimeoutError", "ConnectTimeoutError"),
        *("NewConnectionError", "NameResolutionError", "SSLError", "UnicodeEncodeError", "InvalidHeader"),
    }
)


class _Exchange:
    """One request of a client, from its sending to its reply; for vcrpy's httpx stub, the cassette it works with."""

    # A miss raises in the lookup, before the stub asks about protection.
    write_protected = False

    def __init__(self, client: str) -> None:
        self.client = client
        self.cassette = current()
        self.asked: Asked | None = None
        self.sent = 0.0
        self.uri = ""
        self.reply: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and self.sent:
            was_sent = type(error).__name__ not in _NEVER_SENT
            _note_exchange(Exchange(time.perf_counter() - self.sent, sent=was_sent))

    def can_play_response_for(self, request: Request) -> bool:
        """Whether the request is answered here; the answer is in `reply`."""
        guard.check_is_open()
        self.uri = request.uri
        for entry in injected_faults():
            if (scope := running.get()) is not None:
                scope.faults += 1
            if (reply := entry.fault.meet(self.client, request)) is not None:
                self.reply = reply
                return True
        if self.cassette is None:
            _check(request.uri)
            self.sent = time.perf_counter()
            return False
        headers = {str(name).lower(): [str(value)] for name, value in request.headers.items()}
        self.asked = self.cassette.request(request.method, request.uri, headers, request.body or b"")
        if (interaction := self.cassette.play(self.asked)) is None:
            self.cassette.prepare()
            self.sent = time.perf_counter()
            return False
        self.reply = dict(zip(("status", "headers", "body"), reply_of(interaction), strict=True))
        seconds = interaction.recorded.get("seconds")
        _note_exchange(Exchange(seconds, self.reply["status"], replayed=True, body=self.reply["body"]))
        guard.check_redirect(self.uri, self.reply["status"], self.reply["headers"])
        return True

    def play_response(self, request: Request) -> dict[str, Any]:
        """The reply, the way vcrpy writes it."""
        status = self.reply["status"]
        phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else ""
        return {
            "status": {"code": status, "message": phrase},
            "headers": self.reply["headers"],
            "body": {"string": self.reply["body"]},
        }

    def append(self, request: Request, response: Mapping[str, Any]) -> None:
        """Takes the reply from vcrpy's stub."""
        self.record(response["status"]["code"], response["headers"], response["body"]["string"])

    def record(self, status: int, headers: Mapping[str, list[str]], body: bytes) -> None:
        """Records the reply, as it came over the wire or with its headers saying that it is decoded."""
        seconds = time.perf_counter() - self.sent
        lower = {str(name).lower(): [str(value) for value in values] for name, values in headers.items()}
        if encodings := lower.get("content-encoding"):
            plain = bodies.uncompressed(body, ", ".join(encodings), guard.check_size)
            if plain is not None:
                del lower["content-encoding"]
                body = plain
        self.sent = 0.0
        _note_exchange(Exchange(seconds, status, body=body))
        guard.check_redirect(self.uri, status, lower)
        if self.cassette is not None and self.asked is not None:
            self.cassette.record(self.asked, {"status": status, "headers": lower, "body": body}, seconds)


def _note_exchange(exchange: Exchange) -> None:
    if (scope := running.get()) is not None:
        scope.exchanges.append(exchange)


def _httpx(library: Any) -> Iterator[Target]:
    name = library.__name__

    def sync(below: Method, real: Method) -> Method:
        send = guard.limited(real, library)

        def handle_request(self: Any, request: Any) -> Any:
            if not _is_routed():
                _check(request.url)
                return below(self, request)
            with _Exchange(name) as exchange:
                return vcr_handle_request(exchange, send, library)(self, request)

        return handle_request

    def asynchronous(below: Method, real: Method) -> Method:
        send = guard.limited_async(real, library)

        async def handle_async_request(self: Any, request: Any) -> Any:
            if not _is_routed():
                _check(request.url)
                return await below(self, request)
            with _Exchange(name) as exchange:
                return await vcr_handle_async_request(exchange, send, library)(self, request)

        return handle_async_request

    yield library.HTTPTransport, "handle_request", sync
    yield library.AsyncHTTPTransport, "handle_async_request", asynchronous
    yield from guard.streams(library)


def _aiohttp(library: Any) -> Iterator[Target]:
    yield library.ClientSession, "_request", _aiohttp_request


def _aiohttp_request(below: Method, real: Method) -> Method:
    async def request(self: Any, method: str, url: Any, **options: Any) -> Any:
        if not _is_routed():
            _check(self._build_url(url))
            return await below(self, method, url, **options)
        own = options.get("middlewares")
        decodes = options.get("auto_decompress")
        decodes = self.auto_decompress if decodes is None else decodes

        async def meet(request: Any, send: Callable[[Any], Awaitable[Any]]) -> Any:
            return await _aiohttp_exchange(request, send, decodes)

        options["middlewares"] = (*(self._middlewares if own is None else own), meet)
        return await real(self, method, url, **options)

    return request


async def _aiohttp_exchange(request: Any, send: Callable[[Any], Awaitable[Any]], decodes: bool) -> Any:
    from vcr.stubs.aiohttp_stubs import MockStream, build_response

    body = await request.body.as_bytes() if request.body else b""
    asked = Request(request.method, str(request.url), body, request.headers)
    with _Exchange("aiohttp") as exchange:
        if exchange.can_play_response_for(asked):
            return build_response(asked, exchange.play_response(asked), [])
        async with asyncio.timeout(guard.begin()):
            response = await send(request)
            content = await guard.read_async(response)
        if content:
            # Reading drained the stream that the caller may want to read.
            response.content = MockStream(content)
        headers: dict[str, list[str]] = {}
        for name, value in response.headers.items():
            if not (decodes and name.lower() == "content-encoding"):
                headers.setdefault(name, []).append(value)
        exchange.record(response.status, headers, content)
        return response


def _urllib3(library: Any) -> Iterator[Target]:
    yield library.HTTPConnectionPool, "_make_request", _urllib3_request
    yield library.HTTPSConnectionPool, "_prepare_proxy", _urllib3_proxy


def _urllib3_request(below: Method, real: Method) -> Method:
    from urllib3 import HTTPHeaderDict, HTTPResponse
    from urllib3.exceptions import ReadTimeoutError

    def make_request(pool: Any, connection: Any, method: str, url: str, **options: Any) -> Any:
        if not _is_routed():
            _check(_address(pool, url))
            return below(pool, connection, method, url, **options)
        if options.get("body") is not None:
            # A file or an iterator can be read only once, so what was read is sent.
            options["body"] = _bytes(options["body"])
        request = Request(method, _address(pool, url), options.get("body"), dict(options.get("headers") or {}))
        made = {"preload_content": True, "decode_content": True, "retries": None, **options}
        made = {name: made[name] for name in ("preload_content", "decode_content", "retries")}
        made |= {"request_method": method, "request_url": url}
        with _Exchange("urllib3") as exchange:
            if exchange.can_play_response_for(request):
                if (unused := options.get("response_conn")) is not None:
                    pool._put_conn(unused)
                played = exchange.play_response(request)
                headers = HTTPHeaderDict((name, value) for name, all in played["headers"].items() for value in all)
                body, status = io.BytesIO(played["body"]["string"]), played["status"]
                return HTTPResponse(body, headers, status["code"], reason=status["message"], **made)
            if (tunnel := vars(connection).pop(_TUNNEL, None)) is not None:
                tunnel()
            if (left := guard.begin()) is not None:
                options["timeout"] = timeout = pool._get_timeout(options.get("timeout", pool.timeout))
                timeout.total = left if timeout.total is None else min(left, timeout.total)
            sent = real(pool, connection, method, url, **{**options, "preload_content": False})
            parts = sent.stream(decode_content=False)
            if isinstance(sent, HTTPResponse):
                # In time, whatever comes; vcrpy's own response has no such method.
                parts = iter(lambda: sent.read1(65_536, decode_content=False), b"")
            content = guard.read(parts, ReadTimeoutError(pool, url, "the timeout is over"))
            lists: dict[str, list[str]] = {}
            for name, value in sent.headers.items():
                lists.setdefault(name, []).append(value)
            exchange.record(sent.status, lists, content)
            made |= {"reason": sent.reason, "version": sent.version, "version_string": sent.version_string}
            # requests takes its cookies from the original.
            made["original_response"] = sent._original_response
            return HTTPResponse(io.BytesIO(content), sent.headers, sent.status, **made)

    return make_request


_TUNNEL = "_llm_tester_tunnel"


def _urllib3_proxy(below: Method, real: Method) -> Method:
    def prepare_proxy(pool: Any, connection: Any) -> None:
        if _is_routed():
            # Connecting waits until it is known that the request will be sent.
            setattr(connection, _TUNNEL, functools.partial(real, pool, connection))
        else:
            below(pool, connection)

    return prepare_proxy


def _address(pool: Any, url: str) -> str:
    if not url.startswith("/"):
        # A proxy gets the whole address.
        return url
    host = f"[{pool.host}]" if ":" in pool.host else pool.host
    port = "" if pool.port in (None, {"http": 80, "https": 443}[pool.scheme]) else f":{pool.port}"
    return f"{pool.scheme}://{host}{port}{url}"


def _bytes(body: Any) -> bytes:
    if hasattr(body, "read"):
        body = body.read()
    if isinstance(body, str):
        return body.encode()
    return bytes(body) if isinstance(body, bytes | bytearray | memoryview) else b"".join(map(_bytes, body))
