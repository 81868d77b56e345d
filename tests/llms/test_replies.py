"""What is kept of replies whose numbers lie, and of replies that were refused or filtered, on six routes."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import ROOT, WIRES, wire_entry
from fault_bodies import NUMBERS
from sample_cases import LAMP, write_case
from standins import Fault, StandIn
from wire_bodies import ANTHROPIC, GEMINI, Json, refused, texts, wire_of

from llm_tester import LLMTester, ProviderConfig
from llm_tester.errors import ProviderError
from llm_tester.llms.base import BaseLLM
from llm_tester.llms.litellm_backend import LiteLLMProvider
from llm_tester.llms.pydantic_ai_backend import PydanticAIProvider

PAGE = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
ROUTES = WIRES[:6]


class Ask(NamedTuple):
    server: StandIn
    providers: dict[str, BaseLLM]

    def __call__(self, route: str, body: Json | str) -> Any:
        text = body if isinstance(body, str) else json.dumps(body)
        self.server.faults.append(Fault(status=200, body=text.encode()))
        return self.providers[route].get_response("a", "b")


def provider_of(route: str, url: str, **more: Any) -> BaseLLM:
    kind = PydanticAIProvider if route.startswith("pydantic") else LiteLLMProvider
    entry = {"name": "x", **wire_entry(route, url), "env_key": "", "max_attempts": 1, **more}
    return kind(ProviderConfig.model_validate(entry))


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    with StandIn("") as server:
        yield Ask(server, {route: provider_of(route, server.url) for route in ROUTES})


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("lie", NUMBERS)
def test_a_count_that_is_none_leaves_the_reply_and_no_cost(lie: str, route: str, ask: Ask) -> None:
    """The other count is kept, and a note says what was found; the same on every route."""
    value, note = NUMBERS[lie]
    wire = wire_of(route)
    for place, name, left in ((wire.prompt, "prompt_tokens", (0, 5)), (wire.completion, "completion_tokens", (10, 0))):
        body = copy.deepcopy(wire.body)
        body[wire.usage][place] = value
        text, usage = ask(route, body)
        assert (text, usage.total_cost, usage.finish_reason) == ("hello", None, "stop")
        assert (usage.prompt_tokens, usage.completion_tokens) == left
        assert name in usage.notes[0]
        assert note in usage.notes[0]
        json.loads(usage.model_dump_json())
    assert f"| {lie} |" in PAGE


@pytest.mark.parametrize("route", ROUTES)
def test_other_usage_that_lies(route: str, ask: Ask) -> None:
    """No usage at all, a whole number that is written as a fraction, and more than the call can have used."""
    wire = wire_of(route)
    for missing in ({}, {wire.usage: None}, {wire.usage: "many"}):
        body = {name: value for name, value in wire.body.items() if name != wire.usage} | missing
        text, usage = ask(route, body)
        assert (text, usage.total_cost, usage.notes) == ("hello", None, ("the provider reports no tokens",))
    body = copy.deepcopy(wire.body)
    body[wire.usage][wire.prompt] = 12.0
    usage = ask(route, body)[1]
    assert (usage.prompt_tokens, usage.total_cost, usage.notes) == (12, pytest.approx((12 * 2 + 5 * 8) / 1e6), ())
    body[wire.usage] |= {wire.prompt: 10**9, wire.completion: 10**9}
    usage = ask(route, body)[1]
    notes = [note for note in usage.notes if "more than the call allowed" in note]
    assert [note.split()[0] for note in notes] == ["prompt_tokens", "completion_tokens"]


@pytest.mark.parametrize("route", ROUTES)
def test_a_refusal_and_a_filtered_reply_are_kept_and_not_valid(
    route: str, ask: Ask, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """The refusal's own text is shown; valid JSON that the filter stopped is not valid. Both are priced."""
    wire = wire_of(route)
    write_case(tmp_path / "cases")
    write_config({"x": {**wire_entry(route, ask.server.url), "env_key": ""}})
    valid = texts(wire, json.dumps(LAMP))
    if wire is GEMINI:
        bodies = [valid | {"candidates": [valid["candidates"][0] | {"finishReason": "SAFETY"}]}]
        bodies += [{**wire.body, "candidates": [], "promptFeedback": {"blockReason": "SAFETY"}}]
        problems = ["The provider's content filter stopped the reply."] * 2
    elif wire is ANTHROPIC:
        bodies, problems = [refused(wire)], ["The model refused: I will not."]
    else:
        filtered = copy.deepcopy(valid)
        filtered["choices"][0]["finish_reason"] = "content_filter"
        bodies = [refused(wire), filtered]
        problems = ["The model refused: I will not.", "The provider's content filter stopped the reply."]
    for body, problem in zip(bodies, problems, strict=True):
        ask.server.faults.append(Fault(status=200, body=json.dumps(body).encode()))
        [result] = LLMTester(["x"], tmp_path / "cases").run_tests(record="off").results
        assert (result.status, result.accuracy, result.problem) == ("invalid", 0.0, problem)
        assert result.usage is not None
        assert result.usage.total_cost == pytest.approx((10 * 2 + 5 * 8) / 1e6)


def test_a_key_quoted_in_an_error_of_a_reply_is_redacted(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of such an error is the provider's, as that of any other."""
    key = "reply-canary-" + "0123456789"
    monkeypatch.setenv("WIRE_API_KEY", key)
    body = {"error": {"message": f"wrong key {key}", "code": 401}}
    for route in ROUTES:
        with pytest.raises(ProviderError) as caught:
            ask(route, body)
        assert key not in str(caught.value)


def test_several_texts_count_in_the_worst_case(ask: Ask) -> None:
    """`n` texts can each have `max_tokens`; what is set aside under a budget is for all of them."""
    one = provider_of("openai", ask.server.url, params={"max_tokens": 100}).limits("a", "b")
    three = provider_of("openai", ask.server.url, params={"max_tokens": 100, "n": 3}).limits("a", "b")
    assert three.reserve_usd == three.worst_usd == pytest.approx(one.worst_usd + 200 * 8 / 1e6)


def test_a_call_that_nothing_was_sent_for_is_no_unusable_reply(ask: Ask) -> None:
    """LiteLLM refuses a parameter by itself: nothing is billed, and nothing is said about a reply."""
    provider = LiteLLMProvider(
        ProviderConfig.model_validate(
            {"name": "x", "provider_type": "no_such_route", "env_key": "", "models": ["m"], "max_attempts": 1}
        )
    )
    with pytest.raises(ProviderError, match="nothing was sent") as caught:
        provider.get_response("a", "b")
    assert type(caught.value) is ProviderError
    assert (caught.value.attempts, caught.value.unanswered, caught.value.failed_cost) == (1, 0, 0.0)
