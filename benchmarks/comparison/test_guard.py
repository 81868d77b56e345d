"""What reaches a server although the test only replays: pytest -s with each recorder's own options."""

import contextlib
import http.server
import socket
import threading
import urllib.request
from collections.abc import Iterator

import httpx
import pytest

pytestmark = [pytest.mark.vcr, pytest.mark.llm_cassette]
reached: list[str] = []


class Handler(http.server.BaseHTTPRequestHandler):
    """Notes each path."""

    def do_GET(self) -> None:
        reached.append(self.path)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The server's address; says at the end what came."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    print("\nreached the server:", reached or "nothing")


def test_httpx(url: str) -> None:
    with contextlib.suppress(BaseException):
        httpx.get(url + "/httpx")


def test_urllib(url: str) -> None:
    with contextlib.suppress(BaseException):
        urllib.request.urlopen(url + "/urllib")


def test_a_socket(url: str) -> None:
    with contextlib.suppress(BaseException), socket.create_connection(("127.0.0.1", int(url.split(":")[2]))) as made:
        made.sendall(b"GET /socket HTTP/1.0\r\n\r\n")
        made.recv(100)


def test_a_thread(url: str) -> None:
    def ask() -> None:
        with contextlib.suppress(BaseException):
            httpx.get(url + "/thread")

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
