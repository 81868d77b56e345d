"""The results as tables in a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..estimate import Estimate
from ..runs.comparison import RunComparison
from ..runs.results import CaseResult, RunResult
from ..runs.scoring import Counts
from ..runs.summary import Group, Summary, Sums, grouped, summarize
from ..usage import format_usd
from .markdown import cost_of, old_line, price_notes, problem_line, prompt_title

__all__ = ["show_estimates", "show_results"]

# More rows than these nobody reads in a terminal.
MOST_ROWS = 50

_OUTCOMES = ("invalid", "failed", "skipped")
# What a row of sums is about, the sums, the accuracy, and over how many cases.
_Row = tuple[tuple[str, ...], Sums, float | None, str]

_STYLES = {"ok": "", "invalid": "yellow", "failed": "red", "skipped": "dim"}


def show_results(
    console: Console, run: RunResult, comparison: RunComparison | None = None, again: str | None = None
) -> None:
    """Prints a table of cases by provider and model, the sums of each model, and what went wrong.

    Args:
        console: where to.
        run: what a run found.
        comparison: the run against a baseline, if there is one.
        again: the command that runs again what failed or was skipped; None if there is none.
    """
    for name, groups in _by_column(run).items():
        shown = groups if len(groups) <= MOST_ROWS else sorted(groups, key=lambda group: group.accuracy or 0.0)
        title, cases = _cases(name, shown[:MOST_ROWS])
        _say(console, title, "bold")
        console.print(cases)
        if len(groups) > MOST_ROWS:
            _say(console, f"the {MOST_ROWS} least accurate of {len(groups)}; the reports have them all")
    _show_sums(console, run, summarize(run))
    if run.repeats > 1:
        _say(console, "fields that changed between repeats", "bold")
        console.print(_changes(run))
    for line in price_notes(run):
        _say(console, f"prices: {line}", "yellow")
    for name, problem in run.problems.items():
        _say(console, f"{name} could not start: {problem}", "red")
    wrong = run.problems_of_results()
    for problem, results in wrong[:MOST_ROWS]:
        _say(console, problem_line(problem, results, again))
    if len(wrong) > MOST_ROWS:
        _say(console, f"and {len(wrong) - MOST_ROWS} more problems; the reports have them all")
    if old := run.old_recordings():
        _say(console, old_line(old), "yellow")
    if again and run.incomplete():
        _say(console, f"to run again what failed or was skipped: {again}")
    for note in comparison.notes() if comparison else ():
        _say(console, note)
    _say(console, f"spent: {run.spent_text}")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


def _table(texts: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(*texts, box=box.SIMPLE_HEAD, pad_edge=False)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _by_column(run: RunResult) -> dict[str, list[Group]]:
    found: dict[str, list[Group]] = {}
    for group in grouped(run.results).values():
        found.setdefault(group.first.column, []).append(group)
    return found


def _cases(title: str, groups: Sequence[Group]) -> tuple[str, Table]:
    """The cases of one provider and model; what is the same for all of them is in the title."""
    more = {"reply from": _sources, "schema": _schemas}
    said = []
    for name, text in list(more.items()):
        found = {text(group) for group in groups} - {"—"}
        if len(found) < 2:
            del more[name]
            said += [f"schema: {one}" if name == "schema" else one for one in found]
    table = _table(("case",), ("accuracy", "in", "out", "cost", "seconds"))
    for name in more:
        table.add_column(name)
    for group in groups:
        worst = max(group.results, key=lambda result: list(_STYLES).index(result.status))
        cells = [group.first.title, *_numbers(group, worst), *(text(group) for text in more.values())]
        table.add_row(*(Text(cell) for cell in cells), style=_STYLES[worst.status])
    return f"{title} ({'; '.join(said)})" if said else title, table


def _schemas(group: Group) -> str:
    return ", ".join(dict.fromkeys(item.schema_mode for item in group.results if item.schema_mode)) or "—"


def _sources(group: Group) -> str:
    return ", ".join(dict.fromkeys(item.source_of_reply for item in group.results if item.usage)) or "—"


def _numbers(group: Group, worst: CaseResult) -> list[str]:
    accuracy = "—" if group.accuracy is None else f"{group.accuracy:.1f}"
    if len(group.results) > 1 and group.accuracy is not None:
        accuracy += f" ±{group.spread:.1f} ({len(group.scores)}×)"
    if worst.status != "ok":
        accuracy = worst.status if group.accuracy is None or len(group.results) == 1 else f"{worst.status}, {accuracy}"
    total = group.sums
    if not total.answered:
        return [accuracy, "—", "—", "—", "—"]
    tokens = [str(total.prompt_tokens), str(total.completion_tokens)]
    return [accuracy, *tokens, cost_of(total), f"{total.seconds:.2f}"]


def _show_sums(console: Console, run: RunResult, summary: Summary) -> None:
    """The models, best first, and the prompts of each."""
    rows: list[_Row] = []
    for column in summary.columns:
        cases = f"{column.cases} of {summary.cases}" + ("" if column.ranked is not None else ", not ranked")
        rows.append(((column.title,), column, column.shown, cases))
    over = "" if summary.common == summary.cases else f", ranked over the {summary.common} cases that they share"
    _say(console, f"all together{over}", "bold")
    console.print(_sums(("provider and model",), rows))
    if any(result.counts is not None for result in run.results):
        _say(console, "values, each item of a list counted", "bold")
        console.print(_values(run, [column.title for column in summary.columns]))
    for prompts in summary.prompts:
        rows = [
            ((row.title, prompt_title(row.variant)), row, row.accuracy, f"{row.cases} of {prompts.cases}")
            for row in prompts.rows
        ]
        _say(console, "prompts over the same cases", "bold")
        console.print(_sums(("provider and model", "prompt"), rows))


def _sums(names: Sequence[str], rows: Sequence[_Row]) -> Table:
    """A table of sums; what never occurred (invalid, failed, skipped) has no column."""
    occurred = [name for name in _OUTCOMES if any(getattr(total, name) for _, total, _, _ in rows)]
    table = _table(names, ("accuracy", "cases", *occurred, "in", "out", "cost", "seconds"))
    for title, total, accuracy, cases in rows:
        cells = [*title, "—" if accuracy is None else f"{accuracy:.1f}", cases]
        cells += [str(getattr(total, name)) for name in occurred]
        cells += [str(total.prompt_tokens), str(total.completion_tokens), cost_of(total), f"{total.seconds:.2f}"]
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _values(run: RunResult, columns: Sequence[str]) -> Table:
    """How many values each model got right, over all replies that were compared."""
    table = _table(("provider and model",), ("right", "wrong", "missing", "extra", "precision", "recall", "F1"))
    for column in columns:
        counts = [result.counts for result in run.results if result.column == column and result.counts is not None]
        if counts:
            total = Counts(*map(sum, zip(*counts, strict=True)))
            shares = ["—" if share is None else f"{share:.2f}" for share in (total.precision, total.recall, total.f1)]
            table.add_row(*(Text(cell) for cell in (column, *map(str, total), *shares)))
    return table


def _changes(run: RunResult) -> Table:
    table = _table(("case", "model", "field"), ("changes",))
    for group in grouped(run.results).values():
        for path, count in group.changes().items():
            if count:
                cells = [group.first.title, group.first.column, path, f"{count} of {len(group.scores) - 1}"]
                table.add_row(*(Text(cell) for cell in cells))
    return table


def show_estimates(console: Console, estimates: Sequence[Estimate]) -> None:
    """Prints what a run would call and cost, by provider and model, with the sum."""
    _say(console, "dry run: nothing was called", "bold")
    console.print(_estimates(estimates))
    known = [item.cost_usd for item in estimates if item.cost_usd is not None]
    total = format_usd(sum(known), at_least=len(known) < len(estimates)) if known or not estimates else "unknown"
    _say(console, f"{sum(item.live for item in estimates)} live calls, estimated cost {total}")
    for item in estimates:
        if item.needs:
            _say(console, f"{item.provider}, {item.model}: a live call needs a key: {item.needs}", "yellow")
        if item.problem:
            count = item.skipped + item.over_budget
            _say(console, f"{item.provider}, {item.model}, {count} not called: {item.problem}", "yellow")
    if any(item.counted for item in estimates):
        _say(console, "≈: tokens counted from the texts; the others are those of the recordings")


def _estimates(estimates: Sequence[Estimate]) -> Table:
    counts = {name: name.replace(" ", "_") for name in ("skipped", "over budget")}
    counts = {name: field for name, field in counts.items() if any(getattr(item, field) for item in estimates)}
    table = _table(
        ("provider and model", "schema"), ("live calls", "replayed", *counts, "in", "out", "cost", "at most")
    )
    for item in estimates:
        about = "≈" if item.counted else ""
        cells = [f"{item.provider}:{item.model}", ", ".join(item.schema_modes) or "—", str(item.live)]
        cells += [str(item.replayed), *(str(getattr(item, field)) for field in counts.values())]
        cells += [f"{about}{item.prompt_tokens}", f"{about}{item.completion_tokens}"]
        cells += [format_usd(item.cost_usd), format_usd(item.worst_usd)]
        table.add_row(*(Text(cell) for cell in cells))
    return table
