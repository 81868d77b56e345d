"""Every number that a run prints or writes is true: eight models whose figures are known, live and replayed."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numbers_server as truth
import pytest
import yaml
from click.testing import CliRunner
from console import run_script
from numbers_server import AT_MOST, CASES, MODELS, SPENT, UNKNOWN, Answer, answers, model_of
from report_pages import embedded, without_data
from standins import StandIn

from llm_tester.__main__ import main
from llm_tester.llms.llm_registry import reset_provider_cache

# A machine with other work to do may take this long to pass a reply on; importing LiteLLM alone takes longer.
SLACK = 2.0
ANSWERED = [(name, case) for name in MODELS for case in answers(name)]
# Three replies have no known cost, so no sum can be called the most.
MAY_HAVE_BEEN_BILLED = "up to $0.0100 more if the 2 calls without a reply were billed"
KINDS = ("right", "wrong", "missing", "extra")
REACHED = [name for name in MODELS if answers(name)]


class Outputs(NamedTuple):
    """What one run printed and wrote."""

    live: bool
    code: int
    text: str
    results: dict[str, Any]
    page: str
    markdown: str
    costs: list[dict[str, Any]]
    costs_page: str
    junit: ElementTree.Element

    def result(self, name: str, case: str) -> dict[str, Any]:
        """The result of a model and a case in results.json."""
        [found] = [item for item in self.results["results"] if (item["provider"], item["name"]) == (name, case)]
        return found

    @property
    def counts(self) -> dict[str, int]:
        """How many results of each status there are to be."""
        return truth.COUNTS if self.live else truth.COUNTS | {"failed": 0, "skipped": 3}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One live run that records, one that replays it, and the server's journal."""
    root = tmp_path_factory.mktemp("numbers")
    with pytest.MonkeyPatch.context() as patch, StandIn(truth.script()) as server:
        patch.chdir(root)
        # This comes before the fixture that cleans the environment of each test.
        for name in ("CI", "COLUMNS", "LLM_TESTER_CONFIG"):
            patch.delenv(name, raising=False)
        truth.write_project(root, server.url)
        live = one_run(root, "live")
        sent = list(server.requests)
        patch.setenv("CI", "true")
        replayed = one_run(root, "replayed")
        yield {"live": live, "replayed": replayed, "sent": sent, "after": len(server.requests), "root": root}


def one_run(root: Path, name: str) -> Outputs:
    reset_provider_cache()
    arguments = ["run", "--concurrency", "8", "--output", name, "--junit", f"{name}.xml"]
    outcome = CliRunner().invoke(main, arguments, catch_exceptions=False)
    folder = root / name
    return Outputs(
        live=name == "live",
        code=outcome.exit_code,
        text=outcome.output,
        results=json.loads((folder / "results.json").read_text()),
        page=(folder / "report.html").read_text(),
        markdown=(folder / "report.md").read_text(),
        costs=json.loads((folder / "costs.json").read_text())["rows"],
        costs_page=(folder / "costs.md").read_text(),
        junit=ElementTree.fromstring((root / f"{name}.xml").read_text()),
    )


@pytest.fixture(params=["live", "replayed"])
def run(runs: dict[str, Any], request: pytest.FixtureRequest) -> Outputs:
    return runs[request.param]


def usd(amount: float | None) -> str:
    """An amount as a person reads it: four decimals from a cent on, four digits below."""
    if amount is None:
        return "unknown"
    if not amount:
        return "$0"
    return f"${amount:.4f}" if amount >= 0.01 else f"${amount:.10f}".rstrip("0")


def about(cost: float | None) -> Any:
    """The same cost up to a billionth of a dollar."""
    return None if cost is None else pytest.approx(cost, abs=1e-9)


def points(accuracy: float | None) -> str:
    return "—" if accuracy is None else f"{accuracy:.1f}"


def spent_words(live: bool) -> str:
    """What was taken from accounts, in words; three of the live replies have no known cost."""
    return "at least $0.0279" if live else "$0"


def sum_of(name: str) -> str:
    return usd(MODELS[name].cost)


# Reading what people read


def printed_table(text: str, first: str, after: str = "") -> list[dict[str, str]]:
    """The rows of a table in a terminal, by the names of its columns."""
    lines = iter(text.partition(after)[2].splitlines() if after else text.splitlines())
    head = next(re.split(r"\s{2,}", line.strip()) for line in lines if line.strip().startswith(first))
    rows = []
    for line in lines:
        if "─" in line:
            continue
        cells = re.split(r"\s{2,}", line.strip())
        if len(cells) != len(head):
            break
        rows.append(dict(zip(head, cells, strict=True)))
    return rows


def markdown_table(text: str, first: str) -> list[dict[str, str]]:
    """The rows of a table in Markdown, by the names of its columns."""
    lines = iter(text.splitlines())
    head = next(cells_of(line) for line in lines if line.startswith(f"| {first} |"))
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(head, cells_of(line), strict=True)))
    return rows


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


class Cells(HTMLParser):
    """The visible text of the cells of a page's tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.open = True

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data.strip()}".strip()


def model_row(page: str, name: str) -> list[str]:
    """A model's row in the first table of the HTML report."""
    rows = Cells(without_data(page)).rows
    return next(row for row in rows if name in row[0].split() and len(row) > 5)


def seconds_in(text: str) -> float:
    return float(text.partition(" ")[0])


def assert_seconds(seconds: float, name: str, calls: int = 1) -> None:
    """Not below what the server took, which a rounded figure may be by a hundredth, and not far above it."""
    delay = MODELS[name].delay * calls
    assert delay - 0.01 <= seconds < delay + SLACK * calls


# The server


def test_the_server_saw_each_request_once_and_none_of_a_replay(runs: dict[str, Any]) -> None:
    assert len(runs["sent"]) == runs["after"] == truth.REQUESTS


def test_a_run_with_failed_or_missing_calls_exits_with_1(run: Outputs) -> None:
    assert run.code == 1


# results.json


@pytest.mark.parametrize("name", REACHED)
def test_a_result_has_the_tokens_the_cost_and_the_accuracy(run: Outputs, name: str) -> None:
    for case, answer in answers(name).items():
        result = run.result(name, case)
        usage = result["usage"]
        assert (result["status"], result["reply"]) == (answer.status, answer.text)
        assert result["accuracy"] == pytest.approx(answer.accuracy, abs=1e-3)
        names = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
        assert tuple(usage[key] for key in names) == answer.tokens
        assert usage["total_cost"] == about(answer.cost)
        assert usage["attempts"] == (answer.attempts if run.live else 1)
        assert usage["replayed"] is not run.live
        assert result["failed_cost"] == 0
        assert_seconds(usage["elapsed_seconds"], name)


@pytest.mark.parametrize("name", REACHED)
def test_the_leaves_of_a_result_explain_its_accuracy(run: Outputs, name: str) -> None:
    for case, answer in answers(name).items():
        if answer.counts is None:
            continue
        fields = run.result(name, case)["fields"]
        kinds = [kind_of(field) for field in fields]
        assert tuple(kinds.count(kind) for kind in KINDS) == answer.counts
        assert [field["weight"] for field in fields] == pytest.approx([1 / len(fields)] * len(fields), abs=1e-6)


def kind_of(field: dict[str, Any]) -> str:
    if field["score"] == 1:
        return "right"
    return "extra" if field["expected"] is None else "missing" if field["actual"] is None else "wrong"


@pytest.mark.parametrize("name", ["exact", "billed", "unpriced"])
def test_a_cost_names_its_source(run: Outputs, name: str) -> None:
    source = {"exact": "config", "billed": "provider", "unpriced": None}[name]
    assert {run.result(name, case)["usage"]["cost_source"] for case in CASES} == {source}


@pytest.mark.parametrize("case", CASES)
def test_a_failure_says_what_it_was_and_what_it_may_have_cost(runs: dict[str, Any], case: str) -> None:
    failure, result = MODELS["down"].cases[case], runs["live"].result("down", case)
    assert not isinstance(failure, Answer)
    assert (result["status"], result["error"], result["accuracy"]) == ("failed", failure.error, None)
    assert result["failed_cost"] == pytest.approx(failure.at_most)
    named = [item for item in runs["sent"] if item.body["model"] == model_of("down")]
    asked = [item for item in named if truth.EXPECTED[case]["name"] in json.dumps(item.body)]
    assert len(asked) == failure.requests


@pytest.mark.parametrize("case", CASES)
def test_a_failure_is_not_recorded_and_a_replay_says_that_nothing_is(runs: dict[str, Any], case: str) -> None:
    assert not [*(runs["root"] / "cassettes").glob("**/down/*.yaml")]
    result = runs["replayed"].result("down", case)
    assert (result["status"], result["accuracy"], result["failed_cost"]) == ("skipped", None, 0)


def test_a_recording_says_how_many_attempts_it_took(runs: dict[str, Any]) -> None:
    [recording] = (runs["root"] / "cassettes/products/lamp/flaky").glob("*.yaml")
    [interaction] = yaml.safe_load(recording.read_text())["interactions"]
    assert interaction["recorded"]["attempts"] == 3


def test_a_replay_reports_the_seconds_of_the_original(runs: dict[str, Any]) -> None:
    for name, case in ANSWERED:
        seconds = [runs[kind].result(name, case)["usage"]["elapsed_seconds"] for kind in ("live", "replayed")]
        assert seconds[0] == pytest.approx(seconds[1], abs=0.002)


def test_the_results_sum_up_what_was_spent(run: Outputs) -> None:
    assert run.results["spent_usd"] == pytest.approx(SPENT if run.live else 0.0, abs=1e-9)
    assert run.results["spent_unknown"] == (UNKNOWN if run.live else 0)
    assert run.results["unanswered"] == (2 if run.live else 0)
    assert sum(result["failed_cost"] for result in run.results["results"]) == about(AT_MOST if run.live else 0.0)
    assert run.results["at_most_usd"] == about(SPENT + AT_MOST if run.live else 0.0)
    statuses = [result["status"] for result in run.results["results"]]
    assert {status: statuses.count(status) for status in run.counts} == run.counts


# The terminal


@pytest.mark.parametrize("name", MODELS)
def test_the_terminal_sums_up_a_model(run: Outputs, name: str) -> None:
    rows = {row["provider and model"]: row for row in printed_table(run.text, "#", "all together")}
    row, model = rows[f"{name}:{model_of(name)}"], MODELS[name]
    assert row["accuracy"] == points(model.accuracy)
    assert (int(row["in"]), int(row["out"])) == model.tokens
    assert row["cost"] == sum_of(name)
    assert_sums(run, name, row)


def assert_sums(run: Outputs, name: str, row: dict[str, str]) -> None:
    """The counts and the seconds of a model's row."""
    lost = len(CASES) - len(answers(name))
    invalid = sum(answer.status == "invalid" for answer in answers(name).values())
    expected = (invalid, lost if run.live else 0, 0 if run.live else lost)
    # The terminal has no column for what never occurred.
    words = ("inval", "invalid"), ("fail", "failed"), ("skip", "skipped")
    assert tuple(int(row.get(short, row.get(long, 0))) for short, long in words) == expected
    assert_seconds(float(row["seconds"]), name, len(answers(name)) or 1)


def number_of(text: str, name: str) -> str:
    """The number that the terminal gives to a model."""
    return re.search(rf"^(\d) +{name}:{model_of(name)} \(", text, re.MULTILINE)[1]


@pytest.mark.parametrize("name", REACHED)
def test_the_terminal_shows_each_case(run: Outputs, name: str) -> None:
    rows = {row["case"]: row for row in printed_table(run.text, "case")}
    for case, answer in answers(name).items():
        shown = points(answer.accuracy).removesuffix(".0") if answer.status == "ok" else "inval"
        assert rows[f"products/{case}"][number_of(run.text, name)] == shown


def test_eight_models_fit_eighty_columns_and_no_name_is_cut(runs: dict[str, Any]) -> None:
    done = run_script("llm-tester", "run", "--output", "narrow", cwd=runs["root"], COLUMNS="80", CI="true")
    tables = done.stdout.partition("models, best first")[2]
    rest = tables.partition("all together")[2].partition("spent:")[0]
    shown = [*tables.partition("products/chair, ")[0].splitlines(), *rest.splitlines()]
    assert max(map(len, shown)) <= 80
    assert printed_table(tables, "case")[0].keys() == {"case", *"12345678"}
    assert len(printed_table(rest, "#")) == len(MODELS)
    for name in REACHED:
        assert number_of(done.stdout, name)


def test_the_terminal_says_what_was_spent_and_what_may_have_been(run: Outputs) -> None:
    [line] = [line for line in run.text.splitlines() if line.startswith("spent:")]
    assert_spent(line, run.live)


def assert_spent(text: str, live: bool) -> None:
    """The known sum, and next to it the sum that may have been billed."""
    assert spent_words(live) in text
    assert (MAY_HAVE_BEEN_BILLED in text) is live


# The HTML report


@pytest.mark.parametrize("name", MODELS)
def test_the_data_of_the_page_has_the_sums_of_a_model(run: Outputs, name: str) -> None:
    [column] = [item for item in embedded(run.page, "report-index")["columns"] if item["provider"] == name]
    model, answered = MODELS[name], len(answers(name))
    assert column["accuracy"] == (None if model.accuracy is None else pytest.approx(model.accuracy, abs=1e-3))
    assert column["answered"] == answered
    assert column["known"] == (0 if model.cost is None else answered)
    known = model.cost is not None and answered
    assert column["cost"] == (pytest.approx(model.cost / answered) if known else None)


@pytest.mark.parametrize("name", MODELS)
def test_the_data_of_the_page_has_each_result(run: Outputs, name: str) -> None:
    index = embedded(run.page, "report-index")
    [number] = [place for place, column in enumerate(index["columns"]) if column["provider"] == name]
    results = [item for item in index["results"] if item[1] == number]
    found = {index["rows"][row][1]: (status, score) for row, _, _, status, score in results}
    assert set(found) == set(CASES)
    for case, answer in answers(name).items():
        assert index["statuses"][found[case][0]] == answer.status
        assert found[case][1] == pytest.approx(answer.accuracy, abs=1e-3)


@pytest.mark.parametrize("name", REACHED)
def test_the_data_of_the_page_has_the_facts_of_a_result(run: Outputs, name: str) -> None:
    details = embedded(run.page, "report-details")
    texts = details["texts"]
    places = [(item["provider"], item["name"]) for item in run.results["results"]]
    for case, answer in answers(name).items():
        facts = {texts[key]: texts[value] for key, value in details["results"][places.index((name, case))]["facts"]}
        prompt, completion, cached, reasoning = answer.tokens
        assert facts["input tokens"] == f"{prompt:,}" + (f" ({cached} read from cache)" if cached else "")
        assert facts["output tokens"] == f"{completion}" + (f" ({reasoning} reasoning)" if reasoning else "")
        assert facts["cost"].startswith(usd(answer.cost))
        assert facts["attempts"] == str(answer.attempts if run.live else 1)
        assert_seconds(seconds_in(facts["seconds"]), name)


@pytest.mark.parametrize("name", REACHED)
def test_the_page_shows_the_averages_of_a_model(run: Outputs, name: str) -> None:
    model, row = MODELS[name], model_row(run.page, name)
    calls = len(answers(name))
    invalid = sum(answer.status == "invalid" for answer in answers(name).values())
    assert row[1] == points(model.accuracy).removesuffix(".0")
    if model.cost is None:
        assert row[2] == "unknown"
    else:
        assert row[2].split()[-1] == usd(model.cost)
        assert float(row[2].split()[0].removeprefix("$")) == pytest.approx(model.cost / calls, rel=1e-3)
    assert_seconds(float(row[3]) * calls, name, calls)
    assert row[4] == " / ".join(f"{round(tokens / calls):,}" for tokens in model.tokens)
    assert row[5:9] == [str(calls - invalid), str(invalid), "0", "0"]


def test_the_page_shows_the_model_that_gave_no_reply(run: Outputs) -> None:
    row = model_row(run.page, "down")
    assert row[1].split()[0] == "—"
    assert row[2:5] == ["—", "—", "— / —"]
    assert row[5:9] == ["0", "0", *(["3", "0"] if run.live else ["0", "3"])]


def test_the_page_shows_the_sums_of_the_run(run: Outputs) -> None:
    seen = " ".join(re.sub(r"<[^>]+>", " ", without_data(run.page)).split())
    for status, count in run.counts.items():
        assert f"{count} {status}" in seen
    assert "Cost of all replies at least $0.0279" in seen
    assert f"no known price for {UNKNOWN} of 21 replies" in seen
    assert_spent(seen.partition("Spent by this run")[2].partition("Where the replies came from")[0], run.live)


# Markdown


@pytest.mark.parametrize("name", MODELS)
def test_the_markdown_sums_up_a_model(run: Outputs, name: str) -> None:
    [row] = [row for row in markdown_table(run.markdown, "provider") if row["provider"] == name]
    model = MODELS[name]
    assert (row["model"], row["accuracy"]) == (model_of(name), points(model.accuracy))
    assert (int(row["in"]), int(row["out"])) == model.tokens
    assert row["cost"] == sum_of(name)
    assert_sums(run, name, row)


@pytest.mark.parametrize("name", REACHED)
def test_the_markdown_shows_each_case(run: Outputs, name: str) -> None:
    rows = {row["case"]: row for row in markdown_table(run.markdown, "case") if row["provider"] == name}
    for case, answer in answers(name).items():
        row = rows[f"products/{case}"]
        assert (row["accuracy"], row["status"]) == (points(answer.accuracy), answer.status)
        assert (int(row["in"]), int(row["out"]), row["cost"]) == (*answer.tokens[:2], usd(answer.cost))
        assert_seconds(float(row["seconds"]), name)


def test_the_markdown_says_what_was_spent_and_what_may_have_been(run: Outputs) -> None:
    [line] = [line for line in run.markdown.splitlines() if line.startswith("Spent:")]
    assert_spent(line, run.live)


# The costs


@pytest.mark.parametrize("name", REACHED)
def test_the_costs_have_a_row_for_each_call(run: Outputs, name: str) -> None:
    rows = {row["case"]: row for row in run.costs if row["provider"] == name}
    for case, answer in answers(name).items():
        row = rows[case]
        counts = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
        assert tuple(row[key] for key in counts) == answer.tokens
        assert (row["calls"], row["replayed"], row["model"]) == (1, 0 if run.live else 1, model_of(name))
        assert row["cost_usd"] == about(answer.cost or 0.0)
        assert row["spent_usd"] == about((answer.cost or 0.0) if run.live else 0.0)
        assert row["unknown"] == (answer.cost is None)
        assert_seconds(row["seconds"], name)


def test_the_costs_add_up_to_what_the_results_say(run: Outputs) -> None:
    sums = {key: sum(row[key] for row in run.costs) for key in ("spent_usd", "maybe_usd", "cost_usd", "unanswered")}
    assert sums["spent_usd"] == about(run.results["spent_usd"])
    assert sums["spent_usd"] + sums["maybe_usd"] == about(run.results["at_most_usd"])
    assert (sums["maybe_usd"], sums["cost_usd"]) == (about(AT_MOST if run.live else 0.0), about(SPENT))
    assert sums["unanswered"] == run.results["unanswered"]


@pytest.mark.parametrize("name", REACHED)
def test_the_page_of_the_costs_sums_up_a_model(run: Outputs, name: str) -> None:
    [row] = [row for row in markdown_table(run.costs_page, "provider") if row["provider"] == name]
    assert (int(row["tokens in"]), int(row["tokens out"])) == MODELS[name].tokens
    assert row["cost (USD)"] == sum_of(name)
    assert row["spent (USD)"] == (sum_of(name) if run.live else "$0")
    assert_seconds(float(row["seconds"]), name, len(answers(name)))


def test_the_page_of_the_costs_sums_up_the_run(run: Outputs) -> None:
    [row] = [row for row in markdown_table(run.costs_page, "provider") if row["provider"] == "**total**"]
    assert row["cost (USD)"] == "at least $0.0279"
    maybe = f", and {MAY_HAVE_BEEN_BILLED}" if run.live else ""
    assert row["spent (USD)"] == spent_words(run.live) + maybe


# JUnit


@pytest.mark.parametrize("name", MODELS)
def test_junit_has_an_error_for_each_call_without_a_reply(run: Outputs, name: str) -> None:
    [suite] = [suite for suite in run.junit if suite.get("name") == f"{name}:{model_of(name)}"]
    assert suite.get("tests") == "3"
    assert suite.get("errors") == str(3 - len(answers(name)))
    times = {case.get("name"): float(case.get("time", "-1")) for case in suite}
    for case in answers(name):
        assert_seconds(times[f"products/{case}"], name)


# Without a connection


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_what_never_connected_costs_nothing(tmp_path: Path, address: str) -> None:
    """A closed port and a name that does not resolve: nothing is spent, nor may have been."""
    truth.write_project(tmp_path, address)
    result = CliRunner().invoke(main, ["run", "-p", "exact"], catch_exceptions=False)
    found = json.loads((tmp_path / "llm_tester_results/results.json").read_text())
    assert {item["status"] for item in found["results"]} == {"failed"}
    assert (found["spent_usd"], found["at_most_usd"], found["unanswered"]) == (0, 0, 0)
    assert "spent: $0\n" in result.output
