"""What a hostile server does to a client, by name: each fault answers one request.

    with Server(FAULTS["body drips"]) as server:
        ...

What takes long ends by itself after a few seconds, with a complete reply: a client without a total timeout gets that.
"""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial

import brotli
from http_server import Reply, Seen

__all__ = ["FAULTS", "REDIRECTS", "UNPACKED_BYTES", "Answer", "redirect"]

Answer = Callable[[Seen], Reply]

REDIRECTS = (301, 302, 303, 307, 308)
UNPACKED_BYTES = 40_000_000
_JSON = b"content-type: application/json\r\n"
_DRIPS, _BETWEEN = 150, 0.02


def redirect(status: int, to: str) -> Answer:
    """Leads every request to an address; "" is the one that it came to."""
    return lambda seen: Reply(b"{}", status, {"location": to or seen.path})


def _raw(write: Callable[[socket.socket], None]) -> Answer:
    return lambda _: Reply(raw=write)


def _drip(connection: socket.socket, head: bytes, drips: Iterable[bytes]) -> None:
    connection.sendall(head)
    for drip in drips:
        connection.sendall(drip)
        time.sleep(_BETWEEN)


def _body_drips(connection: socket.socket) -> None:
    head = b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n" % (_JSON, _DRIPS + 2)
    _drip(connection, head, [*[b" "] * _DRIPS, b"{}"])


def _chunks_drip(connection: socket.socket) -> None:
    head = b"HTTP/1.1 200 OK\r\n%stransfer-encoding: chunked\r\n\r\n" % _JSON
    _drip(connection, head, [*[b"1\r\n \r\n"] * _DRIPS, b"2\r\n{}\r\n0\r\n\r\n"])


def _headers_drip(connection: socket.socket) -> None:
    _drip(connection, b"HTTP/1.1 200 OK\r\n", [*[b"x-drip: 1\r\n"] * _DRIPS, _JSON + b"content-length: 2\r\n\r\n{}"])


def _continues(connection: socket.socket) -> None:
    final = b"HTTP/1.1 200 OK\r\n%scontent-length: 2\r\n\r\n{}" % _JSON
    _drip(connection, b"", [*[b"HTTP/1.1 100 Continue\r\n\r\n"] * _DRIPS, final])


def _is_silent(connection: socket.socket) -> None:
    connection.settimeout(_DRIPS * _BETWEEN)
    connection.recv(1)


def _has_no_end(connection: socket.socket, head: bytes, part: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n%s%s\r\n" % (_JSON, head))
    for _ in range(UNPACKED_BYTES // len(part)):
        connection.sendall(part)


def _packed(encoding: str, pack: Callable[[bytes], bytes], status: int = 200) -> Answer:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    # Packed when it is first asked for, and once.
    packed: list[bytes] = []
    packing = threading.Lock()

    def answer(_: Seen) -> Reply:
        with packing:
            packed.extend([] if packed else [pack(b" " * UNPACKED_BYTES)])
        return Reply(packed[0], status, headers)

    return answer


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, 6)


def _error(size: int) -> Answer:
    body = json.dumps({"error": {"message": "abc-def_123 " * (size // 12), "type": "hostile"}}).encode()
    return lambda _: Reply(body, 500)


FAULTS: dict[str, Answer] = {
    "body drips": _raw(_body_drips),
    "chunks drip": _raw(_chunks_drip),
    "headers drip": _raw(_headers_drip),
    "100 continue for ever": _raw(_continues),
    "silence": _raw(_is_silent),
    "body without end": _raw(partial(_has_no_end, head=b"", part=b" " * 65_536)),
    "chunks without end": _raw(
        partial(_has_no_end, head=b"transfer-encoding: chunked\r\n", part=b"10000\r\n%s\r\n" % (b" " * 65_536))
    ),
    "gzip bomb": _packed("gzip", _gzip),
    "gzip bomb in gzip": _packed("gzip, gzip", lambda body: _gzip(_gzip(body))),
    "brotli bomb": _packed("br", partial(brotli.compress, quality=1)),
    "gzip bomb as an error": _packed("gzip", _gzip, 500),
    "error of 5 MB": _error(5_000_000),
}
