"""Every command in the README and the docs is run as a reader runs it: the console scripts, in a folder, in order."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from conftest import ROOT
from console import SCRIPTS, reader_environment, run_script
from doc_pages import FENCE, PAGES
from sample_cases import LAMP, write_case
from standins import Reply, StandIn

from llm_tester.__main__ import main

Prepare = Callable[[Path, StandIn, int], dict[str, str]]

INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )*(?:llm-tester|pytest) [^`\n]+)`")


def blocks(page: Path, *kinds: str) -> list[str]:
    return [text for kind, text in FENCE.findall(page.read_text(encoding="utf-8")) if kind in kinds]


def commands(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if words := shlex.split(line, comments=True):
            yield words


TUTORIAL = ROOT / "docs/tutorial.md"
WITH_COMMANDS = [page for page in PAGES if blocks(page, "console") and page != TUTORIAL]


# What a page assumes that its reader has


def a_clone(folder: Path, server: StandIn, block: int) -> dict[str, str]:
    """The repository's own cases and recordings, which need no key."""
    if block == 0:
        for name in ("cases", "cassettes"):
            shutil.copytree(ROOT / name, folder / name)
        shutil.copy(ROOT / "config.json", folder)
    return {}


def an_own_project(folder: Path, server: StandIn, block: int) -> dict[str, str]:
    """docs/pytest.md: its test file, and from the second block on its settings and a case, which are recorded."""
    page, key = ROOT / "docs/pytest.md", {"OPENAI_API_KEY": "greeting" * 3}
    models = [{"name": name, "cost_input": 2, "cost_output": 8, "supports_schema": True} for name in ("gpt-4o", "mini")]
    entry = {"provider_type": "openai", "api_base": server.url + "/v1", "models": models}
    if block == 0:
        (folder / "config.json").write_text(json.dumps({"providers": {"openai": entry, "groq": entry}}))
        (folder / "test_greetings.py").write_text(blocks(page, "python")[0])
        cassette = folder / "cassettes/test_greetings/test_a_client_of_ones_own.yaml"
        cassette.parent.mkdir(parents=True)
        cassette.write_text(yaml.safe_dump({"version": 1, "interactions": [UNAUTHORIZED]}))
    else:
        (folder / "pytest.ini").write_text(blocks(page, "ini")[0])
        write_case(folder / "cases")
        recorded = run_script("llm-tester", "run", "-p", "openai:*", "-p", "groq", cwd=folder, **key)
        assert recorded.returncode == 0, recorded.stdout
    return key if block == 0 else {}


# Loopback cannot answer for api.openai.com.
UNAUTHORIZED = {
    "request": {"method": "GET", "uri": "https://api.openai.com/v1/models", "body": None, "headers": {}},
    "response": {"status": {"code": 401, "message": "Unauthorized"}, "headers": {}, "body": {"string": "{}"}},
}


def an_own_class(folder: Path, server: StandIn, block: int) -> dict[str, str]:
    """docs/add_a_provider.md: its class, its entry and its contract."""
    page = ROOT / "docs/add_a_provider.md"
    (folder / "acme_llm.py").write_text(blocks(page, "python")[0])
    [entry] = [text for text in blocks(page, "json") if "acme_llm:AcmeProvider" in text]
    config: dict[str, Any] = json.loads(entry)
    config["providers"]["acme"]["api_base"] = "http://127.0.0.1:9"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tests").mkdir()
    [contract] = [text for text in blocks(page, "python") if "ProviderContract" in text]
    (folder / "tests/test_acme.py").write_text(contract)
    return {}


# Their commands run as the installed scripts, each in an interpreter of its own; the other pages' in forked processes.
COLD = ("README.md", "add_a_provider.md")

PREPARED: dict[str, Prepare] = {"pytest.md": an_own_project, "add_a_provider.md": an_own_class}


def reply(body: dict[str, Any]) -> Reply:
    text = "Hello." if "Greet" in json.dumps(body["messages"]) else json.dumps(LAMP)
    return Reply(text, input_tokens=50, output_tokens=10)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_the_commands_of_a_page_work_in_order(page: Path, tmp_path: Path, standin: Callable[..., StandIn]) -> None:
    server = standin(reply)
    prepare = PREPARED.get(page.name, a_clone)
    for number, block in enumerate(blocks(page, "console")):
        environment = prepare(tmp_path, server, number)
        for script, *arguments in commands(block):
            assert script in ("llm-tester", "pytest"), f"{page.name}: nothing runs {script!r}"
            done = run_script(script, *arguments, cwd=tmp_path, cold=page.name in COLD, **environment)
            assert done.returncode == 0, f"{page.name}: {shlex.join([script, *arguments])}\n{done.stdout}"


def test_the_tutorial_leads_from_an_empty_folder_to_its_decision(tmp_path: Path) -> None:
    """Its blocks run in order, in a new folder next to the repository, but for the first one, which installs."""
    folder, printed = tmp_path / "decision", ""
    folder.mkdir()
    (tmp_path / "llm_tester").symlink_to(ROOT)
    environment = reader_environment(PATH=f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}")
    for kind, text in FENCE.findall(TUTORIAL.read_text(encoding="utf-8"))[1:]:
        if kind == "sh":
            shell = ["bash", "-euc", text]
            done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            printed = done.stdout
        elif kind == "text":
            assert text == printed
        for script, *arguments in commands(text) if kind == "console" else ():
            ran = run_script(script, *arguments, cwd=folder)
            assert ran.returncode == 0, f"{shlex.join([script, *arguments])}\n{ran.stdout}"
    prompt = folder / "cases/products/tests/prompts/desk_lamp.txt"
    prompt.write_text("Please: " + prompt.read_text(encoding="utf-8"), encoding="utf-8")
    drifted = run_script("pytest", "--llm-providers", "smollm-pydantic-ai", cwd=folder).stdout
    assert "+++ asked" in drifted
    assert "1 failed, 5 passed" in drifted


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_is_in_a_block_that_is_run_or_within_a_sentence(page: Path) -> None:
    """A block without a language is not run, so it may not hold a command."""
    first = [words[0] for text in blocks(page, "", "text", "sh", "bash") for words in [text.split()] if words]
    assert not {"llm-tester", "pytest"} & set(first)


def in_sentences() -> list[str]:
    texts = [FENCE.sub("", page.read_text(encoding="utf-8")) for page in PAGES]
    return sorted({match for text in texts for match in INLINE.findall(text)})


@pytest.mark.parametrize("text", [text for text in in_sentences() if "llm-tester" in text])
def test_a_command_within_a_sentence_has_only_options_that_exist(text: str) -> None:
    command: click.Command = main
    words = shlex.split(text.partition("llm-tester ")[2])
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version"}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize("text", [text for text in in_sentences() if "llm-tester" not in text])
def test_an_option_of_pytest_within_a_sentence_exists(text: str, pytestconfig: pytest.Config) -> None:
    for word in shlex.split(text.partition("pytest ")[2]):
        if word.startswith("--llm"):
            pytestconfig.getoption(word.partition("=")[0])  # raises ValueError if there is none
