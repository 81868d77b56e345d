"""Reads expected JSON, and checks it against the class of its case before any paid call."""

import json
import warnings
from collections.abc import Iterator, Mapping
from itertools import starmap
from typing import Any

from pydantic import BaseModel

from ..errors import CaseError, near, suggest
from ._forms import Problem, choices, in_form, is_ignored, perfect
from ._shapes import Shape, field_names, shape_of
from .extraction import not_json, segment
from .scoring import compare_forms

__all__ = ["JsonObject", "check_expected", "read_expected", "read_json_text"]

_DIRECTIVES = ("$any_of", "$ignore")


def read_expected(text: str, model_class: type[BaseModel], place: str) -> Any:
    """Reads the expected JSON of a case, and checks it.

    Args:
        text: the JSON.
        model_class: the class of the case.
        place: the file, for messages.

    Returns:
        The value, with its directives.

    Raises:
        CaseError: it is not JSON, or `check_expected` finds a problem.
    """
    value = read_json_text(text, place)
    check_expected(value, model_class, place)
    return value


def read_json_text(text: str, place: str, line: int = 1) -> Any:
    """Reads JSON of a case, with what `check_expected` needs to find duplicate keys.

    Args:
        text: the JSON.
        place: the file, for messages.
        line: the line in which it begins.

    Raises:
        CaseError: it is not JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=JsonObject)
    except json.JSONDecodeError as error:
        at = f"{place}, line {line + error.lineno - 1}, column {error.colno}"
        raise CaseError(f"{at}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise CaseError(f"{place}: nested too deeply to be read") from error
    except ValueError as error:  # Python refuses integers of more than 4,300 digits
        raise CaseError(f"{place}: has a number too long to be read: {error}") from error


def check_expected(value: Any, model_class: type[BaseModel], place: str) -> None:
    """Checks that expected JSON fits its class, and that a perfect reply scores 100.

    It may leave out fields, required ones too, and use their names or their aliases.

    Args:
        value: the expected JSON.
        model_class: the class of the case.
        place: the file, for messages.

    Raises:
        CaseError: duplicate or unknown keys, NaN, Infinity, malformed directives, values that the class rejects, or a
            perfect reply that cannot score 100; each with its path in the JSON. If the code of the class fails, this
            is only a warning, because the JSON may be right.
    """
    shape = shape_of(model_class)
    problems = list(starmap(Problem, not_json(value)))
    if not problems:
        problems = [*_wrong_keys(value, shape, "")]
        named = {problem.place for problem in problems}
        rejected: list[Problem] = []
        form = in_form(value, shape, rejected)
        problems += [problem for problem in rejected if problem.place not in named]
    if not problems:
        problems = [*_out_of_reach(form, perfect(in_form(value, shape)), shape)]
    for problem in problems:
        if problem.is_of_class:
            warnings.warn(f"{place}: {problem}; no reply like it can be valid", stacklevel=2)
    if lines := [f"{place}: {problem}" for problem in problems if not problem.is_of_class]:
        raise CaseError("\n".join(lines))


def _out_of_reach(form: Any, reply: Any, shape: Shape) -> Iterator[Problem]:
    """What is wrong even in a perfect reply: values that the class changes each time, such as a new id."""
    try:
        compared = compare_forms(form, reply, shape)
    except CaseError as error:
        yield Problem("", str(error), is_of_class=True)
        return
    for field in compared.fields:
        if field.score < 1:
            yield Problem(
                field.path,
                f"even a perfect reply scores {compared.accuracy:.1f} of 100: {field.expected!r:.40} against "
                f"{field.actual!r:.40} is {field.note} (rule: {field.rule}); leave it out with "
                '{"$ignore": true} or mark the field with Ignore',
            )


class JsonObject(dict[str, Any]):
    """A JSON object that knows which of its keys are duplicates."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = [key for key, _ in pairs]
        self.duplicates = [key for key in self if keys.count(key) > 1] if len(self) < len(keys) else []


def _wrong_keys(value: Any, shape: Shape, path: str) -> Iterator[Problem]:
    """Keys that no class reads, and misspelled directives."""
    if is_ignored(value):
        return
    if (options := choices(value)) is not None:
        for option in options:
            yield from _wrong_keys(option, shape, path)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _wrong_keys(item, shape.item(i), f"{path}[{i}]")
    elif isinstance(value, Mapping):
        known = _known_keys(shape)
        for key, item in value.items():
            place = path + segment(key)
            if (known is None and _is_directive(key, shape)) or (known is not None and key not in known):
                yield Problem(place, _unknown(key, known or {}, shape))
            else:
                yield from _wrong_keys(item, shape.child(known.get(key, key) if known else key), place)


def _known_keys(shape: Shape) -> Mapping[str, str] | None:
    """The keys that an object may have, each with its field; None if any key may be right."""
    takes_any = any(
        model.model_config.get("extra") == "allow"
        # Such a validator gets the object before validation, and may read any key.
        or any(found.info.mode != "after" for found in model.__pydantic_decorators__.model_validators.values())
        for model in shape.models
    )
    if takes_any or not shape.fields or shape.has_mapping:
        return None
    names = {name: name for name in shape.fields}
    for model in shape.models:
        names |= field_names(model)
        names = {key: name for key, name in names.items() if key not in model.model_computed_fields}
    return names


def _is_directive(key: str, shape: Shape) -> bool:
    """Whether a key can only be a misspelled directive, because the class has no object at this place."""
    is_open = Any in shape.types or shape.models or shape.fields or shape.has_mapping
    return not is_open and key.startswith("$") and bool(near(key, _DIRECTIVES))


def _unknown(key: str, known: Mapping[str, str], shape: Shape) -> str:
    if key in _DIRECTIVES:
        return f'a malformed {key}; it is the only key: {{"$any_of": [values]}} or {{"$ignore": true}}'
    if key in shape.fields:
        return f"the class computes {key!r}; remove it"
    return f"unknown key {key!r}; {suggest(key, _DIRECTIVES if key.startswith('$') else known)}"
