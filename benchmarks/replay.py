"""What a replay costs: the README's main job, and 500 cases.

    python benchmarks/replay.py                 # five rounds
    python benchmarks/replay.py --rounds 2 --json replay.json

Everything is CPU seconds of whole processes, next to each other. `kept` uses the replies that an earlier replay left
next to the cassettes; `through the wire` replays the recordings through LiteLLM and PydanticAI.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from measure import Figures, interleaved, show, write_json

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from sample_cases import LAMP, openai_entry, write_case
from standins import StandIn

CASES = 500
RUN = [str(Path(sys.executable).parent / "llm-tester"), "run", "--record", "none"]


def main_job(directory: Path, rounds: int) -> Figures:
    """The 18 replays that a new user starts with."""
    for name in ("cases", "cassettes"):
        shutil.copytree(ROOT / name, directory / name)
    shutil.copy(ROOT / "config.json", directory)
    interleaved({"keep": RUN[:2]}, 1, directory)
    imports = [sys.executable, "-c", "import litellm, pydantic_ai"]
    commands = {"import litellm, pydantic_ai": imports, "kept": RUN, "through the wire": [*RUN, "--through-the-wire"]}
    return interleaved(commands, rounds, directory)


def many_cases(directory: Path, rounds: int) -> Figures:
    """500 cases with one model, in one process."""
    for number in range(CASES):
        write_case(directory / "cases", name=f"case{number}", sources=f"Number {number}.")
    with StandIn(json.dumps(LAMP)) as server:
        (directory / "config.json").write_text(json.dumps({"providers": {"x": openai_entry(server)}}))
        # The first run records, the second keeps.
        interleaved({"record and keep": RUN[:2]}, 1, directory)
    commands = {"kept": RUN, "through the wire": [*RUN, "--through-the-wire"]}
    return interleaved(commands, rounds, directory)


def main() -> None:
    """Measures and prints all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    asked = parser.parse_args()
    figures: dict[str, Figures] = {}
    for title, measure, base in (("main job", main_job, "kept"), (f"{CASES} cases", many_cases, "kept")):
        with tempfile.TemporaryDirectory() as directory:
            figures[title] = measure(Path(directory), asked.rounds)
        print(title)
        show(figures[title], base)
    write_json(asked.json, "replay", figures)


if __name__ == "__main__":
    main()
