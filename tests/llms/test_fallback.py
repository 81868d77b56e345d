"""Fallbacks: who is asked after whom, what both cost, and how it is replayed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_cases import LAMP, light_entry, write_case
from standins import Fault, StandIn

from llm_tester import BaseLLM, LLMTester, RunResult, UsageData
from llm_tester.errors import BudgetError, ConfigError, ProviderError, RateLimitError, ServerError
from llm_tester.estimate import estimate
from llm_tester.llms.budget import Budget, spending
from llm_tester.llms.llm_registry import get_llm_provider
from llm_tester.llms.provider_factory import register_provider_class
from llm_tester.reports import html, markdown
from llm_tester.runs.baseline import compare_runs
from llm_tester.runs.kept import is_keepable
from llm_tester.runs.summary import summarize
from llm_tester.testing import faults
from llm_tester.utils.provider_manager import ProviderManager

Write = Callable[..., Path]
Start = Callable[..., StandIn]


class Setup:
    """The providers `one`, `two` and `three`, each with a server of its own; `one` has the fallback."""

    def __init__(self, directory: Path, write_config: Write, standin: Start) -> None:
        self.directory, self._write = directory, write_config
        self.servers = {name: standin(json.dumps(LAMP)) for name in ("one", "two", "three")}

    def entries(self, fallback: Any, **more: Any) -> None:
        entries = {name: light_entry(server, self.directory) for name, server in self.servers.items()}
        for entry in entries.values():
            entry["max_attempts"] = 1
        entries["one"] |= {"fallback": fallback, **more}
        self._write(entries)

    def change(self, name: str, **fields: Any) -> None:
        entries = json.loads((self.directory / "config.json").read_text())["providers"]
        entries[name] |= fields
        self._write(entries)

    def fail(self, name: str, *failures: Fault) -> None:
        self.servers[name].faults.extend(failures)

    def asked(self) -> dict[str, int]:
        return {name: len(server.requests) for name, server in self.servers.items()}

    def ask(self) -> tuple[str, UsageData]:
        reply, usage = ProviderManager(["one"]).get_response("one", "Extract.", "A lamp.")
        assert usage is not None
        return reply, usage

    def run(self, record: str, **options: Any) -> RunResult:
        return LLMTester(["one"], self.directory / "cases").run_tests(record=record, **options)


@pytest.fixture
def setup(tmp_path: Path, write_config: Write, standin: Start) -> Setup:
    write_case(tmp_path / "cases")
    return Setup(tmp_path, write_config, standin)


def provider_of(name: str) -> BaseLLM:
    provider = get_llm_provider(name)
    assert provider is not None
    return provider


def worst_of(name: str) -> float:
    worst = provider_of(name).limits("Extract.", "A lamp.").worst_usd
    assert worst
    return worst


@pytest.mark.parametrize(
    ("status", "error"), [(429, "RateLimitError"), (500, "ServerError"), (408, "TimeoutError")], ids=str
)
def test_the_fallback_answers_and_the_usage_says_who_did_not(setup: Setup, status: int, error: str) -> None:
    setup.entries(["two", "three"])
    setup.fail("one", Fault(status=status))
    reply, usage = setup.ask()
    assert json.loads(reply) == LAMP
    assert (usage.provider, usage.model, usage.attempts) == ("two", "small", 2)
    assert setup.asked() == {"one": 1, "two": 1, "three": 0}
    [note] = usage.notes
    assert note.startswith(f"one:small did not answer ({error})")
    # A refusal costs nothing; it takes time.
    assert (usage.unanswered, usage.failed_cost) == (0, 0.0)
    assert usage.failed_seconds > 0


def test_a_call_of_the_provider_itself_does_not_fall_back(setup: Setup) -> None:
    setup.entries(["two"])
    setup.fail("one", Fault(status=500))
    with pytest.raises(ServerError):
        provider_of("one").get_response("Extract.", "A lamp.")
    assert setup.asked() == {"one": 1, "two": 0, "three": 0}


def test_the_class_of_the_error_chooses_who_is_asked(setup: Setup) -> None:
    """By default a 400 is the request's own fault, and no one else is asked. An entry may say otherwise."""
    setup.entries(["two"])
    setup.fail("one", Fault(status=400))
    with pytest.raises(ProviderError, match="one") as refused:
        setup.ask()
    assert refused.value.attempts == 1
    assert "did not answer" not in str(refused.value)
    setup.entries([{"to": "two", "on": ["ServerError"]}, {"to": "three:small", "on": ["ProviderError"]}])
    setup.fail("one", Fault(status=400))
    assert setup.ask()[1].provider == "three"
    assert setup.asked() == {"one": 2, "two": 0, "three": 1}


def test_if_all_fail_the_last_error_names_all_and_has_their_costs(setup: Setup) -> None:
    """What broke after it was sent may have been billed, at the rates of each."""
    setup.entries(["two", "three"])
    setup.fail("one", Fault(reset=True))
    setup.fail("two", Fault(reset=True))
    setup.fail("three", Fault(status=429))
    budget = Budget(1.0)
    with spending(budget), pytest.raises(RateLimitError, match=r"(?s)one:small.*two:small.*three:small") as caught:
        setup.ask()
    error = caught.value
    assert (error.attempts, error.unanswered, error.provider) == (3, 2, "three")
    assert error.failed_cost == pytest.approx(worst_of("one") + worst_of("two"))
    assert budget.spent_usd == pytest.approx(error.failed_cost)


def test_a_budget_that_forbids_the_fallback_leaves_the_failure(setup: Setup) -> None:
    setup.entries(["two"])
    setup.fail("one", Fault(reset=True))
    with spending(Budget(worst_of("one") * 1.5)), pytest.raises(ProviderError, match=r"one:small.*budget") as caught:
        setup.ask()
    assert not isinstance(caught.value, BudgetError)
    assert (caught.value.attempts, caught.value.unanswered, setup.asked()["two"]) == (1, 1, 0)


def test_classes_that_override_get_response_can_fall_back_and_be_fallen_back_to(setup: Setup) -> None:
    class Own(BaseLLM):
        def _call_llm_api(self, prompt: str, system_prompt: str, model_name: str, model_config: Any) -> Any:
            raise NotImplementedError

        def get_response(self, prompt: str, source: str, model_name: str | None = None) -> Any:  # type: ignore[override]
            if self.config.name == "one":
                raise OSError("the cable is loose")
            return "from two", UsageData(prompt_tokens=1, completion_tokens=1)

    setup.entries([{"to": "two", "on": ["ProviderError"]}])
    register_provider_class("one", Own)
    register_provider_class("two", Own)
    reply, usage = setup.ask()
    assert (reply, usage.provider, usage.attempts) == ("from two", "two", 2)
    assert "the cable is loose" in usage.notes[0]


def test_a_run_counts_both_and_shows_that_a_reply_is_not_the_models_own(setup: Setup) -> None:
    """The results, the costs, the tables and a comparison."""
    setup.entries(["two"])
    setup.change("two", structured_output="off")
    before = setup.run("off")
    setup.fail("one", Fault(reset=True))
    tester = LLMTester(["one"], setup.directory / "cases")
    run = tester.run_tests(record="off")
    [result] = run.results
    assert (result.provider, result.fallback, result.accuracy) == ("one", "two:small", 100.0)
    assert result.schema_mode == "off"
    assert result.usage is not None
    assert result.usage.total_cost
    assert result.usage.failed_cost
    [row] = tester.costs.report().rows
    assert (row.provider, row.calls, row.unanswered) == ("two", 1, 1)
    assert run.at_most_usd == pytest.approx(result.usage.total_cost + result.usage.failed_cost)
    [column] = summarize(run).columns
    assert (column.column, column.fallbacks) == ("one:small", 1)
    assert "1 of 1 replies by fallbacks" in markdown.render(run)
    assert "1 of 1 replies by fallbacks" in html.render(run)
    assert "replies by fallbacks 0 of 1 → 1 of 1" in compare_runs(before, run).models[0].line()


def test_a_replay_has_the_same_answers_from_the_same_providers_without_any_key(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first repeat was the fallback's and the second the model's own; nothing is sent, and nothing is kept."""
    own = {"env_key": "ONE_API_KEY", "origin": "stand-in: one"}
    setup.entries(["two"], **own)
    monkeypatch.setenv("ONE_API_KEY", "-".join(["a", "key"]))
    setup.fail("one", Fault(status=500))
    recorded = setup.run("once", repeats=2)
    assert [result.fallback for result in recorded.results] == ["two:small", None]
    monkeypatch.delenv("ONE_API_KEY")
    asked = setup.asked()
    for record in ("none", "auto"):
        replay = setup.run(record, repeats=2)
        usages = [result.usage for result in replay.results if result.usage]
        assert [(usage.provider, usage.replayed) for usage in usages] == [("two", True), ("one", True)]
        assert [result.reply for result in replay.results] == [result.reply for result in recorded.results]
        assert usages[0].notes == ("one:small did not answer when this was recorded",)
        origins = [setup.servers["two"].url.removeprefix("http://"), "stand-in: one"]
        assert [usage.origin for usage in usages] == origins
    assert setup.asked() == asked
    # Without the fallback, the recording is not the model's.
    setup.entries([], **own)
    assert [result.error for result in setup.run("none", repeats=2).results] == [None, "CassetteMismatch"]


def test_what_the_fallback_ignores_is_not_recorded(setup: Setup) -> None:
    setup.entries(["two"])
    setup.change("two", ignore=["$.messages[0].content"])
    setup.fail("one", Fault(status=500))
    setup.run("once")
    [path] = (setup.directory / "cassettes").rglob("*.yaml")
    assert "Extract the product" not in path.read_text()


def test_replies_of_an_entry_with_fallbacks_are_not_kept(setup: Setup) -> None:
    setup.entries(["two"], provider_type="openai")
    setup.change("two", provider_type="openai")
    assert [is_keepable(provider_of(name)) for name in ("one", "two")] == [False, True]


def test_the_most_that_a_call_can_cost_is_that_of_the_dearest(setup: Setup) -> None:
    setup.entries(["two"])
    [alone] = estimate(LLMTester(["one"], setup.directory / "cases"), record="off")
    dear = {"name": "dear", "cost_input": 20, "cost_output": 80, "max_output_tokens": 100}
    setup.change("two", models=[dear])
    [both] = estimate(LLMTester(["one"], setup.directory / "cases"), record="off")
    assert alone.worst_usd
    assert both.worst_usd == pytest.approx(10 * alone.worst_usd)
    assert both.cost_usd == alone.cost_usd


def test_an_injected_fault_meets_the_first_one_in_a_replay_too(setup: Setup) -> None:
    setup.entries(["two"])
    for record in ("once", "none"):
        with faults.rate_limit(times=1):
            [result] = setup.run(record).results
        assert (result.fallback, result.status) == ("two:small", "ok")
        assert result.usage is not None
        assert result.usage.attempts == 2
    assert setup.asked() == {"one": 0, "two": 1, "three": 0}


@pytest.mark.parametrize(
    ("fallback", "message"),
    [
        (["one"], r"providers\.one: fallback: 'one' is this entry itself"),
        (["tow"], r"one: fallback: there is no provider 'tow'.*did you mean 'two'"),
        (["two:smal"], r"one: fallback: .*'smal' is unknown.*'small'"),
        (
            [{"to": "two", "on": ["RateLimit"]}],
            r"fallback\[0\]\.on\[0\]: found 'RateLimit'.*did you mean 'RateLimitError",
        ),
        ([{"to": "two", "when": []}], r"fallback\[0\]\.when: an unknown field; known are to, on"),
        ([{"to": "two", "on": []}], r"fallback\[0\]\.on"),
    ],
    ids=["itself", "no provider", "no model", "no error", "no field", "never"],
)
def test_a_fallback_that_cannot_be_used_is_named_before_anything_is_sent(
    setup: Setup, fallback: Any, message: str
) -> None:
    setup.entries(fallback)
    with pytest.raises(ConfigError, match=message):
        setup.ask()
    assert setup.asked()["one"] == 0


def test_entries_that_name_each_other_end(setup: Setup) -> None:
    """Only the list of the entry that is asked counts."""
    setup.entries(["two", "one:small"])
    setup.change("two", fallback=["one"])
    for name in ("one", "two"):
        setup.fail(name, Fault(status=429))
    with pytest.raises(RateLimitError):
        setup.ask()
    assert setup.asked() == {"one": 1, "two": 1, "three": 0}


def test_what_is_not_called_over_http_names_nothing_that_is(setup: Setup) -> None:
    """Under CI, the record mode is what keeps calls from being made, and such an entry has none."""
    setup.entries(["two"], provider_type="mock")
    with pytest.raises(ConfigError, match="'two' is called over HTTP"):
        setup.ask()
