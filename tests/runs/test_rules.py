"""What the types and markers of a class say about the comparison."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    SecretStr,
    ValidationError,
    computed_field,
    create_model,
    field_validator,
)
from typing_extensions import TypedDict

import llm_tester
from llm_tester import Close, Compare, Exact, Ignore, Key, Ordered, Tolerance, Weight
from llm_tester.errors import CaseError
from llm_tester.runs.expected import check_expected
from llm_tester.runs.extraction import extract
from llm_tester.runs.scoring import FieldScore, compare


class Colour(Enum):
    RED = "red"
    DARK_RED = "dark red"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Maker(BaseModel):
    name: str
    country: Annotated[str, Exact] = "DE"


def one(annotation: Any, expected: Any, actual: Any) -> FieldScore:
    """The only leaf of a class with one field of the annotation."""
    model = create_model("Thing", field=(annotation, ...))
    [found] = compare({"field": expected}, {"field": actual}, model).fields
    return found


@pytest.mark.parametrize(
    ("annotation", "expected", "actual", "score", "rule"),
    [
        (str, "Lamp", "LAMP", 1, "text"),
        (str, "39.90", "39.9", 0, "text"),
        (str, "3.10", "3.1", 0, "text"),
        (str | None, "Lamp", "lamps", 0.89, "text"),
        (Colour, "red", "dark red", 0, "exact"),
        (Level, 1, 2, 0, "exact"),
        (Literal["EUR", "EUROS"], "EUR", "EUROS", 0, "exact"),
        (bool, True, False, 0, "exact"),
        (UUID, "12345678123456781234567812345678", "12345678-1234-5678-1234-567812345678", 1, "exact"),
        (int, 1234567, 1234568, 0, "number"),
        (float, 0.3, 0.30000000000000004, 1, "number"),
        (Decimal, 39.9, "39.90", 1, "number"),
        (Decimal, "1E+3", "1000", 1, "number"),
        (int | float | None, 3, 3.0, 1, "number"),
        (date, "2024-01-05", "2024-01-06", 0, "date"),
        (datetime, "2024-01-05T12:00:00+02:00", "2024-01-05T10:00:00Z", 1, "date"),
        (datetime, "2024-01-05", "2024-01-05T00:00:00", 1, "date"),
        (datetime, "2024-01-05", "2024-01-05T10:30:00", 0, "date"),
        (time, "12:00", "12:00:00", 1, "exact"),
        (timedelta, "PT60M", "PT1H", 1, "exact"),
        (int | str, 7, 7, 1, "number"),
        (date | str, "soon", "sooner", 0.8, "text"),
        (Any, "2024-01-05", "2024-01-05T10:00:00", 1, "date"),
        (NewType("Sku", str), "a", "A", 1, "text"),
        (Annotated[str, Exact], "Lamp", "lamp", 0, "exact"),
        (Annotated[str, Exact()], "Lamp", "Lamp", 1, "exact"),
        (Annotated[str, Exact] | None, "Lamp", "lamp", 0, "exact"),
        (Annotated[Decimal, Exact], "39.9", "39.90", 1, "number exactly"),
        (Annotated[float, Exact], 0.3, 0.30000000000000004, 0, "number exactly"),
        (Annotated[datetime, Exact], "2024-01-05T12:00:00+02:00", "2024-01-05T10:00:00Z", 1, "date"),
        (
            Annotated[str, Close(0.8)],
            "a small brass lamp",
            "a small brass lamb",
            1,
            "text, right if at least 0.8 alike",
        ),
        (
            Annotated[str, Close(0.99)],
            "a small brass lamp",
            "a small brass lamb",
            0,
            "text, right if at least 0.99 alike",
        ),
        (Annotated[str, Close(0.5)], "INV-2024-001", "INV-2024-002", 0, "text, right if at least 0.5 alike"),
        (Annotated[float, Tolerance(abs=0.1)], 40.0, 39.9, 1, "number ±0.1"),
        (Annotated[float, Tolerance(abs=0.1)], 40.0, 39.89, 0, "number ±0.1"),
        (Annotated[float, Tolerance(rel=0.01)], 100, 101, 1, "number ±1%"),
        (Annotated[Decimal, Tolerance(abs=2, rel=0.01)], "100", "102", 1, "number ±2 or ±1%"),
        (Annotated[int, Tolerance(abs=2)], 10**30, 10**30 + 3, 0, "number ±2"),
        (Annotated[str, Weight(3)], "a", "a", 1, "text, weight 3"),
    ],
)
def test_types_and_markers_choose_the_rule(
    annotation: Any, expected: Any, actual: Any, score: float, rule: str
) -> None:
    found = one(annotation, expected, extract_one(annotation, actual))
    assert (round(found.score, 2), found.rule) == (score, rule)


def extract_one(annotation: Any, value: Any) -> Any:
    return extract(json.dumps({"field": value}), create_model("Thing", field=(annotation, ...))).data["field"]


class Line(BaseModel):
    sku: str
    count: Annotated[int, Weight(3)] = 1
    note: Annotated[str, Ignore] = ""


class Order(BaseModel):
    maker: Annotated[Maker, Weight(2)] | None = None
    lines: Annotated[list[Line], Key("sku")] = []
    steps: Annotated[list[str], Ordered] = []
    names: Annotated[list[str], Exact] = []
    prices: Annotated[dict[str, float], Tolerance(rel=0.1)] = {}
    point: tuple[float, str] | None = None
    secret: Annotated[list[Line], Ignore] = []


def shown(expected: Any, actual: Any, model: type[BaseModel] = Order) -> list[tuple[str, float, str]]:
    return [(f.path, round(f.score, 2), f.rule) for f in compare(expected, actual, model).fields]


def test_a_weight_counts_for_everything_in_an_object() -> None:
    result = compare(
        {"maker": {"name": "Ada"}, "steps": ["a"]}, {"maker": {"name": "Bob", "country": "DE"}, "steps": ["a"]}, Order
    )
    assert [(f.path, round(f.weight, 2), f.rule) for f in result.fields] == [
        ("maker.name", 0.4, "text, weight 2"),
        ("maker.country", 0.4, "exact, weight 2"),
        ("steps[0]", 0.2, "text, in order"),
    ]
    assert result.accuracy == pytest.approx(60)


def test_ignored_fields_are_not_compared_however_much_they_hold() -> None:
    actual = {"secret": [{"sku": "a", "count": 1}], "steps": ["a"], "lines": [{"sku": "x", "count": 1, "note": "n"}]}
    assert [path for path, _, _ in shown({"steps": ["a"], "lines": [{"sku": "x", "note": "m"}]}, actual)] == [
        "lines[0].sku",
        "lines[0].count",
        "steps[0]",
    ]


def test_in_an_ordered_list_each_place_counts() -> None:
    assert shown({"steps": ["a", "b"]}, {"steps": ["b", "a", "c"]}) == [
        ("steps[0]", 0, "text, in order"),
        ("steps[1]", 0, "text, in order"),
        ("steps[2]", 0, "text, in order"),
    ]


def test_a_tuple_of_fixed_length_is_in_order_with_a_rule_for_each_place() -> None:
    assert shown({"point": [1, "north"]}, {"point": [2, "North"]}) == [
        ("point[0]", 0, "number, in order"),
        ("point[1]", 1, "text, in order"),
    ]


def test_a_key_pairs_items_however_much_else_differs() -> None:
    expected = {"lines": [{"sku": "A", "count": 5}, {"sku": "B", "count": 6}]}
    actual = {"lines": [{"sku": "B", "count": 5}, {"sku": "C", "count": 6}]}
    assert shown(expected, actual) == [
        ("lines[0].sku", 0, "text, paired by sku"),
        ("lines[0].count", 0, "number, paired by sku, weight 3"),
        ("lines[1].sku", 1, "text, paired by sku"),
        ("lines[1].count", 0, "number, paired by sku, weight 3"),
        ("lines[2].sku", 0, "text, paired by sku"),
        ("lines[2].count", 0, "number, paired by sku, weight 3"),
    ]
    either = {"lines": [{"sku": {"$any_of": ["Z", "C"]}, "count": 6}]}
    assert compare(either, {"lines": [{"sku": "C", "count": 6}]}, Order).accuracy == 100


def test_a_rule_on_a_list_or_a_dict_holds_for_its_items() -> None:
    assert shown({"names": ["Ada"]}, {"names": ["ada"]}) == [("names[0]", 0, "exact")]
    assert shown({"prices": {"a": 10}}, {"prices": {"a": 10.5}}) == [("prices.a", 1, "number ±10%")]


def initials(expected: str, actual: str) -> float:
    return sum(a == b for a, b in zip(expected.split(), actual.split(), strict=False)) / len(expected.split())


def fails(expected: Any, actual: Any) -> bool:
    raise LookupError("no such thing")


@pytest.mark.parametrize(
    ("function", "expected", "actual", "score", "note"),
    [
        (initials, "a b", "a c", 0.5, "score 0.50"),
        (lambda expected, actual: expected[0] == actual[0], "abc", "axy", 1, "right"),
        (lambda expected, actual: sorted(expected) == sorted(actual), ["a", "b"], ["b", "a"], 1, "right"),
    ],
)
def test_a_function_of_the_users_scores_the_whole_value(
    function: Callable[[Any, Any], float], expected: Any, actual: Any, score: float, note: str
) -> None:
    found = one(Annotated[Any, Compare(function)], expected, actual)
    assert (found.score, found.note, found.rule) == (score, note, f"function {function.__name__}")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            fails,
            rf"Compare\(fails, {__file__}:\d+\), called with 'x' and 'y', raised LookupError: .* \({__file__}:\d+\)",
        ),
        (lambda expected, actual: 7, "returned 7, expected a number from 0 to 1"),
        (lambda expected, actual: float("nan"), "returned nan, expected"),
        (lambda expected, actual: None, "returned None, expected"),
    ],
)
def test_what_a_function_of_the_users_does_wrong_is_named(function: Any, message: str) -> None:
    with pytest.raises(CaseError, match=message):
        one(Annotated[str, Compare(function)], "x", "y")


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (SecretStr, r"Thing\.field: pydantic writes a SecretStr as asterisks; mark the field with Ignore"),
        (Annotated[str, Tolerance(abs=1)], r"Thing\.field: Tolerance does not fit the type str"),
        (Annotated[float | None, Close(0.8)], r"Thing\.field: Close does not fit the type float"),
        (Annotated[str, Ordered], r"Thing\.field: Key and Ordered are for lists, and this is str"),
        (
            Annotated[list[Maker], Key("nam")],
            r"Thing\.field: Key\('nam'\) names no field of its items; they have name, country",
        ),
    ],
)
def test_a_marker_that_does_not_fit_is_named_with_its_field(annotation: Any, message: str) -> None:
    model = create_model("Thing", field=(annotation, ...))
    with pytest.raises(CaseError, match=message):
        compare({"field": [{"name": "a"}]}, {"field": [{"name": "b"}]}, model)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Close(0),
        lambda: Close(80),
        lambda: Tolerance(),
        lambda: Tolerance(abs=-1),
        lambda: Tolerance(rel=float("nan")),
        lambda: Weight(0),
        lambda: Weight(float("inf")),
    ],
)
def test_a_marker_refuses_what_cannot_be_meant(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"above 0"):
        make()


def test_markers_are_public_and_change_neither_validation_nor_schema() -> None:
    names = {"Close", "Compare", "Exact", "Ignore", "Key", "Ordered", "Tolerance", "Weight"}
    assert names <= set(llm_tester.__all__)
    plain, marked = create_model("M", a=(str, ...)), create_model("M", a=(Annotated[str, Exact, Weight(2)], ...))
    assert plain.model_json_schema() == marked.model_json_schema()
    with pytest.raises(ValidationError):
        marked.model_validate({"a": 1})


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: list[T]


class Node(BaseModel):
    name: Annotated[str, Exact]
    children: list[Node] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    name: Annotated[str, Exact]


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str
    age: Annotated[int, Tolerance(abs=1)]


class Typed(TypedDict):
    code: Annotated[str, Exact]


@dataclasses.dataclass
class Data:
    code: Annotated[str, Exact]


class Everything(BaseModel):
    page: Page[Maker] | None = None
    node: Node | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    typed: Typed | None = None
    data: Data | None = None
    loose: dict[str, Any] = {}
    rows: Sequence[set[int]] = []


class Makers(RootModel[dict[str, list[Maker]]]):
    pass


@pytest.mark.parametrize(
    ("model", "expected", "actual", "rules"),
    [
        (Everything, {"page": {"items": [{"name": "A"}]}}, None, ["text", "exact"]),
        (
            Everything,
            {"node": {"name": "A", "children": [{"name": "B", "children": [{"name": "C"}]}]}},
            None,
            ["exact"] * 3,
        ),
        (Everything, {"pet": {"kind": "dog", "name": "Rex", "age": 3}}, None, ["exact", "text", "number ±1"]),
        (Everything, {"pet": {"kind": "cat", "name": "Tom"}}, None, ["exact", "exact"]),
        (Everything, {"typed": {"code": "a"}}, None, ["exact"]),
        (Everything, {"data": {"code": "a"}}, None, ["exact"]),
        (Everything, {"loose": {"a": {"b": ["2024-01-05"]}}}, None, ["date"]),
        (Everything, {"rows": [[1, 2], [3]]}, None, ["number"] * 3),
        (Makers, {"x": [{"name": "A"}]}, None, ["text", "exact"]),
    ],
)
def test_the_rules_reach_into_every_shape(model: type[BaseModel], expected: Any, actual: Any, rules: list[str]) -> None:
    data = model.model_validate(expected).model_dump(mode="json")
    result = compare(expected, data, model)
    assert result.accuracy == 100
    assert [field.rule for field in result.fields] == rules


class HintedText(BaseModel):
    value: Annotated[str, ["a hint"]]
    kind: Literal["text"]


class HintedNumber(BaseModel):
    value: Annotated[int, ["a hint"]]
    kind: Literal["number"]


class Hinted(BaseModel):
    """Other libraries may put into Annotated what has no hash."""

    name: Annotated[str, ["a hint"], Exact]
    tags: list[Annotated[str, ["a hint"]]]
    either: HintedText | HintedNumber


def test_what_others_put_into_annotated_needs_no_hash() -> None:
    data = {"name": "x", "tags": ["y"], "either": {"value": 3, "kind": "number"}}
    check_expected(data, Hinted, "lamp.json")
    assert [field.rule for field in compare(data, data, Hinted).fields] == ["exact", "text", "number", "exact"]


class Shop(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)

    name: str
    currency: str
    opened: date = Field(alias="openedOn")
    makers: list[Maker]
    rating: float = 3.0

    @field_validator("currency", mode="before")
    @classmethod
    def upper(cls, value: str) -> str:
        return value.upper() + "$"

    @computed_field
    @property
    def title(self) -> str:
        return self.name.title()


WHOLE = {"name": " shop ", "currency": "eur", "openedOn": "2024-01-05", "makers": [{"name": "A"}, {"name": "B"}]}


@pytest.mark.parametrize(
    "expected",
    [
        WHOLE,
        {key: value for key, value in WHOLE.items() if key != "name"},
        {"currency": "eur"},
        {"opened": "2024-01-05"},
        {"currency": {"$any_of": ["usd", "eur"]}, "makers": [{"name": {"$any_of": ["B", "C"]}}, {"name": "A"}]},
        {"name": " shop ", "makers": {"$ignore": True}},
        {"makers": [{"country": "DE"}, {"$ignore": True}]},
        {},
    ],
)
def test_expected_data_is_compared_in_the_form_of_its_class_partial_or_not(expected: dict[str, Any]) -> None:
    """A required field that is left out is ignored, and a default is expected."""
    data = extract(json.dumps(WHOLE), Shop).data
    assert data["currency"] == "EUR$"
    result = compare(expected, data, Shop)
    assert result.accuracy == 100
    assert "rating" in [field.path for field in result.fields]
    assert "title" not in [field.path for field in result.fields]
    assert compare(expected, {**data, "rating": 4.0}, Shop).accuracy < 100


def test_what_the_class_leaves_optional_and_nobody_expected_is_extra() -> None:
    class Person(BaseModel):
        name: str
        email: str | None = None

    assert compare({"name": "Ada"}, {"name": "Ada", "email": "a@example.com"}, Person).accuracy == 50
    ignored = {"name": "Ada", "email": {"$ignore": True}}
    assert compare(ignored, {"name": "Ada", "email": "a@example.com"}, Person).accuracy == 100


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(list(Order.model_fields)), inner, max_size=4)
    ),
    max_leaves=15,
)


@settings(deadline=None, derandomize=True, database=None)
@given(json_values, json_values)
def test_any_json_can_be_compared_under_a_class(expected: Any, actual: Any) -> None:
    """A reply that is not valid is compared too, to show what its fields would have scored."""
    assert 0 <= compare(expected, actual, Order).accuracy <= 100


@settings(deadline=None, derandomize=True, database=None)
@given(st.builds(Order, lines=st.lists(st.builds(Line), max_size=6)), st.integers())
def test_any_instance_fits_itself_in_any_order(order: Order, seed: int) -> None:
    data = order.model_dump(mode="json")
    shuffled = {**data, "lines": random.Random(seed).sample(data["lines"], len(data["lines"]))}
    assert compare(data, shuffled, Order).accuracy == 100
