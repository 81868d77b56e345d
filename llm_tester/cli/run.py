"""The command `run`."""

import shlex
import signal
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import click
from click.core import ParameterSource

from ..cassettes.network import Offline, network
from ..cassettes.temporary import remove_stale
from ..errors import ResultsError
from ..llm_tester import LLMTester, RunInterrupted
from ..reports import terminal
from ..runs.baseline import compare_runs, find_baseline
from ..runs.comparison import RunComparison, counted
from ..runs.journal import JOURNAL, Done, load_journal
from ..runs.results import KIND, RunResult
from ..runs.shards import parse_shard
from ..runs.summary import summarize
from ..settings import activate, settings
from ..utils.cost_manager import COST_KIND, CostReport
from ..utils.files import check_own, only_run_in
from . import COMPLETE, INCOMPLETE, INTERRUPTED
from ._cluster import cluster
from .console import console, say, say_json
from .progress import RunProgress, say_on_stderr, waiting
from .report import check_reports, write_junit, write_reports

__all__ = ["Options", "check_outputs", "run", "say_written"]


@dataclass(frozen=True)
class Options:
    """What was asked for; `llm-tester run --help` explains each."""

    providers: tuple[str, ...]
    modules: tuple[str, ...]
    record: str
    through_the_wire: bool
    failed: bool
    resume: bool
    cases: Path | None
    cassettes: Path | None
    concurrency: int
    workers: int | None
    dask: str | None
    shard: str | None
    repeats: int
    max_cost: float | None
    dry_run: bool
    baseline: Path | None
    tolerance: float
    fail_under: float | None
    fail_on_regression: bool
    junit_path: Path | None
    output: Path
    config_path: Path | None
    show: str
    quiet: bool
    verbose: bool
    json: bool


def run(options: Options) -> int:
    """Runs the cases, and writes and prints what came out; gives the exit code."""
    if options.dask and options.workers:
        raise click.UsageError("--dask uses the cluster's workers; leave --workers out")
    if options.dry_run and options.resume:
        raise click.UsageError("--dry-run shows what a new run would do; leave --resume out")
    activate(options.config_path)
    with _interruptible(options.output), nullcontext() if options.dry_run else only_run_in(options.output):
        done = None if options.dry_run else _dead_run(options)
        previous = _last(options)
        options = _continued(options, done, previous)
        with _network(options.record):
            wanted = options.providers or settings().enabled_names()
            tester = LLMTester(wanted, options.cases, cassettes=options.cassettes)
            earlier = _baseline(options)
            if options.dry_run:
                return _estimate(options, tester, previous)
            check_outputs(options.output, options.junit_path)
            remove_stale(options.output)
            if done:
                remove_stale(tester.cassettes, below=True)
            results, early = _results(options, tester, previous)
        comparison = compare_runs(earlier, results, options.tolerance) if earlier and not early else None
        problem = _save(options, tester, results, comparison)
        if early or problem:
            return _end(options, results, [early.problem if early else None, problem])
        worse = _worse(options, comparison)
        if options.junit_path:
            write_junit(options.junit_path, results, options.fail_under, worse)
    if results is previous:
        say(f"nothing failed or was skipped in {options.output / 'results.json'}; there is nothing to run again")
    return _show(options, results, comparison, [*_below(options, results), *worse])


def _dead_run(options: Options) -> Done | None:
    """What is done of the run that ended early in the output directory; None if there is none.

    Raises:
        ResultsError: there is one, and this run is not to go on with it.
    """
    path = options.output / JOURNAL
    done = load_journal(path)
    if done is None:
        return None
    if not options.resume:
        raise ResultsError(
            f"{path}: the run that was started at {done.head.started_at} ended early, with {len(done.results)} "
            f"results. Go on with it: {_again('--resume')}; or name another --output"
        )
    _check_repeats(options, done.head.repeats)
    if done.lost:
        some = ", ".join(f"{module}/{name} {provider}:{model}" for module, name, _, provider, model in done.lost)
        say(f"in flight when the run ended, may be billed (see costs.json): {counted(len(done.lost), 'call')}: {some}")
    return done


def _last(options: Options) -> RunResult | None:
    """The results that `--failed` goes by, and `--resume` if there are any; None for a new run."""
    path = options.output / "results.json"
    if not (options.failed or (options.resume and path.exists())):
        return None
    if not path.exists():
        raise ResultsError(f"{path}: there are no results yet, so --failed has nothing to go by; run without it first")
    previous = RunResult.load(path)
    _check_repeats(options, previous.repeats)
    return previous


def _check_repeats(options: Options, kept: int) -> None:
    if options.repeats != kept and not _is_default("repeats"):
        raise click.UsageError(f"the earlier run in {options.output} has {kept} repeats, which are kept; omit --repeat")


def _is_default(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) == ParameterSource.DEFAULT


def _continued(options: Options, done: Done | None, previous: RunResult | None) -> Options:
    """The options of a run that goes on with another one, whose providers it has if none are named."""
    if done:
        head = done.head
        modules, record = options.modules or head.modules, head.record if _is_default("record") else options.record
        return replace(options, providers=options.providers or head.columns, modules=modules, record=record)
    if previous and not options.providers:
        columns = previous.shard.columns if previous.shard else [result.column for result in previous.results]
        return replace(options, providers=tuple(dict.fromkeys([*columns, *previous.problems])))
    return options


def _network(record: str) -> AbstractContextManager[None]:
    """Refuses all connections, also of the processes that are started, if nothing may be sent."""
    if record != "none":
        return nullcontext()
    return network.offline(Offline("`--record none` only replays", settings().config.allow))


def _baseline(options: Options) -> RunResult | None:
    found = find_baseline(options.baseline, options.output / "results.json", settings().directory)
    if found is not None and not options.quiet:
        say(f"compares with the baseline {found.run_id} of {found.started_at}")
    if found is None and options.fail_on_regression:
        raise click.UsageError(
            "--fail-on-regression needs a baseline: `llm-tester baseline save` keeps the last results as one; or name "
            "one with --baseline"
        )
    return found


def _shard(options: Options) -> tuple[int, int] | None:
    return parse_shard(options.shard) if options.shard else None


def _estimate(options: Options, tester: LLMTester, previous: RunResult | None) -> int:
    from ..estimate import estimate
    from .estimates import show_estimates

    estimates = estimate(
        tester,
        options.modules,
        record=options.record,
        repeats=options.repeats,
        max_cost=options.max_cost,
        previous=previous,
        shard=_shard(options),
    )
    show_estimates(estimates, as_json=options.json)
    return COMPLETE


def check_outputs(output: Path, junit_path: Path | None = None) -> None:
    """Refuses, before anything is paid for, what could not be written afterwards."""
    check_reports(output, junit_path)
    marks = {"results.json": KIND, "costs.json": COST_KIND, "costs.md": COST_KIND}
    for name, mark in marks.items():
        check_own(output / name, mark)
    if (costs := output / "costs.json").exists():
        CostReport.load(costs)


def _results(
    options: Options, tester: LLMTester, previous: RunResult | None
) -> tuple[RunResult, RunInterrupted | None]:
    """Runs the cases; gives what is done, and why the run ended early if it did."""
    try:
        with cluster(options.dask, options.workers) as (executor, workers):
            # Of the calls of other processes, only the limit is known here.
            flying = "" if executor is None and (workers or 1) == 1 else "at most "
            progress = RunProgress(flying, quiet=options.quiet, verbose=options.verbose)
            with progress.shown():
                results = tester.run_tests(
                    options.modules,
                    record=options.record,
                    concurrency=options.concurrency,
                    executor=executor,
                    workers=workers,
                    shard=_shard(options),
                    repeats=options.repeats,
                    max_cost=options.max_cost,
                    previous=previous,
                    on_result=progress,
                    on_wait=waiting,
                    through_the_wire=options.through_the_wire,
                    journal=options.output / JOURNAL,
                )
    except RunInterrupted as early:
        return early.results, early
    return results, None


def _save(options: Options, tester: LLMTester, results: RunResult, comparison: RunComparison | None) -> str | None:
    """Writes results, costs and reports; gives the problem if they cannot be kept."""
    try:
        # What was paid for is saved before anything else; until it is, the journal has it.
        results.save(options.output / "results.json")
        tester.save_cost_report(options.output / "costs.json", merge=True)
        write_reports(options.output, results, comparison, _again("--failed"))
        (options.output / JOURNAL).unlink(missing_ok=True)
    except ResultsError as error:
        return str(error)
    return None


def _end(options: Options, results: RunResult, problems: Iterable[str | None]) -> int:
    """Says how to go on with a run that was interrupted, or whose replies cannot be kept; gives the exit code."""
    again, problem = _again("--resume"), "\n".join(filter(None, problems))
    if problem:
        say_on_stderr(f"stopped, because what is paid for cannot be kept: {problem}", "red")
        say_on_stderr(f"spent: {results.spent_text}; to run the rest once there is room: {again}")
    else:
        rest = f"; to run the rest: {again}" if results.incomplete() else ""
        say_on_stderr(f"interrupted; what was done is saved{rest}")
    if options.json:
        say_json(results.to_json(options.output))
    return INCOMPLETE if problem else INTERRUPTED


def _again(how: str) -> str:
    """The command that runs again what failed or is missing, with the options that say where things are."""
    kept = {"config_path": "--config", "cases": "--cases", "cassettes": "--cassettes", "output": "--output"}
    typed = click.get_current_context().params
    options = [part for name in kept if not _is_default(name) for part in (kept[name], str(typed[name]))]
    return shlex.join(["llm-tester", "run", how, *options])


@contextmanager
def _interruptible(output: Path) -> Iterator[None]:
    """Lets SIGTERM (a job scheduler) and SIGHUP (a closed terminal) interrupt the run as Ctrl-C does.

    Says how to go on if that happens while the run makes no calls: before the first one, or as it writes.
    """
    with ExitStack() as stack:
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number and signal.getsignal(number) is signal.SIG_DFL:
                stack.callback(signal.signal, number, signal.SIG_DFL)
                signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
        try:
            yield
        except KeyboardInterrupt:
            how = f"; to go on: {_again('--resume')}" if (output / JOURNAL).exists() else ""
            say_on_stderr(f"interrupted{how}")
            click.get_current_context().exit(INTERRUPTED)


def _show(options: Options, results: RunResult, comparison: RunComparison | None, missed: list[str]) -> int:
    """Prints the results, and which thresholds they miss; gives the exit code."""
    again, whole = _again("--failed"), options.show == "all"
    terminal.show_results(console(err=options.json), results, comparison, again, whole=whole, quiet=options.quiet)
    if options.json:
        say_json(results.to_json(options.output))
    if not options.quiet:
        say_written(options.output)
    for line in missed:
        say(line, style="red")
    return INCOMPLETE if results.incomplete() or results.problems or missed else COMPLETE


def say_written(output: Path) -> None:
    """Says which files a run wrote."""
    say(f"written: {output / 'results.json'}, report.md, report.html, costs.json and costs.md")


def _below(options: Options, results: RunResult) -> list[str]:
    """The models whose mean accuracy is below what was asked for; one without any reply is below everything."""
    limit = options.fail_under or 0.0
    columns = summarize(results).columns if limit else ()
    found = [(column.column, column.accuracy or 0.0) for column in columns]
    return [f"below {limit:g}: {name} has {accuracy:.1f}" for name, accuracy in found if accuracy < limit]


def _worse(options: Options, comparison: RunComparison | None) -> list[str]:
    """What fails the run: the models that are worse, if that was asked for, or a baseline with nothing to compare."""
    if comparison is None or not (options.fail_on_regression or options.baseline):
        return []
    if not comparison.models:
        return comparison.notes()
    return [model.line() for model in comparison.regressions()] if options.fail_on_regression else []
