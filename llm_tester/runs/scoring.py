"""Scores extracted data value by value. The rules and worked examples are in docs/scoring.md."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from ._forms import choices, in_form, is_ignored, is_nothing
from ._pairing import in_order, paired_by_key, paired_by_likeness
from ._shapes import Shape, shape_of
from .extraction import segment
from .rules import by_value

__all__ = ["Comparison", "Counts", "FieldScore", "compare", "compare_forms"]


class FieldScore(BaseModel):
    """A scalar that was compared.

    Attributes:
        path: such as `salary.min` or `skills[2].name`. Items have their index in the expected list; the indices of
            extra items follow.
        score: 0.0 (wrong) to 1.0 (right).
        weight: its share of the accuracy. The weights of a comparison add up to 1.
        expected: the expected value, None if there is none.
        actual: the value found, None if there is none.
        note: the reason in a few words.
        rule: the rule, such as `text`, `exact` or `number ±1%`.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    path: str
    score: float
    weight: float
    expected: Any
    actual: Any
    note: str
    rule: str = ""


class Counts(NamedTuple):
    """How many values were right, wrong, missing and extra.

    Attributes:
        right: values with a score of 1.
        wrong: values that differ from the expected ones, even if they are alike.
        missing: values that were expected but not found.
        extra: values that were found but not expected.
    """

    right: int
    wrong: int
    missing: int
    extra: int

    @classmethod
    def of(cls, fields: Iterable[FieldScore]) -> "Counts":
        """The counts for the fields of a comparison."""
        kinds = [_kind(field) for field in fields]
        return cls(*map(kinds.count, range(4)))

    @property
    def precision(self) -> float | None:
        """The share of the values found that are right, 0 to 1; None if none was found."""
        return _share(self.right, self.right + self.wrong + self.extra)

    @property
    def recall(self) -> float | None:
        """The share of the expected values that are right, 0 to 1; None if none was expected."""
        return _share(self.right, self.right + self.wrong + self.missing)

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall, 0 to 1; None if nothing was expected and nothing found."""
        return _share(2 * self.right, 2 * self.right + 2 * self.wrong + self.missing + self.extra)

    def shares(self) -> dict[str, float | None]:
        """Precision, recall and F1 by name."""
        return {"precision": self.precision, "recall": self.recall, "F1": self.f1}

    def __str__(self) -> str:
        words = f"{self.right} right, {self.wrong} wrong, {self.missing} missing, {self.extra} extra"
        return words + "".join(f", {name} {share:.2f}" for name, share in self.shares().items() if share is not None)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _kind(field: FieldScore) -> int:
    if field.score == 1:
        return 0
    return 3 if is_nothing(field.expected) else 2 if is_nothing(field.actual) else 1


class Comparison(BaseModel):
    """The result of `compare`.

    Attributes:
        accuracy: 0 to 100: 100 times the sum of weight times score over the fields; 100 if there are none.
        fields: every value that was compared, in the order of the expected data; extra values come last.
    """

    model_config = ConfigDict(frozen=True)

    accuracy: float
    fields: list[FieldScore]

    @property
    def counts(self) -> Counts:
        """How many values are right, wrong, missing and extra; with precision, recall and F1."""
        return Counts.of(self.fields)


class _Node(NamedTuple):
    """A compared value: a scalar with a note, or a list or object with children."""

    right: float = 0.0  # the sum of the weights of its scalars, each times its score
    weight: float = 0.0
    expected: Any = None
    actual: Any = None
    note: str = ""
    rule: str = ""
    children: tuple[tuple[str, "_Node"], ...] = ()


_NOT_COUNTED = _Node()


def compare(expected: Any, actual: Any, model_class: type[BaseModel] | None = None) -> Comparison:
    """Compares extracted data with expected data, value by value.

    Each scalar counts once, or by the weight that the class gives it. Values that are empty on both sides (None,
    missing, "") do not count. Values that only `actual` has are wrong. Lists match in any order, unless the class says
    otherwise.

    Args:
        expected: the expected JSON. It may be partial, and contain `{"$any_of": [...]}` and `{"$ignore": true}`.
        actual: the extracted JSON as the class dumps it, None if the reply gave none.
        model_class: the class that says how its fields are compared. `expected` fits it (see
            `llm_tester.runs.expected.check_expected`). If it is None, the values determine their rules.

    Returns:
        The accuracy, and the scores that explain it. Without data the accuracy is 0.

    Raises:
        CaseError: a marker does not fit its field's type, or a `Compare` function fails.
    """
    shape = shape_of(model_class)
    return compare_forms(in_form(expected, shape) if model_class else expected, actual, shape)


def compare_forms(expected: Any, actual: Any, shape: Shape) -> Comparison:
    """Like `compare`, for expected JSON as its class dumps it."""
    if actual is None and expected is not None:
        node = _alone(expected, shape, "no data")
        if not node.weight:
            node = _Node(0.0, 1.0, expected, None, "no data")
    else:
        node = _compare(expected, actual, shape)
    found = list(_leaves("", node))
    # fsum rounds once in any order, so that a permuted list cannot change the last digit.
    total = math.fsum(leaf.weight for _, leaf in found)
    fields = [
        FieldScore(
            path=path.removeprefix("."),
            score=min(leaf.right / leaf.weight, 1.0),
            weight=leaf.weight / total,
            expected=leaf.expected,
            actual=leaf.actual,
            note=leaf.note,
            rule=leaf.rule,
        )
        for path, leaf in found
    ]
    right = math.fsum(leaf.right for _, leaf in found)
    return Comparison(accuracy=100.0 * min(right / total, 1.0) if fields else 100.0, fields=fields)


def _leaves(path: str, node: _Node) -> Iterator[tuple[str, _Node]]:
    if node.weight and not node.children:
        yield path, node
    for inner, child in node.children:
        yield from _leaves(path + inner, child)


def _branch(children: Iterable[tuple[str, _Node]]) -> _Node:
    counted = tuple(child for child in children if child[1].weight)
    right = math.fsum(child.right for _, child in counted)
    return _Node(right, math.fsum(child.weight for _, child in counted), children=counted)


def _alone(value: Any, shape: Shape, note: str, is_extra: bool = False) -> _Node:
    """A value that is missing on the other side: every scalar in it is wrong."""
    if shape.is_ignored or is_ignored(value) or is_nothing(value):
        return _NOT_COUNTED
    if not is_extra and (options := choices(value)):
        return min((_alone(option, shape, note) for option in options), key=lambda node: node.weight)
    if isinstance(value, dict) and not shape.is_whole:
        shape = shape.narrowed(value)
        return _branch((segment(key), _alone(item, shape.child(key), note, is_extra)) for key, item in value.items())
    if isinstance(value, list) and not shape.is_whole:
        return _branch((f"[{i}]", _alone(item, shape.item(i), note, is_extra)) for i, item in enumerate(value))
    expected, actual = (None, value) if is_extra else (value, None)
    return _Node(0.0, shape.weight, expected, actual, note, shape.words(shape.rule or by_value(value, value)))


def _compare(expected: Any, actual: Any, shape: Shape) -> _Node:
    if shape.is_ignored or is_ignored(expected):
        return _NOT_COUNTED
    if options := choices(expected):
        nodes = [_compare(option, actual, shape) for option in options]
        return max(nodes, key=lambda node: (node.right / node.weight if node.weight else 1.0, -node.weight))
    if is_nothing(expected):
        return _alone(actual, shape, "extra", is_extra=True)
    if is_nothing(actual):
        return _alone(expected, shape, "missing")
    if shape.is_whole:
        return _leaf(expected, actual, shape)
    if isinstance(expected, dict) and isinstance(actual, dict):
        shape = shape.narrowed(expected)
        keys = dict.fromkeys([*expected, *actual])
        return _branch((segment(key), _compare(expected.get(key), actual.get(key), shape.child(key))) for key in keys)
    if isinstance(expected, list) and isinstance(actual, list):
        if not shape.is_ordered:
            return _branch(_pair(expected, actual, shape))
        both = enumerate(zip_longest(expected, actual))
        return _branch((f"[{i}]", _compare(wanted, found, shape.item(i))) for i, (wanted, found) in both)
    if isinstance(expected, dict | list) or isinstance(actual, dict | list):
        sides = _alone(expected, shape, "different type"), _alone(actual, shape, "different type", is_extra=True)
        return _branch(("", side) for side in sides)
    return _leaf(expected, actual, shape)


def _leaf(expected: Any, actual: Any, shape: Shape) -> _Node:
    rule = shape.rule or by_value(expected, actual)
    score, note = rule.score(expected, actual)
    return _Node(shape.weight * score, shape.weight, expected, actual, note, shape.words(rule))


def _pair(expected: Sequence[Any], actual: Sequence[Any], shape: Shape) -> list[tuple[str, _Node]]:
    """Compares the items that belong together. The rest is missing or extra."""
    item = shape.item()
    wanted = {i: value for i, value in enumerate(expected) if not (is_nothing(value) or is_ignored(value))}
    found = {j: value for j, value in enumerate(actual) if not is_nothing(value)}
    nodes: dict[tuple[int, int], _Node] = {}
    alone = (
        {i: _alone(value, item, "").weight for i, value in wanted.items()},
        {j: _alone(value, item, "", is_extra=True).weight for j, value in found.items()},
    )

    def gain(i: int, j: int) -> int:
        node = nodes[i, j] = _compare(wanted[i], found[j], item)
        saved = alone[0][i] + alone[1][j] - node.weight
        # What is right counts most; among pairs that are equally right, what they have in common. Whole numbers have
        # the same sum in any order.
        return (round(node.right * 1e9) << 32) + max(round(saved * 1000), 0)

    pairs = paired_by_key(wanted, found, shape.key) if shape.key else paired_by_likeness(wanted, found, gain)
    children = []
    for i, value in wanted.items():
        j = pairs.get(i)
        node = nodes.get((i, j)) if j is not None else None
        children.append((f"[{i}]", node or _compare(value, None if j is None else found[j], item)))
    spare = found.keys() - pairs.values()
    # An ignored item may be any of those that belong to no other.
    extras = sorted(in_order({j: found[j] for j in spare})[sum(map(is_ignored, expected)) :])
    return children + [(f"[{len(expected) + n}]", _compare(None, found[j], item)) for n, j in enumerate(extras)]
