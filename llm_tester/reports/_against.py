"""The comparison with a baseline in words and numbers, for the Markdown and the HTML report."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..runs.comparison import CaseChange, ModelChange, RunComparison, Side
from ..runs.significance import p_text
from ..usage import format_usd

__all__ = ["RULE", "Numbers", "field_texts", "numbers", "view"]

RULE = (
    "Better or worse: the difference, paired by case, is more than chance explains in 95 of 100 comparisons (p ≤ 0.05, "
    "corrected for the number of models, and of cases)."
)

_MOST_FIELDS = 8
_MOST_CASES = 500


class Numbers(NamedTuple):
    """What changed, as texts: then → now.

    Attributes:
        colour: the verdict if the change is of its kind; a model that is worse for a lost reply may have risen.
    """

    accuracy: str
    change: str
    p: str
    cost: str
    seconds: str
    colour: str


def numbers(change: CaseChange | ModelChange) -> Numbers:
    """Accuracy, its change in points, the p-value, and the cost and seconds of a reply."""
    before, after = change.before, change.after
    difference = change.difference
    return Numbers(
        accuracy=_arrow(_accuracy(before), _accuracy(after)),
        change="—" if difference is None else f"{difference:+.1f}".replace("-", "−"),
        p="—" if change.p is None else p_text(change.p),
        cost=_arrow(_cost(before), _cost(after)),
        seconds=_arrow(_seconds(before), _seconds(after)),
        colour="" if difference is None or (difference > 0) != (change.verdict == "better") else change.verdict,
    )


def field_texts(change: CaseChange) -> list[str]:
    """The fields that changed and what else changed, one text each."""
    texts = [*change.remarks(), *(field.text() for field in change.fields[:_MOST_FIELDS])]
    if len(change.fields) > _MOST_FIELDS:
        texts.append(f"and {len(change.fields) - _MOST_FIELDS} more fields")
    return texts


def view(comparison: RunComparison) -> dict[str, Any]:
    """The comparison as the HTML template shows it."""
    moved = comparison.moved()
    return {
        "run": comparison,
        "started": comparison.started_at.replace("T", " ").replace("+00:00", " UTC"),
        "rule": RULE,
        "models": [(model, numbers(model), model.reasons()) for model in comparison.models],
        "counts": list(comparison.counts().items()),
        "cases": [(change, numbers(change), list(_field_rows(change))) for change in moved[:_MOST_CASES]],
        "left": max(0, len(moved) - _MOST_CASES),
        "most_fields": _MOST_FIELDS,
    }


def _field_rows(change: CaseChange) -> Iterator[tuple[str, str, str, str]]:
    """Path, then, now, and whether that is better or worse."""
    for field in change.fields[:_MOST_FIELDS]:
        then, now = field.values()
        yield field.path, then, now, "better" if field.rose else "worse"


def _arrow(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _accuracy(side: Side | None) -> str:
    return "no reply" if side is None or side.accuracy is None else f"{side.accuracy:.1f}"


def _cost(side: Side | None) -> str:
    if side is None or not side.replies:
        return "—"
    return format_usd(side.cost_usd)


def _seconds(side: Side | None) -> str:
    return "—" if side is None or side.seconds is None else f"{side.seconds:.2f}"
