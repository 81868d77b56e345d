"""Costs against values worked out by hand, and prices against the calculators of the packages they come from."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, astuple
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import genai_prices
import pytest
from conftest import ROOT
from console import litellm_environment, run_python
from genai_prices.data_snapshot import get_snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from llm_tester import catalog, pricing
from llm_tester.pricing import (
    Disagreement,
    Price,
    Quote,
    Tier,
    Tokens,
    cost,
    price_from_genai,
    price_from_litellm,
    quote,
)
from llm_tester.tokens import count_tokens_upper, estimate_tokens

EXACT = 1e-12  # USD

# The releases whose prices are typed below. Prices change with releases, and others prove nothing about our arithmetic.
TYPED_FOR = {"litellm": ("1.108.0", "1.110.2"), "genai-prices": ("0.2.3",)}
INSTALLED = {name: importlib.metadata.version(name) for name in TYPED_FOR}
typed_prices = pytest.mark.skipif(
    any(INSTALLED[name] not in versions for name, versions in TYPED_FOR.items()),
    reason=f"the rates are typed for {TYPED_FOR}, installed are {INSTALLED}",
)


def litellm_price(slug: str, model: str) -> Price:
    price = price_from_litellm(slug, model)
    assert price.source == f"litellm {catalog.litellm_version()}"
    return price


def genai_price(slug: str, model: str) -> Price:
    price = price_from_genai(slug, model)
    assert price.source == f"genai-prices {genai_prices.__version__}"
    return price


@typed_prices  # Each total is worked out by hand from the rates in the comment, in USD per million tokens.
@pytest.mark.parametrize(
    ("slug", "model", "tokens", "litellm_usd", "genai_usd"),
    [
        # 6,000 x 2.50 + 4,000 x 1.25 + 500 x 10
        ("openai", "gpt-4o", Tokens(10_000, 500, cached_tokens=4_000), 0.025, 0.025),
        # 4 x 2 + 14,714 x 0.20 + 379 x 2.50 + 290 x 10
        ("anthropic", "claude-sonnet-5", Tokens(15_097, 290, 14_714, 379, 19), 0.0067983, 0.0067983),
        # 200,000 x 3 + 100,000 x 0.30 + 1,000 x 15, against 200,000 x 6 + 100,000 x 0.60 + 1,000 x 22.50
        ("anthropic", "claude-sonnet-4-5", Tokens(300_000, 1_000, cached_tokens=100_000), 0.645, 1.2825),
        # 200,000 x 1.25 + 1,000 x 10: the threshold itself is still below it
        ("gemini", "gemini-2.5-pro", Tokens(200_000, 1_000), 0.26, 0.26),
        # 200,001 x 2.50 + 1,000 x 15: one token more, and the whole request is dearer
        ("gemini", "gemini-2.5-pro", Tokens(200_001, 1_000), 0.5150025, 0.5150025),
        # 200,000 x 2.50 + 100,000 x 0.25 + 1,000 x 15
        ("gemini", "gemini-2.5-pro", Tokens(300_000, 1_000, 100_000, 0, 900), 0.54, 0.54),
        # 272,000 x 2.50 + 100 x 15, and 272,001 x 5 + 100 x 22.50
        ("openai", "gpt-5.4", Tokens(272_000, 100), 0.6815, 0.6815),
        ("openai", "responses/gpt-5.4", Tokens(272_001, 100), 1.362255, 1.362255),
        # 1,000 x 1 + 100 x 1, and a search at 0.005 (low context) against 0.012 (high context)
        ("perplexity", "sonar", Tokens(1_000, 100), 0.0061, 0.0131),
        # 7 x 0.0375 + 61 x 0.15
        ("cohere", "command-r7b-12-2024", Tokens(7, 61), 0.0000094125, 0.0000094125),
    ],
)
def test_both_sources(slug: str, model: str, tokens: Tokens, litellm_usd: float, genai_usd: float) -> None:
    assert cost(tokens, litellm_price(slug, model)).total_usd == pytest.approx(litellm_usd, abs=EXACT)
    assert cost(tokens, genai_price(slug, model)).total_usd == pytest.approx(genai_usd, abs=EXACT)


@typed_prices
@pytest.mark.parametrize(
    ("slug", "model", "tokens", "usd"),
    [
        # tiered_pricing: 1 / 5 up to 32K, 1.80 / 9 up to 128K, ... 6 / 60 from 256K on, also past its end
        ("dashscope", "qwen3-coder-plus", Tokens(32_000, 1_000), 0.037),
        ("dashscope", "qwen3-coder-plus", Tokens(32_001, 1_000), 0.0666018),
        ("dashscope", "qwen3-coder-plus", Tokens(2_000_000, 1_000), 12.06),
        # 1,000 x 0.40 + 600 x 1.20 + 400 x 4: reasoning has a rate of its own
        ("dashscope", "qwen-plus-latest", Tokens(1_000, 1_000, reasoning_tokens=400), 0.00272),
        # xAI's higher tier begins at the threshold: 199,999 x 1.25, 200,000 x 2.50
        ("xai", "grok-4.20", Tokens(199_999, 0), 0.24999875),
        ("xai", "grok-4.20", Tokens(200_000, 0), 0.5),
        # Fireworks reads caches at half the input rate: 600 x 0.20 + 400 x 0.10
        ("fireworks_ai", "accounts/fireworks/models/code-llama-13b", Tokens(1_000, 0, cached_tokens=400), 0.00016),
        # No cache rate anywhere: cache reads and writes are input. 1,000 x 0.15
        ("bedrock", "converse/amazon.titan-text-lite-v1", Tokens(1_000, 0, 400, 100), 0.00015),
        # input_cost_per_request 0.005, input free, 100 x 0.28
        ("perplexity", "pplx-7b-online", Tokens(1_000, 100), 0.005028),
        ("zai", "glm-4.7-flash", Tokens(1_000_000, 1_000_000), 0.0),
        ("ollama", "llama3", Tokens(1_000_000, 1_000_000), 0.0),
        ("ollama_chat", "llama3", Tokens(1_000_000, 1_000_000), 0.0),
    ],
)
def test_litellms_rules(slug: str, model: str, tokens: Tokens, usd: float) -> None:
    assert cost(tokens, litellm_price(slug, model)).total_usd == pytest.approx(usd, abs=EXACT)


@typed_prices
def test_the_dearest_hour_is_the_price() -> None:
    # DeepSeek's list price; 0.15 / 0.60 outside of peak hours.
    for price in (litellm_price("deepseek", "deepseek-v4-flash"), genai_price("deepseek", "deepseek-v4-flash")):
        assert (price.input, price.output, price.cached_input) == (0.3, 1.2, 0.006)


def test_the_parts_of_a_cost() -> None:
    price = Price(input=3, output=15, cached_input=0.3, cache_write=3.75, reasoning=10, per_request=0.01)
    found = cost(Tokens(1_000, 200, 300, 100, 50), price)
    # 600 x 3 + 300 x 0.30 + 100 x 3.75 = 2,265; 150 x 15 + 50 x 10 = 2,750
    assert astuple(found) == (0.002265, 0.00275, 0.01, 0.015015)


def test_the_highest_tier_that_is_exceeded_holds_in_any_order() -> None:
    low, high = (Tier(above_tokens=above, input=above, output=1) for above in (10, 20))
    for tiers in ((low, high), (high, low)):
        price = Price(input=1, output=1, tiers=tiers)
        assert [price.rates(tokens).input for tokens in (10, 11, 20, 21)] == [1, 10, 10, 20]


def test_a_price_shows_every_rate() -> None:
    price = Price(input=3, output=15, tiers=(Tier(above_tokens=10, input=6, output=30, cached_input=1),))
    assert price.rates(10).model_dump() == {
        "input": 3.0,
        "output": 15.0,
        "cached_input": 3.0,
        "cache_write": 3.0,
        "reasoning": 15.0,
    }
    assert price.rates(11).model_dump() == {
        "input": 6.0,
        "output": 30.0,
        "cached_input": 1.0,
        "cache_write": 6.0,
        "reasoning": 30.0,
    }


# --- unknown is not free ---


@pytest.mark.parametrize(
    ("slug", "model"),
    [
        ("openai", "no-such-model"),
        ("groq", "no-such-model"),
        ("no-such-provider", "gpt-4o"),
        ("azure", "my-deployment"),
        ("ollama", "qwen3.6:latest"),
        ("meta_llama", "Llama-3.3-8B-Instruct"),  # in the bundle, without any price
        ("sarvam", "sarvam-m"),  # 0 and 0 without a source
        ("sagemaker", "meta-textgeneration-llama-2-7b-f"),  # 0 and 0; the instance is what costs
        ("gemini", "lyria-3-pro-preview"),  # 0 and 0, but 0.08 for each piece
        ("github_copilot", "gpt-4o"),  # a subscription
    ],
)
def test_an_unknown_price_is_none(slug: str, model: str) -> None:
    assert price_from_litellm(slug, model) is None
    assert price_from_genai(slug, model) is None
    assert quote(slug, model) == Quote(None, None)


def test_a_price_of_zero_has_a_reason() -> None:
    for slug in catalog.known_slugs():
        for model in catalog.model_names(slug):
            price = price_from_litellm(slug, model)
            if price is not None and price.input == price.output == 0:
                entry = catalog.model_entry(slug, model)
                assert entry.get("source") or slug in ("ollama", "ollama_chat", "lemonade"), (slug, model)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"input_cost_per_token": 1e-6}, None),
        ({"output_cost_per_token": 1e-6}, None),
        ({"input_cost_per_second": 0.01}, None),
        ({"input_cost_per_token": 0.0, "output_cost_per_token": 0.0}, None),
        ({"input_cost_per_token": 0, "output_cost_per_token": 0, "source": "https://example.org"}, (0.0, 0.0)),
        ({"input_cost_per_token": 0.0, "output_cost_per_token": 1e-6}, (0.0, 1.0)),
        ({"input_cost_per_token": 2.5e-07, "output_cost_per_token": 3.3e-06}, (0.25, 3.3)),
        ({"tiered_pricing": [{"range": [5, 9], "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}]}, None),
        ({"tiered_pricing": [{"max_results_range": [0, 25], "input_cost_per_query": 0.005}]}, None),
    ],
)
def test_entries_of_the_bundle(
    monkeypatch: pytest.MonkeyPatch, entry: Mapping[str, Any], expected: tuple[float, float] | None
) -> None:
    monkeypatch.setattr(catalog, "model_entry", lambda slug, model: MappingProxyType(entry))
    price = price_from_litellm("anyone", "model")
    assert (None if price is None else (price.input, price.output)) == expected


def test_a_half_priced_model_of_genai_is_unknown() -> None:
    assert price_from_genai("perplexity", "pplx-embed-context-v1-4b") is None


def test_genai_does_not_open_a_connection() -> None:
    code = (
        "import socket\n"
        "def refuse(*args, **kwargs): raise AssertionError('a connection')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "import sys, threading\n"
        "from llm_tester.pricing import quote\n"
        "assert quote('openai', 'gpt-4o').other\n"
        "assert threading.active_count() == 1\n"
        "sys.exit('litellm' in sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)


# --- quotes ---


def test_the_config_wins() -> None:
    mine = Price(input=1, output=2)
    found = quote("anthropic", "claude-sonnet-4-5", mine)
    assert found.chosen is mine
    assert found.chosen.source == "config"
    assert found.other == litellm_price("anthropic", "claude-sonnet-4-5")
    assert quote("anthropic", "claude-sonnet-4-5", mine, "genai-prices").other == genai_price(
        "anthropic", "claude-sonnet-4-5"
    )
    assert quote("azure", "my-deployment", mine) == Quote(mine, None)


def test_a_free_price_in_the_config_is_a_price() -> None:
    assert quote("ollama", "qwen3.6:latest", Price(input=0, output=0)).chosen == Price(input=0, output=0)


def test_the_leading_source() -> None:
    model = ("mistral", "magistral-medium-latest")
    litellm, genai = litellm_price(*model), genai_price(*model)
    assert (quote(*model).chosen, quote(*model).other) == (litellm, genai)
    led = quote(*model, lead="genai-prices")
    assert (led.chosen, led.other) == (genai, litellm)


@pytest.mark.parametrize("lead", ["litellm", "genai-prices"])
def test_the_other_source_where_the_leading_one_knows_nothing(lead: pricing.PriceSource) -> None:
    by_litellm_only = quote("bedrock", "converse/minimax.minimax-m2", lead=lead)
    assert by_litellm_only == Quote(litellm_price("bedrock", "converse/minimax.minimax-m2"), None)
    by_genai_only = quote("groq", "llama-3.3-70b-versatile", lead=lead)
    assert by_genai_only == Quote(genai_price("groq", "llama-3.3-70b-versatile"), None)


@typed_prices
def test_disagreement_names_the_rates() -> None:
    assert quote("anthropic", "claude-sonnet-4-5").disagreement == (
        Disagreement("input above 200000 tokens", 3.0, 6.0, 0.5),
        Disagreement("output above 200000 tokens", 15.0, 22.5, 7.5 / 22.5),
        Disagreement("cached_input above 200000 tokens", 0.3, 0.6, 0.5),
        Disagreement("cache_write above 200000 tokens", 3.75, 7.5, 0.5),
    )
    assert quote("openai", "gpt-4o").disagreement == ()
    (search,) = quote("perplexity", "sonar").disagreement
    assert search[:3] == ("per_request", 0.005, 0.012)
    assert search.relative == pytest.approx(7 / 12)


def disagreements(mine: Price, theirs: Price) -> list[str]:
    return [found.rate for found in pricing._disagreements(mine, theirs)]


def test_disagreement_rules() -> None:
    base = Price(input=10, output=10)
    assert disagreements(base, base) == []
    assert disagreements(base, Price(input=10.1, output=9.9)) == []  # not more than 1 %
    assert disagreements(base, Price(input=10.2, output=9.8)) == ["input", "output"]  # and not again for the parts
    assert disagreements(base, Price(input=10, output=10, cached_input=1)) == ["cached_input"]
    assert disagreements(base, Price(input=10, output=10, reasoning=20)) == ["reasoning"]
    assert disagreements(base, Price(input=0, output=10)) == ["input"]
    tier = Tier(above_tokens=5, input=20, output=10)
    assert disagreements(base, Price(input=10, output=10, tiers=(tier,))) == ["input above 5 tokens"]
    assert disagreements(Price(input=30, output=10), Price(input=20, output=10, tiers=(tier,))) == ["input"]


# --- what is refused ---


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"input": -1}, "greater than or equal to 0"),
        ({"input": math.nan}, "finite number"),
        ({"input": math.inf}, "finite number"),
        ({"input": "3"}, "valid number"),
        ({"input": True}, "valid number"),
        ({"input": None}, "valid number"),
        ({"output": "free"}, "valid number"),
        ({"cached_input": "0.3"}, "valid number"),
        ({"per_request": -0.01}, "greater than or equal to 0"),
        ({"inputs": 3}, "Extra inputs are not permitted"),
        ({"tiers": [{"above_tokens": 1.5, "input": 1, "output": 1}]}, "valid integer"),
        ({"tiers": [{"above_tokens": -1, "input": 1, "output": 1}]}, "greater than or equal to 0"),
        ({"tiers": [{"above_tokens": 1, "input": "1", "output": 1}]}, "valid number"),
    ],
)
def test_a_bad_price_is_refused(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        Price(**{"input": 1, "output": 1, **bad})
    assert caught.value.errors()[0]["loc"][0] == next(iter(bad))


def test_a_price_cannot_be_changed_and_survives_json() -> None:
    price = litellm_price("gemini", "gemini-2.5-pro")
    with pytest.raises(ValidationError, match="frozen"):
        price.input = 0.0
    assert Price.model_validate_json(price.model_dump_json()) == price
    assert Price.model_validate({"input": 3, "output": 15, "tiers": []}).tiers == ()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"prompt_tokens": -1}, "prompt_tokens must be an int of 0 or more, found -1"),
        ({"completion_tokens": 1.0}, "completion_tokens must be an int of 0 or more, found 1.0"),
        ({"prompt_tokens": True}, "prompt_tokens must be an int of 0 or more, found True"),
        ({"cached_tokens": None}, "cached_tokens must be an int of 0 or more, found None"),
        ({"prompt_tokens": 9, "cached_tokens": 5, "cache_write_tokens": 5}, "more than prompt_tokens"),
        ({"completion_tokens": 9, "reasoning_tokens": 10}, "more than completion_tokens"),
    ],
)
def test_bad_tokens_are_refused(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Tokens(**bad)


# --- properties ---

counts = st.integers(0, 10_000_000)
rates = st.floats(0, 1_000, allow_nan=False) | st.integers(0, 1_000)


@st.composite
def usages(draw: st.DrawFn) -> Tokens:
    cached, written, plain, reasoning, text = (draw(counts) for _ in range(5))
    return Tokens(cached + written + plain, reasoning + text, cached, written, reasoning)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    """A price whose tiers never get cheaper."""
    names = ("input", "output", "cached_input", "cache_write", "reasoning")
    current = {name: float(draw(rates)) for name in names}
    base, tiers = dict(current), []
    for above in sorted(draw(st.sets(st.integers(0, 20_000_000), max_size=3))):
        current = {name: rate + draw(rates) for name, rate in current.items()}
        tiers.append(Tier(above_tokens=above, **current))
    return Price.model_validate({**base, "per_request": draw(rates), "tiers": tiers})


def exact(rate: float) -> Fraction:
    return Fraction(repr(rate)) / 1_000_000


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first draw imports much, slowly on a busy machine
@given(usages(), prices())
def test_a_cost_is_exact(tokens: Tokens, price: Price) -> None:
    at = price.rates(tokens.prompt_tokens)
    assert at.cached_input is not None
    assert at.cache_write is not None
    assert at.reasoning is not None
    plain = tokens.prompt_tokens - tokens.cached_tokens - tokens.cache_write_tokens
    given_usd = plain * exact(at.input) + tokens.cached_tokens * exact(at.cached_input)
    given_usd += tokens.cache_write_tokens * exact(at.cache_write)
    made_usd = (tokens.completion_tokens - tokens.reasoning_tokens) * exact(at.output)
    made_usd += tokens.reasoning_tokens * exact(at.reasoning)
    request_usd = Fraction(repr(price.per_request))
    found = cost(tokens, price)
    assert found.total_usd == float(given_usd + made_usd + request_usd)
    assert found.input_usd == float(given_usd)
    assert found.output_usd == float(made_usd)
    assert found.total_usd == pytest.approx(found.input_usd + found.output_usd + found.request_usd, rel=1e-15)


@given(usages(), prices(), counts, st.sampled_from(["prompt_tokens", "completion_tokens"]))
def test_more_tokens_never_cost_less(tokens: Tokens, price: Price, more: int, total: str) -> None:
    dearer = Tokens(**{**asdict(tokens), total: getattr(tokens, total) + more})
    assert cost(dearer, price).total_usd >= cost(tokens, price).total_usd


@given(prices())
def test_no_tokens_cost_only_the_request(price: Price) -> None:
    assert astuple(cost(Tokens(), price)) == (0.0, 0.0, price.per_request, price.per_request)


# --- the packages' own calculators ---

USAGES = [
    Tokens(1_000, 200),
    Tokens(150_000, 3_000, 40_000, 10_000, 500),
    Tokens(200_000, 1_000),
    Tokens(300_000, 1_000, 100_000, 5_000, 700),
    Tokens(600_000, 10, 0, 0, 10),
]

# Runs in a process of its own, as importing LiteLLM must not leak. At 02:00 UTC on a Monday no off-peak rate holds.
# "perplexity/perplexity/sonar" is two models in LiteLLM: it drops a repeated slug, and finds "perplexity/sonar".
ASK_LITELLM = """
import json, sys
from datetime import UTC, datetime
from litellm.exceptions import NotFoundError
from litellm.litellm_core_utils.llm_cost_calc.utils import generic_cost_per_token
from litellm.types.utils import CompletionTokensDetailsWrapper, PromptTokensDetailsWrapper, Usage
from llm_tester import catalog, pricing
usages, compared, different = json.load(sys.stdin), 0, []
for slug in sorted(catalog.known_slugs() - set(catalog._ALIASES) - {"cohere", "amazon_nova"}):
    for model in catalog.model_names(slug):
        price = pricing.price_from_litellm(slug, model)
        if price is None or (slug, model) == ("perplexity", "perplexity/sonar"):
            continue
        for usage in [usages[compared % len(usages)]]:  # in turn: all of them for every model take half a minute
            tokens = pricing.Tokens(**usage)
            theirs = generic_cost_per_token(
                model=model, custom_llm_provider=slug, current_time=datetime(2026, 11, 23, 2, tzinfo=UTC),
                usage=Usage(
                    prompt_tokens=tokens.prompt_tokens, completion_tokens=tokens.completion_tokens,
                    prompt_tokens_details=PromptTokensDetailsWrapper(
                        cached_tokens=tokens.cached_tokens, cache_creation_tokens=tokens.cache_write_tokens),
                    completion_tokens_details=CompletionTokensDetailsWrapper(reasoning_tokens=tokens.reasoning_tokens),
                ),
            )
            ours, compared = pricing.cost(tokens, price), compared + 1
            if abs(theirs[0] - ours.input_usd) > 1e-9 or abs(theirs[1] - ours.output_usd) > 1e-9:
                different.append([slug, model, usage, theirs, [ours.input_usd, ours.output_usd]])
print(json.dumps([compared, different]))
"""


def test_litellm_computes_the_same() -> None:
    usages = json.dumps([asdict(tokens) for tokens in USAGES])
    run = run_python(ASK_LITELLM, env=litellm_environment(), stdin=usages)
    assert run.returncode == 0, run.stderr
    compared, different = json.loads(run.stdout.splitlines()[-1])
    assert different == []
    assert compared > 2_500


def test_genai_prices_computes_the_same() -> None:
    slugs = {provider: slug for slug, provider in pricing._GENAI_PROVIDERS.items()}
    compared = 0
    for provider in get_snapshot().providers:
        for model in provider.models if provider.id in slugs else ():
            price = price_from_genai(slugs[provider.id], model.id)
            if price is None or (provider.id == "deepseek" and isinstance(model.prices, list)):  # hours of the day
                continue
            for tokens in USAGES:
                usage = genai_prices.Usage(
                    input_tokens=tokens.prompt_tokens,
                    output_tokens=tokens.completion_tokens,
                    cache_read_tokens=tokens.cached_tokens,
                    cache_write_tokens=tokens.cache_write_tokens,
                    output_reasoning_tokens=tokens.reasoning_tokens,
                )
                theirs = genai_prices.calc_price(usage, model.id, provider_id=provider.id).total_price
                ours = cost(tokens, price).total_usd
                assert ours == pytest.approx(float(theirs), abs=1e-9), (provider.id, model.id, tokens)
                compared += 1
    assert compared > 5_000


def test_every_mapped_provider_exists_in_both_packages() -> None:
    assert set(pricing._GENAI_PROVIDERS) <= catalog.known_slugs()
    assert set(pricing._GENAI_PROVIDERS.values()) <= {provider.id for provider in get_snapshot().providers}


def test_litellms_rules_that_are_code_are_still_there() -> None:
    spec = importlib.util.find_spec("litellm")
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    calculator = (package / "litellm_core_utils" / "llm_cost_calc" / "utils.py").read_text(encoding="utf-8")
    assert '_INCLUSIVE_THRESHOLD_PROVIDERS: Final = frozenset({"xai"})' in calculator
    assert "FIREWORKS_AI_DEFAULT_CACHE_READ_RATE_RATIO: Final = 0.5" in (package / "constants.py").read_text("utf-8")
    sonar = (package / "llms" / "perplexity" / "cost_calculator.py").read_text(encoding="utf-8")
    assert 'search_cost_value.get("search_context_size_low", 0)' in sonar


# --- tokens of a text ---


@settings(deadline=None)  # the first example loads the encoding
@given(st.text(), st.text())
def test_the_upper_bound(text: str, more: str) -> None:
    bound = count_tokens_upper(text)
    assert bound >= len(text.encode("utf-8", "surrogatepass"))
    assert bound >= estimate_tokens(text)
    assert count_tokens_upper(text + text) >= bound
    assert count_tokens_upper(text + more) <= count_tokens_upper(text) + count_tokens_upper(more)


def test_the_upper_bound_counts_what_normalization_makes() -> None:
    ligature = "\ufdfa"  # 3 bytes, 33 after NFKC
    assert count_tokens_upper(ligature * 100) == 3_300 + 512
    assert count_tokens_upper("") == 512
    assert count_tokens_upper("\ud800") == 515  # a lone surrogate is text that JSON can carry


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The one tokenizer that LiteLLM ships in its package, Claude 2's."""
    tokenizers = pytest.importorskip("tokenizers")
    spec = importlib.util.find_spec("litellm")
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "litellm_core_utils" / "tokenizers"
    return tokenizers.Tokenizer.from_file(str(folder / "anthropic_tokenizer.json"))


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_has_more_tokens_than_bytes(tokenizer: Any, text: str) -> None:
    assert len(tokenizer.encode(text).ids) <= count_tokens_upper(text) - 512


@pytest.mark.parametrize(
    "text",
    [
        "The Aurora Lamp costs 39.90 EUR and ships in two days, weather permitting. " * 20,
        "Die Überraschung über die Größe der Straßenbahn währte fünfzig Jahre. " * 20,
        "Стоимость лампы составляет тридцать девять евро девяносто центов. " * 20,
        "极光灯售价三十九欧元九十分两天内发货。" * 20,
    ],
)
def test_the_estimate_is_near(tokenizer: Any, text: str) -> None:
    # Claude 2's is from before o200k_base; it spends twice the tokens on Cyrillic.
    assert 0.45 < estimate_tokens(text) / len(tokenizer.encode(text).ids) < 1.2


@pytest.mark.parametrize("model", ["gpt-4o", "openai/gpt-4o-mini", "responses/gpt-5.4", "openai/gpt-oss-20b"])
def test_openais_newer_models_are_counted_in_their_own_encoding(model: str) -> None:
    # tiktoken's o200k_base, by OpenAI's tokenizer page: "The| Aurora| Lamp| costs| |39|.|90| EUR|."
    assert estimate_tokens("The Aurora Lamp costs 39.90 EUR.", model) == 10


def test_the_estimate_depends_on_the_models_encoding() -> None:
    text = "Стоимость лампы составляет тридцать девять евро."
    newer, older = (estimate_tokens(text, model) for model in ("gpt-4o", "gpt-4"))
    assert newer < older
    assert estimate_tokens(text, "claude-sonnet-5") == estimate_tokens(text) == newer
    assert estimate_tokens("<|endoftext|>") > 1
    assert estimate_tokens("") == 0


def test_the_estimate_needs_neither_litellm_nor_the_network(tmp_path: Path) -> None:
    """The files come with LiteLLM's package, and tiktoken's own cache is left alone."""
    code = (
        "import os, socket, sys\n"
        "def refuse(*_): raise OSError('no network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from llm_tester.pricing import estimate_tokens\n"
        "assert 'tiktoken' not in sys.modules\n"
        "assert estimate_tokens('hello world') == 2\n"
        "assert 'litellm' not in sys.modules\n"
        "assert os.environ['TIKTOKEN_CACHE_DIR'] == sys.argv[1]\n"
    )
    environment = {**os.environ, "TIKTOKEN_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []
