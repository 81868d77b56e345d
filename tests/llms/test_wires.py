"""Every wire format, over a real socket to a stand-in: text, usage, cost, recording and replay."""

import copy
import re
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
    assert usage.price is not None
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
def test_another_prompt_is_told_as_drift(
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


ERRORS = [
    (401, AuthenticationError, 1),
    (403, PermissionDeniedError, 1),
    (404, UnknownModelError, 1),
    (400, BadRequestError, 1),
    (422, BadRequestError, 1),
    (429, RateLimitError, 2),
    (500, ServerError, 2),
    (503, ServerError, 2),
    (529, ServerError, 2),
]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("status", "kind", "attempts"), ERRORS)
def test_a_status_is_the_same_error_on_every_route(
    wire: str,
    status: int,
    kind: type[ProviderError],
    attempts: int,
    standin: Callable[..., StandIn],
    provider_on: Callable[..., BaseLLM],
) -> None:
    server = standin(REPLY, faults=[Fault(status=status, headers={"retry-after": "0"})] * 9)
    provider = provider_on(wire, server, max_attempts=2)
    with pytest.raises(ProviderError) as caught:
        provider.get_response("Say yes.", "A source.")
    error = caught.value
    assert type(error) is kind
    assert (error.provider, error.status_code) == ("wire", status)
    assert error.model == provider.get_default_model()
    assert error.__cause__ is not None
    assert error.retry_after == 0.0
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
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(reset=True), ConnectionError),
        (Fault(cut=True), ConnectionError),
        (Fault(status=200, body=b"{"), UnusableReplyError),
        (Fault(status=200, body=b""), UnusableReplyError),
        (Fault(status=200, body=b'{"hello": 1}'), UnusableReplyError),
    ],
    ids=["reset", "cut", "half JSON", "empty", "another shape"],
)
def test_what_breaks_without_a_status_is_told_apart(
    wire: str,
    fault: Fault,
    kind: type[ProviderError],
    standin: Callable[..., StandIn],
    provider_on: Callable[..., BaseLLM],
) -> None:
    server = standin(REPLY, faults=[fault])
    provider = provider_on(wire, server, max_attempts=1)
    with pytest.raises(ProviderError) as caught:
        provider.get_response("Say yes.", "A source.")
    assert type(caught.value) is kind
    assert caught.value.status_code is None


@pytest.mark.parametrize("wire", WIRES)
def test_a_timeout_is_kept(wire: str, standin: Callable[..., StandIn], provider_on: Callable[..., BaseLLM]) -> None:
    import threading

    server = standin(REPLY, faults=[Fault(hold=threading.Event())])
    provider = provider_on(wire, server, max_attempts=1, timeout=0.3)
    with pytest.raises(TimeoutError):
        provider.get_response("Say yes.", "A source.")


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
def test_an_input_that_does_not_fit_has_its_own_error(
    wire: str, standin: Callable[..., StandIn], provider_on: Callable[..., BaseLLM]
) -> None:
    body = b'{"error": {"message": "This model\'s maximum context length is 128000 tokens", "code": 400}}'
    provider = provider_on(wire, standin(REPLY, faults=[Fault(status=400, body=body)]))
    with pytest.raises(ContextTooLongError):
        provider.get_response("Say yes.", "A source.")


@pytest.mark.parametrize("wire", WIRES)
def test_a_refused_key_stands_in_no_message(
    wire: str, standin: Callable[..., StandIn], provider_on: Callable[..., BaseLLM]
) -> None:
    import traceback

    body = f'{{"error": {{"message": "wrong key {KEY}", "type": "auth"}}}}'.encode()
    provider = provider_on(wire, standin(REPLY, faults=[Fault(status=401, body=body)]))
    with pytest.raises(AuthenticationError) as caught:
        provider.get_response("Say yes.", "A source.")
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in repr(provider)
