"""Whether a difference between two runs is more than noise: a permutation test, and the repeats it needs.

docs/baselines.md explains the choice of the test.
"""

import random
from collections.abc import Sequence
from itertools import accumulate
from math import comb, lcm, log, sqrt
from statistics import NormalDist, fmean
from typing import NamedTuple

__all__ = ["ALPHA", "MOST_REPEATS", "POINTS", "More", "Pair", "holm", "more_repeats", "p_text", "p_value"]

ALPHA = 0.05
MOST_REPEATS = 100
POINTS = 5.0

# The variance that is planned with is an estimate, so that 90% here finds the difference in at least 80% of runs.
_POWER = 0.9
_MOST_STATES = 4096  # distinct sums that are still enumerated
_CHUNK = 500
_MOST_DRAWS = 10_000
_ENOUGH = 200  # draws at least as extreme; a large p-value needs no more precision
_UNITS = 10_000  # of a point

# Each possible value with its probability.
Distribution = dict[int, float]


class Pair(NamedTuple):
    """The scores of one case in two runs, one for each repeat."""

    before: tuple[float, ...]
    after: tuple[float, ...]

    @property
    def difference(self) -> float:
        """The mean now minus the mean then."""
        return fmean(self.after) - fmean(self.before)

    @property
    def identical(self) -> bool:
        """Whether all scores of both runs are the same number."""
        return len({_unit(score) for scores in self for score in scores}) == 1


class More(NamedTuple):
    """How many more repeats would settle a comparison.

    Attributes:
        points: the difference that they would show, in points of accuracy.
        repeats: the number for each case; None if it is more than `MOST_REPEATS`.
        both: whether the baseline needs them as well.
    """

    points: float
    repeats: int | None
    both: bool = False


def p_value(pairs: Sequence[Pair]) -> float:
    """How likely chance alone makes the mean difference of two runs at least as large as it is.

    If the model did not change, each score of a case could as well belong to the other run. So the scores of each case
    are dealt out to the two runs again, in every way if there are few ways, else in 10,000 random ways.

    Args:
        pairs: one for each case.

    Returns:
        The two-sided p-value, 1 if nothing differs; the same for the same pairs.
    """
    varying = [pair for pair in pairs if not pair.identical]
    # Whole numbers, so that sums that are equal compare as equal.
    scale = lcm(*(len(scores) for pair in varying for scores in pair))
    observed = abs(sum(_whole(pair.after, scale) - _whole(pair.before, scale) for pair in varying))
    if not observed:
        return 1.0
    splits = [_splits(pair, scale) for pair in varying]
    total: Distribution = {0: 1.0}
    for split in splits:
        longer = split and _sum(total, split)
        if not longer:
            return _drawn(varying, splits, observed, scale)
        total = longer
    return min(1.0, sum(share for value, share in total.items() if abs(value) >= observed))


def _unit(score: float) -> int:
    return round(score * _UNITS)


def _whole(scores: Sequence[float], scale: int) -> int:
    """The mean of scores, times `scale`, in units."""
    return sum(map(_unit, scores)) * (scale // len(scores))


def _splits(pair: Pair, scale: int) -> Distribution | None:
    """The differences that result from all ways to deal the scores out to two runs; None if there are too many."""
    units = [_unit(score) for scores in pair for score in scores]
    size = len(pair.before)
    ways = {(0, 0): 1}
    for unit in units:
        more = dict(ways)
        for (taken, value), count in ways.items():
            if taken < size:
                place = taken + 1, value + unit
                more[place] = more.get(place, 0) + count
        if len(more) > _MOST_STATES:
            return None
        ways = more
    before, after, total = scale // size, scale // len(pair.after), sum(units)
    every = comb(len(units), size)
    return {
        (total - value) * after - value * before: count / every
        for (taken, value), count in ways.items()
        if taken == size
    }


def _sum(one: Distribution, other: Distribution) -> Distribution | None:
    if len(one) * len(other) > 8 * _MOST_STATES:
        return None
    found: Distribution = {}
    for left, share in one.items():
        for right, more in other.items():
            found[left + right] = found.get(left + right, 0.0) + share * more
    return found if len(found) <= _MOST_STATES else None


def _drawn(pairs: Sequence[Pair], splits: Sequence[Distribution | None], observed: int, scale: int) -> float:
    """The p-value from random draws, never 0. It stops early if it is large (Besag and Clifford 1991)."""
    dice = random.Random(0)
    tables = [(list(split), list(accumulate(split.values()))) if split else None for split in splits]
    drawn = extreme = 0
    while drawn < _MOST_DRAWS and extreme < _ENOUGH:
        columns = [
            dice.choices(table[0], cum_weights=table[1], k=_CHUNK) if table else _dealt(pair, dice, scale)
            for pair, table in zip(pairs, tables, strict=True)
        ]
        extreme += sum(abs(value) >= observed for value in map(sum, zip(*columns, strict=True)))
        drawn += _CHUNK
    return (extreme + 1) / (drawn + 1)


def _dealt(pair: Pair, dice: random.Random, scale: int) -> list[int]:
    units = [_unit(score) for scores in pair for score in scores]
    size, total = len(pair.before), sum(units)
    before, after = scale // size, scale // len(pair.after)
    sums = (sum(dice.sample(units, size)) for _ in range(_CHUNK))
    return [(total - value) * after - value * before for value in sums]


def p_text(p: float) -> str:
    """A p-value as text."""
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}" if p >= 0.001 else "<0.001"


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number by Holm's method, so that all hold at once in 95% of comparisons."""
    corrected = [1.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = highest
    return corrected


def more_repeats(pairs: Sequence[Pair], alpha: float = ALPHA, points: float = POINTS) -> More:
    """How many more repeats would settle a comparison whose verdict is `cannot tell`.

    The observed difference may be large by chance, so the plan is for one that is a standard error smaller.

    Args:
        pairs: one for each case.
        alpha: the p-value to reach.
        points: the smallest difference worth finding, in points of accuracy.

    Returns:
        The smallest number of further calls that is enough: more repeats of this run only, or of both runs.
    """
    spread = _Spread.of(pairs)
    varying = [number for number, pair in enumerate(pairs) if not pair.identical]
    sizes = [(len(pair.before), len(pair.after)) for pair in pairs]
    seen = abs(fmean(pair.difference for pair in pairs)) - sqrt(spread.noise(sizes)) / len(pairs)
    wanted = max(seen, points)
    plans = []
    for both in (False, True):
        for count in range(1, MOST_REPEATS + 1):
            more = [(before + count * both, after + count) for before, after in sizes]
            if _arrangements_suffice([more[number] for number in varying], alpha) and spread.shows(wanted, more, alpha):
                plans.append((count * (2 if both else 1), More(wanted, count, both)))
                break
    return min(plans, default=(0, More(wanted, None)))[1]


def _arrangements_suffice(sizes: Sequence[tuple[int, int]], alpha: float) -> bool:
    """Whether the scores can be dealt out in enough ways for the p-value to reach `alpha`."""
    ways = sum(log(comb(before + after, before)) for before, after in sizes)
    return ways >= log((2 if all(before == after for before, after in sizes) else 1) / alpha)


class _Spread(NamedTuple):
    """How much scores vary.

    Attributes:
        variance: of a single reply's score.
        shift: the mean square of the difference between the runs, without noise. It widens the permutation
            distribution as well.
    """

    variance: float
    shift: float

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> "_Spread":
        """The variance between repeats if there are any, else between the cases' differences."""
        degrees = sum(len(pair.before) + len(pair.after) - 2 for pair in pairs)
        differences = [pair.difference for pair in pairs]
        shares = fmean(1 / len(pair.before) + 1 / len(pair.after) for pair in pairs)
        if degrees >= len(pairs):
            variance = sum(_squares(pair.before) + _squares(pair.after) for pair in pairs) / degrees
        else:
            variance = _squares(differences) / (len(pairs) - 1) / shares if len(pairs) > 1 else 0.0
        return cls(variance, max(0.0, fmean(value**2 for value in differences) - variance * shares))

    def noise(self, sizes: Sequence[tuple[int, int]]) -> float:
        """The variance of the sum of the cases' differences."""
        return sum(self.variance * (1 / before + 1 / after) for before, after in sizes)

    def shows(self, points: float, sizes: Sequence[tuple[int, int]], alpha: float) -> bool:
        """Whether a mean difference of so many points would be found, by the normal approximation."""
        noise = self.noise(sizes)
        shifts = sum(max(self.shift, points**2) / (before + after - 1) for before, after in sizes)
        critical = NormalDist().inv_cdf(1 - alpha / 2) * sqrt(noise + shifts)
        return points * len(sizes) >= critical + NormalDist().inv_cdf(_POWER) * sqrt(noise)


def _squares(values: Sequence[float]) -> float:
    """The sum of the squared deviations from the mean."""
    middle = fmean(values)
    return sum((value - middle) ** 2 for value in values)
