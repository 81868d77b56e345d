"""The command `report`: results that exist, in every format."""

from collections.abc import Sequence
from pathlib import Path

from ..reports import html, markdown, terminal
from ..runs.baseline import compare_runs
from ..runs.comparison import RunComparison, counted
from ..runs.results import RunResult
from ..utils.files import check_own, write_own
from . import COMPLETE, INCOMPLETE
from .console import console, say

__all__ = ["check_reports", "load_runs", "show_report", "write_junit", "write_reports"]


def load_runs(paths: Sequence[Path]) -> list[tuple[Path, RunResult]]:
    """Reads results files, or those in the directories that are named; gives each with its path.

    Raises:
        ResultsError: a file cannot be read.
    """
    files = [path / "results.json" if path.is_dir() else path for path in paths]
    return [(path, RunResult.load(path)) for path in files]


def show_report(results: Sequence[Path], output: Path, *, whole: bool = False) -> int:
    """Prints results and writes their reports; compares each file with the first one.

    Args:
        results: results files, or the directories with their results.json.
        output: the directory to write into; with more than two files, into `2`, `3`, … below it.
        whole: whether to print all rows and wrong fields, not only a screen of each.

    Returns:
        The exit code: whether each comparison had something to compare.

    Raises:
        ResultsError: a file cannot be read, or one of another program would be overwritten.
    """
    loaded = load_runs(results)
    for path, run in loaded:
        say(f"read {path}: run {run.run_id} of {run.started_at}, {counted(len(run.results), 'result')}")
    first, *others = [run for _, run in loaded]
    compared = [(run, compare_runs(first, run)) for run in others]
    for number, (run, comparison) in enumerate(compared or [(first, None)], 2):
        folder = output / str(number) if len(others) > 1 else output
        _report(folder, run, comparison, first if comparison else None, whole=whole)
    return COMPLETE if all(comparison.models for _, comparison in compared) else INCOMPLETE


def _report(
    output: Path, run: RunResult, comparison: RunComparison | None, against: RunResult | None, *, whole: bool
) -> None:
    terminal.show_results(console(), run, comparison, whole=whole)
    check_reports(output, output / "junit.xml")
    write_reports(output, run, comparison, against=against)
    worse = [model.line() for model in comparison.regressions()] if comparison else []
    write_junit(output / "junit.xml", run, None, worse)
    say(f"written: {output / 'report.html'}, report.md and junit.xml")


def check_reports(output: Path, junit_path: Path | None) -> None:
    """Checks that reports can be written.

    Args:
        output: the directory of report.md and report.html.
        junit_path: the file for the JUnit XML; None for no such report.

    Raises:
        ResultsError: a file is another program's, or it cannot be written.
    """
    check_own(output / "report.md", markdown.MARK)
    check_own(output / "report.html", html.MARK)
    if junit_path:
        from ..reports import junit

        check_own(junit_path, junit.MARK)


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


def write_junit(path: Path, run: RunResult, fail_under: float | None, worse: Sequence[str]) -> None:
    """Writes JUnit XML; see `reports.junit.render`.

    Raises:
        ResultsError: the file is another program's, or it cannot be written.
    """
    # Only here, because most runs write none, and XML takes time to import.
    from ..reports import junit

    write_own(path, junit.render(run, fail_under, worse), junit.MARK)
