"""The results as tables in a terminal."""

from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..runs.comparison import RunComparison
from ..runs.results import RunResult
from ..runs.scoring import Counts
from ..runs.summary import Group, Summary, grouped, summarize, value_counts
from . import tables

__all__ = ["show_results", "table"]

_MOST_ROWS = 50
# From the best to the worst.
_STYLES = {"ok": "", "invalid": "yellow", "failed": "red", "skipped": "dim"}


def show_results(
    console: Console, run: RunResult, comparison: RunComparison | None = None, again: str | None = None
) -> None:
    """Prints a table of cases for each model, the sums of each model, and what went wrong.

    Args:
        console: the terminal.
        run: the results.
        comparison: the comparison with a baseline, if there is one.
        again: the command that runs again what failed or was skipped; None if there is none.
    """
    for name, groups in _by_column(run).items():
        shown = groups if len(groups) <= _MOST_ROWS else sorted(groups, key=lambda group: group.accuracy or 0.0)
        _show_cases(console, name, shown[:_MOST_ROWS])
        if len(groups) > _MOST_ROWS:
            _say(console, f"the {_MOST_ROWS} least accurate of {len(groups)}; the reports have them all")
    _show_sums(console, run, summarize(run))
    if run.repeats > 1:
        _say(console, "fields that changed between repeats", "bold")
        console.print(table(("case", "model", "field", "changes"), _changes(run)))
    for column, note in tables.price_notes(run):
        _say(console, f"prices: {column}: {note}", "yellow")
    _show_problems(console, run, again)
    for note in comparison.notes() if comparison else ():
        _say(console, note)
    _say(console, f"spent: {run.spent_text}")


def table(heads: Sequence[str], rows: Iterable[tables.Row]) -> Table:
    """A table for a terminal.

    Args:
        heads: the heads of the columns.
        rows: the texts of each row by head, and its "style" if it has one.
    """
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        is_text = head in tables.TEXTS
        shown.add_column(head, justify="left" if is_text else "right", no_wrap=not is_text)
    for row in rows:
        shown.add_row(*(Text(row[head]) for head in heads), style=row.get("style"))
    return shown


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


def _by_column(run: RunResult) -> dict[str, list[Group]]:
    found: dict[str, list[Group]] = {}
    for group in grouped(run.results).values():
        found.setdefault(group.first.column, []).append(group)
    return found


def _show_cases(console: Console, title: str, groups: Sequence[Group]) -> None:
    """The cases of one provider and model. The title says what is the same for all of them."""
    rows = list(map(_case_row, groups))
    heads, shared = ["case", "accuracy", "in", "out", "cost", "seconds"], []
    for head in ("reply from", "schema"):
        found = {row[head] for row in rows} - {"—"}
        if len(found) > 1:
            heads.append(head)
        else:
            shared += [f"schema: {one}" if head == "schema" else one for one in found]
    _say(console, f"{title} ({'; '.join(shared)})" if shared else title, "bold")
    console.print(table(heads, rows))


def _case_row(group: Group) -> tables.Row:
    worst = max((result.status for result in group.results), key=list(_STYLES).index)
    accuracy = tables.points(group.accuracy)
    if len(group.results) > 1 and group.accuracy is not None:
        accuracy += f" ±{group.spread:.1f} ({len(group.scores)}×)"
    if worst != "ok":
        accuracy = worst if group.accuracy is None or len(group.results) == 1 else f"{worst}, {accuracy}"
    total = group.sums
    return {
        "case": group.first.title,
        "accuracy": accuracy,
        "in": str(total.prompt_tokens) if total.answered else "—",
        "out": str(total.completion_tokens) if total.answered else "—",
        "cost": tables.cost_of(total) if total.answered else "—",
        "seconds": f"{total.seconds:.2f}" if total.answered else "—",
        "reply from": _joined(item.source_of_reply for item in group.results if item.usage),
        "schema": _joined(item.schema_mode for item in group.results if item.schema_mode),
        "style": _STYLES[worst],
    }


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts)) or "—"


def _show_sums(console: Console, run: RunResult, summary: Summary) -> None:
    """The models, best first, and the prompts of each."""
    over = "" if summary.common == summary.cases else f", ranked over the {summary.common} cases that they share"
    _say(console, f"all together{over}", "bold")
    console.print(_sums(("provider and model",), tables.model_rows(summary)))
    if counts := value_counts(run.results):
        heads = ("provider and model", "right", "wrong", "missing", "extra", "precision", "recall", "F1")
        rows = [
            _counts_row(column.column, counts[column.column]) for column in summary.columns if column.column in counts
        ]
        _say(console, "values, each item of a list counted", "bold")
        console.print(table(heads, rows))
    for prompts in summary.prompts:
        _say(console, "prompts over the same cases", "bold")
        console.print(_sums(("provider and model", "prompt"), tables.prompt_rows(prompts)))


def _counts_row(column: str, counts: Counts) -> tables.Row:
    shares = {name: "—" if share is None else f"{share:.2f}" for name, share in counts.shares().items()}
    return {"provider and model": column, **{kind: str(count) for kind, count in counts._asdict().items()}, **shares}


def _sums(names: Sequence[str], rows: Sequence[tables.Row]) -> Table:
    """A table of sums, without the outcomes (invalid, failed, skipped) that never occurred."""
    occurred = [name for name in tables.OUTCOMES if any(row[name] != "0" for row in rows)]
    return table((*names, "accuracy", "cases", *occurred, "in", "out", "cost", "seconds"), rows)


def _changes(run: RunResult) -> Iterator[tables.Row]:
    for group in grouped(run.results).values():
        for path, count in group.changes().items():
            if count:
                names = {"case": group.first.title, "model": group.first.column, "field": path}
                yield {**names, "changes": f"{count} of {len(group.scores) - 1}"}


def _show_problems(console: Console, run: RunResult, again: str | None) -> None:
    for name, problem in run.problems.items():
        _say(console, f"{name} could not start: {problem}", "red")
    problems = run.problems_of_results()
    for problem, results in problems[:_MOST_ROWS]:
        _say(console, tables.problem_line(problem, results, again))
    if len(problems) > _MOST_ROWS:
        _say(console, f"and {len(problems) - _MOST_ROWS} more problems; the reports have them all")
    if old := run.old_recordings():
        _say(console, tables.old_line(old), "yellow")
    if again and run.incomplete():
        _say(console, f"to run again what failed or was skipped: {again}")
