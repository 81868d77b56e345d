"""Measures commands next to each other: each round runs every command once, so that a busy machine hits all of them."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Figures", "cpu_of", "interleaved", "show", "write_json"]

# CPU seconds of each round, by the name of what was measured.
Figures = dict[str, list[float]]


def cpu_of(command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> float:
    """Runs a command to its end.

    Returns:
        Its CPU seconds, user and system, with those of the processes that it waited for.

    Raises:
        RuntimeError: it exited with something other than 0.
    """
    process = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} exited with {process.returncode}: {errors.decode()}")
    return usage.ru_utime + usage.ru_stime


def interleaved(
    commands: Mapping[str, Sequence[str]], rounds: int, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Figures:
    """Runs every command once a round, after one round that does not count."""
    figures: Figures = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            seconds = cpu_of(command, cwd, env)
            if number:
                figures[name].append(seconds)
    return figures


def show(figures: Figures, against: str) -> None:
    """Prints the median of each, its range, and its ratio to one of them."""
    base = statistics.median(figures[against])
    width = max(map(len, figures))
    for name, seconds in figures.items():
        middle = statistics.median(seconds)
        spread = f"{min(seconds):.3f} to {max(seconds):.3f}"
        print(f"{name:{width}}  {middle:8.3f} s  ({spread})  {middle / base:6.2f} × {against}")


def write_json(path: str | None, title: str, figures: Mapping[str, Any]) -> None:
    """Writes the figures, with the Python they were measured on, if a path is given."""
    if path:
        facts = {"benchmark": title, "python": sys.version.split()[0], "cores": os.cpu_count(), "figures": figures}
        Path(path).write_text(json.dumps(facts, indent=1) + "\n")
