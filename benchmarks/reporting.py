"""How much of a run's time goes into its own reporting.

    python benchmarks/reporting.py [RESULTS]     # 10,000 unless said otherwise

Records the cases from a scripted server on 127.0.0.1, replays them through LiteLLM, and times the run and then what
reports on it: results.json, report.md, report.html, and the tables in the terminal. A replay is the cheapest call there
is; a live run takes longer and reports as long.
"""

import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from standins import StandIn

from llm_tester import LLMTester, RunResult
from llm_tester.reports import html, markdown, terminal

MODELS = 10
MODEL = "from pydantic import BaseModel\n\nclass Product(BaseModel):\n    name: str\n    price: float\n    stock: int\n"


def write_cases(root: Path, count: int) -> None:
    """Cases of one module."""
    tests = root / "cases" / "products" / "tests"
    for folder in ("sources", "prompts", "expected"):
        (tests / folder).mkdir(parents=True)
    (tests.parent / "model.py").write_text(MODEL)
    for number in range(count):
        (tests / "sources" / f"case{number:05}.txt").write_text(f"Lamp number {number} costs 39.90 EUR, 3 in stock.")
        (tests / "prompts" / f"case{number:05}.txt").write_text("Extract the product as JSON.")
        expected = {"name": f"Lamp number {number}", "price": 39.9, "stock": 3}
        (tests / "expected" / f"case{number:05}.json").write_text(json.dumps(expected))


def timed(name: str, work: Callable[[], object]) -> float:
    """Seconds of a piece of work, printed."""
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    print(f"{name:32} {seconds:8.2f} s")
    return seconds


def main(count: int) -> None:
    """Prints the seconds of the run and of its reports."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.chdir(root)
        write_cases(root, count // MODELS)
        reply = json.dumps({"name": "Lamp", "price": 39.9, "stock": 2})
        with StandIn(reply) as server:
            models = [{"name": f"model-{number}", "cost_input": number, "cost_output": 4} for number in range(MODELS)]
            entry = {"provider_type": "openai", "api_base": f"{server.url}/v1", "models": models}
            (root / "config.json").write_text(json.dumps({"providers": {"x": entry}}))
            timed("record", lambda: LLMTester(["x:*"]).run_tests(record="once", concurrency=8))
        runs: list[RunResult] = []
        total = timed("replay", lambda: runs.append(LLMTester(["x:*"]).run_tests(record="none")))
        [run] = runs
        reporting = timed("results.json", lambda: run.save(root / "results.json"))
        reporting += timed("report.md", lambda: markdown.render(run))
        reporting += timed("report.html", lambda: html.render(run))
        reporting += timed("tables", lambda: terminal.show_results(Console(file=io.StringIO(), width=130), run))
        print(f"{len(run.results)} results: reporting took {reporting / (total + reporting):.1%} of the run")


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["10000"])[0]))
