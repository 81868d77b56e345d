"""Kills runs at random moments, goes on with `run --resume`, and counts what was lost, paid twice or left over.

    python benchmarks/kills.py --kills 200

Each round runs 200 cases, 8 at once, against a server on 127.0.0.1 that counts its requests, and is killed up to
eight times (SIGKILL, SIGTERM, SIGINT, SIGHUP) before it may end. Half of the rounds record cassettes, the others use
`--record off`.
"""

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CASES, AT_ONCE, DELAY = 200, 8, 0.03
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
COST = (100 * 2 + 20 * 8) / 1e6

CALLS = """
import httpx
from llm_tester import BaseLLM

class Calls(BaseLLM):
    def _call_llm_api(self, prompt, system_prompt, model_name, model_config):
        body = {"model": model_name, "messages": [{"role": "user", "content": prompt}]}
        reply = httpx.post(self.config.api_base, json=body, timeout=60).raise_for_status().json()
        return reply["choices"][0]["message"]["content"], reply["usage"]
"""


class Server(ThreadingHTTPServer):
    """Answers each case with its own number, and counts how often it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: killed clients break their connections."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
        number = sent["messages"][0]["content"].split("Number ")[1][:3]
        with self.server.lock:
            self.server.asked[number] += 1
        time.sleep(DELAY)
        usage = {"prompt_tokens": 100, "completion_tokens": 20}
        message = {"role": "assistant", "content": json.dumps({"number": number})}
        body = json.dumps({"choices": [{"message": message}], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def write_project(directory: Path, server: Server) -> None:
    """A config, a provider and the cases."""
    (directory / "calls.py").write_text(CALLS)
    model = {"name": "small", "cost_input": 2, "cost_output": 8, "max_output_tokens": 100}
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    entry = {"provider_type": "calls:Calls", "api_base": url, "env_key": "", "models": [model]}
    (directory / "config.json").write_text(json.dumps({"providers": {"x": entry}}))
    module = directory / "cases/numbers"
    for folder in ("sources", "prompts", "expected"):
        (module / "tests" / folder).mkdir(parents=True)
    (module / "model.py").write_text("from pydantic import BaseModel\nclass Found(BaseModel):\n    number: str\n")
    for number in range(CASES):
        name = f"case{number:03}"
        (module / f"tests/sources/{name}.txt").write_text(f"Number {number:03}.")
        (module / f"tests/prompts/{name}.txt").write_text("Which number?")
        (module / f"tests/expected/{name}.json").write_text(json.dumps({"number": f"{number:03}"}))


def run(directory: Path, record: str, kill: int | None) -> int:
    """Runs or goes on; the exit code. Kills at a random moment: of the start, between results, or at the end."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    options = ["--record", record, "--concurrency", str(AT_ONCE)]
    process = subprocess.Popen(
        [sys.executable, "-m", "llm_tester", "run", "--resume", "--output", "out", *options],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    if kill is None:
        output = process.communicate()[0]
    else:
        lines = random.choice([0, *range(1, 40, 4), CASES])
        output = "".join(itertools.islice((line for line in process.stdout if line.startswith("[")), lines))
        time.sleep(random.uniform(0, 0.05 if lines else 2))
        if process.poll() is None:
            process.send_signal(kill)
        output += process.communicate()[0]
    if process.returncode not in (0, 130, -(kill or 0)):
        print(process.returncode, output[-2000:])
    return process.returncode


def round_of(server: Server, record: str, kills: int) -> dict[str, int]:
    """One run with kills; what was found."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_project(directory, server)
        server.asked.clear()
        sent: list[int] = []
        found: Counter[str] = Counter()
        for _ in range(kills):
            number = random.choice(SIGNALS)
            code = run(directory, record, number)
            if code == 0:
                break
            sent.append(number)
            for path in directory.rglob("*.json"):
                found["broken files"] += _is_broken(path)
        assert code == 0 or run(directory, record, None) == 0
        results = json.loads((directory / "out/results.json").read_text())
        costs = json.loads((directory / "out/costs.json").read_text())
        got = {item["name"]: (item["status"], item["accuracy"], item["actual"]) for item in results["results"]}
        whole = {f"case{number:03}": ("ok", 100.0, {"number": f"{number:03}"}) for number in range(CASES)}
        rows = [row for row in costs["rows"] if row["run_id"] == results["run_id"]]
        maybe = sum(row["maybe_usd"] for row in rows)
        every = sum(row["spent_usd"] for row in costs["rows"])
        most = every + sum(row["maybe_usd"] for row in costs["rows"])
        billed = sum(server.asked.values()) * COST
        twice = sum(server.asked.values()) - len(server.asked)
        left = [path for path in directory.rglob("*") if path.name.endswith((".tmp", ".journal"))]
        found["kills"] = len(sent)
        for number in SIGNALS:
            found[number.name] = sent.count(number)
        found["results that differ"] = sum(got.get(name) != result for name, result in whole.items())
        found["paid twice"] = twice
        found["paid twice without SIGKILL"] = twice if signal.SIGKILL not in sent else 0
        found["paid twice beyond what was in flight"] = max(0, twice - AT_ONCE * found["SIGKILL"])
        found["left over"] = len(left)
        spent = sum(row["spent_usd"] for row in rows)
        differs = abs(spent - results["spent_usd"]) + abs(spent + maybe - results["at_most_usd"])
        found["books that differ"] = int(differs > 1e-9)
        found["books that miss money"] = int(not every - 1e-9 <= billed <= most + 1e-9)
        found["books not exact without SIGKILL"] = int(signal.SIGKILL not in sent and abs(every - billed) > 1e-9)
        return found


def _is_broken(path: Path) -> int:
    try:
        json.loads(path.read_text())
    except ValueError:
        return 1
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10, help="end after the round in which they are over")
    arguments = parser.parse_args()
    # A process in the background may have these ignored, and would pass that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    server, total, rounds, started = Server(), Counter[str](), 0, time.monotonic()
    while total["kills"] < arguments.kills and time.monotonic() - started < arguments.minutes * 60:
        total += round_of(server, ("off", "auto")[rounds % 2], 8)
        rounds += 1
        print(rounds, dict(total), flush=True)
    seconds = time.monotonic() - started
    names = [
        "kills",
        *(number.name for number in SIGNALS),
        "results that differ",
        "paid twice",
        "paid twice without SIGKILL",
    ]
    names += ["paid twice beyond what was in flight", "broken files", "left over", "books that differ"]
    names += ["books that miss money", "books not exact without SIGKILL"]
    print(f"{rounds} runs of {CASES} cases, {AT_ONCE} at once, {seconds:.0f} s")
    for each in names:
        print(f"{each}: {total[each]}")


if __name__ == "__main__":
    main()
