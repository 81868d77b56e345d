"""Runs a command next to a scripted OpenAI server on 127.0.0.1:8399, then says how many requests came.

    python served.py [--seconds 0.1] [--kill-after 20] COMMAND...

`gpt-4o-mini` extracts every product; `gpt-4o` gets the price of each third lamp wrong. Standard library only.
"""

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from http_server import Reply, Seen, Server

PORT = 8399
KEY = "sk-proj-comparison-not-a-real-key-000000000000"


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """A chat completion for one lamp."""
    number = int(re.findall(r"Lamp (\d+)", json.dumps(body))[-1])
    price = number + 0.5 + (body["model"] == "gpt-4o" and number % 3 == 0)
    text = json.dumps({"name": f"Lamp {number}", "price": price, "currency": "EUR"})
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1767225600, "model": body["model"]}
    return {**head, "choices": [choice], "usage": usage}


def reply(seen: Seen, seconds: float) -> Reply:
    """A reply that takes some seconds."""
    time.sleep(seconds)
    return Reply(json.dumps(answer(seen.json())).encode())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--kill-after", type=int, default=0, help="kill the command after so many requests")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    address = f"http://127.0.0.1:{PORT}/v1"
    environment = {**os.environ, "OPENAI_BASE_URL": address, "OPENAI_API_BASE": address, "OPENAI_API_KEY": KEY}
    started = time.monotonic()
    with Server(partial(reply, seconds=options.seconds), PORT) as server:
        process = subprocess.Popen(options.command, env=environment, start_new_session=True)
        while process.poll() is None:
            if options.kill_after and len(server.seen) >= options.kill_after:
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.005)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu, seconds = used.ru_utime + used.ru_stime, time.monotonic() - started
    said = f"{len(server.seen)} requests, {cpu:.1f} s of CPU, {seconds:.1f} s, exit code {process.returncode}"
    print("served:", said, file=sys.stderr)


if __name__ == "__main__":
    main()
