"""What a recorder does by default: `python recorders.py vcrpy|cassetter|llm_tester`, where it and httpx are installed.

The tools raise errors of their own kinds, so this catches all and counts them by name.

`--body` lets vcrpy and cassetter match the bodies of requests, too, as llm_tester does.

- threads, tasks: 16 at once, each with a cassette of its own for 20 requests; then the same again without a server.
- drift: a prompt that is no longer the recorded one.
- keys: which of five places of a key reach the file.
"""

import asyncio
import contextvars
import importlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from http_server import Reply, Seen, Server

TOOL = sys.argv[1]
BODY = "--body" in sys.argv
KEYS = {
    "Authorization header": "sk-proj-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "URL parameter key": "AIzaSyBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB",
    "JSON field password": "hunter2-cccccccccccccccccccc",
    "prompt text": "sk-ant-api03-dddddddddddddddddddddddddddddddddddddd",
    "echoed by the reply": "sk-proj-eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
}


def echo(seen: Seen) -> Reply:
    """Answers with what was asked, and with one of the keys."""
    body = seen.json()
    said = {"said": body["prompt"], "note": KEYS["echoed by the reply"] if "password" in body else ""}
    return Reply(json.dumps(said).encode())


def cassette(path: Path, mode: str) -> Any:
    """The tool's cassette with its defaults."""
    module = importlib.import_module({"vcrpy": "vcr"}.get(TOOL, TOOL))
    if TOOL == "llm_tester":
        return module.use_cassette(path, record=mode)
    matched = {"match_on": ["method", "uri", "json_body" if TOOL == "cassetter" else "body"]} if BODY else {}
    return module.use_cassette(str(path), record_mode=mode, **matched)


def one_by_one(url: str, path: Path, mode: str, who: int) -> list[str]:
    with cassette(path, mode), httpx.Client() as client:
        asked = [f"{who}-{number}" for number in range(20)]
        return [verdict(lambda ask=ask: client.post(url, json={"prompt": ask}).json()["said"], ask) for ask in asked]


def verdict(call: Callable[[], str], asked: str) -> str:
    try:
        return "right" if call() == asked else "another's reply"
    except BaseException as error:  # noqa: BLE001
        return type(error).__name__


async def as_task(url: str, path: Path, mode: str, who: int) -> list[str]:
    found = []
    with cassette(path, mode):
        async with httpx.AsyncClient() as client:
            for number in range(20):
                try:
                    said = (await client.post(url, json={"prompt": f"{who}-{number}"})).json()["said"]
                    found.append("right" if said == f"{who}-{number}" else "another's reply")
                except BaseException as error:  # noqa: BLE001
                    found.append(type(error).__name__)
    return found


def in_threads(url: str, folder: Path, mode: str) -> Counter[str]:
    with ThreadPoolExecutor(16) as pool:
        jobs = [
            pool.submit(contextvars.copy_context().run, one_by_one, url, folder / f"{who}.yaml", mode, who)
            for who in range(16)
        ]
        return counted(job.exception() or job.result() for job in jobs)


def in_tasks(url: str, folder: Path, mode: str) -> Counter[str]:
    async def every() -> Any:
        jobs = (as_task(url, folder / f"{who}.yaml", mode, who) for who in range(16))
        return await asyncio.gather(*jobs, return_exceptions=True)

    return counted(asyncio.run(every()))


def counted(outcomes: Any) -> Counter[str]:
    """A cassette that raised as a whole counts once for each of its requests."""
    found: Counter[str] = Counter()
    for outcome in outcomes:
        found.update([type(outcome).__name__] * 20 if isinstance(outcome, BaseException) else outcome)
    return found


def record(url: str, folder: Path) -> None:
    for name, run in (("threads", in_threads), ("tasks", in_tasks)):
        print(f"{name}, recording:", dict(run(url, folder / name, "once")))
    with cassette(folder / "drift.yaml", "once"):
        httpx.post(url, json={"prompt": "Extract the product."})
    body = {"prompt": KEYS["prompt text"], "password": KEYS["JSON field password"]}
    try:
        with cassette(folder / "keys.yaml", "once"):
            headers = {"authorization": f"Bearer {KEYS['Authorization header']}"}
            httpx.post(url, params={"key": KEYS["URL parameter key"]}, json=body, headers=headers)
    except Exception as error:  # noqa: BLE001
        print("keys:", error)


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    with Server(echo) as server:
        url = f"{server.url}/v1"
        record(url, folder)
    for name, run in (("threads", in_threads), ("tasks", in_tasks)):
        print(f"{name}, replaying:", dict(run(url, folder / name, "none")))
    file = folder / "keys.yaml"
    text = file.read_text() if file.exists() else ""
    print("keys in the file:", [place for place, key in KEYS.items() if key in text] or "none")
    try:
        with cassette(folder / "drift.yaml", "none"):
            print("drift:", httpx.post(url, json={"prompt": "Extract the product and its price."}).text)
    except BaseException as error:  # noqa: BLE001
        print("drift:", type(error).__name__, error)


main()
