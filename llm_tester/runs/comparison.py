"""What became of a run against an earlier one: better, worse, or cannot tell, with the reasons in words."""

import json
import math
from collections import Counter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ..usage import format_usd
from .significance import MOST_REPEATS, More, p_text

__all__ = ["CaseChange", "CaseVerdict", "FieldChange", "ModelChange", "RunComparison", "Side", "Verdict", "counted"]

Verdict = Literal["better", "worse", "cannot tell", "same"]
CaseVerdict = Literal["better", "worse", "cannot tell", "same", "edited", "new", "gone"]

_MOST_LINES = 12
_MOST_FIELDS = 6


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Side(_Record):
    """What one of the two runs has.

    Attributes:
        accuracy: the mean, 0 to 100; None without a reply.
        replies: how many replies it is the mean of.
        invalid: how many of them were invalid.
        cost_usd: mean USD of a reply; None if one is unknown.
        seconds: mean seconds of a reply; None without one.
    """

    accuracy: float | None
    replies: int
    invalid: int
    cost_usd: float | None
    seconds: float | None


class FieldChange(_Record):
    """A field of a case whose score changed.

    Attributes:
        expected: the right value.
        before: the value that most repeats had; None if there was none.
        after: the value that most repeats have now.
        score_before: its mean score, 0 to 1; None if the field did not occur.
        score_after: its mean score now.
    """

    path: str
    expected: Any
    before: Any
    after: Any
    score_before: float | None
    score_after: float | None

    def values(self) -> tuple[str, str]:
        """The usual value then and now as texts; the scores instead if they are the same."""
        before, after = _value(self.before), _value(self.after)
        if before == after:
            return f"score {_score(self.score_before)}", _score(self.score_after)
        return before, after

    @property
    def rose(self) -> bool:
        """Whether it is better now; a value that should not be there and is gone is."""
        absent = 1.0 if self.expected is None else 0.0
        before, after = (absent if score is None else score for score in (self.score_before, self.score_after))
        return after > before

    def text(self) -> str:
        """`<path> <then> → <now>`."""
        return f"{self.path} {' → '.join(self.values())}"


class CaseChange(_Record):
    """What became of one case with one provider and model.

    Attributes:
        title: of the case.
        verdict: `better`, `worse` or `cannot tell`; `same` if every reply scored as before or the difference is within
            the tolerance; `edited` if the two runs asked for different things; `new` or `gone` if only one run has it.
        before: None if the baseline does not have it.
        after: None if the run does not have it.
        p: the p-value, corrected for the number of cases; None if nothing was tested.
        fields: the fields whose mean score changed.
        edited: which parts of the case changed: `prompt`, `source`, `expected`, `files`.
    """

    title: str
    provider: str
    model: str
    verdict: CaseVerdict
    before: Side | None = None
    after: Side | None = None
    p: float | None = None
    fields: tuple[FieldChange, ...] = ()
    edited: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """The accuracy now less that then, in points; None if a run has no reply."""
        return _difference(self.before, self.after)

    def remarks(self) -> list[str]:
        """What else changed: the case itself, and the number of invalid replies."""
        found = [f"edited since then: {', '.join(self.edited)}"] if self.edited else []
        if self.before and self.after and (self.before.invalid or self.after.invalid):
            counts = (f"{side.invalid} of {side.replies}" for side in (self.before, self.after))
            found.append(f"invalid replies {' → '.join(counts)}")
        return found

    def line(self) -> str:
        """The change in one line."""
        remarks = "".join(f"; {remark}" for remark in self.remarks())
        fields = "".join(f"; {field.text()}" for field in self.fields[:_MOST_FIELDS])
        more = f"; and {len(self.fields) - _MOST_FIELDS} more fields" if len(self.fields) > _MOST_FIELDS else ""
        return f"{self.verdict}: {self.title}, {self.provider}:{self.model}: {self.arrow()}{remarks}{fields}{more}"

    def arrow(self) -> str:
        """The accuracy then and now."""
        return f"{_points(self.before)} → {_points(self.after)}"


class ModelChange(_Record):
    """What became of one provider and model, over all cases that both runs answered.

    Attributes:
        verdict: `worse` also if a case lost its reply.
        cases: how many cases were compared, each prompt of a case counted.
        lost: the titles of the cases that had a reply and have none.
        p: the p-value, corrected for the number of models; None if nothing was tested.
        more: the repeats that would settle it; None unless it cannot tell.
        more_usd: what they would cost; None if that is unknown.
        repeats: how often this run asked.
    """

    provider: str
    model: str
    verdict: Verdict
    cases: int
    before: Side
    after: Side
    lost: tuple[str, ...] = ()
    p: float | None = None
    more: More | None = None
    more_usd: float | None = None
    repeats: int = 1

    @property
    def title(self) -> str:
        """`<provider>:<model>`."""
        return f"{self.provider}:{self.model}"

    @property
    def difference(self) -> float | None:
        """The accuracy now less that then, in points; None if nothing was compared."""
        return _difference(self.before, self.after)

    def line(self) -> str:
        """The verdict in one line."""
        p = "" if self.p is None else f" (p = {p_text(self.p)})".replace("= <", "< ")
        numbers = f"{_points(self.before)} → {_points(self.after)} over {counted(self.cases, 'case')}{p}"
        rest = [numbers if self.cases else "no case that both runs answered", *self.reasons()]
        return f"{self.verdict}: {self.title}: {'; '.join(rest)}"

    def reasons(self) -> list[str]:
        """What else there is to say: lost replies, and what it would take."""
        found = []
        if self.lost:
            names = ", ".join(self.lost[:3]) + (" and more" if len(self.lost) > 3 else "")
            found.append(f"{counted(len(self.lost), 'case')} lost the reply: {names}")
        if self.more is not None:
            found.append(self._needed(self.more))
        return found

    def _needed(self, more: More) -> str:
        if more.repeats is None:
            return f"more than {MOST_REPEATS} more repeats would be needed to find {more.points:.1f} points"
        where = " of both runs" if more.both else ""
        cost = "at unknown cost" if self.more_usd is None else f"about {format_usd(self.more_usd)}"
        total = f"--repeat {self.repeats + more.repeats}"
        repeats = f"{counted(more.repeats, 'more repeat')}{where} ({total}), {cost}"
        return f"{repeats}, would settle it if the difference is {more.points:.1f} points or more"


class RunComparison(_Record):
    """A run against an earlier one.

    Attributes:
        baseline: the earlier run's id.
        started_at: when the earlier run started, ISO 8601.
        tolerance: the points that a difference must exceed.
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
        """The cases in both runs that have another accuracy than then, the largest difference first."""
        moved = [change for change in self.changes if change.before and change.after and change.verdict != "same"]
        # A reply that was lost or won counts as the largest difference of all.
        return sorted(moved, key=lambda change: -abs(math.inf if change.difference is None else change.difference))

    def counts(self) -> dict[str, int]:
        """How many cases have each verdict, those that occur."""
        return dict(Counter(change.verdict for change in self.changes).most_common())

    def notes(self) -> list[str]:
        """The comparison in lines, for a terminal."""
        cases = ", ".join(f"{count} {verdict}" for verdict, count in self.counts().items())
        head = f"against the baseline {self.baseline} of {self.started_at}"
        if not self.models:
            return [
                f"{head}: it has none of this run's cases with the same provider and model, so nothing was compared"
            ]
        lines = [head, *(model.line() for model in self.models)]
        moved = self.moved()
        lines += [f"case by case: {cases}", *(f"  {change.line()}" for change in moved[:_MOST_LINES])]
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


def _difference(before: Side | None, after: Side | None) -> float | None:
    if before is None or after is None or before.accuracy is None or after.accuracy is None:
        return None
    return after.accuracy - before.accuracy
