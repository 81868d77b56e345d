"""The command `report`: results that exist, in every format."""

from collections.abc import Sequence
from pathlib import Path

from ..reports import html, markdown, terminal
from ..runs.baseline import compare_runs
from ..runs.comparison import RunComparison, counted
from ..runs.results import RunResult
from ..utils.files import check_own, write_own
from .console import console, say

__all__ = ["show_report", "write_reports"]


def show_report(results: Sequence[Path], output: Path, *, whole: bool = False) -> bool:
    """Prints results and writes their reports; compares each file with the first one.

    Args:
        results: results files, or the directories with their results.json.
        output: the directory to write into; with more than two files, into `2`, `3`, … below it.
        whole: whether to print all rows and wrong fields, not only a screen of each.

    Returns:
        Whether each comparison had something to compare.

    Raises:
        ResultsError: a file cannot be read, or one of another program would be overwritten.
    """
    runs = []
    for path in (path / "results.json" if path.is_dir() else path for path in results):
        runs.append(run := RunResult.load(path))
        say(f"read {path}: run {run.run_id} of {run.started_at}, {counted(len(run.results), 'result')}")
    comparisons = [compare_runs(runs[0], run) for run in runs[1:]]
    for number, run in enumerate(runs[1:] or runs):
        comparison = comparisons[number] if comparisons else None
        terminal.show_results(console(), run, comparison, whole=whole)
        against = runs[0] if comparison else None
        _write(output / str(number + 2) if len(runs) > 2 else output, run, comparison, against)
    return all(comparison.models for comparison in comparisons)


def write_reports(
    output: Path,
    run: RunResult,
    comparison: RunComparison | None,
    again: str | None = None,
    against: RunResult | None = None,
) -> None:
    """Writes report.md and report.html.

    Args:
        output: the directory.
        run: the results.
        comparison: with a baseline, if there is one.
        again: the command that runs again what failed; None if there is none.
        against: an earlier run to show next to this one in report.html.

    Raises:
        ResultsError: a file is another program's, or it cannot be written.
    """
    write_own(output / "report.md", markdown.render(run, comparison, again), markdown.MARK)
    write_own(output / "report.html", html.render(run, comparison, against=against, directory=output), html.MARK)


def _write(output: Path, run: RunResult, comparison: RunComparison | None, against: RunResult | None) -> None:
    # Only here: `run` uses this module too, and XML takes time to import.
    from ..reports import junit

    worse = [model.line() for model in comparison.regressions()] if comparison else []
    marks = {"report.html": html.MARK, "report.md": markdown.MARK, "junit.xml": junit.MARK}
    for name, mark in marks.items():
        check_own(output / name, mark)
    write_reports(output, run, comparison, against=against)
    write_own(output / "junit.xml", junit.render(run, None, worse), junit.MARK)
    say(f"written: {output / 'report.html'}, report.md and junit.xml")
