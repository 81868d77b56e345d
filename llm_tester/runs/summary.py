"""What results add up to: the repeats of a case, the models ranked over the same cases, the prompts compared."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from pydantic import BaseModel, ConfigDict

from .results import CaseResult, Place, RunResult

__all__ = ["Column", "Group", "PromptTable", "Summary", "Sums", "grouped", "summarize", "sums"]

CaseKey = tuple[str, str, str]
Model = tuple[str, str]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Sums(_Record):
    """What some results add up to.

    Attributes:
        answered: the results that had a reply, valid or not.
        prompt_tokens: input tokens of all replies.
        completion_tokens: output tokens of all replies.
        cost_usd: USD of all replies whose cost is known, replays included.
        unknown: how many replies have no known cost; if there are any, `cost_usd` is "at least".
        seconds: of all replies together.
    """

    answered: int
    invalid: int
    failed: int
    skipped: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    unknown: int
    seconds: float

    @property
    def known(self) -> int:
        """The replies whose cost is known."""
        return self.answered - self.unknown

    @property
    def cost_per_reply(self) -> float | None:
        """The mean USD of the replies whose cost is known; None if there are none."""
        return self.cost_usd / self.known if self.known else None

    @property
    def seconds_per_reply(self) -> float | None:
        """The mean seconds; None without replies."""
        return self.seconds / self.answered if self.answered else None


class Group(_Record):
    """The repeats of one case with one provider and model.

    Attributes:
        results: the repeats, in order.
    """

    results: tuple[CaseResult, ...]

    @property
    def first(self) -> CaseResult:
        """The first repeat."""
        return self.results[0]

    @property
    def scores(self) -> list[float]:
        """The accuracy of each repeat that had a reply, 0 to 100."""
        return [result.accuracy for result in self.results if result.accuracy is not None]

    @property
    def accuracy(self) -> float | None:
        """Their mean; None if no repeat had a reply."""
        return fmean(self.scores) if self.scores else None

    @property
    def spread(self) -> float:
        """Their sample standard deviation, in points of accuracy; 0 of a single one."""
        return stdev(self.scores) if len(self.scores) > 1 else 0.0

    @property
    def sums(self) -> Sums:
        """What the repeats add up to."""
        return sums(self.results)

    @property
    def cost_usd(self) -> float | None:
        """The mean cost of a repeat in USD; None if one is unknown or no repeat had a reply."""
        total = self.sums
        return None if total.unknown else total.cost_per_reply

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


class Column(Sums):
    """What one provider and model made of all cases.

    Attributes:
        accuracy: the mean over the cases that it answered, each the mean of its repeats; None if it answered none.
        ranked: the mean over the cases that all ranked models answered; None if the model is not ranked.
        cases: how many cases it answered, each prompt of a case counted.
    """

    provider: str
    model: str
    accuracy: float | None
    ranked: float | None
    cases: int

    @property
    def title(self) -> str:
        """`<provider>:<model>`."""
        return f"{self.provider}:{self.model}"

    @property
    def shown(self) -> float | None:
        """The accuracy to compare models by, or that of its own cases if it is not ranked."""
        return self.accuracy if self.ranked is None else self.ranked

    @property
    def order(self) -> tuple[bool, float, float, float, str]:
        """The ranked first, then the most accurate, the cheapest and the fastest."""
        cost = self.cost_per_reply
        accuracy = -1.0 if self.shown is None else self.shown
        return self.ranked is None, -accuracy, float("inf") if cost is None else cost, self.seconds, self.title


class PromptRow(Sums):
    """One prompt with one model.

    Attributes:
        variant: the name of the prompt, "" for the plain one.
        accuracy: the mean over the cases that the model answered with every prompt; None if there are none.
        cases: how many cases those are.
    """

    provider: str
    model: str
    variant: str
    accuracy: float | None
    cases: int

    @property
    def title(self) -> str:
        """`<provider>:<model>`."""
        return f"{self.provider}:{self.model}"


class PromptTable(_Record):
    """The prompts of cases that have the same prompts, so that each is compared over the same cases.

    Attributes:
        variants: the names of the prompts, "" for the plain one.
        cases: how many cases have exactly these.
        rows: one for each model and prompt.
    """

    variants: tuple[str, ...]
    cases: int
    rows: tuple[PromptRow, ...]


class Summary(_Record):
    """What a run adds up to.

    Attributes:
        total: all results together.
        names: how many cases there are, all prompts of a case counted as one.
        cases: how many cases there are, each prompt of a case counted.
        common: the cases that all ranked models answered, each prompt counted; the ranking is over these.
        columns: one for each provider and model, best first; those that cannot be ranked come last.
        prompts: the prompts compared; empty if no case has several.
    """

    total: Sums
    names: int
    cases: int
    common: int
    columns: tuple[Column, ...]
    prompts: tuple[PromptTable, ...]


def sums(results: Iterable[CaseResult]) -> Sums:
    """Adds results up."""
    results = list(results)
    usages = [result.usage for result in results if result.usage is not None]
    counts = Counter(result.status for result in results)
    return Sums(
        answered=len(usages),
        invalid=counts["invalid"],
        failed=counts["failed"],
        skipped=counts["skipped"],
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cost_usd=sum(usage.total_cost or 0.0 for usage in usages),
        unknown=sum(usage.total_cost is None for usage in usages),
        seconds=sum(usage.elapsed_seconds for usage in usages),
    )


def grouped(results: Iterable[CaseResult]) -> dict[Place, Group]:
    """The results by case, provider and model, each with its repeats, in the order they came."""
    found: dict[Place, list[CaseResult]] = {}
    for result in results:
        found.setdefault(result.place, []).append(result)
    return {place: Group(results=tuple(group)) for place, group in found.items()}


def summarize(run: RunResult) -> Summary:
    """Adds a run up, and ranks its models over the cases that they have in common.

    The models with the fewest answers are left out of the ranking until the others share at least half of the cases
    that any of them answered, so that one model that failed early does not decide what the others are ranked by.
    """
    models: dict[Model, dict[CaseKey, Group]] = {}
    for place, group in grouped(run.results).items():
        models.setdefault(place[3:], {})[place[:3]] = group
    ranked, common = _ranking({model: _answered(groups) for model, groups in models.items()})
    columns = [_column(model, groups, common if model in ranked else set()) for model, groups in models.items()]
    cases = dict.fromkeys(result.case_key for result in run.results)
    return Summary(
        total=sums(run.results),
        names=len({(module, name) for module, name, _ in cases}),
        cases=len(cases),
        common=len(common),
        columns=tuple(sorted(columns, key=lambda column: column.order)),
        prompts=tuple(_prompts(cases, models)),
    )


def _answered(groups: Mapping[CaseKey, Group]) -> set[CaseKey]:
    return {key for key, group in groups.items() if group.scores}


def _ranking(answered: Mapping[Model, set[CaseKey]]) -> tuple[set[Model], set[CaseKey]]:
    """The models that can be ranked, and the cases that they all answered."""
    left = {model: cases for model, cases in answered.items() if cases}
    while left:
        common = set.intersection(*left.values())
        if 2 * len(common) >= len(set.union(*left.values())):
            return set(left), common
        fewest = min(map(len, left.values()))
        left = {model: cases for model, cases in left.items() if len(cases) > fewest}
    return set(), set()


def _mean(groups: Iterable[Group]) -> float | None:
    means = [group.accuracy for group in groups if group.accuracy is not None]
    return fmean(means) if means else None


def _column(model: Model, groups: Mapping[CaseKey, Group], common: set[CaseKey]) -> Column:
    results = [result for group in groups.values() for result in group.results]
    return Column(
        **dict(sums(results)),
        provider=model[0],
        model=model[1],
        accuracy=_mean(groups.values()),
        ranked=_mean(group for key, group in groups.items() if key in common),
        cases=len(_answered(groups)),
    )


def _prompts(cases: Iterable[CaseKey], models: Mapping[Model, Mapping[CaseKey, Group]]) -> Iterable[PromptTable]:
    variants: dict[tuple[str, str], list[str]] = {}
    for module, name, variant in cases:
        variants.setdefault((module, name), []).append(variant)
    tables: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for case, found in variants.items():
        if len(found) > 1:
            tables.setdefault(tuple(sorted(found)), []).append(case)
    for prompts, names in tables.items():
        rows = (row for model, groups in models.items() for row in _prompt_rows(model, groups, prompts, names))
        yield PromptTable(variants=prompts, cases=len(names), rows=tuple(rows))


def _prompt_rows(
    model: Model, groups: Mapping[CaseKey, Group], prompts: tuple[str, ...], names: Iterable[tuple[str, str]]
) -> Iterable[PromptRow]:
    answered = _answered(groups)
    complete = [name for name in names if all((*name, prompt) in answered for prompt in prompts)]
    for prompt in prompts:
        chosen = [groups[*name, prompt] for name in complete]
        yield PromptRow(
            **dict(sums(result for group in chosen for result in group.results)),
            provider=model[0],
            model=model[1],
            variant=prompt,
            accuracy=_mean(chosen),
            cases=len(complete),
        )
