"""The command `llm-tester`."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from . import config
from .cassettes import RecordMode
from .config import settings
from .errors import ConfigError, LLMTesterError
from .llm_tester import LLMTester
from .llms import llm_registry
from .reports.terminal import show_results
from .results import CaseResult, RunResult, write_own

__all__ = ["main"]

COMPLETE, INCOMPLETE, MISUSE = 0, 1, 2

Command = TypeVar("Command", bound=Callable[..., Any])
console = Console()
errors = Console(stderr=True)


class _Group(click.Group):
    """Prints our errors as errors of the user's, not as tracebacks of ours."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LLMTesterError as error:
            errors.print(Text(f"error: {error}", style="red"), soft_wrap=True)
            ctx.exit(MISUSE)


def _config_option(command: Command) -> Command:
    return click.option(
        "--config", "config_path", type=click.Path(path_type=Path), help="The global config file; ./config.json else."
    )(command)


@click.group(cls=_Group)
@click.version_option(package_name="llm_tester")
@click.option("-v", "--verbose", is_flag=True, help="Show the log.")
def main(verbose: bool) -> None:
    """Test LLM providers the way you test code."""
    level = logging.INFO if verbose else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s", handlers=[RichHandler(console=errors, show_path=False)])
    for chatty in ("httpx", "httpx2", "LiteLLM", "vcr"):
        logging.getLogger(chatty).setLevel(logging.ERROR)


@main.command()
@click.option(
    "-p", "--provider", "providers", multiple=True, help="PROVIDER, PROVIDER:MODEL or PROVIDER:*; repeatable."
)
@click.option("-m", "--module", "modules", multiple=True, help="Only the cases of this module; repeatable.")
@click.option(
    "--record",
    type=click.Choice(["auto", *get_args(RecordMode)]),
    default="auto",
    show_default=True,
    help="auto replays what is recorded, and calls and records the rest where a key is set (never under CI).",
)
@click.option("--cases", type=click.Path(path_type=Path), help="The directory of the cases; the config's else.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=1, show_default=True, help="Units at once.")
@click.option("--output", type=click.Path(path_type=Path), default="llm_tester_results", show_default=True)
@_config_option
@click.pass_context
def run(
    ctx: click.Context,
    providers: tuple[str, ...],
    modules: tuple[str, ...],
    record: str,
    cases: Path | None,
    concurrency: int,
    output: Path,
    config_path: Path | None,
) -> None:
    """Run the cases over the providers; exit 0: complete, 1: a call failed or was not made, 2: misuse."""
    tester = _tester(providers, cases, config_path)
    shown = _Progress(console)
    try:
        results = tester.run_tests(modules, record=record, concurrency=concurrency, on_result=shown)
    except KeyboardInterrupt:
        results = RunResult(run_id="interrupted", record=record, results=tuple(shown.results))
        _write(output, tester, results)
        errors.print("interrupted; what was done is saved")
        ctx.exit(130)
    show_results(console, results)
    _write(output, tester, results)
    ctx.exit(INCOMPLETE if results.incomplete() or results.problems else COMPLETE)


def _tester(providers: tuple[str, ...], cases: Path | None, config_path: Path | None) -> LLMTester:
    config.activate(config_path)
    active = settings()
    wanted = providers or tuple(active.enabled_names())
    if not wanted:
        where = active.path or Path.cwd() / "config.json"
        raise ConfigError(
            f"{where}: no provider is enabled there. `llm-tester init` writes a config with a sample that runs at "
            "once; or name a provider with -p, and see `llm-tester providers`"
        )
    tester = LLMTester(wanted, cases)
    if not tester.manager.provider_instances:
        raise ConfigError("no provider could start:\n" + "\n".join(tester.manager.initialization_errors.values()))
    return tester


class _Progress:
    """A line for each result, as it comes."""

    def __init__(self, target: Console) -> None:
        self.console = target
        self.results: list[CaseResult] = []

    def __call__(self, result: CaseResult, done: int, total: int) -> None:
        self.results.append(result)
        score = "" if result.accuracy is None else f" {result.accuracy:.1f}"
        line = f"[{done}/{total}] {result.title} {result.column}: {result.status}{score}"
        self.console.print(Text(line), soft_wrap=True)


def _write(output: Path, tester: LLMTester, results: RunResult) -> None:
    from .reports import markdown

    results.save(output / "results.json")
    write_own(output / "report.md", tester.generate_report(results), markdown.MARK)
    write_own(output / "report.html", tester.generate_report(results, "html"), markdown.MARK)
    console.print(Text(f"written: {output / 'results.json'}, report.md and report.html"), soft_wrap=True)


@main.command()
@_config_option
def providers(config_path: Path | None) -> None:
    """List the providers, which keys are set, and what is wrong with those that cannot start."""
    config.activate(config_path)
    active = settings()
    enabled = set(active.enabled_names())
    table = Table("provider", "type", "default model", "key", "in a run", title="Providers", title_justify="left")
    for name in llm_registry.discover_providers():
        info = llm_registry.get_provider_info(name)
        if not info["available"]:
            table.add_row(Text(name), Text(f"cannot start: {info['problem']}", style="red"))
            continue
        key = "not needed" if info["key_variable"] is None else f"{info['key_variable']}: "
        if info["key_variable"] is not None:
            key += "set" if info["key_set"] else "not set" if info["missing_key"] else "not set, not needed"
        cells = [name, info["provider_type"], info["default_model"] or "—", key, "yes" if name in enabled else "no"]
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    console.print(Text(f"config: {active.path or 'none; the package alone'}"), soft_wrap=True)


@main.command()
@click.argument("directory", type=click.Path(path_type=Path), default=".")
def init(directory: Path) -> None:
    """Write a config, one module with a case, and its recorded cassette, so that `run` works at once."""
    template = Path(__file__).parent / "template"
    files = [path for path in sorted(template.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    targets = {path: directory / path.relative_to(template) for path in files}
    if standing := [target for target in targets.values() if target.exists()]:
        raise ConfigError(f"{standing[0]}: stands there already; nothing was written. Choose an empty directory")
    for path, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        console.print(Text(f"wrote {target}"), soft_wrap=True)
    console.print("now: llm-tester run")


if __name__ == "__main__":
    sys.exit(main())
