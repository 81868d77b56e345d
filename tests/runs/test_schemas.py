"""The JSON Schema of each module's class, which results keep for the reports."""

from pathlib import Path

import pytest
from sample_cases import write_case

from llm_tester import LLMTester, RunResult

RENAMED = """
from pydantic import BaseModel, Field

class Product(BaseModel):
    name: str = Field(alias="productName", description="As it is sold.")
    price: float
"""
WITHOUT = """
from collections.abc import Callable
from pydantic import BaseModel

class Product(BaseModel):
    name: str
    price: float
    convert: Callable[[float], float] | None = None
"""
ODD = """
from pydantic import BaseModel, ConfigDict

class Product(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": object})

    name: str
    price: float
    shop: str = "the-shop-of-test-key-0123456789"
"""


def schemas_of_a_run(root: Path, *modules: str) -> RunResult:
    return LLMTester(["mock"], root).run_tests(modules)


def test_fields_have_the_names_that_scores_have(tmp_path: Path) -> None:
    write_case(tmp_path, model=RENAMED, expected='{"productName": "Aurora Lamp", "price": 39.9}')
    run = schemas_of_a_run(tmp_path)
    properties = run.schemas["products"]["properties"]
    assert {field.path for field in run.results[0].fields} == set(properties) == {"name", "price"}
    assert properties["name"]["description"] == "As it is sold."
    run.save(tmp_path / "results.json")
    assert RunResult.load(tmp_path / "results.json").schemas == run.schemas


def test_a_class_without_a_schema_has_none(tmp_path: Path) -> None:
    write_case(tmp_path, model=WITHOUT)
    write_case(tmp_path, "others")
    assert list(schemas_of_a_run(tmp_path).schemas) == ["others"]


def test_results_can_be_saved_whatever_a_schema_holds_and_without_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key-0123456789")
    write_case(tmp_path, model=ODD)
    run = schemas_of_a_run(tmp_path)
    run.save(tmp_path / "results.json")
    assert RunResult.load(tmp_path / "results.json").schemas == run.schemas
    assert run.schemas["products"]["properties"]["shop"]["default"] == "the-shop-of-REDACTED"


def test_what_runs_again_keeps_the_schemas_of_the_rest(tmp_path: Path) -> None:
    write_case(tmp_path, "one")
    write_case(tmp_path, "two")
    tester = LLMTester(["mock"], tmp_path)
    before = tester.run_tests()
    failed = [result.skipped("for the test") for result in before.results]
    again = tester.run_tests(["one"], previous=before.model_copy(update={"results": tuple(failed)}))
    assert set(again.schemas) == {"one", "two"}
