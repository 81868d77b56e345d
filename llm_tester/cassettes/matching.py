"""When a request is the one that was recorded, and what to say when it is not."""

import difflib
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ..errors import CassetteMismatch

__all__ = ["key_of", "mismatch"]

_MOST_DIFFERENCES = 20
_MOST_COMPARED = 200
_LONGEST_SHOWN = 200
_MOST_LINES = 40
_WIDTH = 120


def key_of(request: Mapping[str, Any]) -> str:
    """What two requests must have in common: method, URL without secrets, and body, JSON compared as JSON.

    Args:
        request: method, uri and body, without secrets.

    Returns:
        A text that is equal for equal requests; the order of query parameters and of JSON keys is not in it.
    """
    parts = urlsplit(request["uri"])
    query = "&".join(sorted(parts.query.split("&")))
    body = json.dumps(_numbers(request["body"]), sort_keys=True)
    return f"{request['method'].upper()} {parts.scheme}://{parts.netloc}{parts.path or '/'}?{query} {body}"


def _numbers(value: Any) -> Any:
    # In JSON 0 and 0.0 are the same number; SDK versions differ in which one they send.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    return [_numbers(item) for item in value] if isinstance(value, list) else value


def mismatch(
    path: str, request: Mapping[str, Any], recorded: Sequence[Mapping[str, Any]], repeats: int, again: str
) -> CassetteMismatch:
    """The error for a request that was not recorded.

    Args:
        path: the cassette's file.
        request: what was asked, without secrets.
        recorded: the requests that the file holds, without secrets.
        repeats: how often the very same request is in it, each already replayed once.
        again: the command that records.

    Returns:
        The error, with the nearest recorded request and what differs from it.
    """
    lines = [f"{path}: this request is not what was recorded.", f"  asked:   {request['method']} {request['uri']}"]
    if repeats:
        times = "once" if repeats == 1 else f"{repeats} times"
        lines[0] = f"{path}: a repeat is missing: the same request was recorded {times}, and asked once more."
    elif not recorded:
        lines[0] = f"{path}: this request is not recorded: there is no such file, or it holds no interaction."
    else:
        alike = sorted(recorded, key=lambda one: _same_place(one, request), reverse=True)[:_MOST_COMPARED]
        nearest = max(alike, key=lambda one: (*_same_place(one, request), _similarity(one, request)))
        lines.append(f"  nearest: {nearest['method']} {nearest['uri']}")
        differences = list(_differences("body", _body(nearest), _body(request)))
        lines += [f"  {line}" for difference in differences[:_MOST_DIFFERENCES] for line in difference.splitlines()]
        if len(differences) > _MOST_DIFFERENCES:
            lines.append(f"  and {len(differences) - _MOST_DIFFERENCES} more differences")
    lines.append(f"  to record{' again' if recorded and not repeats else ''}: {again}")
    return CassetteMismatch("\n".join(lines), path)


def _body(request: Mapping[str, Any]) -> Any:
    return next(iter(request["body"].values())) if request["body"] else None


def _same_place(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> tuple[bool, bool, bool]:
    one, two = urlsplit(recorded["uri"]), urlsplit(asked["uri"])
    return one.netloc == two.netloc, one.path == two.path, recorded["method"].upper() == asked["method"]


def _similarity(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> float:
    left, right = (json.dumps(_body(request), sort_keys=True)[:2000] for request in (recorded, asked))
    return difflib.SequenceMatcher(None, left, right, autojunk=False).quick_ratio()


def _differences(place: str, recorded: Any, asked: Any) -> Iterator[str]:
    if recorded == asked:
        return
    if isinstance(recorded, dict) and isinstance(asked, dict):
        for key in [*recorded, *(key for key in asked if key not in recorded)]:
            if key not in asked:
                yield f"{place}.{key}: was {_shown(recorded[key])}, now missing"
            elif key not in recorded:
                yield f"{place}.{key}: was missing, now {_shown(asked[key])}"
            else:
                yield from _differences(f"{place}.{key}", recorded[key], asked[key])
    elif isinstance(recorded, list) and isinstance(asked, list) and len(recorded) == len(asked):
        for index, (one, two) in enumerate(zip(recorded, asked, strict=True)):
            yield from _differences(f"{place}[{index}]", one, two)
    elif isinstance(recorded, str) and isinstance(asked, str) and _is_prose(recorded, asked):
        diff = list(difflib.unified_diff(_lines(recorded), _lines(asked), "recorded", "asked", lineterm="", n=1))
        if len(diff) > _MOST_LINES:
            diff[_MOST_LINES:] = [f"and {len(diff) - _MOST_LINES} more lines"]
        yield f"{place}: the text differs\n" + "\n".join(f"    {line}" for line in diff)
    else:
        yield f"{place}: was {_shown(recorded)}, now {_shown(asked)}"


def _is_prose(one: str, two: str) -> bool:
    return "\n" in one + two or min(len(one), len(two)) > _LONGEST_SHOWN


def _lines(text: str) -> list[str]:
    """The lines of a text, long ones folded, so that a paragraph of a source does not differ as a whole."""
    fold = textwrap.TextWrapper(
        _WIDTH, expand_tabs=False, replace_whitespace=False, drop_whitespace=False, break_on_hyphens=False
    )
    return [part for line in text.replace("\r", "\\r").split("\n") for part in fold.wrap(line) or [""]]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}… ({len(text)} characters)"
