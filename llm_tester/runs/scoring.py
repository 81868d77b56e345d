"""How right extracted data is: field by field, with a number that its own field list explains.

The rule and worked examples are in docs/scoring.md.
"""

import json
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

__all__ = ["Comparison", "FieldScore", "compare"]

_CLOSE_TEXT = 0.6  # below it difflib finds likeness between any two texts of one language
_CLOSE_NUMBER = Decimal("1e-9")
_SHORT_TEXT = 120  # characters; SequenceMatcher.ratio is cubic at worst
_MAX_PAIR_WORK = 50_000  # in units of ten characters; at most some tenths of a second
_RARE_GRAMS = 20
_MAX_SHARED_BY = 50

_PLAIN_KEY = re.compile(r'[^.\[\]"]+')
_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[t ][0-9]{2}:.*)?")  # normalised, so lower case


class FieldScore(BaseModel):
    """One leaf of the comparison.

    Attributes:
        path: where it stands, as `salary.min` or `skills[2].name`. Items carry the index that they have in the
            expected list; extra ones count on after its end.
        score: 0.0 (wrong) to 1.0 (right).
        weight: its share of the accuracy; the weights of one comparison add up to 1.
        expected: the expected value, None where there is none.
        actual: the value found, None where there is none.
        note: the reason in a few words.
        rule: the rule that was used, such as `text`, `exact` or `number ±1%`.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    score: float
    weight: float
    expected: Any
    actual: Any
    note: str
    rule: str = ""


class Comparison(BaseModel):
    """The outcome of `compare`.

    Attributes:
        accuracy: 0 to 100: 100 times the sum of weight times score over the fields; 100 where there are none.
        fields: every value that was compared, in the order of the expected data, extras last.
    """

    model_config = ConfigDict(frozen=True)

    accuracy: float
    fields: list[FieldScore]


class _Node(NamedTuple):
    """A compared value: a leaf with a note, or a branch whose children weigh the same."""

    score: float
    expected: Any = None
    actual: Any = None
    note: str = ""
    children: tuple[tuple[str, "_Node"], ...] = ()


def compare(expected: Mapping[str, Any], actual: Mapping[str, Any] | None) -> Comparison:
    """Compare extracted data with what was expected, field by field.

    Every key of one object weighs the same, and so does every item of one list. What neither side has (None,
    missing, empty) is not counted; what only `actual` has counts as wrong. Lists match in any order.

    Args:
        expected: the expected JSON object; it may be partial.
        actual: the extracted JSON object, None where the reply gave none.

    Returns:
        The accuracy, and the scored fields that explain it. Without data the accuracy is 0.
    """
    if actual is None:
        children = [(_segment(key), _Node(0.0, value, None, "no data")) for key, value in expected.items()]
        children = children or [("", _Node(0.0, {}, None, "no data"))]
    else:
        children = _compare_keys(expected, actual)
    if not children:
        return Comparison(accuracy=100.0, fields=[])
    fields = list(_leaves("", 1.0, _branch(children)))
    # fsum rounds once, whatever the order, so that a permuted list cannot change the last digit.
    right = math.fsum(field.weight * field.score for field in fields)
    return Comparison(accuracy=100.0 * (right / math.fsum(field.weight for field in fields)), fields=fields)


def _leaves(path: str, weight: float, node: _Node) -> Iterator[FieldScore]:
    if not node.children:
        yield FieldScore(
            path=path.removeprefix("."),
            score=node.score,
            weight=weight,
            expected=node.expected,
            actual=node.actual,
            note=node.note,
        )
    for segment, child in node.children:
        yield from _leaves(path + segment, weight / len(node.children), child)


def _branch(children: Sequence[tuple[str, _Node]]) -> _Node:
    return _Node(math.fsum(child.score for _, child in children) / len(children), children=tuple(children))


def _segment(key: str) -> str:
    return f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{json.dumps(key)}]"


def _is_nothing(value: Any) -> bool:
    """None, and text, lists and objects with nothing in them: pydantic's defaults for what was not said."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, Mapping):
        return all(map(_is_nothing, value.values()))
    return all(map(_is_nothing, value)) if isinstance(value, list) else value is None


def _compare_values(expected: Any, actual: Any) -> _Node:
    if _is_nothing(expected):
        return _Node(0.0, expected, actual, "extra")
    if _is_nothing(actual):
        return _Node(0.0, expected, actual, "missing")
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return _branch(_compare_keys(expected, actual))
    if isinstance(expected, list) and isinstance(actual, list):
        return _branch(_compare_items(expected, actual))
    score, note = _score_scalar(expected, actual)
    return _Node(score, expected, actual, note)


def _compare_keys(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> list[tuple[str, _Node]]:
    pairs = ((key, expected.get(key), actual.get(key)) for key in dict.fromkeys([*expected, *actual]))
    return [
        (_segment(key), _compare_values(wanted, found))
        for key, wanted, found in pairs
        if not (_is_nothing(wanted) and _is_nothing(found))
    ]


def _compare_items(expected: list[Any], actual: list[Any]) -> list[tuple[str, _Node]]:
    """Pair the items, the most alike first; what is left over pairs off as wrong, then as missing or extra.

    Both sides are handled in the order of their canonical texts, so that no permutation changes who meets whom.
    """
    wanted, found = _in_canonical_order(expected), _in_canonical_order(actual)
    same = defaultdict(list)
    for text, index in reversed(found):
        same[text].append(index)
    pairs = {index: same[text].pop() for text, index in wanted if same[text]}
    taken = set(pairs.values())
    wanted = [item for item in wanted if item[1] not in pairs]
    found = [item for item in found if item[1] not in taken]

    nodes: dict[tuple[int, int], _Node] = {}
    if _work(wanted) * _work(found) <= _MAX_PAIR_WORK:
        nodes = {(i, j): _compare_values(expected[i], actual[j]) for _, i in wanted for _, j in found}
        likeness = {pair: node.score for pair, node in nodes.items() if node.score}
    else:
        likeness = _shared_grams(wanted, found)
    # Sorting is stable and the pairs come in canonical order, so ties are decided by content, not by position.
    for i, j in sorted(likeness, key=lambda pair: -likeness[pair]):
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    spare = iter([j for _, j in found if j not in taken])  # what zip leaves in it is extra
    pairs.update(zip([i for _, i in wanted if i not in pairs], spare, strict=False))

    children = []
    for i in sorted(index for index, item in enumerate(expected) if not _is_nothing(item)):
        j = pairs.get(i, -1)
        node = nodes.get((i, j)) or _compare_values(expected[i], actual[j] if j >= 0 else None)
        children.append((f"[{i}]", node))
    extras = [_Node(0.0, None, actual[j], "extra") for j in sorted(spare)]
    return children + [(f"[{len(expected) + n}]", node) for n, node in enumerate(extras)]


def _in_canonical_order(items: list[Any]) -> list[tuple[str, int]]:
    return sorted((_canonical(item), index) for index, item in enumerate(items) if not _is_nothing(item))


def _work(items: Sequence[tuple[str, int]]) -> int:
    return sum(1 + len(text) // 10 for text, _ in items)


def _shared_grams(wanted: Sequence[tuple[str, int]], found: Sequence[tuple[str, int]]) -> dict[tuple[int, int], float]:
    """How many rare three-letter sequences two items share: an estimate that stays linear for long lists."""
    holders: dict[str, list[int]] = defaultdict(list)
    for text, index in found:
        for gram in {text[k : k + 3] for k in range(len(text) - 2)}:
            holders[gram].append(index)
    rank = {index: place for place, (_, index) in enumerate(found)}
    likeness: dict[tuple[int, int], float] = {}
    for text, i in wanted:
        grams = {text[k : k + 3] for k in range(len(text) - 2)}
        rarest = sorted((len(holders[g]), g) for g in grams if g in holders and len(holders[g]) <= _MAX_SHARED_BY)
        shared: dict[int, float] = defaultdict(float)
        for count, gram in rarest[:_RARE_GRAMS]:
            for j in holders[gram]:
                shared[j] += 1 / count
        likeness.update(((i, j), shared[j]) for j in sorted(shared, key=rank.__getitem__))
    return likeness


def _canonical(value: Any) -> str:
    """A text that is the same for values that are equal up to order, case, white space and emptiness."""
    if isinstance(value, Mapping):
        texts = sorted(f"{json.dumps(key)}:{_canonical(item)}" for key, item in value.items() if not _is_nothing(item))
        return "{" + ",".join(texts) + "}"
    if isinstance(value, list):
        return "[" + ",".join(sorted(_canonical(item) for item in value if not _is_nothing(item))) + "]"
    if isinstance(value, str):
        return json.dumps(_normal(value), ensure_ascii=False)
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        return f"{int(value):x}"  # 1 and 1.0 alike; hexadecimal, because Python limits the length of decimal ones
    return repr(value)


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def _score_scalar(expected: Any, actual: Any) -> tuple[float, str]:
    if _canonical(expected) == _canonical(actual):
        return 1.0, "equal"
    numbers = _number(expected), _number(actual)
    if isinstance(expected, str) and isinstance(actual, str):
        wanted, found = _normal(expected), _normal(actual)
        if (same := _same_date(wanted, found)) is not None:
            return (1.0, "same date") if same else (0.0, "different date")
        return (1.0, "same number") if _same_number(*numbers) else _score_text(wanted, found)
    if None not in numbers:
        return (1.0, "same number") if _same_number(*numbers) else (0.0, "different number")
    return 0.0, "different value" if type(expected) is type(actual) else "different type"


def _score_text(expected: str, actual: str) -> tuple[float, str]:
    # Amounts, codes and telephone numbers are right or wrong: "2023" is not three quarters of "2024".
    if not any(map(str.isalpha, expected + actual)):
        return 0.0, "different text"
    if max(len(expected), len(actual)) > _SHORT_TEXT:
        ratio = SequenceMatcher(None, expected.split(), actual.split(), autojunk=False).quick_ratio()
    else:
        matcher = SequenceMatcher(None, expected, actual, autojunk=False)
        ratio = 0.0 if matcher.real_quick_ratio() < _CLOSE_TEXT else matcher.ratio()
    return (ratio, f"close text {ratio:.2f}") if ratio >= _CLOSE_TEXT else (0.0, "different text")


def _number(value: Any) -> Decimal | None:
    """The value of a number, or of a text that is a plain one: pydantic dumps a Decimal as text."""
    if isinstance(value, str):
        text = _normal(value)
        return Decimal(text) if _PLAIN_NUMBER.fullmatch(text) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = Decimal(value)
    return number if number.is_finite() else None


def _same_number(expected: Decimal | None, actual: Decimal | None) -> bool:
    if expected is None or actual is None:
        return False
    # A tolerance between whole numbers would take one long id for another.
    if expected == expected.to_integral_value() and actual == actual.to_integral_value():
        return expected == actual
    return abs(expected - actual) <= _CLOSE_NUMBER * max(abs(expected), abs(actual))


def _same_date(expected: str, actual: str) -> bool | None:
    """Whether two ISO dates or times are the same; None where one of the texts is neither."""
    if not (_ISO_DATE.fullmatch(expected) and _ISO_DATE.fullmatch(actual)):
        return None
    try:
        first, second = datetime.fromisoformat(expected.upper()), datetime.fromisoformat(actual.upper())
    except ValueError:
        return None
    if len(expected) == len("2024-01-05"):
        return first.date() == second.date()
    if first.tzinfo is None or second.tzinfo is None:  # compare what the clocks show
        first, second = first.replace(tzinfo=UTC), second.replace(tzinfo=UTC)
    return first == second
