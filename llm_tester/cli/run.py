"""The command `run`."""

import shlex
import signal
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TypedDict

import click
from click.core import ParameterSource

from ..cassettes.network import Offline, network
from ..errors import ConfigError, ResultsError
from ..llm_tester import LLMTester, RunInterrupted
from ..reports import html, markdown, terminal
from ..runs.baseline import compare_runs, find_baseline
from ..runs.comparison import RunComparison
from ..runs.results import KIND, CaseResult, RunResult
from ..runs.shards import parse_shard
from ..runs.summary import summarize
from ..settings import activate, settings
from ..utils.cost_manager import COST_KIND, CostReport
from ..utils.files import check_own, write_own
from . import COMPLETE, INCOMPLETE, INTERRUPTED
from ._cluster import cluster
from .console import console, say

__all__ = ["check_outputs", "run", "write_reports"]


class _Asked(TypedDict):
    """What a run and its estimate have in common."""

    record: str
    repeats: int
    max_cost: float | None
    previous: RunResult | None
    shard: tuple[int, int] | None


class _Places(TypedDict):
    """Where the units of a run are run."""

    concurrency: int
    executor: Executor | None
    workers: int | None


def run(
    ctx: click.Context,
    providers: tuple[str, ...],
    modules: tuple[str, ...],
    record: str,
    through_the_wire: bool,
    failed: bool,
    cases: Path | None,
    cassettes: Path | None,
    concurrency: int,
    workers: int | None,
    dask: str | None,
    shard: str | None,
    repeats: int,
    max_cost: float | None,
    dry_run: bool,
    baseline: Path | None,
    tolerance: float,
    fail_under: float | None,
    fail_on_regression: bool,
    junit_path: Path | None,
    output: Path,
    config_path: Path | None,
) -> None:
    """Runs the cases, and writes and prints what came out; the arguments are those of `llm-tester run`."""
    previous = _last(output, ctx) if failed else None
    if previous is not None:
        providers = providers or _columns(previous)
    with _network(record, config_path):
        tester = _tester(providers, cases, cassettes, config_path)
    earlier = _baseline(baseline, output, gate=fail_on_regression)
    part = parse_shard(shard) if shard else None
    if dask and workers:
        raise click.UsageError("--dask uses the cluster's workers; leave --workers out")
    asked: _Asked = {
        "record": record,
        "repeats": repeats,
        "max_cost": max_cost,
        "previous": previous,
        "shard": part,
    }
    if dry_run:
        from ..estimate import estimate
        from .estimates import show_estimates

        show_estimates(estimate(tester, modules, **asked))
        return
    check_outputs(output, junit_path)
    try:
        with _sigterm_as_ctrl_c(), cluster(dask, workers) as (executor, processes), _network(record, config_path):
            places: _Places = {"concurrency": concurrency, "executor": executor, "workers": processes}
            results = tester.run_tests(
                modules, on_result=_progress, through_the_wire=through_the_wire, **places, **asked
            )
    except RunInterrupted as interruption:
        interruption.results.save(output / "results.json")
        tester.save_cost_report(output / "costs.json", merge=True)
        write_reports(output, interruption.results, None, _failed_again(ctx))
        say(f"interrupted; what was done is saved; to run the rest: {_failed_again(ctx)}", err=True)
        ctx.exit(INTERRUPTED)
    if results is previous:
        say(f"nothing failed or was skipped in {output / 'results.json'}; there is nothing to run again")
    # What was paid for is saved before anything else.
    results.save(output / "results.json")
    comparison = compare_runs(earlier, results, tolerance) if earlier else None
    terminal.show_results(console(), results, comparison, _failed_again(ctx))
    worse = _worse(comparison, gate=fail_on_regression, named=baseline is not None)
    tester.save_cost_report(output / "costs.json", merge=True)
    write_reports(output, results, comparison, _failed_again(ctx))
    if junit_path:
        from ..reports import junit

        write_own(junit_path, junit.render(results, fail_under, worse), junit.MARK)
    missed = [*_below(results, fail_under), *worse]
    for line in missed:
        say(line, style="red")
    ctx.exit(INCOMPLETE if results.incomplete() or results.problems or missed else COMPLETE)


def _baseline(named: Path | None, output: Path, *, gate: bool) -> RunResult | None:
    found = find_baseline(named, output / "results.json", settings().directory)
    if found is not None:
        say(f"compares with the baseline {found.run_id} of {found.started_at}")
    elif gate:
        raise click.UsageError(
            "--fail-on-regression needs a baseline: `llm-tester baseline save` keeps the last results as one; or name "
            "one with --baseline"
        )
    return found


def _failed_again(ctx: click.Context) -> str:
    """The command that runs again what failed, with the options that say where things are."""
    kept = {"config_path": "--config", "cases": "--cases", "cassettes": "--cassettes", "output": "--output"}
    given = [name for name in kept if ctx.get_parameter_source(name) != ParameterSource.DEFAULT]
    options = [part for name in given for part in (kept[name], str(ctx.params[name]))]
    return shlex.join(["llm-tester", "run", "--failed", *options])


def _last(output: Path, ctx: click.Context) -> RunResult:
    """The results that `--failed` goes by."""
    path = output / "results.json"
    if not path.exists():
        raise ResultsError(f"{path}: there are no results yet, so --failed has nothing to go by; run without it first")
    previous = RunResult.load(path)
    is_given = ctx.get_parameter_source("repeats") != ParameterSource.DEFAULT
    if is_given and ctx.params["repeats"] != previous.repeats:
        raise click.UsageError(
            f"{path} has {previous.repeats} repeats, which --failed keeps; leave --repeat out, or --failed"
        )
    return previous


def _columns(previous: RunResult) -> tuple[str, ...]:
    """The models of earlier results, and the providers that could not start."""
    if previous.shard:
        return tuple(dict.fromkeys([*previous.shard.columns, *previous.problems]))
    return tuple(dict.fromkeys([*(result.column for result in previous.results), *previous.problems]))


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
            f"{where}: {found}. `llm-tester init` writes a config with a sample that runs; or name a provider "
            "with -p, and see `llm-tester providers`"
        )
    tester = LLMTester(wanted, cases, cassettes=cassettes)
    if not tester.manager.provider_instances:
        raise ConfigError("no provider could start:\n" + "\n".join(tester.manager.initialization_errors.values()))
    return tester


def check_outputs(output: Path, junit_path: Path | None) -> None:
    """Refuses, before anything is paid for, what could not be written afterwards."""
    check_own(output / "results.json", KIND)
    for name in ("report.md", "report.html"):
        check_own(output / name, markdown.MARK)
    for name in ("costs.json", "costs.md"):
        check_own(output / name, COST_KIND)
    if (costs := output / "costs.json").exists():
        CostReport.load(costs)
    if junit_path:
        from ..reports import junit

        check_own(junit_path, junit.MARK)


def _network(record: str, config_path: Path | None) -> AbstractContextManager[None]:
    """Refuses all connections, also of the processes that are started, if nothing may be sent."""
    if record != "none":
        return nullcontext()
    activate(config_path)
    return network.offline(Offline("`--record none` only replays", settings().config.allow))


def _progress(result: CaseResult, done: int, total: int) -> None:
    score = "" if result.accuracy is None else f" {result.accuracy:.1f}"
    say(f"[{done}/{total}] {result.title} {result.column}: {result.status}{score}")


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Lets SIGTERM, with which a job scheduler ends a process, interrupt the run as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def write_reports(output: Path, results: RunResult, comparison: RunComparison | None, again: str) -> None:
    """Writes report.md and report.html.

    Args:
        output: the directory, which has the other files already.
        results: the results.
        comparison: with a baseline, if there is one.
        again: the command that runs again what failed.
    """
    write_own(output / "report.md", markdown.render(results, comparison, again), markdown.MARK)
    write_own(output / "report.html", html.render(results, comparison), markdown.MARK)
    say(f"written: {output / 'results.json'}, report.md, report.html, costs.json and costs.md")


def _below(results: RunResult, limit: float | None) -> list[str]:
    """The models whose mean accuracy is below what was asked for; one without any reply is below everything."""
    if limit is None:
        return []
    return [
        f"below {limit:g}: {column.column} has {column.accuracy or 0.0:.1f}"
        for column in summarize(results).columns
        if (column.accuracy or 0.0) < limit
    ]


def _worse(comparison: RunComparison | None, *, gate: bool, named: bool) -> list[str]:
    """What fails the run: the models that are worse, if that was asked for, or a baseline with nothing to compare."""
    if comparison is None or not (gate or named):
        return []
    if not comparison.models:
        return comparison.notes()
    return [model.line() for model in comparison.regressions()] if gate else []
