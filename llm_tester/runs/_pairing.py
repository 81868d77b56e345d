"""Which items of two lists belong together: the pairs whose scores have the greatest sum."""

import heapq
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rapidfuzz import fuzz, process

from ._forms import choices

__all__ = ["in_order", "paired_by_key", "paired_by_likeness"]

_MAX_PAIRS = 10_000
_MAX_WORK = 60_000  # comparisons of two scalars; about a second
_CANDIDATES = 10
_LONGEST = 200  # characters of an item by which its candidates are found

Gain = Callable[[int, int], int]


def paired_by_key(expected: Mapping[int, Any], actual: Mapping[int, Any], key: str) -> dict[int, int]:
    """The pairs of items whose key is equal; items that share a key pair off in the order of their content.

    Args:
        expected: the items by their index.
        actual: the same.
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
    """The pairs of items that gain most together. Items that are the same belong together whatever else there is.

    If the lists are too long to compare each item with each, only those whose texts are most alike are compared; what
    is then left over pairs off in the order of its content. The order of the items never matters.

    Args:
        expected: the items by their index.
        actual: the same.
        gain: what pairing an expected with an actual item is worth, by their indices; 0 or more.
    """
    pairs = _same(expected, actual)
    taken = set(pairs.values())
    wanted = [index for index in in_order(expected) if index not in pairs]
    found = [index for index in in_order(actual) if index not in taken]
    works = [sum(_work(items[index]) for index in indices) for items, indices in ((expected, wanted), (actual, found))]
    if len(wanted) * len(found) <= _MAX_PAIRS and works[0] * works[1] <= _MAX_WORK:
        options: dict[int, Iterable[int]] = dict.fromkeys(wanted, found)
    else:
        options = _candidates([(i, expected[i]) for i in wanted], [(j, actual[j]) for j in found])
    gains = {i: {j: value for j in options[i] if (value := gain(i, j)) > 0} for i in wanted}
    pairs |= _best({i: row for i, row in gains.items() if row})
    taken = set(pairs.values())
    rest = [i for i in wanted if i not in pairs], [j for j in found if j not in taken]
    return pairs | dict(zip(*rest, strict=False))


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
    """How many scalars an item holds; a long text counts as several."""
    if isinstance(item, dict):
        return 1 + sum(map(_work, item.values()))
    if isinstance(item, list):
        return 1 + sum(map(_work, item))
    return 1 + len(item) // 500 if isinstance(item, str) else 1


def _text(item: Any) -> str:
    if isinstance(item, dict):
        return " ".join(_text(item[key]) for key in sorted(item))
    if isinstance(item, list):
        return " ".join(map(_text, item))
    return "" if item is None else str(item)


def _candidates(wanted: Sequence[tuple[int, Any]], found: Sequence[tuple[int, Any]]) -> dict[int, Iterable[int]]:
    texts = {j: _text(item)[:_LONGEST] for j, item in found}
    chosen: dict[int, Iterable[int]] = {}
    for i, item in wanted:
        options = [_text(option)[:_LONGEST] for option in choices(item) or [item]]
        alike = (process.extract(text, texts, scorer=fuzz.ratio, limit=_CANDIDATES) for text in options)
        chosen[i] = dict.fromkeys(j for matches in alike for _, _, j in matches)
    return chosen


def _best(gains: Mapping[int, Mapping[int, int]]) -> dict[int, int]:
    """The assignment with the greatest total gain, by shortest augmenting paths (the Hungarian method).

    Each row may also stay alone, which is a column of its own without gain: the negative number ~row.
    """
    top = max((gain for row in gains.values() for gain in row.values()), default=0)
    row_price: dict[int, int] = dict.fromkeys(gains, 0)
    column_price: dict[int, int] = defaultdict(int)
    owner: dict[int, int] = {}
    held: dict[int, int] = {}
    for start in gains:
        distance: dict[int, int] = {}
        came_from: dict[int, int] = {}
        settled: dict[int, int] = {}
        heap: list[tuple[int, bool, int]] = []
        row, far = start, 0
        while True:
            base = far + top - row_price[row]
            for column, gain in (*gains[row].items(), (~row, 0)):
                reached = base - gain - column_price[column]
                if column not in settled and reached < distance.get(column, reached + 1):
                    distance[column], came_from[column] = reached, row
                    # Of columns as near as each other, a free one ends the search.
                    heapq.heappush(heap, (reached, column in owner, column))
            while (nearest := heapq.heappop(heap))[-1] in settled:
                pass
            far, _, column = nearest
            if column not in owner:
                break
            settled[column] = far
            row = owner[column]
        _reprice(row_price, column_price, settled, owner, start, far)
        _augment(owner, held, came_from, start, column)
    return {row: column for row, column in held.items() if column >= 0}


def _reprice(
    row_price: dict[int, int],
    column_price: dict[int, int],
    settled: Mapping[int, int],
    owner: Mapping[int, int],
    start: int,
    far: int,
) -> None:
    row_price[start] += far
    for column, distance in settled.items():
        row_price[owner[column]] += far - distance
        column_price[column] -= far - distance


def _augment(
    owner: dict[int, int], held: dict[int, int], came_from: Mapping[int, int], start: int, column: int
) -> None:
    """Give the free column to the row that it was reached from, that row's old column to the one before, and so on."""
    while True:
        row = came_from[column]
        owner[column] = row
        held[row], column = column, held.get(row, column)
        if row == start:
            return
