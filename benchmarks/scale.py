"""How long a run of many calls takes, next to other libraries, and to the ideal: calls times seconds per call, by the
number at once.

    python benchmarks/scale.py [--json FILE] [--cases 500] [--delay 0.1] [--at-once 64] [--rounds 3] [--only NAME]

A server on 127.0.0.1, in a process of its own, takes `--delay` seconds per call. Each run is a fresh process, which has
imported LiteLLM before the clock starts; the processes of `workers` import it within the run. The rounds are
interleaved; the table shows medians, and the smallest and largest ratio.
"""

import argparse
import asyncio
import importlib.util
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peers import KEY, PEERS, Work

REPLY = json.dumps({"name": "Aurora Lamp", "price": 39.9})
MODEL = "from pydantic import BaseModel\n\nclass Product(BaseModel):\n    name: str\n    price: float\n"
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "small",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": REPLY}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
}
# By name: the provider's name and the options of `run_tests`; `record` is off or all.
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "ours, LiteLLM": ("x", {"record": "off"}),
    "ours, LiteLLM, recording": ("x", {"record": "all"}),
    "ours, PydanticAI": ("p", {"record": "off"}),
    "ours, PydanticAI, recording": ("p", {"record": "all"}),
    "ours, 2 processes": ("x", {"record": "off", "workers": 2}),
    "ours, 2 processes, recording": ("x", {"record": "all", "workers": 2}),
}


def serve(delay: float, line: Any) -> None:
    """Answers every request with the same reply after a delay."""
    body = json.dumps(ANSWER).encode()
    reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().split("\r\n")
                await reader.readexactly(next(int(x[15:]) for x in lines if x.startswith("content-length:")))
                await asyncio.sleep(delay)
                writer.write(reply)
        except asyncio.IncompleteReadError:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1024)
        line.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def server(delay: float) -> Iterator[int]:
    """A server in another process; gives its port."""
    mine, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(delay, its), daemon=True)
    process.start()
    try:
        yield mine.recv()
    finally:
        process.terminate()
        process.join()


def write_project(directory: Path, port: int, cases: int) -> None:
    """A config and cases."""
    entry: dict[str, Any] = {
        "provider_type": "openai",
        "api_base": f"http://127.0.0.1:{port}/v1",
        "models": [{"name": "small", "cost_input": 2, "cost_output": 8, "max_output_tokens": 100}],
    }
    model = {**entry["models"][0], "name": "openai-chat:small"}
    other = {**entry, "provider_type": "pydantic_ai", "models": [model]}
    (directory / "config.json").write_text(json.dumps({"providers": {"x": entry, "p": other}}))
    module = directory / "cases" / "products"
    for folder in ("sources", "prompts", "expected"):
        (module / "tests" / folder).mkdir(parents=True)
    (module / "model.py").write_text(MODEL)
    for number in range(cases):
        for folder, text in (("sources", f"Lamp {number}."), ("prompts", "Extract."), ("expected", REPLY)):
            suffix = "json" if folder == "expected" else "txt"
            (module / "tests" / folder / f"case{number}.{suffix}").write_text(text)


def used_cpu() -> float:
    """Seconds of CPU that this process and those of its children that have ended used so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


def run(directory: Path, at_once: int, name: str) -> float:
    """Runs the cases in this process; gives the seconds of the run."""
    provider, options = RUNS[name]
    # Imports are not a part of the run.
    importlib.import_module("litellm" if provider == "x" else "pydantic_ai.models.openai")

    from llm_tester import LLMTester

    tester = LLMTester([provider], config_path=directory / "config.json")
    started = time.perf_counter()
    results = tester.run_tests(concurrency=at_once, **options).results
    seconds = time.perf_counter() - started
    assert all(result.status == "ok" for result in results), next(r.problem for r in results if r.status != "ok")
    return seconds


def inside(name: str, directory: Path, port: int, arguments: argparse.Namespace) -> None:
    """Makes the calls in this process, and prints the seconds that they took, on the clock and of CPU."""
    before = used_cpu()
    if name in RUNS:
        seconds = run(directory, arguments.at_once, name)
    else:
        seconds = PEERS[name].run(Work(f"http://127.0.0.1:{port}/v1", arguments.cases, arguments.at_once))
    for child in multiprocessing.active_children():
        child.join()
    print(json.dumps({"seconds": seconds, "cpu": used_cpu() - before}))


def measure(name: str, port: int, arguments: argparse.Namespace) -> dict[str, float]:
    """The calls in a fresh process."""
    with tempfile.TemporaryDirectory() as directory:
        write_project(Path(directory), port, arguments.cases)
        given = ["--inside", name, directory, str(port), "--at-once", str(arguments.at_once)]
        done = subprocess.run(
            [sys.executable, __file__, *given, "--cases", str(arguments.cases)],
            env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "X_API_KEY": KEY, "P_API_KEY": KEY},
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr}")
        return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--delay", type=float, default=0.1)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=[*RUNS, *PEERS], action="append", default=[])
    parser.add_argument("--inside", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        name, directory, port = arguments.inside
        inside(name, Path(directory), int(port), arguments)
        return
    installed = [*RUNS, *(name for name, peer in PEERS.items() if importlib.util.find_spec(peer.module))]
    ideal = arguments.cases * arguments.delay / arguments.at_once
    found: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.only or installed}
    with server(arguments.delay) as port:
        for _ in range(arguments.rounds):
            for name, rows in found.items():
                rows.append(measure(name, port, arguments))
    print(f"{arguments.cases} calls of {arguments.delay} s, {arguments.at_once} at once; ideal {ideal:.2f} s")
    for name, rows in found.items():
        ratios = sorted(row["seconds"] / ideal for row in rows)
        seconds, cpu = (statistics.median(row[key] for row in rows) for key in ("seconds", "cpu"))
        spread = f"{ratios[0]:.1f}-{ratios[-1]:.1f}"
        print(f"{name:28} {seconds:6.2f} s, {statistics.median(ratios):.1f} x ideal ({spread}), CPU {cpu:.1f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps({"ideal": ideal, "runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
