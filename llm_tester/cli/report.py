"""The command `report`: results that exist, in every format."""

from collections.abc import Sequence
from pathlib import Path

from ..reports import html, junit, markdown, terminal
from ..runs.baseline import compare_runs
from ..runs.comparison import RunComparison, counted
from ..runs.results import RunResult
from ..utils.files import check_own, write_own
from .console import console, say

__all__ = ["show_report"]


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


def _write(output: Path, run: RunResult, comparison: RunComparison | None, against: RunResult | None) -> None:
    worse = [model.line() for model in comparison.regressions()] if comparison else []
    files = {
        output / "report.html": (html.render(run, comparison, against=against, directory=output), html.MARK),
        output / "report.md": (markdown.render(run, comparison), markdown.MARK),
        output / "junit.xml": (junit.render(run, None, worse), junit.MARK),
    }
    for path, (_, mark) in files.items():
        check_own(path, mark)
    for path, (text, mark) in files.items():
        write_own(path, text, mark)
    say(f"written: {output / 'report.html'}, report.md and junit.xml")
