"""Scripted stand-ins for the providers, on 127.0.0.1: OpenAI, Anthropic, Mistral and Gemini wire formats.

    with StandIn('{"name": "Lamp"}', faults=[Fault(status=429, headers={"retry-after": "2"})]) as standin:
        ...                                   # the first request gets the 429, the others the JSON
        standin.requests[0].body["model"]     # what was sent

Where to point a client (`url` is `http://127.0.0.1:PORT`):

    OpenAI      url + "/v1"        POST /v1/chat/completions
    Anthropic   url                POST /v1/messages
    Mistral     url + "/mistral"   POST /mistral/v1/chat/completions (a prefix, because the path is OpenAI's)
    Gemini      url                POST /v1beta/models/MODEL:generateContent (any version: v1, v1alpha, v1beta)
"""

import hashlib
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import http_server
from http_server import Seen, Server

__all__ = ["Fault", "Reply", "Request", "StandIn"]

Json = dict[str, Any]

CREATED = 1_767_225_600  # 2026-01-01, so that two recordings of one request are equal
MAX_HOLD_SECONDS = 30.0
GEMINI_PATH = re.compile(r"/models/([^/:?]+):generateContent")


@dataclass(frozen=True)
class Reply:
    """What the model says and what it cost, in tokens; each wire format splits the counts its own way.

    Args:
        text: the assistant's words.
        input_tokens: all input, cache reads and writes included.
        output_tokens: all output, reasoning included.
        cached_tokens: input read from a cache.
        cache_write_tokens: input written to a cache; only Anthropic and OpenAI report it.
        reasoning_tokens: output spent on thinking; Mistral does not report it.
        truncated: the output stopped at the limit.
        delay: seconds that the server takes.
        billed_usd: what the server says that it billed, as OpenRouter does in `usage.cost`; None leaves it out.
    """

    text: str
    input_tokens: int = 100
    output_tokens: int = 20
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    truncated: bool = False
    delay: float = 0.0
    billed_usd: float | None = None


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request; `[Fault(...)] * 3` goes wrong three times.

    Args:
        status: the HTTP status, None for the normal answer (held or cut, perhaps).
        body: None for the provider's own error JSON; else sent as it stands: `b""`, `b"{"`, `b"x" * 50_000_000`.
        headers: added to the reply's.
        hold: the reply waits for this event (30 s at most, or until the stand-in closes).
        reset: no reply, a TCP reset.
        cut: half of the body, then the connection closes; Content-Length promises the whole.
    """

    status: int | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None
    reset: bool = False
    cut: bool = False


@dataclass(frozen=True)
class Request:
    """One request as it arrived; header names are lower case, `path` has the query."""

    path: str
    headers: dict[str, str]
    body: Json


Script = str | Reply | Iterable[str | Reply] | Callable[[Json], "str | Reply | Fault"]


class StandIn(Server):
    """A server on a free port of 127.0.0.1; `requests` is the journal, `faults` may be appended to while it runs.

    Args:
        reply: the text for every request, texts in turn (the last one stays), or a function of the request's JSON,
            which may also give a fault.
        faults: one for each of the first requests, in order of arrival; None answers normally.
    """

    def __init__(self, reply: Script, *, faults: Iterable[Fault | None] = ()) -> None:
        super().__init__(self._scripted)
        self.requests: list[Request] = []
        self.faults: deque[Fault | None] = deque(faults)
        self._reply = reply if callable(reply) else _in_turn(reply)
        self._held: list[threading.Event] = []

    def __exit__(self, *raised: Any) -> None:
        for event in self._held:
            event.set()
        super().__exit__(*raised)

    def _scripted(self, seen: Seen) -> http_server.Reply:
        """Journals the request and says what goes back, with what goes wrong."""
        request = Request(seen.path, seen.headers, json.loads(seen.body or b"{}"))
        self.requests.append(request)
        try:
            fault = self.faults.popleft() or Fault()
        except IndexError:
            fault = Fault()
        if fault.hold is not None:
            self._held.append(fault.hold)
            fault.hold.wait(MAX_HOLD_SECONDS)
        status, answer = (fault.status, "scripted by the stand-in") if fault.status else self._normal(request)
        if isinstance(answer, Fault):
            fault, status, answer = answer, answer.status or 200, "scripted by the stand-in"
        if isinstance(answer, str):
            answer = _error(request.path, status, answer)
        body = json.dumps(answer).encode() if fault.body is None else fault.body
        headers = {"content-type": "application/json", **{name.lower(): text for name, text in fault.headers.items()}}
        return http_server.Reply(body, status, headers, cut=fault.cut, reset=fault.reset)

    def _normal(self, request: Request) -> tuple[int, "Json | str | Fault"]:
        wire = _wire(request.path)
        if wire is None:
            return 404, f"the stand-in has no {request.path}"
        if request.body.get("stream"):
            return 400, "the stand-in does not stream"
        reply = self._reply(request.body)
        if isinstance(reply, Fault):
            return 200, reply
        if isinstance(reply, Reply) and reply.delay:
            time.sleep(reply.delay)
        return 200, wire(reply if isinstance(reply, Reply) else Reply(reply), request)


def _in_turn(replies: str | Reply | Iterable[str | Reply]) -> Callable[[Json], str | Reply | Fault]:
    queue = deque([replies] if isinstance(replies, str | Reply) else replies)
    lock = threading.Lock()

    def take(body: Json) -> str | Reply:
        with lock:
            return queue.popleft() if len(queue) > 1 else queue[0]

    return take


def _wire(path: str) -> Callable[[Reply, Request], Json] | None:
    path = path.partition("?")[0]
    if path.endswith("/chat/completions"):
        return _mistral if path.startswith("/mistral/") else _openai
    if path.endswith("/messages"):
        return _anthropic
    return _gemini if GEMINI_PATH.search(path) else None


def _identifier(request: Request) -> str:
    # From what was asked, not from a counter: concurrent requests arrive in any order.
    return hashlib.sha256(json.dumps([request.path, request.body], sort_keys=True).encode()).hexdigest()[:24]


def _chat(reply: Reply, request: Request, message: Json) -> Json:
    usage = {"prompt_tokens": reply.input_tokens, "completion_tokens": reply.output_tokens}
    message = {"role": "assistant", "content": reply.text, **message}
    choice = {"index": 0, "message": message, "finish_reason": "length" if reply.truncated else "stop"}
    return {
        "object": "chat.completion",
        "created": CREATED,
        "model": request.body.get("model"),
        "choices": [choice],
        "usage": {**usage, "total_tokens": sum(usage.values())},
    }


def _openai(reply: Reply, request: Request) -> Json:
    answer = _chat(reply, request, {"refusal": None, "annotations": []})
    written = {"cache_write_tokens": reply.cache_write_tokens} if reply.cache_write_tokens else {}
    answer["usage"]["prompt_tokens_details"] = {"cached_tokens": reply.cached_tokens, "audio_tokens": 0, **written}
    answer["usage"]["completion_tokens_details"] = {"reasoning_tokens": reply.reasoning_tokens, "audio_tokens": 0}
    if reply.billed_usd is not None:
        answer["usage"]["cost"] = reply.billed_usd
    return {"id": f"chatcmpl-{_identifier(request)}", **answer, "service_tier": "default"}


def _mistral(reply: Reply, request: Request) -> Json:
    answer = _chat(reply, request, {"tool_calls": None, "prefix": False})
    if reply.cached_tokens:
        answer["usage"]["prompt_tokens_details"] = {"cached_tokens": reply.cached_tokens}
    return {"id": _identifier(request), **answer}


def _anthropic(reply: Reply, request: Request) -> Json:
    usage = {
        # Anthropic counts the three apart: input_tokens is what neither came from nor went to the cache.
        "input_tokens": reply.input_tokens - reply.cached_tokens - reply.cache_write_tokens,
        "cache_creation_input_tokens": reply.cache_write_tokens,
        "cache_read_input_tokens": reply.cached_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": reply.cache_write_tokens, "ephemeral_1h_input_tokens": 0},
        "output_tokens": reply.output_tokens,
        "output_tokens_details": {"thinking_tokens": reply.reasoning_tokens},
        "service_tier": "standard",
    }
    return {
        "id": f"msg_{_identifier(request)}",
        "type": "message",
        "role": "assistant",
        "model": request.body.get("model"),
        "content": [{"type": "text", "text": reply.text}],
        "stop_reason": "max_tokens" if reply.truncated else "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }


def _gemini(reply: Reply, request: Request) -> Json:
    usage: Json = {
        "promptTokenCount": reply.input_tokens,
        # Gemini counts the thoughts beside the candidates, not in them.
        "candidatesTokenCount": reply.output_tokens - reply.reasoning_tokens,
        "totalTokenCount": reply.input_tokens + reply.output_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": reply.input_tokens}],
    }
    if reply.cached_tokens:
        usage["cachedContentTokenCount"] = reply.cached_tokens
    if reply.reasoning_tokens:
        usage["thoughtsTokenCount"] = reply.reasoning_tokens
    content = {"parts": [{"text": reply.text}], "role": "model"}
    return {
        "candidates": [{"content": content, "finishReason": "MAX_TOKENS" if reply.truncated else "STOP", "index": 0}],
        "usageMetadata": usage,
        "modelVersion": GEMINI_PATH.findall(request.path)[0],
        "responseId": _identifier(request),
    }


def _error(path: str, status: int, message: str) -> Json:
    if path.startswith("/mistral/"):
        return {"object": "error", "message": message, "type": "scripted", "param": None, "code": str(status)}
    if "/messages" in path:
        return {"type": "error", "error": {"type": "scripted_error", "message": message}}
    if ":generateContent" in path:
        return {"error": {"code": status, "message": message, "status": "SCRIPTED"}}
    return {"error": {"message": message, "type": "scripted", "param": None, "code": None}}
