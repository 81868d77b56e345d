"""Decides whether a request is the recorded one, and says how it differs if not."""

import difflib
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .layout import written

__all__ = ["Request", "key_of", "mismatch"]

_MOST_COMPARED = 200
_MOST_LINES = 40
_WIDTH = 120


@dataclass(frozen=True)
class Request:
    """A request as it is matched and written: without secrets.

    Attributes:
        parts: method, uri, headers and body.
        key: what it must have in common with a recorded request.
        order: its number among the requests of its cassette.
    """

    parts: dict[str, Any]
    key: str
    order: int


def key_of(request: Mapping[str, Any]) -> str:
    """What equal requests have in common: method, URL without secrets, and body, JSON compared as JSON.

    Args:
        request: method, uri and body, without secrets.

    Returns:
        A text that is equal for equal requests; the order of query parameters and JSON keys does not matter.
    """
    parts = urlsplit(request["uri"])
    query = "&".join(sorted(parts.query.split("&")))
    body = json.dumps(request["body"], sort_keys=True)
    if ".0" in body or "e+" in body:
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
    path: Path, request: Mapping[str, Any], recorded: Sequence[Mapping[str, Any]], repeats: int, again: str
) -> str:
    """The message for a request that was not recorded.

    Args:
        path: the cassette's file.
        request: the request, without secrets.
        recorded: the requests that the file holds, without secrets.
        repeats: how often the same request is in it; each was already replayed.
        again: the command that records.

    Returns:
        The message, with the nearest recorded request and a diff of the two.
    """
    lines = [f"{path}: this request is not what was recorded.", f"  asked: {request['method']} {request['uri']}"]
    if repeats:
        times = "once" if repeats == 1 else f"{repeats} times"
        lines[0] = f"{path}: a repeat is missing: the same request was recorded {times}, and was made once more."
    elif not recorded:
        lines[0] = f"{path}: this request is not recorded: the file does not exist or is empty."
    else:
        alike = sorted(recorded, key=lambda one: _same_place(one, request), reverse=True)[:_MOST_COMPARED]
        nearest = max(alike, key=lambda one: (*_same_place(one, request), _similarity(one, request)))
        lines += [f"  {line}" for line in _diff(nearest, request)]
    lines.append(f"  to record{' again' if recorded and not repeats else ''}: {again}")
    return "\n".join(lines)


def _body(request: Mapping[str, Any]) -> Any:
    return next(iter(request["body"].values())) if request["body"] else None


def _same_place(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> tuple[bool, bool, bool]:
    one, two = urlsplit(recorded["uri"]), urlsplit(asked["uri"])
    return one.netloc == two.netloc, one.path == two.path, recorded["method"].upper() == asked["method"]


def _similarity(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> float:
    left, right = (json.dumps(_body(request), sort_keys=True)[:2000] for request in (recorded, asked))
    return difflib.SequenceMatcher(None, left, right, autojunk=False).quick_ratio()


def _diff(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    """A unified diff of two requests as the cassette writes them."""
    one, two = ([*_folded(written({**request, "headers": {}}))] for request in (recorded, asked))
    lines = list(difflib.unified_diff(one, two, "recorded", "asked", lineterm="", n=2))
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"and {len(lines) - _MOST_LINES} more lines"


def _folded(text: str) -> Iterator[str]:
    """The lines of a text, long ones folded, so that a paragraph of a source does not differ as a whole."""
    fold = textwrap.TextWrapper(
        _WIDTH, expand_tabs=False, replace_whitespace=False, drop_whitespace=False, break_on_hyphens=False
    )
    for line in text.removesuffix("\n").split("\n"):
        yield from fold.wrap(line) or [""]
