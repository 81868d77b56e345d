"""What 118 real replies cost, against rates typed by hand from the providers' published prices.

The corpus is test data outside of the project, at ../shared/corpus; without it these tests are skipped.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
import yaml
from corpus_routes import PROVIDERS, route_of
from test_corpus import CASES, CORPUS, Replay, fresh, marked, no_network, replay  # noqa: F401

from llm_tester.pricing import Tokens, cost, quote
from llm_tester.tokens import count_tokens_upper

pytestmark = pytest.mark.skipif(not CASES, reason=f"the corpus of recorded traffic is not at {CORPUS}")

# The releases whose prices are typed below. Prices change with releases, and others prove nothing about our arithmetic.
TYPED_FOR = {"litellm": ("1.108.0", "1.110.2"), "genai-prices": ("0.2.3",)}
INSTALLED = {name: importlib.metadata.version(name) for name in TYPED_FOR}
typed_prices = pytest.mark.skipif(
    any(INSTALLED[name] not in versions for name, versions in TYPED_FOR.items()),
    reason=f"the rates are typed for {TYPED_FOR}, installed are {INSTALLED}",
)

# (entry, model) in corpus_routes.py -> USD per million tokens: input, output, cached input, cache write; and the source
# that the price has to come from. "-" is a rate that the source does not give, so that the tokens are input; None is a
# model that neither source has a price for. None of the 118 inputs reaches a long-context threshold.
RATES: dict[tuple[str, str], tuple[str, str] | None] = {
    ("anthropic", "claude-3-5-sonnet-20240620"): ("3 15 0.30 3.75", "genai-prices"),
    ("anthropic", "claude-3-7-sonnet-20250219"): ("3 15 0.30 3.75", "genai-prices"),
    ("anthropic", "claude-opus-5"): ("5 25 0.50 6.25", "litellm"),
    ("anthropic", "claude-sonnet-4-0"): ("3 15 0.30 3.75", "genai-prices"),
    ("anthropic", "claude-sonnet-4-5"): ("3 15 0.30 3.75", "litellm"),
    ("anthropic", "claude-sonnet-4-5-20250929"): ("3 15 0.30 3.75", "litellm"),
    ("anthropic", "claude-sonnet-4-6"): ("3 15 0.30 3.75", "litellm"),
    ("anthropic", "claude-sonnet-5"): ("2 10 0.20 2.50", "litellm"),
    ("azure", "gpt-5-nano"): ("0.05 0.40 0.005 -", "litellm"),
    ("azure", "openllmetry-testing"): None,  # a deployment's name
    ("azure.responses", "responses/gpt-5.4"): ("2.50 15 0.25 -", "litellm"),
    ("bedrock", "converse/amazon.titan-text-lite-v1"): ("0.15 0.20 - -", "litellm"),
    ("bedrock", "converse/minimax.minimax-m2"): ("0.30 1.20 - -", "litellm"),
    ("bedrock", "converse/qwen.qwen3-32b-v1:0"): ("0.15 0.60 - -", "litellm"),
    ("bedrock", "converse/us.amazon.nova-pro-v1:0"): ("0.80 3.20 0.20 -", "litellm"),
    ("bedrock", "converse/us.anthropic.claude-3-7-sonnet-20250219-v1:0"): ("3 15 0.30 3.75", "litellm"),
    ("bedrock", "converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0"): ("3.30 16.50 0.33 4.125", "litellm"),
    ("bedrock", "converse/us.meta.llama4-maverick-17b-instruct-v1:0"): ("0.24 0.97 - -", "litellm"),
    ("bedrock.claude-2", "invoke/anthropic.claude-3-haiku-20240307-v1:0"): (
        "0.25 1.25 - -",
        "genai-prices",
    ),  # the price of the name that the entry asks for
    ("bedrock.claude-3-5", "invoke/us.anthropic.claude-3-5-sonnet-20240620-v1:0"): ("3 15 0.30 3.75", "litellm"),
    ("bedrock_mantle", "openai.gpt-oss-safeguard-20b"): ("0.07 0.20 - -", "litellm"),
    ("cerebras", "gpt-oss-120b"): ("0.35 0.75 - -", "litellm"),
    ("cerebras", "llama3.3-70b"): None,
    ("cerebras", "zai-glm-4.7"): ("2.25 2.75 - -", "genai-prices"),
    ("cohere", "command"): ("1 2 - -", "genai-prices"),
    ("cohere", "command-r-08-2024"): ("0.15 0.60 - -", "litellm"),
    ("cohere", "command-r7b-12-2024"): ("0.0375 0.15 - -", "litellm"),
    ("crusoe", "zai/GLM-5.2"): None,
    ("deepseek", "deepseek-reasoner"): ("0.28 0.42 0.028 -", "litellm"),
    ("deepseek.responses", "responses/deepseek-v4-flash"): None,
    ("gemini", "gemini-1.5-flash"): ("0.075 0.30 0.01875 -", "genai-prices"),
    ("gemini", "gemini-2.0-flash"): ("0.10 0.40 0.025 -", "genai-prices"),
    ("gemini", "gemini-2.5-flash"): ("0.30 2.50 0.03 -", "litellm"),
    ("gemini", "gemini-2.5-pro"): ("1.25 10 0.125 -", "litellm"),
    ("gemini.v1beta", "gemini-3-flash-preview"): ("0.50 3 0.05 -", "litellm"),
    ("groq", "llama-3.3-70b-versatile"): ("0.59 0.79 - -", "genai-prices"),
    ("groq", "openai/gpt-oss-120b"): ("0.15 0.60 0.075 -", "litellm"),
    ("groq", "qwen/qwen3-32b"): ("0.29 0.59 - -", "genai-prices"),
    ("huggingface.nebius", "Qwen/Qwen2.5-VL-72B-Instruct"): None,
    ("huggingface.together", "None"): None,
    ("huggingface.together", "deepseek-ai/DeepSeek-R1"): None,
    ("mistral", "magistral-medium-latest"): ("1.50 7.50 0.15 -", "litellm"),
    ("mistral", "mistral-medium-latest"): ("1.50 7.50 0.15 -", "litellm"),
    ("mistral", "mistral-small-latest"): ("0.15 0.60 0.015 -", "litellm"),
    ("mistral", "mistral-tiny"): ("0.25 0.25 0.025 -", "litellm"),
    ("ollama", "llama3"): ("0 0 - -", "litellm"),
    ("ollama.cloud", "gpt-oss:20b"): None,
    ("ollama.qwen", "llama3"): ("0 0 - -", "litellm"),
    ("openai", "gpt-3.5-turbo"): ("0.50 1.50 - -", "litellm"),
    ("openai", "gpt-4o"): ("2.50 10 1.25 -", "litellm"),
    ("openai", "gpt-4o-mini"): ("0.15 0.60 0.075 -", "litellm"),
    ("openai", "gpt-4o-search-preview"): ("2.50 10 1.25 -", "litellm"),
    ("openai", "gpt-5-mini"): ("0.25 2 0.025 -", "litellm"),
    ("openai", "gpt-5-nano"): ("0.05 0.40 0.005 -", "litellm"),
    ("openai", "responses/gpt-4o"): ("2.50 10 1.25 -", "litellm"),
    ("openai", "responses/gpt-5"): ("1.25 10 0.125 -", "litellm"),
    ("openai", "responses/gpt-5.4"): ("2.50 15 0.25 -", "litellm"),
    ("openai", "responses/gpt-5.4-mini"): ("0.75 4.50 0.075 -", "litellm"),
    ("openai", "responses/gpt-5.5"): ("5 30 0.50 -", "litellm"),
    ("openai", "responses/gpt-5.6-sol"): ("4 20 0.40 5", "litellm"),
    ("openrouter", "anthropic/claude-sonnet-4.5"): ("3 15 0.30 3.75", "genai-prices"),
    ("openrouter", "anthropic/claude-sonnet-4.6"): ("3 15 0.30 3.75", "genai-prices"),
    ("openrouter", "google/gemini-2.0-flash-exp:free"): None,
    ("openrouter", "google/gemini-3.6-flash"): ("0.75 3.75 0.075 0.0416666666666667", "genai-prices"),
    ("openrouter", "mistralai/mistral-small"): ("0.20 0.60 - -", "genai-prices"),
    ("openrouter", "openai/gpt-5-mini"): ("0.25 2 0.025 -", "genai-prices"),
    ("openrouter", "z-ai/glm-4.6"): ("0.60 2.20 0.11 -", "genai-prices"),
    ("openrouter.databricks", "openai/gpt-5.1-codex-mini"): None,
    ("snowflake", "openai-gpt-4.1"): ("2 8 0.50 -", "litellm"),
    ("snowflake.claude", "claude-sonnet-4-6"): None,
    ("vertex.europe-west4", "gemini-2.5-flash"): ("0.30 2.50 0.03 -", "litellm"),
    ("vertex.global", "gemini-2.0-flash"): ("0.1 0.4 0.025 -", "genai-prices"),
    ("vertex.global-2", "gemini-3-flash-preview"): ("0.50 3 0.05 -", "litellm"),
    ("vertex.us-central1", "gemini-2.5-pro"): ("1.25 10 0.125 -", "litellm"),
    ("zai", "glm-4.6v"): ("0.30 0.90 0.05 -", "genai-prices"),
    ("zai", "glm-4.7"): ("0.60 2.20 0.11 0", "litellm"),
    ("zai", "glm-5.2"): ("1.40 4.40 0.26 0", "litellm"),
}

SOURCES = {"litellm": 73, "genai-prices": 17, "provider": 11, None: 17}

# Two replies that their providers bill differently from what the sources publish today; the others agree.
OPENROUTER_CHANGED = {
    "google/gemini-3.6-flash": "recorded when it cost twice as much, 1.50 and 7.50",
    "openai/gpt-5.1-codex-mini": "includes 0.002 for a web search",
}


REPLIES = [marked(case, expect_failure=False) for case in CASES if case["status"] == 200]


def route(case: dict[str, Any]) -> tuple[str, str]:
    """The entry and the model in it through which a case is replayed."""
    return route_of(case["provider"], case["litellm_model"].partition("/")[2])


def place(entry: str, model: str) -> tuple[str, str]:
    """The slug and the model in the price sources."""
    return PROVIDERS[entry].get("provider_type", entry), model


def tokens_of(case: dict[str, Any]) -> Tokens | None:
    """The tokens of the payload, all input and all output; None if the payload does not say."""
    usage = case["expected_usage"]
    if iterations := (case["payload_usage"] or {}).get("iterations"):  # the index has their top level only
        own = [item for item in iterations if "model" not in item]
        names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
        plain, written, read, made = (sum(item[name] for item in own) for name in names)
        return Tokens(plain + written + read, made, read, written)
    prompt = usage.get("prompt_tokens_inclusive", usage["prompt_tokens"])
    completion = usage.get("completion_tokens_inclusive", usage["completion_tokens"])
    if prompt is None or completion is None:
        return None
    return Tokens(
        prompt_tokens=prompt + (usage.get("tool_use_prompt_tokens") or 0),  # Gemini's, in its total but not its prompt
        completion_tokens=completion,
        cached_tokens=usage["cached_tokens"] or 0,
        cache_write_tokens=usage["cache_write_tokens"] or 0,
        reasoning_tokens=usage["reasoning_tokens"] or 0,
    )


def oracle(rates: str, tokens: Tokens) -> Decimal:
    given, made, cached, written = (None if rate == "-" else Decimal(rate) for rate in rates.split())
    assert given is not None
    assert made is not None
    plain = tokens.prompt_tokens - tokens.cached_tokens - tokens.cache_write_tokens
    total = plain * given + tokens.completion_tokens * made
    total += tokens.cached_tokens * (given if cached is None else cached)
    total += tokens.cache_write_tokens * (given if written is None else written)
    return total / 1_000_000


def expected_cost(case: dict[str, Any]) -> tuple[Decimal | None, str | None]:
    """What the reply costs in USD, and which source says so."""
    rates, usage, tokens = RATES[route(case)], case["expected_usage"], tokens_of(case)
    if case["provider"] == "openrouter" and (billed := case["payload_usage"].get("cost")) is not None:
        return Decimal(repr(billed)), "provider"
    iterations = (case["payload_usage"] or {}).get("iterations", [])
    if rates is None or any("model" in iteration for iteration in iterations):  # an advisor has another price
        return None, None
    if tokens is None:  # one of Ollama's, which does not say what it read; it costs nothing anyway
        assert rates[0] == "0 0 - -"
        return Decimal(0), rates[1]
    if "billed_input_tokens" in usage:  # Cohere counts everything, and bills less: without its own preamble
        return oracle(rates[0], Tokens(usage["billed_input_tokens"], usage["billed_output_tokens"])), "provider"
    return oracle(rates[0], tokens), rates[1]


def test_the_table_has_each_model_of_the_corpus() -> None:
    assert {route(case) for case in CASES if case["status"] == 200} == set(RATES)
    assert len(REPLIES) == 118


@typed_prices
@pytest.mark.parametrize("case", REPLIES)
def test_what_a_reply_used_and_cost(case: dict[str, Any], replay: Replay) -> None:  # noqa: F811
    _, usage = replay(case)
    if tokens := tokens_of(case):
        assert (usage.prompt_tokens, usage.completion_tokens) == (tokens.prompt_tokens, tokens.completion_tokens)
        assert (usage.cached_tokens, usage.cache_write_tokens) == (tokens.cached_tokens, tokens.cache_write_tokens)
    total, source = expected_cost(case)
    assert usage.total_cost == (None if total is None else pytest.approx(float(total), abs=1e-12))
    assert (usage.cost_source or "").split(" ")[0] == (source or "")


@typed_prices
def test_the_sources_of_all_costs() -> None:
    sources = Counter(expected_cost(case)[1] for case in CASES if case["status"] == 200)
    assert sources == SOURCES


@typed_prices
def test_where_the_two_sources_disagree(capsys: pytest.CaptureFixture[str]) -> None:
    lines = []
    for slug, model in sorted({place(*key) for key in RATES}):
        found = quote(slug, model)
        if found.chosen is None or found.other is None:
            continue
        for rate, chosen, other, relative in found.disagreement:
            lines.append(f"  {slug}/{model}: {rate}: {chosen:g} against {other:g} ({relative:.0%})")
    assert {key for key in RATES if quote(*place(*key)).disagreement} == {
        ("anthropic", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-4-5-20250929"),
        ("bedrock", "converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("deepseek", "deepseek-reasoner"),
        ("mistral", "magistral-medium-latest"),
        ("mistral", "mistral-tiny"),
        ("openai", "gpt-4o-search-preview"),
        ("zai", "glm-4.7"),
        ("zai", "glm-5.2"),
    }
    head = f"LiteLLM and genai-prices disagree on {len(lines)} rates of the corpus' models, in USD per million tokens:"
    with capsys.disabled():
        sys.stdout.write("\n".join(["", head, *lines, ""]))


@typed_prices
def test_the_price_lists_against_what_openrouter_billed() -> None:
    agreed = 0
    for case in CASES:
        billed = (case.get("payload_usage") or {}).get("cost") if case["provider"] == "openrouter" else None
        if billed is None:
            continue
        model, tokens = route(case)[1], tokens_of(case)
        price = quote("openrouter", model).chosen
        assert price is not None
        assert tokens is not None
        same = cost(tokens, price).total_usd == pytest.approx(billed, abs=1e-9)
        assert same != (model in OPENROUTER_CHANGED), (model, billed)
        agreed += same
    assert agreed == 4


# Requests for which the provider fetches or runs something, whose result is input too.
HOSTED = ("https://", "code_execution", "codeExecution", "advisor_")


def test_the_upper_bound_holds_for_every_text_request() -> None:
    """Of the whole request body, so with its tools and schemas."""
    beyond, checked = [], 0
    for case in (case for case in CASES if case["status"] == 200):
        usage = case["expected_usage"]
        counted = [usage.get(name) for name in ("billed_input_tokens", "prompt_tokens_inclusive", "prompt_tokens")]
        prompt = next((count for count in counted if count is not None), None)
        body = yaml.safe_load((CORPUS / case["file"]).read_text(encoding="utf-8"))["interactions"][0]["request"]["body"]
        text = body if isinstance(body, str) else json.dumps(body)
        if prompt is None or not body or any(mark in text for mark in HOSTED):
            continue
        checked += 1
        if prompt > count_tokens_upper(text):
            beyond.append(case["file"])
    assert beyond == []
    assert checked >= 100
