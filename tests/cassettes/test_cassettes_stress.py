"""Threads, tasks and interrupts: each context gets its own replies, and the process is left as it was."""

import asyncio
import contextlib
import contextvars
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
import pytest
from cassette_helpers import Reply, Seen, Server, asking, in_tasks, in_threads, left_open, plain_vcrpy_file
from conftest import ROOT

from llm_tester.cassettes import context, current, use, use_cassette
from llm_tester.errors import CassetteError

# Without the lock of open recordings, or with one context for all threads, this many fail each time.
CASSETTES = 160
EACH = 3  # interactions of a cassette
NOBODY = "http://127.0.0.1:9"  # the discard port: what is not replayed cannot be answered


@pytest.mark.parametrize("client", ["httpx", "httpx2", "aiohttp"])
def test_32_contexts_record_and_replay_160_cassettes(client: str, tmp_path: Path) -> None:
    def run(mode: str, url: str) -> Any:
        def opened(number: int) -> Any:
            return use_cassette(tmp_path / f"{number}.yaml", mode)

        if client == "aiohttp":
            return asyncio.run(in_tasks(opened, client, url, CASSETTES, EACH))
        return in_threads(opened, client, url, CASSETTES, EACH)

    with Server() as server:
        recorded = run("once", server.url)
        assert (recorded.right, recorded.wrong, recorded.raised) == (CASSETTES * EACH, 0, [])
        assert len(server.seen) == CASSETTES * EACH
        replayed = run("none", server.url)
        assert (replayed.right, replayed.wrong, replayed.raised) == (CASSETTES * EACH, 0, [])
        assert len(server.seen) == CASSETTES * EACH
    assert left_open() == []


CONTROL = """
import json, sys
import vcr
from cassette_helpers import in_threads, left_open

def opened(number):
    return vcr.use_cassette(f"{sys.argv[1]}/{number}.yaml", record_mode="none")

tally = in_threads(opened, "httpx", sys.argv[2], 100, 10)
print(json.dumps([tally.right, tally.wrong, len(tally.raised), left_open()]))
"""


def test_plain_vcrpy_fails_the_same_test(tmp_path: Path) -> None:
    for number in range(100):
        plain_vcrpy_file(tmp_path / f"{number}.yaml", NOBODY, number, 10)
    ours = in_threads(lambda number: use_cassette(tmp_path / f"{number}.yaml"), "httpx", NOBODY, 100, 10)
    assert (ours.right, ours.wrong, ours.raised) == (1000, 0, [])

    # In a process of its own, because it leaves its patches behind.
    run = subprocess.run(
        [sys.executable, "-c", CONTROL, str(tmp_path), NOBODY],
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    right, wrong, raised, _ = json.loads(run.stdout.splitlines()[-1])
    assert wrong + raised > 0
    assert right < 1000


class NoFault:
    endless = False

    def meet(self, client: str, request: object) -> None:
        return None


class Interrupting:
    """Raises KeyboardInterrupt where the n-th line of that module, or of contextlib below it, would run."""

    def __init__(self, moment: int) -> None:
        self.left = moment
        self.files = (use.__file__, context.__file__, contextlib.__file__)

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename not in self.files:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


def interrupt_everywhere(work: Callable[[], None]) -> int:
    """Interrupts the work at each of its lines in turn; gives how many there were."""
    before = sys.gettrace()
    for moment in range(1, 100_000):
        interrupting = Interrupting(moment)
        try:
            sys.settrace(interrupting)
            work()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        if left_open():
            # An interrupt in contextlib itself, before it goes on in it, leaves the end to the collector.
            gc.collect()
        assert left_open() == [], moment
        assert current() is None, moment
        if interrupting.left > 0:
            return moment
    raise AssertionError("the work has no end")


def interrupt_a_cassette_everywhere(folder: Path) -> None:
    def open_and_close() -> None:
        with use_cassette(folder / "new.yaml", "rewrite"), use.inject(NoFault()):
            pass

    open_and_close()
    assert interrupt_everywhere(open_and_close) > 100
    open_and_close()


def test_an_interrupt_at_any_line_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    # In a process of its own: a trace function also raises where a signal never does, between the end of a `with` and
    # its exit, and a lock that is left taken there would stop the threads of later tests.
    code = (
        "import sys, pathlib, test_cassettes_stress as t; t.interrupt_a_cassette_everywhere(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        check=True,
        timeout=120,
    )


def test_an_exception_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), use_cassette(tmp_path / "one.yaml", "once"):
        raise ZeroDivisionError
    assert left_open() == []


def test_a_recording_that_is_open_is_not_opened_twice(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with (
        use_cassette(tmp_path / "one.yaml", "once"),
        pytest.raises(CassetteError, match="already open for recording"),
        use_cassette(tmp_path / "link" / "one.yaml", "all"),
    ):
        raise AssertionError
    with use_cassette(tmp_path / "one.yaml", "once"):
        pass


def test_contexts_may_be_left_in_any_order(tmp_path: Path) -> None:
    for number in (1, 2):
        plain_vcrpy_file(tmp_path / f"{number}.yaml", NOBODY, number, 3)
    outer, inner = (use_cassette(tmp_path / f"{number}.yaml") for number in (1, 2))
    with asking("httpx") as ask:

        def who(step: int) -> str:
            said: str = json.loads(ask("POST", f"{NOBODY}/v1", json={"n": step})[1])["who"]
            return said

        outer.__enter__()
        assert who(0) == "1"
        inner.__enter__()
        assert who(0) == "2"
        outer.__exit__(None, None, None)
        assert who(1) == "2"
        inner.__exit__(None, None, None)
        assert current() is None
        with pytest.raises(httpx.ConnectError):
            who(2)
    assert left_open() == []


def test_a_context_may_be_left_from_another_one(tmp_path: Path) -> None:
    # As an async-generator fixture does: it begins in one task and ends in another.
    plain_vcrpy_file(tmp_path / "1.yaml", NOBODY, 1, 1)
    opened = use_cassette(tmp_path / "1.yaml")
    inside = contextvars.copy_context()
    inside.run(opened.__enter__)
    assert current() is None
    assert inside.run(current) is not None
    contextvars.copy_context().run(opened.__exit__, None, None, None)
    assert inside.run(current) is None
    assert left_open() == []


def test_a_thread_carries_its_cassette_in_a_copied_context(tmp_path: Path) -> None:
    plain_vcrpy_file(tmp_path / "1.yaml", NOBODY, 1, 1)
    answers: list[int] = []
    with use_cassette(tmp_path / "1.yaml"), asking("httpx") as ask:
        carried = contextvars.copy_context()
        thread = threading.Thread(
            target=carried.run, args=(lambda: answers.append(ask("POST", f"{NOBODY}/v1", json={"n": 0})[0]),)
        )
        thread.start()
        thread.join()
    assert answers == [200]


def test_allowed_requests_outside_pass_untouched_while_others_replay(tmp_path: Path) -> None:
    plain_vcrpy_file(tmp_path / "1.yaml", NOBODY, 1, 1)

    def answer(seen: Seen) -> Reply:
        return Reply(chunks=(b"first", b"second"))

    with Server(answer) as server, use_cassette(tmp_path / "1.yaml", allow=[f"127.0.0.1:{server.port}"]):
        read: list[bytes] = []

        def outside() -> None:
            with httpx.Client(trust_env=False, verify=False) as client, client.stream("GET", server.url) as response:
                read.extend(response.iter_raw())

        thread = threading.Thread(target=outside)
        thread.start()
        thread.join()
        assert b"".join(read) == b"firstsecond"
        assert len(server.seen) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["1.yaml"]
