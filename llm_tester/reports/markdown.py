"""The results as Markdown that reads well on a code-hosting page."""

from collections.abc import Iterator, Sequence

from ..runs.comparison import CaseChange, ModelChange, RunComparison, counted
from ..runs.results import CaseResult, RunResult
from ..runs.summary import PromptTable, Summary, Sums, summarize
from ..usage import format_sum, format_usd
from . import _against as against

__all__ = ["MARK", "cost_of", "old_line", "price_notes", "problem_line", "prompt_title", "render"]

MARK = "<!-- llm_tester report -->"
# More cases than these are counted, not named.
MOST_NAMED = 5


def render(run: RunResult, comparison: RunComparison | None = None, again: str | None = None) -> str:
    """The results as Markdown.

    Args:
        run: what a run found.
        comparison: the run against a baseline, if there is one.
        again: the command that runs again what failed or was skipped; None if there is none.

    Returns:
        The text, with a mark by which it is known as a report of llm_tester.
    """
    summary = summarize(run)
    parts = [MARK, "# LLM test results", "", *_head(run)]
    if comparison is not None:
        parts += ["", "## Against the baseline", "", *_against(comparison)]
    parts += ["", "## Providers and models", "", *_columns(summary)]
    for table in summary.prompts:
        parts += ["", "## Prompts over the same cases", "", *_prompts(table)]
    parts += ["", "## Cases", "", *_cases(run.results)]
    problems = [*_problems(run, again)]
    if problems:
        parts += ["", "## What went wrong", "", *problems]
    if disagreements := price_notes(run):
        parts += ["", "## Prices that the sources disagree about", "", *(f"- {_cell(line)}" for line in disagreements)]
    return "\n".join(parts) + "\n"


def _head(run: RunResult) -> Iterator[str]:
    yield f"Run `{run.run_id}`, {run.started_at}, {run.seconds:.1f} s, record mode `{run.record}`."
    yield f"Spent: {run.spent_text}. " + ", ".join(f"{name} {version}" for name, version in run.versions.items()) + "."


def cost_of(total: Sums) -> str:
    """What some replies cost at their prices: `unknown`, `at least $…`, or an amount."""
    return format_sum(total.cost_usd, total.unknown)


def prompt_title(variant: str) -> str:
    """The name of a prompt, `(plain)` for the one without a name."""
    return variant or "(plain)"


def _columns(summary: Summary) -> Iterator[str]:
    yield "| provider | model | accuracy | cases | invalid | failed | skipped | in | out | cost | seconds |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for column in summary.columns:
        cases = f"{column.cases} of {summary.cases}" + ("" if column.ranked is not None else ", not ranked")
        names = f"{_cell(column.provider)} | {_cell(column.model)}"
        yield f"| {names} | {_points(column.shown)} | {cases} | {_numbers(column)} |"
    if summary.common < summary.cases:
        yield ""
        yield f"Ranked over the {summary.common} of {summary.cases} cases that all ranked models answered."


def _prompts(table: PromptTable) -> Iterator[str]:
    yield "| provider | model | prompt | accuracy | cases | invalid | failed | skipped | in | out | cost | seconds |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in table.rows:
        names = f"{_cell(row.provider)} | {_cell(row.model)} | {_cell(prompt_title(row.variant))}"
        yield f"| {names} | {_points(row.accuracy)} | {row.cases} of {table.cases} | {_numbers(row)} |"


def _numbers(total: Sums) -> str:
    counts = f"{total.invalid} | {total.failed} | {total.skipped}"
    return f"{counts} | {total.prompt_tokens} | {total.completion_tokens} | {cost_of(total)} | {total.seconds:.2f}"


def _points(accuracy: float | None) -> str:
    return "—" if accuracy is None else f"{accuracy:.1f}"


def _against(comparison: RunComparison) -> Iterator[str]:
    if not comparison.models:
        yield from map(_cell, comparison.notes())
        return
    yield f"Run `{comparison.baseline}` of {comparison.started_at}. {against.RULE}"
    yield ""
    yield "| provider and model | verdict | accuracy | change | p | cost of a reply | seconds | |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"
    for model in comparison.models:
        reasons = _cell("; ".join([counted(model.cases, "case"), *model.reasons()]))
        yield f"| {_cell(model.title)} | **{model.verdict}** | {_changed(model)} | {reasons} |"
    yield ""
    yield f"Case by case: {', '.join(f'{count} {verdict}' for verdict, count in comparison.counts().items())}."
    moved = comparison.moved()
    if moved:
        yield ""
        yield "| case | provider and model | verdict | accuracy | change | p | cost of a reply | seconds | fields |"
        yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"
    for change in moved:
        fields = "<br>".join(_cell(text) for text in against.field_texts(change))
        names = f"{_cell(change.title)} | {_cell(f'{change.provider}:{change.model}')}"
        yield f"| {names} | **{change.verdict}** | {_changed(change)} | {fields} |"


def _changed(change: CaseChange | ModelChange) -> str:
    return " | ".join(map(_cell, against.numbers(change)[:5]))


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


def _problems(run: RunResult, again: str | None) -> Iterator[str]:
    for name, problem in run.problems.items():
        yield f"- **{_cell(name)}** could not start: {_cell(problem)}"
    for problem, results in run.problems_of_results():
        yield f"- {_cell(problem_line(problem, results, again))}"
    if old := run.old_recordings():
        yield f"- {_cell(old_line(old))}"
    if again and run.incomplete():
        yield f"- To run again what failed or was skipped: `{again}`"


def problem_line(problem: str, results: Sequence[CaseResult], again: str | None = None) -> str:
    """One problem with the results that have it, and how to record what is missing, once for all of them.

    Args:
        problem: what went wrong.
        results: the results that have it, at least one.
        again: the command that runs again what failed or was skipped; None if there is none.
    """
    first, *others = results
    line = f"{_who(results)}, {first.status}: {problem}"
    if not first.command or not first.is_incomplete:
        return line
    if others and again:
        return f"{line}; to record them: {again} --record {first.command.rpartition(' ')[2]}"
    return f"{line}; to record{' the first' if others else ''}: {first.command}"


def old_line(results: Sequence[CaseResult]) -> str:
    """The results from old recordings, at least one, and the command that records the first of them again."""
    first, *others = results
    mend = f"to record{' the first' if others else ''} again: {first.command}"
    return f"{_who(results)}, older than max_age: {max(item.age_days or 0 for item in results):.0f} days; {mend}"


def _who(results: Sequence[CaseResult]) -> str:
    """The cases of some results: of one column, or of several."""
    columns = list(dict.fromkeys(result.column for result in results))
    cases = list(dict.fromkeys(result.title for result in results))
    named = ", ".join(cases[:MOST_NAMED]) + (f" and {len(cases) - MOST_NAMED} more" if len(cases) > MOST_NAMED else "")
    return f"{named}, {', '.join(columns)}"


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
