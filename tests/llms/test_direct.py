"""A call past LiteLLM's `completion()` sends, returns and raises what one through it does, byte by byte.

`complete` takes the short way for what is proved here, and `completion()` for all else; one of the environment
variables that it does not work with makes it take the long one.
"""

import json
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from corpus_routes import PROVIDERS, route_of
from http_server import Seen
from pydantic import BaseModel
from standins import Fault, Reply, StandIn
from test_corpus import CASES, CORPUS, cassette_of, needs_mcp

from llm_tester import use_cassette
from llm_tester.errors import LLMTesterError, ProviderError
from llm_tester.llms import _litellm_direct as direct
from llm_tester.llms.llm_registry import reset_provider_cache
from llm_tester.llms.provider_factory import create_provider

THE_LONG_WAY = "EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER"
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-5", "mistral": "mistral-small-latest"}
MODELS["gemini"] = "gemini-2.5-flash"
PATHS = {"openai": "/v1", "anthropic": "", "mistral": "/mistral/v1", "gemini": "/v1beta"}
# What a client says of itself, and of the connection.
OF_THE_CLIENT = ("user-agent", "x-stainless-", "host", "accept-encoding", "connection")

pytestmark = pytest.mark.skipif(
    not direct.is_known_version(), reason=f"LiteLLM is not one of {direct._VERSIONS}, so nothing goes past it"
)


class Item(BaseModel):
    name: str
    price: float | None = None
    tags: list[str] = []


@dataclass
class Outcome:
    """What came of a call, and what the server saw."""

    said: dict[str, Any]
    seen: list[tuple[Any, ...]] = field(default_factory=list)


def requests(seen: Sequence[Seen]) -> list[tuple[Any, ...]]:
    return [
        (
            one.method,
            one.path,
            {name: value for name, value in one.headers.items() if not name.startswith(OF_THE_CLIENT)},
            one.body,
        )
        for one in seen
    ]


def came_of(call: Callable[[], tuple[str, Any]]) -> dict[str, Any]:
    try:
        text, usage = call()
    except LLMTesterError as error:
        said: dict[str, Any] = {"error": type(error), "unanswered": error.unanswered, "cost": error.failed_cost}
        if isinstance(error, ProviderError):
            said |= {"status": error.status_code, "retry_after": error.retry_after, "retryable": error.retryable}
        return said
    return {"text": text, **usage.model_dump(exclude={"elapsed_seconds", "recorded_at"})}


@pytest.fixture
def both_ways(write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Outcome]]:
    """Makes a call to a stand-in by each way, in a new one each time."""

    def call(
        route: str, make: Callable[[], StandIn], arguments: dict[str, Any] | None = None, **entry: Any
    ) -> list[Outcome]:
        outcomes = []
        for is_direct in (True, False):
            with monkeypatch.context() as patch, make() as server:
                if not is_direct:
                    patch.setenv(THE_LONG_WAY, "false")
                patch.setenv("BOTH_API_KEY", "both-ways-canary-1234")
                base = {"provider_type": route, "api_base": "http://localhost" + PATHS[route], "max_attempts": 1}
                # A connection is not to be shared by two servers, which may get the same port.
                base |= {"models": [MODELS[route]], **entry}
                base["api_base"] = base["api_base"].replace("http://localhost", server.url)
                write_config({"both": base})
                provider = create_provider("both")
                prompts = {"prompt": "Say yes.", "source": "A source.", **(arguments or {})}
                said = came_of(lambda provider=provider, prompts=prompts: provider.get_response(**prompts))
                assert bool(direct._patterns.known) is is_direct
                outcomes.append(Outcome(said, requests(server.seen)))
        return outcomes

    return call


REPLY = Reply("yes", input_tokens=1000, output_tokens=50, cached_tokens=300, reasoning_tokens=30)
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "a schema": ({"model_class": Item}, {"structured_output": "native"}),
    "a schema in the prompt": ({"model_class": Item}, {"structured_output": "prompt"}),
    "a system prompt": ({}, {"system_prompt": "Be brief. 你好"}),
    "the mark as a system prompt": ({}, {"system_prompt": direct._MARK}),
    "letters of all kinds": ({"prompt": 'Äh "quoted" \\ \n\t\u2028 🎉 </script>', "source": "\x00\x7f"}, {}),
    "parameters": ({}, {"params": {"max_tokens": 99, "top_p": 0.5, "stop": ["END", "STOP"], "temperature": 0.7}}),
    "no temperature": ({}, {"params": {"temperature": None, "seed": 7}}),
    "a schema as a parameter": ({}, {"params": {"response_format": {"type": "json_object"}}}),
    "a slash behind the address": ({}, {"api_base": None}),
}


@pytest.mark.parametrize("route", MODELS)
@pytest.mark.parametrize("name", CALLS)
def test_the_same_request_and_reply(name: str, route: str, both_ways: Callable[..., list[Outcome]]) -> None:
    arguments, entry = CALLS[name]
    if "api_base" in entry:
        entry = {"api_base": f"http://localhost{PATHS[route]}/"}
    if route == "anthropic" and "seed" in entry.get("params", {}):
        entry = {"params": {"temperature": None}}
    short, long = both_ways(route, lambda: StandIn(REPLY), arguments, **entry)
    assert short.seen == long.seen
    assert short.said == long.said
    assert short.said["text"] == "yes", short.said
    assert len(short.seen) == 1


def json_fault(body: object, status: int = 200, **more: Any) -> Fault:
    return Fault(status=status, body=json.dumps(body).encode(), **more)


FAULTS: dict[str, Callable[[], Fault]] = {
    **{f"{status}": lambda status=status: Fault(status=status) for status in (400, 401, 403, 404, 408, 409, 413, 422)},
    **{f"{status}": lambda status=status: Fault(status=status) for status in (429, 500, 502, 503, 504, 529)},
    "429 with a wait": lambda: Fault(status=429, headers={"retry-after": "7"}),
    "429 with milliseconds": lambda: Fault(status=429, headers={"retry-after-ms": "1500"}),
    "503 with a wait": lambda: Fault(status=503, headers={"retry-after": "3"}),
    "too long": lambda: json_fault({"error": {"message": "maximum context length is 128000 tokens"}}, 400),
    "a bad key": lambda: json_fault({"error": {"code": 400, "message": "API key not valid. API_KEY_INVALID"}}, 400),
    "an error that is no JSON": lambda: Fault(status=500, body=b"<html>Bad gateway</html>"),
    "an error without a body": lambda: Fault(status=502, body=b""),
    "half a body": lambda: Fault(cut=True),
    "a reset": lambda: Fault(reset=True),
    "broken JSON": lambda: Fault(status=200, body=b'{"choices": ['),
    "no body": lambda: Fault(status=200, body=b""),
    "an empty object": lambda: json_fault({}),
    "a list": lambda: json_fault([]),
    "null": lambda: json_fault(None),
    "HTML": lambda: Fault(status=200, body=b"<html>hello</html>", headers={"content-type": "text/html"}),
    "no choices": lambda: json_fault({"choices": [], "content": [], "candidates": [], "usage": {}}),
    "no content": lambda: json_fault({"id": "1", "model": "m", "choices": [{"index": 0, "message": {}}]}),
    "parts that are no list": lambda: json_fault({"candidates": [{"content": {"parts": 1}}]}),
    "a part that is no object": lambda: json_fault({"candidates": [{"content": {"parts": [1]}}]}),
    "an error in a reply": lambda: json_fault({"error": {"message": "overloaded", "code": 500}}),
    "not UTF-8": lambda: Fault(status=200, body=b'{"choices": "\xff"}'),
}


@pytest.mark.parametrize("route", MODELS)
@pytest.mark.parametrize("name", FAULTS)
def test_the_same_error(name: str, route: str, both_ways: Callable[..., list[Outcome]]) -> None:
    short, long = both_ways(route, lambda: StandIn(REPLY, faults=[FAULTS[name]()]))
    assert short.said == long.said
    assert short.seen == long.seen


def chat(**message: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def claude(*content: dict[str, Any]) -> dict[str, Any]:
    usage = {"input_tokens": 9, "output_tokens": 7}
    head = {"id": "1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    return {**head, "content": list(content), "usage": usage}


def gemini(total: int, *parts: dict[str, Any]) -> dict[str, Any]:
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 7, "thoughtsTokenCount": 5, "totalTokenCount": total}
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}


CALLED = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
REPLIES: dict[str, tuple[str, dict[str, Any]]] = {
    "thoughts in tags": ("openai", chat(content="<think>Hm.</think>yes")),
    "thoughts in a field": ("openai", chat(content="yes", reasoning_content="Hm.")),
    "a tool next to a text": ("openai", chat(content="yes", tool_calls=[CALLED])),
    "several parts": ("mistral", chat(content=[{"type": "text", "text": "ye"}, {"type": "text", "text": "s"}])),
    "thoughts in a block": (
        "anthropic",
        claude({"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "yes"}),
    ),
    "two blocks": ("anthropic", claude({"type": "text", "text": "ye"}, {"type": "text", "text": "s"})),
    "counted thoughts": ("gemini", gemini(21, {"text": "yes"})),
    "thoughts counted as a part": ("gemini", gemini(16, {"text": "Hm.", "thought": True}, {"text": "yes"})),
    "no name of a model": ("gemini", {**gemini(21, {"text": "yes"}), "modelVersion": None}),
    "a call of a function": ("gemini", gemini(21, {"text": "yes"}, {"functionCall": {"name": "f", "args": {}}})),
}


@pytest.mark.parametrize("name", REPLIES)
def test_the_same_reading(name: str, both_ways: Callable[..., list[Outcome]]) -> None:
    """Plain replies are read without LiteLLM, and must come to the same; the others are left to it."""
    route, body = REPLIES[name]
    short, long = both_ways(route, lambda: StandIn(REPLY, faults=[json_fault(body)]))
    assert short.said == long.said
    assert short.said["text"] == "yes", short.said


@pytest.mark.parametrize("route", MODELS)
def test_the_same_timeout(route: str, both_ways: Callable[..., list[Outcome]]) -> None:
    short, long = both_ways(route, lambda: StandIn(REPLY, faults=[Fault(hold=threading.Event())]), timeout=0.3)
    assert short.said == long.said
    assert "error" in short.said


@pytest.mark.parametrize("route", MODELS)
def test_the_same_refused_connection(route: str, both_ways: Callable[..., list[Outcome]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    base = f"http://127.0.0.1:{port}{PATHS[route]}"
    short, long = both_ways(route, lambda: StandIn(REPLY), api_base=base)
    assert short.said == long.said
    assert "error" in short.said


@pytest.fixture(scope="module")
def corpus_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "config.json"
    entries = {name: {**entry, "max_attempts": 1} for name, entry in PROVIDERS.items()}
    path.write_text(json.dumps({"providers": entries}), encoding="utf-8")
    return path


@pytest.mark.skipif(not CASES, reason=f"the corpus of recorded traffic is not at {CORPUS}")
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, id=case["file"].removesuffix(".yaml"), marks=[needs_mcp] if case["api"] == "responses" else []
        )
        for case in CASES
    ],
)
def test_the_same_recorded_reply(
    case: dict[str, Any], corpus_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_TESTER_CONFIG", str(corpus_config))
    reset_provider_cache()
    name, model = route_of(case["provider"], case["litellm_model"].partition("/")[2])
    provider = create_provider(name)
    outcomes = []
    for is_direct in (True, False):
        if not is_direct:
            monkeypatch.setenv(THE_LONG_WAY, "false")
        with use_cassette(cassette_of(case, tmp_path), match_body=False):
            outcomes.append(came_of(lambda: provider.get_response("Answer.", "A source.", model)))
    assert outcomes[0] == outcomes[1]


def test_a_users_callback_and_replacement_of_completion_are_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that watches or replaces `litellm.completion` would otherwise miss the call."""
    import litellm

    call = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "x"}], "timeout": 60.0}
    call |= {"api_key": "no-key"}
    assert direct._is_plain(litellm, call)
    assert not direct._is_plain(litellm, {**call, "drop_params": True})
    with monkeypatch.context() as patch:
        patch.setattr(litellm, "success_callback", [print])
        assert not direct._is_plain(litellm, call)
    for kind, setting in ((litellm.OpenAIConfig, "frequency_penalty"), (litellm.AnthropicConfig, "max_tokens")):
        with monkeypatch.context() as patch:
            patch.setattr(kind, setting, 1)
            assert not direct._is_plain(litellm, call)
    with monkeypatch.context() as patch:
        patch.setattr(litellm, "completion", lambda **_: "replaced")
        assert direct.send(litellm, call) is None


def test_a_users_mock_of_the_http_client_answers(
    both_ways: Callable[..., list[Outcome]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request is caught then, so there is no pattern, and LiteLLM makes the call."""

    def send(_: httpx.Client, request: httpx.Request, **__: Any) -> httpx.Response:
        return httpx.Response(200, json=chat(content="mocked"), request=request)

    monkeypatch.setattr(httpx.Client, "send", send)
    short, long = both_ways("mistral", lambda: StandIn(REPLY))
    assert short.said == long.said
    assert short.said["text"] == "mocked"
    assert not short.seen


def test_what_litellm_fetches_before_its_first_call_is_no_call() -> None:
    """It fetches a list of headers for Anthropic then, if it was imported before us."""
    from vcr.request import Request

    catcher = direct._Catcher()
    assert catcher.meet("httpx", Request("GET", "https://example.com/list.json", "", {})) is None
    with pytest.raises(direct._Caught):
        catcher.meet("httpx", Request("POST", "https://example.com/v1/messages", "{}", {}))
