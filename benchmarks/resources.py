"""What a process holds after many calls: descriptors, threads and memory, and how long its exit takes.

    python benchmarks/resources.py                            # 10,000 replays and 3,000 live calls
    python benchmarks/resources.py --replays 300 --live 200   # to see that it runs

It prints the figures after 100 of each and at the end. The server runs in its own process on loopback. Linux only.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from call import _answers

CODE = """
import sys
sys.path.insert(0, sys.argv[1])
from resources import work
work(*sys.argv[2:])
"""
SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = sys.argv[1].encode()
        head = f"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: {len(body)}\\r\\n\\r\\n"
        self.wfile.write(head.encode() + body)

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def held() -> str:
    """What this process holds now."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    descriptors, threads = len(list(Path("/proc/self/fd").iterdir())), status["Threads"].strip()
    return f"{descriptors} descriptors, {threads} threads, {int(status['VmRSS'].split()[0]) / 1024:.1f} MB"


def _counted(name: str, times: int, one: Callable[[int], object]) -> None:
    for number in range(times):
        one(number)
        if number == 99:
            print(f"{name}, after 100: {held()}")
    print(f"{name}, after {times}: {held()}")


def work(url: str, replays: str, live: str) -> None:
    """Calls, in the process that is measured, and prints what it holds, and the time of its end."""
    from llm_tester import use_cassette
    from llm_tester.llms.provider_factory import create_provider

    entry = {"provider_type": "openai", "api_base": url, "env_key": "", "models": ["gpt-4o-mini"]}
    Path("config.json").write_text(json.dumps({"providers": {"here": entry}}), encoding="utf-8")
    provider = create_provider("here")
    assert provider is not None

    def call(number: int) -> object:
        return provider.get_response("Extract the invoice.", f"A line of invoice {number}.")

    def replay(number: int) -> None:
        with use_cassette(f"{number % 100}.yaml", "once"):
            call(number % 100)

    for number in range(100):
        replay(number)
    _counted("replays", int(replays), replay)
    _counted("live calls", int(live), call)
    print(f"end {time.time()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replays", type=int, default=10_000)
    parser.add_argument("--live", type=int, default=3_000)
    asked = parser.parse_args()
    answer = next(body for path, body in _answers().items() if "chat/completions" in path).decode()
    server = subprocess.Popen([sys.executable, "-c", SERVER, answer], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with contextlib.ExitStack() as stack:
        stack.callback(server.wait)
        stack.callback(server.kill)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        command = [sys.executable, "-c", CODE, str(Path(__file__).parent), url, str(asked.replays), str(asked.live)]
        done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        ended = time.time()
        *lines, last = done.stdout.splitlines()
        print(*lines, f"exit: {ended - float(last.split()[1]):.2f} s", sep="\n")


if __name__ == "__main__":
    main()
