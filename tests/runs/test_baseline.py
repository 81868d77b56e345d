"""A run against a baseline: the verdicts, what was lost or edited, the kept file, and the reports."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from console import invoke
from sample_cases import LAMP, openai_entry, write_case
from standins import StandIn

from llm_tester import RunResult
from llm_tester.reports import html, markdown
from llm_tester.runs.baseline import compare_runs
from llm_tester.runs.comparison import RunComparison
from llm_tester.runs.results import CaseRecord, CaseResult
from llm_tester.runs.scoring import compare
from llm_tester.runs.summary import summarize
from llm_tester.usage import UsageData

WRONG = {"name": "Aurora Lamp", "price": 1}
Run = Callable[..., Path]


def result(accuracy: float | None, repeat: int = 1, **more: Any) -> CaseResult:
    base: dict[str, Any] = {"module": "m", "name": "c", "provider": "p", "model": "x", "status": "ok"}
    usage = UsageData(total_cost=0.01, elapsed_seconds=2.0)
    return CaseResult(**{**base, "accuracy": accuracy, "repeat": repeat, "usage": usage, **more})


def lost(**more: Any) -> CaseResult:
    return result(None, status="failed", usage=None, **more)


def run(*results: CaseResult, cases: tuple[CaseRecord, ...] = ()) -> RunResult:
    return RunResult(run_id="a-run", results=results, cases=cases, versions={})


def repeated(*scores: float, **more: Any) -> list[CaseResult]:
    return [result(score, repeat, **more) for repeat, score in enumerate(scores, 1)]


def verdicts(comparison: RunComparison) -> tuple[list[str], list[str]]:
    """Those of the models, and those of the cases."""
    return [model.verdict for model in comparison.models], [change.verdict for change in comparison.changes]


def test_one_reply_each_cannot_tell_however_large_the_difference() -> None:
    comparison = compare_runs(run(result(100.0)), run(result(0.0)))
    assert verdicts(comparison) == (["cannot tell"], ["cannot tell"])
    assert not comparison.regressions()
    [line] = [line for line in comparison.notes() if line.startswith("cannot tell")]
    assert "3 more repeats of both runs (--repeat 4), about $0.0600, would settle it" in line


def test_enough_repeats_tell_better_from_worse() -> None:
    high, low = repeated(100, 90, 95, 100, 90), repeated(50, 45, 40, 50, 55)
    assert verdicts(compare_runs(run(*high), run(*low))) == (["worse"], ["worse"])
    assert verdicts(compare_runs(run(*low), run(*high))) == (["better"], ["better"])


def test_many_cases_tell_without_repeats() -> None:
    names = "abcdefgh"
    before = run(*(result(90.0, name=name) for name in names))
    after = run(*(result(80.0 + place / 10, name=name) for place, name in enumerate(names)))
    models, cases = verdicts(compare_runs(before, after))
    assert models == ["worse"]
    assert cases == ["cannot tell"] * len(names)


def test_replies_that_scored_as_before_are_the_same() -> None:
    noisy = run(*repeated(80, 90, 100))
    assert verdicts(compare_runs(noisy, noisy)) == (["same"], ["same"])
    assert compare_runs(noisy, noisy).models[0].more is None


def test_a_difference_within_the_tolerance_is_the_same() -> None:
    before, after = run(*repeated(*[90.0] * 5)), run(*repeated(*[89.0] * 5))
    assert verdicts(compare_runs(before, after))[0] == ["worse"]
    assert verdicts(compare_runs(before, after, tolerance=1.0)) == (["same"], ["same"])
    assert verdicts(compare_runs(before, after, tolerance=0.9))[0] == ["worse"]


def test_a_lost_reply_is_worse_for_the_case_and_for_the_gate() -> None:
    before, after = run(result(50.0), result(60.0, name="d")), run(lost(), result(60.0, name="d"))
    comparison = compare_runs(before, after)
    assert verdicts(comparison) == (["worse"], ["worse", "same"])
    assert "1 case lost the reply: m/c" in comparison.regressions()[0].line()
    won = compare_runs(after, before)
    assert verdicts(won) == (["same"], ["better", "same"])
    assert verdicts(compare_runs(run(lost()), run(lost()))) == (["cannot tell"], ["same"])


def test_what_only_one_run_has_is_new_or_gone() -> None:
    before = run(result(50.0), result(50.0, name="old"))
    after = run(result(50.0), result(50.0, name="new"))
    assert verdicts(compare_runs(before, after)) == (["same"], ["same", "new", "gone"])


@pytest.mark.parametrize(
    ("part", "verdict"), [("prompt", "cannot tell"), ("source", "edited"), ("expected", "edited"), ("files", "edited")]
)
def test_an_edited_case_is_compared_only_if_it_asks_for_the_same(part: str, verdict: str) -> None:
    """Another prompt is what one compares; another source or another right answer is another question."""
    values: dict[str, Any] = {"prompt": "p", "source": "s", "expected": {"a": 1}, "files": ("f",)}
    other = {**values, part: {"a": 2} if part == "expected" else ("g",) if part == "files" else "other"}
    before = run(result(50.0), cases=(CaseRecord(module="m", name="c", **values),))
    after = run(result(90.0), cases=(CaseRecord(module="m", name="c", **other),))
    comparison = compare_runs(before, after)
    [change] = comparison.changes
    assert (change.verdict, change.edited) == (verdict, (part,))
    assert comparison.models[0].cases == (1 if verdict == "cannot tell" else 0)
    assert f"edited since then: {part}" in change.line()


def test_an_unknown_cost_of_more_repeats_is_not_zero() -> None:
    free = {"usage": UsageData(total_cost=None, elapsed_seconds=1.0)}
    comparison = compare_runs(run(result(100.0)), run(result(0.0, **free)))
    assert "at unknown cost, would settle it" in comparison.models[0].line()


def test_fields_show_what_was_extracted_then_and_now() -> None:
    expected = {"price": 39.9, "name": "Lamp"}
    sides = [
        result(value["price"], fields=tuple(compare(expected, value).fields))
        for value in ({"price": 39.9, "name": "Lamp"}, {"price": 1, "name": "Lamp", "extra": "x"})
    ]
    [change] = compare_runs(run(sides[0]), run(sides[1])).changes
    assert [(field.text(), field.rose) for field in change.fields] == [
        ("price 39.9 → 1", False),
        ('extra — → "x"', False),
    ]
    [change] = compare_runs(run(sides[1]), run(sides[0])).changes
    assert [(field.text(), field.rose) for field in change.fields][1] == ('extra "x" → —', True)


def test_both_reports_show_the_comparison_case_by_case() -> None:
    expected = {"price": 39.9, "a|<b>": 1}
    before = run(*repeated(*[100.0] * 5, fields=tuple(compare(expected, expected).fields)))
    after = run(*repeated(*[0.0] * 5, status="invalid", fields=tuple(compare(expected, {"price": 1}).fields)))
    comparison = compare_runs(before, after)
    text = markdown.render(after, comparison)
    assert "| p:x | **worse** | 100.0 → 0.0 | −100.0 | 0.008 | $0.0100 | 2.00 | 1 case |" in text
    assert "invalid replies 0 of 5 → 5 of 5<br>price 39.9 → 1<br>" in text
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.render(after, comparison)))
    assert "Against the baseline Then: a-run" in page
    assert "p:x m/c ▼ worse 100.0 → 0.0 −100.0 0.008 $0.0100 2.00 invalid replies 0 of 5 → 5 of 5" in page
    assert "price 39.9 → 1" in page
    assert "<b>" not in text
    assert 'id="against"' not in html.render(after)
    assert "Against the baseline" not in markdown.render(after)


def test_models_are_ranked_over_the_cases_that_they_share() -> None:
    """The hard case, which only one answered, does not decide the ranking."""
    results = [
        *(result(90.0, name=name) for name in "ab"),
        result(10.0, name="hard"),
        *(result(80.0, name=name, model="y") for name in "ab"),
        lost(name="hard", model="y"),
    ]
    summary = summarize(run(*results))
    assert [(column.model, column.ranked, column.cases) for column in summary.columns] == [
        ("x", 90.0, 3),
        ("y", 80.0, 2),
    ]
    assert (summary.common, summary.cases) == (2, 3)


def test_a_model_that_failed_early_is_not_ranked_and_does_not_decide_for_the_others() -> None:
    results = [
        *(result(80.0, name=name) for name in "abcd"),
        *(result(90.0, name=name, model="y") for name in "abcd"),
        *(result(100.0, name="a", model="z"), *(lost(name=name, model="z") for name in "bcd")),
    ]
    summary = summarize(run(*results))
    assert [(column.model, column.ranked) for column in summary.columns] == [("y", 90.0), ("x", 80.0), ("z", None)]
    assert summary.common == 4


def test_models_without_a_case_in_common_are_not_ranked() -> None:
    summary = summarize(run(result(80.0), lost(name="d"), lost(model="y"), result(90.0, name="d", model="y")))
    assert [(column.model, column.ranked, column.accuracy) for column in summary.columns] == [
        ("y", None, 90.0),
        ("x", None, 80.0),
    ]


def test_prompts_are_compared_over_the_same_cases() -> None:
    """`short` has one of three cases; the plain prompt is compared with it over that one alone."""
    results = [result(score, name=name) for score, name in ((40.0, "a"), (90.0, "b"), (90.0, "c"))]
    results.append(result(70.0, name="a", variant="short"))
    summary = summarize(run(*results))
    assert (summary.names, summary.cases, len(summary.columns)) == (3, 4, 1)
    [table] = summary.prompts
    assert (table.variants, table.cases) == (("", "short"), 1)
    assert [(row.variant, row.accuracy, row.cases) for row in table.rows] == [("", 40.0, 1), ("short", 70.0, 1)]
    text = markdown.render(run(*results))
    assert "| p | x | (plain) | 40.0 | 1 of 1 |" in text
    assert "| p | x | short | 70.0 | 1 of 1 |" in text


def test_the_gate_passes_on_an_identical_noisy_model_and_fails_on_a_worse_one(
    tmp_path: Path, write_config: Run, standin: Callable[..., StandIn]
) -> None:
    """Over a real server: prices vary from reply to reply, then are always wrong."""
    write_case(tmp_path / "cases")
    prices = iter([39.9, 39.9, 1, 39.9, 39.9, 39.9, 1, 39.9, 1, 39.9, *[1] * 5])
    server = standin(lambda body: json.dumps({**LAMP, "price": next(prices)}))
    write_config({"x": openai_entry(server)})
    arguments = ("run", "--repeat", "5", "--record", "rewrite")
    assert invoke(*arguments).exit_code == 0
    assert invoke("baseline", "save").exit_code == 0
    same = invoke(*arguments, "--fail-on-regression")
    assert same.exit_code == 0, same.output
    assert "cannot tell: x:" in same.output
    worse = invoke(*arguments, "--fail-on-regression")
    assert worse.exit_code == 1
    assert "price 39.9 → 1" in worse.output


def test_a_baseline_is_kept_and_used_from_then_on(mock_run: Run, tmp_path: Path) -> None:
    mock_run()
    repeats = ("run", "--repeat", "4")
    invoke(*repeats)
    saved = invoke("baseline", "save")
    assert saved.exit_code == 0
    assert "baseline.json" in saved.output
    kept = (tmp_path / "baseline.json").read_bytes()
    mock_run(WRONG)
    worse = invoke(*repeats)
    assert worse.exit_code == 0
    assert f"compares with the baseline {RunResult.load(tmp_path / 'baseline.json').run_id}" in worse.output
    assert "worse: m:m: 100.0 → 50.0 over 1 case (p = 0.029)" in worse.output
    assert "worse: products/lamp, m:m: 100.0 → 50.0; price 39.9 → 1" in worse.output
    for _ in range(2):
        gate = invoke(*repeats, "--fail-on-regression", "--junit", "j.xml")
        assert gate.exit_code == 1
    [failure] = ElementTree.parse("j.xml").getroot().iterfind(".//testcase[@classname='baseline']/failure")
    assert str(failure.get("message")).startswith("worse: m:m")
    for name in ("report.md", "report.html"):
        assert "Against the baseline" in (tmp_path / "llm_tester_results" / name).read_text()
    assert (tmp_path / "baseline.json").read_bytes() == kept
    mock_run()
    assert invoke(*repeats, "--fail-on-regression").exit_code == 0


def test_a_named_file_becomes_the_baseline_of_a_named_config(mock_run: Run, tmp_path: Path) -> None:
    config = mock_run()
    invoke("run", "--output", "out")
    (tmp_path / "other").mkdir()
    moved = tmp_path / "other" / config.name
    moved.write_text(config.read_text())
    assert invoke("baseline", "save", "out/results.json", "--config", str(moved)).exit_code == 0
    assert RunResult.load(moved.parent / "baseline.json") == RunResult.load("out/results.json")
    assert not (tmp_path / "baseline.json").exists()


def test_a_baseline_that_the_run_would_write_over_is_misuse(mock_run: Run, tmp_path: Path) -> None:
    mock_run()
    invoke("run")
    before = (tmp_path / "llm_tester_results/results.json").read_bytes()
    named = invoke("run", "--baseline", "./llm_tester_results/../llm_tester_results/results.json")
    assert named.exit_code == 2
    assert "would overwrite its own baseline" in named.output
    assert "llm-tester baseline save" in named.output
    assert "[1/1]" not in named.output
    assert (tmp_path / "llm_tester_results/results.json").read_bytes() == before


def test_saving_a_baseline_needs_results_and_writes_over_nothing_else(mock_run: Run, tmp_path: Path) -> None:
    mock_run()
    missing = invoke("baseline", "save")
    assert missing.exit_code == 2
    assert "there is no such file" in missing.output
    invoke("run")
    (tmp_path / "baseline.json").write_text("precious")
    foreign = invoke("baseline", "save")
    assert foreign.exit_code == 2
    assert (tmp_path / "baseline.json").read_text() == "precious"


def test_saving_a_baseline_names_the_results_that_cannot_be_compared(mock_run: Run) -> None:
    mock_run(error=400)
    invoke("run")
    assert "1 of these results have no reply" in invoke("baseline", "save").output


def test_a_baseline_of_other_cases_compares_nothing_and_says_so(mock_run: Run, tmp_path: Path) -> None:
    """The kept one is a note; one that was named, or a gate, fails the run."""
    run(result(50.0)).save(tmp_path / "baseline.json")
    mock_run()
    kept = invoke("run")
    assert kept.exit_code == 0
    assert "nothing was compared" in kept.output
    assert "nothing was compared" in (tmp_path / "llm_tester_results/report.html").read_text()
    assert invoke("run", "--fail-on-regression").exit_code == 1
    assert invoke("run", "--baseline", "baseline.json").exit_code == 1


def test_the_tolerance_is_an_option(mock_run: Run) -> None:
    mock_run()
    invoke("run", "--repeat", "4")
    invoke("baseline", "save")
    mock_run(WRONG)
    gate = ("run", "--repeat", "4", "--fail-on-regression")
    assert invoke(*gate, "--tolerance", "49").exit_code == 1
    assert invoke(*gate, "--tolerance", "50").exit_code == 0
    assert invoke("run", "--tolerance", "-1").exit_code == 2
