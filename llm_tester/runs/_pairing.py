"""Pairs the items of two lists so that the sum of the scores is greatest."""

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from ._forms import choices, is_ignored

__all__ = ["in_order", "paired_by_key", "paired_by_likeness"]

_MAX_PAIRS = 10_000
_MAX_WORK = 60_000  # comparisons of two scalars; about a second
_MAX_TEXTS = 4_000_000  # pairs of texts that are compared to find candidates; about a second
_CANDIDATES = 10
_ROUNDS = 5
_LONGEST = 200  # characters of an item that are compared to find its candidates
_COMMON = 50  # items that share a trait; more than that have little in common

Gain = Callable[[int, int], int]


def paired_by_key(expected: Mapping[int, Any], actual: Mapping[int, Any], key: str) -> dict[int, int]:
    """The pairs of items with equal keys. Items with the same key are paired in the order of their content.

    Args:
        expected: the expected items by index.
        actual: the actual items by index.
        key: the name of the field.
    """
    holders: dict[str, list[int]] = defaultdict(list)
    for index in reversed(in_order(actual)):
        if isinstance(item := actual[index], dict) and key in item:
            holders[_content(item[key])].append(index)
    pairs: dict[int, int] = {}
    for index in in_order(expected):
        wanted = expected[index].get(key) if isinstance(expected[index], dict) else None
        same = next((found for option in choices(wanted) or [wanted] if (found := holders[_content(option)])), None)
        if same:
            pairs[index] = same.pop()
    return pairs


def paired_by_likeness(expected: Mapping[int, Any], actual: Mapping[int, Any], gain: Gain) -> dict[int, int]:
    """The pairs of items with the greatest total gain. Equal items are always paired.

    If the lists are too long to compare all items, only those that have most in common are compared, in several rounds.
    The remaining items are then paired in the order of their content. The order of the items never matters.

    Args:
        expected: the expected items by index.
        actual: the actual items by index.
        gain: the gain of pairing an expected with an actual item, by their indices; 0 or more.
    """
    pairs = _same(expected, actual)
    for _ in range(_ROUNDS):
        wanted, found = _left(expected, pairs), _left(actual, pairs.values())
        works = sum(map(_work, wanted.values())) * sum(map(_work, found.values()))
        is_short = len(wanted) * len(found) <= _MAX_PAIRS and works <= _MAX_WORK
        options = {i: list(found) for i in wanted} if is_short else _candidates(wanted, found)
        gains = {i: {j: value for j in options[i] if (value := gain(i, j)) > 0} for i in wanted}
        new = _best({i: row for i, row in gains.items() if row})
        pairs |= new
        if is_short or not new:
            break
    return pairs | dict(zip(_left(expected, pairs), _left(actual, pairs.values()), strict=False))


def _left(items: Mapping[int, Any], taken: Iterable[int]) -> dict[int, Any]:
    """The items that are not taken, in the order of their content."""
    left = items.keys() - set(taken)
    return {index: items[index] for index in in_order({index: items[index] for index in left})}


def in_order(items: Mapping[int, Any]) -> list[int]:
    """The indices of items in the order of their content."""
    return sorted(items, key=lambda index: _content(items[index]))


def _content(item: Any) -> str:
    return json.dumps(item, sort_keys=True)


def _same(expected: Mapping[int, Any], actual: Mapping[int, Any]) -> dict[int, int]:
    places: dict[str, list[int]] = defaultdict(list)
    for index in reversed(actual):
        places[_content(actual[index])].append(index)
    return {index: same.pop() for index, item in expected.items() if (same := places[_content(item)])}


def _work(item: Any) -> int:
    """The number of scalars in an item; a long text counts as several."""
    if isinstance(item, dict):
        return 1 + sum(map(_work, item.values()))
    if isinstance(item, list):
        return 1 + sum(map(_work, item))
    return 1 + len(item) // 500 if isinstance(item, str) else 1


def _text(item: Any) -> str:
    if isinstance(item, dict):
        return "" if is_ignored(item) else " ".join(_text(item[key]) for key in sorted(item))
    if isinstance(item, list):
        return " ".join(map(_text, item))
    return "" if item is None else str(item)


def _candidates(wanted: Mapping[int, Any], found: Mapping[int, Any]) -> dict[int, list[int]]:
    """By expected item, the actual items that share its rarest traits and, in shorter lists, have similar texts."""
    sharing: dict[int | str, list[int]] = defaultdict(list)
    for j, item in found.items():
        for trait in _traits(item):
            sharing[trait].append(j)
    asked = Counter[int | str]()
    chosen: dict[int, list[int]] = {}
    places = {j: place for place, j in enumerate(found)}
    for i, item in wanted.items():
        weights: dict[int, float] = defaultdict(float)
        for trait in chain.from_iterable(map(_traits, choices(item) or [item])):
            holders = sharing.get(trait, [])
            count = len(holders)
            if isinstance(trait, str) and count > _COMMON:
                continue
            if count > _CANDIDATES:
                # Other ones for each item that asks, so that not all of them want the same.
                start = asked[trait] * _CANDIDATES % count
                asked[trait] += 1
                holders = (holders[start:] + holders[:start])[:_CANDIDATES]
            for j in holders:
                weights[j] += 1 / count
        # The order of a set, in which they were added up, is another one in each process.
        ranks = {j: (-round(weight, 9), places[j]) for j, weight in weights.items()}
        chosen[i] = heapq.nsmallest(_CANDIDATES, ranks, key=ranks.__getitem__)
    if len(wanted) * len(found) <= _MAX_TEXTS:
        for i, alike in _similar(wanted, found):
            chosen[i] += alike
    return chosen


def _traits(item: Any) -> set[int | str]:
    """What few other items may have: of objects all fields, all but one of them, and words; of texts, their parts."""
    traits: set[int | str] = set()
    if isinstance(item, dict):
        texts = ((key, _text(value).lower()) for key, value in item.items())
        fields = [hash(field) for field in texts if field[1]]
        whole = sum(fields)
        traits = {whole, *(whole - field for field in fields)}
    text = _text(item)[:_LONGEST].lower()
    if " " in text and isinstance(item, dict):
        return traits.union(text.split())
    return traits.union(text[at : at + 4] for at in range(len(text) - 3))


def _similar(wanted: Mapping[int, Any], found: Mapping[int, Any]) -> Iterator[tuple[int, list[int]]]:
    from rapidfuzz import fuzz, process

    texts = {j: _text(item)[:_LONGEST] for j, item in found.items()}
    for i, item in wanted.items():
        for option in choices(item) or [item]:
            matches = process.extract(_text(option)[:_LONGEST], texts, scorer=fuzz.ratio, limit=_CANDIDATES)
            yield i, [j for _, _, j in matches]


def _best(gains: Mapping[int, Mapping[int, int]]) -> dict[int, int]:
    """The assignment with the greatest total gain, by shortest augmenting paths (the Hungarian method).

    A row may also remain single: each has an extra column without gain, the negative number ~row.
    """
    top = max((gain for row in gains.values() for gain in row.values()), default=0)
    costs = {row: {**{column: top - gain for column, gain in found.items()}, ~row: top} for row, found in gains.items()}
    row_prices = dict.fromkeys(gains, 0)
    column_prices: dict[int, int] = defaultdict(int)
    owner: dict[int, int] = {}
    held: dict[int, int] = {}
    for start in gains:
        column, came_from = _shortest_path(start, costs, row_prices, column_prices, owner)
        row = ~start
        # The free column goes to the row it was reached from, the old column of that row to the row before, and so on.
        while row != start:
            row = came_from[column]
            owner[column] = row
            held[row], column = column, held.get(row, column)
    return {row: column for row, column in held.items() if column >= 0}


def _shortest_path(
    start: int,
    costs: Mapping[int, Mapping[int, int]],
    row_prices: dict[int, int],
    column_prices: dict[int, int],
    owner: Mapping[int, int],
) -> tuple[int, dict[int, int]]:
    """The nearest free column from a row, and the row from which each column was reached. Updates the prices."""
    distance: dict[int, int] = {}
    came_from: dict[int, int] = {}
    settled: dict[int, int] = {}
    heap: list[tuple[int, bool, int]] = []
    row, far = start, 0
    while True:
        for column, cost in costs[row].items():
            reached = far + cost - row_prices[row] - column_prices[column]
            if column not in settled and reached < distance.get(column, reached + 1):
                distance[column], came_from[column] = reached, row
                # Of columns at the same distance, a free one comes first and ends the search.
                heapq.heappush(heap, (reached, column in owner, column))
        while (nearest := heapq.heappop(heap))[-1] in settled:
            pass
        far, _, column = nearest
        if column not in owner:
            break
        settled[column] = far
        row = owner[column]
    row_prices[start] += far
    for taken, near in settled.items():
        row_prices[owner[taken]] += far - near
        column_prices[taken] -= far - near
    return column, came_from
