"""Forks processes that have the large libraries imported already: importing LiteLLM takes seconds, a fork does not.

`console.py` starts this file, with one end of a Unix socket as its argument, and asks it for processes over the socket.
Each one is a real process: it has the environment, the directory, the files and the arguments that it is given, and
ends as any interpreter does. Only the modules below are shared, and none of them starts a thread when it is imported,
so that a fork is safe.
"""

import atexit
import builtins
import contextlib
import gc
import importlib
import importlib.metadata
import io
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import types
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

__all__: list[str] = []

# Those that llm_tester imports, and those that LiteLLM and Pydantic AI import at the first call.
LIBRARIES = (
    "litellm pydantic_ai.models.openai pydantic_ai.models.anthropic pydantic_ai.direct openai anthropic tiktoken "
    "genai_prices click rich.console rich.table rich.progress jinja2 yaml dotenv rapidfuzz vcr httpx httpx2 aiohttp "
    "requests urllib3 litellm.proxy._types pytest multiprocessing.context"
)
# Most of the package: its models take pydantic a tenth of a second. Not `cli`, which reads a variable when it is
# imported, nor `testing`, whose assertions pytest may rewrite.
OURS = "llm_tester.llm_tester llm_tester.reports.html"


def import_libraries() -> None:
    # As llm_tester.llms.litellm_backend does it: without these, LiteLLM asks the network.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"
    warnings.filterwarnings("ignore", r"Items? .* `ReadOnly` qualifier", UserWarning)
    ignored = warnings.filters[0]
    for name in LIBRARIES.split():
        importlib.import_module(name)
    for plugin in importlib.metadata.entry_points(group="pytest11"):
        if plugin.name not in ("llm_tester", "hypothesispytest"):
            plugin.load()
    warnings.filters.remove(ignored)  # type: ignore[attr-defined]
    import_ours()
    tasks = Path("/proc/self/task")
    assert not tasks.is_dir() or len(list(tasks.iterdir())) == 1, "a library started a thread: a fork is not safe"
    # The children do not copy what they only read.
    gc.collect()
    gc.freeze()


class Unread:
    """An environment from which only pydantic may read."""

    def get(self, name: str, default: None = None) -> None:
        assert name.startswith("PYDANTIC_"), f"llm_tester reads {name} when it is imported"
        return default


def import_ours() -> None:
    """Imports what is in every process as it is here: what reads neither the environment nor a file, nor fills a cache.

    Nothing of it is called in this process, so settings and caches are those of the new one.
    """
    with (
        mock.patch.object(os, "environ", Unread()),
        mock.patch.object(io, "open", None),
        mock.patch.object(builtins, "open", None),
    ):
        for name in OURS.split():
            importlib.import_module(name)
    for name, module in sys.modules.items():
        if name.startswith("llm_tester"):
            caches = [made for made in vars(module).values() if hasattr(made, "cache_info")]
            assert not any(cache.cache_info().currsize for cache in caches), f"{name} fills a cache when it is imported"


def serve(connection: socket.socket) -> dict[str, Any]:
    """Forks a process for each request; returns in the new process only, with its request.

    A request comes with four descriptors: stdin, stdout and stderr, and the socket that takes the process's number and,
    when it has ended, its exit code.
    """
    with connection, connection.makefile("rb") as file:
        while True:
            try:
                _, descriptors, _, _ = socket.recv_fds(connection, 1, 4)
            except ConnectionError:
                descriptors = []
            if not descriptors:  # the tests are over
                sys.exit()
            request: dict[str, Any] = json.loads(file.readline())
            *files, reply = descriptors
            child = os.fork()
            if child == 0:
                for target, descriptor in enumerate(files):
                    os.dup2(descriptor, target)
                    os.close(descriptor)
                os.close(reply)
                return request
            for descriptor in files:
                os.close(descriptor)
            with socket.socket(fileno=reply) as answers:
                answer(answers, child)
                answer(answers, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def answer(answers: socket.socket, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the test failed, and reads no more
        answers.sendall(b"%d\n" % number)


def become(command: list[str], cwd: str, environment: dict[str, str], path: list[str]) -> None:
    """Makes this process what an interpreter is that has just started; `path` is sys.path without its first folder."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    # A library may have asked for it, with the environment of the first process.
    tempfile.tempdir = None
    os.chdir(cwd)
    sys.argv[:] = command[1:2] + command[3:] if command[1:2] == ["-c"] else command
    first = "" if sys.argv[0] == "-c" else str(Path(sys.argv[0]).parent)
    folders = [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.path[:] = [first, *folders, *path]
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    if environment.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    sys.modules["__main__"] = types.ModuleType("__main__")
    importlib.invalidate_caches()


def run(command: list[str]) -> None:
    """Runs `python -c CODE ...`, or a console script by its path."""
    if command[1:2] == ["-c"]:
        exec(compile(command[2], "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        [script] = importlib.metadata.entry_points(group="console_scripts", name=Path(command[0]).name)
        sys.exit(script.load()())


def leave(code: int) -> None:
    """Ends the process as the interpreter does, without freeing all that the libraries hold: that takes 0.2 seconds."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(code)  # the interpreter says what it cannot write
    os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, and they end this process
    inherited = sys.path[1:]
    import_libraries()
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    become(**request, path=inherited)
    try:
        run(request["command"])
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        leave(end.code or 0)
    leave(0)
