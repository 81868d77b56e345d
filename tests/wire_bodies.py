"""The bodies of replies in four wire formats, and what can be wrong with them."""

import copy
from typing import Any, NamedTuple

__all__ = [
    "ANTHROPIC",
    "GEMINI",
    "MISTRAL",
    "OPENAI",
    "Json",
    "Wire",
    "called",
    "changed",
    "refused",
    "texts",
    "wire_of",
]

Json = dict[str, Any]


class Wire(NamedTuple):
    """A reply of 10 and 5 tokens with the text `hello`, and where its parts are."""

    body: Json
    usage: str
    prompt: str
    completion: str
    model: str
    choices: str


OPENAI = Wire(
    {
        "id": "a",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    },
    *("usage", "prompt_tokens", "completion_tokens", "model", "choices"),
)
ANTHROPIC = Wire(
    {
        "id": "a",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    },
    *("usage", "input_tokens", "output_tokens", "model", "content"),
)
GEMINI = Wire(
    {
        "candidates": [{"content": {"parts": [{"text": "hello"}], "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "a",
    },
    *("usageMetadata", "promptTokenCount", "candidatesTokenCount", "modelVersion", "candidates"),
)
MISTRAL = OPENAI._replace(body=OPENAI.body | {"model": "mistral-small-latest"})
WIRES = {"openai": OPENAI, "mistral": MISTRAL, "anthropic": ANTHROPIC, "gemini": GEMINI}


def wire_of(route: str) -> Wire:
    return WIRES[route.removeprefix("pydantic-")]


def changed(wire: Wire, openai: Json, anthropic: Json, gemini: Json) -> Json:
    """The wire's reply with other fields in its choice (OpenAI, Gemini) or its body (Anthropic)."""
    body = copy.deepcopy(wire.body)
    if wire is ANTHROPIC:
        return body | anthropic
    body[wire.choices][0] |= gemini if wire is GEMINI else openai
    return body


def texts(wire: Wire, text: str) -> Json:
    parts = {"content": {"role": "model", "parts": [{"text": text}]}}
    message = {"message": {"role": "assistant", "content": text}}
    return changed(wire, message, {"content": [{"type": "text", "text": text}]}, parts)


def refused(wire: Wire) -> Json:
    message = {"role": "assistant", "content": None, "refusal": "I will not."}
    content = [{"type": "text", "text": "I will not."}]
    return changed(wire, {"message": message}, {"stop_reason": "refusal", "content": content}, {})


def called(wire: Wire) -> Json:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    use = [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]
    part = {"functionCall": {"name": "look", "args": {}}}
    return changed(
        wire,
        {"finish_reason": "tool_calls", "message": message},
        {"stop_reason": "tool_use", "content": use},
        {"content": {"role": "model", "parts": [part]}},
    )
