"""A run that ends early loses nothing: its journal opens at any byte, and the run goes on with it."""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest
from console import invoke, run_python
from filelock import FileLock
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sample_cases import LAMP, light_entry, write_case
from standins import Fault, StandIn

from llm_tester import LLMTester, RunResult
from llm_tester.errors import ResultsError
from llm_tester.llm_tester import RunInterrupted
from llm_tester.runs.journal import Head, Journal, load_journal
from llm_tester.runs.pools import Pool
from llm_tester.runs.results import CaseRecord, CaseResult
from llm_tester.runs.units import run_unit
from llm_tester.runs.workers import Chunks
from llm_tester.utils.cost_manager import CostReport

Write = Callable[..., Path]
Start = Callable[..., StandIn]
# What a call costs: 100 tokens in at 2 USD per million, 20 out at 8.
COST = 0.00036
JOURNAL = Path("llm_tester_results/run.journal")


@pytest.fixture
def server(tmp_path: Path, write_config: Write, standin: Start) -> StandIn:
    """Four cases, and a server that they call."""
    for number in range(4):
        write_case(tmp_path / "cases", name=f"case{number}", sources=f"Lamp {number}.")
    started = standin(json.dumps(LAMP))
    write_config({"x": light_entry(started, tmp_path)})
    return started


class Died(Exception):
    """In place of a kill."""


def die_after(lines: int, **options: Any) -> None:
    """A run of all cases whose journal ends after some lines: the first, then two for each case."""

    def die(result: CaseResult, done: int, total: int) -> None:
        if done == total:
            raise Died

    with pytest.raises(Died):
        LLMTester(["x"]).run_tests(on_result=die, journal=JOURNAL, **options)
    JOURNAL.write_bytes(b"\n".join(JOURNAL.read_bytes().split(b"\n")[:lines]))


def test_a_journal_that_is_cut_anywhere_opens(server: StandIn, tmp_path: Path) -> None:
    """Every whole line counts, and a line that is added after the cut is read."""
    unit = LLMTester(["x"]).units(record="off")[0]
    # Without what was paid, so that nothing is synced.
    results = [result.model_copy(update={"usage": None, "fields": (), "actual": None}) for result in run_unit(unit)]
    path = tmp_path / "whole.journal"
    journal = Journal(path)
    journal.begin(Head(run_id="r"))
    journal.started(unit)
    journal.finished(unit, results)
    journal.started(unit)
    journal.resumed()
    whole = path.read_bytes()
    lines = whole.split(b"\n")
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        done = load_journal(path)
        if size < len(lines[0]):
            assert done is None
            continue
        journal.finished(unit, results)
        again = load_journal(path)
        assert done
        assert again
        is_finished = size >= sum(len(line) + 1 for line in lines[:3]) - 1
        assert len(done.results) == is_finished
        assert len(again.results) == is_finished + 1
    assert done
    assert done.lost == [unit.place]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"precious", "not a journal"),
        (b'{"kind":"llm_tester journal","format":9}', "format 9"),
        (b'{"kind":"llm_tester journal","format":1}\n{}', "damaged"),
        (b'{"kind":"llm_tester journal","form\n{}', "damaged"),
    ],
)
def test_a_journal_that_cannot_be_read_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=message):
        load_journal(path)
    assert path.read_bytes() == content


RECORD = CaseRecord(module="m", name="n", expected={"a": 1})
RESULT = CaseResult(module="m", name="n", provider="x", model="y", status="ok", reply="r", run_id="r")
HEAD = Head(run_id="r", started_at="2026-01-01").model_dump_json().encode()
LINES = (
    json.dumps({"started": RESULT.place}).encode(),
    json.dumps({"case": RECORD.model_dump(), "results": [RESULT.model_dump(mode="json")]}).encode(),
    b'{"resumed":"2026-01-01"}',
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.sampled_from(LINES), max_size=3), at=st.integers(0), new=st.binary(max_size=3))
@example(lines=[], at=HEAD.index(b"run_id"), new=b" ")
@example(lines=[LINES[1]], at=len(HEAD) + 3, new=b"x")
@example(lines=[LINES[0]], at=len(HEAD) + len(LINES[0]) - 3, new=b"9")
def test_a_damaged_journal_opens_or_is_refused(lines: list[bytes], at: int, new: bytes, tmp_path: Path) -> None:
    whole = b"\n".join([HEAD, *lines])
    at %= len(whole)
    path = tmp_path / "run.journal"
    path.write_bytes(whole[:at] + new + whole[at + len(new) :])
    with contextlib.suppress(ResultsError):
        if done := load_journal(path):
            assert len(done.results) <= len(lines)
            done.over(None).to_json()


def test_an_interrupt_between_the_calls_says_how_to_go_on(server: StandIn, tmp_path: Path) -> None:
    """Here the cases are read; it is the same while the reports are written."""
    (tmp_path / "cases/products/model.py").write_text("raise KeyboardInterrupt")
    shown = invoke("run")
    assert (shown.exit_code, shown.output) == (130, "interrupted\n")
    Journal(JOURNAL).begin(Head(run_id="r", columns=("x:small",)))
    shown = invoke("run", "--resume")
    assert (shown.exit_code, shown.output) == (130, "interrupted; to go on: llm-tester run --resume\n")
    assert JOURNAL.exists()


@pytest.mark.parametrize(("cases", "offered"), [(1, False), (2, True)])
def test_an_interrupt_during_the_last_call_offers_no_rest(cases: int, offered: bool, server: StandIn) -> None:
    def interrupt(body: Any) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return json.dumps(LAMP)

    server._reply = interrupt
    modules = [option for number in range(cases) for option in ("-m", f"products/case{number}")]
    shown = invoke("run", *modules)
    assert shown.exit_code == 130
    assert "interrupted; what was done is saved" in shown.output
    assert ("llm-tester run --resume" in shown.output) == offered


def test_results_that_cannot_be_written_are_kept_and_not_paid_for_again(server: StandIn, tmp_path: Path) -> None:
    """A directory takes the place of a disk that is full after the last call."""
    model, results = tmp_path / "cases/products/model.py", tmp_path / "llm_tester_results/results.json"
    code = model.read_text()
    model.write_text(f"{code}\nfrom pathlib import Path\nPath({str(results)!r}).mkdir()\n")
    stopped = invoke("run", "--record", "off")
    assert stopped.exit_code == 1
    assert "spent: $0.00144; to run the rest once there is room: llm-tester run --resume" in stopped.output
    model.write_text(code)
    results.rmdir()
    resumed = invoke("run", "--resume")
    assert resumed.exit_code == 0
    assert "spent: $0.00144" in resumed.output
    assert len(server.requests) == 4


class Busy(Executor):
    """Workers that never end their chunk."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        return Future()


def test_dropped_workers_keep_what_they_have_done(server: StandIn, tmp_path: Path) -> None:
    """What was done in an earlier part of the run does not count again."""
    units = LLMTester(["x"]).units(record="off")
    journal = Journal(tmp_path / "run.journal")
    journal.begin(Head(run_id="r"))
    journal.finished(units[2], [RESULT.model_copy(update={"name": "case2", "module": "products", "model": "small"})])
    journal.resumed()
    pool = Pool(Busy())
    pool.is_here = True
    chunks = Chunks(units, pool, 1, 4, {}, journal)
    iterated = iter(chunks)
    chunks.end()
    assert next(iterated, None) is None
    done = [RESULT.model_copy(update={"name": "case0", "module": "products", "model": "small"})]
    journal.started(units[0])
    journal.finished(units[0], done)
    journal.started(units[1])
    (first, kept), (second, [lost]) = chunks.drop()
    assert (first, second) == (0, 1)
    assert kept[0].status == "ok"
    assert (lost.status, lost.attempts, lost.unanswered) == ("failed", 1, 1)
    assert (lost.failed_cost or 0) > COST


def test_half_a_surrogate_pair_is_kept(server: StandIn, tmp_path: Path) -> None:
    unit = LLMTester(["x"]).units(record="off")[0]
    [result] = run_unit(unit)
    odd = result.model_copy(update={"reply": "\ud800", "actual": {"\ud800": ["\udfff"]}})
    journal = Journal(tmp_path / "run.journal")
    journal.begin(Head(run_id="r"))
    journal.finished(unit, [odd])
    done = load_journal(journal.path)
    assert done
    assert done.results == [odd.of_run("r")]


@pytest.mark.parametrize(("record", "requests"), [("off", 6), ("auto", 4)])
def test_a_killed_run_goes_on(record: str, requests: int, server: StandIn) -> None:
    """Two cases were done. The call in flight is listed with what it may have cost; what was recorded is replayed."""
    die_after(6, record=record)
    refused = invoke("run")
    assert refused.exit_code == 2
    assert "llm-tester run --resume" in refused.output
    resumed = invoke("run", "--resume")
    assert resumed.exit_code == 0
    assert "in flight when the run ended, may be billed (see costs.json): 1 call: " in resumed.output
    assert "products/case2 x:small" in resumed.output
    assert len(server.requests) == requests
    run = RunResult.load("llm_tester_results/results.json")
    assert [(result.name, result.status) for result in run.results] == [(f"case{n}", "ok") for n in range(4)]
    report = CostReport.load("llm_tester_results/costs.json")
    [row] = report.by("run_id").values()
    assert (row.spent_usd, row.at_most_usd) == (run.spent_usd, run.at_most_usd)
    assert row.spent_usd == pytest.approx((4 if record == "off" else 2) * COST)
    [lost] = [row for row in report.rows if row.unanswered]
    assert lost.case == "case2"
    assert (lost.maybe_usd or 0) > COST
    assert not JOURNAL.exists()


def test_repeats_that_no_recording_keeps_are_not_paid_for_again(server: StandIn) -> None:
    """The journal ends after two of a case's three repeats; the third is run, and the books hold all of them once."""
    die_after(5, record="off", repeats=3)
    asked, progress = len(server.requests), []
    tester = LLMTester(["x"])
    run = tester.run_tests(
        record="off", journal=JOURNAL, on_result=lambda result, done, total: progress.append((done, total))
    )
    assert len(server.requests) - asked == 10
    assert [result.repeat for result in run.results] == [1, 2, 3] * 4
    assert [result.status for result in run.results] == ["ok"] * 12
    assert run.spent_usd == pytest.approx(12 * COST)
    assert progress[0] == (3, 12)
    assert progress[-1] == (12, 12)


def test_a_limit_holds_for_the_whole_run(server: StandIn) -> None:
    """What the run spent before it was killed counts."""
    die_after(7, record="off", max_cost=0.01)
    run = LLMTester(["x"]).run_tests(record="off", journal=JOURNAL, max_cost=0.0012)
    assert [result.status for result in run.results] == ["ok", "ok", "ok", "skipped"]
    assert run.spent_usd == pytest.approx(3 * COST)


def test_resume_without_a_killed_run_is_a_new_one_or_runs_what_failed(server: StandIn) -> None:
    server.faults.extend([None, Fault(status=400)])
    assert invoke("run", "--resume").exit_code == 1
    assert invoke("run", "--resume").exit_code == 0
    assert len(server.requests) == 5


def test_a_second_run_in_a_directory_is_refused(server: StandIn) -> None:
    Path("out").mkdir()
    with FileLock("out/.run.lock"):
        refused = invoke("run", "--output", "out")
    assert refused.exit_code == 2
    assert "another run writes its results there" in refused.output
    assert "--output" in refused.output
    assert server.requests == []
    assert invoke("run", "--output", "out").exit_code == 0


def test_temporary_files_of_dead_processes_are_removed(server: StandIn, tmp_path: Path) -> None:
    out, recorded = tmp_path / "out", tmp_path / "cassettes/products/case0/x"
    for directory in (out, recorded):
        directory.mkdir(parents=True)
        for process in (2**22 + 1, 1):
            (directory / f".llm_tester-{process}-ab.tmp").touch()
    invoke("run", "--output", "out")
    assert {path.name for path in tmp_path.rglob("*.tmp")} == {".llm_tester-1-ab.tmp"}


def test_ctrl_c_tries_nothing_again_and_waits_for_no_limit(server: StandIn, write_config: Write) -> None:
    """One call is in flight and fails; another one was told to come back in a minute."""
    held = threading.Event()
    server.faults.extend([Fault(status=429, headers={"retry-after": "50"}), None, Fault(status=503, hold=held)])
    config = json.loads(Path("config.json").read_text())["providers"]["x"]
    write_config({"x": {**config, "max_attempts": 5}, "y": config})

    def interrupt(result: CaseResult, done: int, total: int) -> None:
        while len(server.requests) < 3:
            threading.Event().wait(0.01)
        if not held.is_set():
            raise KeyboardInterrupt

    tester = LLMTester(["x", "y"])
    with pytest.raises(RunInterrupted) as caught:
        tester.run_tests(["products/case0", "products/case1"], on_result=interrupt, on_wait=lambda _: held.set())
    assert len(server.requests) == 3
    problems = [result.problem or "" for result in caught.value.results.results]
    assert all("tried again: not run: the run was interrupted" in problem for problem in problems if "(503)" in problem)
    assert sum("(503)" in problem for problem in problems) == 1
    assert sum("(429)" in problem for problem in problems) == 1


LIMITED = """
import resource, signal
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from llm_tester.__main__ import main
main(prog_name="llm-tester")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit for the size of files")
@pytest.mark.parametrize("record", ["auto", "off"])
def test_a_disk_without_room_ends_the_run_at_the_first_reply(record: str, server: StandIn, tmp_path: Path) -> None:
    """The limit is on the size of files: there is room for the check, but not for the reply."""
    large = json.dumps({**LAMP, "maker": {"country": "x" * 200_000}})
    server._reply = lambda body: large
    arguments = ("run", "--output", "out", "--record", record)
    ended = run_python(LIMITED, *arguments, cwd=tmp_path, env={"PATH": "/bin:/usr/bin"})
    assert ended.returncode == 1, ended.stderr
    assert len(server.requests) == 1
    assert "stopped, because what is paid for cannot be kept" in ended.stderr
    assert "spent: " in ended.stderr
    assert "llm-tester run --resume --output out" in ended.stderr
    assert not list(tmp_path.rglob("*.tmp"))


def test_whatever_a_unit_raises_is_its_result(tmp_path: Path, server: StandIn) -> None:
    model = """
from typing import Annotated
from pydantic import BaseModel
from llm_tester import Compare

def leave(expected, actual):
    if actual == expected:
        return 1
    raise SystemExit(3)

class Product(BaseModel):
    name: Annotated[str, Compare(leave)]
"""
    write_case(tmp_path / "cases", module="leaves", model=model, expected='{"name": "x"}')
    run = LLMTester(["x"]).run_tests()
    first, *others = sorted(run.results, key=lambda result: result.module)
    assert (first.module, first.status, first.error) == ("leaves", "failed", "SystemExit")
    assert first.reply
    assert {result.status for result in others} == {"ok"}
    assert run.spent_usd == pytest.approx(5 * COST)
