"""Results as records and data frames."""

import importlib
import json
import sys
from typing import Any

import pytest
from pydantic import BaseModel
from report_pages import hostile_run

from llm_tester import Case, LLMTester, RunResult, register_mock_response
from llm_tester.errors import ConfigError
from llm_tester.runs.records import COLUMNS


class Product(BaseModel):
    name: str


@pytest.fixture
def run(write_config: Any) -> RunResult:
    """A right reply, a wrong one, and a call that failed."""
    write_config({"down": {"provider_type": "mock", "models": ["m"], "max_attempts": 1, "mock": {"error": 400}}})
    register_mock_response("right", {"name": "Lamp"})
    register_mock_response("wrong", {"name": "Shelf"})
    cases = [Case(name=name, prompt=name, source="", expected={"name": "Lamp"}, model_class=Product) for name in WORDS]
    return LLMTester(["mock", "down"]).run_tests(cases=cases)


WORDS = ("right", "wrong")


def test_a_record_has_plain_values_under_the_documented_names(run: RunResult) -> None:
    records = run.to_records()
    assert json.loads(json.dumps(records)) == records
    assert all(list(record) == list(COLUMNS) for record in records)
    assert all(value is None or isinstance(value, COLUMNS[name]) for one in records for name, value in one.items())
    right, failed, wrong, _ = records
    assert (right["module"], right["name"], right["provider"], right["status"]) == ("product", "right", "mock", "ok")
    assert (right["accuracy"], right["right"], right["wrong"], right["cost_usd"]) == (100.0, 1, 0, 0.0)
    assert (wrong["accuracy"], wrong["right"], wrong["wrong"]) == (0.0, 0, 1)
    assert (failed["status"], failed["accuracy"], failed["cost_usd"], failed["replayed"]) == (
        "failed",
        None,
        None,
        None,
    )
    assert failed["error"] == "BadRequestError"
    assert {record["run_id"] for record in records} == {run.run_id}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_data_frame_has_the_records(library: str, run: RunResult, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    if library == "polars":
        monkeypatch.setitem(sys.modules, "pandas", None)
    frame = run.to_dataframe()
    assert isinstance(frame, importlib.import_module(library).DataFrame)
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["status"]) == ["ok", "failed", "ok", "failed"]
    assert frame["accuracy"].mean() == 50.0
    if library == "pandas":
        assert frame.groupby("model")["accuracy"].mean()["mock-model"] == 50.0  # docs/python.md
    empty = run.model_copy(update={"results": ()}).to_dataframe()
    assert (len(empty), list(empty.columns)) == (0, list(COLUMNS))
    assert len(hostile_run().to_dataframe()) == len(hostile_run().results)


def test_without_a_library_the_error_says_what_to_install(run: RunResult, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        run.to_dataframe()
