"""Replies with status 200 that are none, or that lie, and the one outcome that each has on every route."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from fault_table import HTTP_GROUPS, Fault, Outcome, Request, fails
from http_server import Reply
from wire_bodies import ANTHROPIC, GEMINI, Json, Wire, called, changed, refused, texts

from llm_tester.errors import RateLimitError, ServerError, UnusableReplyError

__all__ = ["GROUPS", "NUMBERS"]

UNUSABLE = fails(UnusableReplyError, billed="at most")
READ = Outcome()
Make = Callable[[Wire], Json | str | bytes]


def _fault(make: Make, outcome: Outcome, kind: str = "application/json") -> Fault:
    def answer(request: Request) -> Reply:
        body = make(request.wire)
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        return Reply(text if isinstance(text, bytes) else text.encode(), 200, {"content-type": kind})

    return Fault(answer, outcome)


def _text(wire: Wire) -> str:
    return json.dumps(wire.body)


def _events(wire: Wire) -> str:
    return f"event: message\ndata: {_text(wire)}\n\ndata: [DONE]\n\n"


def _twice(wire: Wire) -> str:
    name = "content" if wire.choices == "choices" else "text"
    return _text(wire).replace('"hello"', f'"first", "{name}": "hello"')


def _nested(depth: int) -> Make:
    return lambda wire: f'{_text(wire)[:-1]}, "x": {"[" * depth}{"]" * depth}}}'


# Not JSON, or not in UTF-8.
BODIES: dict[str, tuple[Make, Outcome]] = {
    "empty": (lambda _: "", UNUSABLE),
    "white space": (lambda _: " \n ", UNUSABLE),
    "HTML": (lambda _: "<html><body>Sign in</body></html>", UNUSABLE),
    "a plain text": (lambda _: "hello", UNUSABLE),
    "an event stream": (_events, UNUSABLE),
    "two replies": (lambda wire: f"{_text(wire)}\n{_text(wire)}", UNUSABLE),
    "cut JSON": (lambda wire: _text(wire)[:-20], UNUSABLE),
    "no UTF-8 in the text": (lambda wire: _text(wire).encode().replace(b"hello", b"caf\xe9"), UNUSABLE),
    "bytes that are no text": (lambda _: bytes(range(128, 256)), UNUSABLE),
    "null": (lambda _: "null", UNUSABLE),
    "true": (lambda _: "true", UNUSABLE),
    "a number": (lambda _: "5", UNUSABLE),
    "a string": (lambda _: '"hello"', UNUSABLE),
    "an empty list": (lambda _: "[]", UNUSABLE),
    "a list with the reply": (lambda wire: f"[{_text(wire)}]", UNUSABLE),
    "an empty object": (lambda _: "{}", UNUSABLE),
    "an unknown object": (lambda _: '{"status": "ok"}', UNUSABLE),
    "nested 100,000 deep": (_nested(100_000), UNUSABLE),
    "a byte-order mark": (lambda wire: b"\xef\xbb\xbf" + _text(wire).encode(), READ),
    "UTF-16": (lambda wire: _text(wire).encode("utf-16"), READ),
    "NaN in an unknown field": (lambda wire: wire.body | {"x": float("nan")}, READ),
    "a key twice": (_twice, READ),
    "white space around it": (lambda wire: f"\n\n  {_text(wire)}  \n", READ),
    "half a surrogate pair": (
        lambda wire: texts(wire, "a\ud83db"),
        READ._replace(text="a\ufffdb", note="surrogate"),
    ),
}
UPSTREAM = {"message": "upstream broke", "code": 502}
LIMIT = {"message": "slow down", "type": "rate_limit_error"}


def _without(wire: Wire, name: str) -> Json:
    return {key: value for key, value in wire.body.items() if key != name}


def _no_text(wire: Wire) -> Json:
    return json.loads(_text(wire).replace('"hello"', "null"))  # type: ignore[no-any-return]


def _refused(wire: Wire) -> Json:
    return _filtered(wire) if wire is GEMINI else refused(wire)


def _filtered(wire: Wire) -> Json:
    return changed(wire, {"finish_reason": "content_filter"}, {"stop_reason": "refusal"}, {"finishReason": "SAFETY"})


def _ends(reason: object) -> Make:
    return lambda wire: changed(wire, {"finish_reason": reason}, {"stop_reason": reason}, {"finishReason": reason})


FILTERED = READ._replace(finish="content_filter")
ON_ANTHROPIC = ("anthropic", "pydantic-anthropic")
# Gemini has no refusals, only filters; Anthropic has no filters, only refusals.
STOPPED: dict[str, Fault] = {
    "a refusal": _fault(_refused, READ._replace(text="I will not.", finish="refusal"))._replace(
        instead={"gemini": FILTERED}
    ),
    "stopped by a content filter": _fault(_filtered, FILTERED)._replace(
        instead=dict.fromkeys(ON_ANTHROPIC, READ._replace(finish="refusal"))
    ),
}


REPLIES: dict[str, tuple[Make, Outcome]] = {
    "an error that names its status": (
        lambda _: {"error": UPSTREAM},
        fails(ServerError, 502, billed="at most"),
    ),
    "such an error next to a reply": (
        lambda wire: wire.body | {"error": LIMIT},
        fails(RateLimitError, 429, billed="at most"),
    ),
    "an error without a status": (lambda wire: wire.body | {"error": "upstream broke"}, UNUSABLE),
    "an empty error": (lambda wire: wire.body | {"error": {}}, READ),
    "an error that is null": (lambda wire: wire.body | {"error": None}, READ),
    "no choices": (lambda wire: wire.body | {wire.choices: []}, UNUSABLE),
    "choices that are null": (lambda wire: wire.body | {wire.choices: None}, UNUSABLE),
    "choices without the field": (lambda wire: _without(wire, wire.choices), UNUSABLE),
    "choices as a number": (lambda wire: wire.body | {wire.choices: 5}, UNUSABLE),
    "choices as a text": (lambda wire: wire.body | {wire.choices: "hello"}, UNUSABLE),
    "choices as an object": (lambda wire: wire.body | {wire.choices: {"a": 1}}, UNUSABLE),
    "a choice that is null": (lambda wire: wire.body | {wire.choices: [None]}, UNUSABLE),
    "a choice without a message": (lambda wire: wire.body | {wire.choices: [{}]}, UNUSABLE),
    "another model": (
        lambda wire: wire.body | {wire.model: "another-model"},
        READ._replace(note="another-model answered"),
    ),
    "a model that is null": (lambda wire: wire.body | {wire.model: None}, READ),
    "no model": (lambda wire: _without(wire, wire.model), READ),
    "a model that is a number": (lambda wire: wire.body | {wire.model: 5}, READ),
    "unknown fields": (lambda wire: wire.body | {"x": {"y": [1, None, "z"]}}, READ),
    "an unknown finish reason": (_ends("tired"), READ._replace(finish="tired")),
    "a finish reason that is null": (_ends(None), READ._replace(finish=None)),
    "a finish reason that is a number": (_ends(5), READ._replace(finish=None)),
    "cut at the output limit": (
        lambda wire: changed(
            wire, {"finish_reason": "length"}, {"stop_reason": "max_tokens"}, {"finishReason": "MAX_TOKENS"}
        ),
        READ._replace(finish="length"),
    ),
    "a tool call": (called, READ._replace(text="", finish="tool_calls")),
    "a text that is null": (_no_text, READ._replace(text="")),
    "an empty text": (lambda wire: texts(wire, ""), READ._replace(text="")),
    "a control character in the text": (lambda wire: texts(wire, "a\0b"), READ._replace(text="a\0b")),
}

# What is reported as a count, and what the note says of it.
NUMBERS: dict[str, tuple[Any, str]] = {
    "negative": (-5, "as -5, which is no number of tokens"),
    "a fraction": (3.5, "as 3.5"),
    "infinite": (float("inf"), "as inf"),
    "NaN": (float("nan"), "as nan"),
    "a boolean": (True, "as True"),
    "a string": ("12", "as '12'"),
    "a list": ([1], "as list"),
    "an object": ({"a": 1}, "as dict"),
    "more than 10¹²": (10**12 + 1, "more than 12 digits"),
    "a thousand digits": (10**999, "more than 12 digits"),
    "null": (None, "does not report"),
}


def _counted(name: str, value: object) -> Make:
    def make(wire: Wire) -> Json:
        body = copy.deepcopy(wire.body)
        body[wire.usage][getattr(wire, name)] = value
        return body

    return make


def _cached(value: object) -> Make:
    def make(wire: Wire) -> Json:
        body = copy.deepcopy(wire.body)
        body[wire.usage] |= (
            {"cache_read_input_tokens": value}
            if wire is ANTHROPIC
            else {"cachedContentTokenCount": value}
            if wire is GEMINI
            else {"prompt_tokens_details": {"cached_tokens": value}}
        )
        return body

    return make


def _numbers() -> Iterator[tuple[str, Fault]]:
    for name, (value, note) in NUMBERS.items():
        unknown = READ._replace(billed="unknown", note=note)
        yield f"input: {name}", _fault(_counted("prompt", value), unknown)
        yield f"output: {name}", _fault(_counted("completion", value), unknown)
    unknown = READ._replace(billed="unknown", note="the provider reports no tokens")
    yield "no usage", _fault(lambda wire: _without(wire, wire.usage), unknown)
    for name, value in {"null": None, "a text": "many", "a list": [], "an empty object": {}}.items():
        yield f"usage: {name}", _fault(lambda wire, value=value: wire.body | {wire.usage: value}, unknown)
    # Anthropic counts cached input apart, so it can be more than the input.
    apart = dict.fromkeys(ON_ANTHROPIC, READ)
    exceeds = READ._replace(billed="unknown", note="exceed prompt_tokens")
    yield "cached input: more than the input", _fault(_cached(500), exceeds)._replace(instead=apart)
    for name in ("negative", "a fraction", "infinite", "a boolean", "a string", "a thousand digits"):
        value, note = NUMBERS[name]
        yield f"cached input: {name}", _fault(_cached(value), READ._replace(billed="unknown", note=note))
    yield "cached input: null", _fault(_cached(None), READ)
    much = READ._replace(note="prompt_tokens (1000000000) are more than the call allowed")
    yield "input: more than the call allowed", _fault(_counted("prompt", 10**9), much)
    yield "input: as 10.0", _fault(_counted("prompt", 10.0), READ)
    yield (
        "input: 5,000 digits",
        _fault(
            lambda wire: _text(wire).replace(": 10", ": " + "9" * 5000, 1),
            READ._replace(billed="unknown", note="more than 12 digits"),
        ),
    )


GROUPS: dict[str, dict[str, Fault]] = {
    **HTTP_GROUPS,
    "body": {name: _fault(*pair) for name, pair in BODIES.items()}
    | {
        "JSON as text/plain": _fault(_text, READ, "text/plain"),
        "JSON as HTML": _fault(_text, READ, "text/html"),
        "JSON in an unknown charset": _fault(_text, READ, "application/json; charset=klingon"),
    },
    "reply": {name: _fault(*pair) for name, pair in REPLIES.items()} | STOPPED,
    "usage": dict(_numbers()),
}
