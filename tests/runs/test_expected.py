"""What is said about expected JSON before anything is paid."""

import contextlib
import json
import random
import uuid
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    computed_field,
    field_validator,
    model_validator,
)

from llm_tester import Compare, Ignore, Key
from llm_tester.errors import CaseError
from llm_tester.runs.expected import check_expected, read_expected
from llm_tester.runs.scoring import compare


class Maker(BaseModel):
    name: str
    country: Literal["DE", "AT"] = "DE"


class Product(BaseModel):
    name: str
    price: float = Field(ge=0, alias="unitPrice")
    made: date | None = None
    maker: Maker | None = None
    tags: list[str] = []
    extra: dict[str, Any] = {}
    first: str = Field(default="", validation_alias=AliasChoices("firstTag", AliasPath("allTags", 0)))

    @computed_field
    @property
    def title(self) -> str:
        return self.name.title()


class Closed(Product):
    model_config = ConfigDict(extra="forbid")


def lines(text: str, model: type[BaseModel] = Product) -> list[str]:
    with pytest.raises(CaseError) as caught:
        read_expected(text, model, "lamp.json")
    return str(caught.value).splitlines()


@pytest.mark.parametrize("model", [Product, Closed])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"nam": "x"}', "nam: unknown key 'nam'; did you mean 'name'?"),
        ('{"maker": {"cuontry": "DE"}}', "maker.cuontry: unknown key 'cuontry'; did you mean 'country'?"),
        ('{"maker": {"q": 1}}', "maker.q: unknown key 'q'; known are name, country"),
        ('{"title": "Lamp"}', "title: the class computes 'title'; remove it"),
        ('{"name": 7}', "name: found 7, expected a valid string"),
        ('{"made": "soon"}', 'made: found "soon", expected a valid date or datetime, input is too short'),
        ('{"maker": {"country": "FR"}}', "maker.country: found \"FR\", expected 'DE' or 'AT'"),
        ('{"tags": ["a", 3]}', "tags[1]: found 3, expected a valid string"),
        ('{"tags": "a"}', 'tags: found "a", expected a valid array'),
        ('{"unitPrice": -1}', "unitPrice: found -1, expected greater than or equal to 0"),
        ('{"price": -1}', "price: found -1, expected greater than or equal to 0"),
        ('{"price": NaN}', "price: found nan; JSON has no NaN, no Infinity and no number as large as this"),
        (
            '{"extra": {"a": [-Infinity]}}',
            "extra.a[0]: found -inf; JSON has no NaN, no Infinity and no number as large as this",
        ),
        ('{"price": 1e999}', "price: found inf; JSON has no NaN, no Infinity and no number as large as this"),
        ('{"name": "a", "name": "b"}', "name: duplicate key 'name'; remove one"),
        ('{"extra": {"x": [{"a.b": 1, "a.b": 1}]}}', "extra.x[0][\"a.b\"]: duplicate key 'a.b'; remove one"),
        ('{"tags": {"$any_of": [["a"], "b"]}}', 'tags: found "b", expected a valid array'),
        ('{"tags": [{"$any_of": ["a", 4]}]}', "tags[0]: found 4, expected a valid string"),
        ('{"price": {"$any_of": [1, -2]}}', "price: found -2, expected greater than or equal to 0"),
        ('{"maker": {"$any_of": [{"name": "x"}, {"nme": "x"}]}}', "maker.nme: unknown key 'nme'; did you mean 'name'?"),
        ('{"name": {"$anyof": ["a"]}}', "name.$anyof: unknown key '$anyof'; did you mean '$any_of'?"),
        (
            '{"name": {"$any_of": "a"}}',
            'name.$any_of: a malformed $any_of; it is the only key: {"$any_of": [values]} or {"$ignore": true}',
        ),
        (
            '{"maker": {"$ignore": false}}',
            'maker.$ignore: a malformed $ignore; it is the only key: {"$any_of": [values]} or {"$ignore": true}',
        ),
        ("[1]", "(the whole): found a list (1 item), expected an object"),
        ('"text"', '(the whole): found "text", expected an object'),
    ],
)
def test_a_problem_names_the_file_and_the_place(text: str, problem: str, model: type[BaseModel]) -> None:
    assert lines(text, model)[0] == f"lamp.json: {problem}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "x"', r"lamp\.json, line 1, column 13: not JSON: Expecting ',' delimiter"),
        ("", "line 1, column 1: not JSON"),
        ("[" * 100_000, "too deeply"),
        ('{"extra": ' + '{"a": ' * 120 + "1" + "}" * 121, "deeper than 100 levels"),
        ("9" * 5000, "a number too long"),
    ],
)
def test_what_is_not_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(CaseError, match=message):
        read_expected(text, Product, "lamp.json")


def test_all_problems_are_named_at_once() -> None:
    text = '{"nam": "x", "price": "much", "maker": {"country": "FR"}, "tags": [{"$any_of": [1, 2]}]}'
    assert [line.split(": ")[1] for line in lines(text)] == ["nam", "price", "maker.country", "tags[0]", "tags[0]"]


@pytest.mark.parametrize("model", [Product, Closed])
@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"name": "Lamp"},
        {"unitPrice": 3},
        {"price": 3, "maker": {"country": "AT"}},
        {"maker": {"name": {"$any_of": ["A", "B"]}}, "price": {"$ignore": True}},
        {"tags": [{"$any_of": ["a", "b"]}, {"$ignore": True}, "c"]},
        {"tags": {"$any_of": [[], ["a"]]}},
        {"extra": {"$ref": 1, "any": [{"key": None}]}},
        {"firstTag": "a"},
        {"first": "a"},
        {"name": "Lamp", "price": 1, "allTags": ["a", "b"]},
        {"$any_of": [{"name": "A"}, {"name": "B", "tags": ["x"]}]},
        {"$ignore": True},
    ],
)
def test_what_can_be_meant_is_taken_as_it_is(expected: dict[str, Any], model: type[BaseModel]) -> None:
    assert read_expected(json.dumps(expected), model, "lamp.json") == expected


class Normalised(BaseModel):
    currency: str
    name: str = ""

    @field_validator("currency")
    @classmethod
    def upper(cls, value: str) -> str:
        return value.upper() + "!"


class Renamed(BaseModel):
    name: str

    @model_validator(mode="before")
    @classmethod
    def rename(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {"name": value["oldName"]} if "oldName" in value else value


class Rows(RootModel[list[Maker]]):
    pass


@pytest.mark.parametrize(
    ("expected", "model"),
    [
        ({"currency": "eur"}, Normalised),
        ({"currency": {"$any_of": ["eur", "usd"]}}, Normalised),
        ({"oldName": "x"}, Renamed),
        ([{"name": "A"}, {"country": "AT"}], Rows),
    ],
)
def test_a_class_that_normalises_or_renames_is_no_problem(expected: Any, model: type[BaseModel]) -> None:
    check_expected(expected, model, "lamp.json")


class Stamped(BaseModel):
    name: str
    stamp: uuid.UUID = Field(default_factory=uuid.uuid4)


class StampedIgnored(Stamped):
    stamp: Annotated[uuid.UUID, Ignore] = Field(default_factory=uuid.uuid4)


class Strict(BaseModel):
    name: Annotated[str, Compare(lambda expected, actual: 0.5)]


class Keyed(BaseModel):
    rows: Annotated[list[Maker], Key("name")]


@pytest.mark.parametrize(
    ("expected", "model", "place"),
    [
        ({"name": "x"}, Stamped, "stamp: even a perfect reply scores 50.0 of 100"),
        ({"name": {"$any_of": ["x", "y"]}}, Stamped, "stamp: even a perfect reply scores 50.0 of 100"),
        ({"name": "x"}, Strict, "name: even a perfect reply scores 50.0 of 100"),
        ({"rows": [{"country": "AT"}]}, Keyed, "rows[0].country: even a perfect reply scores 0.0 of 100"),
    ],
)
def test_if_a_perfect_reply_cannot_score_100_the_case_says_so(
    expected: Any, model: type[BaseModel], place: str
) -> None:
    assert lines(json.dumps(expected), model)[0].startswith(f"lamp.json: {place}")


def test_what_differs_each_time_can_be_left_out() -> None:
    check_expected({"name": "x", "stamp": {"$ignore": True}}, Stamped, "lamp.json")
    check_expected({"name": "x"}, StampedIgnored, "lamp.json")


class Broken(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def fail(cls, value: str) -> str:
        raise LookupError(value)


class BrokenCompare(BaseModel):
    name: Annotated[str, Compare(lambda expected, actual: expected / actual)]


@pytest.mark.parametrize(("model", "what"), [(Broken, "LookupError: x"), (BrokenCompare, "TypeError")])
def test_code_of_the_class_that_breaks_is_a_warning(model: type[BaseModel], what: str) -> None:
    with pytest.warns(UserWarning, match=rf"lamp\.json: .* raised {what}"):
        read_expected('{"name": "x"}', model, "lamp.json")


def test_get_test_cases_may_give_objects_that_are_no_json() -> None:
    with pytest.raises(CaseError, match=r"case 'x': extra\.when: found a date, expected a JSON value"):
        check_expected({"extra": {"when": date(2024, 1, 5)}}, Product, "model.py, case 'x'")


@settings(deadline=None, derandomize=True, database=None)
@given(st.builds(Maker, name=st.text()), st.lists(st.text(), max_size=4), st.integers())
def test_what_a_class_dumps_is_taken_whole_or_in_part(maker: Maker, tags: list[str], seed: int) -> None:
    product = Product(name="x", unitPrice=1, maker=maker, tags=tags)
    whole = product.model_dump(mode="json", exclude={"title"})
    chance = random.Random(seed)
    part = {key: value for key, value in whole.items() if chance.random() < 0.5}
    check_expected(whole, Product, "lamp.json")
    check_expected(part, Product, "lamp.json")


NAMES = ["name", "unitPrice", "maker", "tags", "title", "$any_of", "$ignore"]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, derandomize=True, database=None)
@given(st.text(max_size=20) | st.dictionaries(st.sampled_from(NAMES), JSON_VALUES).map(json.dumps))
def test_any_text_is_expected_json_or_a_case_error(text: str) -> None:
    with contextlib.suppress(CaseError):
        expected = read_expected(text, Product, "lamp.json")
        assert compare(expected, None, Product).accuracy in (0, 100)
