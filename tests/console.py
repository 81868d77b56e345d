"""Starts the console scripts as a reader does: as processes, in a directory, without keys."""

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result
from conftest import ROOT

from llm_tester.__main__ import main

__all__ = ["invoke", "litellm_environment", "run_script"]

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


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    result_output = result.output
    assert "Traceback" not in result_output
    return result


def litellm_environment() -> dict[str, str]:
    """An environment without any key, in which LiteLLM stays off the network."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "SYSTEMROOT") if name in os.environ}
    local = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True"}
    return {**kept, **local, "PYTHONPATH": str(ROOT)}
