"""Two runs at once that need the same recordings."""

import json
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from console import run_script
from sample_cases import LAMP, openai_entry, write_case
from standins import StandIn

from llm_tester import LLMTester, RunResult

Write = Callable[..., Path]
Start = Callable[..., StandIn]


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary files of this test and of the processes it starts."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_two_runs_at_once_pay_once(tmp_path: Path, write_config: Write, standin: Start, locks: Path) -> None:
    """The first reply comes after the other run had the time to ask for it too; no lock is left."""
    for number in range(4):
        write_case(tmp_path / "cases", name=f"case{number}")
    asked_again, others = threading.Event(), []
    pool = ThreadPoolExecutor(1)
    # So that the other run starts at once.
    assert run_script("llm-tester", "--version", cwd=tmp_path).returncode == 0

    def reply(body: Any) -> str:
        if not others:
            others.append(pool.submit(run_script, "llm-tester", "run", "--output", "other", cwd=tmp_path))
            asked_again.wait(3)
        else:
            asked_again.set()
        return json.dumps(LAMP)

    server = standin(reply)
    write_config({"acme": openai_entry(server)})
    run = LLMTester(["acme"], tmp_path / "cases").run_tests(record="once")
    assert others[0].result().returncode == 0
    other = RunResult.load(tmp_path / "other" / "results.json")
    assert [[result.accuracy for result in results] for results in (run.results, other.results)] == [[100.0] * 4] * 2
    assert len(server.requests) == 4
    assert list(locks.glob("llm_tester-*/*")) == []


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path, write_config: Write, standin: Start, locks: Path) -> None:
    """A file in the place of the locks' directory costs no request and says what to do."""
    write_case(tmp_path / "cases")
    server = standin(json.dumps(LAMP))
    write_config({"acme": openai_entry(server)})
    locks.joinpath(f"llm_tester-{tmp_path.stat().st_uid}").write_text("")
    [result] = LLMTester(["acme"], tmp_path / "cases").run_tests(record="once").results
    assert result.error == "CassetteError"
    assert "set TMPDIR to a directory where you can write" in (result.problem or "")
    assert server.requests == []
