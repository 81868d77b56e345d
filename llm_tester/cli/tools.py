"""The commands `prices` and `cassettes`."""

from pathlib import Path

import click
from rich import box
from rich.table import Table
from rich.text import Text

from ..cassettes import Cassette
from ..cassettes.scan import scan, unused_files
from ..errors import ConfigError
from ..llm_tester import LLMTester
from ..llms import llm_registry
from ..llms.base import BaseLLM
from ..pricing import Price, Quote
from ..runs.units import unused_interactions
from ..settings import activate, settings
from .app import INCOMPLETE, config_option, console, main, say

__all__: list[str] = []


@main.command()
@click.argument("target", metavar="[PROVIDER[:MODEL]]", required=False)
@config_option
def prices(target: str | None, config_path: Path | None) -> None:
    """Show the price of each model, where it comes from, and where the sources disagree by more than 1%.

    Prices are in USD per million tokens. Without a provider: those of a run.
    """
    activate(config_path)
    name, _, model = (target or "").partition(":")
    names = [name] if name else settings().enabled_names() or llm_registry.discover_providers()
    table = Table("provider", "model", "source", "in", "out", "cached in", "cache write", "reasoning", "per request")
    table.box, table.pad_edge = box.SIMPLE_HEAD, False
    for column in table.columns[3:]:
        column.justify = "right"
    notes: list[str] = []
    for provider_name in names:
        provider = llm_registry.get_llm_provider(provider_name)
        if provider is None:
            raise ConfigError(f"there is no provider {provider_name!r}; see `llm-tester providers`")
        for asked in [model] if model else _models(provider):
            quote = provider.price(asked)
            _rows(table, provider_name, asked, quote)
            notes += [
                f"{provider_name}:{asked}: {item.rate}: {item.chosen} or {item.other}, {item.relative:.0%} apart"
                for item in quote.disagreement
            ]
    console.print(table)
    for note in notes:
        say(console, f"disagree: {note}", style="yellow")
    say(console, f"{settings().config.price_source} leads if the config has no price (price_source in the config)")


def _models(provider: BaseLLM) -> list[str]:
    return [model.name for model in provider.config.models if model.enabled]


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


@main.group()
def cassettes() -> None:
    """Look after the recordings."""


@cassettes.command("scan")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@config_option
@click.pass_context
def scan_command(ctx: click.Context, paths: tuple[Path, ...], config_path: Path | None) -> None:
    """Look for keys in recordings; exit 1 if there is one, for CI and pre-commit."""
    activate(config_path)
    active = settings()
    chosen = paths or (active.directory / active.config.cassettes,)
    for path in chosen:
        if not path.exists():
            raise ConfigError(f"{path}: there is no such file or directory")
    finds = scan(chosen)
    for find in finds:
        say(console, f"{find.path}:{find.line}: {find.what}", style="red")
    say(console, f"{len(finds)} found in {', '.join(str(path) for path in chosen)}")
    ctx.exit(INCOMPLETE if finds else 0)


@cassettes.command("unused")
@click.option("--cases", type=click.Path(path_type=Path), help="The directory of the cases; the config's else.")
@config_option
@click.pass_context
def unused_command(ctx: click.Context, cases: Path | None, config_path: Path | None) -> None:
    """Replay every case, and list the interactions and the files that none of them asked for; exit 1 if any."""
    activate(config_path)
    tester = LLMTester([f"{name}:*" for name in settings().enabled_names()], cases)
    used: set[Path] = set()
    count = 0
    for unit in tester.units(record="none"):
        if not unit.path.is_file():
            continue
        used.add(unit.path.absolute())
        left = unused_interactions(unit)
        for interaction in left:
            request = interaction.request
            say(console, f"{unit.path}: {request['method']} {request['uri']}: nothing asks for it")
        count += len(left)
    for path in unused_files(tester.cassettes, used):
        say(console, f"{path}: no case uses it, {len(Cassette(path).interactions)} interactions")
        count += 1
    say(console, f"{count} unused in {tester.cassettes}")
    ctx.exit(INCOMPLETE if count else 0)
