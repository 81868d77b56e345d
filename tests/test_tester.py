"""Cases in, results out: what is run, what becomes of what fails, what is saved."""

import contextlib
import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_cases import LAMP, MODEL, openai_entry, write_case
from standins import Fault, StandIn

from llm_tester import LLMTester, RunResult, register_mock_response
from llm_tester.errors import BudgetError, CaseError, CassetteError, ConfigError, ResultsError
from llm_tester.runs.results import CaseResult
from llm_tester.runs.summary import summarize
from llm_tester.utils.cost_manager import CostReport

Write = Callable[..., Path]


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    write_case(tmp_path / "cases")
    return tmp_path / "cases"


def test_a_right_reply_scores_100_and_a_wrong_field_is_named(cases: Path) -> None:
    register_mock_response("*", {"name": "Aurora Lamp", "price": 40})
    tester = LLMTester(["mock"], cases)
    [case] = tester.discover_test_cases()
    wrong = tester.run_test(case, "mock")
    assert (wrong.status, wrong.accuracy) == ("ok", 50.0)
    assert {field.path: field.score for field in wrong.fields} == {"name": 1.0, "price": 0.0}
    register_mock_response("*", LAMP)
    assert tester.run_test(case, "mock").accuracy == 100.0


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "empty"),
        ("I cannot do that.", "no JSON"),
        ('{"name": "Aurora', "cut"),
        ("[1, 2]", "list"),
        ('{"name": "Aurora Lamp"}', "price"),
        ('{"name": "Aurora Lamp", "price": "cheap"}', "price"),
        ("word { more. " * 400_000, "no JSON"),
    ],
    ids=["empty", "prose", "cut", "list", "missing field", "wrong type", "5 MB"],
)
def test_an_invalid_reply_scores_0(reply: str, problem: str, cases: Path) -> None:
    register_mock_response("*", reply)
    tester = LLMTester(["mock"], cases)
    [result] = tester.run_tests().results
    assert (result.status, result.accuracy) == ("invalid", 0.0)
    assert problem in str(result.problem)
    assert result.usage is not None


def test_a_failed_call_is_a_result_and_the_run_goes_on(
    tmp_path: Path, cases: Path, write_config: Write, standin: Callable[..., StandIn]
) -> None:
    write_case(cases, name="second")
    server = standin(json.dumps(LAMP), faults=[Fault(status=400)])
    write_config({"x": openai_entry(server)})
    run = LLMTester(["x", "mock"], cases).run_tests(record="once")
    by_place = {(result.provider, result.name): result for result in run.results}
    assert by_place["x", "lamp"].status == "failed"
    assert by_place["x", "lamp"].error == "BadRequestError"
    assert by_place["x", "second"].accuracy == 100.0
    assert len(run.results) == 4
    assert [result.status for result in run.incomplete()] == ["failed"]


def test_by_default_recorded_is_replayed_and_the_rest_called_where_a_key_is_set(
    cases: Path, write_config: Write, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = standin(json.dumps(LAMP))
    write_config({"x": openai_entry(server, env_key="X_API_KEY")})
    [missing] = LLMTester(["x"], cases).run_tests().results
    assert (missing.status, server.requests) == ("skipped", [])
    assert "set X_API_KEY" in str(missing.problem)
    monkeypatch.setenv("X_API_KEY", "a-key-made-up-here")
    monkeypatch.setenv("CI", "true")
    [under_ci] = LLMTester(["x"], cases).run_tests().results
    assert (under_ci.status, server.requests) == ("skipped", [])
    assert "--record once" in str(under_ci.command)
    monkeypatch.delenv("CI")
    [live] = LLMTester(["x"], cases).run_tests().results
    assert (live.status, live.usage.replayed, len(server.requests)) == ("ok", False, 1)
    monkeypatch.delenv("X_API_KEY")
    monkeypatch.setenv("CI", "true")
    run = LLMTester(["x"], cases).run_tests()
    [replayed] = run.results
    assert (replayed.usage.replayed, len(server.requests)) == (True, 1)
    assert replayed.usage.total_cost == live.usage.total_cost
    assert run.spent_usd == 0.0
    assert replayed.age_days is not None
    assert "cassettes/products/lamp/x/small.yaml" in str(replayed.cassette)


def test_repeats_are_interactions_of_their_own(
    cases: Path, write_config: Write, standin: Callable[..., StandIn]
) -> None:
    replies = [json.dumps({**LAMP, "price": price}) for price in (39.9, 40.0, 41.0)]
    server = standin(replies)
    write_config({"x": openai_entry(server)})
    live = LLMTester(["x"], cases).run_tests(repeats=3)
    assert [result.actual["price"] for result in live.results if result.actual] == [39.9, 40.0, 41.0]
    again = LLMTester(["x"], cases).run_tests(repeats=3)
    assert [result.reply for result in again.results] == [result.reply for result in live.results]
    assert len(server.requests) == 3


@pytest.mark.parametrize("record", ["once", "none"])
def test_each_thread_gets_its_own_reply(
    record: str, tmp_path: Path, write_config: Write, standin: Callable[..., StandIn]
) -> None:
    root = tmp_path / "cases"
    for number in range(24):
        expected = {"name": f"Lamp {number}", "price": float(number)}
        write_case(root, name=f"case{number}", sources=f"Number {number}.", expected=json.dumps(expected))

    def answer(body: dict[str, Any]) -> str:
        number = body["messages"][-1]["content"].split("Number ")[1].rstrip(".")
        return json.dumps({"name": f"Lamp {number}", "price": float(number)})

    server = standin(answer)
    write_config({"x": openai_entry(server)})
    run = LLMTester(["x"], root).run_tests(record="once", concurrency=8)
    if record == "none":
        run = LLMTester(["x"], root).run_tests(record="none", concurrency=8)
    assert [(result.status, result.accuracy) for result in run.results] == [("ok", 100.0)] * 24
    assert len(server.requests) == 24


def test_a_process_pool_can_be_handed_over(cases: Path, write_config: Write) -> None:
    script = {"replies": {"*": LAMP}}
    write_config({"m": {"provider_type": "mock", "models": ["m"], "mock": script}})
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        run = LLMTester(["m"], cases).run_tests(executor=pool)
    assert [result.accuracy for result in run.results] == [100.0]


def test_results_are_saved_and_loaded(tmp_path: Path, cases: Path) -> None:
    run = LLMTester(["mock"], cases).run_tests()
    run.save(tmp_path / "r.json")
    assert RunResult.load(tmp_path / "r.json") == run


def test_a_results_file_that_moves_with_its_cassettes_finds_them(tmp_path: Path) -> None:
    of = {"module": "m", "provider": "x", "model": "y", "status": "ok"}
    recorded = CaseResult(**of, name="a", cassette=str(tmp_path / "here" / "cassettes" / "a.yaml"))
    run = RunResult(run_id="r", results=(recorded, CaseResult(**of, name="b")))
    saved = tmp_path / "here" / "out" / "r.json"
    saved.parent.mkdir(parents=True)
    run.save(saved)
    assert RunResult.load(saved) == run
    assert str(tmp_path) not in saved.read_text()
    moved = (tmp_path / "here").rename(tmp_path / "there")
    assert RunResult.load(moved / "out" / "r.json").results[0].cassette == str(moved / "cassettes" / "a.yaml")


def test_a_results_file_with_whole_paths_is_read(tmp_path: Path) -> None:
    result = CaseResult(module="m", name="a", provider="x", model="y", status="ok", cassette="/there/a.yaml")
    run = RunResult(run_id="r", results=(result,))
    (tmp_path / "r.json").write_text(run.to_json())
    assert RunResult.load(tmp_path / "r.json") == run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON, or cut off"),
        ("[]", "not a results file"),
        ('{"kind": "other"}', "not a results file"),
        ('{"kind": "llm_tester results", "format": 99}', "format 99"),
        ('{"kind": "llm_tester results", "format": 3}', "run_id"),
    ],
)
def test_a_results_file_that_is_not_ours_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(ResultsError, match=message):
        RunResult.load(path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0), cut=st.integers(0, 9), new=st.sampled_from([b"", b"9", b"null", b'"', b"-", b"\xff", b"[{"]))
def test_a_damaged_results_file_is_read_or_refused(at: int, cut: int, new: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    result = CaseResult(module="m", name="n", provider="x", model="y", status="ok", accuracy=50.0, reply="r")
    whole = RunResult(run_id="r", started_at="2026-01-01", results=(result,)).to_json().encode()
    at %= len(whole)
    path.write_bytes(whole[:at] + new + whole[at + cut :])
    with contextlib.suppress(ResultsError):
        RunResult.load(path).to_json()


def test_a_file_of_another_program_is_not_overwritten(tmp_path: Path, cases: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("precious")
    run = LLMTester(["mock"], cases).run_tests()
    with pytest.raises(ResultsError, match="is not a file that llm_tester wrote"):
        run.save(path)
    assert path.read_text() == "precious"


def test_costs_are_kept_by_run_and_saved(
    tmp_path: Path, cases: Path, write_config: Write, standin: Callable[..., StandIn]
) -> None:
    server = standin(json.dumps(LAMP))
    write_config({"x": openai_entry(server)})
    tester = LLMTester(["x"], cases)
    tester.run_tests()
    tester.run_tests()
    report = tester.save_cost_report(tmp_path / "costs.json")
    assert CostReport.load(tmp_path / "costs.json") == report
    assert [row.calls for row in report.by("run_id").values()] == [1, 1]
    once = (100 * 2 + 20 * 8) / 1e6
    assert report.total().cost_usd == pytest.approx(2 * once)
    assert report.total().spent_usd == pytest.approx(once)
    assert "| x | small | 2 | 1 |" in (tmp_path / "costs.md").read_text()


def test_a_budget_ends_the_run_cleanly(cases: Path, write_config: Write, standin: Callable[..., StandIn]) -> None:
    write_case(cases, name="second")
    server = standin(json.dumps(LAMP))
    write_config({"x": openai_entry(server)})
    run = LLMTester(["x"], cases).run_tests(max_cost=0.003)
    assert [result.status for result in run.results] == ["ok", "skipped"]
    assert "the budget of $0.003 does not allow another call" in str(run.results[1].problem)
    assert len(server.requests) == 1


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), True, "1"])
def test_an_unusable_budget_is_refused(limit: Any, cases: Path) -> None:
    with pytest.raises(BudgetError, match="unusable"):
        LLMTester(["mock"], cases).run_tests(max_cost=limit)


def test_an_unknown_price_is_not_called_under_a_budget(
    cases: Path, write_config: Write, standin: Callable[..., StandIn]
) -> None:
    server = standin(json.dumps(LAMP))
    write_config({"x": {**openai_entry(server), "models": ["of-my-own"]}})
    [result] = LLMTester(["x"], cases).run_tests(max_cost=1).results
    assert (result.status, server.requests) == ("skipped", [])
    assert "cost_input" in str(result.problem)
    [free] = LLMTester(["x"], cases).run_tests().results
    assert free.usage.total_cost is None


def test_targets_are_the_chosen_models(cases: Path, write_config: Write) -> None:
    models = ["a", {"name": "b:1", "default": True}, {"name": "c", "enabled": False}]
    write_config({"m": {"provider_type": "mock", "models": models}})
    assert LLMTester(["m"], cases).targets() == [("m", "b:1")]
    assert LLMTester(["m:a", "m", "m:a"], cases).targets() == [("m", "a"), ("m", "b:1")]
    assert LLMTester(["m:*"], cases).targets() == [("m", "a"), ("m", "b:1")]
    assert LLMTester(["m"], cases).targets({"m": "c"}) == [("m", "c")]


def test_an_unknown_model_fails_in_its_own_column(cases: Path, write_config: Write) -> None:
    """A mistyped model is a failed result with the nearest names; the other models run."""
    write_config({"m": {"provider_type": "mock", "models": ["right"], "mock": {"replies": {"*": LAMP}}}})
    wrong, right = LLMTester(["m:rihgt", "m"], cases).run_tests().results
    assert (wrong.status, wrong.error, right.status) == ("failed", "UnknownModelError", "ok")
    assert "did you mean 'right'" in str(wrong.problem)


def test_misuse_raises(cases: Path) -> None:
    tester = LLMTester(["mock"], cases)
    with pytest.raises(ValueError, match="at least 1"):
        tester.run_tests(concurrency=0)
    with pytest.raises(CassetteError, match="record mode 'sometimes'"):
        tester.run_tests(record="sometimes")
    with pytest.raises(ConfigError):
        tester.run_test(tester.discover_test_cases()[0], "nobody")
    with pytest.raises(CaseError, match="has no module 'product'; did you mean 'products'"):
        tester.discover_test_cases(["product"])
    with pytest.raises(CaseError, match="no such directory of cases"):
        LLMTester(["mock"], cases / "nowhere").discover_test_cases()


BAD_CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"sources": None}, "sources/lamp.txt", "there is no such file"),
    ({"expected": None}, "expected/lamp.json", "there is no such file"),
    ({"prompts": None}, "prompts/lamp.txt", "there is no such file"),
    ({"sources": b"\xff\xfe\xfa"}, "sources/lamp.txt", "cannot be read as UTF-8"),
    ({"expected": "[1]"}, "expected/lamp.json: (the whole)", "found a list"),
    ({"expected": '{"nam": "x"}'}, "expected/lamp.json: nam", "did you mean 'name'?"),
    ({"expected": '{"price": "cheap"}'}, "expected/lamp.json: price", 'found "cheap", expected a valid number'),
    ({"expected": '{"price": NaN}'}, "expected/lamp.json: price", "NaN"),
    ({"expected": '{"price": 1, "price": 2}'}, "expected/lamp.json: price", "duplicate key"),
    ({"expected": "{"}, "expected/lamp.json", "not JSON"),
    ({"model": "import no_such_module_at_all"}, "model.py", "line 1: cannot be imported: ModuleNotFoundError"),
    ({"model": "x = 1"}, "model.py", "must define a subclass of pydantic.BaseModel"),
]


@pytest.mark.parametrize(("files", "place", "message"), BAD_CASES)
def test_a_bad_case_names_the_file(files: dict[str, Any], place: str, message: str, tmp_path: Path) -> None:
    write_case(tmp_path / "cases", **files)
    with pytest.raises(CaseError) as caught:
        LLMTester(["mock"], tmp_path / "cases").discover_test_cases()
    assert place in str(caught.value)
    assert message in str(caught.value)


def test_a_directory_may_be_named_from_the_working_directory(cases: Path) -> None:
    assert [case.name for case in LLMTester(["mock"], "cases").discover_test_cases()] == ["lamp"]


def test_a_class_may_offer_its_own_cases(tmp_path: Path) -> None:
    own = MODEL + (
        "    @classmethod\n"
        "    def get_test_cases(cls):\n"
        "        return [{'name': 'own', 'prompt': 'P', 'source_path': 's.txt',\n"
        "                 'expected': {'name': 'a', 'price': 1}}]\n"
    )
    directory = write_case(tmp_path / "cases", model=own)
    (directory / "s.txt").write_text("The source.")
    [case] = LLMTester(["mock"], tmp_path / "cases").discover_test_cases()
    assert (case.name, case.prompt, case.source) == ("own", "P", "The source.")


def test_a_model_with_two_prompts_is_one_model_and_the_prompts_are_compared(cases: Path) -> None:
    (cases / "products/tests/prompts/lamp.short.txt").write_text("Product?")
    register_mock_response("Product?", LAMP)
    register_mock_response("*", {"name": "x", "price": 1})
    tester = LLMTester(["mock"], cases)
    summary = summarize(tester.run_tests())
    assert [(column.column, column.accuracy, column.cases) for column in summary.columns] == [
        ("mock:mock-model", 50.0, 2)
    ]
    [table] = summary.prompts
    assert [(row.variant, row.accuracy) for row in table.rows] == [("", 0.0), ("short", 100.0)]
    assert [case.title for case in tester.discover_test_cases(["products/lamp"])] == ["lamp", "lamp.short"]
    assert [case.title for case in tester.discover_test_cases(["products/lamp.short"])] == ["lamp.short"]


def test_a_file_goes_to_a_model_that_takes_it_and_not_to_another(
    cases: Path, write_config: Write, standin: Callable[..., StandIn]
) -> None:
    files = cases / "products/tests/files"
    files.mkdir()
    (files / "lamp.png").write_bytes(b"\x89PNG\r\n")
    server = standin(json.dumps(LAMP))
    entry = openai_entry(server)
    write_config({"blind": entry, "sees": {**entry, "models": [{**entry["models"][0], "supports_vision": True}]}})
    blind, sees = LLMTester(["blind", "sees"], cases).run_tests().results
    assert (blind.status, blind.error) == ("failed", "CaseError")
    assert "does not take lamp.png" in str(blind.problem)
    assert sees.status == "ok"
    assert "data:image/png;base64" in json.dumps(server.requests[0].body)
    assert len(server.requests) == 1


def test_a_validator_that_breaks_makes_a_paid_reply_invalid_and_the_run_goes_on(tmp_path: Path) -> None:
    broken = MODEL + ("    def model_post_init(self, context):\n        raise RuntimeError('boom')\n")
    write_case(tmp_path / "cases", "broken", model=broken)
    write_case(tmp_path / "cases", "fine")
    register_mock_response("*", LAMP)
    with pytest.warns(UserWarning, match=r"lamp\.json: \(the whole\): .* raised RuntimeError: boom"):
        run = LLMTester(["mock"], tmp_path / "cases").run_tests()
    assert [(result.module, result.status) for result in run.results] == [("broken", "invalid"), ("fine", "ok")]
    assert "RuntimeError: boom" in str(run.results[0].problem)
    assert run.results[0].usage is not None
    assert run.results[0].counts == (0, 0, 2, 0)


def test_a_compare_function_that_breaks_fails_the_result_and_keeps_the_paid_reply(tmp_path: Path) -> None:
    model = """
from typing import Annotated
from pydantic import BaseModel
from llm_tester import Compare

def ratio(expected, actual):
    return 1 if expected == actual else 1 / 0

class Product(BaseModel):
    name: Annotated[str, Compare(ratio)]
    price: float
"""
    write_case(tmp_path / "cases", model=model)
    register_mock_response("*", {"name": "Lamp", "price": 39.9})
    [result] = LLMTester(["mock"], tmp_path / "cases").run_tests().results
    assert (result.status, result.error, result.accuracy) == ("failed", "CaseError", None)
    assert "raised ZeroDivisionError: division by zero" in str(result.problem)
    assert "model.py" in str(result.problem)
    assert result.usage is not None
    assert result.actual == {"name": "Lamp", "price": 39.9}


def test_a_root_model_of_a_list_runs_like_any_other(tmp_path: Path) -> None:
    model = "from pydantic import RootModel\nclass Tags(RootModel[list[str]]):\n    pass\n"
    write_case(tmp_path / "cases", model=model, expected='["a", "b"]')
    register_mock_response("*", '["b", "c"]')
    run = LLMTester(["mock"], tmp_path / "cases").run_tests()
    run.save(tmp_path / "results.json")
    [result] = RunResult.load(tmp_path / "results.json").results
    assert (result.status, result.accuracy, result.actual) == ("ok", 50.0, ["b", "c"])
    assert run.cases[0].expected == ["a", "b"]


def test_a_partial_expected_file_scores_what_it_names_in_the_form_of_the_class(tmp_path: Path) -> None:
    model = """
from datetime import date
from decimal import Decimal
from pydantic import BaseModel, Field

class Invoice(BaseModel):
    number: str
    total: Decimal = Field(alias="totalAmount")
    due: date | None = None
"""
    write_case(tmp_path / "cases", model=model, expected='{"totalAmount": 39.9}')
    register_mock_response("*", '{"number": "7", "totalAmount": "39.90"}')
    [result] = LLMTester(["mock"], tmp_path / "cases").run_tests().results
    assert [(field.path, field.score, field.rule) for field in result.fields] == [("total", 1.0, "number")]


def test_reports_hold_every_result_and_escape_what_a_reply_says(cases: Path) -> None:
    register_mock_response("*", "<script>alert(1)</script> | *no* JSON")
    tester = LLMTester(["mock"], cases)
    run = tester.run_tests()
    markdown = tester.generate_report(run)
    assert "products/lamp" in markdown
    assert "<script>" not in markdown
    assert json.loads(tester.generate_report(run, "json"))["run_id"] == run.run_id
