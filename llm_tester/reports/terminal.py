"""The results as tables in a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..results import CaseResult, RunResult
from ..utils.cost_manager import format_usd
from .markdown import cost_of, price_notes

__all__ = ["show_results"]

_STYLES = {"ok": "", "invalid": "yellow", "failed": "red", "skipped": "dim"}


def show_results(console: Console, run: RunResult) -> None:
    """Prints a table of cases by provider and model, the sums of each model, and what went wrong.

    Args:
        console: where to.
        run: what a run found.
    """
    table = Table("case", "provider", "model", title="Cases", title_justify="left")
    for name in ("accuracy", "in", "out", "cost", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reply from")
    for result in run.results:
        table.add_row(*_row(result), style=_STYLES[result.status])
    console.print(table)
    console.print(_sums(run))
    for line in price_notes(run):
        console.print(Text(f"prices: {line}", style="yellow"))
    for name, problem in run.problems.items():
        console.print(Text(f"{name} could not start: {problem}", style="red"))
    for result in run.results:
        if result.problem and result.status != "ok":
            console.print(Text(f"{result.title}, {result.column}, {result.status}: ", style="bold"), end="")
            console.print(Text(result.problem), soft_wrap=True)
    limit = f" of {format_usd(run.max_cost)}" if run.max_cost is not None else ""
    console.print(f"spent: {format_usd(run.spent_usd, at_least=run.spent_unknown > 0)}{limit}", highlight=False)


def _row(result: CaseResult) -> list[Text]:
    title = result.title + (f" #{result.repeat}" if result.repeat > 1 else "")
    accuracy = "—" if result.accuracy is None else f"{result.accuracy:.1f}"
    if result.status != "ok":
        accuracy = result.status
    usage = result.usage
    numbers = ["—"] * 4
    if usage is not None:
        numbers = [str(usage.prompt_tokens), str(usage.completion_tokens)]
        numbers += [format_usd(usage.total_cost), f"{usage.elapsed_seconds:.2f}"]
    cells = [title, result.provider, result.model, accuracy, *numbers, result.source_of_reply]
    return [Text(cell) for cell in cells]


def _sums(run: RunResult) -> Table:
    table = Table("provider", "model", title="Models", title_justify="left")
    for name in ("accuracy", "invalid", "failed", "skipped", "in", "out", "cost", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for column in run.columns():
        accuracy = "—" if column.accuracy is None else f"{column.accuracy:.1f}"
        model = f"{column.model} ({column.variant})" if column.variant else column.model
        counts = [str(column.invalid), str(column.failed), str(column.skipped)]
        tokens = [str(column.prompt_tokens), str(column.completion_tokens)]
        cells = [column.provider, model, accuracy, *counts, *tokens, cost_of(column), f"{column.seconds:.2f}"]
        table.add_row(*(Text(cell) for cell in cells))
    return table
