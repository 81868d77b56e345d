"""What no reply to a provider's call may do: lead the key to another host, take too long, or be too large.

HTTP clients follow redirects with most headers, the vendors' own headers for keys among them. Their timeouts count each
read, and a server that sends a byte now and then never meets one. And they read and unpack whatever comes. Here all of
that is limited for the running `Call`, below every client; requests without one are left alone.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from ..errors import ProviderError, UnusableReplyError
from . import bodies
from .calls import running

__all__ = [
    "begin",
    "check_is_open",
    "check_redirect",
    "check_size",
    "limited",
    "limited_async",
    "read",
    "read_async",
    "streams",
]

Method = Callable[..., Any]

_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
# A message quotes 500 characters of an error. LiteLLM takes seconds of CPU to redact a megabyte.
_ERROR_BYTES = 16_384
_WRITTEN_AT_ONCE = 65_536


def _refused(message: str) -> UnusableReplyError:
    """The error, which the call remembers: an SDK wraps it, and may try again."""
    error = UnusableReplyError(message)
    if (call := running.get()) is not None:
        call.error = call.error or error
    return error


def begin() -> float | None:
    """Starts the running call's timeout, unless it runs; the seconds that are left of it, None if there is none."""
    if (call := running.get()) is None:
        return None
    call.begin()
    return call.remaining()


def check_is_open() -> None:
    """Checks that no reply of the running call was refused, before its next request.

    Raises:
        UnusableReplyError: one was, and something above tries again.
    """
    if (call := running.get()) is not None and isinstance(call.error, ProviderError):
        raise call.error


def check_redirect(uri: str, status: int, headers: Mapping[str, list[str]]) -> None:
    """Checks a reply, live or replayed: one redirect within the same origin may be followed, and no other.

    Args:
        uri: the address of the request.
        status: the HTTP status.
        headers: with lower-case names.

    Raises:
        UnusableReplyError: it leads to another host, scheme or port, or it is the second one of the call.
    """
    call = running.get()
    if call is None or status not in _REDIRECTS or not (location := headers.get("location")):
        return
    asked = urlsplit(uri)
    try:
        target = urlsplit(urljoin(uri, location[0]))
        is_same = _origin(target) == _origin(asked) and "@" not in target.netloc and "\\" not in location[0]
    except ValueError:
        target, is_same = SplitResult("", "an address that cannot be read", "", "", ""), False
    place = target.netloc.rpartition("@")[2]
    shown = f"{target.scheme}://{place}{target.path[:100]}" if target.scheme else place
    if not is_same:
        raise _refused(
            f"the reply ({status}) redirects from {asked.scheme}://{asked.netloc} to {shown}; it was not followed, "
            "because the key would go along; if that is the API's address, write it as api_base"
        )
    if sum(exchange.status in _REDIRECTS for exchange in call.exchanges) > 1:
        raise _refused(f"the reply ({status}) redirects again, to {shown}; check the entry's api_base")


def _origin(address: SplitResult) -> tuple[str, str | None, int | None]:
    return address.scheme, address.hostname, address.port or _PORTS.get(address.scheme)


def check_size(size: int) -> bool:
    """Checks how many bytes a reply has so far.

    Returns:
        True.

    Raises:
        UnusableReplyError: they are more than the running call allows.
    """
    call = running.get()
    if call is not None and call.max_reply_bytes is not None and size > call.max_reply_bytes:
        raise _refused(
            f"the reply has more than {call.max_reply_bytes:,} bytes, unpacked; the rest was not read; if the model "
            "may answer that much, raise max_reply_bytes in the entry"
        )
    return True


def _is_wanted(status: int, size: int) -> bool:
    return size < _ERROR_BYTES if status >= 400 else check_size(size)


def limited(send: Method, library: Any) -> Method:
    """A `handle_request` that reads the whole reply within the running call's limits.

    Args:
        send: the transport's own method.
        library: httpx or httpx2.
    """

    def handle_request(transport: Any, request: Any) -> Any:
        if (call := running.get()) is None:
            return send(transport, request)
        call.begin()
        timeouts = request.extensions.get("timeout", {})
        timeouts = {**timeouts, "pool": call.remaining(timeouts.get("pool"))}
        request.extensions = {**request.extensions, "timeout": timeouts}
        response = send(transport, request)
        try:
            body = bodies.joined(response.stream, lambda size: _is_wanted(response.status_code, size))
        finally:
            response.stream.close()
        return _unpacked(response, body, library)

    return handle_request


def limited_async(send: Method, library: Any) -> Method:
    """The same for `handle_async_request`."""
    import anyio

    async def handle_async_request(transport: Any, request: Any) -> Any:
        if (call := running.get()) is None:
            return await send(transport, request)
        call.begin()
        body = bytearray()
        with anyio.fail_after(call.remaining()):
            response = await send(transport, request)
            try:
                async for part in response.stream:
                    body += part
                    if not _is_wanted(response.status_code, len(body)):
                        break
            finally:
                await response.stream.aclose()
        return _unpacked(response, bytes(body), library)

    return handle_async_request


def _unpacked(response: Any, body: bytes, library: Any) -> Any:
    """The response with its body unpacked and, if it is an error, cut; the client refuses what cannot be unpacked."""
    status, encoding = response.status_code, response.headers.get("content-encoding", "")
    if encoding.count(",") > 1:
        raise _refused(f"the reply is packed more than twice ({encoding[:100]}); it was not unpacked")
    plain = bodies.uncompressed(body, encoding, lambda size: _is_wanted(status, size), library) if encoding else body
    if encoding and plain is not None:
        response.headers.pop("content-encoding")
        response.headers.pop("content-length", None)
    body = body if plain is None else plain
    response.stream = library.ByteStream(body[:_ERROR_BYTES] if status >= 400 else body)
    return response


def read(parts: Iterable[bytes], timed_out: Exception) -> bytes:
    """The whole body of a client that has no deadline of its own, within the running call's limits.

    Args:
        parts: its bytes as they come.
        timed_out: what to raise after the deadline.
    """
    call = running.get()

    def goes_on(size: int) -> bool:
        if call is not None and call.remaining() == 0:
            raise timed_out
        return check_size(size)

    return bodies.joined(parts, goes_on)


async def read_async(response: Any) -> bytes:
    """The whole body of an aiohttp response, within the running call's size."""
    body = bytearray()
    try:
        async for part in response.content.iter_any():
            body += part
            check_size(len(body))
    except BaseException:
        response.close()
        raise
    return bytes(body)


def streams(library: Any) -> Iterator[tuple[type, str, Callable[[Method, Method], Method]]]:
    """The methods of httpcore that wait for the network, to be patched so that none waits beyond the deadline.

    Args:
        library: httpx or httpx2. The asynchronous ones need no patch, because their tasks can be cancelled.
    """
    core = importlib.import_module(library.__name__.replace("httpx", "httpcore"))
    sync = importlib.import_module(f"{core.__name__}._backends.sync")
    yield sync.SyncBackend, "connect_tcp", _in_time(2, core.ConnectTimeout)
    for kind in (sync.SyncStream, sync.TLSinTLSStream):
        yield kind, "read", _in_time(1, core.ReadTimeout)
        yield kind, "write", _written_in_time(core.WriteTimeout)
    yield sync.SyncStream, "start_tls", _in_time(2, core.ConnectTimeout)


def _in_time(place: int, timed_out: type[Exception]) -> Callable[[Method, Method], Method]:
    """Makes the patched method; `place` is the position of its argument `timeout`."""

    def make(below: Method, _: Method) -> Method:
        def method(stream: Any, *args: Any, **options: Any) -> Any:
            call = running.get()
            if call is None or call.deadline is None:
                return below(stream, *args, **options)
            given = args[place] if len(args) > place else options.get("timeout")
            if not (left := call.remaining(given)):
                raise timed_out("the attempt's timeout is over")
            return below(stream, *args[:place], **{**options, "timeout": left})

        return method

    return make


def _written_in_time(timed_out: type[Exception]) -> Callable[[Method, Method], Method]:
    """The same for `write`, whose timeout counts each packet of what it sends."""

    def make(below: Method, real: Method) -> Method:
        write = _in_time(1, timed_out)(below, real)

        def method(stream: Any, buffer: bytes, timeout: float | None = None) -> None:
            for start in range(0, len(buffer), _WRITTEN_AT_ONCE):
                write(stream, buffer[start : start + _WRITTEN_AT_ONCE], timeout=timeout)

        return method

    return make
