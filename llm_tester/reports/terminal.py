"""The results as tables in a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..estimate import Estimate
from ..runs.results import CaseResult, RunResult
from ..runs.stability import Group, grouped
from ..usage import format_usd
from .markdown import cost_of, price_notes, problem_line

__all__ = ["show_estimates", "show_results"]

# More rows than these nobody reads in a terminal.
MOST_ROWS = 50

_STYLES = {"ok": "", "invalid": "yellow", "failed": "red", "skipped": "dim"}


def show_results(
    console: Console, run: RunResult, notes: Sequence[str] = (), again: str = "llm-tester run --failed"
) -> None:
    """Prints a table of cases by provider and model, the sums of each model, and what went wrong.

    Args:
        console: where to.
        run: what a run found.
        notes: lines for the end, such as what changed against a baseline.
        again: the command that runs again what failed or was skipped.
    """
    for name, groups in _by_column(run).items():
        shown = groups if len(groups) <= MOST_ROWS else sorted(groups, key=lambda group: group.accuracy or 0.0)
        title, cases = _cases(name, shown[:MOST_ROWS])
        _say(console, title, "bold")
        console.print(cases)
        if len(groups) > MOST_ROWS:
            _say(console, f"the {MOST_ROWS} least accurate of {len(groups)}; the reports have them all")
    _say(console, "all together", "bold")
    console.print(_sums(run))
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
    for note in notes:
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
    """The cases of one provider and model; where all replies came from one place, the title says it."""
    sources = dict.fromkeys(_sources(group) for group in groups if _sources(group) != "—")
    if one := next(iter(sources)) if len(sources) == 1 else "":
        title = f"{title} ({one})"
    table = _table(("case",), ("accuracy", "in", "out", "cost", "seconds"))
    if not one:
        table.add_column("reply from")
    for group in groups:
        worst = max(group.results, key=lambda result: list(_STYLES).index(result.status))
        cells = [group.first.title, *_numbers(group, worst), *([] if one else [_sources(group)])]
        table.add_row(*(Text(cell) for cell in cells), style=_STYLES[worst.status])
    return title, table


def _sources(group: Group) -> str:
    return ", ".join(dict.fromkeys(item.source_of_reply for item in group.results if item.usage)) or "—"


def _numbers(group: Group, worst: CaseResult) -> list[str]:
    accuracy = "—" if group.accuracy is None else f"{group.accuracy:.1f}"
    if len(group.results) > 1 and group.accuracy is not None:
        accuracy += f" ±{group.spread:.1f} ({len(group.scores)}×)"
    if worst.status != "ok":
        accuracy = worst.status if group.accuracy is None or len(group.results) == 1 else f"{worst.status}, {accuracy}"
    usages = [result.usage for result in group.results if result.usage is not None]
    if not usages:
        return [accuracy, "—", "—", "—", "—"]
    costs = [usage.total_cost for usage in usages if usage.total_cost is not None]
    cost = format_usd(sum(costs), at_least=len(costs) < len(usages)) if costs else format_usd(None)
    prompt, completion = sum(usage.prompt_tokens for usage in usages), sum(usage.completion_tokens for usage in usages)
    return [accuracy, str(prompt), str(completion), cost, f"{sum(usage.elapsed_seconds for usage in usages):.2f}"]


def _sums(run: RunResult) -> Table:
    numbers = ("accuracy", "invalid", "failed", "skipped", "in", "out", "cost", "seconds")
    table = _table(("provider and model",), numbers)
    for column in run.columns():
        accuracy = "—" if column.accuracy is None else f"{column.accuracy:.1f}"
        name = f"{column.provider}:{column.model}" + (f" ({column.variant})" if column.variant else "")
        counts = [str(column.invalid), str(column.failed), str(column.skipped)]
        tokens = [str(column.prompt_tokens), str(column.completion_tokens)]
        cells = [name, accuracy, *counts, *tokens, cost_of(column), f"{column.seconds:.2f}"]
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _changes(run: RunResult) -> Table:
    table = _table(("case", "model", "field"), ("changes",))
    for group in grouped(run.results).values():
        for path, count in group.changes().items():
            if count:
                cells = [group.first.title, group.first.column, path, f"{count} of {len(group.scores) - 1}"]
                table.add_row(*(Text(cell) for cell in cells))
    return table


def show_estimates(console: Console, estimates: Sequence[Estimate], max_cost: float | None = None) -> None:
    """Prints what a run would call and cost, by provider and model, with the sum.

    Args:
        console: where to.
        estimates: what a run would do.
        max_cost: the run's limit in USD; None for none.
    """
    budget = ("over budget",) if max_cost is not None else ()
    numbers = ("live calls", "replayed", "skipped", *budget, "in", "out", "cost", "at most")
    _say(console, "dry run: nothing was called", "bold")
    table = _table(("provider", "model"), numbers)
    for item in estimates:
        calls = [str(item.live), str(item.replayed), str(item.skipped)]
        about = "≈" if item.counted else ""
        tokens = [f"{about}{item.prompt_tokens}", f"{about}{item.completion_tokens}"]
        calls += [str(item.over_budget)] if max_cost is not None else []
        cells = [item.provider, item.model, *calls, *tokens, format_usd(item.cost_usd), format_usd(item.worst_usd)]
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    known = [item.cost_usd for item in estimates if item.cost_usd is not None]
    total = format_usd(sum(known), at_least=len(known) < len(estimates)) if known or not estimates else "unknown"
    _say(console, f"{sum(item.live for item in estimates)} live calls, estimated cost {total}")
    for item in estimates:
        if item.needs:
            _say(console, f"{item.provider}, {item.model}: a live call needs a key: {item.needs}", "yellow")
    if max_cost is not None and any(item.over_budget for item in estimates):
        _say(console, f"over budget: calls that could exceed {format_usd(max_cost)}; raise --max-cost to make them")
    if any(item.counted for item in estimates):
        _say(console, "≈: tokens counted from the texts; the others are those of the recordings")
