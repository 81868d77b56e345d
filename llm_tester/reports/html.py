"""A run as one HTML file, to compare models with: no network, no build step, and replies appear only as text.

The page is `templates/report.html.j2`; its styles and scripts are files beside it, inlined when it is rendered. What
every result needs to be listed is embedded as one JSON block, what only an opened result needs as a second one, which
the page parses when the first result is opened.
"""

import base64
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import chain, pairwise
from statistics import fmean, stdev
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..pricing import Price
from ..runs.comparison import RunComparison, counted
from ..runs.results import CaseResult, RunResult
from ..runs.scoring import FieldScore
from ..runs.summary import Column, PromptRow, Summary, Sums, summarize
from ..usage import Billed, UsageData, format_sum, format_usd
from . import _against as against
from .markdown import prompt_title

__all__ = ["MARK", "render"]

MARK = "<!-- llm_tester report -->"

# Most results lie between 80 and 100, so the steps are finer there.
_LEVELS = (50, 70, 80, 90, 95, 100)
_STATUSES = ("ok", "invalid", "failed", "skipped")
_SCRIPTS = ("dom.js", "matrix.js", "scatter.js", "fields.js", "detail.js", "main.js")
_INDEX = re.compile(r'(\["(?:[^"\\]|\\.)*"\])|\[\d+\]')
_UNSAFE = re.compile("[<\u2028\u2029\ud800-\udfff]")


def render(run: RunResult, comparison: RunComparison | None = None) -> str:
    """Renders the results of a run for people.

    Args:
        run: what the run found.
        comparison: the run against a baseline, if there is one.

    Returns:
        A whole HTML document, the same for the same run. It loads nothing and runs only its own script, whatever
        the replies hold; `MARK` stands near its start.
    """
    summary = summarize(run)
    columns = summary.columns
    script = "\n".join(_asset(name) for name in _SCRIPTS)
    template = _environment().get_template("report.html.j2")
    return template.render(
        mark=Markup(MARK),
        policy=_policy(script),
        style=Markup(_asset("report.css")),
        script=Markup(script),
        run=run,
        header=_header(run, summary),
        against=against.view(comparison) if comparison else None,
        summary=summary,
        models=[_model_row(number, column) for number, column in enumerate(columns, 1)],
        prompts=[(table, [_prompt_row(row) for row in table.rows]) for table in summary.prompts],
        legend=_legend(),
        plain=_plain_matrix(run, columns),
        index=_embedded(_index(run, columns)),
        details=_embedded(_details(run)),
    )


@cache
def _environment() -> Environment:
    loader = PackageLoader("llm_tester.reports")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@cache
def _asset(name: str) -> str:
    return (files("llm_tester.reports") / "templates" / name).read_text("utf-8")


def _policy(script: str) -> str:
    """The page may run this one script, and may neither load nor send anything."""
    digest = base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _embedded(data: Any) -> Markup:
    """JSON for a script element: nothing in it can end the element, or fail to be written as UTF-8."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


# The texts of the page


def _percent(accuracy: float | None) -> str:
    if accuracy is None:
        return "—"
    # 99.96 is not 100: only what is right throughout may say so.
    return f"{min(accuracy, 99.9) if accuracy < 100 else accuracy:.1f}".removesuffix(".0")


def _usd(usd: float, unknown: int, known: int) -> str:
    """A sum for a person; what nobody knows is never shown as a zero."""
    if unknown and not usd:
        return "unknown"
    return format_usd(usd, at_least=unknown > 0) if known or usd else "—"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _time(iso: str) -> str:
    return iso.replace("T", " ").replace("+00:00", " UTC")


def _header(run: RunResult, summary: Summary) -> dict[str, Any]:
    """The facts at the top of the page."""
    total = summary.total
    sizes = (counted(summary.names, "case"), counted(len(summary.columns), "model"))
    counts = Counter[str](result.status for result in run.results)
    origins = Counter(result.source_of_reply for result in run.results if result.usage is not None)
    return {
        "size": f"{counted(len(run.results), 'result')}: {', '.join(sizes)}",
        "started": _time(run.started_at),
        "took": _duration(run.seconds),
        "statuses": [(status, counts[status]) for status in _STATUSES],
        "cost": _usd(total.cost_usd, total.unknown, total.known),
        "spent": format_sum(run.spent_usd, run.spent_unknown),
        "spent_text": run.spent_text,
        "limit": None if run.max_cost is None else format_usd(run.max_cost),
        "origins": origins.most_common(),
        "price_notes": [
            (note, sorted(names))
            for note, names in _named(
                (result.usage.price_note, result.column) for result in run.results if result.usage is not None
            ).items()
        ],
    }


def _named(pairs: Iterable[tuple[str | None, str]]) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for text, name in pairs:
        if text:
            names.setdefault(text, set()).add(name)
    return names


def _legend() -> list[tuple[int, str]]:
    texts = [f"under {_LEVELS[0]}", *(f"{low}–{high}" for low, high in pairwise(_LEVELS)), "100"]
    return list(enumerate(texts))


# The columns


class _Shown(NamedTuple):
    """What some replies add up to, as texts."""

    accuracy: str
    ok: int
    cost_per_case: str
    cost: str
    seconds: str
    tokens_in: str
    tokens_out: str


def _shown(total: Sums, accuracy: float | None) -> _Shown:
    answered = total.answered
    return _Shown(
        accuracy=_percent(accuracy),
        ok=answered - total.invalid,
        cost_per_case=format_usd(total.cost_per_reply) if answered else "—",
        cost=_usd(total.cost_usd, total.unknown, total.known),
        seconds="—" if total.seconds_per_reply is None else f"{total.seconds_per_reply:.2f}",
        tokens_in=f"{total.prompt_tokens / answered:,.0f}" if answered else "—",
        tokens_out=f"{total.completion_tokens / answered:,.0f}" if answered else "—",
    )


class _ModelRow(NamedTuple):
    """A row of the table of models."""

    number: int
    column: Column
    shown: _Shown


def _model_row(number: int, column: Column) -> _ModelRow:
    return _ModelRow(number, column, _shown(column, column.shown))


class _PromptRow(NamedTuple):
    """A row of a table of prompts."""

    row: PromptRow
    shown: _Shown
    name: str


def _prompt_row(row: PromptRow) -> _PromptRow:
    return _PromptRow(row, _shown(row, row.accuracy), prompt_title(row.variant))


# What the page lists


_CaseKey = tuple[str, str, str]


def _rows(run: RunResult) -> dict[_CaseKey, int]:
    """The number of each row of the matrix: a case, each of its prompts a row of its own."""
    return {key: row for row, key in enumerate(dict.fromkeys(result.case_key for result in run.results))}


def _index(run: RunResult, columns: Sequence[Column]) -> dict[str, Any]:
    rows = _rows(run)
    numbers = {column.title: number for number, column in enumerate(columns)}
    return {
        "levels": _LEVELS,
        "statuses": _STATUSES,
        "repeats": run.repeats,
        "rows": list(rows),
        "columns": [_index_column(column) for column in columns],
        "results": [
            (
                rows[result.case_key],
                numbers[result.column],
                result.repeat,
                _STATUSES.index(result.status),
                None if result.accuracy is None else round(result.accuracy, 4),
            )
            for result in run.results
        ],
        "fields": _field_tables(run, numbers),
    }


def _index_column(column: Column) -> dict[str, Any]:
    return {
        "provider": column.provider,
        "model": column.model,
        "title": column.title,
        "accuracy": column.shown,
        "ranked": column.ranked is not None,
        "answered": column.answered,
        "known": column.known,
        "cost": column.cost_per_reply,
        "costText": format_usd(column.cost_per_reply),
    }


class _FieldCell:
    """What became of one field with one model, over all cases and repeats.

    Attributes:
        scores: every score, 0 to 1.
        compared: the values that were there in more than one repeat, or could have been.
        changed: of those, how many were not the same each time.
    """

    def __init__(self) -> None:
        self.scores: list[float] = []
        self.compared = 0
        self.changed = 0

    def row(self) -> tuple[float, int, int, int]:
        return round(100 * fmean(self.scores), 4), len(self.scores), self.changed, self.compared


def _field_tables(run: RunResult, numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """For each module its fields, and for each field a cell a column, None where the column has no such field."""
    groups: dict[tuple[_CaseKey, int], list[dict[str, tuple[float, str]]]] = defaultdict(list)
    for result in run.results:
        if result.fields:
            leaves = {field.path: (field.score, repr(field.actual)) for field in result.fields}
            groups[result.case_key, numbers[result.column]].append(leaves)
    tables: dict[str, dict[str, dict[int, _FieldCell]]] = {}
    for ((module, *_), number), repeats in groups.items():
        table = tables.setdefault(module, {})
        for path in dict.fromkeys(chain.from_iterable(repeats)):
            cell = table.setdefault(_without_indices(path), {}).setdefault(number, _FieldCell())
            cell.scores += [leaves[path][0] for leaves in repeats if path in leaves]
            if len(repeats) > 1:
                cell.compared += 1
                cell.changed += len({leaves.get(path, (0.0, "None"))[1] for leaves in repeats}) > 1
    return [
        {
            "module": module,
            "paths": [
                (path, [cells[number].row() if number in cells else None for number in range(len(numbers))])
                for path, cells in table.items()
            ],
        }
        for module, table in tables.items()
    ]


def _without_indices(path: str) -> str:
    return _INDEX.sub(lambda match: match[1] or "[]", path)


# What the page reads without scripts


def _plain_matrix(run: RunResult, columns: Sequence[Column]) -> list[tuple[str, list[str]]]:
    """The matrix in words: a row a case, a cell a column."""
    groups: dict[tuple[_CaseKey, str], list[CaseResult]] = defaultdict(list)
    for result in run.results:
        groups[result.case_key, result.column].append(result)
    return [
        (_row_title(key), [_plain_cell(groups.get((key, column.title), [])) for column in columns])
        for key in _rows(run)
    ]


def _row_title(key: _CaseKey) -> str:
    module, name, variant = key
    return f"{module}/{name}" + (f".{variant}" if variant else "")


def _plain_cell(results: Sequence[CaseResult]) -> str:
    scores = [result.accuracy for result in results if result.accuracy is not None]
    counts = Counter(result.status for result in results if result.status != "ok")
    words = [_percent(fmean(scores))] if scores else []
    if len(scores) > 1:
        words.append(f"±{stdev(scores):.1f} ({len(scores)}×)")
    words += [status if len(results) == 1 else f"{count} {status}" for status, count in counts.items()]
    return " ".join(words) or "—"


# What the page shows of an opened result


class _Texts:
    """Every text once: prompts, sources, right values and whole replies recur from result to result."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, text: str | None) -> int | None:
        """Where the text stands in `all`; None for None."""
        return None if text is None else self._places.setdefault(text, len(self._places))

    def all(self) -> list[str]:
        return list(self._places)


_encoded = json.JSONEncoder(ensure_ascii=False, default=str).encode


def _json(value: Any) -> str | None:
    """JSON as text, because numbers lose digits in a browser; the page indents it when it shows it."""
    return None if value is None else _encoded(value)


def _details(run: RunResult) -> dict[str, Any]:
    texts = _Texts()
    fields: dict[tuple[Any, ...], int] = {}
    cases = {case.key: number for number, case in enumerate(run.cases)}
    data: dict[str, Any] = {
        "cases": [
            {
                "prompt": texts.place(case.prompt),
                "source": texts.place(case.source),
                "expected": texts.place(_json(case.expected)),
                "files": case.files,
            }
            for case in run.cases
        ],
        "results": [
            _present(
                case=cases.get(result.case_key),
                problem=texts.place(result.explanation),
                error=texts.place(result.error),
                reply=texts.place(result.reply),
                actual=texts.place(_json(result.actual)),
                fields=[fields.setdefault(_field_row(field, texts), len(fields)) for field in result.fields] or None,
                facts=[(texts.place(name), texts.place(value)) for name, value in _facts(result)],
            )
            for result in run.results
        ],
    }
    return {"texts": texts.all(), "fields": list(fields), **data}


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _field_row(field: FieldScore, texts: _Texts) -> tuple[Any, ...]:
    return (
        texts.place(field.path),
        texts.place(_json(field.expected)),
        texts.place(_json(field.actual)),
        round(field.score, 4),
        round(field.weight, 6),
        texts.place(field.note),
        texts.place(field.rule),
    )


def _facts(result: CaseResult) -> Iterator[tuple[str, str]]:
    """What is known of the call, as names and texts."""
    yield "origin", result.source_of_reply
    if result.counts is not None:
        yield "values", str(result.counts)
    if result.usage is not None:
        yield from _usage_facts(result.usage)
    if result.usage is None:
        yield "attempts", str(result.attempts)
    if result.unanswered:
        yield "attempts without a reply", _unanswered(result.unanswered, result.failed_cost)
    if result.cassette is not None:
        yield "cassette", result.cassette
    if result.age_days is not None:
        yield "age of the recording", f"{result.age_days:.1f} days" + (", older than max_age" if result.old else "")


def _usage_facts(usage: UsageData) -> Iterator[tuple[str, str]]:
    parts = {"read from cache": usage.cached_tokens, "written to cache": usage.cache_write_tokens}
    yield "input tokens", _with_parts(usage.prompt_tokens, parts)
    yield "output tokens", _with_parts(usage.completion_tokens, {"reasoning": usage.reasoning_tokens})
    yield "cost", format_usd(usage.total_cost)
    if usage.prompt_cost is not None:
        yield "cost of input, output", f"{format_usd(usage.prompt_cost)}, {format_usd(usage.completion_cost)}"
    yield "price", "unknown: no source has one" if usage.price is None else _price_text(usage.price)
    if usage.price_note:
        yield "price sources", usage.price_note
    if usage.billed is not None:
        yield "billed by the provider", _billed(usage.billed)
    for note in usage.notes:
        yield "note", note
    if usage.unanswered:
        yield "attempts without a reply", _unanswered(usage.unanswered, usage.failed_cost)
    yield "seconds", f"{usage.elapsed_seconds:.2f}" + (" when it was recorded" if usage.replayed else "")
    yield "attempts", str(usage.attempts)
    yield "finish reason", usage.finish_reason or "not said"
    if usage.answered_model:
        yield "answered by", usage.answered_model
    if usage.recorded_at:
        yield "recorded", _time(usage.recorded_at)


def _unanswered(attempts: int, usd: float | None) -> str:
    bound = "at an unknown cost" if usd is None else f"for up to {format_usd(usd)}"
    return f"{attempts}, which may have been billed {bound}"


def _billed(billed: Billed) -> str:
    counts = {"input tokens": billed.prompt_tokens, "output tokens": billed.completion_tokens}
    parts = [format_usd(billed.usd)] if billed.usd is not None else []
    return ", ".join([*parts, *(f"{count:,} {name}" for name, count in counts.items() if count is not None)])


def _with_parts(total: int, parts: Mapping[str, int]) -> str:
    named = [f"{count:,} {name}" for name, count in parts.items() if count]
    return f"{total:,}" + (f" ({', '.join(named)})" if named else "")


def _price_text(price: Price) -> str:
    rates = {
        "input": price.input,
        "output": price.output,
        "cached input": price.cached_input,
        "cache write": price.cache_write,
        "reasoning": price.reasoning,
    }
    text = ", ".join(f"{format_usd(rate)} {name}" for name, rate in rates.items() if rate is not None)
    request = f", {format_usd(price.per_request)} a request" if price.per_request else ""
    tiers = ", ".join(f"other rates above {tier.above_tokens:,} input tokens" for tier in price.tiers[:1])
    return f"{text} per million tokens{request}{', ' + tiers if tiers else ''} (source: {price.source})"
