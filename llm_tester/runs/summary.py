"""What results add up to: the repeats of a case, the ranking of the models, the comparison of prompts."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from statistics import fmean, stdev
from typing import Any, NamedTuple

from .results import CaseKey, CaseResult, OfModel, Place, Record, RunResult
from .scoring import Counts

__all__ = ["Column", "FieldMean", "Group", "PromptTable", "Summary", "Sums", "field_means", "matrix", "summarize"]

Model = tuple[str, str]

_INDEX = re.compile(r'(\["(?:[^"\\]|\\.)*"\])|\[\d+\]')


class Sums(Record):
    """What some results add up to.

    Attributes:
        answered: the results with a reply, valid or not.
        prompt_tokens: input tokens of all replies.
        completion_tokens: output tokens of all replies.
        cost_usd: USD of all replies whose cost is known, replays included.
        unknown: the replies whose cost is unknown; if there are any, `cost_usd` is a lower bound.
        seconds: seconds of all replies.
        fallbacks: the replies that another model gave, because this one did not answer.
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
    fallbacks: int

    @property
    def ok(self) -> int:
        """The results with a valid reply."""
        return self.answered - self.invalid

    @property
    def known(self) -> int:
        """The replies whose cost is known."""
        return self.answered - self.unknown

    @property
    def cost_per_reply(self) -> float | None:
        """The mean USD of the replies whose cost is known; None if there are none."""
        return self.cost_usd / self.known if self.known else None

    def per_reply(self, total: float) -> float | None:
        """A total, such as `seconds`, divided by the number of replies; None without replies."""
        return total / self.answered if self.answered else None


class Group(NamedTuple):
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
        """The accuracy of each repeat that has one, 0 to 100."""
        return [result.accuracy for result in self.results if result.accuracy is not None]

    @property
    def accuracy(self) -> float | None:
        """The mean of the scores; None if there are none."""
        scores = self.scores
        return fmean(scores) if scores else None

    @property
    def spread(self) -> float:
        """The sample standard deviation of the scores, in points of accuracy; 0 for a single one."""
        return stdev(self.scores) if len(self.scores) > 1 else 0.0

    @property
    def sums(self) -> Sums:
        """What the repeats add up to."""
        return _sums(self.results)

    @property
    def cost_usd(self) -> float | None:
        """The mean cost of a repeat in USD; None if one is unknown or no repeat has a reply."""
        total = self.sums
        return None if total.unknown else total.cost_per_reply

    def changes(self) -> dict[str, int]:
        """By field path, how often the extracted value differs from the one in the repeat before."""
        values: list[dict[str, Any]] = [
            {field.path: field.actual for field in result.fields} for result in self.results if result.usage is not None
        ]
        counts: dict[str, int] = {}
        for before, after in pairwise(values):
            for path in before.keys() | after.keys():
                counts[path] = counts.get(path, 0) + (before.get(path) != after.get(path))
        return dict(sorted(counts.items()))


class PromptRow(OfModel, Sums):
    """One prompt with one provider and model.

    Attributes:
        variant: the name of the prompt, "" for the plain one.
        accuracy: the mean over the cases that the model answered with every prompt; None if there are none.
        cases: the number of these cases.
    """

    variant: str
    accuracy: float | None
    cases: int

    @property
    def prompt(self) -> str:
        """The name of the prompt; `(plain)` if it has none."""
        return self.variant or "(plain)"


class Column(OfModel, Sums):
    """One provider and model over all cases.

    Attributes:
        accuracy: the mean over the cases that it answered, each the mean of its repeats; None if it answered none.
        ranked: the mean over the cases that all ranked models answered; None if the model is not ranked.
        cases: the number of cases that it answered, with each prompt of a case counted.
    """

    accuracy: float | None
    ranked: float | None
    cases: int

    @property
    def shown(self) -> float | None:
        """The accuracy to compare models by; if the model is not ranked, that over its own cases."""
        return self.accuracy if self.ranked is None else self.ranked

    @property
    def order(self) -> tuple[bool, float, float, float, str]:
        """The sort key: ranked models first, then the most accurate, the cheapest and the fastest."""
        cost = self.cost_per_reply
        accuracy = -1.0 if self.shown is None else self.shown
        return self.ranked is None, -accuracy, float("inf") if cost is None else cost, self.seconds, self.column


class PromptTable(Record):
    """The cases that have the same prompts, so that all prompts are compared over the same cases.

    Attributes:
        variants: the names of the prompts, "" for the plain one.
        cases: the number of these cases.
        rows: one for each model and prompt.
    """

    variants: tuple[str, ...]
    cases: int
    rows: tuple[PromptRow, ...]


class Summary(Record):
    """What a run adds up to.

    Attributes:
        total: all results together.
        names: the number of cases, with all prompts of a case counted as one.
        cases: the number of cases, with each prompt of a case counted.
        common: the number of cases that all ranked models answered, with each prompt counted.
        columns: one for each provider and model, best first; those that cannot be ranked come last.
        prompts: the prompts compared; empty if no case has several.
    """

    total: Sums
    names: int
    cases: int
    common: int
    columns: tuple[Column, ...]
    prompts: tuple[PromptTable, ...]

    @property
    def shares_some(self) -> bool:
        """Whether several models are ranked over only some of the cases."""
        return len(self.columns) > 1 and 0 < self.common < self.cases


class FieldMean(NamedTuple):
    """A field with one provider and model, over all cases and repeats.

    Attributes:
        score: the mean score, 0 to 100.
        values: how many values were scored.
        changed: in how many cases the value was not the same in all repeats.
        compared: in how many cases there were several repeats.
        rules: the rules that compared it; several if the values decide.
    """

    score: float
    values: int
    changed: int
    compared: int
    rules: tuple[str, ...]


def _sums(results: Iterable[CaseResult]) -> Sums:
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
        cost_usd=math.fsum(usage.total_cost or 0.0 for usage in usages),
        unknown=sum(usage.total_cost is None for usage in usages),
        seconds=math.fsum(usage.elapsed_seconds for usage in usages),
        fallbacks=sum(result.fallback is not None for result in results),
    )


def grouped(results: Iterable[CaseResult]) -> dict[Place, Group]:
    """The results by case, provider and model, each with its repeats, in the order of the results."""
    found: dict[Place, list[CaseResult]] = {}
    for result in results:
        found.setdefault(result.place, []).append(result)
    return {place: Group(tuple(group)) for place, group in found.items()}


def matrix(run: RunResult, columns: Sequence[OfModel]) -> list[tuple[str, list[Group | None]]]:
    """The title of each case with its repeats in each column; None where a model does not have the case."""
    rows: dict[CaseKey, dict[str, Group]] = {}
    for group in grouped(run.results).values():
        rows.setdefault(group.first.key, {})[group.first.column] = group
    return [
        (next(iter(row.values())).first.title, [row.get(column.column) for column in columns]) for row in rows.values()
    ]


def value_counts(results: Iterable[CaseResult]) -> dict[str, Counts]:
    """By `<provider>:<model>`, how many values are right, wrong, missing and extra over all compared replies."""
    found: dict[str, Counts] = {}
    for result in results:
        if (counts := result.counts) is not None:
            before = found.get(result.column, (0, 0, 0, 0))
            found[result.column] = Counts(*map(sum, zip(before, counts, strict=True)))
    return found


def field_means(results: Iterable[CaseResult]) -> dict[str, dict[str, dict[str, FieldMean]]]:
    """The mean score of each field: by module, by path without the indices of lists, by `<provider>:<model>`."""
    scores: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    compared, changed = Counter[tuple[str, str, str]](), Counter[tuple[str, str, str]]()
    rules: dict[tuple[str, str, str], dict[str, None]] = defaultdict(dict)
    for group in grouped(results).values():
        module, column = group.first.module, group.first.column
        repeats = [result.fields for result in group.results if result.fields]
        for field in chain.from_iterable(repeats):
            cell = module, _without_indices(field.path), column
            scores[cell].append(field.score)
            rules[cell][field.rule] = None
        if len(repeats) > 1:
            values = [{field.path: repr(field.actual) for field in fields} for fields in repeats]
            for path in dict.fromkeys(chain.from_iterable(values)):
                cell = module, _without_indices(path), column
                compared[cell] += 1
                changed[cell] += len({fields.get(path, "None") for fields in values}) > 1
    means: dict[str, dict[str, dict[str, FieldMean]]] = {}
    for (module, path, column), found in scores.items():
        cell = module, path, column
        mean = FieldMean(100 * fmean(found), len(found), changed[cell], compared[cell], tuple(rules[cell]))
        means.setdefault(module, {}).setdefault(path, {})[column] = mean
    return means


@lru_cache(maxsize=4096)
def _without_indices(path: str) -> str:
    return _INDEX.sub(lambda match: match[1] or "[]", path)


def summarize(run: RunResult) -> Summary:
    """Adds a run up, and ranks its models over the cases that they have in common.

    One model that failed early must not decide which cases the others are ranked by. So the models with the fewest
    answers are not ranked until the others share at least half of the cases that any of them answered.
    """
    models: dict[Model, dict[CaseKey, Group]] = {}
    for place, group in grouped(run.results).items():
        models.setdefault(place[3:], {})[place[:3]] = group
    ranked, common = _ranking({model: _answered(groups) for model, groups in models.items()})
    columns = [
        Column(
            **_mean_of(model, groups.values()),
            ranked=mean_accuracy(groups[key] for key in groups if key in common) if model in ranked else None,
        )
        for model, groups in models.items()
    ]
    cases = dict.fromkeys(result.key for result in run.results)
    return Summary(
        total=_sums(run.results),
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


def mean_accuracy(groups: Iterable[Group]) -> float | None:
    """The mean of the accuracy of groups, 0 to 100; None if none has a reply."""
    means = [mean for group in groups if (mean := group.accuracy) is not None]
    return fmean(means) if means else None


def _mean_of(model: Model, groups: Iterable[Group]) -> dict[str, Any]:
    """The fields that a column and a row of prompts share."""
    groups = list(groups)
    return {
        **dict(_sums(result for group in groups for result in group.results)),
        "provider": model[0],
        "model": model[1],
        "accuracy": mean_accuracy(groups),
        "cases": sum(bool(group.scores) for group in groups),
    }


def _prompts(cases: Iterable[CaseKey], models: Mapping[Model, Mapping[CaseKey, Group]]) -> Iterator[PromptTable]:
    variants: dict[tuple[str, str], list[str]] = {}
    for module, name, variant in cases:
        variants.setdefault((module, name), []).append(variant)
    tables: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for case, found in variants.items():
        if len(found) > 1:
            tables.setdefault(tuple(sorted(found)), []).append(case)
    for prompts, names in tables.items():
        rows: list[PromptRow] = []
        for model, groups in models.items():
            answered = _answered(groups)
            complete = [name for name in names if all((*name, prompt) in answered for prompt in prompts)]
            for prompt in prompts:
                chosen = [groups[*name, prompt] for name in complete]
                rows.append(PromptRow(**_mean_of(model, chosen), variant=prompt))
        yield PromptTable(variants=prompts, cases=len(names), rows=tuple(rows))
