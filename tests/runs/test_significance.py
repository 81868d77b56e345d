"""The verdict is honest: identical models rarely differ, a real drop is found, and the p-values are right."""

import random
from itertools import combinations
from math import sqrt
from statistics import NormalDist, fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noisy_models import COST_USD, compared, pair_of_runs

from llm_tester.runs.significance import ALPHA, Pair, holm, more_repeats, p_text, p_value

scores = st.lists(st.sampled_from([0.0, 33.3333, 50.0, 66.6667, 100.0]), min_size=1, max_size=4)


def test_two_runs_of_2000_identical_models_rarely_differ() -> None:
    """Whatever the case and the repeats, at most 5% of 2,000 pairs fail the gate; both directions count here."""
    dice = random.Random(7)
    alarms = 0
    for number in range(2_000):
        repeats = (1, 1, 2, 3)[number % 4]
        pairs = [Pair(_replies(dice, chance, repeats), _replies(dice, chance, repeats)) for chance in _chances(dice)]
        alarms += p_value(pairs) <= ALPHA
    assert alarms <= 100


def test_the_gate_rarely_fails_for_a_run_of_several_identical_models() -> None:
    """The correction for the number of models keeps the whole run at 5%, not each model."""
    pairs = [pair_of_runs(random.Random(seed), repeats=1, models=4) for seed in range(60)]
    failed = sum(bool(compared(pair).regressions()) for pair in pairs)
    assert failed <= 0.05 * len(pairs)


def test_a_drop_of_5_points_is_found_with_the_repeats_that_were_asked_for() -> None:
    """At least 80% of planted drops are found, at once or when run again as the comparison said."""
    dice = random.Random(11)
    found = 0
    for number in range(60):
        before = after = (1, 2, 3)[number % 3]
        chances = _chances(dice)
        pairs = _dropped(dice, chances, before, after)
        if p_value(pairs) > ALPHA:
            more = more_repeats(pairs)
            assert more.repeats is not None
            before, after = before + more.repeats * more.both, after + more.repeats
            pairs = _dropped(dice, chances, before, after)
        found += p_value(pairs) <= ALPHA and sum(pair.difference for pair in pairs) < 0
    assert found >= 0.8 * 60


def _dropped(dice: random.Random, chances: list[float], before: int, after: int) -> list[Pair]:
    """A run and a later one in which every second case is 10 points worse."""
    return [
        Pair(_replies(dice, chance, before), _replies(dice, chance - 0.1 * (case % 2), after))
        for case, chance in enumerate(chances)
    ]


def _chances(dice: random.Random) -> list[float]:
    return [dice.uniform(0.6, 0.97) for _ in range(20)]


def _replies(dice: random.Random, chance: float, count: int) -> tuple[float, ...]:
    return tuple(100 * sum(dice.random() < chance for _ in range(8)) / 8 for _ in range(count))


@given(st.lists(st.tuples(scores, scores), min_size=1, max_size=2))
def test_few_arrangements_are_all_counted(cases: list[tuple[list[float], list[float]]]) -> None:
    """The p-value is the share of all ways to deal the scores out that differ at least as much."""
    pairs = [Pair(tuple(before), tuple(after)) for before, after in cases]
    sums = [0.0]
    for before, after in cases:
        sums = [value + more for value in sums for more in _all_differences(before + after, len(before))]
    observed = abs(sum(pair.difference for pair in pairs))
    assert p_value(pairs) == pytest.approx(sum(abs(value) >= observed - 1e-6 for value in sums) / len(sums))


def _all_differences(together: list[float], size: int) -> list[float]:
    everything = range(len(together))
    return [
        fmean(together[place] for place in everything if place not in taken) - fmean(together[place] for place in taken)
        for taken in combinations(everything, size)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_many_arrangements_agree_with_the_paired_t_test(seed: int) -> None:
    """40 cases without repeats: 2**40 arrangements, of which 10,000 are drawn; scores are normal, so t is right."""
    dice = random.Random(seed)
    before = [dice.uniform(50, 100) for _ in range(40)]
    pairs = [Pair((score,), (score - dice.gauss(3, 10),)) for score in before]
    differences = [pair.difference for pair in pairs]
    t = fmean(differences) / (stdev(differences) / sqrt(40))
    assert p_value(pairs) == pytest.approx(2 * NormalDist().cdf(-abs(t)), abs=0.03)


def test_the_p_value_is_the_same_each_time() -> None:
    dice = random.Random(1)
    pairs = [Pair((dice.random(),), (dice.random(),)) for _ in range(40)]
    assert p_value(pairs) == p_value(pairs)


def test_holm_corrects_for_the_number() -> None:
    """The textbook example: 0.01, 0.04, 0.03, 0.005."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@pytest.mark.parametrize(("p", "shown"), [(0.5, "0.50"), (0.049, "0.049"), (0.0004, "<0.001")])
def test_p_values_for_a_person(p: float, shown: str) -> None:
    assert p_text(p) == shown


def test_a_single_case_needs_the_repeats_that_make_it_certain() -> None:
    """Always 100 then and always 50 now: with 4 replies each there are 70 arrangements, and 2 / 70 is below 0.05."""
    more = more_repeats([Pair((100.0,), (50.0,))])
    assert (more.repeats, more.both) == (3, True)
    assert p_value([Pair((100.0,) * 3, (50.0,) * 3)]) > ALPHA
    assert p_value([Pair((100.0,) * 4, (50.0,) * 4)]) <= ALPHA


def test_what_is_too_noisy_to_settle_says_so() -> None:
    assert more_repeats([Pair((0.0, 100.0), (0.0, 100.0))]).repeats is None


def test_the_cost_of_more_repeats_is_that_of_their_replies() -> None:
    """20 cases, each reply at a known price; a repeat of both runs costs twice as much."""
    [model] = compared(pair_of_runs(random.Random(3), repeats=2)).models
    assert model.more is not None
    assert model.more.repeats is not None
    assert model.more_usd == pytest.approx(20 * COST_USD * model.more.repeats * (2 if model.more.both else 1))
