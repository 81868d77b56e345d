"""The rule of docs/scoring.md: its examples, its edges, and the properties that hold for any JSON."""

import math
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llm_tester.runs.scoring import Comparison, Counts, compare

DOCS = Path(__file__).parents[2] / "docs" / "scoring.md"


def score(expected: Any, actual: Any) -> tuple[float, str]:
    """Score and note of one scalar field."""
    [field] = compare({"field": expected}, {"field": actual}).fields
    return round(field.score, 2), field.note


@pytest.mark.parametrize(
    "block", re.findall(r"^```python\n(.*?)^```", DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)
)
def test_the_documented_examples_hold(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, str(DOCS), "exec"), {})
    shown = [line.removeprefix("# ") for line in block.splitlines() if line.startswith("# ")]
    assert capsys.readouterr().out.splitlines() == shown


@pytest.mark.parametrize(
    ("expected", "actual", "wanted"),
    [
        ("Python", "python ", (1.0, "equal")),
        ("Straße", "STRASSE", (1.0, "equal")),
        ("x²", "x2", (1.0, "equal")),
        ("Software Engineer", "Software Enginer", (0.97, "close text 0.97")),
        ("Nurse", "Pilot", (0.0, "different text")),
        ("word " * 50 + "end", "word " * 50 + "stop", (0.99, "close text 0.99")),
        ("word " * 3000 + "end", "word " * 3000 + "stop", (1.0, "close text 1.00")),
        ("a b " * 3000, "b a " * 3000, (1.0, "close text 1.00")),
        ("word " * 50, "other " * 50, (0.0, "different text")),
        ("2023", "2024", (0.0, "different number")),
        ("+49 30 1234", "+49 30 1235", (0.0, "different text")),
        ("INV-2024-001", "INV-2024-002", (0.0, "different digits")),
        ("DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 01", (0.0, "different digits")),
        ("DE89370400440532013000", "DE89 3704 0044 0532 0130 00", (0.9, "close text 0.90")),
        ("due on 5 January 2024", "due on 6 January 2024", (0.0, "different digits")),
        ("it costs 12.50 EUR", "it costs 1250 EUR", (0.0, "different digits")),
        ("it is -5 degrees", "it is 5 degrees", (0.0, "different digits")),
        ("12 of 3", "1 of 23", (0.0, "different digits")),
        ("GB29NWBK601", "GB29NWBX601", (0.0, "different code")),
        ("INV-2024/7", "INV/2024/7", (0.9, "close text 0.90")),
        ("007", "7", (0.0, "different text")),
        (1, 1.0, (1.0, "equal")),
        (0.3, 0.1 + 0.2, (1.0, "near enough")),
        (39.9, 39.8, (0.0, "different number")),
        (1234567890123, 1234567890124, (0.0, "different number")),
        (10**400, 1.5, (0.0, "different number")),
        (0, 1e-300, (0.0, "different number")),
        (39.9, "39.90", (1.0, "equal")),
        ("39.90", 39.9, (1.0, "equal")),
        ("39.90", "39.9", (1.0, "equal")),
        ("40", 39.9, (0.0, "different number")),
        (7, "007", (0.0, "different type")),
        ("forty", 40, (0.0, "different type")),
        (1, True, (0.0, "different type")),
        ("true", True, (0.0, "different type")),
        (True, False, (0.0, "different value")),
        ("2024-01-05", "2024-01-05T00:00:00", (1.0, "same date")),
        ("2024-01-05T00:00:00", "2024-01-05", (1.0, "same date")),
        ("2024-01-05", "2024-01-05T10:30:00Z", (1.0, "same date")),
        ("2024-01-05T10:30:00", "2024-01-05", (0.0, "different date")),
        ("2024-01-05T10:30:00", "2024-01-05 10:30:00.000Z", (1.0, "same date")),
        ("2024-01-05T12:00:00+02:00", "2024-01-05T10:00:00Z", (1.0, "same date")),
        ("2024-01-05T12:00:00+02:00", "2024-01-05T12:00:00Z", (0.0, "different date")),
        ("2024-01-05", "2024-01-06", (0.0, "different date")),
        ("2024-13-05", "2024-13-06", (0.0, "different text")),
        ("x", None, (0.0, "missing")),
        ("x", " ", (0.0, "missing")),
        (None, "x", (0.0, "extra")),
        ({"a": 1}, {"a": None}, (0.0, "missing")),
        ({"$any_of": ["US", "United States"]}, "united states", (1.0, "equal")),
        ({"$any_of": [39.9, 40]}, 40, (1.0, "equal")),
        ({"$any_of": ["US", "USA"]}, "Peru", (0.0, "different text")),
        (None, False, (0.0, "extra")),
    ],
)
def test_one_value(expected: Any, actual: Any, wanted: tuple[float, str]) -> None:
    assert score(expected, actual) == wanted


@pytest.mark.parametrize("nothing", [None, "", " \n", [], {}, [None, ""], {"a": {"b": []}}])
@pytest.mark.parametrize("also_nothing", [None, "", [], {}])
def test_nothing_equals_nothing_and_is_not_counted(nothing: Any, also_nothing: Any) -> None:
    for expected, actual in [({"a": nothing, "b": 1}, {"a": also_nothing, "b": 1}), ({"a": nothing, "b": 1}, {"b": 1})]:
        assert [field.path for field in compare(expected, actual).fields] == ["b"]
        assert compare(expected, actual).accuracy == 100


def test_without_data_every_expected_field_is_wrong() -> None:
    result = compare({"a": 1, "b": None}, None)
    assert result.accuracy == 0
    assert [(field.path, field.note) for field in result.fields] == [("a", "no data")]
    assert compare({}, None).accuracy == 0


def shown(result: Comparison) -> list[tuple[str, float, Any, Any, str]]:
    return [(f.path, f.score, f.expected, f.actual, f.note) for f in result.fields]


def test_the_fields_say_where_and_what() -> None:
    result = compare(
        {
            "salary": {"min": 1, "max": 2},
            "skills": [{"name": "SQL"}, {"name": "Go"}],
            "a.b": 1,
            "gone": {"x": 1, "y": [2]},
        },
        {"salary": {"min": 1, "max": 3}, "skills": [{"name": "go"}], "a.b": 1, "new": [5]},
    )
    assert shown(result) == [
        ("salary.min", 1.0, 1, 1, "equal"),
        ("salary.max", 0.0, 2, 3, "different number"),
        ("skills[0].name", 0.0, "SQL", None, "missing"),
        ("skills[1].name", 1.0, "Go", "go", "equal"),
        ('["a.b"]', 1.0, 1, 1, "equal"),
        ("gone.x", 0.0, 1, None, "missing"),
        ("gone.y[0]", 0.0, 2, None, "missing"),
        ("new[0]", 0.0, None, 5, "extra"),
    ]
    assert result.accuracy == pytest.approx(100 * 3 / 8)
    assert result.counts == Counts(right=3, wrong=1, missing=3, extra=1)
    assert (result.counts.precision, result.counts.recall) == (3 / 5, 3 / 7)
    assert result.counts.f1 == pytest.approx(1 / 2)


def test_an_object_in_the_place_of_a_text_is_missing_and_extra() -> None:
    assert shown(compare({"a": "x", "b": {"c": 1}}, {"a": ["x", "y"], "b": [1]})) == [
        ("a", 0.0, "x", None, "different type"),
        ("a[0]", 0.0, None, "x", "different type"),
        ("a[1]", 0.0, None, "y", "different type"),
        ("b.c", 0.0, 1, None, "different type"),
        ("b[0]", 0.0, None, 1, "different type"),
    ]


def test_a_payslip_with_45_of_56_numbers_wrong_scores_what_is_right() -> None:
    lines = [{"code": f"line {n}", "amount": n, "rate": n / 7, "days": n % 5 + 1, "base": n * 3} for n in range(14)]
    read = [
        {**line, "amount": -1, "rate": -1, "days": -1, "base": line["base"] if n < 11 else -1}
        for n, line in enumerate(lines)
    ]
    result = compare({"lines": lines}, {"lines": read})
    assert (result.counts.right, result.counts.wrong) == (14 + 11, 45)
    assert result.accuracy == pytest.approx(100 * 25 / 70)


@pytest.mark.parametrize(
    ("expected", "actual", "counts"),
    [
        ({}, {}, (None, None, None)),
        ({"a": 1}, {}, (None, 0, 0)),
        ({}, {"a": 1}, (0, None, 0)),
        ({"a": 1}, {"a": 1}, (1, 1, 1)),
    ],
)
def test_a_share_of_nothing_is_unknown(expected: Any, actual: Any, counts: tuple[float | None, ...]) -> None:
    found = compare(expected, actual).counts
    assert (found.precision, found.recall, found.f1) == counts


@pytest.mark.parametrize(
    ("expected", "actual", "accuracy"),
    [
        ([1, 2], [2, 1], 100),
        ("a", "b", 0),
        (7, 7.0, 100),
        (None, None, 100),
        ([], [], 100),
        ([1], None, 0),
        ({"$any_of": [{"a": 1}, {"b": 2}]}, {"b": 2}, 100),
        ({"$ignore": True}, {"b": 2}, 100),
        ({"a": {"$ignore": True}, "b": 1}, {"b": 1}, 100),
        ({"a": {"$ignore": True}, "b": 1}, {"a": [1, 2], "b": 2}, 0),
        ({"a": {"$any_of": [None, "x"]}, "b": 1}, {"b": 1}, 100),
        ({"a": {"$any_of": [None, "x"]}, "b": 1}, {"a": "y", "b": 1}, 50),
        ({"l": [{"$any_of": ["US", "USA"]}, "DE"]}, {"l": ["DE", "USA"]}, 100),
        ({"l": [{"n": {"$any_of": ["a", "b"]}, "v": 1}]}, {"l": [{"n": "b", "v": 1}]}, 100),
        ({"l": [{"$ignore": True}, "DE"]}, {"l": ["anything", "DE"]}, 100),
        ({"l": [{"$ignore": True}, "DE"]}, {"l": ["anything", "DE", "more"]}, 50),
    ],
)
def test_any_json_can_be_expected(expected: Any, actual: Any, accuracy: float) -> None:
    assert compare(expected, actual).accuracy == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("expected", "actual", "accuracy"),
    [
        (["a", "b"], ["b", "a"], 100),
        (["a", "b"], ["b"], 50),
        (["a", "b"], ["b", "a", "c", "d"], 50),
        (["a", "a"], ["a"], 50),
        (["a"], ["a", "a"], 50),
        (["a", "b"], ["a", "c"], 50),
        (["a", None], ["a"], 100),
        ([[1, 2], [3]], [[3], [2, 1]], 100),
        ([{"n": "x", "v": 1}, {"n": "y", "v": 2}], [{"n": "y", "v": 2}, {"n": "x", "v": 9}], 75),
        (["Python 3", "Python"], ["Python"], 50),
    ],
)
def test_lists_match_in_any_order(expected: list[Any], actual: list[Any], accuracy: float) -> None:
    assert compare({"list": expected}, {"list": actual}).accuracy == pytest.approx(accuracy)


def test_an_equal_item_is_not_given_to_a_merely_similar_one() -> None:
    assert shown(compare({"l": ["Pythons", "Python"]}, {"l": ["Python"]})) == [
        ("l[0]", 0.0, "Pythons", None, "missing"),
        ("l[1]", 1.0, "Python", "Python", "equal"),
    ]


def test_long_lists_find_their_counterparts() -> None:
    chance = random.Random(5)
    words = ["".join(chance.choices("abcdefghijklmnop", k=7)) for _ in range(2000)]
    expected = [
        {"id": i, "name": " ".join(chance.sample(words, 3)), "country": "DE", "note": None} for i in range(1000)
    ]
    actual = [{**item, "name": str(item["name"])[:-1], "note": ""} for item in expected]
    chance.shuffle(actual)
    result = compare({"rows": expected}, {"rows": actual})
    assert 98 < result.accuracy < 100
    assert all(field.score > 0.9 for field in result.fields)
    chance.shuffle(actual)
    assert compare({"rows": expected}, {"rows": actual}).accuracy == result.accuracy


def _rows(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Records of few values, so that many of them look alike."""
    return [
        {"row": chance.randrange(200), "seat": chance.randrange(200), "class": chance.choice("xyz")}
        for _ in range(count)
    ]


@settings(max_examples=10, deadline=None)
@given(st.integers())
def test_long_lists_that_mostly_agree_are_scored_like_short_ones(seed: int) -> None:
    chance = random.Random(seed)
    same = [{**row, "is": "same"} for row in _rows(chance, 400)]
    expected, actual = _rows(chance, 9), _rows(chance, 7)
    few = compare({"rows": expected}, {"rows": actual})
    expected, actual = [*expected, *same], [*actual, *same]
    chance.shuffle(expected)
    chance.shuffle(actual)
    many = compare({"rows": expected}, {"rows": actual})
    values = len(few.fields) + 4 * len(same)
    assert len(many.fields) == values
    right = few.accuracy * len(few.fields) + 100 * 4 * len(same)
    assert many.accuracy == pytest.approx(right / values)


def test_in_a_long_list_items_of_few_values_with_a_mistake_in_each_find_their_counterparts() -> None:
    chance = random.Random(5)
    expected = _rows(chance, 2100)
    actual = [{**row, chance.choice(["row", "seat"]): -1} for row in expected]
    chance.shuffle(actual)
    assert compare({"rows": expected}, {"rows": actual}).accuracy == pytest.approx(200 / 3)


def test_in_a_long_list_texts_with_a_mistake_in_each_find_their_counterparts() -> None:
    expected = [f"number {number * 7919:07} of the list" for number in range(2100)]
    actual = [f"NUMBER {number * 7919:07} of a list" for number in reversed(range(2100))]
    fields = compare({"texts": expected}, {"texts": actual}).fields
    assert all(field.expected[7:14] == field.actual[7:14] for field in fields)


def test_nested_lists_do_not_multiply_the_work() -> None:
    def nest(depth: int, leaf: int) -> Any:
        return leaf if not depth else [nest(depth - 1, leaf)]

    # Scoring each level twice would be 2**80 comparisons.
    assert compare({"a": nest(80, 1)}, {"a": nest(80, 2)}).accuracy == 0


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["Python", "python", "Pythons", "2024-01-05", "2024-01-05T00:00:00Z", "39.9", "39.90", 39.9, ""])
)
keys = st.sampled_from("abcde") | st.text(max_size=3)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=4), max_leaves=20
)
objects = st.dictionaries(keys, values, max_size=5)


# The same examples everywhere and no deadline: a slow machine is not a failure.
anything = settings(deadline=None, derandomize=True, database=None)


def permuted(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        return {key: permuted(item, chance) for key, item in value.items()}
    if isinstance(value, list):
        return [permuted(item, chance) for item in chance.sample(value, len(value))]
    return value


@anything
@given(values)
def test_a_value_fits_itself(value: Any) -> None:
    assert compare(value, value).accuracy == 100


@anything
@given(objects, objects)
def test_without_a_class_both_sides_are_alike(expected: dict[str, Any], actual: dict[str, Any]) -> None:
    forth, back = compare(expected, actual), compare(actual, expected)
    # A day is the same as any time of it, a time is not the same as its day.
    assume(not any("2024-01-05" in str(value) for value in (expected, actual)))
    assert forth.accuracy == pytest.approx(back.accuracy)
    assert forth.counts == back.counts._replace(missing=back.counts.extra, extra=back.counts.missing)


@anything
@given(values, values)
def test_the_fields_explain_an_accuracy_within_bounds(expected: Any, actual: Any) -> None:
    result = compare(expected, actual)
    assert 0 <= result.accuracy <= 100
    assert all(0 <= field.score <= 1 for field in result.fields)
    assert len({field.path for field in result.fields}) == len(result.fields)
    if result.fields:
        assert math.isclose(sum(field.weight for field in result.fields), 1)
        right = sum(field.weight * field.score for field in result.fields)
        assert math.isclose(result.accuracy, 100 * right, abs_tol=1e-9)
    assert compare(expected, actual) == result


@anything
@given(objects, objects, st.integers())
def test_the_order_of_lists_does_not_matter(expected: dict[str, Any], actual: dict[str, Any], seed: int) -> None:
    chance = random.Random(seed)
    shuffled = compare(permuted(expected, chance), permuted(actual, chance))
    assert shuffled.accuracy == compare(expected, actual).accuracy


LONG_LISTS = """
import random
from llm_tester.runs.scoring import compare

chance = random.Random(5)
words = ["".join(chance.choices("aeioubcdlmnrst", k=5)) for _ in range(12)]
expected = [{"name": " ".join(chance.choices(words, k=2)), "price": chance.randint(1, 5)} for _ in range(160)]
actual = [
    {**item, "name": item["name"][:-2] + chance.choice("xyz")}
    if chance.random() < 0.5
    else {**item, "price": item["price"] + 1}
    for item in expected
]
print(compare({"items": expected}, {"items": actual}).accuracy)
"""


def test_long_lists_of_like_items_score_the_same_in_each_process() -> None:
    """A set of texts has another order in each, which must not decide what is compared."""
    found = [
        subprocess.run(
            [sys.executable, "-c", LONG_LISTS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    ]
    assert set(found) == {"81.87770562770564\n"}


@anything
@given(objects, objects, st.data())
def test_a_wrong_field_or_a_lost_right_one_never_helps(
    expected: dict[str, Any], actual: dict[str, Any], data: st.DataObject
) -> None:
    merged = {**actual, **data.draw(st.fixed_dictionaries({}, optional={k: st.just(v) for k, v in expected.items()}))}
    before = compare(expected, merged).accuracy
    assume("new key" not in expected)
    assert compare(expected, {**merged, "new key": "x"}).accuracy <= before
    for key in expected.keys() & merged.keys():
        rest = {name: value for name, value in merged.items() if name != key}
        if compare({key: expected[key]}, {key: merged[key]}).accuracy == 100:
            assert compare(expected, rest).accuracy <= before


@anything
@given(st.lists(values, max_size=6), st.lists(values, max_size=6), values)
def test_a_wrong_item_never_helps(expected: list[Any], actual: list[Any], wrong: Any) -> None:
    assume(not any(compare({"l": item}, {"l": wrong}).accuracy for item in expected))
    before = compare({"l": expected}, {"l": actual}).accuracy
    assert compare({"l": expected}, {"l": [*actual, wrong]}).accuracy <= before


@anything
@given(objects)
def test_no_data_scores_nothing(expected: dict[str, Any]) -> None:
    assert compare(expected, None).accuracy == 0
