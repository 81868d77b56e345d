"""What 500 tests with a cassette each cost under pytest: ours, pytest-recording's, and tests without any.

    python benchmarks/pytest_replays.py         # five rounds
    python benchmarks/pytest_replays.py --rounds 2 --json pytest.json

CPU seconds of whole pytest processes, next to each other; each test asks once with httpx. The recordings are made
from a server on loopback first. Needs pytest-recording (`pip install -e '.[dev]' pytest-recording`).
"""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

from measure import interleaved, show, write_json

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from http_server import Server

TESTS = 500
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]

TEST = """
import httpx, pytest

CLIENT = httpx.Client(verify=False)

{mark}
@pytest.mark.parametrize("number", range({count}))
def test_it(number):
    {body}
"""
ASK = 'assert CLIENT.get("{url}/" + str(number)).status_code == 200'


def main() -> None:
    """Records, then measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    asked = parser.parse_args()
    marks = {"plain": ("", "assert number >= 0"), "ours": ("@pytest.mark.llm_cassette", ASK)}
    if importlib.util.find_spec("pytest_recording"):
        marks["pytest-recording"] = ("@pytest.mark.vcr", ASK)
    with tempfile.TemporaryDirectory() as root, Server() as server:
        commands, recording = {}, {}
        for name, (mark, body) in marks.items():
            file = Path(root) / name.replace("-", "_") / "test_it.py"
            file.parent.mkdir()
            file.write_text(TEST.format(mark=mark, count=TESTS, body=body.format(url=server.url)))
            commands[name] = [*PYTEST, str(file)]
            option = {"ours": "--llm-record=once", "pytest-recording": "--record-mode=once"}.get(name)
            recording[name] = [*commands[name], *([option] if option else [])]
        interleaved(recording, 0)
        figures = interleaved(commands, asked.rounds)
    show(figures, "ours")
    write_json(asked.json, "pytest", {"replays": figures})


if __name__ == "__main__":
    main()
