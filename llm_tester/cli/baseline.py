"""The command `baseline`: results that later runs are compared with."""

from pathlib import Path

import click

from ..runs.baseline import BASELINE
from ..runs.results import RunResult
from ..settings import activate, settings
from .app import OUTPUT, config_option, console, main, say

__all__: list[str] = []


@main.group()
def baseline() -> None:
    """Keep results to compare later runs with."""


@baseline.command()
@click.argument("file", type=click.Path(path_type=Path), default=OUTPUT / "results.json")
@config_option
def save(file: Path, config_path: Path | None) -> None:
    """Keep the last results, or those in FILE, as baseline.json next to the config; `run` then compares with them."""
    activate(config_path)
    target = settings().directory / BASELINE
    results = RunResult.load(file)
    results.save(target)
    say(
        console,
        f"saved {file} (run {results.run_id} of {results.started_at}, {len(results.results)} results) as {target}",
    )
    if missing := len(results.incomplete()):
        say(console, f"{missing} of these results have no reply, and will not be compared", style="yellow")
    say(console, "`llm-tester run` compares with it; add --fail-on-regression to fail if a model is worse")
