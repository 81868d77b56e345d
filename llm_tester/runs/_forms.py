"""Expected JSON in the form in which its class dumps a reply, so that both sides write a date or an enum alike.

Two objects in it are directives: `{"$any_of": [...]}` accepts several values, `{"$ignore": true}` leaves one out.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError

from ._shapes import Shape, field_names
from .extraction import error_lines, with_place

__all__ = ["IGNORE", "Problem", "choices", "in_form", "is_ignored", "is_nothing", "perfect", "segment"]

IGNORE = {"$ignore": True}

_Field = tuple[type[BaseModel], str] | None
_MISSING = object()


class Problem(NamedTuple):
    """Why a class does not take a value.

    Attributes:
        place: where the value is in the expected JSON.
        why: what was found and expected.
        is_of_class: whether the class's own code broke, so that the value may be right.
    """

    place: str
    why: str
    is_of_class: bool = False

    def __str__(self) -> str:
        return f"{self.place.removeprefix('.') or '(the whole)'}: {self.why}"


class _RefusedError(Exception):
    """A class refuses a value: with a place in it for each reason, or with none if the value is only not whole."""

    def __init__(self, reasons: list[tuple[str, str]], is_of_class: bool = False) -> None:
        super().__init__(reasons)
        self.reasons = reasons
        self.is_of_class = is_of_class


def choices(value: Any) -> list[Any] | None:
    """The values that a `$any_of` accepts; None for any other value."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(found := value.get("$any_of"), list) and found:
        return found
    return None


def is_ignored(value: Any) -> bool:
    """Whether a value is `{"$ignore": true}`."""
    return isinstance(value, dict) and len(value) == 1 and value.get("$ignore") is True


def is_nothing(value: Any) -> bool:
    """None, and text, lists and objects with nothing in them: pydantic's defaults for what a reply did not mention."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, dict):
        return all(map(is_nothing, value.values()))
    return all(map(is_nothing, value)) if isinstance(value, list) else value is None


def segment(key: str) -> str:
    """A key as a part of a path: `.name`, or `["a.b"]` for one that is no plain word."""
    return f".{key}" if key and not set(key) & set('.[]"') else f"[{json.dumps(key)}]"


def in_form(
    value: Any, shape: Shape, problems: list[Problem] | None = None, path: str = "", field: _Field = None
) -> Any:
    """Expected JSON as its class would dump it.

    What the class fills in by default is filled in. A required field that an object leaves out is ignored, because a
    reply cannot leave it out. If a part is not whole or holds a directive, each field in it is validated by itself.

    Args:
        value: the expected JSON, partial or whole.
        shape: what the class says about it.
        problems: takes what the class refuses.
        path: the value's place in the expected JSON.
        field: the pydantic class and the name of its field that the value is for.

    Returns:
        JSON with directives; what the class refuses stays as it is.
    """
    problems = [] if problems is None else problems
    if is_ignored(value):
        return value
    if (options := choices(value)) is not None:
        return {"$any_of": [in_form(option, shape, problems, path, field) for option in options]}
    if not _has_directive(value):
        try:
            return _dumped(value, shape, field)
        except _RefusedError as error:
            problems += [Problem(path + inner, why, error.is_of_class) for inner, why in error.reasons]
            if error.reasons or not isinstance(value, dict | list):
                return value
    if isinstance(value, list):
        return [in_form(item, shape.item(i), problems, f"{path}[{i}]") for i, item in enumerate(value)]
    return _object_in_form(value, shape, problems, path)


def _object_in_form(value: Mapping[str, Any], shape: Shape, problems: list[Problem], path: str) -> dict[str, Any]:
    shape = shape.narrowed(value)
    model = shape.models[0] if shape.models else None
    names = field_names(model) if model else {}
    fields = model.model_fields if model else {}
    found: dict[str, Any] = {}
    for key, item in value.items():
        if name := names.get(key, key):
            field = (model, name) if model and name in fields else None
            found[name] = in_form(item, shape.child(name), problems, path + segment(key), field)
    # The class's order, so that the same data always gives the same list of fields.
    for name in [name for name in shape.fields if name not in found]:
        found[name] = _default(model, name) if model and name in fields else dict(IGNORE)
    return found


def _dumped(value: Any, shape: Shape, field: _Field) -> Any:
    """A value without directives as its class dumps it.

    Raises:
        _RefusedError: the class refuses it, or it is not whole.
    """
    try:
        if field and (found := _assigned(*field, value)) is not _MISSING:
            return found
        adapter = _field_adapter(*field) if field else _adapter(shape)
        instance = adapter.validate_json(json.dumps(value), by_alias=True, by_name=True)
        return adapter.dump_python(instance, mode="json", by_alias=False, warnings=False)
    except ValidationError as error:
        raise _RefusedError(error_lines(error, leave_out=("missing",))) from None
    except _RefusedError:
        raise
    except PydanticUserError:  # a type that only the class around it can validate
        return value
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a validator of the user's may raise anything
        raise _RefusedError([("", f"a validator or serializer raised {with_place(error)}")], is_of_class=True) from None


def _assigned(model: type[BaseModel], name: str, value: Any) -> Any:
    """The value as the class's own field validators and serializers have it; `_MISSING` if they cannot say.

    Raises:
        _RefusedError: a validator of the user's refuses the value.
    """
    try:
        instance = model.model_construct()
        model.__pydantic_validator__.validate_assignment(instance, name, value, strict=False)
        return instance.model_dump(mode="json", include={name}, by_alias=False, warnings=False)[name]
    except ValidationError as error:
        judged = {detail["type"] for detail in error.errors() if detail["loc"][:1] == (name,)}
        if judged & {"value_error", "assertion_error"}:
            lines = [(place.removeprefix(f".{name}"), why) for place, why in error_lines(error, leave_out=("missing",))]
            raise _RefusedError(lines) from None
        return _MISSING
    except (Exception, SystemExit):  # noqa: BLE001 - a validator of the whole object misses the other fields
        return _MISSING


def _default(model: type[BaseModel], name: str) -> Any:
    """What the class dumps for a field that is not given; ignored if it has to be given."""
    if model.model_fields[name].is_required():
        return dict(IGNORE)
    try:
        default = model.model_fields[name].get_default(call_default_factory=True, validated_data={})
        return _field_adapter(model, name).dump_python(default, mode="json", by_alias=False, warnings=False)
    except Exception:  # noqa: BLE001 - a factory of the user's may need the other fields
        return dict(IGNORE)


@lru_cache(maxsize=2048)
def _adapter(shape: Shape) -> TypeAdapter[Any]:
    return TypeAdapter(shape.annotation)


@lru_cache(maxsize=2048)
def _field_adapter(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    field = model.model_fields[name]
    kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(kind)


def _has_directive(value: Any) -> bool:
    if is_ignored(value) or choices(value) is not None:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_has_directive, inner))


def perfect(value: Any) -> Any:
    """A reply that is right: the first of several values, and nothing of what is left out."""
    if (options := choices(value)) is not None:
        return perfect(options[0])
    if isinstance(value, dict):
        return {key: perfect(item) for key, item in value.items() if not is_ignored(item)}
    return [perfect(item) for item in value if not is_ignored(item)] if isinstance(value, list) else value
