"""The CPU time of each command, next to `python -c "import click"`.

    python benchmarks/startup.py [--rounds 11] [--json FILE]

Each round starts every command once, one after the other, so that a busy moment of the machine meets all of them.
The first round, which writes the bytecode that an installed package has, is not counted. Times are user plus system,
in milliseconds: the median, the range, and the ratio to `import click` with its quartiles.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parent.parent
COMPLETION = {"_LLM_TESTER_COMPLETE": "bash_complete", "COMP_WORDS": "llm-tester run --re", "COMP_CWORD": "2"}
MAIN = "from llm_tester.__main__ import main; main(prog_name='llm-tester')"
COMMANDS: dict[str, tuple[str, ...]] = {
    "import click": ("import click",),
    "import pydantic and make a class": ("from pydantic import BaseModel\nclass A(BaseModel): a: int",),
    "llm-tester --help": (MAIN, "--help"),
    "llm-tester run --help": (MAIN, "run", "--help"),
    "llm-tester --version": (MAIN, "--version"),
    "completion of run --re": (MAIN,),
    "llm-tester cassettes scan": (MAIN, "cassettes", "scan"),
    "llm-tester providers": (MAIN, "providers"),
    "llm-tester prices mock": (MAIN, "prices", "mock"),
    "llm-tester run -p mock": (MAIN, "run", "-p", "mock"),
    "llm-tester run, one replay": (MAIN, "run"),
}


def cpu(code: str, *arguments: str, directory: Path, environment: dict[str, str]) -> float:
    """Milliseconds of CPU of one process, which must succeed."""
    command = [sys.executable, "-c", code, *arguments]
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=directory, env=environment, stdout=nothing, stderr=nothing)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{arguments}: exit {process.returncode}")
    return (used.ru_utime + used.ru_stime) * 1000


def measure(rounds: int, directory: Path) -> dict[str, list[float]]:
    """The times of each command, one for each round."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "DONTWRITEBYTECODE"))}
    environment = {**kept, "PYTHONPYCACHEPREFIX": str(directory / "bytecode"), "PYTHONPATH": str(ROOT), "CI": "1"}
    cpu(MAIN, "init", directory=directory, environment=environment)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, command in COMMANDS.items():
            more = COMPLETION if name.startswith("completion") else {}
            taken = cpu(*command, directory=directory, environment={**environment, **more})
            if number:
                times[name].append(taken)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path, help="write the times of each round to this file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        times = measure(asked.rounds, Path(directory))
    print(f"{'':34}{'CPU, ms':>9}{'range':>13}{'ratio':>8}{'quartiles':>13}")
    for name, taken in times.items():
        ratios = [one / click for one, click in zip(taken, times["import click"], strict=True)]
        low, middle, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        span, quartiles = f"{min(taken):.0f}-{max(taken):.0f}", f"{low:.2f}-{high:.2f}"
        print(f"{name:34}{median(taken):9.0f}{span:>13}{middle:8.2f}{quartiles:>13}")
    if asked.json:
        asked.json.write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
