"""Expected JSON as its class dumps a reply, so that a date or an enum looks the same on both sides.

Two objects in it are directives: `{"$any_of": [...]}` accepts several values, `{"$ignore": true}` leaves a value out.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ._shapes import Shape, field_names
from .extraction import error_lines, segment, with_place

__all__ = ["IGNORE", "Problem", "choices", "in_form", "is_ignored", "is_nothing", "perfect"]

IGNORE = {"$ignore": True}

_Field = tuple[type[BaseModel], str] | None
_MISSING = object()


class Problem(NamedTuple):
    """Why a class rejects a value.

    Attributes:
        place: the path of the value in the expected JSON.
        why: what was found and expected.
        is_of_class: whether the code of the class failed. The value may then be right.
    """

    place: str
    why: str
    is_of_class: bool = False

    def __str__(self) -> str:
        return f"{self.place.removeprefix('.') or '(the whole)'}: {self.why}"


class _RejectedError(Exception):
    """A class rejects a value, with the path and text of each reason; without reasons if only fields are missing."""

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
    """Whether a value is None or empty, which is pydantic's default for what a reply leaves out."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, dict):
        return all(map(is_nothing, value.values()))
    return all(map(is_nothing, value)) if isinstance(value, list) else value is None


def in_form(
    value: Any, shape: Shape, problems: list[Problem] | None = None, path: str = "", field: _Field = None
) -> Any:
    """Expected JSON as its class would dump it.

    Defaults are filled in. A required field that is left out is ignored, because a reply cannot leave it out. If an
    object is partial or has a directive in it, each of its fields is validated separately.

    Args:
        value: the expected JSON, whole or partial.
        shape: what the class says about it.
        problems: a list to which the values are added that the class rejects.
        path: the path of the value in the expected JSON.
        field: the pydantic class and the name of the field that the value is for.

    Returns:
        JSON with directives. Values that the class rejects stay as they are.
    """
    problems = [] if problems is None else problems
    if is_ignored(value):
        return value
    if (options := choices(value)) is not None:
        return {"$any_of": [in_form(option, shape, problems, path, field) for option in options]}
    if not _has_directive(value):
        try:
            return _dumped(value, shape, field)
        except _RejectedError as error:
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
    # In the order of the class, so that the same data always gives the same list of fields.
    for name in [name for name in shape.fields if name not in found]:
        found[name] = _default(fields[name], shape.child(name)) if name in fields else dict(IGNORE)
    return found


def _dumped(value: Any, shape: Shape, field: _Field) -> Any:
    """A value without directives as its class dumps it.

    Raises:
        _RejectedError: the class rejects it, or fields are missing.
    """
    try:
        if field and (found := _assigned(*field, value)) is not _MISSING:
            return found
        adapter = _adapter(shape)
        instance = adapter.validate_json(json.dumps(value), by_alias=True, by_name=True)
        return adapter.dump_python(instance, mode="json", by_alias=False, warnings=False)
    except ValidationError as error:
        raise _RejectedError(error_lines(error, leave_out=("missing",))) from None
    except _RejectedError:
        raise
    except PydanticUserError:  # a type that only the class around it can validate
        return value
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a validator of the user's may raise anything
        reason = f"a validator or serializer raised {with_place(error)}"
        raise _RejectedError([("", reason)], is_of_class=True) from None


def _assigned(model: type[BaseModel], name: str, value: Any) -> Any:
    """The value as the field validators and serializers of the class make it; `_MISSING` if they cannot.

    Raises:
        _RejectedError: a validator of the user rejects the value.
    """
    try:
        instance = model.model_construct()
        model.__pydantic_validator__.validate_assignment(instance, name, value, strict=False)
        return instance.model_dump(mode="json", include={name}, by_alias=False, warnings=False)[name]
    except ValidationError as error:
        judged = {detail["type"] for detail in error.errors() if detail["loc"][:1] == (name,)}
        if judged & {"value_error", "assertion_error"}:
            lines = [(place.removeprefix(f".{name}"), why) for place, why in error_lines(error, leave_out=("missing",))]
            raise _RejectedError(lines) from None
        return _MISSING
    except (Exception, SystemExit):  # noqa: BLE001 - a validator of the whole object needs the other fields
        return _MISSING


def _default(field: FieldInfo, shape: Shape) -> Any:
    """What the class dumps for a field that is left out; ignored if the field is required."""
    if field.is_required():
        return dict(IGNORE)
    try:
        default = field.get_default(call_default_factory=True, validated_data={})
        return _adapter(shape).dump_python(default, mode="json", by_alias=False, warnings=False)
    except Exception:  # noqa: BLE001 - a factory of the user's may need the other fields
        return dict(IGNORE)


@lru_cache(maxsize=2048)
def _adapter(shape: Shape) -> TypeAdapter[Any]:
    return TypeAdapter(shape.annotation)


def _has_directive(value: Any) -> bool:
    if is_ignored(value) or choices(value) is not None:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_has_directive, inner))


def perfect(value: Any) -> Any:
    """A reply that is right: the first of the values of each `$any_of`, without what is ignored."""
    if (options := choices(value)) is not None:
        return perfect(options[0])
    if isinstance(value, dict):
        return {key: perfect(item) for key, item in value.items() if not is_ignored(item)}
    return [perfect(item) for item in value if not is_ignored(item)] if isinstance(value, list) else value
