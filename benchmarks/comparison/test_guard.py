"""What reaches a server although the test only replays: pytest -s with each recorder's own options."""

import contextlib
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from http_server import Reply, Server

pytestmark = [pytest.mark.vcr, pytest.mark.llm_cassette]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The server's address; says at the end what came."""
    with Server(lambda seen: Reply()) as server:
        yield server.url
    print("\nreached the server:", [seen.path for seen in server.seen] or "nothing")


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
