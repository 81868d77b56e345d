"""Runs of made-up models whose replies vary from call to call, to measure how often a verdict is right."""

import random
from collections.abc import Sequence

from llm_tester.runs.baseline import compare_runs
from llm_tester.runs.comparison import RunComparison
from llm_tester.runs.results import CaseResult, RunResult
from llm_tester.usage import UsageData

CASES = 20
LEAVES = 8
COST_USD = 0.0002  # of one reply


def run_of(scores: Sequence[Sequence[Sequence[float]]], run_id: str = "run") -> RunResult:
    """A run with these scores, by model, case and repeat, 0 to 100."""
    results = [
        CaseResult(
            module="m",
            name=f"case{case}",
            provider="p",
            model=f"model{model}",
            repeat=repeat,
            status="ok",
            accuracy=score,
            usage=UsageData(total_cost=COST_USD, elapsed_seconds=1.0),
        )
        for model, cases in enumerate(scores)
        for case, repeats in enumerate(cases)
        for repeat, score in enumerate(repeats, 1)
    ]
    return RunResult(run_id=run_id, results=tuple(results), versions={})


def _replies(dice: random.Random, chance: float, count: int) -> list[float]:
    """What some replies score if each leaf is right with a chance; now and then a reply is invalid, which is 0."""
    return [
        0.0 if dice.random() < 0.02 else 100 * sum(dice.random() < chance for _ in range(LEAVES)) / LEAVES
        for _ in range(count)
    ]


def pair_of_runs(
    dice: random.Random, *, repeats: int, repeats_after: int | None = None, models: int = 1, drop: float = 0.0
) -> tuple[RunResult, RunResult]:
    """Two runs of the same models; the second is worse by `drop` points on average, unevenly over the cases."""
    before, after = [], []
    for _ in range(models):
        chances = [dice.uniform(0.6, 0.97) for _ in range(CASES)]
        # Every second case loses twice as much; a reply is valid, and so the chance counts, in 98 of 100.
        drops = [drop / 100 / 0.98 * (2 * (case % 2)) for case in range(CASES)]
        before.append([_replies(dice, chance, repeats) for chance in chances])
        after.append(
            [
                _replies(dice, chance - less, repeats_after or repeats)
                for chance, less in zip(chances, drops, strict=True)
            ]
        )
    return run_of(before, "before"), run_of(after, "after")


def compared(runs: tuple[RunResult, RunResult]) -> RunComparison:
    """The second run against the first."""
    return compare_runs(*runs)
