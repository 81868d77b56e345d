"""Prices that can be audited: the config's, LiteLLM's bundle's and genai-prices'; `quote` chooses and compares.

The bundle is read through `llm_tester.catalog`; genai-prices comes with pydantic-ai. A price that no one publishes is
None and never 0. docs/prices.md explains the rules.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from . import catalog
from ._price import Cost, Price, Rates, Tier, Tokens, cost
from .tokens import count_tokens_upper, estimate_tokens

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

__all__ = [
    "Cost",
    "Disagreement",
    "Price",
    "PriceSource",
    "Quote",
    "Rates",
    "Tier",
    "Tokens",
    "cost",
    "count_tokens_upper",
    "estimate_tokens",
    "price_from_genai",
    "price_from_litellm",
    "quote",
]

PriceSource = Literal["litellm", "genai-prices"]

_TOLERANCE = 0.01  # two sources that are closer than this, relatively, agree


class Disagreement(NamedTuple):
    """One rate, USD per million tokens (per_request: USD), on which two sources differ by more than 1 %."""

    rate: str
    chosen: float
    other: float
    relative: float


@dataclass(frozen=True)
class Quote:
    """The price to use, the best other one, and where they disagree; None if no source has a price."""

    chosen: Price | None
    other: Price | None
    disagreement: tuple[Disagreement, ...] = ()


# LiteLLM's bundle: USD per token.
_LITELLM_KEYS: Mapping[str, str] = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "reasoning": "output_cost_per_reasoning_token",
}
_THRESHOLD = re.compile(rf"(?:{'|'.join(_LITELLM_KEYS.values())})(_above_(\d+)(k?)_tokens)")
# Code, not data, in litellm/litellm_core_utils/llm_cost_calc/utils.py and litellm/constants.py: xAI's higher tier
# begins at the threshold itself, and Fireworks reads caches at half the input rate if the bundle gives none.
_INCLUSIVE_THRESHOLDS = ("xai",)
_CACHED_SHARE: Mapping[str, Decimal] = {"fireworks_ai": Decimal("0.5")}
# Local servers, whose tokens cost nothing. Elsewhere a 0 without a source is a placeholder.
_LOCAL = ("lemonade", "ollama", "ollama_chat")


def price_from_litellm(slug: str, model: str) -> Price | None:
    """The standard price in the installed LiteLLM's bundle, which is data in its package.

    Args:
        slug: a LiteLLM provider slug.
        model: the model's name without the slug.

    Returns:
        The price, or None if the bundle has no such model, no rate for its input or its output tokens, or only
        zeros without a source. Batch, flex, priority, off-peak and regional rates are left out.

    Raises:
        ConfigError: LiteLLM or its bundle is missing or broken.
    """
    entry = catalog.model_entry(slug, model)
    if entry is None:
        return None
    rates, tiers = _ranges(entry) if entry.get("tiered_pricing") else _thresholds(slug, entry)
    if rates["input"] is None or rates["output"] is None or _is_placeholder(slug, entry, rates):
        return None
    per_request = entry.get("input_cost_per_request") or 0.0
    if slug == "perplexity":  # every Sonar request searches; LiteLLM's perplexity/cost_calculator.py takes the low rate
        per_request += (entry.get("search_context_cost_per_query") or {}).get("search_context_size_low", 0.0)
    source = f"litellm {catalog.litellm_version()}"
    return Price.model_validate({**rates, "per_request": per_request, "tiers": tiers, "source": source})


def _million(per_token: float) -> float:
    return float(Decimal(repr(per_token)) * 1_000_000)


def _litellm_rates(
    entry: Mapping[str, Any], default: Mapping[str, float | None], suffix: str = ""
) -> dict[str, float | None]:
    found = {name: entry.get(key + suffix) for name, key in _LITELLM_KEYS.items()}
    return {name: default.get(name) if value is None else _million(value) for name, value in found.items()}


def _thresholds(slug: str, entry: Mapping[str, Any]) -> tuple[dict[str, float | None], list[dict[str, Any]]]:
    """`*_above_200k_tokens`: above it these rates hold for the whole request, and those not named stay as they are."""
    rates = _litellm_rates(entry, {})
    if slug in _CACHED_SHARE and rates["cached_input"] is None and rates["input"] is not None:
        rates["cached_input"] = float(Decimal(repr(rates["input"])) * _CACHED_SHARE[slug])
    matches = filter(None, map(_THRESHOLD.fullmatch, entry))
    suffixes = {int(match[2]) * (1000 if match[3] else 1): match[1] for match in matches}
    tiers, current = [], rates
    for above in sorted(suffixes):
        current = _litellm_rates(entry, current, suffixes[above])
        tiers.append({**current, "above_tokens": above - (slug in _INCLUSIVE_THRESHOLDS)})
    return rates, tiers


def _ranges(entry: Mapping[str, Any]) -> tuple[dict[str, float | None], list[dict[str, Any]]]:
    """`tiered_pricing`: the row whose range (from, to] holds the input tokens, the last one also beyond its end."""
    rows = sorted((row for row in entry["tiered_pricing"] if row.get("range")), key=lambda row: row["range"][0])
    default = {"output": _litellm_rates(entry, {})["output"]}
    rates = [_litellm_rates(row, default) for row in rows]
    if not rows or rows[0]["range"][0] != 0 or any(rate["input"] is None for rate in rates):
        return _litellm_rates(entry, {}), []
    tiers = [{**rate, "above_tokens": int(row["range"][0])} for row, rate in zip(rows, rates, strict=True)]
    return rates[0], tiers[1:]


def _is_placeholder(slug: str, entry: Mapping[str, Any], rates: Mapping[str, float | None]) -> bool:
    if rates["input"] or rates["output"]:
        return False
    billed_otherwise = any(
        "cost_per" in key and isinstance(value, int | float) and value for key, value in entry.items()
    )
    return billed_otherwise or not (entry.get("source") or slug in _LOCAL)


# genai-prices: USD per million tokens, and per thousand requests.
_GENAI_KEYS: Mapping[str, str] = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
    "per_request": "requests_kcount",
}
# LiteLLM's slug -> the name of the same provider in genai-prices.
_GENAI_PROVIDERS: Mapping[str, str] = {
    **{slug: slug for slug in ("anthropic", "azure", "baseten", "cerebras", "cloudflare", "cohere", "databricks")},
    **{slug: slug for slug in ("deepseek", "groq", "meta", "minimax", "mistral", "novita", "openai", "openrouter")},
    **{slug: slug for slug in ("ovhcloud", "perplexity", "typesafe", "zai")},
    "azure_ai": "azure",
    "bedrock": "aws",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "github_copilot": "github-copilot",
    "moonshot": "moonshotai",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "vertex_ai": "google",
    "vertex_ai_beta": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
}


def price_from_genai(slug: str, model: str) -> Price | None:
    """The standard price in the installed genai-prices, from the data in its package; nothing is fetched.

    Args:
        slug: a LiteLLM provider slug; those without a counterpart in genai-prices have no price there.
        model: the model's name without the slug. Which names mean a model is genai-prices' own rule, and it is often
            a prefix: "gpt-4o-2024-08-06" is "gpt-4o".

    Returns:
        The price that holds today (UTC), or None if genai-prices does not know the model or has no rate for its
        input or its output. Where it changes with the hour, the dearest hour's, so that a cost is an upper bound
        and does not depend on when it was computed.
    """
    import genai_prices  # 0.4 s, and only needed if a price is asked for

    provider = _GENAI_PROVIDERS.get(slug)
    if provider is None:
        return None
    try:
        name = catalog.strip_route(slug, model)
        found = genai_prices.calc_price(genai_prices.Usage(), name, provider_id=provider).model
    except LookupError:
        return None
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    hours = (found.get_prices(midnight.replace(hour=hour)) for hour in range(24))
    different = {id(hour): hour for hour in hours}.values()
    prices = (_genai_price(hour, genai_prices.__version__) for hour in different)
    return max(filter(None, prices), key=lambda price: (price.input, price.output), default=None)


def _genai_price(found: ModelPrice, version: str) -> Price | None:
    values = {name: getattr(found, key) for name, key in _GENAI_KEYS.items()}
    per_request = float((values.pop("per_request") or 0) / 1000)
    if values["input"] is None or values["output"] is None:
        return None
    starts = sorted({tier.start for value in values.values() for tier in getattr(value, "tiers", ())})
    tiers = [{**_genai_rates(values, start), "above_tokens": start} for start in starts]
    source = f"genai-prices {version}"
    rates = _genai_rates(values, -1)
    return Price.model_validate({**rates, "per_request": per_request, "tiers": tiers, "source": source})


def _genai_rates(values: Mapping[str, Any], start: int) -> dict[str, float | None]:
    """TieredPrices: the last tier whose start the request's input exceeds holds for all tokens, else the base."""

    def at(value: Any) -> float | None:
        reached = [tier.price for tier in getattr(value, "tiers", ()) if tier.start <= start]
        rate = reached[-1] if reached else getattr(value, "base", value)
        return None if rate is None else float(rate)

    return {name: at(value) for name, value in values.items()}


def quote(slug: str, model: str, config_price: Price | None = None, lead: PriceSource = "litellm") -> Quote:
    """The price to use for a model, and what another source says.

    Args:
        slug: a LiteLLM provider slug.
        model: the model's name without the slug.
        config_price: the price in the config, which wins over both sources.
        lead: the source that wins if the config has no price; if it does not know the model, the other is used.

    Returns:
        `chosen` is None if no source has a price: unknown, not free.
    """
    # Prices of genai-prices have dates, so a quote holds for a day (UTC).
    return _quote(slug, model, config_price, lead, int(time.time() // 86_400))


@catalog.kept
def _quote(slug: str, model: str, config_price: Price | None, lead: PriceSource, _day: int) -> Quote:
    litellm, genai = price_from_litellm(slug, model), price_from_genai(slug, model)
    ranked = [config_price, litellm, genai] if lead == "litellm" else [config_price, genai, litellm]
    chosen, other, *_ = [*(price for price in ranked if price is not None), None, None]
    if chosen is None or other is None:
        return Quote(chosen, other)
    return Quote(chosen, other, tuple(_disagreements(chosen, other)))


def _disagreements(chosen: Price, other: Price) -> Iterator[Disagreement]:
    pairs = {"per_request": (chosen.per_request, other.per_request)}
    seen: dict[str, tuple[float, float]] = {}
    for above in sorted({-1} | {tier.above_tokens for tier in (*chosen.tiers, *other.tiers)}):
        mine, theirs = chosen.rates(above + 1), other.rates(above + 1)
        for name in Rates.model_fields:
            pair = (getattr(mine, name), getattr(theirs, name))
            parent = "output" if name in ("output", "reasoning") else "input"
            inherited = name != parent and pair == (getattr(mine, parent), getattr(theirs, parent))
            if not inherited and pair != seen.get(name):
                pairs[name if above < 0 else f"{name} above {above} tokens"] = pair
            seen[name] = pair
    for name, pair in pairs.items():
        if pair[0] != pair[1] and (relative := abs(pair[0] - pair[1]) / max(pair)) > _TOLERANCE:
            yield Disagreement(name, *pair, relative)
