"""Runs a command next to a scripted OpenAI server on 127.0.0.1:8399, then says how many requests came.

    python served.py [--seconds 0.1] [--kill-after 20] COMMAND...

`gpt-4o-mini` extracts every product; `gpt-4o` gets the price of each third lamp wrong. Standard library only.
"""

import argparse
import http.server
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any

PORT = 8399
KEY = "sk-proj-comparison-not-a-real-key-000000000000"

asked: list[str] = []


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


def serve(seconds: float) -> http.server.ThreadingHTTPServer:
    """Serves in threads; each reply takes some seconds."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append(body["model"])
            time.sleep(seconds)
            data = json.dumps(answer(body)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Keeps quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--kill-after", type=int, default=0, help="kill the command after so many requests")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    serve(options.seconds)
    address = f"http://127.0.0.1:{PORT}/v1"
    environment = {**os.environ, "OPENAI_BASE_URL": address, "OPENAI_API_BASE": address, "OPENAI_API_KEY": KEY}
    started = time.monotonic()
    process = subprocess.Popen(options.command, env=environment, start_new_session=True)
    while process.poll() is None:
        if options.kill_after and len(asked) >= options.kill_after:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.005)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu, seconds = used.ru_utime + used.ru_stime, time.monotonic() - started
    said = f"{len(asked)} requests, {cpu:.1f} s of CPU, {seconds:.1f} s, exit code {process.returncode}"
    print("served:", said, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
