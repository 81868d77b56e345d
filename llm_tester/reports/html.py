"""A run as one HTML file that compares models. It loads nothing, needs no build step, and shows replies only as text.

The page is `templates/report.html.j2`. Its styles and scripts are the files next to it, inlined when it is rendered.
Two JSON blocks are embedded: one for the lists of results, and one with the details of each result, which the page
parses when the first result is opened.
"""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic_core import PydanticSerializationError, to_json

from ..cassettes.importing import collector_at_rest
from ..runs.baseline import compare_runs
from ..runs.comparison import RunComparison, counted
from ..runs.results import CaseResult, RunResult
from ..runs.scoring import FieldScore
from ..runs.summary import Column, FieldMean, Summary, Sums, field_means, matrix, summarize
from ..usage import format_sum, format_usd
from . import tables
from ._facts import Paths, facts_of, time_text

__all__ = ["MARK", "render"]

MARK = "<!-- llm_tester report -->"

_STATUSES = ("ok", "invalid", "failed", "skipped")
_SCRIPTS = ("dom.js", "schema.js", "matrix.js", "scatter.js", "fields.js", "detail.js", "state.js", "main.js")
_MOST_CASES = 500
_MOST_PROBLEMS = 20
_UNSAFE = re.compile("[<\u2028\u2029\ud800-\udfff]")


def render(
    run: RunResult,
    comparison: RunComparison | None = None,
    *,
    against: RunResult | None = None,
    directory: Path | None = None,
) -> str:
    """The results as an HTML page.

    Args:
        run: the results.
        comparison: the comparison with a baseline, if there is one; with `against`, made here if it is left out.
        against: an earlier run to show next to this one: the cells say what changed, and an opened result has the
            earlier reply next to it.
        directory: where the page will be saved; links to cassettes are relative to it. The working directory if None.

    Returns:
        A whole HTML document with `MARK` near its start, the same for the same run. It loads nothing and runs only its
        own script, whatever is in the replies.
    """
    with collector_at_rest():
        if against is not None and comparison is None:
            comparison = compare_runs(against, run)
        return _rendered(run, comparison, against, Paths(directory or Path()))


def _rendered(run: RunResult, comparison: RunComparison | None, against: RunResult | None, paths: Paths) -> str:
    summary = summarize(run)
    columns = summary.columns
    places = {result.place for result in run.results} if against else set()
    earlier = [result for result in against.results if result.place in places] if against else []
    script = "\n".join(_asset(name) for name in _SCRIPTS)
    template = _environment().get_template("report.html.j2")
    return template.render(
        mark=Markup(MARK),
        policy=_policy(script),
        style=Markup(_asset("report.css")),
        script=Markup(script),
        run=run,
        header=_header(run, summary, paths),
        against=_against(comparison) if comparison else None,
        summary=summary,
        legend=[f"under {tables.LEVELS[0]}", *(f"{low}–{high}" for low, high in pairwise(tables.LEVELS)), "100"],
        plain=matrix(run, columns),
        words=tables.cell_text,
        index=_embedded(_index(run, columns, earlier, against)),
        details=_embedded(_details(run, earlier, against, paths)),
    )


@cache
def _environment() -> Environment:
    loader = PackageLoader("llm_tester.reports")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"percent": tables.percent, "figures": _figures}
    return made


@cache
def _asset(name: str) -> str:
    return (files("llm_tester.reports") / "templates" / name).read_text("utf-8")


def _policy(script: str) -> str:
    """The page may run only this script, and may neither load nor send anything."""
    digest = base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _embedded(data: Any) -> Markup:
    """JSON for a script element. No text in it can end the element or fail to be written as UTF-8."""
    return Markup(_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", _encoded(data)))


# The texts of the page


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _header(run: RunResult, summary: Summary, paths: Paths) -> dict[str, Any]:
    """The facts at the top of the page."""
    sizes = (counted(summary.names, "case"), counted(len(summary.columns), "model"))
    origins = Counter(result.source_of_reply for result in run.results if result.usage is not None)
    notes: dict[str, list[str]] = {}
    problems = run.problems_of_results()
    for column, note in tables.price_notes(run):
        notes.setdefault(note, []).append(column)
    return {
        "size": f"{counted(len(run.results), 'result')}: {', '.join(sizes)}",
        "started": time_text(run.started_at),
        "took": _duration(run.seconds),
        "statuses": [(status, getattr(summary.total, status)) for status in _STATUSES],
        "cost": tables.cost_of(summary.total) if summary.total.answered else "—",
        "spent": format_sum(run.spent_usd, run.spent_unknown),
        "origins": origins.most_common(),
        "broken": [(name, paths.in_text(why)) for name, why in run.problems.items()],
        "problems": [paths.in_text(tables.problem_line(*problem)) for problem in problems[:_MOST_PROBLEMS]],
        "more_problems": max(0, len(problems) - _MOST_PROBLEMS),
        "price_notes": [(note, sorted(names)) for note, names in notes.items()],
    }


def _figures(total: Sums) -> dict[str, str]:
    """What some replies add up to, and the means of a reply."""
    if not total.answered:
        return dict.fromkeys(("cost_per_case", "cost", "seconds", "tokens_in", "tokens_out"), "—")
    return {
        "cost_per_case": format_usd(total.cost_per_reply),
        "cost": tables.cost_of(total),
        "seconds": f"{total.per_reply(total.seconds):.2f}",
        "tokens_in": f"{total.per_reply(total.prompt_tokens):,.0f}",
        "tokens_out": f"{total.per_reply(total.completion_tokens):,.0f}",
    }


def _against(comparison: RunComparison) -> dict[str, Any]:
    """The comparison with a baseline."""
    moved = comparison.moved()
    return {
        "run": comparison,
        "started": time_text(comparison.started_at),
        "rule": tables.RULE,
        "models": [(model, tables.change_row(model)) for model in comparison.models],
        "counts": list(comparison.counts().items()),
        "cases": [(change, tables.change_row(change)) for change in moved[:_MOST_CASES]],
        "left": max(0, len(moved) - _MOST_CASES),
        "most_fields": tables.MOST_FIELDS,
    }


# What the page lists


def _index(
    run: RunResult, columns: Sequence[Column], earlier: Sequence[CaseResult], against: RunResult | None
) -> dict[str, Any]:
    rows = {key: row for row, key in enumerate(dict.fromkeys(result.key for result in run.results))}
    numbers = {column.column: number for number, column in enumerate(columns)}
    return {
        "levels": tables.LEVELS,
        "statuses": _STATUSES,
        "repeats": run.repeats,
        "rows": list(rows),
        "columns": [_index_column(column) for column in columns],
        "own": len(run.results),
        "against": against and against.run_id,
        "results": [
            (
                rows[result.key],
                numbers[result.column],
                result.repeat,
                _STATUSES.index(result.status),
                None if result.accuracy is None else round(result.accuracy, 4),
            )
            for result in (*run.results, *earlier)
        ],
        "fields": _field_tables(run, columns),
        "schemas": run.schemas,
    }


def _index_column(column: Column) -> dict[str, Any]:
    return {
        "provider": column.provider,
        "model": column.model,
        "title": column.column,
        "accuracy": column.shown,
        "ranked": column.ranked is not None,
        "answered": column.answered,
        "known": column.known,
        "cost": column.cost_per_reply,
        "costText": format_usd(column.cost_per_reply),
        "seconds": column.per_reply(column.seconds) if column.answered else None,
    }


def _field_tables(run: RunResult, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """For each module its fields, each with a cell a column (None if the column has no such field) and its rules."""
    return [
        {
            "module": module,
            "paths": [
                (
                    path,
                    [_field_cell(cells.get(column.column)) for column in columns],
                    list(dict.fromkeys(rule for cell in cells.values() for rule in cell.rules if rule)),
                )
                for path, cells in fields.items()
            ],
        }
        for module, fields in field_means(run.results).items()
    ]


def _field_cell(mean: FieldMean | None) -> tuple[float, int, int, int] | None:
    return None if mean is None else (round(mean.score, 4), *mean[1:4])


# What the page shows of an opened result


class _Numbered(dict[Any, int]):
    """Values with their numbers. Prompts, sources and replies recur, so the page has each only once."""

    def number(self, value: Any) -> int | None:
        """The number of a value, a new one if it is new; None for None."""
        return None if value is None else self.setdefault(value, len(self))


def _json(value: Any) -> str | None:
    """JSON as text, because numbers lose digits in a browser. The page indents it when it shows it."""
    return None if value is None else _encoded(value)


def _encoded(value: Any) -> str:
    try:
        return to_json(value, inf_nan_mode="constants", fallback=str).decode()
    except PydanticSerializationError:
        # It refuses half of a surrogate pair.
        return json.dumps(value, ensure_ascii=False, default=str)


def _details(run: RunResult, earlier: Sequence[CaseResult], against: RunResult | None, paths: Paths) -> dict[str, Any]:
    texts = _Numbered()
    fields = _Fields(texts)
    fact_row = cache(lambda fact: tuple(map(texts.number, fact)))
    cases = [*run.cases, *(against.cases if against else ())]
    asked = {case.key: number for number, case in enumerate(run.cases)}
    asked_then = {case.key: number for number, case in enumerate(cases) if number >= len(run.cases)}
    data: dict[str, Any] = {
        "cases": [
            {
                "prompt": texts.number(case.prompt),
                "source": texts.number(case.source),
                "expected": texts.number(_json(case.expected)),
                "files": case.files,
            }
            for case in cases
        ],
        "results": [
            _present(
                case=numbers.get(result.key),
                problem=texts.number(result.explanation and paths.in_text(result.explanation)),
                error=texts.number(result.error),
                reply=texts.number(result.reply),
                actual=texts.number(_json(result.actual)),
                fields=[fields.number(field) for field in result.fields] or None,
                facts=list(map(fact_row, facts_of(result))),
                cassette=texts.number(result.cassette and paths.link(result.cassette)),
            )
            for numbers, results in ((asked, run.results), (asked_then, earlier))
            for result in results
        ],
    }
    return {"texts": list(texts), "fields": fields.rows, **data}


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


class _Fields:
    """The rows of fields. Models agree about most fields, so the row of equal ones is made once."""

    def __init__(self, texts: _Numbered) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self._texts = texts
        self._known: dict[tuple[Any, ...], int] = {}

    def number(self, field: FieldScore) -> int:
        """The number of a field's row."""
        values = (repr(field.expected), repr(field.actual))
        content = (field.path, *values, field.score, field.weight, field.note, field.rule)
        if content not in self._known:
            self._known[content] = len(self.rows)
            self.rows.append(self._row(field))
        return self._known[content]

    def _row(self, field: FieldScore) -> tuple[Any, ...]:
        number = self._texts.number
        return (
            number(field.path),
            number(_json(field.expected)),
            number(_json(field.actual)),
            round(field.score, 4),
            round(field.weight, 6),
            number(field.note),
            number(field.rule),
        )
