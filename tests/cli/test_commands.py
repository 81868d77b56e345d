"""The commands that messages name: each is executed as it is printed, and the next run is clean."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sample_cases import LAMP, openai_entry, write_case
from standins import Fault, StandIn

from llm_tester import LLMTester, RunResult
from llm_tester.__main__ import main
from llm_tester.llm_tester import RunInterrupted
from llm_tester.llms.llm_registry import reset_provider_cache
from llm_tester.runs.results import CaseResult
from llm_tester.utils.cost_manager import CostReport

KEY = "made-up-for-this-test"
COMMAND = re.compile(r"to record(?: again| them)?: (llm-tester run [^\n;]*)")
AGAIN = re.compile(r"to run (?:again what failed or was skipped|the rest): (llm-tester run --failed[^\n]*)")


class Project:
    """A project in a folder of its own: a config that is not `./config.json`, its cases elsewhere, and a server."""

    def __init__(self, root: Path, server: StandIn) -> None:
        self.server = server
        self.config = root / "my settings.json"
        self.cases = root / "our cases"
        write_case(self.cases)
        self.write(env_key="X_API_KEY")

    def write(self, **entry: Any) -> None:
        """Writes the config with one provider, `x`."""
        self.configure({"x": openai_entry(self.server, **entry)})

    def configure(self, providers: dict[str, Any], **rest: Any) -> None:
        """Writes the config, with no case directory in it, for the next run as in a process of its own."""
        self.config.write_text(json.dumps({"providers": providers, **rest}))
        reset_provider_cache()

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


def named(result: Result, pattern: re.Pattern[str] = COMMAND) -> str:
    """The one command that the output of a run names."""
    found = dict.fromkeys(pattern.findall(result.output))
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


def test_a_missing_recording_names_the_command_that_records_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key the result is skipped, and names a command that records it once a key is set."""
    monkeypatch.delenv("X_API_KEY")
    skipped = project.run()
    assert skipped.exit_code == 1
    assert "; to record: " in skipped.output
    assert "--config 'my settings.json'" in named(skipped)
    assert "--cases 'our cases'" in named(skipped)
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
    assert "and 30 more, x:small, skipped: not recorded" in skipped.output
    report = Path("llm_tester_results/report.md").read_text()
    assert report.count("set X_API_KEY") == 1
    assert named(skipped) in report
    monkeypatch.setenv("X_API_KEY", KEY)
    assert execute(named(skipped)).exit_code == 0
    assert len(project.server.requests) == 35
    assert clean(project) == 0


def test_a_changed_prompt_names_the_command_that_records_again(project: Project) -> None:
    """A drift is recorded again by the command that its message names, and no other case is."""
    write_case(project.cases, name="desk lamp")
    project.run()
    project.prompt("Extract another thing.", "desk lamp")
    drifted = project.run()
    assert drifted.exit_code == 1
    assert "-        Extract the product." in drifted.output
    assert "to record again: " in drifted.output
    assert [result.error for result in project.results().results] == ["CassetteMismatch", None]
    before = len(project.server.requests)
    assert execute(named(drifted)).exit_code == 0
    assert len(project.server.requests) == before + 1
    assert clean(project) == 0


def test_a_changed_prompt_is_recorded_again_without_its_variants(project: Project) -> None:
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
    assert "AuthenticationError" in str(project.results().results[0].error)
    monkeypatch.setenv("X_API_KEY", KEY)
    assert execute(named(failed)).exit_code == 0
    monkeypatch.delenv("X_API_KEY")
    assert clean(project) == 0


def test_a_recorded_failure_is_called_again_if_a_key_is_set(project: Project) -> None:
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


def test_failed_says_if_nothing_failed_and_if_there_are_no_results(project: Project) -> None:
    """Without last results `--failed` is misuse; if all went well, there is nothing to do, and nothing changes."""
    nothing = project.run("--failed")
    assert (nothing.exit_code, "there are no results yet" in nothing.output) == (2, True)
    project.run()
    before = project.results()
    fine = project.run("--failed")
    assert (fine.exit_code, "nothing failed or was skipped" in fine.output) == (0, True)
    assert project.results() == before
    assert project.run("--failed", "--fail-under", "100").exit_code == 0
    assert project.run("--failed", "--repeat", "2").exit_code == 2


def test_failed_counts_only_its_own_spending(project: Project) -> None:
    """What a run of what failed spends is its own; the text says how much of the results is from earlier runs."""
    write_case(project.cases, name="second")
    project.write(env_key="X_API_KEY", max_attempts=1)
    project.server.faults.append(Fault(status=500))
    project.run()
    first = project.results()
    again = project.run("--failed")
    whole = project.results()
    assert [result.run_id for result in whole.results] == [whole.run_id, first.run_id]
    assert "1 of 2 results are kept from earlier runs" in again.output
    rows = CostReport.load("llm_tester_results/costs.json").by("run_id")
    for run in (first, whole):
        assert rows[(run.run_id,)].spent_usd == pytest.approx(run.spent_usd)
        assert run.spent_usd > 0


def test_failed_of_chosen_providers_and_cases_leaves_the_others(
    project: Project, standin: Callable[..., StandIn]
) -> None:
    """`-p` and `-m` narrow `--failed`; what they leave out is kept, failed as it was, and the exit code says so."""
    write_case(project.cases, name="second")
    other = standin(json.dumps(LAMP))
    for server in (project.server, other):
        server.faults.extend([Fault(status=400)] * 2)
    entries = {"x": openai_entry(project.server), "y": openai_entry(other)}
    project.configure(entries)
    project.run()
    narrowed = project.run("--failed", "-p", "y", "-m", "products/lamp")
    assert narrowed.exit_code == 1
    by_place = {(result.provider, result.name): result.status for result in project.results().results}
    wrong = dict.fromkeys([("x", "lamp"), ("x", "second"), ("y", "second")], "failed")
    assert by_place == {**wrong, ("y", "lamp"): "ok"}
    assert execute(named(narrowed, AGAIN)).exit_code == 0
    assert (len(project.server.requests), len(other.requests)) == (4, 4)


def test_failed_runs_a_provider_that_could_not_start(project: Project) -> None:
    """A provider that could not start has no results; once its entry is mended, `--failed` runs every case with it."""
    entries = {"x": openai_entry(project.server), "y": {**openai_entry(project.server), "provider_type": "opnai"}}
    project.configure(entries)
    assert project.run().exit_code == 1
    assert project.run("--failed", "-p", "x").exit_code == 1
    entries["y"]["provider_type"] = "openai"
    project.configure(entries)
    assert project.run("--failed").exit_code == 0
    assert {result.column for result in project.results().results} == {"x:small", "y:small"}
    assert not project.results().problems


def test_failed_does_not_keep_the_result_of_a_case_that_changed(project: Project) -> None:
    """A result of another expected JSON is run again, and one of a case that is gone is dropped."""
    write_case(project.cases, name="gone")
    write_case(project.cases, name="same")
    project.run()
    (project.cases / "products/tests/expected/lamp.json").write_text(json.dumps({**LAMP, "price": 40}))
    for folder in ("prompts", "sources", "expected"):
        for path in (project.cases / "products/tests" / folder).glob("gone.*"):
            path.unlink()
    assert project.run("--failed").exit_code == 0
    assert {result.name: result.accuracy for result in project.results().results} == {"lamp": 50.0, "same": 100.0}
    assert [case.name for case in project.results().cases] == ["lamp", "same"]


def test_failed_goes_on_after_ctrl_c(project: Project) -> None:
    """What an interrupted run did not come to is skipped in its results, and `--failed` runs it."""
    for number in range(3):
        write_case(project.cases, name=f"lamp{number}")

    def interrupt(result: CaseResult, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    tester = LLMTester(["x"], project.cases, config_path=project.config)
    with pytest.raises(RunInterrupted) as caught:
        tester.run_tests(on_result=interrupt)
    statuses = [result.status for result in caught.value.results.results]
    # The next call may have been in flight, and is waited for.
    assert statuses in (["ok", "ok", "ok", "skipped"], ["ok", "ok", "skipped", "skipped"])
    caught.value.results.save("llm_tester_results/results.json")
    assert project.run("--failed").exit_code == 0
    assert len(project.server.requests) == 4
    assert clean(project) == 0


def test_an_old_recording_names_the_command_that_records_it_again(project: Project) -> None:
    """A recording older than `max_age` is used, and its message names the command after which it is young."""
    project.run()
    path = Path(project.results().results[0].cassette or "")
    path.write_text(re.sub(r"at: '?20\d\d-", lambda match: match[0].replace("20", "19", 1), path.read_text()))
    project.configure({"x": openai_entry(project.server)}, max_age=30)
    old = project.run()
    assert old.exit_code == 0
    assert "older than max_age" in old.output
    assert execute(named(old)).exit_code == 0
    assert "older than max_age" not in project.run().output
    assert len(project.server.requests) == 2


def test_nothing_recorded_names_a_command_in_replay_too(project: Project) -> None:
    """`--record none` with no file says that nothing is recorded, not that it be recorded again."""
    empty = project.run("--record", "none")
    assert empty.exit_code == 1
    assert "to record again" not in empty.output
    assert "--record once" in named(empty)
    assert execute(named(empty)).exit_code == 0
    assert clean(project) == 0


def test_under_ci_the_message_names_a_command_that_records_under_ci(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under CI `auto` calls nothing; both commands that the message can name say that it shall."""
    write_case(project.cases, name="second")
    monkeypatch.setenv("CI", "true")
    assert execute(named(project.run())).exit_code == 0
    assert len(project.server.requests) == 2
    write_case(project.cases, name="third")
    assert execute(named(project.run())).exit_code == 0
    assert clean(project) == 0


def test_a_plain_prompt_next_to_others_is_named_alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command for a plain prompt does not record the case's other prompts."""
    project.prompt("Extract it briefly.", "lamp.brief")
    project.run("-m", "products/lamp.brief")
    monkeypatch.delenv("X_API_KEY")
    skipped = project.run()
    assert "-m products/lamp. " in named(skipped)
    monkeypatch.setenv("X_API_KEY", KEY)
    assert execute(named(skipped)).exit_code == 0
    assert [result.variant for result in project.results().results] == [""]
    assert clean(project) == 0


def test_the_command_names_other_directories_and_the_config(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python with cassettes elsewhere, and with a config that the environment names, the command is whole."""
    monkeypatch.setenv("LLM_TESTER_CONFIG", str(project.config))
    monkeypatch.delenv("X_API_KEY")
    [skipped] = LLMTester(["x"], project.cases, cassettes="tapes").run_tests().results
    monkeypatch.delenv("LLM_TESTER_CONFIG")
    monkeypatch.setenv("X_API_KEY", KEY)
    assert execute(str(skipped.command)).exit_code == 0
    assert Path("tapes/products/lamp/x/small.yaml").is_file()


def test_a_dry_run_applies_the_budget_and_needs_no_key(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dry run shows how many calls the budget allows, why not more, and which key a live call needs."""
    for number in range(9):
        write_case(project.cases, name=f"lamp{number}")
    monkeypatch.delenv("X_API_KEY")
    result = project.run("--dry-run", "--max-cost", "0.004")
    assert result.exit_code == 0
    live = int(re.findall(r"(\d+) live calls", result.output)[0])
    assert 0 < live < 10
    assert f"x, small, {10 - live} not called: x, small: the budget of $0.004" in result.output
    assert "set X_API_KEY" in result.output
    assert not project.server.requests


def test_a_dry_run_of_what_failed_counts_only_that(project: Project) -> None:
    """`--dry-run --failed` shows the calls that `--failed` would make."""
    write_case(project.cases, name="second")
    project.server.faults.append(Fault(status=400))
    project.run()
    result = project.run("--dry-run", "--failed")
    assert "1 live calls" in result.output
    assert len(project.server.requests) == 2


def test_a_mistyped_model_has_its_own_row_in_run_and_dry_run(project: Project) -> None:
    """`-p x -p openai:gtp-4o`: the one runs, the other says what it could have meant."""
    chosen = ("-p", "x", "-p", "openai:gtp-4o")
    dry = project.run("--dry-run", *chosen)
    assert dry.exit_code == 0
    assert "openai, gtp-4o, 1 not called: openai: the model 'gtp-4o' is unknown; " in dry.output
    assert project.run(*chosen).exit_code == 1
    ok, unknown = project.results().results
    assert (ok.status, unknown.status, unknown.error) == ("ok", "failed", "UnknownModelError")


def test_a_provider_without_an_enabled_model_is_a_problem(project: Project) -> None:
    """`-p y:*` with every model disabled runs nothing of y, and says so; with nothing else it is misuse."""
    idle = {**openai_entry(project.server), "models": [{"name": "small", "enabled": False}]}
    project.configure({"x": openai_entry(project.server), "y": idle})
    both = project.run("-p", "x", "-p", "y:*")
    assert (both.exit_code, "y:*: its entry lists no enabled model" in both.output) == (1, True)
    alone = project.run("-p", "y:*")
    assert (alone.exit_code, "nothing to run" in alone.output) == (2, True)


def test_the_estimate_counts_the_schema(project: Project) -> None:
    """The estimate of a run without a schema has fewer tokens, and the mode is shown, as it is in the results."""
    with_schema = project.run("--dry-run")
    project.write(env_key="X_API_KEY", structured_output="off")
    without = project.run("--dry-run")
    tokens = [int(re.findall(r"≈(\d+)", result.output)[0]) for result in (with_schema, without)]
    assert tokens[0] > tokens[1]
    assert re.search(r"x:small +native ", with_schema.output)
    assert re.search(r"x:small +off ", without.output)
    assert "schema: off)" in project.run().output
