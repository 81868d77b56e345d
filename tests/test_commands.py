"""The commands that messages name: each is executed as it is printed, and the next run is clean."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from standins import Fault, StandIn
from test_tester import LAMP, openai_entry, write_case

from llm_tester import RunResult
from llm_tester.__main__ import main

KEY = "made-up-for-this-test"
COMMAND = re.compile(r"llm-tester run [^\n]*--(?:record \w+|failed)[^\n;]*")


class Project:
    """A project in a folder of its own: a config that is not `./config.json`, its cases elsewhere, and a server."""

    def __init__(self, root: Path, server: StandIn) -> None:
        self.server = server
        self.config = root / "my settings.json"
        self.cases = root / "our cases"
        write_case(self.cases)
        self.write(env_key="X_API_KEY")

    def write(self, **entry: Any) -> None:
        """Writes the config with one provider, `x`, and no case directory in it."""
        self.config.write_text(json.dumps({"providers": {"x": openai_entry(self.server, **entry)}}))

    def run(self, *arguments: str) -> Result:
        """Runs `llm-tester run` with the project's options."""
        return invoke("run", "--config", str(self.config), "--cases", str(self.cases), *arguments)

    def results(self) -> RunResult:
        """The last results."""
        return RunResult.load("llm_tester_results/results.json")

    def prompt(self, text: str, name: str = "lamp") -> None:
        """Writes a prompt."""
        (self.cases / f"products/tests/prompts/{name}.txt").write_text(text)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def named(result: Result) -> str:
    """The one command that the output of a run names."""
    found = dict.fromkeys(COMMAND.findall(result.output))
    assert len(found) == 1, result.output
    return next(iter(found)).strip()


def execute(command: str) -> Result:
    program, *arguments = shlex.split(command)
    assert program == "llm-tester"
    return invoke(*arguments)


@pytest.fixture
def project(tmp_path: Path, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("X_API_KEY", KEY)
    return Project(tmp_path, standin(json.dumps(LAMP)))


def clean(project: Project, *arguments: str) -> int:
    """Runs again without a key: everything is replayed. Gives the number of requests that were sent."""
    before = len(project.server.requests)
    assert project.run(*arguments).exit_code == 0
    assert {result.status for result in project.results().results} == {"ok"}
    return len(project.server.requests) - before


def test_what_is_not_recorded_names_the_command_that_records_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key the result is skipped, and names a command that records it once a key is set."""
    monkeypatch.delenv("X_API_KEY")
    skipped = project.run()
    assert skipped.exit_code == 1
    assert "to record: " in skipped.output
    assert "again" not in named(skipped)
    monkeypatch.setenv("X_API_KEY", KEY)
    assert execute(named(skipped)).exit_code == 0
    monkeypatch.delenv("X_API_KEY")
    assert clean(project) == 0


def test_many_skips_are_one_message_with_one_command(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty-five skips for the same reason are one line, and its command records all of them."""
    for number in range(34):
        write_case(project.cases, name=f"lamp{number:02}")
    monkeypatch.delenv("X_API_KEY")
    skipped = project.run()
    assert skipped.output.count("set X_API_KEY") == 1
    assert "and 34 more, skipped" in skipped.output
    monkeypatch.setenv("X_API_KEY", KEY)
    assert execute(named(skipped)).exit_code == 0
    assert len(project.server.requests) == 35
    assert clean(project) == 0


def test_a_changed_prompt_names_the_command_that_records_again(project: Project) -> None:
    """A drift is recorded again by the command that its message names, and no other case is."""
    write_case(project.cases, name="second")
    project.run()
    project.prompt("Extract another thing.")
    drifted = project.run()
    assert drifted.exit_code == 1
    assert "to record again: " in drifted.output
    before = len(project.server.requests)
    assert execute(named(drifted)).exit_code == 0
    assert len(project.server.requests) == before + 1
    assert clean(project) == 0


def test_a_drift_of_a_plain_prompt_leaves_its_variants_alone(project: Project) -> None:
    """A case with two prompts has two recordings; the command records the one that drifted."""
    project.prompt("Extract it briefly.", "lamp.brief")
    project.run()
    project.prompt("Extract another thing.")
    drifted = project.run()
    before = len(project.server.requests)
    execute(named(drifted))
    assert len(project.server.requests) == before + 1
    assert clean(project) == 0


def test_a_missing_repeat_is_called_that_and_recorded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three repeats of what was recorded once: the message counts, and its command records the other two."""
    project.run()
    missing = project.run("--repeat", "3", "--record", "none")
    assert missing.exit_code == 1
    assert "repeat" in missing.output
    assert execute(named(missing)).exit_code == 0
    assert len(project.server.requests) == 3
    monkeypatch.delenv("X_API_KEY")
    assert clean(project, "--repeat", "3") == 0


def test_a_replayed_failure_says_so_and_how_to_record(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording of an error, as earlier versions and other programs write it, names its date and the command."""
    project.run()
    [path] = Path(project.results().results[0].cassette or "").parent.glob("*.yaml")
    text = path.read_text()
    path.write_text(text.replace("status: 200", "status: 401"))
    monkeypatch.delenv("X_API_KEY")
    failed = project.run()
    assert failed.exit_code == 1
    assert re.search(r"replayed failure of \d{4}-\d\d-\d\d; to record: ", failed.output)
    monkeypatch.setenv("X_API_KEY", KEY)
    assert execute(named(failed)).exit_code == 0
    monkeypatch.delenv("X_API_KEY")
    assert clean(project) == 0


def test_a_failure_on_file_is_called_again_if_a_key_is_set(project: Project) -> None:
    """With a key, `auto` does not replay a recorded 401 but calls, and keeps the reply."""
    project.run()
    path = Path(project.results().results[0].cassette or "")
    path.write_text(path.read_text().replace("status: 200", "status: 401"))
    assert project.run().exit_code == 0
    assert len(project.server.requests) == 2
    assert clean(project) == 0


def test_failed_runs_what_failed_and_the_results_are_the_whole(project: Project) -> None:
    """`--failed` calls again for the one case that failed; the new results hold every case, in order."""
    for number in range(3):
        write_case(project.cases, name=f"lamp{number}")
    project.write(env_key="X_API_KEY", max_attempts=1)
    project.server.faults.extend([None, Fault(status=500), None, None])
    assert project.run().exit_code == 1
    first = project.results()
    before = len(project.server.requests)
    assert project.run("--failed").exit_code == 0
    again = project.results()
    assert len(project.server.requests) == before + 1
    assert [result.title for result in again.results] == [result.title for result in first.results]
    assert {result.status for result in again.results} == {"ok"}
    live = [result for result in again.results if result.run_id == again.run_id]
    assert [result.title for result in live] == [result.title for result in first.incomplete()]
    assert again.spent_usd == pytest.approx(sum(result.usage.total_cost or 0 for result in live if result.usage))


def test_failed_says_if_nothing_failed_and_if_there_is_nothing_to_go_by(project: Project) -> None:
    """Without last results `--failed` is misuse; if all went well, there is nothing to do."""
    nothing = project.run("--failed")
    assert (nothing.exit_code, "there are no results yet" in nothing.output) == (2, True)
    project.run()
    fine = project.run("--failed")
    assert (fine.exit_code, "nothing failed or was skipped" in fine.output) == (0, True)


def test_a_dry_run_applies_the_budget_and_needs_no_key(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dry run shows how many calls the budget allows, and which key a live call needs."""
    for number in range(9):
        write_case(project.cases, name=f"lamp{number}")
    monkeypatch.delenv("X_API_KEY")
    result = project.run("--dry-run", "--max-cost", "0.004")
    assert result.exit_code == 0
    assert "over budget" in result.output
    assert "set X_API_KEY" in result.output
    assert not project.server.requests
