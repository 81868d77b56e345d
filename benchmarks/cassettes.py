"""What a replay costs: with more and more cassettes, and with more and more interactions in one; plain vcrpy beside it.

    python benchmarks/cassettes.py

Nothing is sent: the cassettes are written by hand, and the address is nobody's.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import vcr
import yaml

from llm_tester import use_cassette

URL = "http://127.0.0.1:9/v1/chat/completions"
PROMPT = "Extract the product as JSON.\n\nSource Text:\nThe Aurora Lamp costs 39.90 EUR.\n" * 3


def body(number: int) -> dict[str, object]:
    """A request like a provider's."""
    return {"model": "m", "messages": [{"role": "user", "content": f"{PROMPT}{number}"}], "temperature": 0}


def write(path: Path, numbers: range) -> None:
    """A plain vcrpy cassette, which both can read."""
    interactions = [
        {
            "request": {
                "method": "POST",
                "uri": URL,
                "headers": {"content-type": ["application/json"]},
                "body": httpx.Request("POST", URL, json=body(number)).read().decode(),
            },
            "response": {
                "status": {"code": 200, "message": "OK"},
                "headers": {"content-type": ["application/json"]},
                "body": {"string": f'{{"number": {number}}}'},
            },
        }
        for number in numbers
    ]
    path.write_text(yaml.dump({"version": 1, "interactions": interactions}, Dumper=yaml.CSafeDumper))


def milliseconds(count: int, work: Callable[[], None]) -> float:
    """Milliseconds a replay."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) / count * 1000


def replay(client: httpx.Client, number: int) -> None:
    """Asks for one reply and checks that it is its own."""
    if client.post(URL, json=body(number)).json() != {"number": number}:
        raise SystemExit(f"a wrong reply for {number}")


def many_files(root: Path, client: httpx.Client, count: int) -> tuple[float, float]:
    """Milliseconds a replay with a cassette each: ours, vcrpy's."""
    for number in range(count):
        write(root / f"{number}.yaml", range(number, number + 1))

    def ours() -> None:
        for number in range(count):
            with use_cassette(root / f"{number}.yaml"):
                replay(client, number)

    def theirs() -> None:
        recorder = vcr.VCR(match_on=["method", "uri", "body"], record_mode="none")
        for number in range(count):
            with recorder.use_cassette(str(root / f"{number}.yaml")):
                replay(client, number)

    return milliseconds(count, ours), milliseconds(count, theirs)


def one_file(root: Path, client: httpx.Client, count: int, with_vcrpy: bool) -> tuple[float, float | None]:
    """Milliseconds a replay of all interactions of one cassette, reading it included: ours, vcrpy's."""
    path = root / "one.yaml"
    write(path, range(count))

    def ours() -> None:
        with use_cassette(path):
            for number in range(count):
                replay(client, number)

    def theirs() -> None:
        recorder = vcr.VCR(match_on=["method", "uri", "body"], record_mode="none")
        with recorder.use_cassette(str(path)):
            for number in range(count):
                replay(client, number)

    return milliseconds(count, ours), milliseconds(count, theirs) if with_vcrpy else None


def main() -> None:
    """Prints both tables."""
    with httpx.Client() as client:
        with tempfile.TemporaryDirectory() as folder:
            many_files(Path(folder), client, 50)
        for count in (500, 2000, 8000):
            with tempfile.TemporaryDirectory() as folder:
                ours, theirs = many_files(Path(folder), client, count)
            print(f"{count:5} cassettes, one interaction each: {ours:7.2f} ms a replay; vcrpy {theirs:7.2f}")
        for count in (250, 500, 1000, 2000):
            with tempfile.TemporaryDirectory() as folder:
                mine, other = one_file(Path(folder), client, count, count <= 1000)
            beside = f"vcrpy {other:7.2f}" if other is not None else "vcrpy not run: minutes"
            print(f"1 cassette, {count:5} interactions:        {mine:7.2f} ms a replay; {beside}")


if __name__ == "__main__":
    main()
