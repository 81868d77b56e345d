"""What a replay costs, ours beside plain vcrpy's: many cassettes of one interaction, and one of many.

    python benchmarks/cassettes.py              # 500, 2,000 and 8,000 cassettes; 500 and 2,000 interactions in one
    python benchmarks/cassettes.py --small      # a tenth of it, to see that it runs

Each figure is the shortest of three runs, in one thread, over one httpx client. vcrpy matches on the body too, as it
must where a cassette holds many prompts for one address, and is asked for 20 interactions spread over the file.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx
import vcr
import yaml

from llm_tester.cassettes import use_cassette

URL = "http://api.example.test/v1/chat/completions"
PROMPT = "Extract the invoice as JSON with its number, supplier, dates and total.\n\nSource Text:\n" + "A line. " * 100
KIND = {"content-type": ["application/json"]}
VCRPY_MATCHES_ON = ("method", "scheme", "host", "port", "path", "query", "body")


def question(number: int) -> dict[str, Any]:
    return {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": f"{number}: {PROMPT}"}]}


def write(path: Path, numbers: Iterable[int]) -> None:
    """A cassette that both can read."""
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 400}}], "usage": {"total": 1}}
    interactions = [
        {
            "request": {"method": "POST", "uri": URL, "body": json.dumps(question(number)), "headers": KIND},
            "response": {
                "status": {"code": 200, "message": "OK"},
                "headers": KIND,
                "body": {"string": json.dumps({"id": number, **answer})},
            },
        }
        for number in numbers
    ]
    data = json.loads(json.dumps({"interactions": interactions, "version": 1}))  # without YAML aliases
    path.write_text(yaml.dump(data, Dumper=yaml.CSafeDumper), encoding="utf-8")


def ask(client: httpx.Client, number: int) -> None:
    if client.post(URL, json=question(number)).json()["id"] != number:
        raise AssertionError("another one's reply")


def ours(path: Path) -> Any:
    return use_cassette(path)


def vcrpys(path: Path) -> Any:
    return vcr.use_cassette(str(path), record_mode="none", match_on=VCRPY_MATCHES_ON)


def each_its_own(opened: Callable[[Path], Any], root: Path, count: int, client: httpx.Client) -> float:
    """Milliseconds to open a cassette and replay its one interaction."""
    started = time.perf_counter()
    for number in range(count):
        with opened(root / f"{number}.yaml"):
            ask(client, number)
    return (time.perf_counter() - started) / count * 1000


def all_in_one(
    opened: Callable[[Path], Any], path: Path, numbers: Sequence[int], client: httpx.Client
) -> tuple[float, float]:
    """Seconds to open a cassette, and milliseconds to replay one of its interactions."""
    started = time.perf_counter()
    with opened(path):
        is_open = time.perf_counter()
        for number in numbers:
            ask(client, number)
        return is_open - started, (time.perf_counter() - is_open) / len(numbers) * 1000


def recorded(root: Path, count: int, client: httpx.Client) -> float:
    """Milliseconds to record one more reply into a cassette, mean over all; the server is this process."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from cassette_helpers import Server

    with Server() as server, use_cassette(root / "recorded.yaml", "once"):
        started = time.perf_counter()
        for number in range(count):
            client.post(server.url, json=question(number))
        return (time.perf_counter() - started) / count * 1000


def say(*cells: object) -> None:
    sys.stdout.write("".join(f"{cell:>22}" for cell in cells) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    by = 10 if parser.parse_args().small else 1
    with tempfile.TemporaryDirectory() as folder, httpx.Client(trust_env=False, verify=False) as client:
        root = Path(folder)
        for number in range(8000 // by):
            write(root / f"{number}.yaml", [number])
        say("cassettes", "ours, ms each", "vcrpy, ms each")
        for count in (500 // by, 2000 // by, 8000 // by):
            best = [min(each_its_own(way, root, count, client) for _ in range(3)) for way in (ours, vcrpys)]
            say(count, *(f"{figure:.2f}" for figure in best))
        say()
        say("interactions in one", "ours, s to open", "ours, ms each", "vcrpy, s to open", "vcrpy, ms each")
        for count in (500 // by, 2000 // by):
            path = root / "many.yaml"
            write(path, range(count))
            own = min(all_in_one(ours, path, range(count), client) for _ in range(3))
            theirs = min(all_in_one(vcrpys, path, range(0, count, count // 20), client) for _ in range(3))
            say(count, *(f"{figure:.2f}" for figure in (*own, *theirs)))
        say()
        say("recorded into one", "ours, ms each")
        for count in (100 // by, 500 // by, 2000 // by):
            (root / "recorded.yaml").unlink(missing_ok=True)
            say(count, f"{recorded(root, count, client):.2f}")


if __name__ == "__main__":
    main()
