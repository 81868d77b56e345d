"""The command `prices`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from ..errors import ConfigError
from ..llms import llm_registry
from ..pricing import Price, Quote
from ..settings import activate, settings
from .console import console, plain_table, say, say_json

__all__ = ["show_prices"]


def show_prices(target: str | None, config: Path | None, *, as_json: bool = False) -> None:
    """Prints the prices of PROVIDER or PROVIDER:MODEL, by default of the providers of a run, as a table or JSON."""
    activate(config)
    name, _, model = (target or "").partition(":")
    names = [name] if name else settings().enabled_names() or llm_registry.discover_providers()
    quotes = [quote for provider_name in names for quote in _quotes(provider_name, model)]
    documents: list[dict[str, Any]] = []
    if as_json:
        for name, asked, quote in quotes:
            apart = [item._asdict() for item in quote.disagreement]
            documents.append({"provider": name, "model": asked, **vars(quote), "disagreement": apart})
        say_json(documents)
        return
    rates = ("in", "out", "cached in", "cache write", "reasoning", "per request")
    table = plain_table("provider", "model", "source", *rates)
    for column in table.columns[3:]:
        column.justify = "right"
    notes: list[str] = []
    for provider_name, asked, quote in quotes:
        _rows(table, provider_name, asked, quote)
        notes += [
            f"{provider_name}:{asked}: {item.rate}: {item.chosen} or {item.other}, {item.relative:.0%} apart"
            for item in quote.disagreement
        ]
    console().print(table)
    for note in notes:
        say(f"disagree: {note}", style="yellow")
    say(f"{settings().config.price_source} leads if the config has no price (price_source in the config)")


def _quotes(name: str, model: str) -> Iterator[tuple[str, str, Quote]]:
    """The provider, each of its models, or the one that is asked for, and the model's price."""
    provider = llm_registry.get_llm_provider(name)
    if provider is None:
        raise ConfigError(f"there is no provider {name!r}; see `llm-tester providers`")
    for asked in [model] if model else [item.name for item in provider.config.models if item.enabled]:
        yield name, asked, provider.price(asked)


def _rows(table: Table, provider: str, model: str, quote: Quote) -> None:
    if quote.chosen is None:
        table.add_row(Text(provider), Text(model), "unknown", *["—"] * 6)
        return
    for label, price in (("", quote.chosen), ("next to it: ", quote.other)):
        if price is not None:
            first = [Text(provider), Text(model)] if not label else [Text(), Text()]
            table.add_row(*first, Text(label + price.source), *_rates(price), style="dim" if label else "")
            for tier in price.tiers:
                rates = [tier.input, tier.output, tier.cached_input, tier.cache_write, tier.reasoning]
                shown = [_rate(rate) for rate in rates]
                table.add_row("", "", f"  above {tier.above_tokens} tokens in", *shown, "", style="dim")


def _rates(price: Price) -> list[str]:
    rates = [price.input, price.output, price.cached_input, price.cache_write, price.reasoning]
    return [*(_rate(rate) for rate in rates), _rate(price.per_request or None)]


def _rate(rate: float | None) -> str:
    return "—" if rate is None else f"{rate:g}"
