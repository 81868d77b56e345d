"""Every figure of a run, in every output, against a server whose truth is known.

Ten models on one scripted server, each over the same two cases. What is right, what it cost, how long it took and what
failed is written down here by hand; nothing expected comes from the package's own arithmetic.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from standins import Fault, Reply, StandIn
from test_tester import write_case

from llm_tester import RunResult
from llm_tester.__main__ import main

MODEL = """
from decimal import Decimal
from pydantic import BaseModel

class Model(BaseModel):
    name: str
    sku: str
    price: Decimal
    colours: list[str] = []
    weight: float | None = None
"""
# Six leaves each: name, sku, price, two colours, weight.
LAMP = {"name": "Aurora Lamp", "sku": "AL-2024-001", "price": "39.90", "colours": ["red", "blue"], "weight": 1.5}
BOOT = {"name": "Trail Boot", "sku": "TB-2024-001", "price": "119.00", "colours": ["brown", "black"], "weight": 0.8}
RIGHT = {"lamp": LAMP, "boot": BOOT}
DELAY = 0.05
# USD per million tokens, in and out, and read from the cache.
PRICE = {"cost_input": 2.0, "cost_output": 8.0, "cost_cached_input": 0.5}


class Truth(NamedTuple):
    """What a model is known to do with the two cases together.

    Attributes:
        accuracy: 0 to 100, the mean of both; None if it has no reply.
        right: right leaves, of twelve; wrong, missing and extra ones follow.
        cost: USD of its replies; None if nobody knows.
        requests: requests that the server gets.
        unanswered: requests that may have been billed although no reply came.
    """

    accuracy: float | None
    right: int = 0
    wrong: int = 0
    missing: int = 0
    extra: int = 0
    status: str = "ok"
    cost: float | None = 0.0
    requests: int = 2
    unanswered: int = 0


# 1,000 tokens in and 50 out cost 0.002 + 0.0004 = 0.0024; two calls 0.0048.
TRUTHS = {
    "right": Truth(100.0, right=12, cost=0.0048),
    # Another number in the sku of one case: eleven leaves of twelve.
    "wrong-code": Truth(100 * 11 / 12, right=11, wrong=1, cost=0.0048),
    # No weight in either case: five leaves of six.
    "missing": Truth(100 * 10 / 12, right=10, missing=2, cost=0.0048),
    # A third colour in each case: six leaves of seven.
    "extra": Truth(100 * 6 / 7, right=12, extra=2, cost=0.0048),
    # 400 of the 1,000 read from the cache: 0.0012 + 0.0002 + 0.0004 = 0.0018.
    "cached": Truth(100.0, right=12, cost=0.0036),
    "invalid": Truth(0.0, status="invalid", cost=0.0048),
    # Two refusals each before the reply; a refusal is not billed.
    "flaky": Truth(100.0, right=12, cost=0.0048, requests=6),
    "down": Truth(None, status="failed", requests=6),
    # The request goes out and the connection breaks, three times each.
    "dropped": Truth(None, status="failed", requests=6, unanswered=6),
    "unpriced": Truth(100.0, right=12, cost=None),
}
# One attempt of "dropped" costs at most its output limit of 100 tokens and every byte of the input as a token, twice
# as dear as the dearest input: the bound is checked from both sides.
KNOWN = sum(truth.cost or 0.0 for truth in TRUTHS.values())


def server_of(standin: Callable[..., StandIn]) -> StandIn:
    asked: dict[tuple[str, str], int] = defaultdict(int)

    def reply(body: dict[str, Any]) -> Reply | Fault:
        model, case = body["model"], "lamp" if "lamp" in json.dumps(body["messages"]) else "boot"
        asked[model, case] += 1
        data = dict(RIGHT[case])
        if model == "flaky" and asked[model, case] <= 2:
            return Fault(status=429, headers={"retry-after": "0"})
        if model == "down":
            return Fault(status=500, headers={"retry-after": "0"})
        if model == "dropped":
            return Fault(reset=True)
        if model == "wrong-code" and case == "lamp":
            data["sku"] = "AL-2024-002"
        if model == "missing":
            del data["weight"]
        if model == "extra":
            data["colours"] = [*data["colours"], "green"]
        text = "I cannot help with that." if model == "invalid" else json.dumps(data)
        cached = 400 if model == "cached" else 0
        return Reply(text, input_tokens=1000, output_tokens=50, cached_tokens=cached, delay=DELAY)

    server: StandIn = standin(reply)
    return server


@pytest.fixture
def project(tmp_path: Path, standin: Callable[..., StandIn], write_config: Callable[..., Path]) -> StandIn:
    server = server_of(standin)
    for name in RIGHT:
        write_case(
            tmp_path / "cases",
            name=name,
            model=MODEL,
            prompts="Extract the product.",
            sources=f"The {name} that we sell.",
            expected=json.dumps(RIGHT[name]),
        )
    models = [{"name": name, **({} if name == "unpriced" else PRICE)} for name in TRUTHS]
    entry = {"provider_type": "openai", "api_base": server.url + "/v1", "models": models, "params": {"max_tokens": 100}}
    write_config({"x": entry})
    return server


def run(*arguments: str) -> tuple[RunResult, str]:
    command = ["run", "-p", "x:*", "--concurrency", "4", "--junit", "junit.xml", *arguments]
    output = CliRunner().invoke(main, command, catch_exceptions=False).output
    return RunResult.load("llm_tester_results/results.json"), output


def of_model(results: RunResult, model: str) -> list[Any]:
    return [result for result in results.results if result.model == model]


def check_results(results: RunResult, replayed: bool) -> None:
    """results.json against the truth."""
    for model, truth in TRUTHS.items():
        found = of_model(results, model)
        assert {result.status for result in found} == {truth.status}, model
        if truth.accuracy is not None:
            assert sum(result.accuracy for result in found) / 2 == pytest.approx(truth.accuracy), model
            costs = [result.usage.total_cost for result in found]
            assert (None if None in costs else sum(costs)) == pytest.approx(truth.cost), model
            assert all(DELAY <= result.usage.elapsed_seconds < 20 * DELAY for result in found), model
            assert {result.usage.replayed for result in found} == {replayed}, model
        if truth.status == "ok":
            counts = [
                sum(getattr(result.counts, name) for result in found) for name in ("right", "wrong", "missing", "extra")
            ]
            assert counts == [truth.right, truth.wrong, truth.missing, truth.extra], model


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"\s{2,}|\s\|\s|^\||\|$", line.strip()) if cell.strip()]


def test_every_figure_of_a_live_run_is_true(project: StandIn) -> None:
    """Terminal, results.json, HTML, Markdown, costs.json and costs.md say what the server knows."""
    results, output = run()
    sent = defaultdict(int)
    for request in project.requests:
        sent[request.body["model"]] += 1
    assert dict(sent) == {model: truth.requests for model, truth in TRUTHS.items()}
    check_results(results, replayed=False)

    # One ledger.
    assert results.spent_usd == pytest.approx(KNOWN, abs=1e-12)
    assert results.spent_unknown == 2
    assert results.unanswered == 6
    assert results.at_most_usd is not None
    least = KNOWN + 6 * 100 * 8 / 1e6
    assert least < results.at_most_usd < least + 6 * 2000 * 2 / 1e6
    costs = json.loads(Path("llm_tester_results/costs.json").read_text())["rows"]
    assert sum(row["spent_usd"] for row in costs) == pytest.approx(KNOWN, abs=1e-12)
    assert sum(row["spent_usd"] + row["maybe_usd"] for row in costs) == pytest.approx(results.at_most_usd, abs=1e-12)
    spent = f"at least ${KNOWN:.4f}, at most ${results.at_most_usd:.4f} if the 6 calls without a reply were billed"
    assert f"spent: {spent}" in output
    for name in ("report.md", "report.html", "costs.md"):
        assert spent in Path("llm_tester_results", name).read_text(), name

    # The rows of the two tables.
    lines = output.splitlines() + Path("llm_tester_results/report.md").read_text().splitlines()
    for model, truth in TRUTHS.items():
        rows = [line for line in lines if re.search(rf"\bx(?::| \| ){model}\b", line)]
        shown = "—" if truth.accuracy is None else f"{truth.accuracy:.1f}"
        money = "unknown" if truth.cost is None else f"${truth.cost:.4g}"
        sums = [row for row in rows if shown in cells(row)]
        assert len(sums) >= 2, (model, rows)
        if truth.accuracy is not None:
            assert any(money in row and "2000" in row and "100" in row for row in sums), (model, sums)

    # The page: its table of models and its data.
    page = Path("llm_tester_results/report.html").read_text()
    index = json.loads(re.findall(r'id="report-index">(.*?)</script>', page, re.DOTALL)[0])
    for column in index["columns"]:
        truth = TRUTHS[column["model"]]
        assert column["accuracy"] == pytest.approx(truth.accuracy), column
        per_case = None if truth.cost is None or truth.accuracy is None else truth.cost / 2
        assert column["cost"] == pytest.approx(per_case), column


def test_a_replay_says_the_same_and_costs_nothing(project: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replayed, accuracy, tokens, cost and seconds are those of the recording; failures were not recorded."""
    live, _ = run()
    before = len(project.requests)
    monkeypatch.setenv("CI", "true")
    again, output = run()
    assert len(project.requests) == before
    for one, other in zip(live.results, again.results, strict=True):
        if one.usage is None:
            assert other.status == "skipped"
            continue
        assert other.accuracy == one.accuracy
        assert other.usage is not None
        assert other.usage.total_cost == one.usage.total_cost
        assert other.usage.elapsed_seconds == pytest.approx(one.usage.elapsed_seconds, abs=0.001)
    assert (again.spent_usd, again.at_most_usd, again.unanswered) == (0.0, 0.0, 0)
    assert "spent: $0" in output


def test_what_never_connected_costs_nothing(project: StandIn, write_config: Callable[..., Path]) -> None:
    """A closed port, a name that does not resolve and a key that is no header: nothing is spent, nor may have been."""
    base = {"provider_type": "openai", "max_attempts": 1}
    write_config(
        {
            "closed": {**base, "api_base": "http://127.0.0.1:9/v1", "models": [{"name": "m", **PRICE}]},
            "nowhere": {**base, "api_base": "http://no-such-host.invalid/v1", "models": [{"name": "m", **PRICE}]},
        }
    )
    CliRunner().invoke(main, ["run", "--record", "once"], catch_exceptions=False)
    results = RunResult.load("llm_tester_results/results.json")
    assert {result.status for result in results.results} == {"failed"}
    assert (results.spent_usd, results.at_most_usd, results.unanswered) == (0.0, 0.0, 0)
