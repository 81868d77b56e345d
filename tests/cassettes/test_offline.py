"""While only replays are open nothing goes out, by whatever way, and what a process needs for itself goes on."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import http.client
import importlib
import importlib.util
import multiprocessing.connection
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import distributed
import httpcore
import httpx
import pytest
from cassette_helpers import ASYNC_CLIENTS, CLIENTS, ask, asking, asking_async
from console import invoke
from http_server import Server
from sample_cases import write_case

from llm_tester.cassettes import use_cassette
from llm_tester.cassettes.network import VARIABLE, Offline, network
from llm_tester.errors import OfflineError
from llm_tester.runs.results import RunResult


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def path(tmp_path: Path, server: Server) -> Path:
    """A recording of one request."""
    with use_cassette(tmp_path / "one.yaml", "once"):
        httpx.get(f"{server.url}/recorded")
    server.seen.clear()
    return tmp_path / "one.yaml"


def in_thread(work: Callable[[], object]) -> None:
    """Runs in a thread that has no context of the caller's."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def in_loop(work: Callable[[], object]) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, work)

    asyncio.run(main())


def raw(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as one:
        one.sendall(b"GET / HTTP/1.1\r\n\r\n")


def datagram(server: Server) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", ("127.0.0.1", server.port))


def streams(server: Server) -> None:
    asyncio.run(asyncio.open_connection("127.0.0.1", server.port))  # type: ignore[arg-type]


def http_client(server: Server) -> None:
    http.client.HTTPConnection("127.0.0.1", server.port).request("GET", "/")


def httpcore_async(server: Server) -> None:
    async def main() -> None:
        async with httpcore.AsyncConnectionPool() as pool:
            await pool.request("GET", server.url)

    asyncio.run(main())


def curl(server: Server) -> None:
    pycurl: Any = importlib.import_module("pycurl")
    one = pycurl.Curl()
    one.setopt(pycurl.URL, server.url)
    one.perform()


def batch_completion(server: Server) -> None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    message = [{"role": "user", "content": "x"}]
    options: Any = {"api_base": server.url, "api_key": "not-one", "max_retries": 0}
    results = litellm.batch_completion(model="openai/gpt-4o", messages=[message] * 2, **options)
    raise results[0] if all(isinstance(result, Exception) for result in results) else AssertionError(results)


WAYS: dict[str, Callable[[Server], object]] = {
    "urllib.request": lambda server: urllib.request.urlopen(server.url),
    "http.client": http_client,
    "httpcore": lambda server: httpcore.request("GET", server.url),
    "httpcore-async": httpcore_async,
    "socket": raw,
    "socket-ex": lambda server: socket.socket().connect_ex(("127.0.0.1", server.port)),
    "datagram": datagram,
    "asyncio-streams": streams,
    "lookup": lambda server: socket.getaddrinfo("api.example.com", 443),
    "pycurl": curl,
    "batch_completion": batch_completion,
    **{f"thread-{one}": lambda server, one=one: in_thread(lambda: ask(one, "GET", server.url)) for one in CLIENTS},
    **{f"executor-{one}": lambda server, one=one: in_loop(lambda: ask(one, "GET", server.url)) for one in CLIENTS},
    "thread-urllib.request": lambda server: in_thread(lambda: urllib.request.urlopen(server.url)),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_goes_out_while_a_cassette_replays(way: str, server: Server, path: Path) -> None:
    """Each way to go out is refused before anything is sent, and the error names host, cassette and remedy."""
    if way == "pycurl" and importlib.util.find_spec("pycurl") is None:
        pytest.skip("pycurl is not installed")
    if way == "pycurl" and type(importlib.import_module("pycurl")).__module__.startswith("pytest_recording"):
        pytest.skip("pytest-recording puts its own pycurl in place; -p no:recording leaves it out")
    host = "api.example.com" if way == "lookup" else "127.0.0.1"
    with pytest.raises(Exception, match="nothing was sent") as caught, use_cassette(path):
        WAYS[way](server)
    assert f"refused {host}" in str(caught.value)
    assert str(path) in str(caught.value)
    assert "`allow`" in str(caught.value)
    assert server.seen == []


@pytest.mark.parametrize("client", CLIENTS)
def test_a_connection_that_is_open_already_is_not_used(client: str, server: Server, path: Path) -> None:
    """A client that connected before the block sends nothing from a context without a cassette."""

    async def asynchronous() -> None:
        async with asking_async(client) as one:
            await one("GET", server.url)
            with use_cassette(path), pytest.raises(Exception, match="nothing was sent"):
                await asyncio.create_task(one("GET", server.url), context=contextvars.Context())

    if client in ASYNC_CLIENTS:
        asyncio.run(asynchronous())
    else:
        with asking(client) as one:
            one("GET", server.url)
            with use_cassette(path), pytest.raises(Exception, match="nothing was sent"):
                contextvars.Context().run(one, "GET", server.url)
    assert len(server.seen) == 1


def test_a_refusal_that_is_swallowed_is_raised_at_the_end_of_the_block(server: Server, path: Path) -> None:
    with pytest.raises(OfflineError, match=re.escape(str(path))), use_cassette(path):  # noqa: PT012
        with contextlib.suppress(OSError):
            urllib.request.urlopen(server.url)
        assert server.seen == []


def test_a_recorded_request_is_still_answered(server: Server, path: Path) -> None:
    with use_cassette(path):
        assert httpx.get(f"{server.url}/recorded").status_code == 200
    assert server.seen == []


def test_an_allowed_host_may_be_reached(server: Server, path: Path) -> None:
    """`allow` lets through a host on one port, by its name or its address, and no other."""
    for name in ("127.0.0.1", "localhost"):
        with use_cassette(path, allow=[f"{name}:{server.port}"]):
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}")
    assert len(server.seen) == 2
    with pytest.raises(OfflineError), use_cassette(path, allow=["127.0.0.1:9", "example.com"]):
        raw(server)
    assert len(server.seen) == 2


def test_a_context_without_a_cassette_may_send_if_another_one_records(server: Server, path: Path) -> None:
    """It is unknown whose thread it is; a context that replays is still refused."""
    other = use_cassette(path.with_name("other.yaml"), "all")
    with other, pytest.raises(OfflineError), use_cassette(path):  # noqa: PT012
        in_thread(lambda: urllib.request.urlopen(server.url))
        raw(server)
    assert len(server.seen) == 1


def test_what_the_process_needs_for_itself_goes_on(path: Path, tmp_path: Path) -> None:
    """Socket pairs, Unix sockets, event loops, and Dask's own connections."""
    with use_cassette(path):
        for one in socket.socketpair():
            one.close()
        with multiprocessing.connection.Listener(str(tmp_path / "here"), "AF_UNIX") as here:
            multiprocessing.connection.Client(str(here.address)).close()
        asyncio.run(asyncio.sleep(0))
        options: Any = {"processes": False, "protocol": "tcp", "dashboard_address": None}
        with (
            distributed.LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            assert client.submit(abs, -1).result() == 1


PROVIDER = """
import urllib.request
from llm_tester.llms.base import BaseLLM

class Own(BaseLLM):
    def _call_llm_api(self, prompt, system_prompt, model_name, model_config):
        try:
            return urllib.request.urlopen(self.config.api_base).read().decode(), {}
        except OSError:
            return "{}", {}

class Early(Own):
    def __init__(self, config=None):
        super().__init__(config)
        urllib.request.urlopen(config.api_base)
"""


def test_a_run_that_only_replays_sends_nothing(
    server: Server, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """A provider's own client is refused, and that is the unit's result, after one attempt."""
    (tmp_path / "urlopens.py").write_text(PROVIDER)
    common = {"api_base": server.url, "env_key": "", "models": ["one"]}
    write_config(
        {"own": {"provider_type": "urlopens:Own", **common}, "early": {"provider_type": "urlopens:Early", **common}}
    )
    write_case(tmp_path / "cases")
    result = invoke("run", "--record", "none")
    assert server.seen == []
    [own] = RunResult.load(next(tmp_path.rglob("results.json"))).results
    assert (own.status, own.error) == ("failed", "OfflineError")
    assert "127.0.0.1" in str(own.problem)
    assert "`--record none` only replays" in result.output, "the other one could not start"
    assert VARIABLE not in os.environ


CHILD = """
import sys, urllib.request
from llm_tester.cassettes import call
with call(over_http=False):
    urllib.request.urlopen(sys.argv[1])
"""


def test_a_process_that_is_started_meanwhile_sends_nothing(server: Server) -> None:
    """An environment variable tells it so."""
    with network.offline(Offline("the test only replays")):
        child = subprocess.run([sys.executable, "-c", CHILD, server.url], check=False, capture_output=True, text=True)
    assert "the test only replays in the process that started this one" in child.stderr
    assert server.seen == []
