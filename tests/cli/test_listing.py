"""`llm-tester list` as a table and as JSON."""

import json
import re
from pathlib import Path

import pytest
from conftest import Write
from console import invoke
from sample_cases import write_case


@pytest.fixture
def project(tmp_path: Path, write_config: Write) -> None:
    """Two providers, one of which cannot start, a case that is recorded with the other, and one that is not."""
    write_config({"a": {"provider_type": "openai", "models": ["m", "n"]}, "b": {"provider_type": "missing:Own"}})
    write_case(tmp_path / "cases")
    write_case(tmp_path / "cases", "invoices", "one")
    write_case(tmp_path / "cases", "invoices", "one.short", expected=None, sources=None)
    (tmp_path / "cassettes/products/lamp/a").mkdir(parents=True)
    (tmp_path / "cassettes/products/lamp/a/m.yaml").write_text("")


def test_a_list_has_each_case_and_prompt_with_the_models_of_a_run(project: None) -> None:
    """The names are those that `-m` and `-p` accept."""
    lines = [line.split() for line in invoke("list").output.splitlines() if re.search(" (yes|no) *$", line)]
    assert lines == [
        ["invoices/one", "a:m", "no"],
        ["invoices/one.short", "a:m", "no"],
        ["products/lamp", "a:m", "yes"],
    ]
    assert invoke("run", "--dry-run", "-m", lines[1][0], "-p", lines[1][1]).exit_code == 0


def test_a_list_as_json_is_alone_on_standard_output(project: None) -> None:
    """What cannot start is said on standard error."""
    result = invoke("list", "--json")
    assert json.loads(result.stdout) == [
        {"module": "invoices", "case": "one", "provider": "a", "model": "m", "recorded": False},
        {"module": "invoices", "case": "one.short", "provider": "a", "model": "m", "recorded": False},
        {"module": "products", "case": "lamp", "provider": "a", "model": "m", "recorded": True},
    ]
    assert re.search(r"^b cannot start: .*'missing'", result.stderr, re.MULTILINE)


def test_a_list_as_json_without_imports_has_modules_without_files(tmp_path: Path, project: None) -> None:
    """Their class makes the cases, so their names are unknown; which files run code is said on standard error."""
    (tmp_path / "cases/made").mkdir()
    (tmp_path / "cases/made/model.py").write_text("")
    result = invoke("list", "--json", "--no-import")
    unnamed = {"module": "made", "case": None, "provider": "a", "model": "m", "recorded": False}
    assert unnamed in json.loads(result.stdout)
    assert f"runs code: {tmp_path}/cases/made/model.py" in result.stderr


def test_a_list_without_a_provider_has_the_cases(tmp_path: Path) -> None:
    """The cases are there before a config is."""
    write_case(tmp_path / "cases")
    [unit] = json.loads(invoke("list", "--json").stdout)
    assert unit == {"module": "products", "case": "lamp", "provider": None, "model": None, "recorded": False}
