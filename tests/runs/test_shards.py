"""A run in parts on machines that share nothing, and its results put together."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_cases import LAMP, openai_entry, write_case
from standins import StandIn

from llm_tester import RunResult
from llm_tester.__main__ import main
from llm_tester.runs.cases import Case
from llm_tester.runs.shards import shard_of
from llm_tester.runs.units import Unit
from llm_tester.utils.cost_manager import CostReport

Write = Callable[..., Path]
Start = Callable[..., StandIn]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def server(tmp_path: Path, write_config: Write, standin: Start, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Three cases and two providers with one server."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_case(tmp_path / "cases", name=f"case{number}")
    server = standin(json.dumps(LAMP))
    write_config({"b": openai_entry(server), "a": openai_entry(server)})
    return server


def parts(of: int, *options: str) -> list[str]:
    """Runs each part as on a machine of its own; gives the output directories."""
    for number in range(1, of + 1):
        assert invoke("run", "--record", "off", "--shard", f"{number}/{of}", "--output", f"part{number}", *options)
    return [f"part{number}" for number in range(1, of + 1)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    cases=st.integers(0, 12),
    models=st.lists(st.sampled_from("abcd"), min_size=1, unique=True),
    of=st.integers(1, 9),
)
def test_each_unit_is_in_exactly_one_part(cases: int, models: list[str], of: int, tmp_path: Path) -> None:
    """Whatever the numbers, the parts are disjoint, complete, and equally large by model give or take one case."""
    texts: dict[str, Any] = {"module": "m", "directory": tmp_path, "prompt": "", "source": "", "expected": {}}
    units = [
        Unit(case=Case(**texts, name=f"{number:02}"), provider=model, model="m", cassettes=tmp_path)
        for number in range(cases)
        for model in models
    ]
    shares = [shard_of(units, number, of)[1] for number in range(1, of + 1)]
    assert sorted(unit.place for share in shares for unit in share) == sorted(unit.place for unit in units)
    for model in models:
        counts = [sum(unit.provider == model for unit in share) for share in shares]
        assert max(counts) - min(counts) <= 1
    backwards = sorted(units, key=lambda unit: (unit.case.name, -models.index(unit.provider)))
    assert {unit.place for unit in shard_of(backwards, 1, of)[1]} == {unit.place for unit in shares[0]}


def test_merged_parts_are_the_whole_run(server: StandIn) -> None:
    """Results, their order and what was spent are those of a run on one machine."""
    assert invoke("run", "--record", "off", "--output", "whole").exit_code == 0
    merged = invoke("merge", *reversed(parts(4)), "-o", "merged")
    assert merged.exit_code == 0, merged.output
    whole, again = RunResult.load("whole/results.json"), RunResult.load("merged/results.json")
    assert [result.place for result in again.results] == [result.place for result in whole.results]
    assert (again.cases, again.spent_usd, again.shard) == (whole.cases, whole.spent_usd, None)
    assert again.schemas == whole.schemas != {}
    total = CostReport.load("merged/costs.json").by("run_id")
    assert {run_id: row.spent_usd for (run_id,), row in total.items()} == {again.run_id: whole.spent_usd}
    assert again.spent_text == whole.spent_text
    assert len(server.requests) == 12
    for name in ("report.md", "report.html", "costs.md"):
        assert Path("merged", name).exists()


def test_what_failed_in_a_part_runs_again_in_it(server: StandIn) -> None:
    """`--failed` keeps to the part, and so does a part that has not all the models."""
    names = parts(8)
    path = Path("part1/results.json")
    [result] = RunResult.load(path).results
    path.write_text(path.read_text().replace('"status":"ok"', '"status":"failed"'))
    before = len(server.requests)
    assert invoke("run", "--failed", "--record", "off", "--output", "part1").exit_code == 0
    assert ([item.place for item in RunResult.load(path).results], len(server.requests)) == ([result.place], before + 1)
    assert invoke("merge", *names, "-o", "merged").exit_code == 0
    other = invoke("run", "--failed", "--shard", "2/8", "--output", "part1")
    assert (other.exit_code, "part 1/8, not of part 2/8" in other.output) == (2, True)


def test_parts_that_do_not_make_a_run_are_refused(server: StandIn, tmp_path: Path) -> None:
    """One is missing, one is there twice, one is of other cases, one is a whole run, or its costs are not there."""
    names = parts(3)

    def refused(*given: str) -> str:
        result = invoke("merge", *given, "-o", "merged")
        assert (result.exit_code, Path("merged/results.json").exists()) == (2, False)
        return result.output

    assert "the parts 2/3 are missing" in refused("part1", "part3")
    shutil.copytree("part1", "copy")
    assert "part 1 of 3 is also part1" in refused(*names, "copy")
    invoke("run", "--record", "off", "--output", "whole")
    assert "has a whole run" in refused("whole")
    write_case(tmp_path / "cases", name="case1", prompts="Another prompt.")
    invoke("run", "--record", "off", "--shard", "3/3", "--output", "changed")
    assert "part of another run than" in refused("part1", "part2", "changed")
    Path("part2/costs.json").unlink()
    assert "keep it next to results.json" in refused(*names)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_an_unusable_part_is_refused(text: str, server: StandIn) -> None:
    result = invoke("run", "--shard", text)
    assert (result.exit_code, "such as 2/8" in result.output) == (2, True)
