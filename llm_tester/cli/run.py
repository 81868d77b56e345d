"""The command `run`."""

import shlex
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TypedDict

import click
from click.core import ParameterSource

from ..cassettes.network import Offline, network
from ..cassettes.temporary import remove_stale
from ..errors import ConfigError, ResultsError
from ..llm_tester import LLMTester, RunInterrupted
from ..reports import markdown, terminal
from ..runs.baseline import compare_runs, find_baseline
from ..runs.comparison import RunComparison, counted
from ..runs.journal import JOURNAL, Done, load_journal
from ..runs.results import KIND, RunResult
from ..runs.shards import parse_shard
from ..runs.summary import summarize
from ..runs.threads import in_flight
from ..settings import activate, settings
from ..utils.cost_manager import COST_KIND, CostReport
from ..utils.files import check_own, only_run_in, write_own
from . import COMPLETE, INCOMPLETE, INTERRUPTED
from ._cluster import cluster
from .console import console, say, say_json
from .progress import RunProgress, say_of_end, waiting
from .report import write_reports

__all__ = ["check_outputs", "run", "say_written"]


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
    dask: str | None
    workers: int | None


def run(
    ctx: click.Context,
    providers: tuple[str, ...],
    modules: tuple[str, ...],
    record: str,
    through_the_wire: bool,
    failed: bool,
    resume: bool,
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
    show: str,
    quiet: bool,
    verbose: bool,
    json: bool,
) -> None:
    """Runs the cases, and writes and prints what came out; the arguments are those of `llm-tester run`."""
    if dask and workers:
        raise click.UsageError("--dask uses the cluster's workers; leave --workers out")
    if dry_run and resume:
        raise click.UsageError("--dry-run shows what a new run would do; leave --resume out")
    with _interruptible(ctx, output), nullcontext() if dry_run else only_run_in(output):
        done = None if dry_run else _dead_run(ctx, output, resume=resume)
        previous = _last(output, ctx) if failed or (resume and (output / "results.json").exists()) else None
        if done:
            providers, modules = providers or done.head.columns, modules or done.head.modules
            record = done.head.record if _is_default(ctx, "record") else record
        elif previous is not None:
            providers = providers or _columns(previous)
        with _network(record, config_path):
            tester = _tester(providers, cases, cassettes, config_path)
        earlier = _baseline(baseline, output, gate=fail_on_regression, quiet=quiet)
        asked: _Asked = {
            "record": record,
            "repeats": repeats,
            "max_cost": max_cost,
            "previous": previous,
            "shard": parse_shard(shard) if shard else None,
        }
        if dry_run:
            from ..estimate import estimate
            from .estimates import show_estimates

            show_estimates(estimate(tester, modules, **asked), as_json=json)
            return
        check_outputs(output, junit_path)
        remove_stale(output)
        if done:
            remove_stale(tester.cassettes, below=True)
        places: _Places = {"concurrency": concurrency, "dask": dask, "workers": workers}
        with _network(record, config_path):
            results = _results(ctx, tester, modules, output, places, asked, through_the_wire=through_the_wire)
        if results is previous:
            say(f"nothing failed or was skipped in {output / 'results.json'}; there is nothing to run again")
        comparison = compare_runs(earlier, results, tolerance) if earlier else None
        worse = _worse(comparison, gate=fail_on_regression, named=baseline is not None)
        _save(ctx, tester, output, results, comparison)
        if junit_path:
            from ..reports import junit

            write_own(junit_path, junit.render(results, fail_under, worse), junit.MARK)
    screen = console(err=json)
    terminal.show_results(screen, results, comparison, _again(ctx, "--failed"), whole=show == "all", quiet=quiet)
    if json:
        say_json(results.to_json())
    if not quiet:
        say_written(output)
    missed = [*_below(results, fail_under), *worse]
    for line in missed:
        say(line, style="red")
    ctx.exit(INCOMPLETE if results.incomplete() or results.problems or missed else COMPLETE)


def _results(
    ctx: click.Context,
    tester: LLMTester,
    modules: tuple[str, ...],
    output: Path,
    places: _Places,
    asked: _Asked,
    *,
    through_the_wire: bool,
) -> RunResult:
    """Runs the cases; ends the command if the run is interrupted."""
    try:
        with cluster(places["dask"], places["workers"]) as (executor, processes):
            # The calls of other processes are not known here.
            calls = in_flight if executor is None and (processes or 1) == 1 else None
            progress = RunProgress(calls, quiet=ctx.params["quiet"], verbose=ctx.params["verbose"])
            with progress.shown():
                return tester.run_tests(
                    modules,
                    concurrency=places["concurrency"],
                    executor=executor,
                    workers=processes,
                    on_result=progress,
                    on_wait=waiting,
                    through_the_wire=through_the_wire,
                    journal=output / JOURNAL,
                    **asked,
                )
    except RunInterrupted as early:
        ctx.exit(_end_early(ctx, tester, output, early))


def _dead_run(ctx: click.Context, output: Path, *, resume: bool) -> Done | None:
    """What is done of the run that ended early in the output directory; None if there is none.

    Raises:
        ResultsError: there is one, and this run is not to go on with it.
    """
    done = load_journal(output / JOURNAL)
    if done is None:
        return None
    if not resume:
        raise ResultsError(
            f"{output / JOURNAL}: the run that was started at {done.head.started_at} ended early, with "
            f"{len(done.results)} results. Go on with it: {_again(ctx, '--resume')}; or name another --output"
        )
    if not _is_default(ctx, "repeats") and ctx.params["repeats"] != done.head.repeats:
        raise click.UsageError(f"the run has {done.head.repeats} repeats, which --resume keeps; leave --repeat out")
    if done.lost:
        some = ", ".join(f"{module}/{name} {provider}:{model}" for module, name, _, provider, model in done.lost)
        say(f"in flight when the run ended, may be billed (see costs.json): {counted(len(done.lost), 'call')}: {some}")
    return done


def _is_default(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) == ParameterSource.DEFAULT


def _save(
    ctx: click.Context, tester: LLMTester, output: Path, results: RunResult, comparison: RunComparison | None
) -> None:
    """Writes results, costs and reports; ends the command if they cannot be kept."""
    try:
        _write(tester, output, results, comparison, _again(ctx, "--failed"))
    except ResultsError as error:
        ctx.exit(_end_unkept(ctx, results, str(error)))


def _write(tester: LLMTester, output: Path, results: RunResult, comparison: RunComparison | None, again: str) -> None:
    # What was paid for is saved before anything else; until it is, the journal has it.
    results.save(output / "results.json")
    tester.save_cost_report(output / "costs.json", merge=True)
    write_reports(output, results, comparison, again)
    (output / JOURNAL).unlink(missing_ok=True)


def _end_early(ctx: click.Context, tester: LLMTester, output: Path, early: RunInterrupted) -> int:
    """Writes what was done until a run ended early, and gives the exit code."""
    again, problem = _again(ctx, "--resume"), early.problem
    try:
        _write(tester, output, early.results, None, _again(ctx, "--failed"))
    except ResultsError as error:
        if problem is None:
            raise
        problem = f"{problem}\n{error}"
    if problem is None:
        say_of_end(f"interrupted; what was done is saved; to run the rest: {again}")
        return INTERRUPTED
    return _end_unkept(ctx, early.results, problem)


def _end_unkept(ctx: click.Context, results: RunResult, problem: str) -> int:
    """Says what was paid for when not all of it could be written, and gives the exit code."""
    say_of_end(f"stopped, because what is paid for cannot be kept: {problem}", "red")
    say_of_end(f"spent: {results.spent_text}; to run the rest once there is room: {_again(ctx, '--resume')}")
    return INCOMPLETE


def _baseline(named: Path | None, output: Path, *, gate: bool, quiet: bool) -> RunResult | None:
    found = find_baseline(named, output / "results.json", settings().directory)
    if found is not None and not quiet:
        say(f"compares with the baseline {found.run_id} of {found.started_at}")
    if found is None and gate:
        raise click.UsageError(
            "--fail-on-regression needs a baseline: `llm-tester baseline save` keeps the last results as one; or name "
            "one with --baseline"
        )
    return found


def _again(ctx: click.Context, how: str) -> str:
    """The command that runs again what failed or is missing, with the options that say where things are."""
    kept = {"config_path": "--config", "cases": "--cases", "cassettes": "--cassettes", "output": "--output"}
    given = [name for name in kept if not _is_default(ctx, name)]
    options = [part for name in given for part in (kept[name], str(ctx.params[name]))]
    return shlex.join(["llm-tester", "run", how, *options])


def _last(output: Path, ctx: click.Context) -> RunResult:
    """The results that `--failed` goes by."""
    path = output / "results.json"
    if not path.exists():
        raise ResultsError(f"{path}: there are no results yet, so --failed has nothing to go by; run without it first")
    previous = RunResult.load(path)
    if not _is_default(ctx, "repeats") and ctx.params["repeats"] != previous.repeats:
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


@contextmanager
def _interruptible(ctx: click.Context, output: Path) -> Iterator[None]:
    """Says how to go on if the run is interrupted while it makes no calls: before the first one, or as it writes."""
    with _like_ctrl_c():
        try:
            yield
        except KeyboardInterrupt:
            how = f"; to go on: {_again(ctx, '--resume')}" if (output / JOURNAL).exists() else ""
            say_of_end(f"interrupted{how}")
            ctx.exit(INTERRUPTED)


@contextmanager
def _like_ctrl_c() -> Iterator[None]:
    """Lets SIGTERM (a job scheduler) and SIGHUP (a closed terminal) interrupt the run as Ctrl-C does."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for name in names if signal.getsignal(number := getattr(signal, name)) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def say_written(output: Path) -> None:
    """Says which files a run wrote."""
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
