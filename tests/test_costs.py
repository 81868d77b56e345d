"""Cents: what is spent never passes a budget, unknown is never zero, and a baseline is a fair one."""

import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standins import Fault, Reply, StandIn
from test_tester import LAMP, openai_entry, write_case

from llm_tester import CostTracker, LLMTester, RunResult, UsageData
from llm_tester.errors import BudgetError, ResultsError
from llm_tester.pricing import Price
from llm_tester.reports import junit
from llm_tester.runs.baseline import compare_runs
from llm_tester.runs.results import CaseRecord, CaseResult
from llm_tester.runs.stability import grouped
from llm_tester.usage import Budget, format_usd
from llm_tester.utils.cost_manager import CostReport

Write = Callable[..., Path]
PRICE = Price(input=2.0, output=8.0, source="config")


def usage(**more: Any) -> UsageData:
    return UsageData(provider="p", model="m", prompt_tokens=1000, completion_tokens=100, **more)


@pytest.mark.parametrize("seed", range(5))
def test_64_threads_never_spend_more_than_the_limit(seed: int) -> None:
    budget = Budget(1.0)
    order = random.Random(seed)
    costs = [(order.uniform(0.001, 0.2), order.random()) for _ in range(400)]
    spent: list[float] = []
    refused: list[str] = []
    most: list[float] = []
    barrier = threading.Barrier(64)

    def call(worst: float, share: float) -> None:
        try:
            with budget.reserve(worst, "a call") as settle:
                settle.settle(worst * share)
                spent.append(worst * share)
        except BudgetError as error:
            refused.append(str(error))
        most.append(budget.spent_usd)

    def worker(index: int) -> None:
        barrier.wait()
        for worst, share in costs[index::64]:
            call(worst, share)

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(worker, range(64)))
    assert max(most) <= 1.0
    assert sum(spent) == pytest.approx(budget.spent_usd)
    assert refused
    assert len(spent) + len(refused) == 400


def test_64_threads_of_a_run_keep_to_one_limit(
    tmp_path: Path, write_config: Write, standin: Callable[..., StandIn]
) -> None:
    for number in range(64):
        write_case(tmp_path / "cases", name=f"case{number}", sources=f"Number {number}.")
    server = standin(Reply(json.dumps(LAMP), input_tokens=100, output_tokens=20))
    write_config({"x": openai_entry(server)})
    run = LLMTester(["x"], tmp_path / "cases").run_tests(record="once", concurrency=64, max_cost=0.02)
    each = (100 * 2 + 20 * 8) / 1e6
    done = [result for result in run.results if result.status == "ok"]
    skipped = [result for result in run.results if result.status == "skipped"]
    assert len(done) + len(skipped) == 64
    assert done
    assert skipped
    assert len(server.requests) == len(done)
    assert run.spent_usd == pytest.approx(len(done) * each)
    assert run.spent_usd <= 0.02


def test_a_call_that_broke_off_counts_with_its_worst_case(
    tmp_path: Path, write_config: Write, standin: Callable[..., StandIn]
) -> None:
    write_case(tmp_path / "cases")
    server = standin(json.dumps(LAMP), faults=[Fault(reset=True)])
    write_config({"x": openai_entry(server)})
    run = LLMTester(["x"], tmp_path / "cases").run_tests(max_cost=1)
    [result] = run.results
    assert result.usage is not None
    assert (result.status, result.usage.attempts) == ("ok", 2)
    assert result.usage.failed_cost is not None
    assert result.usage.failed_cost > 0
    spent = (100 * 2 + 20 * 8) / 1e6
    assert run.spent_usd == pytest.approx(spent)
    assert run.at_most_usd == pytest.approx(spent + result.usage.failed_cost)
    assert run.unanswered == 1


def test_a_refusal_costs_nothing(tmp_path: Path, write_config: Write, standin: Callable[..., StandIn]) -> None:
    write_case(tmp_path / "cases")
    server = standin(json.dumps(LAMP), faults=[Fault(status=400)])
    write_config({"x": openai_entry(server)})
    run = LLMTester(["x"], tmp_path / "cases").run_tests(max_cost=1)
    assert (run.results[0].status, run.spent_usd) == ("failed", 0.0)


def test_an_unknown_price_is_none_and_makes_a_total_at_least() -> None:
    unknown = usage().priced(None)
    assert (unknown.total_cost, unknown.prompt_cost, unknown.spent_usd) == (None, None, None)
    known = usage().priced(PRICE)
    assert known.total_cost == pytest.approx(0.0028)
    tracker = CostTracker()
    tracker.add("run", "module", "case", unknown)
    only_unknown = tracker.report().markdown()
    assert "| unknown | unknown |" in only_unknown
    tracker.add("run", "module", "case", known)
    total = tracker.report().total()
    assert (total.calls, total.unknown, total.cost_usd) == (2, 1, pytest.approx(0.0028))
    assert "at least $0.0028" in tracker.report().markdown()


def test_a_free_model_costs_0_and_a_usage_without_counts_is_unknown() -> None:
    free = Price(input=0, output=0, source="config")
    assert usage().priced(free).total_cost == 0.0
    assert UsageData(provider="p", model="m").priced(free).total_cost is None


@pytest.mark.parametrize(
    ("usd", "shown"),
    [(None, "unknown"), (0.0, "$0"), (0.000123, "$0.000123"), (1.2825, "$1.2825"), (0.0000001, "$0.0000001")],
)
def test_an_amount_is_never_shown_as_less_than_it_is(usd: float | None, shown: str) -> None:
    assert format_usd(usd) == shown


def test_a_replay_spends_nothing_but_has_its_cost() -> None:
    replay = usage(replayed=True).priced(PRICE)
    assert replay.spent_usd == 0.0
    assert replay.total_cost == pytest.approx(0.0028)


def test_threads_add_up_exactly() -> None:
    tracker = CostTracker()
    run_ids = {tracker.start_run() for _ in range(100)}
    assert len(run_ids) == 100
    cheap = usage().priced(Price(input=0.1, output=0, source="config"))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: tracker.add("run", "m", "c", cheap), range(1000)))
    assert tracker.report().total().calls == 1000
    assert tracker.report().total().cost_usd == pytest.approx(0.1, abs=1e-12)


def test_reports_of_several_runs_merge_and_count_each_once(tmp_path: Path) -> None:
    tracker = CostTracker()
    tracker.add("one", "m", "c", usage().priced(PRICE))
    first = tracker.report()
    tracker.add("two", "m", "c", usage().priced(PRICE))
    merged = first.merged([tracker.report(), first])
    assert merged.total().calls == 2
    assert list(merged.by("run_id")) == [("one",), ("two",)]
    merged.save(tmp_path / "costs.json")
    assert CostReport.load(tmp_path / "costs.json") == merged
    (tmp_path / "other.json").write_text("{}x")
    with pytest.raises(ResultsError, match="not a cost report"):
        CostReport.load(tmp_path / "other.json")
    (tmp_path / "newer.json").write_text('{"format": 3, "rows": []}')
    with pytest.raises(ResultsError, match="format 3"):
        CostReport.load(tmp_path / "newer.json")


@given(st.lists(st.floats(0, 10, allow_nan=False), min_size=1, max_size=30), st.floats(0.001, 20))
def test_whatever_the_order_a_budget_holds(worsts: list[float], limit: float) -> None:
    budget = Budget(limit)
    for worst in worsts:
        try:
            with budget.reserve(worst, "a call"):
                pass
        except BudgetError:
            continue
    assert budget.spent_usd <= limit


def result(accuracy: float | None, repeat: int = 1, **more: Any) -> CaseResult:
    base: dict[str, Any] = {"module": "m", "name": "c", "provider": "p", "model": "x", "status": "ok"}
    return CaseResult(**{**base, "accuracy": accuracy, "repeat": repeat, "usage": usage(), **more})


def run(*results: CaseResult, cases: tuple[CaseRecord, ...] = ()) -> RunResult:
    return RunResult(run_id="a-run", results=results, cases=cases)


def test_a_difference_within_the_spread_is_the_same() -> None:
    before = run(result(80.0), result(90.0, 2), result(100.0, 3))
    [change] = compare_runs(before, run(result(82.0))).changes
    assert (change.verdict, change.spread) == ("same", pytest.approx(10.0))
    [change] = compare_runs(before, run(result(70.0))).changes
    assert change.verdict == "worse"
    [change] = compare_runs(run(result(80.0)), run(result(80.1))).changes
    assert change.verdict == "better"


def test_a_lost_reply_is_worse_and_a_new_one_better() -> None:
    lost = result(None, status="failed", usage=None)
    assert [change.verdict for change in compare_runs(run(result(50.0)), run(lost)).changes] == ["worse"]
    assert [change.verdict for change in compare_runs(run(lost), run(result(50.0))).changes] == ["better"]
    assert [change.verdict for change in compare_runs(run(lost), run(lost)).changes] == ["same"]


def test_what_only_one_run_has_is_new_or_gone_and_an_edited_case_is_told() -> None:
    one, two = CaseRecord(module="m", name="c", prompt="one"), CaseRecord(module="m", name="c", prompt="two")
    before = run(result(50.0), result(50.0, name="old"), cases=(one,))
    after = run(result(50.0), result(50.0, name="new"), cases=(two,))
    comparison = compare_runs(before, after)
    assert [(change.title, change.verdict) for change in comparison.changes] == [
        ("m/c", "same"),
        ("m/new", "new"),
        ("m/old", "gone"),
    ]
    assert comparison.changes[0].edited
    assert not comparison.regressions()


def test_a_baseline_of_other_cases_is_refused() -> None:
    with pytest.raises(ResultsError, match="has none of this run's cases"):
        compare_runs(run(result(50.0, name="other")), run(result(50.0)))


def test_how_often_a_field_changed_is_counted_between_repeats() -> None:
    from llm_tester.runs.scoring import compare

    values = [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 2}]
    results = [
        result(50.0, number, fields=tuple(compare({"a": 1, "b": 1}, value).fields))
        for number, value in enumerate(values, 1)
    ]
    [group] = grouped(results).values()
    assert group.changes() == {"a": 0, "b": 1}


def test_junit_takes_what_xml_cannot() -> None:
    from xml.etree import ElementTree

    bad = "null \x00, half a pair \ud800, <tag> & \ufffe"
    text = junit.render(run(result(None, status="failed", problem=bad, usage=None)))
    root = ElementTree.fromstring(text.encode())
    [error] = root.iter("error")
    assert "<tag> &" in error.get("message", "")
    assert root.find("testsuite").get("errors") == "1"  # type: ignore[union-attr]


def test_half_a_surrogate_pair_in_a_reply_is_saved_and_loaded(tmp_path: Path) -> None:
    odd = run(result(50.0, reply='{"name": "\ud800"}', actual={"name": "\ud800"}))
    odd.save(tmp_path / "r.json")
    assert RunResult.load(tmp_path / "r.json").results[0].reply is not None
