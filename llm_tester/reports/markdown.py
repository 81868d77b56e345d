"""The results as Markdown that reads well on a code-hosting page."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from ..cassettes.importing import collector_at_rest
from ..runs.comparison import RunComparison, counted
from ..runs.results import CaseResult, RunResult
from ..runs.summary import Summary, summarize
from ..usage import format_usd
from . import tables

__all__ = ["MARK", "render"]

MARK = "<!-- llm_tester report -->"

# What makes an image, a link, HTML, formatting or a table cell. A code-hosting page also finds addresses, mentions and
# numbers of issues in text that is escaped, but not behind a zero-width space.
_MARKUP = re.compile(r"[\\`*\[\]|<>&@#]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", **{mark: f"{mark}&#8203;" for mark in "@#:."}}

_SUMS = ("accuracy", "cases", *tables.OUTCOMES, "in", "out", "cost", "seconds")
_CHANGE = ("provider and model", "verdict", "accuracy", "change", "p", "cost of a reply", "seconds")


@collector_at_rest()
def render(run: RunResult, comparison: RunComparison | None = None, again: str | None = None) -> str:
    """The results as Markdown.

    Args:
        run: the results.
        comparison: the comparison with a baseline, if there is one.
        again: the command that runs again what failed or was skipped; None if there is none.

    Returns:
        The text. It starts with `MARK`, which marks it as a report of llm_tester.
    """
    summary = summarize(run)
    parts = [MARK, "# LLM test results", "", *_head(run)]
    if comparison is not None:
        parts += ["", "## Against the baseline", "", *_against(comparison)]
    parts += ["", "## Providers and models", "", *_models(summary)]
    for table in summary.prompts:
        heads = ("provider", "model", "prompt", *_SUMS)
        parts += ["", "## Prompts over the same cases", "", *_table(heads, tables.prompt_rows(table))]
    parts += ["", "## Cases", "", *_cases(run.results)]
    if problems := [*_problems(run, again)]:
        parts += ["", "## What went wrong", "", *problems]
    if notes := tables.price_notes(run):
        lines = (f"- {_cell(f'{column}: {note}')}" for column, note in notes)
        parts += ["", "## Prices that the sources disagree about", "", *lines]
    return "\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Mapping[str, str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' if head in tables.TEXTS else '---:' for head in heads)} |"
    for row in rows:
        yield f"| {' | '.join(_in_column(head, row[head]) for head in heads)} |"


def _in_column(head: str, text: str) -> str:
    if head == "verdict":
        return f"**{text}**"
    # Of the fields, each is escaped already.
    return text if head == "fields" else _cell(text)


def _head(run: RunResult) -> Iterator[str]:
    yield f"Run `{run.run_id}`, {run.started_at}, {run.seconds:.1f} s, record mode `{run.record}`."
    yield f"Spent: {run.spent_text}. " + ", ".join(f"{name} {version}" for name, version in run.versions.items()) + "."


def _models(summary: Summary) -> Iterator[str]:
    yield from _table(("provider", "model", *_SUMS), tables.model_rows(summary))
    if summary.shares_some:
        yield ""
        yield f"Ranked over the {summary.common} of {summary.cases} cases that all ranked models answered."


def _against(comparison: RunComparison) -> Iterator[str]:
    if not comparison.models:
        yield from map(_cell, comparison.notes())
        return
    yield f"Run `{comparison.baseline}` of {comparison.started_at}. {tables.RULE}"
    yield ""
    models = (
        {**tables.change_row(model), "": "; ".join([counted(model.cases, "case"), *model.reasons()])}
        for model in comparison.models
    )
    yield from _table((*_CHANGE, ""), models)
    yield ""
    yield f"Case by case: {', '.join(f'{count} {verdict}' for verdict, count in comparison.counts().items())}."
    if moved := comparison.moved():
        cases = (
            {
                **tables.change_row(change),
                "case": change.title,
                "fields": "<br>".join(map(_cell, change.details(tables.MOST_FIELDS))),
            }
            for change in moved
        )
        yield ""
        yield from _table(("case", *_CHANGE, "fields"), cases)


def _cases(results: Sequence[CaseResult]) -> Iterator[str]:
    heads = ("case", "provider", "model", "accuracy", "status", "in", "out", "cost", "seconds", "reply from")
    return _table(heads, map(_case_row, results))


def _case_row(result: CaseResult) -> tables.Row:
    usage = result.usage
    return {
        "case": result.title,
        "provider": result.provider,
        "model": result.model,
        "accuracy": tables.points(result.accuracy),
        "status": result.status + (f" (repeat {result.repeat})" if result.repeat > 1 else ""),
        "in": str(usage.prompt_tokens) if usage else "—",
        "out": str(usage.completion_tokens) if usage else "—",
        "cost": format_usd(usage.total_cost) if usage else "—",
        "seconds": f"{usage.elapsed_seconds:.2f}" if usage else "—",
        "reply from": result.source_of_reply,
    }


def _problems(run: RunResult, again: str | None) -> Iterator[str]:
    for name, problem in run.problems.items():
        yield f"- **{_cell(name)}** could not start: {_cell(problem)}"
    for problem, results in run.problems_of_results():
        yield f"- {_cell(tables.problem_line(problem, results, again))}"
    if old := run.old_recordings():
        yield f"- {_cell(tables.old_line(old))}"
    if again and run.incomplete():
        yield f"- To run again what failed or was skipped: `{again}`"


@lru_cache(maxsize=4096)
def _cell(text: str) -> str:
    # A reply may contain anything.
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), " ".join(text.split()))
