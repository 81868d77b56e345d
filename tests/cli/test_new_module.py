"""What `init` and `new-module` write, and that the commands they name work."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from console import invoke
from sample_cases import write_case

from llm_tester.llms.llm_registry import reset_provider_cache

STEP = re.compile(r"^(\d)\. (.+)$", re.MULTILINE)


def commands(output: str) -> Iterator[list[str]]:
    """The numbered lines that are commands, without their comments."""
    for _, step in STEP.findall(output):
        words = shlex.split(step, comments=True)
        if "llm-tester" in words:
            yield words


def test_init_names_three_commands_that_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They work one after the other, also if the folder's name has a space."""
    output = invoke("init", "my tests").output
    assert [number for number, _ in STEP.findall(output)] == ["1", "2", "3"]
    first, *rest = commands(output)
    assert first[:3] == ["cd", "my tests", "&&"]
    monkeypatch.chdir(first[1])
    for command in (first[3:], *rest):
        result = invoke(*command[1:])
        assert result.exit_code == 0, result.output


def test_init_in_the_working_directory_names_no_cd() -> None:
    """A `cd .` would only be noise."""
    assert "1. llm-tester run " in invoke("init").output


def test_init_keeps_keys_and_outputs_out_of_git() -> None:
    """The .gitignore has the file with keys and the directories that runs and reports write."""
    assert "wrote .gitignore" in invoke("init").output
    assert Path(".gitignore").read_text() == ".env\nllm_tester_results/\nllm_tester_report/\n"


def test_init_leaves_a_gitignore_and_says_what_it_lacks() -> None:
    """Only the lines that are missing are named, and none if none is."""
    Path(".gitignore").write_text("*.pyc\n.env\n")
    result = invoke("init")
    assert result.exit_code == 0
    assert ".gitignore already exists; add these lines to it: llm_tester_results/ llm_tester_report/\n" in result.output
    assert Path(".gitignore").read_text() == "*.pyc\n.env\n"
    Path("new").mkdir()
    Path("new/.gitignore").write_text(".env\nllm_tester_results/\nllm_tester_report/\n")
    assert "already exists" not in invoke("init", "new").output


@pytest.mark.parametrize("config", [(), ("--config", "other/config.json")])
def test_a_new_module_runs_at_once_and_the_named_commands_work(config: tuple[str, ...], tmp_path: Path) -> None:
    """The case's reply is valid JSON of its class, and the expected JSON fits the class too."""
    invoke("init", "other" if config else ".")
    result = invoke("new-module", "invoices", *config)
    assert result.exit_code == 0, result.output
    assert (tmp_path / ("other" if config else ".") / "cases/invoices/model.py").is_file()
    run, estimate = commands(result.output)
    for command in (run, estimate):
        reset_provider_cache()  # a new process has not read any config
        shown = invoke(*command[1:])
        assert shown.exit_code == 0, shown.output
    [reply] = json.loads(Path("llm_tester_results/results.json").read_text())["results"]
    assert (reply["module"], reply["name"], reply["status"]) == ("invoices", "example", "ok")


def test_a_new_module_needs_no_config() -> None:
    """In an empty directory it becomes the first module of `cases`."""
    assert invoke("new-module", "invoices").exit_code == 0
    assert invoke("run", "-p", "mock").exit_code == 0


def test_a_new_module_is_where_the_config_has_its_cases(tmp_path: Path) -> None:
    """The config's `cases` names the directory."""
    Path("config.json").write_text('{"providers": {"mock": true}, "cases": "checks"}')
    invoke("new-module", "invoices")
    assert (tmp_path / "checks/invoices/model.py").is_file()
    assert invoke("run").exit_code == 0


@pytest.mark.parametrize("name", ["", "job-ads", "a b", "../up", "a/b", ".hidden", "3d", "class", "tab\t", "x\x1b[2J"])
def test_a_name_that_python_cannot_import_is_refused(name: str, tmp_path: Path) -> None:
    """The message shows the name and says what it may have; nothing is written."""
    result = invoke("new-module", name)
    assert result.exit_code == 2
    assert "use letters, digits and underscores" in result.output
    assert "\x1b" not in result.output
    assert not list(tmp_path.iterdir())


def test_a_module_that_exists_is_left_alone(tmp_path: Path) -> None:
    """Not one of its files changes, and none is added."""
    write_case(tmp_path / "cases", "invoices")
    before = sorted(tmp_path.rglob("*"))
    result = invoke("new-module", "invoices")
    assert result.exit_code == 2
    assert "invoices: already exists; choose another name" in result.output
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a" * 300, "invoices"])
def test_a_module_that_cannot_be_written_is_a_message(name: str) -> None:
    """Here the name is too long, or `cases` is a file."""
    if name == "invoices":
        Path("cases").write_text("")
    result = invoke("new-module", name)
    assert result.exit_code == 2
    assert "cannot be written" in result.output
