"""A small fast HTTP server on 127.0.0.1; `standins.py` makes the providers of it."""

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

__all__ = ["Reply", "Seen", "Server", "echo"]


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; header names are lower case, `path` has the query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """What is sent back.

    Args:
        body: the body, whose length is sent with it.
        status: the HTTP status.
        headers: the headers.
        chunks: sent as a chunked body instead.
        cut: only half of the body is sent, then the connection closes.
        reset: nothing is sent but a TCP reset.
        raw: writes to the connection itself, in place of all of these; it ends when the client hangs up.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    chunks: tuple[bytes, ...] = ()
    cut: bool = False
    reset: bool = False
    raw: Callable[[socket.socket], None] | None = None


def echo(seen: Seen) -> Reply:
    """Says whose request it was (the header x-who, which no cassette keeps or matches) and what was asked."""
    said = {"who": seen.headers.get("x-who"), "path": seen.path, "asked": seen.body.decode("utf-8", "replace")}
    return Reply(json.dumps(said).encode())


class Server:
    """HTTP/1.1 with keep-alive and a thread for each connection.

    Args:
        answer: gives the reply to a request. What it raises closes the connection, and is raised again at the end.
        port: where it listens, 0 for a free one.

    Attributes:
        seen: the requests so far.
        url: the address, `http://127.0.0.1:PORT`.
    """

    def __init__(self, answer: Callable[[Seen], Reply] = echo, port: int = 0) -> None:
        self.answer = answer
        self.seen: list[Seen] = []
        self.errors: list[BaseException] = []
        self._listening = socket.create_server(("127.0.0.1", port), backlog=1024)
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for one in (self._listening, *self._open):
            with contextlib.suppress(OSError):  # closed in the meantime
                one.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()
        if self.errors and kind is None:
            raise self.errors[0]

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the end
            while True:
                connection, _ = self._listening.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.add(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as file:
                while (first := file.readline().split()) and self._exchange(first, file, connection):
                    pass
        except OSError:
            pass  # a client that hung up is what half of the tests are about
        except Exception as error:  # noqa: BLE001 (raised again by __exit__)
            self.errors.append(error)
        finally:
            self._open.discard(connection)

    def _exchange(self, first: list[bytes], file: Any, connection: socket.socket) -> bool:
        headers = {}
        while line := file.readline().strip():
            name, _, value = line.partition(b":")
            headers[name.decode().lower()] = value.strip().decode("latin-1")
        if headers.get("expect"):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        seen = Seen(first[0].decode(), first[1].decode(), headers, _body(file, headers))
        self.seen.append(seen)
        reply = self.answer(seen)
        if reply.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if reply.raw is not None:
            reply.raw(connection)
            return False
        lines = [f"{name}: {value}" for name, value in reply.headers.items()]
        body = b"" if seen.method == "HEAD" else reply.body
        if reply.chunks:
            lines.append("transfer-encoding: chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*reply.chunks, b""))
        elif reply.status != 204:
            lines.append(f"content-length: {len(reply.body)}")
        head = "\r\n".join([f"HTTP/1.1 {reply.status} Said", *lines, "", ""])
        connection.sendall(head.encode("latin-1") + (body[: len(body) // 2] if reply.cut else body))
        return not reply.cut


def _body(file: Any, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return bytes(file.read(int(headers.get("content-length", 0))))
    chunks = []
    while size := int(file.readline() or b"0", 16):
        chunks.append(file.read(size))
        file.readline()
    file.readline()
    return b"".join(chunks)
