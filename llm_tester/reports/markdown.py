"""The results as Markdown that reads well on a code-hosting page."""

from collections.abc import Iterator, Sequence

from ..runs.results import CaseResult, Column, RunResult
from ..usage import format_sum, format_usd

__all__ = ["MARK", "cost_of", "price_notes", "problem_line", "render"]

MARK = "<!-- llm_tester report -->"


def render(run: RunResult, notes: Sequence[str] = ()) -> str:
    """The results as Markdown.

    Args:
        run: what a run found.
        notes: lines for the top, such as what changed against a baseline.

    Returns:
        The text, with a mark by which it is known as a report of llm_tester.
    """
    parts = [MARK, "# LLM test results", "", *_head(run), "", *(f"- {_cell(note)}" for note in notes)]
    parts += ["", "## Providers and models", "", *_columns(run.columns())]
    parts += ["", "## Cases", "", *_cases(run.results)]
    problems = [*_problems(run)]
    if problems:
        parts += ["", "## What went wrong", "", *problems]
    if disagreements := price_notes(run):
        parts += ["", "## Prices that the sources disagree about", "", *(f"- {_cell(line)}" for line in disagreements)]
    return "\n".join(parts) + "\n"


def _head(run: RunResult) -> Iterator[str]:
    yield f"Run `{run.run_id}`, {run.started_at}, {run.seconds:.1f} s, record mode `{run.record}`."
    yield f"Spent: {run.spent_text}. " + ", ".join(f"{name} {version}" for name, version in run.versions.items()) + "."


def cost_of(column: Column) -> str:
    """What a column cost at its prices: `unknown`, `at least $…`, or an amount."""
    return format_sum(column.cost_usd, column.unknown)


def _columns(columns: Sequence[Column]) -> Iterator[str]:
    yield "| provider | model | prompt | accuracy | invalid | failed | skipped | in | out | cost | seconds |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for column in columns:
        accuracy = "—" if column.accuracy is None else f"{column.accuracy:.1f}"
        counts = f"{column.invalid} | {column.failed} | {column.skipped}"
        tokens = f"{column.prompt_tokens} | {column.completion_tokens}"
        names = f"{_cell(column.provider)} | {_cell(column.model)} | {_cell(column.variant)}"
        yield f"| {names} | {accuracy} | {counts} | {tokens} | {cost_of(column)} | {column.seconds:.2f} |"


def _cases(results: Sequence[CaseResult]) -> Iterator[str]:
    yield "| case | provider | model | accuracy | status | in | out | cost | seconds | reply from |"
    yield "| --- | --- | --- | ---: | --- | ---: | ---: | ---: | ---: | --- |"
    for result in results:
        accuracy = "—" if result.accuracy is None else f"{result.accuracy:.1f}"
        usage = result.usage
        numbers = "— | — | — | —"
        if usage is not None:
            cost = format_usd(usage.total_cost)
            numbers = f"{usage.prompt_tokens} | {usage.completion_tokens} | {cost} | {usage.elapsed_seconds:.2f}"
        names = f"{_cell(result.title)} | {_cell(result.provider)} | {_cell(result.model)}"
        status = result.status + (f" (repeat {result.repeat})" if result.repeat > 1 else "")
        yield f"| {names} | {accuracy} | {status} | {numbers} | {_cell(result.source_of_reply)} |"


def _problems(run: RunResult) -> Iterator[str]:
    for name, problem in run.problems.items():
        yield f"- **{_cell(name)}** could not start: {_cell(problem)}"
    for problem, results in run.problems_of_results():
        yield f"- {_cell(problem_line(problem, results))}"


def problem_line(problem: str, results: Sequence[CaseResult], again: str = "llm-tester run --failed") -> str:
    """One problem with the results that have it, and how to record what is missing, once for all of them.

    Args:
        problem: what went wrong.
        results: the results that have it, at least one.
        again: the command that runs again what failed or was skipped.
    """
    first, *others = results
    who = f"{first.title}, {first.column}" + (f" and {len(others)} more" if others else "")
    mend = f"; to record: {again if others else first.command}" if first.command else ""
    return f"{who}, {first.status}: {problem}{mend}"


def price_notes(run: RunResult) -> list[str]:
    """What the two price sources disagree about, once a model."""
    notes = {
        f"{result.column}: {result.usage.price_note}": None
        for result in run.results
        if result.usage is not None and result.usage.price_note
    }
    return list(notes)


def _cell(text: str) -> str:
    # A reply may hold anything; in a table cell a bar, a line end or a tag would be markup.
    flat = " ".join(text.split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "\\`").replace("*", "\\*")
