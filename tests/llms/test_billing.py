"""What a provider's reply says was billed leads over any price list, on every route."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import wire_entry
from hypothesis import given
from hypothesis import strategies as st
from standins import Fault, Reply, StandIn

from llm_tester import use_cassette
from llm_tester.llms._billing import read_usage
from llm_tester.llms.llm_registry import get_llm_provider
from llm_tester.usage import Billed, UsageData

Ask = Callable[..., UsageData]

COUNTS = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def chat(usage: dict[str, Any], **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "yes"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
        **more,
    }


@pytest.fixture
def ask(
    standin: Callable[..., StandIn], write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Ask:
    """The usage of a call to a server that answers with the payload."""
    monkeypatch.setenv("WIRE_API_KEY", "a-key-of-no-one")

    def run(payload: dict[str, Any], **entry: Any) -> UsageData:
        fault = Fault(status=200, headers={"content-type": "application/json"}, body=json.dumps(payload).encode())
        server = standin(Reply("unused"), faults=[fault])
        base = {"api_base": server.url + "/v1", "env_key": "WIRE_API_KEY"}
        write_config(
            {
                "wire": {
                    **base,
                    **{name: field(server.url) if callable(field) else field for name, field in entry.items()},
                }
            }
        )
        provider = get_llm_provider("wire")
        with use_cassette(tmp_path / "one.yaml", "once"):
            return provider.get_response("Say yes.", "A source.")[1]

    return run


PRICED = [{"name": "some/model", "cost_input": 1000.0, "cost_output": 1000.0}]


def test_openrouters_cost_leads_over_the_config_price(ask: Ask) -> None:
    usage = ask(chat({**COUNTS, "cost": 0.00042}), provider_type="openrouter", models=PRICED)
    assert (usage.total_cost, usage.cost_source) == (0.00042, "provider")
    assert (usage.prompt_tokens, usage.completion_tokens) == (100, 20)


def test_an_amount_that_no_reply_costs_is_not_believed(ask: Ask) -> None:
    usage = ask(chat({**COUNTS, "cost": 1e308}), provider_type="openrouter", models=PRICED)
    assert (usage.total_cost, usage.billed) == (None, None)
    assert "the reply says that 1e+308 USD were billed, which is not believed" in usage.notes


def test_a_reply_that_does_not_say_is_priced_by_the_list(ask: Ask) -> None:
    usage = ask(chat(COUNTS), provider_type="openrouter", models=PRICED)
    assert (usage.total_cost, usage.cost_source) == (pytest.approx(0.12), "config")


@pytest.mark.parametrize("tier", [{}, {"service_tier": None}, {"service_tier": "on_demand"}, {"service_tier": "flex"}])
def test_a_groq_reply_is_read_whatever_its_service_tier(ask: Ask, tier: dict[str, Any]) -> None:
    """LiteLLM raises an AttributeError if a reply has none, as a third of the real ones do."""
    usage = ask(chat(COUNTS, **tier), provider_type="groq", models=PRICED)
    assert usage.total_tokens == 120


def test_cohere_is_priced_by_what_it_billed(ask: Ask) -> None:
    payload = {
        "id": "1",
        "finish_reason": "COMPLETE",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
        "usage": {
            "billed_units": {"input_tokens": 7, "output_tokens": 2},
            "tokens": {"input_tokens": 500, "output_tokens": 4},
            "cached_tokens": 448,
        },
    }
    usage = ask(payload, provider_type="cohere", models=PRICED)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (500, 4, 448)
    assert usage.billed == Billed(prompt_tokens=7, completion_tokens=2)
    assert (usage.total_cost, usage.cost_source) == (pytest.approx(0.009), "provider")


@pytest.mark.parametrize("wire", ["anthropic", "pydantic-anthropic"])
def test_both_routes_count_what_anthropic_billed_for_compaction(ask: Ask, wire: str) -> None:
    once = {"input_tokens": 100, "cache_creation_input_tokens": 50, "cache_read_input_tokens": 0, "output_tokens": 30}
    last = {"input_tokens": 20, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 5}
    advice = {**last, "input_tokens": 900, "output_tokens": 90, "model": "claude-opus-5", "type": "advisor_message"}
    iterations = [{**once, "type": "compaction"}, {**last, "type": "message"}, advice]
    payload = {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "yes"}],
        "stop_reason": "end_turn",
        "usage": {**last, "iterations": iterations},
    }
    entry = wire_entry(wire, "")
    usage = ask(payload, provider_type=entry["provider_type"], models=entry["models"], api_base=lambda url: url)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cache_write_tokens) == (170, 35, 50)
    assert "claude-opus-5 took part with 900 input and 90 output tokens" in usage.notes[0]
    assert usage.total_cost is None


@pytest.mark.parametrize(
    ("slug", "payload", "billed"),
    [
        ("openrouter", {"usage": {"cost": 0.5}}, Billed(usd=0.5)),
        ("openrouter", {"usage": {"cost": 0}}, Billed(usd=0.0)),
        (
            "openrouter",  # 5% of a fee, and what the vendor bills to the user's own key
            {"usage": {"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1.0}}},
            Billed(usd=1.05),
        ),
        ("openrouter", {"usage": {"cost": 0.05, "is_byok": True, "cost_details": {}}}, None),
        ("openrouter", {"usage": {"cost": None}}, None),
        ("openrouter", {"usage": {"cost": -1}}, None),
        ("openrouter", {"usage": {"cost": "0.5"}}, None),
        ("openrouter", {"usage": {"cost": True}}, None),
        ("openrouter", {"usage": None}, None),
        ("perplexity", {"usage": {"cost": {"total_cost": 0.006}}}, Billed(usd=0.006)),
        ("xai", {"usage": {"cost_in_usd_ticks": 37_756_000}}, Billed(usd=0.0037756)),
        (
            "cohere",
            {"meta": {"billed_units": {"input_tokens": 7.0, "output_tokens": 2}}},
            Billed(prompt_tokens=7, completion_tokens=2),
        ),
        ("cohere", {"usage": {"billed_units": {"input_tokens": 7.5, "output_tokens": 2}}}, None),
        ("openai", {"usage": {"cost": 0.5}}, None),
    ],
)
def test_what_a_body_says_was_billed(slug: str, payload: Any, billed: Billed | None) -> None:
    assert read_usage(slug, payload).get("billed") == billed


NAMES = st.sampled_from(
    [
        *("usage", "meta", "cost", "total_cost", "is_byok", "cost_details", "billed_units", "tokens", "input_tokens"),
        *("iterations", "model", "cached_tokens", "cost_in_usd_ticks", "eval_count"),
    ]
)
VENDORS = ["openrouter", "perplexity", "xai", "cohere", "anthropic", "ollama"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(
    st.sampled_from(["openrouter", "perplexity", "xai", "cohere", "anthropic", "ollama"]),
    st.dictionaries(NAMES, values, max_size=4),
)
def test_no_body_breaks_the_reading(slug: str, payload: Any) -> None:
    """A paid reply is never lost to what its usage looks like."""
    found = read_usage(slug, payload if isinstance(payload, dict) else {"usage": payload})
    assert all(value >= 0 for name, value in found.items() if name.endswith("_tokens"))


def test_ollamas_missing_count_is_noted() -> None:
    assert "LiteLLM's estimate" in read_usage("ollama", {"eval_count": 79})["notes"][0]
    assert read_usage("ollama", {"eval_count": 79, "prompt_eval_count": 5}) == {}
