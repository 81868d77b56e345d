"""Compares a run with an earlier one.

docs/baselines.md has the rules and why they are as they are.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ..errors import ResultsError
from .comparison import CaseChange, CaseVerdict, FieldChange, ModelChange, RunComparison, Side, Verdict
from .results import Place, RunResult
from .significance import ALPHA, POINTS, More, Pair, holm, more_repeats, p_value
from .summary import Group, grouped

__all__ = ["BASELINE", "compare_runs", "find_baseline"]

BASELINE = "baseline.json"

_ROUNDING = 1e-9


def find_baseline(named: Path | None, results: Path, directory: Path) -> RunResult | None:
    """The run to compare with: the one that was named, else the `baseline.json` that was kept.

    Args:
        named: a results file; None if the user named none.
        results: the file that the new run will write.
        directory: the config's.

    Returns:
        The run, None if none was named and none was kept.

    Raises:
        ResultsError: the file cannot be read, or is the one that the run would write over.
    """
    path = named or directory / BASELINE
    if named is None and not path.is_file():
        return None
    if path.resolve() == results.resolve():
        raise ResultsError(
            f"{path}: this run would write over its own baseline. Keep it with `llm-tester baseline save` and leave "
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
        The comparison; it has no models if the two runs have no case with the same provider and model in common.
    """
    old, new = grouped(before.results), grouped(after.results)
    edited = _edited(before, after)
    pairs = {
        place: Pair(tuple(old[place].scores), tuple(group.scores))
        for place, group in new.items()
        if place in old and old[place].scores and group.scores and not _different_task(edited.get(place[:3], ()))
    }
    p_values = _corrected({place: [pair] for place, pair in pairs.items()})
    places = [*new, *(place for place in old if place not in new)]
    changes = [
        _change(old.get(place), new.get(place), edited.get(place[:3], ()), pairs.get(place), p_values, tolerance)
        for place in places
    ]
    return RunComparison(
        baseline=before.run_id,
        started_at=before.started_at,
        tolerance=tolerance,
        models=tuple(_models(old, new, pairs, edited, tolerance)),
        changes=tuple(changes),
    )


def _edited(before: RunResult, after: RunResult) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """The parts that changed of each case that both runs have."""
    then = {case.key: case for case in before.cases}
    parts = ("prompt", "source", "expected", "files")
    return {
        case.key: tuple(part for part in parts if getattr(case, part) != getattr(then[case.key], part))
        for case in after.cases
        if case.key in then
    }


def _different_task(edited: Sequence[str]) -> bool:
    """Whether the scores of the two runs answer different questions; another prompt is what one compares."""
    return any(part != "prompt" for part in edited)


def _corrected(families: Mapping[Any, Sequence[Pair]]) -> dict[Any, float]:
    """The p-value of each, corrected for how many of them could have differed."""
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


def _change(
    old: Group | None,
    new: Group | None,
    edited: tuple[str, ...],
    pair: Pair | None,
    p_values: Mapping[Place, float],
    tolerance: float,
) -> CaseChange:
    group = new or old
    assert group is not None
    first = group.first
    p = p_values.get(first.place)
    if old is None or new is None:
        verdict: CaseVerdict = "new" if old is None else "gone"
    elif pair is not None:
        verdict = _verdict(pair.difference, p, tolerance)
    elif bool(old.scores) != bool(new.scores):
        verdict = "worse" if old.scores else "better"
    else:
        verdict = "edited" if old.scores else "same"
    return CaseChange(
        title=first.title,
        provider=first.provider,
        model=first.model,
        verdict=verdict,
        before=_side([old]) if old else None,
        after=_side([new]) if new else None,
        p=p,
        fields=tuple(_fields(old, new)) if old and new and old.scores and new.scores else (),
        edited=edited,
    )


def _side(groups: Sequence[Group]) -> Side:
    means = [group.accuracy for group in groups if group.accuracy is not None]
    costs = [group.cost_usd for group in groups]
    times = [group.sums.seconds_per_reply for group in groups]
    return Side(
        accuracy=fmean(means) if means else None,
        replies=sum(len(group.scores) for group in groups),
        invalid=sum(group.sums.invalid for group in groups),
        cost_usd=_mean(costs),
        seconds=_mean(times),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _models(
    old: Mapping[Place, Group],
    new: Mapping[Place, Group],
    pairs: Mapping[Place, Pair],
    edited: Mapping[tuple[str, str, str], tuple[str, ...]],
    tolerance: float,
) -> Iterable[ModelChange]:
    both: dict[tuple[str, str], list[Place]] = {}
    for place in new:
        if place in old:
            both.setdefault(place[3:], []).append(place)
    paired = {model: [place for place in places if place in pairs] for model, places in both.items()}
    p_values = _corrected({model: [pairs[place] for place in places] for model, places in paired.items()})
    for model, places in both.items():
        lost = tuple(new[place].first.title for place in places if old[place].scores and not new[place].scores)
        before, after = [old[place] for place in paired[model]], [new[place] for place in paired[model]]
        chosen = [pairs[place] for place in paired[model]]
        verdict = _model_verdict(chosen, bool(lost), p_values.get(model), tolerance)
        more = (
            more_repeats(chosen, ALPHA / len(p_values), POINTS + tolerance)
            if chosen and verdict == "cannot tell"
            else None
        )
        yield ModelChange(
            provider=model[0],
            model=model[1],
            verdict=verdict,
            cases=len(chosen),
            before=_side(before),
            after=_side(after),
            lost=lost,
            p=p_values.get(model),
            more=more,
            more_usd=_cost(more, before, after) if more else None,
            repeats=max((len(group.results) for group in after), default=1),
        )


def _model_verdict(pairs: Sequence[Pair], lost: bool, p: float | None, tolerance: float) -> Verdict:
    if lost:
        return "worse"
    if not pairs:
        return "cannot tell"
    return _verdict(fmean(pair.difference for pair in pairs), p, tolerance)


def _cost(more: More, before: Sequence[Group], after: Sequence[Group]) -> float | None:
    """USD for the further repeats at what the repeats cost so far; None if one of these costs is unknown."""
    costs = [group.cost_usd for group in (*after, *(before if more.both else ()))]
    known = [cost for cost in costs if cost is not None]
    return sum(known) * more.repeats if more.repeats and len(known) == len(costs) else None


def _fields(old: Group, new: Group) -> Iterable[FieldChange]:
    then, now = _field_values(old), _field_values(new)
    for path in dict.fromkeys((*now, *then)):
        before, after = then.get(path), now.get(path)
        if before and after and abs(before[0] - after[0]) < _ROUNDING:
            continue
        present = after or before
        assert present is not None
        yield FieldChange(
            path=path,
            expected=present[1],
            before=before[2] if before else None,
            after=after[2] if after else None,
            score_before=before[0] if before else None,
            score_after=after[0] if after else None,
        )


def _field_values(group: Group) -> dict[str, tuple[float, Any, Any]]:
    """By path the mean score, the expected value, and the value that most repeats have."""
    found: dict[str, list[Any]] = {}
    for result in group.results:
        for field in result.fields:
            found.setdefault(field.path, []).append(field)
    values = {}
    for path, fields in found.items():
        [(usual, _)] = Counter(repr(field.actual) for field in fields).most_common(1)
        actual = next(field.actual for field in fields if repr(field.actual) == usual)
        values[path] = (fmean(field.score for field in fields), fields[0].expected, actual)
    return values
