"""Compares a run with an earlier one. docs/baselines.md explains the rules."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from ..errors import ResultsError
from .comparison import CaseChange, CaseVerdict, FieldChange, ModelChange, RunComparison, Side, Verdict
from .results import CaseKey, Place, RunResult
from .scoring import FieldScore
from .significance import ALPHA, POINTS, More, Pair, holm, more_repeats, p_value
from .summary import Group, grouped, mean_accuracy

__all__ = ["BASELINE", "compare_runs", "find_baseline"]

BASELINE = "baseline.json"

_ROUNDING = 1e-9
_Name = TypeVar("_Name")


def find_baseline(named: Path | None, results: Path, directory: Path) -> RunResult | None:
    """The run to compare with: the file that the user named, else `baseline.json`.

    Args:
        named: a results file; None if the user named none.
        results: the file that the new run will write.
        directory: the config's, with `baseline.json` in it.

    Returns:
        The run; None if no file was named and there is no `baseline.json`.

    Raises:
        ResultsError: the file cannot be read, or the new run would overwrite it.
    """
    path = named or directory / BASELINE
    if named is None and not path.is_file():
        return None
    if path.resolve() == results.resolve():
        raise ResultsError(
            f"{path}: this run would overwrite its own baseline. Keep it with `llm-tester baseline save` and leave "
            "--baseline out, or choose another --output"
        )
    return RunResult.load(path)


def compare_runs(before: RunResult, after: RunResult, tolerance: float = 0.0) -> RunComparison:
    """Compares a run with an earlier one, paired by case, provider and model.

    Args:
        before: the baseline.
        after: the run.
        tolerance: points of accuracy that a difference must exceed to be better or worse.

    Returns:
        The comparison. It has no models if the two runs have no case with the same provider and model in common.
    """
    runs = _Runs(before, after, tolerance)
    return RunComparison(
        baseline=before.run_id,
        started_at=before.started_at,
        tolerance=tolerance,
        models=tuple(runs.model_changes()),
        changes=tuple(runs.case_changes()),
    )


class _Runs:
    """Two runs with their results paired.

    Attributes:
        old: the baseline's repeats by case, provider and model.
        new: the run's.
        edited: by case, the parts that are not the same in both runs.
        both: the places that both runs have.
        pairs: the scores that can be compared.
    """

    def __init__(self, before: RunResult, after: RunResult, tolerance: float) -> None:
        self.tolerance = tolerance
        self.old, self.new = grouped(before.results), grouped(after.results)
        self.edited = _edited(before, after)
        self.both = [place for place in self.new if place in self.old]
        scores = {place: Pair(tuple(self.old[place].scores), tuple(self.new[place].scores)) for place in self.both}
        self.pairs = {place: pair for place, pair in scores.items() if all(pair) and self._same_task(place)}

    def _same_task(self, place: Place) -> bool:
        """Whether the two runs asked for the same. Only the prompt may differ: prompts are what users compare."""
        return all(part == "prompt" for part in self.edited.get(place[:3], ()))

    def case_changes(self) -> Iterator[CaseChange]:
        p_values = _corrected({place: [pair] for place, pair in self.pairs.items()})
        gone = {place: group for place, group in self.old.items() if place not in self.new}
        for place, group in {**self.new, **gone}.items():
            old, new = self.old.get(place), self.new.get(place)
            yield CaseChange(
                title=group.first.title,
                provider=group.first.provider,
                model=group.first.model,
                verdict=self._case_verdict(place, p_values.get(place)),
                before=_side([old]) if old else None,
                after=_side([new]) if new else None,
                p=p_values.get(place),
                fields=tuple(_fields(old, new)) if old and new and old.scores and new.scores else (),
                edited=self.edited.get(place[:3], ()),
            )

    def _case_verdict(self, place: Place, p: float | None) -> CaseVerdict:
        if place not in self.old:
            return "new"
        if place not in self.new:
            return "gone"
        if place in self.pairs:
            return _verdict(self.pairs[place].difference, p, self.tolerance)
        had, has = bool(self.old[place].scores), bool(self.new[place].scores)
        if had != has:
            return "worse" if had else "better"
        return "edited" if had else "same"

    def model_changes(self) -> Iterator[ModelChange]:
        models = dict.fromkeys(place[3:] for place in self.both)
        paired = {model: {place: pair for place, pair in self.pairs.items() if place[3:] == model} for model in models}
        p_values = _corrected({model: list(pairs.values()) for model, pairs in paired.items()})
        for model, compared in paired.items():
            p, pairs = p_values.get(model), list(compared.values())
            before, after = [self.old[place] for place in compared], [self.new[place] for place in compared]
            lost = [
                self.new[place].first
                for place in self.both
                if place[3:] == model and self.old[place].scores and not self.new[place].scores
            ]
            verdict = _model_verdict(pairs, bool(lost), p, self.tolerance)
            more = None
            if pairs and verdict == "cannot tell":
                more = more_repeats(pairs, ALPHA / len(p_values), POINTS + self.tolerance)
            yield ModelChange(
                provider=model[0],
                model=model[1],
                verdict=verdict,
                cases=len(pairs),
                before=_side(before),
                after=_side(after),
                lost=tuple(result.title for result in lost),
                p=p,
                more=more,
                more_usd=_cost(more, before, after) if more else None,
                repeats=max((len(group.results) for group in after), default=1),
            )


def _edited(before: RunResult, after: RunResult) -> dict[CaseKey, tuple[str, ...]]:
    """The parts that changed of each case that both runs have."""
    then = {case.key: case for case in before.cases}
    parts = ("prompt", "source", "expected", "files")
    return {
        case.key: tuple(part for part in parts if getattr(case, part) != getattr(then[case.key], part))
        for case in after.cases
        if case.key in then
    }


def _corrected(families: Mapping[_Name, Sequence[Pair]]) -> dict[_Name, float]:
    """The p-values by name, corrected for their number. Pairs with the same scores need no test."""
    tested = {name: pairs for name, pairs in families.items() if not all(map(_same, pairs))}
    return dict(zip(tested, holm([p_value(pairs) for pairs in tested.values()]), strict=True))


def _same(pair: Pair) -> bool:
    return pair.identical or sorted(pair.before) == sorted(pair.after)


def _verdict(difference: float, p: float | None, tolerance: float) -> Verdict:
    if p is None:
        return "same"
    if p > ALPHA:
        return "cannot tell"
    if abs(difference) <= tolerance + _ROUNDING:
        return "same"
    return "better" if difference > 0 else "worse"


def _model_verdict(pairs: Sequence[Pair], lost: bool, p: float | None, tolerance: float) -> Verdict:
    if lost:
        return "worse"
    if not pairs:
        return "cannot tell"
    return _verdict(fmean(pair.difference for pair in pairs), p, tolerance)


def _side(groups: Sequence[Group]) -> Side:
    totals = [group.sums for group in groups]
    return Side(
        accuracy=mean_accuracy(groups),
        replies=sum(len(group.scores) for group in groups),
        invalid=sum(total.invalid for total in totals),
        cost_usd=_mean([group.cost_usd for group in groups]),
        seconds=_mean([total.per_reply(total.seconds) for total in totals]),
        fallbacks=sum(total.fallbacks for total in totals),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None if a value is unknown or there is none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _cost(more: More, before: Sequence[Group], after: Sequence[Group]) -> float | None:
    """USD for more repeats at what the repeats cost so far; None if one of these costs is unknown."""
    costs = [group.cost_usd for group in (*after, *(before if more.both else ()))]
    known = [cost for cost in costs if cost is not None]
    return sum(known) * more.repeats if more.repeats and len(known) == len(costs) else None


def _fields(old: Group, new: Group) -> Iterator[FieldChange]:
    then, now = _usual_fields(old), _usual_fields(new)
    for path in dict.fromkeys((*now, *then)):
        before, after = then.get(path), now.get(path)
        if before and after and abs(before.score - after.score) < _ROUNDING:
            continue
        yield FieldChange(
            path=path,
            expected=(now if path in now else then)[path].expected,
            before=before.actual if before else None,
            after=after.actual if after else None,
            score_before=before.score if before else None,
            score_after=after.score if after else None,
        )


def _usual_fields(group: Group) -> dict[str, FieldScore]:
    """By path, the field with its most frequent value and its mean score."""
    found: dict[str, list[FieldScore]] = {}
    for result in group.results:
        for field in result.fields:
            found.setdefault(field.path, []).append(field)
    usual = {}
    for path, fields in found.items():
        [(value, _)] = Counter(repr(field.actual) for field in fields).most_common(1)
        first = next(field for field in fields if repr(field.actual) == value)
        score = fmean(field.score for field in fields)
        usual[path] = first.model_copy(update={"score": score, "expected": fields[0].expected})
    return usual
