"""The command `llm-tester run`."""

import shlex
from pathlib import Path
from typing import get_args

import click
from click.core import ParameterSource

from .cassettes import RecordMode
from .cli import COMPLETE, INCOMPLETE, INTERRUPTED, config_option, console, errors, main, say
from .errors import ConfigError, ResultsError
from .estimate import estimate
from .files import check_own, write_own
from .llm_tester import LLMTester, RunInterrupted
from .reports import html, junit, markdown, terminal
from .runs.baseline import RunComparison, compare_runs
from .runs.results import KIND, CaseResult, RunResult
from .settings import activate, settings
from .utils.cost_manager import COST_KIND, CostReport

__all__: list[str] = []


@main.command()
@click.option("-p", "--provider", "providers", multiple=True, help="PROVIDER, PROVIDER:MODEL, PROVIDER:*; repeatable.")
@click.option("-m", "--module", "modules", multiple=True, help="MODULE or MODULE/CASE: only these; repeatable.")
@click.option(
    "--record",
    type=click.Choice(["auto", *get_args(RecordMode)]),
    default="auto",
    show_default=True,
    help="auto replays what is recorded, and calls and records the rest if a key is set (never under CI).",
)
@click.option("--failed", is_flag=True, help="Run again what failed or was skipped in the last results; keep the rest.")
@click.option("--cases", type=click.Path(path_type=Path), help="Directory of the cases (default: the config's).")
@click.option(
    "--cassettes", type=click.Path(path_type=Path), help="Directory of the recordings (default: the config's)."
)
@click.option(
    "--concurrency", type=click.IntRange(1, 256), default=1, show_default=True, help="Number of parallel calls."
)
@click.option(
    "--repeat", "repeats", type=click.IntRange(1, 1000), default=1, show_default=True, help="Run each case N times."
)
@click.option("--max-cost", type=float, metavar="USD", help="Make no call that could exceed this limit.")
@click.option("--dry-run", is_flag=True, help="Show what would be called and cost, and call nothing.")
@click.option("--baseline", type=click.Path(path_type=Path), help="Compare with this earlier results.json.")
@click.option(
    "--fail-under", type=click.FloatRange(0, 100), metavar="ACCURACY", help="Exit 1 if a model's accuracy is lower."
)
@click.option("--fail-on-regression", is_flag=True, help="Exit 1 if something is worse than in the baseline.")
@click.option("--junit", "junit_path", type=click.Path(path_type=Path), help="Write JUnit XML to this file.")
@click.option("--output", type=click.Path(path_type=Path), default="llm_tester_results", show_default=True)
@config_option
@click.pass_context
def run(
    ctx: click.Context,
    providers: tuple[str, ...],
    modules: tuple[str, ...],
    record: str,
    failed: bool,
    cases: Path | None,
    cassettes: Path | None,
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
    previous = _last(output) if failed else None
    if previous is not None:
        repeats, providers = previous.repeats, providers or _unfinished(previous)
        if not providers:
            say(console, f"nothing failed or was skipped in {output / 'results.json'}")
            return
    tester = _tester(providers, cases, cassettes, config_path)
    if dry_run:
        terminal.show_estimates(
            console, estimate(tester, modules, record=record, repeats=repeats, max_cost=max_cost), max_cost
        )
        return
    _check_outputs(output, junit_path)
    try:
        results = tester.run_tests(
            modules,
            record=record,
            concurrency=concurrency,
            repeats=repeats,
            max_cost=max_cost,
            previous=previous,
            on_result=_progress,
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
    terminal.show_results(console, results, notes, _failed_again(ctx))
    missed = [*_below(results, fail_under), *_worse(comparison, fail_on_regression)]
    _write(output, tester, results, notes)
    if junit_path:
        lines = _worse(comparison, fail_on_regression)
        write_own(junit_path, junit.render(results, fail_under, lines), junit.MARK)
    for line in missed:
        say(console, line, style="red")
    ctx.exit(INCOMPLETE if results.incomplete() or results.problems or missed else COMPLETE)


def _failed_again(ctx: click.Context) -> str:
    """The command that runs again what failed, with the options that say where things are."""
    kept = {"config_path": "--config", "cases": "--cases", "cassettes": "--cassettes", "output": "--output"}
    given = [name for name in kept if ctx.get_parameter_source(name) != ParameterSource.DEFAULT]
    options = [part for name in given for part in (kept[name], str(ctx.params[name]))]
    return shlex.join(["llm-tester", "run", "--failed", *options])


def _last(output: Path) -> RunResult:
    path = output / "results.json"
    if not path.exists():
        raise ResultsError(f"{path}: there are no results yet, so --failed has nothing to go by; run without it first")
    return RunResult.load(path)


def _unfinished(previous: RunResult) -> tuple[str, ...]:
    """The models with a failed or skipped result, and the providers that could not start."""
    return tuple(dict.fromkeys([*(result.column for result in previous.incomplete()), *previous.problems]))


def _tester(
    providers: tuple[str, ...], cases: Path | None, cassettes: Path | None, config_path: Path | None
) -> LLMTester:
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
    tester = LLMTester(wanted, cases, cassettes=cassettes)
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
