"""The mock: deterministic, valid by itself, or as scripted."""

import datetime
import enum
import uuid
from collections.abc import Callable
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, Field, create_model, field_validator

from llm_tester import ProviderManager, register_mock_response
from llm_tester.errors import RateLimitError, ServerError, UnusableReplyError
from llm_tester.llms.llm_registry import get_llm_provider, reset_provider_cache

Write = Callable[..., Path]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    name: str = Field(min_length=3)
    count: int = Field(ge=2, le=9)


class Everything(BaseModel):
    text: str
    number: float
    day: datetime.date
    moment: datetime.datetime
    colour: Colour
    maybe: int | None
    parts: list[Part]
    tags: dict[str, str]


class Unmakeable(BaseModel):
    code: str

    @field_validator("code")
    @classmethod
    def _ends_in_x(cls, value: str) -> str:
        if not value.endswith("-x"):
            raise ValueError("must end in -x")
        return value


def test_it_answers_with_a_valid_instance_the_same_each_time() -> None:
    provider = get_llm_provider("mock")
    first = provider.get_response("Extract.", "A source.", model_class=Everything)
    assert Everything.model_validate_json(first[0])
    assert provider.get_response("Extract.", "A source.", model_class=Everything) == first
    assert first[1].total_cost == 0.0
    assert first[1].prompt_tokens > 0


class Tree(BaseModel):
    name: str
    parent: "Tree | None"
    children: list["Tree"]


class Circle(BaseModel):
    shape: Literal["circle"] = "circle"
    radius: float = Field(gt=0, lt=1)


class Square(BaseModel):
    shape: Literal["square"] = "square"
    side: int


class Drawing(BaseModel):
    first: Circle | Square = Field(discriminator="shape")
    all: dict[str, Annotated[Circle | Square, Field(discriminator="shape")]]


TYPES = [
    str, int, float, bool, bytes, Any, Decimal, Colour, Literal["x", 2], datetime.date, datetime.time, uuid.UUID, Part,
    datetime.datetime, datetime.timedelta, AnyUrl, IPv4Address, PurePath, int | None, tuple[int, str], tuple[int, ...],
    Tree, Circle | Square, Annotated[set[int], Field(min_length=3)], Annotated[set[str], Field(min_length=2)],
    Annotated[list[Part], Field(min_length=2, max_length=3)], Annotated[list[int], Field(max_length=0)],
    Annotated[str, Field(min_length=4, max_length=4)], Annotated[str, Field(max_length=0)],
    Annotated[dict[str, int], Field(min_length=2)], Annotated[int, Field(gt=3)], Annotated[int, Field(lt=-3)],
    Annotated[int, Field(le=-3, multiple_of=5)], Annotated[int, Field(ge=4, multiple_of=5)],
    Annotated[float, Field(gt=3, lt=3.5)], Annotated[float, Field(le=-0.5)], Annotated[float, Field(ge=0.5)],
]  # fmt: skip


@given(kinds=st.lists(st.sampled_from(TYPES), min_size=1, max_size=6), wrap=st.sampled_from([None, list, "optional"]))
def test_it_makes_up_an_instance_of_any_class(kinds: list[Any], wrap: Any) -> None:
    """It needs no library for that, and knows every type and constraint that pydantic writes into a schema."""
    wrapped = [kind if wrap is None else list[kind] if wrap is list else kind | None for kind in kinds]
    model = create_model("Made", **{f"field_{number}": (kind, ...) for number, kind in enumerate(wrapped)})
    text, _ = get_llm_provider("mock").get_response("Extract.", "A source.", model_class=model)
    assert model.model_validate_json(text)


@pytest.mark.parametrize("model", [Tree, Drawing])
def test_it_makes_up_an_instance_of_a_class_that_holds_itself_or_a_tagged_union(model: type[BaseModel]) -> None:
    text, _ = get_llm_provider("mock").get_response("Extract.", "A source.", model_class=model)
    assert model.model_validate_json(text)


@pytest.mark.parametrize("name", ["mock_anything", "mock_of_my_own", "mock_2"])
def test_mock_anything_is_the_mock_under_that_name(name: str) -> None:
    manager = ProviderManager([name])
    text, usage = manager.get_response(name, "a", "b", model_class=Part)
    assert Part.model_validate_json(text)
    assert (usage.provider, usage.total_cost) == (name, 0.0)


def test_an_entry_named_mock_overrides_the_mock_or_another_type(write_config: Write) -> None:
    write_config(
        {"mock_slow": {"mock": {"replies": {"*": "late"}}}, "mock_groq": {"provider_type": "groq", "models": ["m"]}}
    )
    slow, groq = get_llm_provider("mock_slow"), get_llm_provider("mock_groq")
    assert slow.get_response("a", "b")[0] == "late"
    assert [model.name for model in groq.config.models] == ["m"]
    assert get_llm_provider("mocking") is None


def test_registered_replies_hold_for_every_mock_until_the_reset() -> None:
    register_mock_response("lamp", '{"name": "Lamp"}')
    register_mock_response("*", {"name": "anything"})
    register_mock_response("part", Part(name="bolt", count=4))
    register_mock_response("down", ConnectionResetError("gone"))
    manager = ProviderManager(["mock", "mock_anything"])
    assert manager.get_response("mock", "Find the lamp.", "x")[0] == '{"name": "Lamp"}'
    assert manager.get_response("mock_anything", "a", "A part.")[0] == '{"name":"bolt","count":4}'
    assert manager.get_response("mock", "a", "b")[0] == '{"name": "anything"}'
    reset_provider_cache()
    assert ProviderManager(["mock"]).get_response("mock", "a", "b")[0] == "mock reply"


def test_a_script_in_the_config_gives_replies_and_usage(write_config: Write) -> None:
    replies = {"lamp": {"name": "Lamp"}, "*": "plain"}
    write_config(
        {"m": {"provider_type": "mock", "models": ["m"], "mock": {"replies": replies, "usage": {"prompt_tokens": 7}}}}
    )
    provider = get_llm_provider("m")
    assert provider.get_response("The lamp?", "x")[0] == '{"name": "Lamp"}'
    text, usage = provider.get_response("a", "b")
    assert (text, usage.prompt_tokens, usage.total_cost) == ("plain", 7, None)


def test_a_scripted_error_passes_after_its_times(write_config: Write) -> None:
    script = {"error": 429, "error_times": 1}
    write_config({"m": {"provider_type": "mock", "models": ["m"], "max_attempts": 1, "mock": script}})
    provider = get_llm_provider("m")
    with pytest.raises(RateLimitError) as caught:
        provider.get_response("a", "b")
    assert caught.value.status_code == 429
    assert provider.get_response("a", "b")[0] == "mock reply"


def test_a_scripted_error_without_times_stays(write_config: Write) -> None:
    write_config({"m": {"provider_type": "mock", "models": ["m"], "max_attempts": 1, "mock": {"error": 503}}})
    provider = get_llm_provider("m")
    for _ in range(2):
        with pytest.raises(ServerError):
            provider.get_response("a", "b")


def test_a_class_that_cannot_be_made_up_asks_for_a_script() -> None:
    provider = get_llm_provider("mock")
    with pytest.raises(UnusableReplyError, match="register_mock_response"):
        provider.get_response("a", "b", model_class=Unmakeable)
