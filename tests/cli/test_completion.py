"""Shell completion, asked for as a shell asks: with click's variables, and once from bash itself."""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT
from console import SCRIPTS, reader_environment, run_script
from doc_pages import FENCE
from sample_cases import write_case

import llm_tester.cli.completion  # noqa: F401 (as the console script does if a shell asks)
from llm_tester.__main__ import main

PACKAGED = ["anthropic", "google", "mistral", "mock", "openai", "pydantic_ai"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A config with a provider of its own, and a module with two cases, one of them with two prompts."""
    own = {"provider_type": "openai", "models": ["qwen3:8b", {"name": "org/small"}], "default_model": "other"}
    config = {"providers": {"my-server": own, "openai": {"models": ["gpt-x"]}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "external_providers.json").write_text('{"ext": {"module": "m", "class": "C"}}')
    (tmp_path / "cases").mkdir()
    for name in ("desk", "lamp", "lamp.short"):
        # It would leave a file if it were imported.
        write_case(tmp_path / "cases", name=name, model="open('imported', 'w')")
    write_case(tmp_path / "cases", "invoices", "one")
    return tmp_path


def offered(shell: str, words: str, word: int, cwd: Path, **environment: str) -> list[str]:
    """What a shell is offered for a word of a line."""
    asked = {"_LLM_TESTER_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(word)}
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(main, prog_name="llm-tester", env={**asked, **environment})
    assert done.exit_code == 0, done.output
    return done.output.split()


def values(words: str, cwd: Path, **environment: str) -> list[str]:
    """What bash is offered for the last word of a line, which a blank at its end makes an empty one."""
    found = offered("bash", words, len(words.split(" ")) - 1, cwd, **environment)
    return [line.removeprefix("plain,") for line in found]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("run -p ", sorted([*PACKAGED, "my-server", "ext"])),
        ("run -p my", ["my-server", "my-server:org/small", "my-server:other", "my-server:qwen3:8b"]),
        ("run --provider m", ["mistral", "mock", "my-server"]),
        ("run -p openai:", ["openai:gpt-x"]),
        ("run -p ext:", []),
        ("run -p none", []),
        ("run -p mock -p openai:g", ["openai:gpt-x"]),
        ("prices mock", ["mock", "mock:mock-model"]),
        ("run -m ", ["invoices", "products"]),
        ("run -m pro", ["products", "products/desk", "products/lamp", "products/lamp.short"]),
        ("run --module products/l", ["products/lamp", "products/lamp.short"]),
        ("run --cases elsewhere -m ", []),
        ("run --config other/config.json -m ", []),
        ("new", ["new-module"]),
    ],
)
def test_names_are_offered(words: str, expected: list[str], project: Path) -> None:
    """Providers and modules, and what is in the one that is meant; no model.py is imported."""
    assert values(f"llm-tester {words}", project) == expected
    assert not (project / "imported").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-p my-server : qwen3 : 8", ["8b"]),
        ("-p my-server :", ["org/small", "other", "qwen3:8b"]),
        ("-p my-server:o", ["my-server:org/small", "my-server:other"]),
        ("-p openai : gpt-x -m inv", ["invoices", "invoices/one"]),
    ],
)
def test_bash_is_offered_what_follows_the_last_colon(words: str, expected: list[str], project: Path) -> None:
    """It splits words at colons, unless its COMP_WORDBREAKS has none."""
    assert values(f"llm-tester run {words}", project) == expected


def test_zsh_and_fish_are_offered_whole_names(project: Path) -> None:
    """They do not split words at colons; fish gives the word itself in the place of its number."""
    line = "llm-tester run -p my-server:q"
    assert offered("zsh", line, 3, project) == ["plain", "my-server:qwen3:8b", "_"]
    asked = {"_LLM_TESTER_COMPLETE": "fish_complete", "COMP_WORDS": line, "COMP_CWORD": "my-server:q"}
    assert run_script("llm-tester", cwd=project, **asked).stdout == "plain,my-server:qwen3:8b\n"


def test_the_config_of_the_environment_is_used(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Providers and cases are those next to the file that `LLM_TESTER_CONFIG` names."""
    elsewhere, config = tmp_path_factory.mktemp("elsewhere"), str(project / "config.json")
    assert values("llm-tester run -m inv", elsewhere, LLM_TESTER_CONFIG=config) == ["invoices", "invoices/one"]


BROKEN = [
    "",
    "{",
    "[]",
    "null",
    "[" * 100_000,
    '{"providers": []}',
    '{"providers": {"openai": 1}}',
    '{"cases": ["a", 1]}',
]
BROKEN += ['{"providers": {"mock": {"models": 1}, "openai": {"models": [1, null, {}, []]}}, "cases": "a\\u0000b"}']


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_config_offers_the_rest_and_prints_no_error(content: str, tmp_path: Path) -> None:
    """A shell would print the error into the line that is typed."""
    (tmp_path / "config.json").write_text(content)
    assert values("llm-tester run -p ", tmp_path) == PACKAGED
    assert values("llm-tester run -m ", tmp_path) == []


def test_names_that_a_shell_would_not_take_as_they_are_are_left_out(tmp_path: Path) -> None:
    """A config of others cannot put a command into the line."""
    names = ["$(touch ran)", "a b", "two\nlines", "*", "fine"]
    providers = {"own": {"models": names}, "x;y": True, "-rf": True}
    (tmp_path / "config.json").write_text(json.dumps({"providers": providers}))
    assert values("llm-tester run -p own", tmp_path) == ["own", "own:fine"]
    assert values("llm-tester run -p ", tmp_path) == sorted([*PACKAGED, "own"])


def install(shell: str) -> str:
    """The command in the docs that sets completion up for a shell."""
    page = (ROOT / "docs/running.md").read_text(encoding="utf-8")
    [command] = [line for _, text in FENCE.findall(page) for line in text.splitlines() if f"={shell}_source" in line]
    return command


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_the_documented_command_sets_bash_up(project: Path) -> None:
    """Bash reads its file at its start, and then completes a model whose name it has split."""
    environment = reader_environment(HOME=str(project), PATH=f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}")

    def bash(code: str) -> str:
        done = subprocess.run(["bash", "-c", code], cwd=project, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    bash(install("bash"))
    asked = "source ~/.bashrc; COMP_WORDS=(llm-tester run -p my-server : qw); COMP_CWORD=5"
    assert bash(asked + '; _llm_tester_completion llm-tester; echo "${COMPREPLY[@]}"') == "qwen3:8b\n"
    assert "-F _llm_tester_completion llm-tester" in bash("source ~/.bashrc; complete -p llm-tester")


@pytest.mark.parametrize(("shell", "file"), [("zsh", ".zshrc"), ("fish", ".config/fish/completions/llm-tester.fish")])
def test_the_documented_commands_set_zsh_and_fish_up(shell: str, file: str, tmp_path: Path) -> None:
    """The command writes click's script, or what runs it, into the file that the shell reads."""
    environment = reader_environment(HOME=str(tmp_path), PATH=f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}")
    subprocess.run(["sh", "-c", install(shell)], env=environment, check=True)
    text = (tmp_path / file).read_text()
    assert "_llm_tester_completion" in text or text == f'eval "$(_LLM_TESTER_COMPLETE={shell}_source llm-tester)"\n'
