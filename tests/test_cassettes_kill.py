"""A recording process that is killed at any moment loses no reply that it had finished."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from standins import StandIn

from llm_tester.cassettes import Cassette

Start = Callable[..., StandIn]

# Imports once and forks for each attempt: a child records over and over, says what is finished, and is killed.
KILLER = """
import json, os, random, signal, sys
import httpx
from llm_tester import use_cassette
from llm_tester.cassettes import Cassette

def record(folder, url, out):
    for number in range(1000):
        with use_cassette(f"{folder}/{number % 7}.yaml", "new_episodes"):
            client.post(url, json={"model": "m", "messages": [{"role": "user", "content": f"number {number}"}]})
        os.write(out, f"{number}\\n".encode())

root, url = sys.argv[1:]
client = httpx.Client()
moments = random.Random(7)
for attempt in range(50):
    folder = f"{root}/{attempt}"
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            record(folder, url, writer)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as lines:
        done = [lines.readline() for _ in range(moments.randrange(1, 12))]
        # Somewhere within the next recording: so many turns of a loop, not so many seconds.
        for _ in range(moments.randrange(0, 100_000)):
            pass
        os.kill(child, signal.SIGKILL)
        done += lines.readlines()
    os.waitpid(child, 0)
    print(json.dumps([folder, [int(line) for line in done if line.endswith("\\n")]]), flush=True)
"""


def test_a_kill_at_any_moment_loses_no_finished_reply(tmp_path: Path, standin: Start) -> None:
    command = [sys.executable, "-c", KILLER, str(tmp_path), f"{standin('yes').url}/v1/chat/completions"]
    attempts = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(attempts) == 50
    for folder, finished in map(json.loads, attempts):
        recorded = {
            interaction.request["body"]["json"]["messages"][0]["content"]
            for path in Path(folder).glob("*.yaml")
            for interaction in Cassette(path).interactions
        }
        assert finished
        assert {f"number {number}" for number in finished} <= recorded
