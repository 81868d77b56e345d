"""Repeats of a case with a model, taken together: mean, spread, and which fields changed."""

from collections.abc import Iterable
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from pydantic import BaseModel, ConfigDict

from .results import CaseResult

__all__ = ["Group", "grouped"]

Place = tuple[str, str, str, str, str]


class Group(BaseModel):
    """The repeats of one case with one provider and model.

    Attributes:
        first: the first repeat.
        results: all of them.
    """

    model_config = ConfigDict(frozen=True)

    results: tuple[CaseResult, ...]

    @property
    def first(self) -> CaseResult:
        """The first repeat."""
        return self.results[0]

    @property
    def place(self) -> Place:
        """Module, name, variant, provider and model."""
        return (*self.first.case_key, self.first.provider, self.first.model)

    @property
    def scores(self) -> list[float]:
        """The accuracy of each repeat that had a reply, 0 to 100."""
        return [result.accuracy for result in self.results if result.accuracy is not None]

    @property
    def accuracy(self) -> float | None:
        """Their mean; None where no repeat had a reply."""
        return fmean(self.scores) if self.scores else None

    @property
    def spread(self) -> float:
        """Their sample standard deviation, in points of accuracy; 0 of a single one."""
        return stdev(self.scores) if len(self.scores) > 1 else 0.0

    @property
    def cost_usd(self) -> float | None:
        """The mean cost of a repeat in USD; None where one of them is unknown or there is none."""
        costs = [result.usage.total_cost for result in self.results if result.usage is not None]
        known = [cost for cost in costs if cost is not None]
        return fmean(known) if known and len(known) == len(costs) else None

    @property
    def seconds(self) -> float | None:
        """The mean seconds of a repeat; None where none had a reply."""
        times = [result.usage.elapsed_seconds for result in self.results if result.usage is not None]
        return fmean(times) if times else None

    def field_scores(self) -> dict[str, float]:
        """The mean score of each field over the repeats, 0 to 1, by its path."""
        found: dict[str, list[float]] = {}
        for result in self.results:
            for field in result.fields:
                found.setdefault(field.path, []).append(field.score)
        return {path: fmean(scores) for path, scores in found.items()}

    def changes(self) -> dict[str, int]:
        """By field path, how often the extracted value was another one than in the repeat before."""
        values: list[dict[str, Any]] = [
            {field.path: field.actual for field in result.fields} for result in self.results if result.usage is not None
        ]
        counts: dict[str, int] = {}
        for before, after in pairwise(values):
            for path in before.keys() | after.keys():
                counts[path] = counts.get(path, 0) + (before.get(path) != after.get(path))
        return dict(sorted(counts.items()))


def grouped(results: Iterable[CaseResult]) -> dict[Place, Group]:
    """The results by case, provider and model, each with its repeats, in the order they came."""
    found: dict[Place, list[CaseResult]] = {}
    for result in results:
        found.setdefault((*result.case_key, result.provider, result.model), []).append(result)
    return {place: Group(results=tuple(group)) for place, group in found.items()}
