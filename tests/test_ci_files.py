"""The GitHub Action, the pre-commit hook and the package's metadata do what docs/ci.md says."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from console import SCRIPTS, invoke, run_script
from doc_pages import FENCE
from sample_cases import LAMP

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
BLOCKS = [yaml.safe_load(text) for _, text in FENCE.findall((ROOT / "docs/ci.md").read_text(encoding="utf-8"))]
WORKFLOW, GITLAB, HOOKS = BLOCKS
EXPRESSION = re.compile(r"\$\{\{ ([\w.]+) \}\}")
# Notes its arguments and the comment, and answers as GitHub would: with the ids in $FOUND, or not at all.
GH = """#!/usr/bin/env bash
echo "$@" >> "$NOTES"
for word in "$@"; do case $word in body=@*) cat "${word#body=@}" >> "$NOTES" ;; esac; done
[ "$GH_TOKEN" = secret ] || exit 1
case $* in *--paginate*) printf "$FOUND" ;; esac
"""


class Job:
    """A job that uses the action; its scripts run as GitHub runs them."""

    def __init__(self, folder: Path, **inputs: str) -> None:
        self.folder = folder
        self.values = {"github.token": "secret", "github.event.pull_request.number": "7"}
        for name, about in ACTION["inputs"].items():
            self.values[f"inputs.{name}"] = self.filled(inputs.get(name, about["default"]))
        assert set(inputs) <= set(ACTION["inputs"])
        for name in ("temp", "bin"):
            (folder / name).mkdir(exist_ok=True)
        (folder / "bin/gh").write_text(GH)
        (folder / "bin/gh").chmod(0o755)

    def filled(self, text: str) -> str:
        return EXPRESSION.sub(lambda found: self.values[found[1]], text)

    def step(self, name: str, **more: str) -> subprocess.CompletedProcess[str]:
        [step] = [step for step in ACTION["runs"]["steps"] if step["id"] == name]
        path = os.pathsep.join([str(self.folder / "bin"), str(SCRIPTS), os.environ["PATH"]])
        github = {"GITHUB_OUTPUT": "temp/output", "GITHUB_STEP_SUMMARY": "temp/summary", "RUNNER_TEMP": "temp"}
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("COV_")},
            **{name: self.filled(value) for name, value in step["env"].items()},
            **{name: str(self.folder / value) for name, value in github.items()},
            "PATH": path,
            "GITHUB_REPOSITORY": "acme/shop",
            "NOTES": str(self.folder / "notes"),
            "FOUND": "",
            **more,
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        output = self.folder / "temp/output"
        for line in output.read_text().splitlines() if output.exists() else ():
            self.values[f"steps.{name}.outputs.{line.partition('=')[0]}"] = line.partition("=")[2]
        return done

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")


def test_a_job_passes_and_fails_when_a_model_gets_worse(mock_run: Callable[..., Path], tmp_path: Path) -> None:
    """The summary has the report, also of the run that fails."""
    mock_run()
    job = Job(tmp_path, arguments="-p m --repeat 5 --output 'not this one'", output="results here")
    assert job.step("run").returncode == 0
    assert job.text("temp/summary") == job.text("results here/report.md")
    assert job.step("fail").returncode == 0
    (tmp_path / "results here/results.json").rename(tmp_path / "kept.json")
    mock_run({**LAMP, "price": 1})
    job = Job(tmp_path, arguments="-p m --repeat 5", baseline="kept.json", output="others")
    assert "worse: m:" in job.step("run").stdout
    assert job.values["steps.run.outputs.status"] == "1"
    assert job.text("temp/summary").endswith(job.text("others/report.md"))
    assert job.step("fail").returncode == 1


def test_a_run_that_cannot_start_says_so_and_shows_no_older_report(tmp_path: Path) -> None:
    """A config that does not exist: there is a report of an earlier run, which is not shown."""
    (tmp_path / "llm_tester_results").mkdir()
    (tmp_path / "llm_tester_results/report.md").write_text("old")
    os.utime(tmp_path / "llm_tester_results/report.md", (1, 1))
    job = Job(tmp_path, config="no such.json")
    assert "no such.json" in job.step("run").stderr + job.step("run").stdout
    assert "old" not in job.text("temp/summary")
    assert "wrote no report (exit code 2)" in job.text("temp/summary")
    assert job.step("fail").returncode == 2


def test_no_input_is_run_as_code(tmp_path: Path) -> None:
    """Values come by environment, not in the text of a script, and are words of their own."""
    assert not [step["id"] for step in ACTION["runs"]["steps"] if "${{" in step["run"]]
    bad = "$(touch pwned) `touch pwned`; touch pwned"
    job = Job(tmp_path, arguments=bad, config=bad, baseline=bad, output=bad, package=bad)
    for name in ("install", "run", "comment"):
        job.step(name)
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize(
    ("found", "request_of_it"),
    [
        ("", "--method POST repos/acme/shop/issues/7/comments"),
        ("31\n44\n", "--method PATCH repos/acme/shop/issues/comments/31"),
    ],
)
def test_the_comment_is_made_once_and_then_updated(found: str, request_of_it: str, tmp_path: Path) -> None:
    """The report follows a mark by which a later run finds the comment; a long report is cut."""
    job = Job(tmp_path, comment="true")
    (tmp_path / "temp/llm-tester-report.md").write_text("# Report\n" + "x" * 70_000)
    assert job.step("comment", FOUND=found).returncode == 0
    asked, sent, *comment = job.text("notes").split("\n", 3)
    assert asked.startswith("api --paginate repos/acme/shop/issues/7/comments --jq .[] | select(.body | startswith(")
    assert sent.startswith(f"api {request_of_it} -F body=@")
    assert comment[0] == "<!-- llm-tester, llm_tester_results -->"
    assert comment[1].startswith("# Report\nx")
    assert len(comment[1]) == 60_000


def test_a_token_that_may_not_comment_is_a_warning(tmp_path: Path) -> None:
    """A pull request from a fork has one; the run decides about the job."""
    job = Job(tmp_path, token="of a fork")
    (tmp_path / "temp/llm-tester-report.md").write_text("# Report\n")
    done = job.step("comment")
    assert done.returncode == 0
    assert "::warning::llm-tester could not comment" in done.stdout


def test_pip_installs_the_named_package(tmp_path: Path) -> None:
    """Or nothing, if an earlier step did."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text('#!/usr/bin/env bash\necho "$@"\n')
    (tmp_path / "bin/python").chmod(0o755)
    assert Job(tmp_path).step("install").stdout == "-m pip install -q -- llm_tester\n"
    assert Job(tmp_path, package="").step("install").stdout == ""


def test_the_documented_workflow_uses_inputs_that_exist() -> None:
    """And the table names each input with its default."""
    [used] = [step["with"] for step in WORKFLOW["jobs"]["llm-tester"]["steps"] if "llm_tester@" in step["uses"]]
    assert set(used) <= set(ACTION["inputs"])
    page = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) *\|", page, re.MULTILINE))
    assert list(rows) == list(ACTION["inputs"])
    plain = {name: about["default"] for name, about in ACTION["inputs"].items() if name not in ("config", "token")}
    assert {name: rows[name].strip("`") for name in plain} == plain


def test_the_gitlab_job_runs(mock_run: Callable[..., Path], tmp_path: Path) -> None:
    """Its second line, in a project with a baseline, writes what its artifacts name."""
    mock_run()
    assert invoke("run").exit_code == 0
    assert invoke("baseline", "save").exit_code == 0
    job = GITLAB["llm-tester"]
    program, *arguments = job["script"][1].split()
    assert run_script(program, *arguments, cwd=tmp_path).returncode == 0
    for path in (*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]):
        assert (tmp_path / path).exists()


def test_the_hook_finds_a_key_in_a_recording(tmp_path: Path) -> None:
    """As pre-commit does: the hook's command gets the files that match its pattern."""
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert [hook["id"]] == [one["id"] for one in HOOKS["repos"][0]["hooks"]]
    names = ["cassettes/a.yaml", "tests/cassettes/b.yml", "cassettes/c.kept.json", "config.json", "docs/d.yaml"]
    matching = [name for name in names if re.search(hook["files"], name)]
    assert matching == names[:3]
    for name in matching:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a: 1\n")
    program, *arguments = hook["entry"].split()
    assert run_script(program, *arguments, *matching, cwd=tmp_path).returncode == 0
    (tmp_path / names[1]).write_text(f"a: {'sk-'}{'0a' * 12}\n")
    done = run_script(program, *arguments, *matching, cwd=tmp_path)
    assert done.returncode == 1
    assert "tests/cassettes/b.yml:1: what looks like a key" in done.stdout


def test_the_metadata_says_what_the_package_is_for() -> None:
    """What an index shows and searches; the versions of Python are those that it allows."""
    about = importlib.metadata.metadata("llm_tester")
    kinds = about.get_all("Classifier") or []
    assert {"Framework :: Pytest", "Typing :: Typed", "Intended Audience :: Developers"} <= set(kinds)
    assert any(kind.startswith("Development Status :: ") for kind in kinds)
    # With a licence expression (PEP 639) there must be no classifier of a licence.
    assert about["License-Expression"] == "MIT"
    assert not [kind for kind in kinds if kind.startswith("License")]
    assert "pytest" in about["Keywords"].split(",")
    versions = [tuple(map(int, kind.split(" :: ")[2].split("."))) for kind in kinds if re.search(r":: 3\.\d+$", kind)]
    assert about["Requires-Python"] == f">={versions[0][0]}.{versions[0][1]}"
    assert sys.version_info[:2] in versions


def test_the_citation_is_of_this_version() -> None:
    """A release changes both."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert citation["abstract"] == project["description"]
