"""What a reply's body says was billed, and the tokens that LiteLLM and PydanticAI leave out.

OpenRouter  usage.cost                     USD; with a key of the user's at the vendor, its price comes on top
Perplexity  usage.cost.total_cost          USD
xAI         usage.cost_in_usd_ticks        ten-billionths of a USD
Cohere      usage.billed_units             tokens, fewer than those in usage.tokens; usage.cached_tokens
Anthropic   usage.iterations               the requests that server-side tools make inside one call
    Ollama      prompt_eval_count              which LiteLLM makes up if it is not there
"""

import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from ..usage import MOST_USD, Billed

__all__ = ["read_usage", "vendor_of"]

_TICKS = 10_000_000_000  # a USD at xAI


def read_usage(vendor: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a reply's body says about its usage that the libraries leave out.

    Args:
        vendor: the vendor, as LiteLLM calls it.
        payload: the reply's body.

    Returns:
        Values that lead over those of the library, by their names in a provider's usage: `billed` (a `Billed`),
        `cached_tokens`, `notes`, `priceable`, and for Anthropic all counts. Empty if the reply does not say.
    """
    reader = _READERS.get(vendor)
    return reader(payload) if reader and payload else {}


def vendor_of(slug: str, api_base: str | None) -> str:
    """The vendor whose replies come from an address; OpenRouter speaks OpenAI's format."""
    return "openrouter" if api_base and urlsplit(api_base).hostname == "openrouter.ai" else slug


def _openrouter(payload: Mapping[str, Any]) -> dict[str, Any]:
    usage = _object(payload, "usage")
    usd = _amount(usage.get("cost"))
    if usd is not None and usage.get("is_byok"):
        # Then `cost` is OpenRouter's fee alone, and the vendor bills the rest to the key's account.
        upstream = _amount(_object(usage, "cost_details").get("upstream_inference_cost"))
        usd = None if upstream is None else float(Decimal(repr(usd)) + Decimal(repr(upstream)))
    return _usd(usd)


def _perplexity(payload: Mapping[str, Any]) -> dict[str, Any]:
    return _usd(_amount(_object(_object(payload, "usage"), "cost").get("total_cost")))


def _xai(payload: Mapping[str, Any]) -> dict[str, Any]:
    ticks = _amount(_object(payload, "usage").get("cost_in_usd_ticks"))
    return _usd(None if ticks is None else ticks / _TICKS)


def _usd(usd: float | None) -> dict[str, Any]:
    if usd is not None and usd > MOST_USD:
        return {"notes": (f"the reply says that {usd:g} USD were billed, which is not believed",), "priceable": False}
    return {} if usd is None else {"billed": Billed(usd=usd)}


def _cohere(payload: Mapping[str, Any]) -> dict[str, Any]:
    usage = _object(payload, "usage") or _object(payload, "meta")
    units = _object(usage, "billed_units")
    sent, written = _count(units.get("input_tokens")), _count(units.get("output_tokens"))
    found: dict[str, Any] = {"cached_tokens": _count(usage.get("cached_tokens"))}
    if sent is not None and written is not None:
        found["billed"] = Billed(prompt_tokens=sent, completion_tokens=written)
    counted = _object(usage, "tokens")
    found["prompt_tokens"] = _count(counted.get("input_tokens"))
    found["completion_tokens"] = _count(counted.get("output_tokens"))
    return {name: value for name, value in found.items() if value is not None}


def _ollama(payload: Mapping[str, Any]) -> dict[str, Any]:
    if _count(payload.get("prompt_eval_count")) is not None or "eval_count" not in payload:
        return {}
    # LiteLLM then counts the messages with a tokenizer of another model.
    return {"notes": ("Ollama does not say how many tokens it read; prompt_tokens is LiteLLM's estimate",)}


def _anthropic(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Sums the requests of the called model; the top level leaves out those that compact its context.

    https://docs.claude.com/en/docs/build-with-claude/compaction says that all are billed. One that names a model is
    the advisor's; its tokens have another price, so the cost of the whole is unknown.
    """
    listed = _object(payload, "usage").get("iterations")
    rounds = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    if not rounds:
        return {}
    own = [item for item in rounds if item.get("model") is None]
    advisors = [item for item in rounds if item.get("model") is not None]

    def total(name: str) -> int:
        return sum(_count(item.get(name)) or 0 for item in own)

    read, written = total("cache_read_input_tokens"), total("cache_creation_input_tokens")
    return {
        "prompt_tokens": total("input_tokens") + read + written,
        "completion_tokens": total("output_tokens"),
        "cached_tokens": read,
        "cache_write_tokens": written,
        "notes": tuple(_advised(item) for item in advisors),
        "priceable": not advisors,
    }


def _advised(item: Mapping[str, Any]) -> str:
    sent, written = _count(item.get("input_tokens")) or 0, _count(item.get("output_tokens")) or 0
    return (
        f"{item['model']} took part with {sent} input and {written} output tokens, which Anthropic bills at that "
        "model's price; the tokens here are without them, and the cost is unknown"
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "anthropic": _anthropic,
    "cohere": _cohere,
    "cohere_chat": _cohere,
    "ollama": _ollama,
    "ollama_chat": _ollama,
    "openrouter": _openrouter,
    "perplexity": _perplexity,
    "xai": _xai,
}


def _object(holder: object, name: str) -> Mapping[str, Any]:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, dict) else {}


def _amount(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Not `isfinite`, which fails for an int that no float can hold.
    return float(value) if 0 <= value <= sys.float_info.max else None


def _count(value: object) -> int | None:
    # Cohere writes its counts as 7.0 in some replies.
    amount = _amount(value)
    return int(amount) if amount is not None and amount == int(amount) else None
