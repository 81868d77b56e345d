"""Children that are forked while threads work: no lock stays held, and no loop is missing."""

import json
import multiprocessing
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cassette_helpers import asking, plain_vcrpy_file
from conftest import ROOT, wire_entry
from console import CAN_FORK
from standins import StandIn

from llm_tester.cassettes import use_cassette
from llm_tester.llms.provider_factory import create_provider

pytestmark = [
    pytest.mark.skipif(not CAN_FORK, reason="forking is not safe there"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

NOBODY = "http://127.0.0.1:9"
SECONDS = 20  # until a child counts as hung


def ended(work: Callable[..., object], arguments: Sequence[tuple[Any, ...]]) -> list[int | None]:
    """Runs each in a child, a few at a time; the exit codes, None for one that hangs, which is then killed."""
    fork, codes = multiprocessing.get_context("fork"), []
    for first in range(0, len(arguments), 6):
        children = [fork.Process(target=work, args=each) for each in arguments[first : first + 6]]
        for child in children:
            child.start()
        until = time.monotonic() + SECONDS
        for child in children:
            child.join(max(0.0, until - time.monotonic()))
            codes.append(child.exitcode)
            child.kill()
            child.join()
    return codes


def replay(path: Path, number: int, ask: Callable[..., tuple[int, bytes]]) -> None:
    with use_cassette(path):
        status, body = ask("POST", f"{NOBODY}/v1", json={"n": 0}, headers={})
    assert (status, json.loads(body)["who"]) == (200, str(number))


def replay_in_child(path: Path, number: int) -> None:
    with asking("urllib3") as ask:
        replay(path, number, ask)


def test_children_replay_while_threads_replay(tmp_path: Path) -> None:
    """Whatever lock a thread of the parent holds at that moment is free in the child."""
    paths = [tmp_path / f"{number}.yaml" for number in range(4)]
    for number, path in enumerate(paths):
        plain_vcrpy_file(path, NOBODY, number, 1)
    stopping, wrong = threading.Event(), []

    def work(number: int) -> None:
        with asking("urllib3") as ask:
            while not stopping.is_set():
                try:
                    replay(paths[number], number, ask)
                except BaseException as error:  # noqa: BLE001 (shown by the test)
                    wrong.append(error)
                    return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        codes = ended(replay_in_child, [(paths[number % 4], number % 4) for number in range(48)])
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert codes == [0] * 48


def call_in_child() -> None:
    provider = create_provider("py")
    assert provider is not None
    assert provider.get_response("Answer.", "text")[0] == "hello"


def test_pydantic_ai_before_and_after_a_fork(
    standin: Callable[..., StandIn], write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop of the parent has no thread in a child, which starts its own."""
    server = standin("hello")
    monkeypatch.setenv("WIRE_API_KEY", "not-a-real-one")
    write_config({"py": wire_entry("pydantic-openai", server.url)})
    call_in_child()
    assert ended(call_in_child, [()] * 2) == [0, 0]
    call_in_child()
    assert len(server.requests) == 4


def test_every_lock_of_the_package_is_free_in_a_child() -> None:
    """A lock that is made in another way than with `lock_of`, or that functools makes, stays held."""
    made = re.compile(r"(?:Lock|Condition|Semaphore|Event)\(\)|cached_property")
    text = {path: path.read_text(encoding="utf-8") for path in (ROOT / "llm_tester").rglob("*.py")}
    assert not [str(path) for path in text if made.search(text[path])]
