"""The command `prices`."""

from collections.abc import Iterator
from pathlib import Path

from .._price import Rates
from ..errors import ConfigError
from ..llms import llm_registry
from ..pricing import Quote
from ..settings import activate, settings
from .console import say, say_items

__all__ = ["show_prices"]

# The columns of rates, and where a price has them.
_RATES = {
    "in": "input",
    "out": "output",
    "cached in": "cached_input",
    "cache write": "cache_write",
    "reasoning": "reasoning",
    "per request": "per_request",
}


def show_prices(target: str | None, config: Path | None, *, as_json: bool = False) -> None:
    """Prints the prices of PROVIDER or PROVIDER:MODEL, by default of the providers of a run, as a table or JSON."""
    activate(config)
    name, _, model = (target or "").partition(":")
    names = [name] if name else settings().enabled_names() or llm_registry.discover_providers()
    quotes = [quote for provider in names for quote in _quotes(provider, model)]
    documents = [
        {
            "provider": provider,
            "model": asked,
            **vars(quote),
            "disagreement": [item._asdict() for item in quote.disagreement],
        }
        for provider, asked, quote in quotes
    ]
    say_items(documents, (row for quote in quotes for row in _rows(*quote)), as_json=as_json, numbers=_RATES)
    for provider, asked, quote in quotes:
        for item in quote.disagreement:
            values = f"{item.chosen} or {item.other}, {item.relative:.0%} apart"
            say(f"disagree: {provider}:{asked}: {item.rate}: {values}", style="yellow")
    say(f"{settings().config.price_source} leads if the config has no price (price_source in the config)")


def _quotes(name: str, model: str) -> Iterator[tuple[str, str, Quote]]:
    """The provider, each of its models, or the one that is asked for, and the model's price."""
    provider = llm_registry.get_llm_provider(name)
    if provider is None:
        raise ConfigError(f"there is no provider {name!r}; see `llm-tester providers`")
    for asked in [model] if model else [item.name for item in provider.config.models if item.enabled]:
        yield name, asked, provider.price(asked)


def _rows(provider: str, model: str, quote: Quote) -> Iterator[dict[str, str]]:
    """The price of a model and that of the second source, each with its long-context rates."""
    yield _row(quote.chosen, quote.chosen.source if quote.chosen else "unknown", provider, model)
    if quote.other:
        yield _row(quote.other, f"next to it: {quote.other.source}")
    for price in filter(None, (quote.chosen, quote.other)):
        for tier in price.tiers:
            yield _row(tier, f"{price.source} above {tier.above_tokens} tokens in")


def _row(rates: Rates | None, source: str, provider: str = "", model: str = "") -> dict[str, str]:
    found = {head: getattr(rates, field, None) for head, field in _RATES.items()}
    texts = {head: "—" if rate is None else f"{rate:g}" for head, rate in found.items()}
    return {"provider": provider, "model": model, "source": source, **texts}
