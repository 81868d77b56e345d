"""One way of asking the tests' server for every client library, and many of them at once."""

import asyncio
import contextlib
import importlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import requests
import urllib3
import yaml
from http_server import Reply, Seen, Server, echo

from llm_tester.cassettes import current
from llm_tester.cassettes.context import injected_faults

__all__ = [
    "ASYNC_CLIENTS",
    "CLIENTS",
    "Reply",
    "Seen",
    "Server",
    "Tally",
    "ask",
    "ask_async",
    "asking",
    "asking_async",
    "echo",
    "in_tasks",
    "in_threads",
    "left_open",
    "plain_vcrpy_file",
]

Answer = tuple[int, bytes]

CLIENTS = ("httpx", "httpx2", "httpx-async", "httpx2-async", "aiohttp", "requests", "urllib3")
ASYNC_CLIENTS = ("httpx-async", "httpx2-async", "aiohttp")


@contextlib.contextmanager
def asking(client: str) -> Iterator[Callable[..., Answer]]:
    """A function that asks over a kept connection of one of the four synchronous ones."""
    if client in ("httpx", "httpx2"):
        with importlib.import_module(client).Client(trust_env=False, verify=False, timeout=60) as session:
            yield lambda method, url, **options: _of_httpx(session.request(method, url, **_for_httpx(options)))
    elif client == "requests":
        with requests.Session() as session:
            session.trust_env = False
            yield lambda method, url, **options: _of_requests(session.request(method, url, **options))
    else:
        with urllib3.PoolManager() as pool:
            yield lambda method, url, **options: _of_urllib3(pool.request(method, url, **_for_urllib3(options)))


@contextlib.asynccontextmanager
async def asking_async(client: str) -> Any:
    """The same for the asynchronous ones."""
    if client == "aiohttp":
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as session:

            async def ask_aiohttp(method: str, url: str, **options: Any) -> Answer:
                async with session.request(method, url, **options) as response:
                    return response.status, await response.read()

            yield ask_aiohttp
    else:
        async with importlib.import_module(client.removesuffix("-async")).AsyncClient(
            trust_env=False, verify=False, timeout=60
        ) as other:

            async def ask_httpx(method: str, url: str, **options: Any) -> Answer:
                return _of_httpx(await other.request(method, url, **_for_httpx(options)))

            yield ask_httpx


def ask(client: str, method: str, url: str, **options: Any) -> Answer:
    """One request (`json`, `data` as bytes, `headers`) over a client of any kind: the status and the body."""
    if client in ASYNC_CLIENTS:
        return asyncio.run(ask_async(client, method, url, **options))
    with asking(client) as one:
        return one(method, url, **options)


async def ask_async(client: str, method: str, url: str, **options: Any) -> Answer:
    """The same, within an event loop."""
    async with asking_async(client) as one:
        return await one(method, url, **options)


def _for_httpx(options: dict[str, Any]) -> dict[str, Any]:
    renamed = {"data": "content", "allow_redirects": "follow_redirects"}
    return {"follow_redirects": True, **{renamed.get(name, name): value for name, value in options.items()}}


def _for_urllib3(options: dict[str, Any]) -> dict[str, Any]:
    return {{"data": "body", "allow_redirects": "redirect"}.get(name, name): value for name, value in options.items()}


def _of_httpx(response: httpx.Response | httpx2.Response) -> Answer:
    return response.status_code, response.content


def _of_requests(response: requests.Response) -> Answer:
    return response.status_code, response.content


def _of_urllib3(response: urllib3.BaseHTTPResponse) -> Answer:
    return response.status, response.data


def left_open() -> list[str]:
    """The cassettes and faults that the calling context still uses; the patch of the clients stays."""
    found = [] if (cassette := current()) is None else [str(cassette.path)]
    return found + ["a fault"] * len(injected_faults())


@dataclass
class Tally:
    """What came of many requests."""

    right: int = 0
    wrong: int = 0
    raised: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, is_right: bool, error: BaseException | None = None) -> None:
        with self.lock:
            self.right += is_right
            self.wrong += error is None and not is_right
            self.raised += [f"{type(error).__name__}: {error}"] if error else []


def in_threads(
    opened: Callable[[int], contextlib.AbstractContextManager[Any]], client: str, url: str, cassettes: int, each: int
) -> Tally:
    """32 threads ask the same of each of many cassettes; only the cassette knows who is to answer."""
    tally, kept = Tally(), threading.local()

    def session() -> Callable[..., Answer]:
        if not hasattr(kept, "session"):
            kept.session = asking(client)
            kept.ask = kept.session.__enter__()
        return kept.ask  # type: ignore[no-any-return]

    def one_cassette(number: int) -> None:
        try:
            with opened(number):
                for step in range(each):
                    try:
                        _, body = session()("POST", f"{url}/v1", json={"n": step}, headers={"x-who": str(number)})
                        tally.count(_is_of(body, number, step))
                    except Exception as error:  # noqa: BLE001 (counted)
                        tally.count(False, error)
        except Exception as error:  # noqa: BLE001 (counted)
            tally.count(False, error)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(one_cassette, range(cassettes)))
    return tally


async def in_tasks(
    opened: Callable[[int], contextlib.AbstractContextManager[Any]], client: str, url: str, cassettes: int, each: int
) -> Tally:
    """The same in tasks of one event loop, 32 at a time."""
    tally, at_once = Tally(), asyncio.Semaphore(32)

    async def one_cassette(number: int, one: Callable[..., Awaitable[Answer]]) -> None:
        async with at_once:
            try:
                with opened(number):
                    for step in range(each):
                        _, body = await one("POST", f"{url}/v1", json={"n": step}, headers={"x-who": str(number)})
                        tally.count(_is_of(body, number, step))
            except Exception as error:  # noqa: BLE001 (counted)
                tally.count(False, error)

    async with asking_async(client) as one:
        await asyncio.gather(*(one_cassette(number, one) for number in range(cassettes)))
    return tally


def _is_of(body: bytes, number: int, step: int) -> bool:
    said = json.loads(body)
    return said["who"] == str(number) and json.loads(said["asked"]) == {"n": step}


def plain_vcrpy_file(path: Path, url: str, number: int, each: int) -> None:
    """A cassette as vcrpy writes it."""
    said = ({"who": str(number), "path": "/v1", "asked": json.dumps({"n": step})} for step in range(each))
    interactions = [
        {
            "request": {"method": "POST", "uri": f"{url}/v1", "body": json.dumps({"n": step}), "headers": {}},
            "response": {
                "status": {"code": 200, "message": "OK"},
                "headers": {"Content-Type": ["application/json"]},
                "body": {"string": json.dumps(one)},
            },
        }
        for step, one in enumerate(said)
    ]
    path.write_text(yaml.safe_dump({"interactions": interactions, "version": 1}), encoding="utf-8")
