"""The command `llm-tester`."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from rich import box
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from .cassettes import RecordMode
from .errors import ConfigError, LLMTesterError
from .estimate import estimate
from .files import check_own, write_own
from .llm_tester import LLMTester, RunInterrupted
from .llms import llm_registry
from .reports import html, junit, markdown, terminal
from .runs.baseline import RunComparison, compare_runs
from .runs.results import KIND, CaseResult, RunResult
from .settings import activate, settings
from .utils.cost_manager import COST_KIND, CostReport

__all__ = ["main"]

COMPLETE, INCOMPLETE, MISUSE, INTERRUPTED = 0, 1, 2, 130
PIPE_WIDTH = 130

Command = TypeVar("Command", bound=Callable[..., Any])
console = Console()
errors = Console(stderr=True)


class _Group(click.Group):
    """Prints our errors as the user's to mend, not as tracebacks of ours."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LLMTesterError as error:
            say(errors, f"error: {error}", style="red")
            ctx.exit(MISUSE)


def say(target: Console, text: str, style: str = "") -> None:
    """Prints a line as it is: no markup, no folding at the terminal's edge."""
    target.print(Text(text, style=style), soft_wrap=True)


def config_option(command: Command) -> Command:
    """The option `--config`."""
    return click.option(
        "--config", "config_path", type=click.Path(path_type=Path), help="The global config; ./config.json else."
    )(command)


@click.group(cls=_Group)
@click.version_option(package_name="llm_tester")
@click.option("-v", "--verbose", is_flag=True, help="Show the log.")
def main(verbose: bool) -> None:
    """Test LLM providers the way you test code."""
    if not console.is_terminal and "COLUMNS" not in os.environ:
        # In a log or a pipe nobody's window sets the width, and 80 columns fold the tables.
        console.width = PIPE_WIDTH
    level = logging.INFO if verbose else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s", handlers=[RichHandler(console=errors, show_path=False)])
    for chatty in ("httpx", "httpx2", "LiteLLM", "vcr"):
        logging.getLogger(chatty).setLevel(logging.ERROR)


@main.command()
@click.option("-p", "--provider", "providers", multiple=True, help="PROVIDER, PROVIDER:MODEL, PROVIDER:*; repeatable.")
@click.option("-m", "--module", "modules", multiple=True, help="MODULE or MODULE/CASE: only these; repeatable.")
@click.option(
    "--record",
    type=click.Choice(["auto", *get_args(RecordMode)]),
    default="auto",
    show_default=True,
    help="auto replays what is recorded, and calls and records the rest where a key is set (never under CI).",
)
@click.option("--cases", type=click.Path(path_type=Path), help="The directory of the cases; the config's else.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=1, show_default=True, help="Units at once.")
@click.option("--repeat", "repeats", type=click.IntRange(1, 1000), default=1, show_default=True, help="Times each.")
@click.option("--max-cost", type=float, metavar="USD", help="What could pass this limit is not called.")
@click.option("--dry-run", is_flag=True, help="Show what would be called and cost, and call nothing.")
@click.option("--baseline", type=click.Path(path_type=Path), help="Compare with this earlier results.json.")
@click.option(
    "--fail-under", type=click.FloatRange(0, 100), metavar="ACCURACY", help="Exit 1 where a model's is lower."
)
@click.option("--fail-on-regression", is_flag=True, help="Exit 1 where something is worse than in the baseline.")
@click.option("--junit", "junit_path", type=click.Path(path_type=Path), help="Write JUnit XML there.")
@click.option("--output", type=click.Path(path_type=Path), default="llm_tester_results", show_default=True)
@config_option
@click.pass_context
def run(
    ctx: click.Context,
    providers: tuple[str, ...],
    modules: tuple[str, ...],
    record: str,
    cases: Path | None,
    concurrency: int,
    repeats: int,
    max_cost: float | None,
    dry_run: bool,
    baseline: Path | None,
    fail_under: float | None,
    fail_on_regression: bool,
    junit_path: Path | None,
    output: Path,
    config_path: Path | None,
) -> None:
    """Run the cases over the providers.

    Exit codes: 0, the run is complete; 1, a call failed or was not made, or a threshold was missed; 2, misuse.
    """
    if fail_on_regression and baseline is None:
        raise click.UsageError("--fail-on-regression needs a --baseline to compare with")
    earlier = RunResult.load(baseline) if baseline else None
    tester = _tester(providers, cases, config_path)
    if dry_run:
        terminal.show_estimates(console, estimate(tester, modules, record=record, repeats=repeats))
        return
    _check_outputs(output, junit_path)
    try:
        results = tester.run_tests(
            modules, record=record, concurrency=concurrency, repeats=repeats, max_cost=max_cost, on_result=_progress
        )
    except RunInterrupted as interruption:
        interruption.results.save(output / "results.json")
        _write(output, tester, interruption.results, [])
        say(errors, "interrupted; what was done is saved")
        ctx.exit(INTERRUPTED)
    # What was paid for is saved before anything else.
    results.save(output / "results.json")
    comparison = compare_runs(earlier, results) if earlier else None
    notes = comparison.notes() if comparison else []
    terminal.show_results(console, results, notes)
    missed = [*_below(results, fail_under), *_worse(comparison, fail_on_regression)]
    _write(output, tester, results, notes)
    if junit_path:
        lines = [change.line() for change in comparison.regressions()] if comparison and fail_on_regression else []
        write_own(junit_path, junit.render(results, fail_under, lines), junit.MARK)
    for line in missed:
        say(console, line, style="red")
    ctx.exit(INCOMPLETE if results.incomplete() or results.problems or missed else COMPLETE)


def _tester(providers: tuple[str, ...], cases: Path | None, config_path: Path | None) -> LLMTester:
    activate(config_path)
    active = settings()
    wanted = providers or tuple(active.enabled_names())
    if not wanted:
        where = active.path or Path.cwd() / "config.json"
        found = "no provider is enabled there" if active.path else "there is no such file"
        raise ConfigError(
            f"{where}: {found}. `llm-tester init` writes a config with a sample that runs at once; or name a provider "
            "with -p, and see `llm-tester providers`"
        )
    tester = LLMTester(wanted, cases)
    if not tester.manager.provider_instances:
        raise ConfigError("no provider could start:\n" + "\n".join(tester.manager.initialization_errors.values()))
    return tester


def _check_outputs(output: Path, junit_path: Path | None) -> None:
    """Refuses, before anything is paid for, what could not be written afterwards."""
    check_own(output / "results.json", KIND)
    for name in ("report.md", "report.html"):
        check_own(output / name, markdown.MARK)
    for name in ("costs.json", "costs.md"):
        check_own(output / name, COST_KIND)
    if (costs := output / "costs.json").exists():
        CostReport.load(costs)
    if junit_path:
        check_own(junit_path, junit.MARK)


def _progress(result: CaseResult, done: int, total: int) -> None:
    score = "" if result.accuracy is None else f" {result.accuracy:.1f}"
    say(console, f"[{done}/{total}] {result.title} {result.column}: {result.status}{score}")


def _write(output: Path, tester: LLMTester, results: RunResult, notes: list[str]) -> None:
    tester.save_cost_report(output / "costs.json", merge=True)
    write_own(output / "report.md", markdown.render(results, notes), markdown.MARK)
    write_own(output / "report.html", html.render(results, notes), markdown.MARK)
    say(console, f"written: {output / 'results.json'}, report.md, report.html, costs.json and costs.md")


def _below(results: RunResult, limit: float | None) -> list[str]:
    """The models whose mean accuracy is below what was asked for; one without any reply is below everything."""
    if limit is None:
        return []
    return [
        f"below {limit:g}: {column.provider}:{column.model} has {column.accuracy or 0.0:.1f}"
        for column in results.columns()
        if (column.accuracy or 0.0) < limit
    ]


def _worse(comparison: RunComparison | None, asked: bool) -> list[str]:
    return [change.line() for change in comparison.regressions()] if comparison and asked else []


@main.command()
@config_option
def providers(config_path: Path | None) -> None:
    """List the providers, which keys are set, and what is wrong with those that cannot start."""
    activate(config_path)
    active = settings()
    enabled = set(active.enabled_names())
    table = Table("provider", "type", "default model", "key", "in a run", box=box.SIMPLE_HEAD, pad_edge=False)
    problems: list[str] = []
    for name in llm_registry.discover_providers():
        info = llm_registry.get_provider_info(name)
        used = "yes" if name in enabled else "no"
        if not info["available"]:
            problems.append(f"{name} cannot start: {info['problem']}")
            table.add_row(Text(name), Text("cannot start", style="red"), "—", "—", used)
            continue
        cells = [name, info["provider_type"], info["default_model"] or "—", _key(info), used]
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    for problem in problems:
        say(console, problem, style="red")
    say(console, f"config: {active.path or 'none; the package alone'}")


def _key(info: dict[str, Any]) -> str:
    if info["key_variable"] is None:
        return "not needed"
    if info["key_set"]:
        return f"{info['key_variable']} is set"
    return f"{info['key_variable']} is not set" if info["missing_key"] else "not needed"


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
        say(console, f"wrote {target}")
    say(console, "now: llm-tester run" if directory == Path() else f"now: cd {directory} && llm-tester run")
