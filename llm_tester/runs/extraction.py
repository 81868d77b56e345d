"""Extracts validated data from a model's reply: finds the JSON object, validates it and explains what is wrong."""

import json
import math
import re
from collections.abc import Collection, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from ..errors import UnusableReplyError
from ..usage import well_formed

__all__ = ["Extraction", "extract", "parse_reply"]

# Pydantic's own JSON parser stops at 200 levels and its serializer at 255; no document worth extracting gets near.
_MAX_DEPTH = 100
# Each JSONDecodeError counts the lines before it, so an unlimited number of them would be quadratic.
_MAX_BROKEN = 200
_MAX_PROBLEMS = 10
_MOST_BITS = 14_000  # Python writes integers of up to 4,300 digits

_STRING = r'"(?:[^"\\\n]|\\.)*+'
_TEXT = r'"(?:[^"\\]|\\.)*+"?'  # also over several lines, which models write although it is not JSON
# Where decoding is tried: at `{}`, `{"key":`, one of these cut off by the end of the text, or a list of objects. Other
# braces are prose. Possessive quantifiers keep both patterns linear.
_OBJECT = rf'\{{\s*+(?:\}}|\Z|{_STRING}(?:\Z|"\s*+(?::|\Z)))'
_START = re.compile(_OBJECT + r'|\[\s*+(?=\{\s*+["}])')
_ANY_START = re.compile(_OBJECT + r'|\[\s*+(?=[\[\]{"0-9tfn-]|\Z)')
_TOKEN = re.compile(rf"{_TEXT}|[{{}}\[\]]", re.DOTALL)
_FENCE = re.compile(r"\A```\w*\s*")
_DECODER = json.JSONDecoder()


class Extraction(BaseModel):
    """The data in a reply.

    Attributes:
        data: the JSON-mode dump of the validated instance, by the names of the fields, not their aliases. If it is
            invalid, the JSON of the reply; None if the reply has no JSON.
        problem: what is wrong, a line for each field; None if the reply is valid.
    """

    model_config = ConfigDict(frozen=True)

    data: Any
    problem: str | None


def parse_reply(text: str, *, any_value: bool = False) -> Any:
    """Find the JSON object in a reply: bare, in a code fence or in prose.

    It is the longest outermost object, and the first of several that are as long. The time is linear in the length of
    the text.

    Args:
        text: the reply as the model gave it.
        any_value: whether the JSON may be a list or a scalar. A scalar must be the whole reply, except for a fence.

    Returns:
        The object, with the last value of a duplicate key.

    Raises:
        UnusableReplyError: the reply is empty, or its JSON is missing, cut off, broken, an unwanted list or scalar,
            nested deeper than 100 levels, or has NaN, Infinity, a number too large to read or half a surrogate pair.
    """
    body = _FENCE.sub("", text.strip("\ufeff \t\r\n")).rstrip("` \t\r\n")
    if not body:
        raise UnusableReplyError("The reply is empty.")
    value = _longest_value(body, _ANY_START if any_value else _START)
    if not any_value and not isinstance(value, dict):
        raise UnusableReplyError(f"The reply should be one JSON object, but it is {_describe(value)}.")
    if problem := next(not_json(value), None):
        place, why = problem
        where = place.removeprefix(".") or "(the whole)"
        raise UnusableReplyError(f"The JSON in the reply is unusable: {where}: {why}.")
    return value


def extract(text: str, model_class: type[BaseModel], finish_reason: str | None = None) -> Extraction:
    """Parse a reply and validate it with a pydantic class.

    Validation is pydantic's JSON mode, so that a strict model takes a date from text as it does from any JSON.

    Args:
        text: the reply as the model gave it.
        model_class: the class to extract into.
        finish_reason: why the model stopped, as in `UsageData`. A refusal or a filtered reply is not valid, even if it
            has JSON.

    Returns:
        The data, or what is wrong with it. Because the reply was paid for, nothing is raised: not for an unusable
        reply, not for failed validation, and not for anything that a validator or serializer raises.
    """
    found = _extract(text, model_class)
    if finish_reason == "refusal":
        problem = f"The model refused: {text[:500]}" if text else "The model refused, without a word."
    elif finish_reason == "content_filter":
        problem = "The provider's content filter stopped the reply."
    elif finish_reason == "tool_calls" and not text:
        problem = "The model called a tool in place of a reply."
    elif finish_reason == "length" and found.problem:
        problem = f"{found.problem}\nthe reply was cut at the output limit (finish reason: length)"
    else:
        return found
    return found.model_copy(update={"problem": problem})


def _extract(text: str, model_class: type[BaseModel]) -> Extraction:
    try:
        found = parse_reply(text, any_value=issubclass(model_class, RootModel))
    except UnusableReplyError as error:
        return Extraction(data=None, problem=str(error))
    try:
        instance = model_class.model_validate_json(json.dumps(found))
        # By name, because scores and rules use the names of the fields.
        return Extraction(data=instance.model_dump(mode="json", by_alias=False), problem=None)
    except ValidationError as error:
        return Extraction(data=found, problem=_explain(error, model_class.__name__))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the class is the user's, and the reply is paid for
        problem = f"The reply does not fit {model_class.__name__}: a validator or serializer raised {with_place(error)}"
        return Extraction(data=found, problem=problem)


def _decode(body: str, start: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(body, start)
    except RecursionError as error:
        raise UnusableReplyError("The JSON in the reply is nested too deeply to be read.") from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # Python refuses integers of more than 4,300 digits, with a plain ValueError.
        raise UnusableReplyError(f"The JSON in the reply has a number too long to be read: {error}.") from error


def _longest_value(body: str, starts: re.Pattern[str]) -> Any:
    """The longest outermost object or list of objects, or the scalar or list that the whole body is."""
    if body[0] != "{":
        try:
            value, end = _decode(body, 0)
        except json.JSONDecodeError:
            end = -1
        if end == len(body):
            return value
    best: Any = None
    length = position = broken = 0
    closes = True  # until a search for the end of an object fails; repeating it would be quadratic
    trouble = f"There is no JSON object in the reply; it starts with {body[:80]!r}."
    while broken < _MAX_BROKEN and (start := starts.search(body, position)):
        try:
            value, position = _decode(body, start.start())
        except json.JSONDecodeError as error:
            if _is_cut(error, body):
                if len(body) - start.start() > length:
                    raise UnusableReplyError(f"The JSON is cut off; the reply ends with {body[-40:]!r}.") from None
                break
            if not broken:
                near = body[max(0, error.pos - 30) : error.pos + 30]
                trouble = f"The JSON in the reply is broken: {error.msg}, near {near!r}."
            broken += 1
            # The objects inside a broken one are not the answer, so the search goes on behind it. One that never
            # closes ends the search if it begins a line; elsewhere it is prose.
            close = _closing(body, start.start()) if closes else None
            closes = close is not None
            if close is None and not body[body.rfind("\n", 0, start.start()) + 1 : start.start()].strip():
                break
            position = close or max(error.pos, start.start() + 1)
        else:
            if position - start.start() > length:
                best, length = value, position - start.start()
    if not length:
        raise UnusableReplyError(trouble)
    return best


def _is_cut(error: json.JSONDecodeError, body: str) -> bool:
    """Whether decoding ran into the end; a cut `tru`, `-` or `\\u12` is reported up to six characters before it."""
    rest = body[error.pos : error.pos + 7]
    return error.msg.startswith("Unterminated string") or (len(rest) <= 6 and not set(rest) & {"}", "]"})


def _closing(body: str, start: int) -> int | None:
    depth = 0
    for token in _TOKEN.finditer(body, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(body[token.start()], 0)
        if depth == 0:
            return token.end()
    return None


def segment(key: str) -> str:
    """A key as a part of a path: `.name`, or `["a.b"]` if the key has special characters."""
    return f".{key}" if key and not set(key) & set('.[]"') else f"[{json.dumps(key)}]"


def not_json(value: Any, path: str = "", depth: int = 1) -> Iterator[tuple[str, str]]:
    """The path and the text of what neither JSON nor pydantic's JSON parser takes, though Python's may."""
    if isinstance(value, dict | list) and depth > _MAX_DEPTH:
        yield path, f"nested deeper than {_MAX_DEPTH} levels"
    elif isinstance(value, dict):
        for key in getattr(value, "duplicates", ()):
            yield path + segment(key), f"duplicate key {key!r}; remove one"
        for key, item in value.items():
            if not isinstance(key, str) or well_formed(key) != key:
                yield path, f"found the key {key!r}, which is no text"
            yield from not_json(item, path + segment(str(key)), depth + 1)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from not_json(item, f"{path}[{i}]", depth + 1)
    elif isinstance(value, str):
        if well_formed(value) != value:
            yield path, "found half a surrogate pair, which is no text"
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, f"found {value}; JSON has no NaN, no Infinity and no number as large as this"
    elif isinstance(value, int) and value.bit_length() > _MOST_BITS:
        yield path, "found a number too long to be written"
    elif not isinstance(value, int | float | None):
        yield path, f"found a {type(value).__name__}, expected a JSON value"


def _describe(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list ({len(value)} items)" if len(value) != 1 else "a list (1 item)"
    shown = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace").decode()
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _explain(error: ValidationError, model_name: str) -> str:
    found = error_lines(error)
    lines = [f"The reply does not fit {model_name}:"]
    lines += [f"- {place.removeprefix('.') or '(the whole object)'}: {why}" for place, why in found[:_MAX_PROBLEMS]]
    if len(found) > _MAX_PROBLEMS:
        lines.append(f"and {len(found) - _MAX_PROBLEMS} more")
    return "\n".join(lines)


def error_lines(error: ValidationError, leave_out: Collection[str] = ()) -> list[tuple[str, str]]:
    """What a class rejects, value by value.

    Args:
        error: the error that pydantic raised.
        leave_out: the types of pydantic's errors to leave out.

    Returns:
        The path of each value, such as `.salary.min`, and what was found and expected there.
    """
    lines = []
    for detail in error.errors(include_url=False, include_context=False):
        if detail["type"] in leave_out:
            continue
        expected = detail["msg"].replace("Input should be", "expected", 1)
        if detail["type"] == "extra_forbidden":
            expected = "expected no such field"
        what = f"found {_describe(detail['input'])}, {expected}"
        if detail["type"] == "missing":
            what = "missing, and required"
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
        lines.append((place, what))
    return lines


def with_place(error: BaseException) -> str:
    """An exception as text, with the line that raised it."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    line = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {error}{line}"
