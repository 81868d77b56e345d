"""The limits of a provider's call hold for every client that a class of a user's own may use."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import httpx2
import pytest
import requests
import urllib3
from cassette_helpers import CLIENTS, ask
from hostile_server import FAULTS, redirect
from http_server import Reply, Server

from llm_tester import cassettes, errors, use_cassette
from llm_tester.errors import UnusableReplyError
from llm_tester.llms.error_mapping import provider_error


def _as_a_provider(client: str, url: str, method: str = "POST", timeout: float | None = 30, **body: str) -> object:
    with cassettes.call(timeout=timeout, max_reply_bytes=1_000_000) as call:
        ask(client, method, url, json=body)
    return call


@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_follows_a_redirect_to_another_host(client: str) -> None:
    with Server() as other, Server(redirect(307, other.url)) as server:
        with pytest.raises(UnusableReplyError, match="it was not followed"):
            _as_a_provider(client, server.url)
        assert (len(server.seen), len(other.seen)) == (1, 0)
        assert ask(client, "POST", server.url, json={})[0] == 200, (
            "a request of no provider's call is the user's matter"
        )


@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_follows_a_recorded_redirect_to_another_host(client: str, tmp_path: Path) -> None:
    with Server() as other, Server(redirect(307, other.url)) as server:
        with use_cassette(tmp_path / "one.yaml", "once"):
            ask(client, "POST", server.url, json={})
        with use_cassette(tmp_path / "one.yaml"), pytest.raises(UnusableReplyError, match="it was not followed"):
            _as_a_provider(client, server.url)
        assert (len(server.seen), len(other.seen)) == (1, 1)


@pytest.mark.parametrize("fault", ["body without end", "gzip bomb"])
@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_reads_a_reply_that_is_too_large(client: str, fault: str) -> None:
    with Server(FAULTS[fault]) as server, pytest.raises(UnusableReplyError, match="raise max_reply_bytes"):
        _as_a_provider(client, server.url)


_TIMEOUTS = (
    TimeoutError,
    httpx.TimeoutException,
    httpx2.TimeoutException,
    requests.Timeout,
    urllib3.exceptions.HTTPError,
)


@pytest.mark.parametrize("fault", ["body drips", "chunks drip", "silence"])
@pytest.mark.parametrize("client", CLIENTS)
def test_no_client_waits_for_longer_than_the_timeout(client: str, fault: str) -> None:
    with Server(FAULTS[fault]) as server, pytest.raises(_TIMEOUTS) as caught:
        _as_a_provider(client, server.url, timeout=0.2)
    assert isinstance(provider_error(caught.value, "own", None), errors.TimeoutError)


@contextlib.contextmanager
def _slow_reader() -> Iterator[str]:
    """A server that reads slowly for three seconds, and then answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                until = time.monotonic() + 3
                while time.monotonic() < until and not over.wait(0.01) and connection.recv(10_000):
                    pass
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            over.set()
        thread.join()


def test_sending_counts_too() -> None:
    with _slow_reader() as url, pytest.raises(httpx.WriteTimeout):
        _as_a_provider("httpx", url, timeout=0.3, text="x" * 10_000_000)


def test_a_handshake_without_end_counts_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(httpx.ConnectTimeout):
        _as_a_provider("httpx", f"https://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.2)


def test_one_deadline_holds_for_all_requests_of_a_call() -> None:
    """A client that tries again has no more time for it."""
    with Server(FAULTS["silence"]) as server, cassettes.call(timeout=0.2):
        for _ in range(3):
            with pytest.raises((httpx.ReadTimeout, httpx.ConnectTimeout)):
                ask("httpx", "GET", server.url)
    assert len(server.seen) == 1


@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_within_the_limits_arrives(client: str) -> None:
    with Server(lambda _: Reply(b"[" + b" " * 900_000 + b"]")) as server, cassettes.call(max_reply_bytes=1_000_000):
        assert len(ask(client, "GET", server.url)[1]) == 900_002


def test_a_reply_packed_three_times_is_refused() -> None:
    headers = {"content-encoding": "gzip, gzip, gzip"}
    with Server(lambda _: Reply(b"x", 200, headers)) as server, pytest.raises(UnusableReplyError, match="packed more"):
        _as_a_provider("httpx", server.url)


def test_another_task_keeps_its_time() -> None:
    """The deadline is that of the call, not of the loop that it shares."""

    async def both() -> list[object]:
        from cassette_helpers import ask_async

        async def limited() -> int:
            with cassettes.call(timeout=0.2):
                return (await ask_async("httpx-async", "GET", slow.url))[0]

        return await asyncio.gather(limited(), ask_async("httpx-async", "GET", quick.url), return_exceptions=True)

    with Server(FAULTS["silence"]) as slow, Server() as quick:
        first, second = asyncio.run(both())
    assert isinstance(first, TimeoutError)
    assert isinstance(second, tuple)
