"""Starts the console scripts as a reader does: as processes, in a directory, without keys."""

import atexit
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from click.testing import CliRunner, Result
from conftest import ROOT

from llm_tester.__main__ import main

__all__ = [
    "SCRIPTS",
    "invoke",
    "litellm_environment",
    "reader_environment",
    "run_python",
    "run_script",
    "started",
    "started_script",
]

# A hang is a failure; a busy machine is not.
TIMEOUT_SECONDS = 300

CAN_FORK = sys.platform == "linux"  # macOS' own libraries do not survive a fork, and Windows has none
SCRIPTS = Path(sys.executable).parent


class ForkServer:
    """`fork_server.py`, started at the first use and ended with the tests; it runs one process at a time."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        # Python's own variables are for the processes that it forks.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_"))}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).parent / "fork_server.py"), str(theirs.fileno())],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        atexit.register(self._end)

    def start(self, request: dict[str, Any], *files: IO[Any]) -> socket.socket:
        """Starts a process with these three files as stdin, stdout and stderr; gives what answers for it."""
        answers, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._connection, [b"."], [*(file.fileno() for file in files), theirs.fileno()])
            self._connection.sendall(json.dumps(request).encode() + b"\n")
        return answers

    def _end(self) -> None:
        self._connection.close()
        self._process.wait()


fork_server = functools.cache(ForkServer)


class Process:
    """A started process, with as much of `subprocess.Popen` as the tests use."""

    def __init__(self, command: list[str], cwd: Path, env: Mapping[str, str], *files: IO[Any]) -> None:
        request = {"command": command, "cwd": str(cwd), "environment": dict(env)}
        self._answers = fork_server().start(request, *files)
        self.returncode: int | None = None
        self.pid = self._answer(TIMEOUT_SECONDS)

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = TIMEOUT_SECONDS) -> int:
        if self.returncode is None:
            self.returncode = self._answer(timeout)
            self._answers.close()
        return self.returncode

    def _answer(self, timeout: float) -> int:
        self._answers.settimeout(timeout)
        with self._answers.makefile("rb", buffering=0) as file:
            line = file.readline()
        assert line, "fork_server.py has ended"
        return int(line)


@contextlib.contextmanager
def started(
    command: list[str], cwd: Path, env: Mapping[str, str], *files: IO[Any], cold: bool = False
) -> Iterator["Process | subprocess.Popen[bytes]"]:
    """Starts a console script, or `python -c`; kills it if it is still there at the end, as when a test fails.

    Args:
        command: the script's path, or `sys.executable`, `-c` and the code, and the arguments.
        cwd: the directory to start it in.
        env: all of its environment.
        files: stdin, stdout and stderr.
        cold: start an interpreter that has nothing imported, as a reader's shell does; it takes seconds more.
    """
    if CAN_FORK and not cold:
        process: Process | subprocess.Popen[bytes] = Process(command, cwd, env, *files)
    else:
        stdin, stdout, stderr = files
        process = subprocess.Popen(command, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def reader_environment(**more: str) -> dict[str, str]:
    """The tests' environment, which has no key in it, without the options of the outer pytest and its workers.

    A reader has neither Hypothesis, whose plugin takes pytest a second to import, nor libraries that were imported
    before pytest could rewrite their assertions. A worker of xdist is a new interpreter that imports LiteLLM: `-n auto`
    starts none here, and test_pytest_plugin.py runs two.
    """
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    options = "-p no:hypothesispytest -W ignore::pytest.PytestAssertRewriteWarning"
    return {**outer, "PYTEST_ADDOPTS": options, "PYTEST_XDIST_AUTO_NUM_WORKERS": "0", **more}


def run_script(
    name: str, *arguments: str, cwd: Path, cold: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a script of the environment that the tests run in.

    Args:
        name: `llm-tester` or `pytest`.
        arguments: its arguments.
        cwd: the directory to start it in.
        cold: see `started`.
        environment: variables on top of a reader's.

    Returns:
        The exit code, and stdout and stderr together in `stdout`.
    """
    command = [str(SCRIPTS / name), *arguments]
    env = reader_environment(**environment)
    with (
        tempfile.TemporaryFile() as output,
        Path(os.devnull).open("rb") as nothing,
        started(command, cwd, env, nothing, output, output, cold=cold) as process,
    ):
        return _completed(command, process.wait(TIMEOUT_SECONDS), output)


@contextlib.contextmanager
def started_script(name: str, *arguments: str, cwd: Path, **environment: str) -> Iterator[tuple[Any, IO[str]]]:
    """Starts a script as `run_script` does; gives the process and its output, to be read while it runs."""
    command, env = [str(SCRIPTS / name), *arguments], reader_environment(**environment)
    ours, theirs = os.pipe()
    with (
        os.fdopen(ours) as output,
        os.fdopen(theirs, "wb") as end,
        Path(os.devnull).open("rb") as nothing,
        started(command, cwd, env, nothing, end, end) as process,
    ):
        end.close()  # the output ends with the process
        yield process, output


def run_python(
    code: str, *arguments: str, cwd: Path = ROOT, env: Mapping[str, str], stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs `python -c CODE ARGUMENTS` in exactly this environment, with the libraries imported already."""
    command = [sys.executable, "-c", code, *arguments]
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        asked.write(stdin.encode())
        asked.seek(0)
        with started(command, cwd, env, asked, output, errors) as process:
            return _completed(command, process.wait(TIMEOUT_SECONDS), output, errors)


def _completed(command: list[str], code: int, *files: IO[bytes]) -> subprocess.CompletedProcess[str]:
    texts = []
    for file in files:
        file.seek(0)
        texts.append(file.read().decode())
    return subprocess.CompletedProcess(command, code, *texts)


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
