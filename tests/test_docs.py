"""Every snippet in the README and the docs is run; test_doc_commands.py runs the commands."""

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT
from doc_pages import FENCE, PAGES

import llm_tester.errors
from llm_tester import RunResult
from llm_tester.__main__ import main

BLOCKS = [
    (f"{page.name}-{number}", kind, text)
    for page in PAGES
    for number, (kind, text) in enumerate(FENCE.findall(page.read_text(encoding="utf-8")), 1)
]


SAMPLE = ("smollm-openai", "smollm-anthropic", "smollm-pydantic-ai")


def of_kind(*kinds: str) -> list[object]:
    return [pytest.param(text, id=name) for name, kind, text in BLOCKS if kind in kinds]


@pytest.mark.parametrize("code", of_kind("python"))
def test_python_runs_in_an_empty_directory(code: str) -> None:
    exec(compile(code, "a snippet", "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("text", of_kind("json"))
def test_json_is_a_config_that_loads(text: str, tmp_path: Path) -> None:
    from llm_tester import settings
    from llm_tester.llms.llm_registry import get_provider_info

    data = json.loads(text)
    if "providers" in data:
        (tmp_path / "config.json").write_text(text)
        for name in settings.settings().enabled_names():
            problem = get_provider_info(name)["problem"]
            assert problem is None or "cannot be imported" in problem


def test_the_first_block_of_the_readme_is_two_lines_that_ci_runs() -> None:
    kind, first = FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8"))[0]
    assert kind in ("sh", "bash")
    lines = first.strip().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("python3 -m venv .venv && ") for line in lines)
    assert "readme_line 1" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_documented_floors_are_those_of_the_package() -> None:
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", page, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.sub(r"\[.*\]", "", requirement).lower() for requirement in project["dependencies"]}
    assert {f"{name.lower()}>={floor}" for name, floor in rows} == declared


def test_the_reference_has_every_public_name() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs/reference").glob("*.md"))
    shown = set(re.findall(r"^::: llm_tester\.(\w+)$", pages, re.MULTILINE))
    errors = {name for name in llm_tester.__all__ if hasattr(llm_tester.errors, name)}
    assert shown >= set(llm_tester.__all__) - errors - {"__version__"}
    assert {"testing.ProviderContract", "errors"} <= set(re.findall(r"^::: llm_tester\.(\S+)$", pages, re.MULTILINE))


def test_the_sample_cases_print_what_the_readme_shows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With no key and no network: each of the three providers replays its recordings."""
    monkeypatch.setenv("CI", "true")
    [shown] = [text for _, kind, text in BLOCKS if kind == "text"][:1]
    arguments = ["run", "--config", str(ROOT / "config.json"), "--output", str(tmp_path / "out")]
    output = CliRunner().invoke(main, arguments, catch_exceptions=False).output
    real = {line.strip() for line in output.splitlines()}
    for line in shown.splitlines():
        assert line.strip() in real
    results = RunResult.load(tmp_path / "out/results.json").results
    assert Counter(item.provider for item in results) == dict.fromkeys(SAMPLE, 6)
    assert all(item.usage.replayed and item.usage.total_tokens for item in results)
    assert all("SmolLM2" in item.usage.origin for item in results)
