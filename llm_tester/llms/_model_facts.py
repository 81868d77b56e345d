"""What is known of a model beyond its config entry, and what a call of it can cost."""

from collections.abc import Mapping
from typing import Any

from ..config import ModelConfig
from ..pricing import Price
from .budget import Limits

__all__ = ["completed", "limits", "most_output", "output_limit", "texts_of"]

# Fields of `ModelConfig` that LiteLLM's data has under one name or another, the first that is there.
_ENTRY_NAMES: Mapping[str, tuple[str, ...]] = {
    "max_input_tokens": ("max_input_tokens",),
    "max_output_tokens": ("max_output_tokens", "max_tokens"),
    "supports_schema": ("supports_response_schema",),
    "supports_vision": ("supports_vision", "supports_vision_input"),
    "supports_pdf": ("supports_pdf_input", "supports_pdf"),
}
_RATES = {
    "cost_input": "input",
    "cost_output": "output",
    "cost_cached_input": "cached_input",
    "cost_cache_write": "cache_write",
    "cost_reasoning": "reasoning",
    "cost_per_request": "per_request",
}


def completed(model: ModelConfig, price: Price | None, entry: Mapping[str, Any]) -> ModelConfig:
    """A model's config with what it leaves out.

    Args:
        model: what the config says.
        price: its price, in USD per million tokens; None if unknown.
        entry: what LiteLLM's data says of it.
    """
    found: dict[str, Any] = {}
    for field, names in _ENTRY_NAMES.items():
        if getattr(model, field) is None:
            found[field] = next((entry[name] for name in names if entry.get(name)), None)
    if price is not None:
        found |= {field: getattr(price, rate) for field, rate in _RATES.items()}
    return model.model_copy(update={field: value for field, value in found.items() if value is not None})


def most_output(params: Mapping[str, Any], model: ModelConfig, entry: Mapping[str, Any]) -> int | None:
    """The output tokens that a call allows; None if neither the config nor LiteLLM's data limits them."""
    of_model = model.max_output_tokens or entry.get("max_output_tokens") or entry.get("max_tokens")
    allowed: int | None = output_limit(params) or of_model
    return allowed and allowed * texts_of(params)


def output_limit(params: Mapping[str, Any]) -> int | None:
    """The limit of a text that the entry's params set; None if they set none."""
    return params.get("max_tokens") or params.get("max_completion_tokens")


def texts_of(params: Mapping[str, Any]) -> int:
    """How many texts a call asks for: `n` in the entry's params; each can have as many tokens as one."""
    wanted = params.get("n")
    return wanted if isinstance(wanted, int) and wanted > 1 else 1


def limits(price: Price | None, prompt_tokens: int, most_output: int | None, reserved_output: int) -> Limits:
    """What one attempt can cost, at the dearest of the rates that can apply.

    Args:
        price: the price; None if unknown.
        prompt_tokens: the input at most.
        most_output: the output at most; None if nothing limits it.
        reserved_output: the output to set money aside for; the hard limit if there is one.
    """
    if price is None:
        return Limits(None, None, prompt_tokens)
    rates = (price, *price.tiers)
    dearest_in = max(max(rate.input, rate.cache_write or 0, rate.cached_input or 0) for rate in rates)
    dearest_out = max(max(rate.output, rate.reasoning or 0) for rate in rates)

    def usd(output: int) -> float:
        return (prompt_tokens * dearest_in + output * dearest_out) / 1e6 + price.per_request

    if not dearest_out:
        return Limits(usd(0), usd(0), prompt_tokens)
    if most_output is None:
        return Limits(None, usd(reserved_output), prompt_tokens)
    return Limits(usd(most_output), usd(min(reserved_output, most_output)), prompt_tokens)
