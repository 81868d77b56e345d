"""What large things cost: files of many interactions, replies of a megabyte, many cases, a config of many models.

    python benchmarks/large.py                 # as in the documentation
    python benchmarks/large.py --small         # a tenth of it, to see that it runs
    python benchmarks/large.py --json FILE     # writes the figures, too

Seconds are CPU time, the shortest of three runs; `ratio` compares a reply with `json.loads` of its body. Nothing is
sent. Memory is the peak of what Python allocates.
"""

import argparse
import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_tester.cassettes import Cassette, _recent
from llm_tester.cassettes.storage import reply_of
from llm_tester.config import ProviderConfig, validate
from llm_tester.runs.cases import discover

URL = "http://api.example.test/v1/chat/completions"
KIND = {"content-type": ["application/json"]}
LINE = "A line of a long text about light, high and bright things.\n"
MODEL = "from pydantic import BaseModel\n\nclass Product(BaseModel):\n    name: str\n    price: float\n"


def seconds(work: Callable[[], object], times: int = 3) -> float:
    found = []
    for _ in range(times):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def peak_megabytes(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def record(cassette: Cassette, number: int, body: bytes) -> None:
    question = {"model": "m", "messages": [{"role": "user", "content": f"number {number}\n{LINE}"}]}
    asked = cassette.request("POST", URL, KIND, json.dumps(question).encode())
    cassette.record(asked, {"status": 200, "headers": KIND, "body": body}, 0.1)


def open_fresh(path: Path) -> Cassette:
    _recent.reset()
    return Cassette(path)


def many_interactions(folder: Path, count: int) -> dict[str, float]:
    path, body = folder / "many.yaml", json.dumps({"choices": [{"message": {"content": LINE * 3}}]}).encode()

    def record_all() -> None:
        cassette = Cassette(path, "new_episodes")
        for number in range(count):
            record(cassette, number, body)

    def record_in_tests() -> None:
        for number in range(count // 10):
            record(Cassette(folder / "shared.yaml", "new_episodes"), number, body)

    return {
        f"recording {count} replies into one file": seconds(record_all, 1),
        f"opening {count} interactions": seconds(lambda: open_fresh(path)),
        "opening them again": seconds(lambda: Cassette(path)),
        f"{count // 10} cassettes that each add a reply to one file": seconds(record_in_tests, 1),
    }


def replies(folder: Path, scale: float) -> dict[str, float]:
    item = {"name": "Lamp", "price": 39.9, "tags": ["a", "b"], "nested": {"x": 1, "text": LINE, "none": None}}
    bodies = {
        "structured, 1 MB": json.dumps({"items": [item] * int(7000 * scale)}).encode(),
        "text, 1 MB": json.dumps({"text": LINE * int(17_000 * scale)}).encode(),
        "text, 10 MB": json.dumps({"text": LINE * int(170_000 * scale)}).encode(),
    }
    found: dict[str, float] = {}
    for name, body in bodies.items():
        path = folder / f"{name}.yaml"

        def record_one(path: Path = path, body: bytes = body) -> None:
            path.unlink(missing_ok=True)
            record(Cassette(path, "once"), 0, body)

        def replay(path: Path = path) -> Any:
            return reply_of(open_fresh(path).interactions[0])

        plain = seconds(lambda body=body: json.loads(body))  # type: ignore[misc]
        found[f"{name}: json.loads"] = plain
        found[f"{name}: recording, ratio"] = seconds(record_one) / plain
        found[f"{name}: replaying, ratio"] = seconds(replay) / plain
        found[f"{name}: recording, peak MB"] = peak_megabytes(record_one)
        found[f"{name}: replaying, peak MB"] = peak_megabytes(replay)
    return found


def cases_and_config(folder: Path, count: int) -> dict[str, float]:
    tests = folder / "cases" / "products" / "tests"
    for name in ("sources", "prompts", "expected"):
        (tests / name).mkdir(parents=True)
    (tests.parent / "model.py").write_text(MODEL)
    for number in range(count):
        (tests / "sources" / f"c{number}.txt").write_text(f"lamp {number}")
        (tests / "prompts" / f"c{number}.txt").write_text(f"what {number}")
        (tests / "expected" / f"c{number}.json").write_text('{"name": "Lamp", "price": 1.5}')
    models = [{"name": f"m{number}"} for number in range(count // 20)]

    def config() -> None:
        for number in range(100):
            validate(ProviderConfig, {"name": f"p{number}", "models": models}, folder / "config.json")

    return {
        f"finding {count} cases": seconds(lambda: discover(folder / "cases"), 1),
        f"a config of 100 providers with {len(models)} models each": seconds(config),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scale = 0.1 if options.small else 1.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = many_interactions(folder, int(5000 * scale))
        found |= replies(folder, scale) | cases_and_config(folder, int(20_000 * scale))
    for what, value in found.items():
        print(f"{what:70} {value:10.4f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
