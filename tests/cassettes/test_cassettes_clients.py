"""What each client library does with bodies, redirects, streams and the like, recorded and replayed."""

# ruff: noqa: SIM117 (a server around a cassette around a client reads better in steps)

import asyncio
import contextvars
import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3
from cassette_helpers import ASYNC_CLIENTS, CLIENTS, Reply, Seen, Server, ask, asking, asking_async

from llm_tester.cassettes import Cassette, use_cassette
from llm_tester.errors import CassetteMismatch

TEXT = {"content-type": "text/plain; charset=utf-8"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.yaml"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def twice(path: Path, work: Callable[[], Any]) -> tuple[Any, Any]:
    """What comes of some work recorded, and replayed."""
    with use_cassette(path, "once", record_errors=True):
        first = work()
    with use_cassette(path, fail_on_unused=True):
        return first, work()


def response_of(path: Path) -> dict[str, Any]:
    return Cassette(path).interactions[0].response


def brotli(body: bytes) -> bytes:
    module = pytest.importorskip("brotli", reason="brotli is not installed")
    return bytes(module.compress(body))


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli}
EVENTS = b'data: {"delta": "h\xc3\xa9"}\n\ndata: [DONE]\n\n'
BODIES: dict[str, tuple[dict[str, str], bytes, str]] = {
    "json": ({"content-type": "application/json"}, b'{"b": [1, 2.5, null], "a": "\\u00e9\\ud83d\\ude00"}', "json"),
    "events": ({"content-type": "text/event-stream"}, EVENTS, "text"),
    "events-crlf": ({"content-type": "text/event-stream"}, EVENTS.replace(b"\n", b"\r\n"), "crlf"),
    "mixed-line-ends": (TEXT, b"a\r\nb\nc\rd\xc2\x85e\xe2\x80\xa8f\x00g", "text"),
    "binary": ({"content-type": "image/png"}, b"\x89PNG\r\n\x1a\n\x00\xff", "base64"),
    "json-that-yaml-would-lose": ({"content-type": "application/json"}, b'{"a": 1, "a": 2}', "text"),
    "scalar": ({"content-type": "application/json"}, b'"text"', "text"),
}


@pytest.mark.parametrize("client", CLIENTS)
class TestBodies:
    @pytest.mark.parametrize("kind", BODIES)
    def test_a_reply_comes_back_as_it_was(self, kind: str, client: str, path: Path) -> None:
        headers, body, stored = BODIES[kind]
        with Server(lambda seen: Reply(body, headers=headers)) as server:
            first, again = twice(path, lambda: ask(client, "GET", server.url))
        assert first == (200, body)
        assert again[0] == 200
        assert again[1] == body or json.loads(again[1]) == json.loads(body)
        assert list(response_of(path)["body"]) == [stored]

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_a_compressed_reply_is_stored_decoded(self, encoding: str, client: str, path: Path) -> None:
        if encoding == "br" and client == "aiohttp":
            pytest.importorskip("brotli", reason="brotli is not installed")
        body = ENCODINGS[encoding](b'{"said": "yes"}')
        headers = {"content-type": "application/json", "content-encoding": encoding}
        with Server(lambda seen: Reply(body, headers=headers)) as server:
            first, again = twice(path, lambda: ask(client, "GET", server.url))
        assert (first[0], json.loads(first[1])) == (again[0], json.loads(again[1])) == (200, {"said": "yes"})
        assert response_of(path)["body"] == {"json": {"said": "yes"}}
        assert "content-encoding" not in response_of(path)["headers"]

    def test_a_chunked_reply_comes_back(self, client: str, path: Path) -> None:
        with Server(lambda seen: Reply(chunks=(b"one ", b"two"), headers=TEXT)) as server:
            assert twice(path, lambda: ask(client, "GET", server.url)) == ((200, b"one two"), (200, b"one two"))

    @pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("DELETE", 204), ("GET", 200)])
    def test_an_empty_reply_comes_back(self, method: str, status: int, client: str, path: Path) -> None:
        with Server(lambda seen: Reply(b"" if method != "HEAD" else b"1234", status, {})) as server:
            assert twice(path, lambda: ask(client, method, server.url)) == ((status, b""), (status, b""))
        assert response_of(path)["body"] is None

    def test_a_request_with_a_binary_body_is_matched_by_it(self, client: str, server: Server, path: Path) -> None:
        twice(path, lambda: ask(client, "POST", server.url, data=b"\xff\x00one"))
        assert server.seen[0].body == b"\xff\x00one"
        with pytest.raises(CassetteMismatch), use_cassette(path):
            ask(client, "POST", server.url, data=b"\xff\x00two")

    def test_cookies_and_personal_headers_are_not_recorded(self, client: str, path: Path) -> None:
        headers = {"set-cookie": "session=abc", "x-request-id": "r", "retry-after": "3", "openai-organization": "o"}
        with Server(lambda seen: Reply(b"{}", headers=headers)) as server:
            twice(path, lambda: ask(client, "GET", server.url, headers={"cookie": "session=abc", "user-agent": "me"}))
        assert response_of(path)["headers"] == {"retry-after": ["3"]}
        assert set(Cassette(path).interactions[0].request["headers"]) <= {"accept"}

    @pytest.mark.parametrize(("status", "method"), [(302, "GET"), (307, "POST"), (303, "POST")])
    def test_a_redirect_is_followed_again(self, status: int, method: str, client: str, path: Path) -> None:
        def answer(seen: Seen) -> Reply:
            if seen.path == "/from":
                return Reply(b"", status, {"location": "/to?a=1"})
            return Reply(f"{seen.method} {seen.path}".encode(), headers=TEXT)

        with Server(answer) as server:
            first, again = twice(path, lambda: ask(client, method, f"{server.url}/from", data=b"body"))
            expected = "POST" if status == 307 else "GET"
            assert first == again == (200, f"{expected} /to?a=1".encode())
            assert len(server.seen) == 2
        assert [item.response["status"] for item in Cassette(path).interactions] == [status, 200]

    def test_half_of_a_redirect_can_be_new(self, client: str, path: Path) -> None:
        def answer(seen: Seen) -> Reply:
            return Reply(b"", 302, {"location": "/to"}) if seen.path == "/from" else Reply(b"there", headers=TEXT)

        with Server(answer) as server:
            with use_cassette(path, "once"):
                ask(client, "GET", f"{server.url}/from", allow_redirects=False)
            with use_cassette(path, "new_episodes"):
                assert ask(client, "GET", f"{server.url}/from") == (200, b"there")
            assert [seen.path for seen in server.seen] == ["/from", "/to"]


class TestRequests:
    def test_a_pool_gets_its_connections_back(self, server: Server, path: Path) -> None:
        def work() -> list[int]:
            with urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=1, block=True) as pool:
                answers = [
                    pool.urlopen("GET", "/v1", preload_content=preload, pool_timeout=5) for preload in (True, False) * 2
                ]
                return [answer.status for answer in answers]

        assert twice(path, work) == ([200] * 4, [200] * 4)

    def test_the_cookies_of_a_session_work_while_recording(self, path: Path) -> None:
        with Server(
            lambda seen: Reply(seen.headers.get("cookie", "none").encode(), headers={"set-cookie": "a=b"})
        ) as server:
            with use_cassette(path, "once"), requests.Session() as session:
                assert session.get(server.url).text == "none"
                assert session.get(server.url).text == "a=b"

    def test_a_body_may_come_from_a_generator_or_a_file(self, server: Server, path: Path, tmp_path: Path) -> None:
        (tmp_path / "body").write_bytes(b"from a file")

        def work() -> list[str]:
            with (tmp_path / "body").open("rb") as file:
                answers = [requests.post(server.url, data=data, timeout=5) for data in (iter([b"a", b"b"]), file, "é")]
            return [answer.json()["asked"] for answer in answers]

        assert twice(path, work) == (["ab", "from a file", "é"], ["ab", "from a file", "é"])

    def test_a_reply_may_be_streamed(self, path: Path) -> None:
        with Server(lambda seen: Reply(chunks=(b"one\n", b"two\n"), headers=TEXT)) as server:

            def work() -> list[bytes]:
                with requests.get(server.url, stream=True, timeout=5) as response:
                    return list(response.iter_lines())

            assert twice(path, work) == ([b"one", b"two"], [b"one", b"two"])

    def test_raise_for_status_and_history_work(self, path: Path) -> None:
        def answer(seen: Seen) -> Reply:
            return Reply(b"", 302, {"location": "/to"}) if seen.path == "/from" else Reply(b"{}", 404)

        with Server(answer) as server:

            def work() -> tuple[list[int], str]:
                response = requests.get(f"{server.url}/from", timeout=5)
                with pytest.raises(requests.HTTPError, match="404"):
                    response.raise_for_status()
                return [step.status_code for step in response.history], response.url

            assert twice(path, work) == (([302], f"{server.url}/to"),) * 2

    def test_urllib3s_own_retries_see_the_replies(self, path: Path) -> None:
        statuses = iter([503, 200])
        with Server(lambda seen: Reply(b"{}", next(statuses))) as server:
            retries = urllib3.Retry(total=2, status_forcelist=[503], backoff_factor=0)

            def work() -> int:
                with urllib3.PoolManager(retries=retries) as pool:
                    return pool.request("GET", server.url).status

            assert twice(path, work) == (200, 200)

    def test_a_request_through_a_proxy_is_recorded_with_its_own_address(self, server: Server, path: Path) -> None:
        with urllib3.ProxyManager(server.url) as proxy:
            first, again = twice(
                path, lambda: proxy.request("GET", "http://a.test/v1?next=http://b.test/").json()["path"]
            )
        assert first == again == "http://a.test/v1?next=http://b.test/"
        assert Cassette(path).interactions[0].request["uri"] == "http://a.test/v1?next=http://b.test/"

    def test_a_replay_opens_no_proxy_tunnel(self, path: Path) -> None:
        def work() -> None:
            with urllib3.ProxyManager(server.url, retries=False) as proxy:
                proxy.request("GET", "https://a.test/v1")

        with Server(lambda seen: Reply(b"", 403)) as server:
            with pytest.raises(CassetteMismatch, match=r"GET https://a\.test/v1"), use_cassette(path):
                work()
            assert server.seen == []
            with use_cassette(path, "once"):
                for run in (lambda: work(), lambda: contextvars.Context().run(work)):
                    with pytest.raises(urllib3.exceptions.ProxyError):
                        run()
            assert [seen.method for seen in server.seen] == ["CONNECT", "CONNECT"]

    def test_an_address_may_be_ipv6(self, path: Path) -> None:
        with pytest.raises(CassetteMismatch, match=r"GET http://\[::1\]:9/v1"), use_cassette(path):
            requests.get("http://[::1]:9/v1", timeout=5)
        with pytest.raises(CassetteMismatch, match=r"GET http://a\.test/v1"), use_cassette(path):
            requests.get("http://a.test:80/v1", timeout=5)


class TestHttpx:
    def test_a_recorded_reply_may_be_streamed(self, path: Path) -> None:
        with Server(lambda seen: Reply(EVENTS, headers={"content-type": "text/event-stream"})) as server:

            def work() -> list[str]:
                with (
                    httpx.Client(trust_env=False, verify=False) as client,
                    client.stream("POST", server.url) as response,
                ):
                    return list(response.iter_lines())

            first, again = twice(path, work)
        assert first == again == EVENTS.decode().splitlines()
        assert response_of(path)["body"] == {"text": EVENTS.decode()}

    def test_a_multipart_body_is_matched_without_its_random_boundary(self, server: Server, path: Path) -> None:
        def work() -> Any:
            return httpx.post(server.url, files={"file": ("a.txt", b"one\ntwo")}, data={"n": "1"}, trust_env=False)

        twice(path, lambda: work().status_code)
        text = path.read_text()
        assert "boundary=boundary" in text
        assert "one" in text

    def test_a_body_that_cannot_be_decoded_comes_back_as_it_was(self, path: Path) -> None:
        headers = {"content-encoding": "gzip"}
        with Server(lambda seen: Reply(b"no gzip", headers=headers)) as server:

            def work() -> None:
                with pytest.raises(httpx.DecodingError):
                    httpx.get(server.url, trust_env=False)

            twice(path, work)
        assert response_of(path)["headers"] == {"content-encoding": ["gzip"]}

    def test_a_timeout_is_the_clients_own(self, path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent, use_cassette(path, "once") as cassette:
            with pytest.raises(httpx.ReadTimeout):
                httpx.get(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.01, trust_env=False)
            assert cassette.interactions == []


class TestAiohttp:
    def twice(self, path: Path, work: Callable[[], Any]) -> tuple[Any, Any]:
        return twice(path, lambda: asyncio.run(work()))

    @pytest.mark.parametrize(
        "options",
        [
            {"json": {"a": 1}},
            {"json": "text"},
            {"json": 5},
            {"json": None},
            {"data": b"bytes"},
            {"data": "text"},
            {"data": {"form": "field"}},
            {"params": {"a": "1", "b": "é"}},
            {"headers": {"authorization": "Basic dXNlcjpwYXNzd29yZA=="}},
        ],
        ids=str,
    )
    def test_every_way_of_asking(self, options: dict[str, Any], server: Server, path: Path) -> None:
        async def work() -> Any:
            async with (
                aiohttp.ClientSession(base_url=server.url) as session,
                session.post("/v1", **options) as response,
            ):
                response.raise_for_status()
                return await response.json()

        first, again = self.twice(path, work)
        assert first == again
        assert len(server.seen) == 1
        assert Cassette(path).interactions[0].request["uri"].startswith(f"{server.url}/v1")
        assert "dXNlcjpwYXNzd29yZA" not in path.read_text()

    def test_a_form_with_a_file_and_an_async_generator(self, server: Server, path: Path) -> None:
        async def work() -> list[str]:
            async def parts() -> Any:
                yield b"one "
                yield b"two"

            form = aiohttp.FormData()
            form.add_field("file", b"content", filename="a.txt")
            async with aiohttp.ClientSession() as session:
                answers = []
                for data in (form, parts()):
                    async with session.post(server.url, data=data) as response:
                        answers.append((await response.json())["asked"])
                return answers

        first, again = self.twice(path, work)
        assert first == again
        assert first[1] == "one two"
        assert "content" in first[0]

    def test_raise_for_status_raises_on_a_replay_too(self, path: Path) -> None:
        async def work() -> int:
            async with aiohttp.ClientSession(raise_for_status=True) as session:
                with pytest.raises(aiohttp.ClientResponseError) as caught:
                    await session.get(server.url)
                return caught.value.status

        with Server(lambda seen: Reply(b"no", 418)) as server:
            assert self.twice(path, work) == (418, 418)
            assert len(server.seen) == 1

    def test_a_reply_may_be_streamed(self, path: Path) -> None:
        async def work() -> list[bytes]:
            async with aiohttp.ClientSession() as session, session.get(server.url) as response:
                return [line async for line in response.content]

        with Server(lambda seen: Reply(chunks=(b"one\n", b"two\n"))) as server:
            assert self.twice(path, work) == ([b"one\n", b"two\n"], [b"one\n", b"two\n"])

    def test_a_reply_that_the_caller_decompresses_is_stored_decoded(self, path: Path) -> None:
        # As LiteLLM does it.
        async def work() -> tuple[bytes, str | None]:
            async with aiohttp.ClientSession(auto_decompress=False) as session, session.get(server.url) as response:
                return await response.read(), response.headers.get("content-encoding")

        body = gzip.compress(b'{"a":1}')
        with Server(lambda seen: Reply(body, headers={"content-encoding": "gzip"})) as server:
            assert self.twice(path, work) == ((body, "gzip"), (b'{"a":1}', None))

    def test_the_callers_own_middlewares_run(self, server: Server, path: Path) -> None:
        async def signing(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
            request.headers["x-who"] = "signed"
            return await handler(request)  # type: ignore[no-any-return]

        async def work() -> Any:
            async with aiohttp.ClientSession(middlewares=[signing]) as session:
                async with session.get(server.url) as one, session.get(server.url + "/2", middlewares=[]) as two:
                    return (await one.json())["who"], (await two.json())["who"]

        assert self.twice(path, work) == (("signed", None),) * 2


class TestTasks:
    @pytest.mark.parametrize("client", ASYNC_CLIENTS)
    def test_tasks_of_one_loop_each_have_their_own(self, client: str, tmp_path: Path) -> None:
        async def one(number: int, mode: str, ask_one: Any) -> bool:
            with use_cassette(tmp_path / f"{number}.yaml", mode):
                answers = [await ask_one("GET", server.url, headers={"x-who": str(number)}) for _ in range(5)]
            return [json.loads(body)["who"] for _, body in answers] == [str(number)] * 5

        async def run(mode: str) -> list[bool]:
            async with asking_async(client) as ask_one:

                async def outside() -> bool:
                    await ask_one("GET", f"{server.url}/outside")
                    return True

                return list(await asyncio.gather(*(one(number, mode, ask_one) for number in range(8)), outside()))

        with Server() as server:
            assert asyncio.run(run("once")) == [True] * 9
            assert len(server.seen) == 41
            server.seen.clear()
            assert asyncio.run(run("none")) == [True] * 9
            assert [seen.path for seen in server.seen] == ["/outside"]

    def test_a_stream_outside_is_not_held_back(self, tmp_path: Path) -> None:
        """The first chunk arrives while the server still waits to send the second."""
        arrived = threading.Event()
        body = b"data: first\n\n"

        async def run() -> list[bytes]:
            async with httpx.AsyncClient(trust_env=False, verify=False) as client:

                async def inside() -> None:
                    with pytest.raises(CassetteMismatch), use_cassette(tmp_path / "one.yaml"):
                        await client.get("http://127.0.0.1:9/inside")

                async def outside() -> list[bytes]:
                    chunks = []
                    async with client.stream("GET", f"http://127.0.0.1:{port}") as response:
                        async for chunk in response.aiter_raw():
                            chunks.append(chunk)
                            arrived.set()
                    return chunks

                with use_cassette(tmp_path / "other.yaml"):
                    waiting = asyncio.create_task(inside())
                (found, _) = await asyncio.gather(outside(), waiting)
                return found

        def serve(listening: socket.socket) -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
                connection.sendall(head + b"%x\r\n%s\r\n" % (len(body), body))
                assert arrived.wait(20)
                connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))

        with socket.create_server(("127.0.0.1", 0)) as listening, use_cassette(tmp_path / "patched.yaml", "once"):
            port = listening.getsockname()[1]
            thread = threading.Thread(target=serve, args=(listening,))
            thread.start()
            assert contextvars.Context().run(asyncio.run, run()) == [body, body]
            thread.join()


def test_a_session_of_requests_may_be_used_before_in_and_after(server: Server, path: Path) -> None:
    with asking("requests") as one:
        one("GET", f"{server.url}/before")
        with use_cassette(path, "once"):
            one("GET", f"{server.url}/in")
        with use_cassette(path):
            one("GET", f"{server.url}/in")
        one("GET", f"{server.url}/after")
    assert [seen.path for seen in server.seen] == ["/before", "/in", "/after"]
