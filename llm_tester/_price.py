"""The exact cost of a call, from prices that can be audited.

A `Price` is every rate that was used, in USD per million tokens, with its source; `cost` multiplies it with `Tokens`
in decimal arithmetic, so that a result is right to the last digit that a float can hold. docs/prices.md explains the
rules.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Cost", "Price", "Rate", "Rates", "Tier", "Tokens", "cost"]

Rate = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]

_PRECISION = Context(prec=60)  # exact for any count below 10**30 times any rate that a float can spell


@dataclass(frozen=True)
class Tokens:
    """What one call used, in tokens; the sub-counts are parts of the two totals.

    Args:
        prompt_tokens: all input, cache reads and cache writes included.
        completion_tokens: all output, reasoning included.
        cached_tokens: the input that was read from a cache.
        cache_write_tokens: the input that was written to a cache.
        reasoning_tokens: the output that was reasoning.

    Raises:
        ValueError: a count is not an int or negative, or the parts are more than their total.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is not int or value < 0:
                raise ValueError(f"{name} must be an int of 0 or more, found {value!r}")
        if self.cached_tokens + self.cache_write_tokens > self.prompt_tokens:
            raise ValueError(f"cached_tokens and cache_write_tokens are more than prompt_tokens in {self}")
        if self.reasoning_tokens > self.completion_tokens:
            raise ValueError(f"reasoning_tokens are more than completion_tokens in {self}")


class Rates(BaseModel):
    """USD per million tokens. A rate of 0 is free of charge; None means "as the rate it is a part of".

    Args:
        input: input tokens that no other rate covers.
        output: output tokens that no other rate covers.
        cached_input: input tokens read from a cache; None as `input`.
        cache_write: input tokens written to a cache, at the provider's standard lifetime; None as `input`.
        reasoning: reasoning tokens; None as `output`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Rate
    output: Rate
    cached_input: Rate | None = None
    cache_write: Rate | None = None
    reasoning: Rate | None = None


class Tier(Rates):
    """The rates for all tokens of a request with more than `above_tokens` input tokens."""

    above_tokens: Annotated[int, Field(ge=0, strict=True)]


class Price(Rates):
    """What a model costs: everything that a cost was computed from, in USD per million tokens.

    Args:
        per_request: USD for each request, besides its tokens.
        tiers: long-context rates. The highest tier whose threshold the request's input exceeds holds for the whole
            request, as both sources define it; below the first one the price itself holds.
        source: where it comes from: "config", "litellm 1.106.2", "genai-prices 0.2.3".
    """

    per_request: Rate = 0.0
    tiers: tuple[Tier, ...] = ()
    source: str = "config"

    def rates(self, prompt_tokens: int) -> Rates:
        """The rates of a request with that many input tokens, each None replaced by the rate that it means."""
        exceeded = [tier for tier in self.tiers if prompt_tokens > tier.above_tokens]
        return _filled(max(exceeded, key=lambda tier: tier.above_tokens) if exceeded else self)


@functools.lru_cache(maxsize=1024)
def _filled(found: Rates) -> Rates:
    return Rates(
        input=found.input,
        output=found.output,
        cached_input=found.input if found.cached_input is None else found.cached_input,
        cache_write=found.input if found.cache_write is None else found.cache_write,
        reasoning=found.output if found.reasoning is None else found.reasoning,
    )


@dataclass(frozen=True)
class Cost:
    """What a call costs, in USD: the total is input, output and request together."""

    input_usd: float
    output_usd: float
    request_usd: float
    total_usd: float


def cost(tokens: Tokens, price: Price) -> Cost:
    """What a call costs.

    Args:
        tokens: what it used.
        price: the rates; the tier is chosen by `tokens.prompt_tokens`.

    Returns:
        USD, computed in decimals and rounded once, to the nearest float.
    """
    rates = price.rates(tokens.prompt_tokens)
    plain = tokens.prompt_tokens - tokens.cached_tokens - tokens.cache_write_tokens
    text = tokens.completion_tokens - tokens.reasoning_tokens
    with localcontext(_PRECISION):
        given = _times(plain, rates.input) + _times(tokens.cached_tokens, rates.cached_input)
        given += _times(tokens.cache_write_tokens, rates.cache_write)
        made = _times(text, rates.output) + _times(tokens.reasoning_tokens, rates.reasoning)
        request = _decimal(price.per_request)
        return Cost(float(given), float(made), float(request), float(given + made + request))


def _times(count: int, rate: float | None) -> Decimal:
    return count * _decimal(rate) / 1_000_000


@functools.lru_cache(maxsize=1024)
def _decimal(rate: float | None) -> Decimal:
    return Decimal(repr(rate))
