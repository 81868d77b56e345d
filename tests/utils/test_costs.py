"""Cents: what is spent never passes a budget, and unknown is never zero."""

import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_cases import LAMP, openai_entry, write_case
from standins import Fault, Reply, StandIn

from llm_tester import CostTracker, LLMTester, RunResult, UsageData
from llm_tester.__main__ import main
from llm_tester.errors import BudgetError, ResultsError
from llm_tester.llms.budget import Budget
from llm_tester.pricing import Price
from llm_tester.reports import junit
from llm_tester.runs.results import CaseRecord, CaseResult
from llm_tester.runs.summary import grouped
from llm_tester.usage import format_spent, format_usd
from llm_tester.utils.cost_manager import CostReport

Write = Callable[..., Path]
PRICE = Price(input=2.0, output=8.0, source="config")


def usage(**more: Any) -> UsageData:
    return UsageData(provider="p", model="m", prompt_tokens=1000, completion_tokens=100, **more)


COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=9),
    st.just(10**1000),
    st.just([1]),
    st.binary(),
)
PARTS = Price(input=2.0, output=8.0, cached_input=0.5, cache_write=2.5, reasoning=9.0, source="config")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys([*COUNTS, "elapsed_seconds", "total_cost", "billed"], ANYTHING)),
    st.sampled_from([PRICE, PARTS, Price(input=1e308, output=1e308, source="config"), None]),
)
def test_whatever_numbers_a_provider_reports_the_reply_is_kept(reported: dict[str, Any], price: Price | None) -> None:
    """Nothing is raised, every count is a count, and the cost is finite or None; saved and loaded it is the same."""
    found = UsageData.model_validate({"provider": "p", "model": "m", **reported})
    assert all(type(getattr(found, name)) is int and 0 <= getattr(found, name) <= 10**12 for name in COUNTS)
    assert found.total_cost is None or 0 <= found.total_cost < float("inf")
    priced = found.priced(price)
    assert priced.total_cost is None or 0 <= priced.total_cost < float("inf")
    if price and priced.total_cost == 0:
        assert not priced.total_tokens
    if priced.total_cost is None and price:
        assert priced.notes
    assert priced.priced(price) == priced
    assert UsageData.model_validate_json(priced.model_dump_json()) == priced


@pytest.mark.parametrize(
    ("counts", "price", "cost", "note"),
    [
        # OpenRouter with Gemini: the same tokens read and written.
        (
            (2168, 10, 2161, 2161, 0),
            PARTS,
            None,
            "(2161) and cache_write_tokens (2161) exceed prompt_tokens",
        ),
        ((2168, 10, 2161, 2161, 0), PRICE, (2168 * 2 + 10 * 8) / 1e6, "have the same rate, so the cost is right"),
        (
            (100, 10, 0, 0, 11),
            PARTS,
            None,
            "(11) exceed completion_tokens (10), and have another rate",
        ),
        ((100, 10, 0, 0, 11), PRICE, (100 * 2 + 10 * 8) / 1e6, "reasoning_tokens (11) exceed completion_tokens (10)"),
        ((-5, 10, 0, 0, 0), PRICE, None, "reports prompt_tokens as -5, which is no number of tokens"),
        ((100, 1.5, 0, 0, 0), PRICE, None, "reports completion_tokens as 1.5"),
        ((100, float("inf"), 0, 0, 0), PRICE, None, "reports completion_tokens as inf"),
        ((100, "many", 0, 0, 0), PRICE, None, "reports completion_tokens as 'many'"),
        ((100, 10**1000, 0, 0, 0), PRICE, None, "a number of more than 12 digits"),
        ((100, None, 0, 0, 0), PRICE, None, "does not report completion_tokens"),
        ((0, 0, 0, 0, 0), PRICE, None, "reports no tokens"),
        ((100.0, 10, 0, 0, 0), PRICE, (100 * 2 + 10 * 8) / 1e6, None),
    ],
)
def test_counts_that_do_not_add_up_are_a_note_and_an_honest_cost(
    counts: tuple[Any, ...], price: Price, cost: float | None, note: str | None
) -> None:
    """The cost is unknown if what is wrong matters at the price; else it is exact. The note says which."""
    found = UsageData.model_validate(dict(zip(COUNTS, counts, strict=True))).priced(price)
    assert found.total_cost == (None if cost is None else pytest.approx(cost))
    assert found.cost_source == (None if cost is None else "config")
    assert [note in text for text in found.notes] == ([True] if note else [])


def test_what_the_provider_billed_leads_over_the_price() -> None:
    """A sum is the cost; tokens have the price's plain rates; either way the source is the provider."""
    as_sum = usage(billed={"usd": 0.25}).priced(PRICE)
    assert (as_sum.total_cost, as_sum.prompt_cost, as_sum.cost_source) == (0.25, None, "provider")
    unpriced = usage(billed={"usd": 0.25}).priced(None)
    assert (unpriced.total_cost, unpriced.cost_source) == (0.25, "provider")
    tokens = usage(cached_tokens=900, billed={"prompt_tokens": 100, "completion_tokens": 10}).priced(PARTS)
    assert (tokens.total_cost, tokens.cost_source) == (pytest.approx((100 * 2 + 10 * 8) / 1e6), "provider")
    half = usage(cached_tokens=900, billed={"prompt_tokens": 100}).priced(PARTS)
    assert half.total_cost == pytest.approx((100 * 2 + 100 * 8) / 1e6)
    nothing = usage(billed={"usd": float("nan")}).priced(PRICE)
    assert (nothing.total_cost, nothing.cost_source) == (pytest.approx(0.0028), "config")
    assert "as what it billed" in nothing.notes[0]


@pytest.mark.parametrize(
    ("spent", "unknown", "at_most", "unanswered", "text"),
    [
        (0.0123, 0, 0.0123, 0, "$0.0123"),
        (0.0123, 0, 0.015, 2, "$0.0123, at most $0.0150 if the 2 calls without a reply were billed"),
        (0.0, 0, 0.015, 1, "$0, at most $0.0150 if the call without a reply was billed"),
        (0.5, 0, None, 1, "$0.5000, and an unknown amount more if the call without a reply was billed"),
        (0.5, 3, 0.75, 2, "at least $0.5000, and up to $0.2500 more if the 2 calls without a reply were billed"),
        (0.0, 3, 0.0, 0, "unknown"),
        (0.0, 0, 0.0, 2, "$0"),
    ],
)
def test_what_was_spent_in_words(spent: float, unknown: int, at_most: float | None, unanswered: int, text: str) -> None:
    """With replies of unknown cost no sum is called the most."""
    assert format_spent(spent, unknown, at_most, unanswered) == text


def test_five_outputs_have_one_ledger(
    tmp_path: Path, write_config: Write, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies, replays, a broken connection, a refusal, a closed port and an unknown price, in every output."""
    write_case(tmp_path / "cases")
    server, known = standin(json.dumps(LAMP)), (100 * 2 + 20 * 8) / 1e6
    broken, refusing = standin("", faults=[Fault(reset=True)] * 2), standin("", faults=[Fault(status=401)])
    write_config(
        {
            "ok": openai_entry(server),
            "recorded": openai_entry(server),
            "unpriced": openai_entry(server, models=["small"]),
            "broken": openai_entry(broken, max_attempts=2),
            "refused": openai_entry(refusing),
            "closed": openai_entry(server, api_base="http://127.0.0.1:9/v1", max_attempts=2),
        }
    )
    CliRunner().invoke(main, ["run", "-p", "recorded", "--output", "before"], catch_exceptions=False)
    shown = CliRunner().invoke(main, ["run"], catch_exceptions=False).output
    output = tmp_path / "llm_tester_results"
    run = RunResult.load(output / "results.json")
    by_name = {result.provider: result for result in run.results}
    assert [by_name[name].status for name in ("ok", "recorded", "unpriced")] == ["ok"] * 3
    assert [by_name[name].attempts for name in ("broken", "refused", "closed")] == [2, 1, 2]
    assert [by_name[name].unanswered for name in ("broken", "refused", "closed")] == [2, 0, 0]
    maybe = by_name["broken"].failed_cost
    assert maybe is not None
    assert (run.spent_usd, run.spent_unknown, run.unanswered) == (pytest.approx(known), 1, 2)
    assert run.at_most_usd == pytest.approx(known + maybe)
    rows = CostReport.load(output / "costs.json").rows
    assert sum(row.spent_usd for row in rows) == pytest.approx(run.spent_usd)
    assert sum(row.maybe_usd or 0.0 for row in rows) == pytest.approx(maybe)
    assert {row.provider: row.failed for row in rows} == {
        **dict.fromkeys(("ok", "recorded", "unpriced"), 0),
        **dict.fromkeys(("broken", "refused", "closed"), 1),
    }
    text = (
        f"at least {format_usd(known)}, and up to {format_usd(maybe)} more if the 2 calls without a reply were billed"
    )
    assert f"spent: {text}" in shown
    for name in ("report.md", "report.html", "costs.md"):
        assert text in (output / name).read_text(), name


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


def test_a_call_that_broke_off_counts_its_worst_case(
    tmp_path: Path, write_config: Write, standin: Callable[..., StandIn]
) -> None:
    write_case(tmp_path / "cases")
    server = standin(json.dumps(LAMP), faults=[Fault(reset=True)])
    write_config({"x": openai_entry(server)})
    run = LLMTester(["x"], tmp_path / "cases").run_tests(max_cost=1)
    [result] = run.results
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


def test_an_unknown_price_makes_a_total_a_lower_bound() -> None:
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
    odd = result(50.0, reply='{"name": "\ud800"}', actual={"name": {"é\ud800": ["\udfff", float("inf")]}})
    saved = run(odd, result(50.0, repeat=2, reply="é"))
    saved.save(tmp_path / "r.json")
    assert RunResult.load(tmp_path / "r.json").results == saved.results
    lines = (tmp_path / "r.json").read_text(encoding="utf-8").split("\n")
    assert sum('"repeat"' in line for line in lines) == 2
