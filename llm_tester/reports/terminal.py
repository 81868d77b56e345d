"""The results as tables in a terminal."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..cassettes.importing import collector_at_rest
from ..runs.comparison import RunComparison, counted
from ..runs.results import CaseResult, RunResult
from ..runs.scoring import Counts
from ..runs.summary import Column, Group, Summary, grouped, matrix, mean_accuracy, summarize, value_counts
from . import tables

__all__ = ["show_results", "table"]

_MOST_ROWS = 50
# Of a screen, the lines that the wrong fields leave free.
_REST = 5
# The steps of accuracy in the HTML report's light theme, `--on0` on `--s0` and so on; 256 colours keep those apart.
_STEPS = (
    *("#ffffff on #ad5206", "#2a1500 on #ee9f58", "#33200b on #fad7ae", "#1f262d on #e6ecef"),
    *("#0d2638 on #b5d5ea", "#061b2b on #70afd8", "#ffffff on #1e6ba3"),
)
_as_json = json.JSONEncoder(ensure_ascii=False, default=str).encode
# By status, from the best to the worst, its word in the tables.
_WORDS = {"ok": "", "invalid": "inval", "failed": "fail", "skipped": "skip"}
# The columns of a name in the matrix, if all of them are narrow; and of a table of sums without the names.
_NAME, _SUMS = 24, 75


@collector_at_rest()
def show_results(
    console: Console,
    run: RunResult,
    comparison: RunComparison | None = None,
    again: str | None = None,
    *,
    whole: bool = False,
    quiet: bool = False,
) -> None:
    """Prints the models, the matrix of cases and models, the wrong fields, what went wrong, and the sums.

    Args:
        console: the terminal.
        run: the results.
        comparison: the comparison with a baseline, if there is one.
        again: the command that runs again what failed or was skipped; None if there is none.
        whole: whether to print all rows, wrong fields and values, not only a screen of each.
        quiet: whether to print only what went wrong and what was spent.
    """
    if quiet:
        _show_problems(console, run, again, whole=whole)
    else:
        summary = summarize(run)
        _show_models(console, run, summary.columns)
        _show_matrix(console, run, summary.columns, whole=whole)
        _show_wrong(console, run, summary.columns, whole=whole)
        if run.repeats > 1:
            _say(console, "fields that changed between repeats", "bold")
            changes = list(_changes(run))
            console.print(table(("case", "model", "field", "changes"), changes if whole else changes[:_MOST_ROWS]))
            if len(changes) > _MOST_ROWS and not whole:
                _say(console, f"and {len(changes) - _MOST_ROWS} more; --show all and the reports have them all")
        _show_problems(console, run, again, whole=whole)
        _show_sums(console, run, summary, whole=whole)
        for column, note in tables.price_notes(run):
            _say(console, f"prices: {column}: {note}", "yellow")
        for note in comparison.notes() if comparison else ():
            _say(console, note)
    _say(console, f"spent: {run.spent_text}")


def table(heads: Sequence[str], rows: Iterable[tables.Row]) -> Table:
    """A table for a terminal, in which nothing is cut.

    Args:
        heads: the heads of the columns.
        rows: the texts of each row by head.
    """
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in heads:
        is_text = head in tables.TEXTS
        wraps = is_text or head in ("cases", "cost")
        shown.add_column(
            _WORDS.get(head, head), justify="left" if is_text else "right", no_wrap=not wraps, overflow="fold"
        )
    for row in rows:
        shown.add_row(*(Text(row[head]) for head in heads))
    return shown


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


def _show_models(console: Console, run: RunResult, columns: Sequence[Column]) -> None:
    """The models, best first, with the numbers that the matrix has, and what is the same for all their results."""
    by_column: dict[str, list[CaseResult]] = {}
    for result in run.results:
        by_column.setdefault(result.column, []).append(result)
    grid = Table.grid(padding=(0, 2))
    for number, column in enumerate(columns, 1):
        results = by_column[column.column]
        facts = dict.fromkeys(result.source_of_reply for result in results if result.usage)
        facts |= dict.fromkeys(f"schema: {result.schema_mode}" for result in results if result.schema_mode)
        grid.add_row(str(number), Text(column.column + (f" ({'; '.join(facts)})" if facts else ""), overflow="fold"))
    _say(console, "models, best first", "bold")
    console.print(grid)


def _show_matrix(console: Console, run: RunResult, columns: Sequence[Column], *, whole: bool) -> None:
    """The accuracy of each case with each model, by the models' numbers; in parts, if not all models fit."""
    rows = shown = matrix(run, columns)
    if len(rows) > _MOST_ROWS and not whole:
        shown = sorted(rows, key=lambda row: mean_accuracy(filter(None, row[1])) or 0.0)[:_MOST_ROWS]
    between = " " if run.repeats > 1 and _NAME + 18 * len(columns) <= console.width else "\n"
    most = max(1, (console.width - _NAME) // (18 if between == " " else 7))
    for start in range(0, len(columns), most):
        part = table(("case",), ())
        for number in range(start + 1, min(start + most, len(columns)) + 1):
            part.add_column(str(number), justify="right", no_wrap=True)
        for title, groups in shown:
            part.add_row(Text(title), *(_cell(group, between) for group in groups[start : start + most]))
        console.print(part)
    if len(shown) < len(rows):
        _say(console, f"the {len(shown)} least accurate of {len(rows)}; --show all and the reports have them all")


def _cell(group: Group | None, between: str) -> Text:
    if group is None:
        return Text("—")
    worst = max((result.status for result in group.results), key=list(_WORDS).index)
    accuracy = group.accuracy
    texts = [] if accuracy is None or (worst != "ok" and len(group.results) == 1) else [tables.percent(accuracy)]
    texts += [f"±{group.spread:.1f}"] if len(group.scores) > 1 else []
    texts += [_WORDS[worst]] if worst != "ok" else []
    style = "dim" if worst == "skipped" else "red"
    if accuracy is not None:
        style = _STEPS[sum(accuracy >= low for low in tables.LEVELS)]
    return Text(between.join(text.rjust(5) for text in texts), style=style)


def _show_wrong(console: Console, run: RunResult, columns: Sequence[Column], *, whole: bool) -> None:
    """By case, each wrong field with the numbers of the models that have it, at most a screen of them."""
    numbers = {column.column: number for number, column in enumerate(columns, 1)}
    found: dict[str, dict[str, set[int]]] = {}
    for result in run.results:
        for field in result.fields if result.actual is not None else ():
            if field.score < 1:
                text = f"{field.path}: expected {_value(field.expected)}, found {_value(field.actual)}"
                found.setdefault(result.title, {}).setdefault(text, set()).add(numbers[result.column])
    lines: list[Text] = []
    for title, fields in found.items():
        lines.append(Text(title))
        lines += [Text(f"  {', '.join(map(str, sorted(models)))}: {text}") for text, models in fields.items()]
    most = len(lines) if whole else max(10, console.height - _REST)
    if lines:
        _say(console, "wrong fields, with the numbers of the models", "bold")
    for line in lines[:most]:
        console.print(line, soft_wrap=whole, no_wrap=True, overflow=None if whole else "ellipsis")
    if len(lines) > most:
        _say(console, f"and {counted(len(lines) - most, 'line')} more; --show all and the reports have them all")


def _value(value: Any) -> str:
    return "nothing" if value is None else _as_json(value)


def _show_sums(console: Console, run: RunResult, summary: Summary, *, whole: bool) -> None:
    """The models, best first, and the prompts of each."""
    numbers = {column.column: str(number) for number, column in enumerate(summary.columns, 1)}
    is_wide = max(map(len, numbers), default=0) <= console.width - _SUMS
    names = ("#", "provider and model") if is_wide else ("#",)
    over = f", ranked over the {summary.common} cases that they share" if summary.shares_some else ""
    _say(console, f"all together{over}", "bold")
    console.print(_sums(names, tables.model_rows(summary), numbers))
    if whole and (counts := value_counts(run.results)):
        heads = (*names, "right", "wrong", "missing", "extra", "precision", "recall", "F1")
        rows = [_counts_row(column, counts[column]) | {"#": numbers[column]} for column in numbers if column in counts]
        _say(console, "values, each item of a list counted", "bold")
        console.print(table(heads, rows))
    for prompts in summary.prompts:
        _say(console, "prompts over the same cases", "bold")
        console.print(_sums((*names, "prompt"), tables.prompt_rows(prompts), numbers))


def _counts_row(column: str, counts: Counts) -> tables.Row:
    shares = {name: "—" if share is None else f"{share:.2f}" for name, share in counts.shares().items()}
    return {"provider and model": column, **{kind: str(count) for kind, count in counts._asdict().items()}, **shares}


def _sums(names: Sequence[str], rows: Sequence[tables.Row], numbers: Mapping[str, str]) -> Table:
    """A table of sums, without the outcomes (invalid, failed, skipped) that never occurred."""
    occurred = [name for name in tables.OUTCOMES if any(row[name] != "0" for row in rows)]
    heads = (*names, "accuracy", "cases", *occurred, "in", "out", "cost", "seconds")
    return table(heads, [row | {"#": numbers[row["provider and model"]]} for row in rows])


def _changes(run: RunResult) -> Iterator[tables.Row]:
    for group in grouped(run.results).values():
        for path, count in group.changes().items():
            if count:
                names = {"case": group.first.title, "model": group.first.column, "field": path}
                yield {**names, "changes": f"{count} of {len(group.scores) - 1}"}


def _show_problems(console: Console, run: RunResult, again: str | None, *, whole: bool) -> None:
    for name, problem in run.problems.items():
        _say(console, f"{name} could not start: {problem}", "red")
    problems = run.problems_of_results()
    most = len(problems) if whole else _MOST_ROWS
    for problem, results in problems[:most]:
        _say(console, tables.problem_line(problem, results, again))
    if len(problems) > most:
        _say(console, f"and {len(problems) - most} more problems; the reports have them all")
    if old := run.old_recordings():
        _say(console, tables.old_line(old), "yellow")
    if again and run.incomplete():
        _say(console, f"to run again what failed or was skipped: {again}")
