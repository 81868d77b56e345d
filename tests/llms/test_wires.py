"""Every wire format, over a real socket to a stand-in: text, usage, cost, recording and replay."""

import copy
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import WIRES, wire_entry
from standins import Fault, Reply, StandIn

from llm_tester import use_cassette
from llm_tester.errors import (
    AuthenticationError,
    BadRequestError,
    CassetteMismatch,
    ConnectionError,
    ContextTooLongError,
    PermissionDeniedError,
    ProviderError,
    RateLimitError,
    ServerError,
    TimeoutError,
    UnknownModelError,
    UnusableReplyError,
)
from llm_tester.llms.base import BaseLLM
from llm_tester.llms.llm_registry import get_llm_provider

REPLY = Reply("yes", input_tokens=1000, output_tokens=50, cached_tokens=300, reasoning_tokens=30)
KEY = "wire-canary-0123456789"


@pytest.fixture
def provider_on(write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., BaseLLM]:
    monkeypatch.setenv("WIRE_API_KEY", KEY)

    def make(wire: str, server: StandIn, **more: Any) -> BaseLLM:
        write_config({"wire": {**wire_entry(wire, server.url), **more}})
        provider = get_llm_provider("wire")
        assert provider is not None
        return provider

    return make


@pytest.mark.parametrize("wire", WIRES)
def test_a_reply_is_counted_priced_recorded_and_replayed(
    wire: str, standin: Callable[..., StandIn], provider_on: Callable[..., BaseLLM], tmp_path: Path
) -> None:
    server = standin(REPLY)
    provider = provider_on(wire, server)
    path = tmp_path / "cassettes" / "one.yaml"
    with use_cassette(path, "once", origin="stand-in: a test"):
        text, usage = provider.get_response("Say yes.", "A source.")
    assert text == "yes"
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (1000, 50, 1050)
    assert usage.cached_tokens == 300
    assert usage.reasoning_tokens == (0 if "mistral" in wire else 30)
    assert usage.prompt_cost == pytest.approx((700 * 2.0 + 300 * 0.5) / 1e6)
    assert usage.total_cost == pytest.approx((700 * 2.0 + 300 * 0.5 + 50 * 8.0) / 1e6)
    assert usage.price.source == "config"
    assert not usage.replayed
    sent = server.requests[0]
    assert "Say yes.\n\nSource Text:\nA source." in str(sent.body).replace("\\n", "\n")
    assert KEY in str(sent.headers)
    assert KEY not in path.read_text()

    with use_cassette(path):
        again, replayed = provider.get_response("Say yes.", "A source.")
    assert again == text
    assert replayed.replayed
    assert replayed.origin == "stand-in: a test"
    same = {"replayed": True, "elapsed_seconds": replayed.elapsed_seconds, "recorded_at": replayed.recorded_at}
    assert usage.model_copy(update=same) == replayed
    assert len(server.requests) == 1


@pytest.mark.parametrize("wire", [wire for wire in WIRES if not wire.startswith("pydantic")])
def test_a_call_leaves_litellm_as_it_was(
    wire: str, standin: Callable[..., StandIn], provider_on: Callable[..., BaseLLM]
) -> None:
    provider = provider_on(wire, standin(REPLY))
    provider.get_response("Say yes.", "A source.")
    import litellm

    names = ("api_key", "api_base", "callbacks", "success_callback", "drop_params", "num_retries", "cache")
    before = [copy.deepcopy(litellm.model_cost), *(copy.copy(getattr(litellm, name)) for name in names)]
    provider.get_response("Say yes again.", "A source.")
    assert [litellm.model_cost, *(getattr(litellm, name) for name in names)] == before


@pytest.mark.parametrize("wire", WIRES)
def test_another_prompt_is_a_mismatch(
    wire: str, standin: Callable[..., StandIn], provider_on: Callable[..., BaseLLM], tmp_path: Path
) -> None:
    server = standin(REPLY)
    provider = provider_on(wire, server)
    path = tmp_path / "cassettes" / "one.yaml"
    with use_cassette(path, "once"):
        provider.get_response("Say yes.", "A source.")
    with pytest.raises(CassetteMismatch) as caught, use_cassette(path):
        provider.get_response("Say no.", "A source.")
    message = str(caught.value)
    assert str(path) in message
    assert re.search(r"\n  -.*Say yes\.", message)
    assert re.search(r"\n  \+.*Say no\.", message)
    assert len(server.requests) == 1


TOO_LONG = b'{"error": {"message": "This model\'s maximum context length is 128000 tokens", "code": 400}}'
# What the server does, the error, its status, and the number of requests. Those without a status are not retried
# here, because the waits would add up; the contract kit retries them.
FAILURES: dict[str, tuple[Callable[[], Fault], type[ProviderError], int | None, int]] = {
    "400": (lambda: status(400), BadRequestError, 400, 1),
    "401": (lambda: status(401), AuthenticationError, 401, 1),
    "403": (lambda: status(403), PermissionDeniedError, 403, 1),
    "404": (lambda: status(404), UnknownModelError, 404, 1),
    "422": (lambda: status(422), BadRequestError, 422, 1),
    "429": (lambda: status(429), RateLimitError, 429, 2),
    "500": (lambda: status(500), ServerError, 500, 2),
    "503": (lambda: status(503), ServerError, 503, 2),
    "529": (lambda: status(529), ServerError, 529, 2),
    "too long": (lambda: status(400, body=TOO_LONG), ContextTooLongError, 400, 1),
    "timeout": (lambda: Fault(hold=threading.Event()), TimeoutError, None, 1),
    "reset": (lambda: Fault(reset=True), ConnectionError, None, 1),
    "cut": (lambda: Fault(cut=True), ConnectionError, None, 1),
    "half JSON": (lambda: Fault(status=200, body=b"{"), UnusableReplyError, None, 1),
    "empty": (lambda: Fault(status=200, body=b""), UnusableReplyError, None, 1),
    "another shape": (lambda: Fault(status=200, body=b'{"hello": 1}'), UnusableReplyError, None, 1),
}


def status(code: int, **more: Any) -> Fault:
    return Fault(status=code, headers={"retry-after": "0"}, **more)


# How servers and proxies that are not OpenAI's say what is wrong.
BODIES = (
    b"The maximum context length is 4096 tokens",
    b'{"detail": "The maximum context length is 4096 tokens"}',
    b'{"error": "The maximum context length is 4096 tokens"}',
)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("body", BODIES)
def test_an_error_without_a_message_is_shown_as_it_is(
    wire: str, body: bytes, standin: Callable[..., StandIn], provider_on: Callable[..., BaseLLM]
) -> None:
    """LiteLLM's OpenAI route reads only `error.message`, and says `Error code: 400` without one."""
    provider = provider_on(wire, standin(REPLY, faults=[status(400, body=body)]))
    with pytest.raises(ContextTooLongError, match="4096 tokens"):
        provider.get_response("Say yes.", "A source.")


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_the_same_error_on_every_route(
    wire: str, failure: str, standin: Callable[..., StandIn], provider_on: Callable[..., BaseLLM]
) -> None:
    fault, kind, code, attempts = FAILURES[failure]
    server = standin(REPLY, faults=[fault() for _ in range(2)])
    patience = 0.3 if failure == "timeout" else 60
    provider = provider_on(wire, server, max_attempts=2 if code else 1, timeout=patience)
    with pytest.raises(ProviderError) as caught:
        provider.get_response("Say yes.", "A source.")
    error = caught.value
    assert type(error) is kind
    assert (error.provider, error.model) == ("wire", provider.get_default_model())
    assert (error.status_code, error.retry_after) == (code, None if code is None else 0.0)
    assert error.__cause__ is not None or kind is UnusableReplyError
    assert len(server.requests) == attempts


@pytest.mark.parametrize("wire", WIRES)
def test_a_rate_limit_that_passes_is_no_error(
    wire: str, standin: Callable[..., StandIn], provider_on: Callable[..., BaseLLM], tmp_path: Path
) -> None:
    server = standin(REPLY, faults=[Fault(status=429, headers={"retry-after": "0"})])
    provider = provider_on(wire, server)
    with use_cassette(tmp_path / "c.yaml", "once") as cassette:
        text, usage = provider.get_response("Say yes.", "A source.")
    assert (text, usage.attempts) == ("yes", 2)
    assert [item.response["status"] for item in cassette.interactions] == [200]
    assert cassette.interactions[0].recorded["attempts"] == 2


@pytest.mark.parametrize("wire", WIRES)
def test_an_unreachable_address_is_a_connection_error(
    wire: str, standin: Callable[..., StandIn], provider_on: Callable[..., BaseLLM]
) -> None:
    server = standin(REPLY)
    provider = provider_on(wire, server, max_attempts=1)
    server.__exit__(None, None, None)
    with pytest.raises(ConnectionError):
        provider.get_response("Say yes.", "A source.")


@pytest.mark.parametrize("wire", WIRES)
def test_a_refused_key_is_in_no_message(
    wire: str, standin: Callable[..., StandIn], provider_on: Callable[..., BaseLLM]
) -> None:
    import traceback

    body = f'{{"error": {{"message": "wrong key {KEY}", "type": "auth"}}}}'.encode()
    provider = provider_on(wire, standin(REPLY, faults=[Fault(status=401, body=body)]))
    with pytest.raises(AuthenticationError) as caught:
        provider.get_response("Say yes.", "A source.")
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in repr(provider)
