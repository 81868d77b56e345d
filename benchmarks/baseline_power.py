"""How often a baseline's verdict is wrong, and how often a real drop is found: the figures of docs/baselines.md.

    python benchmarks/baseline_power.py [pairs]

Simulates pairs of runs of noisy models over 20 cases. A case has a difficulty of its own, and a reply scores a share of
8 leaves, so the scores are in steps, skewed, and never above 100, as real ones are.
"""

import random
import sys
import time
from pathlib import Path
from statistics import median

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from noisy_models import compared, pair_of_runs


def false_alarms(pairs: int, repeats: int, models: int = 1) -> None:
    """Prints how often identical models are called better or worse."""
    worse = better = 0
    for seed in range(pairs):
        comparison = compared(pair_of_runs(random.Random(seed), repeats=repeats, models=models))
        worse += bool(comparison.regressions())
        better += any(model.verdict == "better" for model in comparison.models)
    click.echo(
        f"identical, {models} models, {repeats} repeats, {pairs} pairs: the gate fails in {worse / pairs:.1%}, "
        f"{better / pairs:.1%} are called better"
    )


def found(pairs: int, repeats: int, drop: float) -> None:
    """Prints how often a drop is found at once, and with the repeats that the comparison asked for."""
    at_once = at_last = 0
    wanted: list[int] = []
    for seed in range(pairs):
        dice = random.Random(seed)
        [model] = compared(pair_of_runs(dice, repeats=repeats, drop=drop)).models
        at_once += model.verdict == "worse"
        if model.verdict == "worse" or model.more is None or model.more.repeats is None:
            at_last += model.verdict == "worse"
            continue
        wanted.append(model.more.repeats)
        before = repeats + model.more.repeats * model.more.both
        after = repeats + model.more.repeats
        [model] = compared(pair_of_runs(dice, repeats=before, repeats_after=after, drop=drop)).models
        at_last += model.verdict == "worse"
    click.echo(
        f"a drop of {drop:g} points, {repeats} repeats, {pairs} pairs: found at once in {at_once / pairs:.1%}, "
        f"with the repeats asked for (median {median(wanted or [0]):g} more) in {at_last / pairs:.1%}"
    )


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    start = time.perf_counter()
    for count in (1, 3, 5):
        false_alarms(number, count)
    false_alarms(number, 1, models=4)
    for count in (1, 3, 5):
        found(number // 4, count, 5.0)
    click.echo(f"{time.perf_counter() - start:.0f} s")
