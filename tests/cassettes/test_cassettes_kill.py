"""A recording process that is killed at any moment loses no reply that it had finished."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from standins import StandIn

from llm_tester.cassettes import Cassette

Start = Callable[..., StandIn]

# Imports once and forks for each attempt: a child records over and over, says what is finished, and is killed, from
# outside at whatever it does, or by itself at every second line of what saves its third reply in a new file, or at each
# line of what appends its fourth one.
KILLER = """
import json, os, pathlib, random, signal, sys
import httpx
from llm_tester import use_cassette
from llm_tester.cassettes import storage

def record(folder, url, out, fatal_line):
    for number in range(1000):
        if number == (2 if way == "save" else 3) and fatal_line:
            die_at(fatal_line)
        with use_cassette(f"{folder}/{number % 3}.yaml", "new_episodes"):
            client.post(url, json={"model": "m", "messages": [{"role": "user", "content": f"number {number}"}]})
        os.write(out, f"{number}\\n".encode())

def die_at(fatal_line):
    lines, saving = 0, False
    def trace(frame, event, argument):
        nonlocal lines, saving
        if frame.f_code in (storage.save.__code__, storage.append.__code__):
            saving = event != "return"
        lines += event == "line" and saving
        if lines == fatal_line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace if frame.f_code.co_filename in (storage.__file__, pathlib.__file__) else None
    sys.settrace(trace)

root, url, way = sys.argv[1:]
client = httpx.Client()
with use_cassette(f"{root}/none.yaml", "once"):
    pass  # what the first cassette imports, no child has to
moments = random.Random(7)
for attempt in range({"outside": 25, "save": 95, "append": 25}[way]):
    folder = f"{root}/{attempt}"
    reader, writer = os.pipe()
    before, turns = moments.randrange(1, 12), moments.randrange(0, 100_000)
    if (child := os.fork()) == 0:
        try:
            record(folder, url, writer, {"outside": 0, "save": 2 * attempt + 1, "append": attempt + 1}[way])
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as lines:
        done = []
        if way == "outside":
            done += [lines.readline() for _ in range(before)]
            # Somewhere within the next recording: so many turns of a loop, not so many seconds.
            for _ in range(turns):
                pass
            os.kill(child, signal.SIGKILL)
        done += lines.readlines()
    os.waitpid(child, 0)
    print(json.dumps([folder, [int(line) for line in done if line.endswith("\\n")]]), flush=True)
"""


@pytest.mark.parametrize("way", ["outside", "save", "append"])
def test_a_kill_at_any_moment_loses_no_finished_reply(way: str, tmp_path: Path, standin: Start) -> None:
    command = [sys.executable, "-c", KILLER, str(tmp_path), f"{standin('yes').url}/v1/chat/completions", way]
    attempts = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for folder, finished in map(json.loads, attempts):
        recorded = {
            interaction.request["body"]["json"]["messages"][0]["content"]
            for path in Path(folder).glob("*.yaml")
            for interaction in Cassette(path).interactions
        }
        assert {f"number {number}" for number in finished} <= recorded
        assert finished
    assert len(attempts) >= 25
