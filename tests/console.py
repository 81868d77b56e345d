"""Starts the console scripts as a reader does: as processes, in a directory, without keys."""

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["run_script"]

# A hang is a failure; a busy machine is not.
TIMEOUT_SECONDS = 300


def run_script(name: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a script of the environment that the tests run in.

    Args:
        name: `llm-tester` or `pytest`.
        arguments: its arguments.
        cwd: the directory to start it in.
        environment: variables on top of the tests' own, which have no key in them.

    Returns:
        The exit code, and stdout and stderr together in `stdout`.
    """
    command = [str(Path(sys.executable).parent / name), *arguments]
    # A reader has neither the options of the outer pytest nor its workers.
    outer = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(
        command,
        cwd=cwd,
        env={**outer, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
