"""Replies as models write them, and what a person is told about the ones that cannot be used."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, field_validator

from llm_tester.errors import UnusableReplyError
from llm_tester.runs.extraction import Extraction, extract, parse_reply

WANTED = {"name": "Ada", "tags": ["a", "b"], "salary": {"min": 1}}
PLAIN = json.dumps(WANTED)
INDENTED = json.dumps(WANTED, indent=2)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(PLAIN, id="plain"),
        pytest.param(f"\ufeff \n{INDENTED}\n", id="byte order mark and white space"),
        pytest.param(f"```json\n{INDENTED}\n```", id="fenced"),
        pytest.param(f"```\n{PLAIN}```", id="fenced without a language"),
        pytest.param(f"Here it is:\n\n```json\n{INDENTED}\n```\nAnything else?", id="fence in prose"),
        pytest.param(f"I found {PLAIN}, I hope.", id="in prose"),
        pytest.param(f'An example is {{"name": "x"}} and the answer {PLAIN}', id="longest wins"),
        pytest.param(f"Replace {{name}} and {{ these }}: {PLAIN} {{", id="braces in prose"),
        pytest.param(f"See [1] and [the docs](x): {PLAIN}", id="brackets in prose"),
        pytest.param(f'The "{{" opens, {{"}} closes: {PLAIN}', id="quoted braces in prose"),
        pytest.param(f'Like {{"name": ...}}, so {PLAIN}', id="a sketch before"),
        pytest.param(f'Like {{"name": ..., so {PLAIN}', id="an open sketch before"),
        pytest.param(f"{PLAIN} and then {{", id="a brace after"),
        pytest.param(f'{PLAIN} {{"x": [', id="shorter and cut after"),
    ],
)
def test_the_object_is_found(reply: str) -> None:
    assert parse_reply(reply) == WANTED


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ("{}", {}),
        ('{"a": 1, "a": 2}', {"a": 2}),
        (r'{"a": "} \" {", "b": "é\u00e9"}', {"a": '} " {', "b": "éé"}),
        ('first {"a": 1}, then {"b": 2}', {"a": 1}),
        ('{"a": [{"b": {"c": []}}]}', {"a": [{"b": {"c": []}}]}),
    ],
)
def test_what_json_means_is_kept(reply: str, wanted: dict[str, Any]) -> None:
    assert parse_reply(reply) == wanted


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (r'{"a": [{"\ud83d": 1}]}', r"a\[0\]: found the key '\\ud83d', which is no text"),
        (r'{"a": "\udc00"}', "half a surrogate pair"),
        (r'{"\udc00": 1}', r"unusable: \(the whole\): found the key"),
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("```json\n```", "is empty"),
        ("I cannot\ndo {that}.", r"no JSON object .* starts with 'I cannot\\ndo {that}.'"),
        ("x" * 500, f"starts with '{'x' * 80}'"),
        ('{"a": "b', "cut off"),
        ('{"a": [1, 2', "cut off"),
        ('{"a": {"b": 1}', "cut off"),
        ('{"a": {"b": 1}, "c": tru', "cut off"),
        ('{"a": "\\u12', "cut off"),
        ("{", "cut off"),
        ('{"na', "cut off"),
        ('Here: ```json\n{"name": "Ada", "list": [{"x": 1}, {"y": ', "cut off"),
        ('For example {"a": 1}: {"name": "Ada", "list": [1, 2, 3', "cut off"),
        ('[{"a": 1}, {"b"', "cut off"),
        ('{"name": "Ada", "salary": {"min": 1},}', "broken: .* near '.*min.*'"),
        ('{"name": \'Ada\', "salary": {"min": 1}}', "broken: Expecting value"),
        ('{"name": "two\nlines", "salary": {"min": 1}}', "broken: Invalid control character"),
        ('{"size": "5" disk", "salary": {"min": 1}}', "broken: Expecting ',' delimiter"),
        ('Here:\n```json\n{"size": "5" disk", "salary": {"min": 1}}\n```', "broken: Expecting ',' delimiter"),
        ("{'name': 'Ada'}", "no JSON object"),
        ("[1, 2]", r"a list \(2 items\)"),
        ('```json\n[{"a": 1}]\n```', r"a list \(1 item\)"),
        ('These are they: [{"a": 1}, {"a": 2}].', r"a list \(2 items\)"),
        ('"text"', 'it is "text"'),
        ('"{\\"a\\": 1}"', "it is "),
        ("42", "it is 42"),
        ("null", "it is null"),
        ('{"a": NaN}', "NaN"),
        ('{"a": [-Infinity]}', "Infinity"),
        ('{"a": 1e999}', "a: found inf; JSON has no NaN, no Infinity and no number as large as this"),
        (f'{{"a": {"9" * 5000}}}', "too long"),
        ('{"a":' * 200 + "1" + "}" * 200, "deeper than 100 levels"),
        ('{"a":' * 100_000, "too deeply"),
        ("[" * 100_000, "too deeply"),
    ],
)
def test_an_unusable_reply_says_why(reply: str, message: str) -> None:
    with pytest.raises(UnusableReplyError, match=message):
        parse_reply(reply)


@pytest.mark.parametrize(
    "piece",
    [
        "{",
        "{ ",
        '{"',
        '{"a',
        '{"k" ',
        '{"a":x',
        '{"a":[{"b":"x",',
        '{"a":}',
        '{"\\"',
        '"\\"',
        '{"a":"\\"',
        "[{",
        "a {b} ",
        "a [1 ",
        '["a", ',
        "[t",
    ],
)
@pytest.mark.parametrize("any_value", [False, True], ids=["object", "any value"])
def test_a_long_reply_full_of_braces_ends(piece: str, any_value: bool) -> None:
    # Quadratic time would turn these into minutes to hours.
    with pytest.raises(UnusableReplyError):
        parse_reply(piece * (2_000_000 // len(piece)), any_value=any_value)


def test_an_object_behind_much_prose_is_found() -> None:
    assert parse_reply("prose {x} " * 200_000 + PLAIN) == WANTED


class Salary(BaseModel):
    min: float
    max: float | None = None


class Job(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str
    start: date | None = None
    salary: Salary
    skills: list[str] = []


def test_valid_data_is_the_json_mode_dump() -> None:
    result = extract('{"title": "Nurse", "start": "2024-01-05", "salary": {"min": "1.5"}}', Job)
    assert result.problem is None
    assert result.problem is None
    assert result.data == {
        "title": "Nurse",
        "start": "2024-01-05",
        "salary": {"min": 1.5, "max": None},
        "skills": [],
    }


def test_a_strict_model_takes_what_json_can_say() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)

        day: date
        price: Decimal

    assert extract('{"day": "2024-01-05", "price": "39.90"}', Strict).data == {"day": "2024-01-05", "price": "39.90"}


def test_every_wrong_field_is_named_with_what_was_found_and_expected() -> None:
    reply = {"start": "soon", "salary": {"min": "much"}, "skills": ["a", {"name": "b"}], "colour": "red"}
    result = extract(json.dumps(reply), Job)
    assert result.problem is not None
    assert result.data == reply
    assert (result.problem or "").splitlines() == [
        "The reply does not fit Job:",
        "- title: missing, and required",
        '- start: found "soon", expected a valid date or datetime, input is too short',
        '- salary.min: found "much", expected a valid number, unable to parse string as a number',
        "- skills[1]: found an object, expected a valid string",
        '- colour: found "red", expected no such field',
    ]


def test_many_problems_are_cut() -> None:
    reply = {"title": "Nurse", "salary": {"min": 1}, "skills": [None] * 1000}
    lines = (extract(json.dumps(reply), Job).problem or "").splitlines()
    assert len(lines) == 12
    assert lines[-1] == "and 990 more"


def test_a_long_value_is_cut() -> None:
    assert len(extract(json.dumps({"title": "x", "salary": "y" * 10_000}), Job).problem or "") < 250


@pytest.mark.parametrize(("reply", "message"), [("", "empty"), ("no", "no JSON object"), ('{"title": "N', "cut off")])
def test_an_unusable_reply_is_a_result(reply: str, message: str) -> None:
    result = extract(reply, Job)
    assert result.data is None
    assert result.problem is not None
    assert message in (result.problem or "")


class Judged(BaseModel):
    kind: str

    @field_validator("kind")
    @classmethod
    def judge(cls, kind: str) -> str:
        if kind == "value":
            raise ValueError("not such a value")
        assert kind != "assertion", "not such an assertion"
        raise KeyError(kind)


@pytest.mark.parametrize("kind", ["value", "assertion"])
def test_a_validator_may_refuse(kind: str) -> None:
    assert f"not such a{'n' if kind == 'assertion' else ''} {kind}" in (
        extract(json.dumps({"kind": kind}), Judged).problem or ""
    )


def test_half_a_character_is_a_problem_not_a_crash() -> None:
    result = extract(r'{"title": "\ud800", "salary": {"min": 1}}', Job)
    assert result.problem is not None
    (result.problem or "").encode("utf-8")


@pytest.mark.parametrize(
    "error", [KeyError("bug"), ZeroDivisionError("by zero"), RecursionError("deep"), SystemExit(3)]
)
def test_whatever_a_validator_raises_makes_the_reply_invalid(error: BaseException) -> None:
    class Broken(BaseModel):
        kind: str

        @field_validator("kind")
        @classmethod
        def fail(cls, kind: str) -> str:
            raise error

    result = extract('{"kind": "bug"}', Broken)
    assert result.data == {"kind": "bug"}
    assert f"does not fit Broken: a validator or serializer raised {type(error).__name__}: {error}" in str(
        result.problem
    )
    assert f"{__file__}:" in str(result.problem)


def test_an_interrupt_in_a_validator_is_an_interrupt() -> None:
    class Slow(BaseModel):
        kind: str

        @field_validator("kind")
        @classmethod
        def wait(cls, kind: str) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract('{"kind": "slow"}', Slow)


def test_data_that_cannot_be_dumped_is_a_problem() -> None:
    class Opaque(BaseModel):
        thing: Any = object()

    assert "PydanticSerializationError" in str(extract("{}", Opaque).problem)


def test_data_goes_by_the_names_of_fields_not_by_their_aliases() -> None:
    class Aliased(BaseModel):
        model_config = ConfigDict(serialize_by_alias=True)
        unit_price: float = Field(alias="unitPrice")

    assert extract('{"unitPrice": 3}', Aliased).data == {"unit_price": 3.0}


class Tags(RootModel[list[str]]):
    pass


class Jobs(RootModel[list[Job]]):
    pass


class Answer(RootModel[int]):
    pass


@pytest.mark.parametrize(
    ("reply", "model", "data"),
    [
        ('["a", "b"]', Tags, ["a", "b"]),
        ("[]", Tags, []),
        ('```json\n["a"]\n```', Tags, ["a"]),
        ('See [the docs] and [x](y). They are ["a", "b"].', Tags, ["a", "b"]),
        ("42", Answer, 42),
        ("```\n42\n```", Answer, 42),
    ],
)
def test_a_root_model_takes_a_list_or_a_scalar(reply: str, model: type[BaseModel], data: Any) -> None:
    assert extract(reply, model) == Extraction(data=data, problem=None)


def test_a_list_of_objects_is_found_in_prose() -> None:
    job = '{"title": "Nurse", "salary": {"min": 1}}'
    reply = f"Here they are: [{job}, {job}] as asked."
    assert [job["title"] for job in extract(reply, Jobs).data] == ["Nurse", "Nurse"]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ('["a", 7]', "[1]: found 7, expected a valid string"),
        ('{"tags": ["a"]}', "(the whole object): found an object, expected a valid array"),
        ('["a", "b', "cut off"),
        ("[NaN]", "NaN"),
        ("none", "no JSON"),
    ],
)
def test_a_root_model_says_what_is_wrong(reply: str, message: str) -> None:
    assert message in str(extract(reply, Tags).problem)


def test_an_extraction_cannot_be_changed() -> None:
    result = Extraction(data={}, problem=None)
    with pytest.raises(ValidationError):
        result.problem = "no"


class Strict(BaseModel, strict=True):
    when: date | None = None
    inner: "list[Strict] | dict[str, Decimal] | None" = None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["when", "inner", "a"]), inner),
    max_leaves=8,
)
REPLIES = (
    st.text()
    | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))
    | st.text(st.sampled_from('{}[]",:\\ \n`ud80019-.eE'))
    | st.tuples(st.text(max_size=3), JSON_VALUES.map(json.dumps), st.text(max_size=3)).map("".join)
)


@settings(deadline=None, derandomize=True, database=None)
@given(reply=REPLIES, model_class=st.sampled_from([Strict, Tags, Jobs]))
@example(reply='{"when": ' + "9" * 5000 + "}", model_class=Strict)
@example(reply="[" * 100_000, model_class=Tags)
def test_any_reply_is_data_or_has_a_problem(reply: str, model_class: type[BaseModel]) -> None:
    found = extract(reply, model_class)
    assert found.problem or found.data is not None
    json.dumps(found.data)
