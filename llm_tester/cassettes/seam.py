"""One patch of the process, counted in and out; each request goes to the cassette of the context that sends it.

vcrpy's own stubs read and answer the requests of httpx, httpx2 and aiohttp. Its stub for urllib3 takes every patch of
the process off for the length of each live request, so that requests of other threads pass by; `_urllib3` patches the
one method below it instead, which serves requests as well.
"""

import contextlib
import functools
import importlib
import importlib.util
import io
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

from vcr.request import Request

from ..errors import CassetteError, LLMTesterError
from .cassette import Cassette, reply_of
from .storage import encode_body

__all__ = ["Fault", "current", "inject", "is_offline", "is_patched", "use_cassette"]

_MARK = "__llm_tester_original__"


class Fault(Protocol):
    """Something that answers a request in the provider's place."""

    def meet(self, client: str, request: Request) -> dict[str, Any] | None:
        """The reply to give (status, headers, body), None to let the request go on; or raises the client's error."""


_cassette: ContextVar[Cassette | None] = ContextVar("llm_tester_cassette", default=None)
_faults: ContextVar[tuple[Fault, ...]] = ContextVar("llm_tester_faults", default=())


def current() -> Cassette | None:
    """The cassette of the calling context, None outside any."""
    return _cassette.get()


def is_offline() -> bool:
    """Whether the calling context's requests are answered here: by a cassette that only replays, or by a fault."""
    cassette = _cassette.get()
    return bool(_faults.get()) or (cassette is not None and cassette.replays_only)


class _Router:
    """What vcrpy's stubs take for a cassette: whichever one the calling context uses, for one client library."""

    # A miss raises where it is looked up, before the stub asks about protection.
    write_protected = False

    def __init__(self, client: str) -> None:
        self.client = client

    def can_play_response_for(self, request: Request) -> bool:
        for fault in _faults.get():
            if (reply := fault.meet(self.client, request)) is not None:
                request.reply = reply
                return True
        cassette = _cassette.get()
        if cassette is None:
            return False
        request.asked = cassette.request(_plain(request))
        interaction = cassette.play(request.asked)
        request.reply = None
        if interaction is not None:
            status, headers, body = reply_of(interaction)
            request.reply = {"status": status, "headers": headers, "body": body}
        request.started = time.perf_counter()
        return request.reply is not None

    def play_response(self, request: Request) -> dict[str, Any]:
        if not hasattr(request, "reply") and not self.can_play_response_for(request):
            raise CassetteError(f"{request.uri}: a redirect leads to what was not recorded; record it again")
        reply = request.reply
        return {
            "status": {"code": reply["status"], "message": _phrase(reply["status"])},
            "headers": reply["headers"],
            "body": {"string": reply["body"]},
        }

    def filter_request(self, request: Request) -> Request:
        return request

    def find_requests_with_most_matches(self, request: Request) -> list[tuple[Request, list[str], list[str]]]:
        # The aiohttp stub asks for candidates when it follows a redirect; it takes the request itself where there are
        # none, and `play_response` then finds it or says that it is missing.
        return []

    def append(self, request: Request, response: Mapping[str, Any]) -> None:
        cassette = _cassette.get()
        if cassette is None:
            return
        asked = getattr(request, "asked", None) or cassette.request(_plain(request))
        started = getattr(request, "started", None)
        seconds = time.perf_counter() - started if started is not None else 0.0
        headers = {str(name): [str(value) for value in values] for name, values in response["headers"].items()}
        body = self._decoded(headers, response["body"].get("string") or b"")
        reply = {"status": response["status"]["code"], "headers": headers, "body": body}
        cassette.record(asked, reply, seconds)

    def _decoded(self, headers: Mapping[str, list[str]], body: bytes) -> bytes:
        encoding = [value for name, values in headers.items() if name.lower() == "content-encoding" for value in values]
        if not encoding or self.client not in ("httpx", "httpx2"):
            return body
        # The stub hands over what came over the wire; the client's own decoders undo what it had offered to accept.
        library = importlib.import_module(self.client)
        content: bytes = library.Response(200, headers={"content-encoding": ", ".join(encoding)}, content=body).content
        return content


def _phrase(status: int) -> str:
    import http

    return http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else ""


def _plain(request: Request) -> dict[str, Any]:
    body = request.body
    if hasattr(body, "read"):
        body = body.read()
    headers = {str(name): [str(value)] for name, value in request.headers.items()}
    return {"method": request.method, "uri": request.uri, "headers": headers, "body": _body(body, headers)}


def _body(body: Any, headers: Mapping[str, list[str]]) -> dict[str, Any] | None:
    if body is None or body == b"" or body == "":
        return None
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, bytes | bytearray):
        return _without_boundary(bytes(body), headers)
    if isinstance(body, dict | list | tuple):
        return {"json": _jsonable(body)}
    if hasattr(body, "_fields"):
        # aiohttp's form: its bytes can be made only once, so what it is made of is compared.
        return {"json": [[dict(names), _text(value)] for names, _, value in body._fields]}
    return encode_body(b"".join(part if isinstance(part, bytes) else str(part).encode() for part in body))


def _without_boundary(body: bytes, headers: Mapping[str, list[str]]) -> dict[str, Any] | None:
    kind = next((values[0] for name, values in headers.items() if name.lower() == "content-type"), "")
    if "boundary=" in kind:
        # A multipart boundary is random; what stands between is not.
        boundary = kind.split("boundary=")[1].split(";")[0].strip('"')
        body = body.replace(boundary.encode(), b"boundary")
        headers["content-type"][:] = [kind.replace(boundary, "boundary")] if "content-type" in headers else []
        return {"text": body.decode(errors="backslashreplace").replace("\r\n", "\n")}
    return encode_body(body)


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else _text(value)


def _text(value: Any) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _routed() -> bool:
    return _cassette.get() is not None or bool(_faults.get())


@contextlib.contextmanager
def _noting_failures() -> Iterator[None]:
    """Tells the cassette of an attempt that came to no reply; replays and injected faults are none of its own."""
    started = time.perf_counter()
    try:
        yield
    except LLMTesterError:
        raise
    except Exception as error:
        cassette = _cassette.get()
        if cassette is not None and not cassette.replays_only:
            cassette.failed(type(error).__name__, time.perf_counter() - started)
        raise


def _sync(original: Callable[..., Any], stub: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def patched(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _routed():
            return original(self, *args, **kwargs)
        with _noting_failures():
            return stub(self, *args, **kwargs)

    return patched


def _async(original: Callable[..., Awaitable[Any]], stub: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def patched(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _routed():
            return await original(self, *args, **kwargs)
        with _noting_failures():
            return await stub(self, *args, **kwargs)

    return patched


def _targets() -> Iterator[tuple[Any, str, Callable[[Any], Any]]]:
    """Each method to patch: its class, its name, and what makes the patched one of the original."""
    for name in ("httpx", "httpx2"):
        if importlib.util.find_spec(name):
            yield from _httpx(importlib.import_module(name), _Router(name))
    if importlib.util.find_spec("aiohttp"):
        from aiohttp import ClientSession
        from vcr.stubs.aiohttp_stubs import vcr_request

        aiohttp = _Router("aiohttp")
        yield ClientSession, "_request", lambda real: _async(real, vcr_request(aiohttp, real))
    if importlib.util.find_spec("urllib3"):
        from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

        yield HTTPConnectionPool, "_make_request", lambda real: _sync(real, _urllib3(_Router("urllib3"), real))
        yield HTTPSConnectionPool, "_prepare_proxy", lambda real: _sync(real, lambda self, conn: None)


def _httpx(library: Any, router: _Router) -> Iterator[tuple[Any, str, Callable[[Any], Any]]]:
    from vcr.stubs.httpx_stubs import vcr_handle_async_request, vcr_handle_request

    yield (
        library.HTTPTransport,
        "handle_request",
        lambda real: _sync(real, vcr_handle_request(router, real, library)),
    )
    yield (
        library.AsyncHTTPTransport,
        "handle_async_request",
        lambda real: _async(real, vcr_handle_async_request(router, real, library)),
    )


def _urllib3(router: _Router, original: Callable[..., Any]) -> Callable[..., Any]:
    from urllib3 import HTTPHeaderDict, HTTPResponse

    def make_request(pool: Any, conn: Any, method: str, url: str, **kwargs: Any) -> Any:
        port = "" if pool.port in (None, {"http": 80, "https": 443}[pool.scheme]) else f":{pool.port}"
        uri = url if "://" in url else f"{pool.scheme}://{pool.host}{port}{url}"
        request = Request(method, uri, kwargs.get("body"), dict(kwargs.get("headers") or {}))
        if hasattr(kwargs.get("body"), "__next__"):
            kwargs["body"] = iter(request.body)
        if router.can_play_response_for(request):
            played = router.play_response(request)
        else:
            if pool.proxy is not None and conn.is_closed and pool.scheme == "https":
                getattr(type(pool)._prepare_proxy, _MARK)(pool, conn)
            real = original(pool, conn, method, url, **{**kwargs, "preload_content": True, "decode_content": True})
            headers: dict[str, list[str]] = {}
            for name, value in real.headers.items():
                headers.setdefault(name, []).append(value)
            played = {
                "status": {"code": real.status, "message": real.reason},
                "headers": headers,
                "body": {"string": real.data},
            }
            router.append(request, played)
        return HTTPResponse(
            body=io.BytesIO(played["body"]["string"]),
            headers=HTTPHeaderDict(
                (name, value)
                for name, values in played["headers"].items()
                # The body is decoded and whole by now.
                if name.lower() not in ("content-encoding", "transfer-encoding", "content-length")
                for value in values
            ),
            status=played["status"]["code"],
            reason=played["status"]["message"],
            preload_content=kwargs.get("preload_content", True),
            request_method=method,
            request_url=url,
            retries=kwargs.get("retries"),
        )

    return make_request


class _Patch:
    """The one patch of the process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users = 0
        self.undo: list[tuple[Any, str, Any, Any]] = []

    def acquire(self) -> None:
        with self.lock:
            self.users += 1
            if self.users > 1:
                return
            try:
                self._install()
            except BaseException:
                self.release()
                raise

    def _install(self) -> None:
        for owner, name, make in _targets():
            found = owner.__dict__[name]
            original = getattr(found, _MARK, found)
            patched = make(original)
            setattr(patched, _MARK, original)
            self.undo.append((owner, name, found, patched))
            setattr(owner, name, patched)

    def release(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users:
                return
            while self.undo:
                owner, name, found, patched = self.undo.pop()
                # Where someone else patched over ours in the meantime, taking theirs off is not ours to do; what they
                # put back later passes every request through.
                if owner.__dict__[name] is patched:
                    setattr(owner, name, getattr(found, _MARK, found))


_patch = _Patch()


def is_patched() -> bool:
    """Whether the process is patched at the moment."""
    return _patch.users > 0


class _Recording:
    """The files that are open for recording: two writers of one file would lose each other's replies."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.paths: set[Path] = set()


_recording = _Recording()


@contextlib.contextmanager
def _alone(cassette: Cassette) -> Iterator[None]:
    if cassette.replays_only:
        yield
        return
    with _recording.lock:
        if cassette.path in _recording.paths:
            raise CassetteError(
                f"{cassette.path}: is already open for recording in another context; give each its own file"
            )
        _recording.paths.add(cassette.path)
    try:
        yield
    finally:
        with _recording.lock:
            _recording.paths.discard(cassette.path)


@contextlib.contextmanager
def _patched() -> Iterator[None]:
    _patch.acquire()
    try:
        yield
    finally:
        _patch.release()


@contextlib.contextmanager
def use_cassette(
    path: str | Path,
    record: str = "none",
    *,
    origin: str | None = None,
    again: str | None = None,
    match_body: bool = True,
    fail_on_unused: bool = False,
) -> Iterator[Cassette]:
    """Records and replays the HTTP requests of the calling context, and of no other.

    It may be open in any number of threads and tasks at once. A thread that is started inside does not carry the
    context by itself: start it with `contextvars.copy_context().run`.

    Args:
        path: the cassette's file.
        record: the record mode, see `Cassette`.
        origin: what answers, where it is not the host in the URL (`stand-in: …`); goes into the metadata.
        again: the command that records again, shown where a request is not what was recorded.
        match_body: whether the bodies must be equal; False is for recordings of other projects.
        fail_on_unused: whether an interaction that nothing asked for is an error.

    Yields:
        The cassette.

    Raises:
        CassetteError: the file cannot be read or written, or has interactions that nothing asked for.
        CassetteMismatch: a request is not what was recorded.
    """
    cassette = Cassette(path, record, origin=origin, again=again, match_body=match_body)
    with _alone(cassette), _patched():
        token = _cassette.set(cassette)
        try:
            yield cassette
        finally:
            _cassette.reset(token)
    if fail_on_unused and cassette.mode not in ("all", "rewrite") and (unused := cassette.unused()):
        first = unused[0].request
        raise CassetteError(
            f"{cassette.path}: nothing asked for {len(unused)} of its interactions, the first "
            f"{first['method']} {first['uri']}; {cassette.again}"
        )


@contextlib.contextmanager
def inject(fault: Fault) -> Iterator[None]:
    """Lets a fault answer the requests of the calling context, before its cassette does."""
    with _patched():
        token = _faults.set((fault, *_faults.get()))
        try:
            yield
        finally:
            _faults.reset(token)
