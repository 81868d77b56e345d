"""Runs every benchmark that compares or measures, one after the other, and writes all figures into one JSON file.

    python benchmarks/everything.py --json figures.json      # an hour or so on two cores
    python benchmarks/everything.py --quick                  # one round of each, to see that they run
    python benchmarks/everything.py --chart figures.json     # the chart of docs/performance.md, from figures

Everything goes to servers on 127.0.0.1. Other libraries are measured if they are installed:
`pip install any-llm-sdk pydantic-evals inspect_ai pytest-recording` brings those that this package does not.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
# By script: its options, and those of a quick run.
SCRIPTS = {
    "startup": ((), ("--rounds", "1")),
    "replay": ((), ("--rounds", "1")),
    "pytest_replays": ((), ("--rounds", "1")),
    "call": ((), ("--small", "--routes", "openai")),
    "large": ((), ("--small",)),
    "scale": ((), ("--rounds", "1", "--cases", "100")),
}
LIBRARIES = [
    *("llm_tester", "litellm", "pydantic-ai-slim", "openai", "httpx", "vcrpy", "pytest", "pytest-recording"),
    *("any-llm-sdk", "pydantic-evals", "inspect_ai"),
]


def versions() -> dict[str, str]:
    """The versions of what is measured, of those that are installed."""
    installed = {item.name.lower().replace("_", "-"): item.version for item in importlib.metadata.distributions()}
    names = [name.replace("_", "-") for name in LIBRARIES]
    return {name: installed[name] for name in names if name in installed}


def measure(*, quick: bool) -> dict[str, Any]:
    """What each script measured, and on what."""
    figures: dict[str, Any] = {}
    for name, options in SCRIPTS.items():
        print(f"\n== {name}", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "figures.json"
            command = [sys.executable, str(HERE / f"{name}.py"), *options[quick], "--json", str(file)]
            subprocess.run(command, check=True)
            figures[name] = json.loads(file.read_text())
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    return {"date": date.today().isoformat(), **machine, "versions": versions(), "figures": figures}


def chart(found: dict[str, Any]) -> str:
    """A Mermaid chart: the seconds that the same calls take in each library."""
    runs = found["figures"]["scale"]["runs"]
    seconds = {name: median(row["seconds"] for row in rows) for name, rows in runs.items()}
    ordered = sorted(seconds.items(), key=lambda item: item[1])
    names = ", ".join(f'"{name}"' for name, _ in ordered)
    bars = ", ".join(f"{value:.1f}" for _, value in ordered)
    top = max(seconds.values()) * 1.05
    return f"""```mermaid
xychart-beta horizontal
    title "500 calls of 0.1 s, 64 at once (s)"
    x-axis [{names}]
    y-axis "seconds" 0 --> {top:.0f}
    bar [{bars}]
```"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--chart", type=Path, help="measure nothing; print the chart of this file's figures")
    asked = parser.parse_args()
    if asked.chart:
        print(chart(json.loads(asked.chart.read_text())))
        return
    found = measure(quick=asked.quick)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
