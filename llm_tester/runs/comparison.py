"""The outcome of a comparison with an earlier run: better, worse or cannot tell, with the reasons in words."""

import json
import math
from collections import Counter
from typing import Any, Literal

from ..usage import format_usd
from .results import OfModel, Record
from .significance import MOST_REPEATS, More, p_text

__all__ = ["CaseChange", "CaseVerdict", "FieldChange", "ModelChange", "RunComparison", "Side", "Verdict", "counted"]

Verdict = Literal["better", "worse", "cannot tell", "same"]
CaseVerdict = Literal["better", "worse", "cannot tell", "same", "edited", "new", "gone"]

_MOST_LINES = 12
_MOST_FIELDS = 6


class Side(Record):
    """The replies of one of the two runs.

    Attributes:
        accuracy: the mean, 0 to 100; None without a reply.
        replies: how many replies there are.
        invalid: how many of them are invalid.
        cost_usd: mean USD of a reply; None if one is unknown.
        seconds: mean seconds of a reply; None without a reply.
        fallbacks: how many replies another model gave.
    """

    accuracy: float | None
    replies: int
    invalid: int
    cost_usd: float | None
    seconds: float | None
    fallbacks: int = 0


class FieldChange(Record):
    """A field of a case whose score changed.

    Attributes:
        expected: the right value.
        before: the most frequent value in the baseline; None if there was none.
        after: the most frequent value now.
        score_before: the field's mean score in the baseline, 0 to 1; None if the field did not occur.
        score_after: its mean score now.
    """

    path: str
    expected: Any
    before: Any
    after: Any
    score_before: float | None
    score_after: float | None

    def values(self) -> tuple[str, str]:
        """The most frequent value then and now as texts; if it is the same, the scores."""
        before, after = _value(self.before), _value(self.after)
        if before == after:
            return f"score {_score(self.score_before)}", _score(self.score_after)
        return before, after

    @property
    def rose(self) -> bool:
        """Whether the score is better now. No value is right if none is expected."""
        absent = 1.0 if self.expected is None else 0.0
        before, after = (absent if score is None else score for score in (self.score_before, self.score_after))
        return after > before

    def text(self) -> str:
        """`<path> <then> → <now>`."""
        return f"{self.path} {' → '.join(self.values())}"


class _Change(OfModel):
    """What a case's change and a model's change have in common.

    Attributes:
        before: the baseline's replies; None if the baseline does not have the case.
        after: the run's replies; None if the run does not have the case.
        p: the p-value, corrected for the number of tests; None if nothing was tested.
    """

    before: Side | None = None
    after: Side | None = None
    p: float | None = None

    @property
    def difference(self) -> float | None:
        """The accuracy now minus the accuracy then, in points; None if a run has no reply."""
        before, after = (side.accuracy if side else None for side in (self.before, self.after))
        return None if before is None or after is None else after - before

    def _by_fallbacks(self) -> list[str]:
        """How many replies are not the model's own, then and now; nothing if all are."""
        counts = [(side.fallbacks, side.replies) for side in (self.before, self.after) if side]
        if not any(fallbacks for fallbacks, _ in counts):
            return []
        return [f"replies by fallbacks {' → '.join(f'{fallbacks} of {replies}' for fallbacks, replies in counts)}"]

    def accuracies(self) -> tuple[str, str]:
        """The accuracy then and now, as texts."""
        return _points(self.before), _points(self.after)


class CaseChange(_Change):
    """The change of one case with one provider and model.

    Attributes:
        title: of the case.
        verdict: `better`, `worse` or `cannot tell`; `same` if every reply scored as before or the difference is within
            the tolerance; `edited` if the two runs asked for different things; `new` or `gone` if only one run has it.
        fields: the fields whose mean score changed.
        edited: which parts of the case changed: `prompt`, `source`, `expected`, `files`.
    """

    title: str
    verdict: CaseVerdict
    fields: tuple[FieldChange, ...] = ()
    edited: tuple[str, ...] = ()

    def remarks(self) -> list[str]:
        """What else changed: the case itself, and the number of invalid replies."""
        found = [f"edited since then: {', '.join(self.edited)}"] if self.edited else []
        if self.before and self.after and (self.before.invalid or self.after.invalid):
            counts = (f"{side.invalid} of {side.replies}" for side in (self.before, self.after))
            found.append(f"invalid replies {' → '.join(counts)}")
        return [*found, *self._by_fallbacks()]

    def details(self, most_fields: int) -> list[str]:
        """The remarks and the first changed fields, in one text each."""
        found = [*self.remarks(), *(field.text() for field in self.fields[:most_fields])]
        if len(self.fields) > most_fields:
            found.append(f"and {len(self.fields) - most_fields} more fields")
        return found

    def line(self) -> str:
        """The change in one line."""
        details = "; ".join([" → ".join(self.accuracies()), *self.details(_MOST_FIELDS)])
        return f"{self.verdict}: {self.title}, {self.column}: {details}"


class ModelChange(_Change):
    """The change of one provider and model, over all cases that both runs answered.

    Attributes:
        verdict: `worse` also if a case lost its reply.
        cases: how many cases were compared, with each prompt of a case counted.
        lost: the titles of the cases that had a reply then and have none now.
        more: the repeats that would settle the comparison; None unless the verdict is `cannot tell`.
        more_usd: what they would cost; None if that is unknown.
        repeats: how often each case was run in this run.
    """

    verdict: Verdict
    cases: int
    lost: tuple[str, ...] = ()
    more: More | None = None
    more_usd: float | None = None
    repeats: int = 1

    def line(self) -> str:
        """The verdict in one line."""
        p = "" if self.p is None else f" (p = {p_text(self.p)})".replace("= <", "< ")
        numbers = f"{' → '.join(self.accuracies())} over {counted(self.cases, 'case')}{p}"
        rest = [numbers if self.cases else "no case that both runs answered", *self.reasons()]
        return f"{self.verdict}: {self.column}: {'; '.join(rest)}"

    def reasons(self) -> list[str]:
        """Replies of fallbacks, lost replies, and the repeats that would settle the comparison."""
        found = self._by_fallbacks()
        if self.lost:
            names = ", ".join(self.lost[:3]) + (" and more" if len(self.lost) > 3 else "")
            found.append(f"{counted(len(self.lost), 'case')} lost the reply: {names}")
        if self.more is not None:
            found.append(self._needed(self.more))
        return found

    def _needed(self, more: More) -> str:
        if more.repeats is None:
            return f"more than {MOST_REPEATS} more repeats would be needed to find {more.points:.1f} points"
        runs = " of both runs" if more.both else ""
        cost = "at unknown cost" if self.more_usd is None else f"about {format_usd(self.more_usd)}"
        total = f"--repeat {self.repeats + more.repeats}"
        repeats = f"{counted(more.repeats, 'more repeat')}{runs} ({total}), {cost}"
        return f"{repeats}, would settle it if the difference is {more.points:.1f} points or more"


class RunComparison(Record):
    """A run compared with an earlier one.

    Attributes:
        baseline: the earlier run's id.
        started_at: when the earlier run started, ISO 8601.
        tolerance: the points of accuracy that a difference must exceed.
        models: the verdict for each provider and model that both runs have.
        changes: one for each case, provider and model that either run has.
    """

    baseline: str
    started_at: str
    tolerance: float
    models: tuple[ModelChange, ...]
    changes: tuple[CaseChange, ...]

    def regressions(self) -> list[ModelChange]:
        """The models that became worse, or lost a reply."""
        return [model for model in self.models if model.verdict == "worse"]

    def moved(self) -> list[CaseChange]:
        """The cases in both runs whose accuracy changed, the largest difference first."""
        moved = [change for change in self.changes if change.before and change.after and change.verdict != "same"]
        # A reply that was lost or gained counts as the largest difference.
        return sorted(moved, key=lambda change: -abs(math.inf if change.difference is None else change.difference))

    def counts(self) -> dict[str, int]:
        """The number of cases with each verdict that occurs."""
        return dict(Counter(change.verdict for change in self.changes).most_common())

    def notes(self) -> list[str]:
        """The comparison in lines, for a terminal."""
        head = f"against the baseline {self.baseline} of {self.started_at}"
        if not self.models:
            return [
                f"{head}: it has none of this run's cases with the same provider and model, so nothing was compared"
            ]
        cases = ", ".join(f"{count} {verdict}" for verdict, count in self.counts().items())
        moved = self.moved()
        lines = [head, *(model.line() for model in self.models), f"case by case: {cases}"]
        lines += [f"  {change.line()}" for change in moved[:_MOST_LINES]]
        if len(moved) > _MOST_LINES:
            lines.append(f"  and {len(moved) - _MOST_LINES} more; the reports have them all")
        return lines


def counted(number: int, noun: str) -> str:
    """A number with its noun, `1 case` or `2 cases`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _points(side: Side | None) -> str:
    return "no reply" if side is None or side.accuracy is None else f"{side.accuracy:.1f}"


def _score(score: float | None) -> str:
    return "—" if score is None else f"{score:.2f}"


def _value(value: Any) -> str:
    text = "—" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"
