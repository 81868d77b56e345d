"""The rows and lines that several reports show, as plain texts. The reports only render them."""

from collections import Counter
from collections.abc import Sequence

from ..runs.comparison import CaseChange, ModelChange, Side
from ..runs.results import CaseResult, RunResult
from ..runs.significance import p_text
from ..runs.summary import Column, Group, PromptRow, PromptTable, Summary, Sums
from ..usage import format_sum, format_usd

__all__ = [
    "LEVELS",
    "MOST_FIELDS",
    "OUTCOMES",
    "RULE",
    "TEXTS",
    "Row",
    "cell_text",
    "change_row",
    "cost_of",
    "model_rows",
    "old_line",
    "percent",
    "points",
    "price_notes",
    "problem_line",
    "prompt_rows",
]

# A row of a table: a text for the head of each column.
Row = dict[str, str]

# The columns of text. All others are numbers, aligned right.
_NAMES = ("case", "provider", "model", "provider and model", "prompt", "field")
TEXTS = (*_NAMES, "status", "verdict", "schema", "reply from", "fields", "")
OUTCOMES = ("invalid", "failed", "skipped")
RULE = (
    "Better or worse: the difference, paired by case, is more than chance explains in 95 of 100 comparisons (p ≤ 0.05, "
    "corrected for the number of models, and of cases)."
)
# The steps of the colours of accuracy. Most results lie between 80 and 100, so the steps are finer there.
LEVELS = (50, 70, 80, 90, 95, 100)
# Of the fields that changed in a case, how many a report lists.
MOST_FIELDS = 8

_MOST_NAMED = 5


def points(accuracy: float | None) -> str:
    """An accuracy, 0 to 100; a dash for None."""
    return "—" if accuracy is None else f"{accuracy:.1f}"


def percent(accuracy: float | None) -> str:
    """An accuracy, 0 to 100, as short as it can be; a dash for None."""
    if accuracy is None:
        return "—"
    # 99.96 is not shown as 100: only what is all right is.
    return f"{min(accuracy, 99.9) if accuracy < 100 else accuracy:.1f}".removesuffix(".0")


def cell_text(group: Group | None) -> str:
    """The repeats of a case with a model, as a cell of the matrix; a dash for None."""
    if group is None:
        return "—"
    words = [] if group.accuracy is None else [percent(group.accuracy)]
    if len(group.scores) > 1:
        words.append(f"±{group.spread:.1f} ({len(group.scores)}×)")
    counts = Counter(result.status for result in group.results if result.status != "ok")
    words += [status if len(group.results) == 1 else f"{count} {status}" for status, count in counts.items()]
    return " ".join(words) or "—"


def cost_of(total: Sums) -> str:
    """The cost of some replies: `unknown`, `at least $…`, or an amount."""
    return format_sum(total.cost_usd, total.unknown)


def model_rows(summary: Summary) -> list[Row]:
    """The models, best first."""
    rows = []
    for column in summary.columns:
        cases = f"{column.cases} of {summary.cases}" + ("" if column.ranked is not None else ", not ranked")
        rows.append(_sums_row(column, column.shown, cases))
    return rows


def prompt_rows(table: PromptTable) -> list[Row]:
    """The prompts of each model."""
    return [
        {"prompt": row.prompt, **_sums_row(row, row.accuracy, f"{row.cases} of {table.cases}")} for row in table.rows
    ]


def _sums_row(row: Column | PromptRow, accuracy: float | None, cases: str) -> Row:
    return {
        "provider": row.provider,
        "model": row.model,
        "provider and model": row.column,
        "accuracy": points(accuracy),
        "cases": cases + (f"; {row.fallbacks} of {row.answered} replies by fallbacks" if row.fallbacks else ""),
        **{name: str(getattr(row, name)) for name in OUTCOMES},
        "in": str(row.prompt_tokens),
        "out": str(row.completion_tokens),
        "cost": cost_of(row),
        "seconds": f"{row.seconds:.2f}",
    }


def change_row(change: CaseChange | ModelChange) -> Row:
    """The verdict and the numbers of a comparison, then → now.

    `colour` is the verdict if the change in accuracy agrees with it, else empty. They differ if a model with a better
    accuracy is worse because it lost a reply.
    """
    difference = change.difference
    return {
        "provider and model": change.column,
        "verdict": change.verdict,
        "accuracy": _arrow(*change.accuracies()),
        "change": "—" if difference is None else f"{difference:+.1f}".replace("-", "−"),
        "p": "—" if change.p is None else p_text(change.p),
        "cost of a reply": _arrow(_cost(change.before), _cost(change.after)),
        "seconds": _arrow(_seconds(change.before), _seconds(change.after)),
        "colour": "" if difference is None or (difference > 0) != (change.verdict == "better") else change.verdict,
    }


def _arrow(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _cost(side: Side | None) -> str:
    return format_usd(side.cost_usd) if side and side.replies else "—"


def _seconds(side: Side | None) -> str:
    return "—" if side is None or side.seconds is None else f"{side.seconds:.2f}"


def problem_line(problem: str, results: Sequence[CaseResult], again: str | None = None) -> str:
    """A problem with the results that have it, and the command that records what is missing.

    Args:
        problem: what went wrong.
        results: the results that have it, at least one.
        again: the command that runs again what failed or was skipped; None if there is none.
    """
    first, *others = results
    line = f"{_names(results)}, {first.status}: {problem}"
    if not first.command or not first.is_incomplete:
        return line
    if others and again:
        return f"{line}; to record them: {again} --record {first.command.rpartition(' ')[2]}"
    return f"{line}; to record{' the first' if others else ''}: {first.command}"


def old_line(results: Sequence[CaseResult]) -> str:
    """The results from old recordings, at least one, and the command that records the first of them again."""
    first, *others = results
    command = f"to record{' the first' if others else ''} again: {first.command}"
    return f"{_names(results)}, older than max_age: {max(item.age_days or 0 for item in results):.0f} days; {command}"


def _names(results: Sequence[CaseResult]) -> str:
    """The cases of some results, and their providers and models."""
    columns = dict.fromkeys(result.column for result in results)
    cases = list(dict.fromkeys(result.title for result in results))
    more = f" and {len(cases) - _MOST_NAMED} more" if len(cases) > _MOST_NAMED else ""
    return f"{', '.join(cases[:_MOST_NAMED])}{more}, {', '.join(columns)}"


def price_notes(run: RunResult) -> list[tuple[str, str]]:
    """Each provider and model for which the two price sources disagree, and what they disagree about."""
    usages = ((result.column, result.usage) for result in run.results)
    return list(dict.fromkeys((column, usage.price_note) for column, usage in usages if usage and usage.price_note))
