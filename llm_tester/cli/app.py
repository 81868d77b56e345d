"""The command `llm-tester`: everything that can be typed.

Only click is imported here, so that help and completion come at once. Each command imports what it runs when it is
called.
"""

import atexit
import errno
import gc
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from ..cassettes.modes import RecordMode
from ..errors import LLMTesterError
from . import COMPLETE, INCOMPLETE, INTERRUPTED, MISUSE

__all__ = ["main"]

OUTPUT = Path("llm_tester_results")

Command = TypeVar("Command", bound=Callable[..., Any])


class _Group(click.Group):
    """Ends with the exit code that a command returns, and prints our errors without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            ctx.exit(super().invoke(ctx) or COMPLETE)
        except LLMTesterError as error:
            from .console import say

            say(f"error: {error}", "red", err=True)
            ctx.exit(MISUSE)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except OSError as error:
            # Such as a log on a disk that is full. Click itself ends quietly if a pipe is closed.
            if error.errno != errno.ENOSPC:
                raise
            click.echo(f"error: {error.filename or 'the output'}: cannot be written ({error})", err=True)
            ctx.exit(INCOMPLETE)


def _show_warning(message: Warning | str, category: type[Warning], *_where: object, **_more: object) -> None:
    from .console import say

    say(f"{category.__name__}: {message}", "yellow", err=True)


class _Log(logging.Handler):
    """Prints the log as the commands print, above a live bar."""

    def emit(self, record: logging.LogRecord) -> None:
        from .console import say

        try:
            say(self.format(record), err=True)
        except OSError:
            self.handleError(record)


def path_argument(name: str, **more: Any) -> Callable[[Command], Command]:
    return click.argument(name, type=click.Path(path_type=Path), **more)


def path_option(*names: str, **more: Any) -> Callable[[Command], Command]:
    return click.option(*names, type=click.Path(path_type=Path), **more)


json_option = click.option("--json", is_flag=True, help="Print JSON; anything else goes to stderr.")
show_option = click.option("--show", type=click.Choice(["screen", "all"]), default="screen", help="How much to list.")
cases_option = path_option("--cases", help="Directory of the cases (default: the config's).")
config_option = path_option("--config", "config_path", help="The global config; ./config.json else.")

if "_LLM_TESTER_COMPLETE" in os.environ:
    from . import completion as completion  # bash is answered in another way than click does


def complete_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from .completion import complete

    return complete(context, parameter, incomplete)


def names_option(*names: str, **more: Any) -> Callable[[Command], Command]:
    return click.option(*names, multiple=True, shell_complete=complete_names, **more)


@click.group(cls=_Group, context_settings={"auto_envvar_prefix": "LLM_TESTER", "show_default": True})
@click.version_option(package_name="llm_tester")
@click.option("-v", "--verbose", is_flag=True, help="Show the log.")
def main(verbose: bool) -> None:
    """Test LLM providers the way you test code."""
    # The interpreter ends with a collection, which takes a second if LiteLLM was imported, and frees what the system
    # frees anyway.
    atexit.register(gc.freeze)
    warnings.showwarning = _show_warning
    level, form = logging.INFO if verbose else logging.ERROR, "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=level, format=form, datefmt="%H:%M:%S", handlers=[_Log()])
    for chatty in ("httpx", "httpx2", "LiteLLM", "vcr"):
        logging.getLogger(chatty).setLevel(logging.ERROR)


@main.command()
@json_option
@config_option
def providers(config_path: Path | None, json: bool) -> None:
    """List the providers, which keys are set, and what is wrong with those that cannot start."""
    from .providers import show_providers

    show_providers(config_path, as_json=json)


@main.command("list")
@cases_option
@click.option("--no-import", is_flag=True, help="Import nothing of the project; say which files run code.")
@json_option
@config_option
def show_cases(cases: Path | None, no_import: bool, json: bool, config_path: Path | None) -> None:
    """List the cases and models of a run, and whether they are recorded."""
    from .listing import show_list

    show_list(cases, config_path, may_import=not no_import, as_json=json)


@main.command()
@path_argument("directory", default=".")
def init(directory: Path) -> None:
    """Write a config, one module with a case, and its recorded cassette, so that `run` works."""
    from .init import write_project

    write_project(directory)


@main.command("new-module")
@click.argument("name")
@config_option
def new_module(name: str, config_path: Path | None) -> None:
    """Add a module with one case to edit, which runs at once with the mock provider."""
    from .new_module import write_module

    write_module(name, config_path)


@main.command()
@names_option("-p", "--provider", "providers", help="PROVIDER, PROVIDER:MODEL, PROVIDER:*; repeatable.")
@names_option("-m", "--module", "modules", help="MODULE or MODULE/CASE, or a glob: only these; repeatable.")
@click.option(
    "--record",
    type=click.Choice(["auto", "off", *get_args(RecordMode)]),
    default="auto",
    help="auto replays what is recorded, and calls and records the rest if a key is set (never under CI); off calls "
    "and records nothing.",
)
@click.option("--through-the-wire", is_flag=True, help="Replay recordings even if their replies are kept.")
@click.option("--failed", is_flag=True, help="Run again what failed or was skipped in the last results; keep the rest.")
@click.option(
    "--resume", is_flag=True, help="Go on with the run in --output that ended early, else as --failed, else start one."
)
@cases_option
@path_option("--cassettes", help="Directory of the recordings (default: the config's).")
@click.option("--concurrency", type=click.IntRange(1, 256), default=1, help="Number of parallel calls.")
@click.option("--workers", type=click.IntRange(1, 256), help="Number of processes, which share the parallel calls.")
@click.option("--dask", metavar="ADDRESS", help="Run on the workers of this Dask scheduler (extra: dask).")
@click.option("--shard", metavar="K/N", help="Run only part K of N of the cases and models; see `merge`.")
@click.option("--repeat", "repeats", type=click.IntRange(1, 1000), default=1, help="Run each case N times.")
@click.option("--max-cost", type=float, metavar="USD", help="Make no call that could exceed this limit.")
@click.option("--dry-run", is_flag=True, help="Show what would be called and cost, and call nothing.")
@path_option("--baseline", help="Compare with this results.json (default: baseline.json).")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    default=0.0,
    help="A difference from the baseline that does not exceed this is the same.",
)
@click.option(
    "--fail-under", type=click.FloatRange(0, 100), metavar="ACCURACY", help="Exit 1 if a model's accuracy is lower."
)
@click.option("--fail-on-regression", is_flag=True, help="Exit 1 if a model is worse than in the baseline.")
@path_option("--junit", "junit_path", help="Write JUnit XML to this file.")
@path_option("--output", default=OUTPUT)
@show_option
@click.option("-q", "--quiet", is_flag=True, help="Print only what failed, and what was spent.")
@click.option("-v", "--verbose", is_flag=True, help="List each result when it is done.")
@json_option
@config_option
def run(**options: Any) -> int:
    """Run the cases over the providers.

    Exit codes: 0, the run is complete; 1, a call failed or was not made, or a threshold was missed; 2, misuse; 130,
    interrupted.
    """
    from .run import Options, run

    return run(Options(**options))


@main.command()
@path_argument("results", nargs=-1, required=True)
@path_option("-o", "--output", default=OUTPUT)
@show_option
def merge(results: tuple[Path, ...], output: Path, show: str) -> int:
    """Put the results of all parts of `run --shard K/N` together.

    RESULTS are the output directories of the parts, or their results.json with the costs.json next to it.
    """
    from .merge import merge_parts

    return merge_parts(results, output, whole=show == "all")


@main.command()
@path_argument("results", metavar="FILE...", nargs=-1, required=True)
@path_option("-o", "--output", default="llm_tester_report")
@show_option
def report(results: tuple[Path, ...], output: Path, show: str) -> int:
    """Show results that exist, and write report.html, report.md and junit.xml; call nothing.

    FILE is a results.json, or the directory it is in. With several, the first is the baseline of the others; exit 1 if
    there is nothing to compare.
    """
    from .report import show_report

    return show_report(results, output, whole=show == "all")


@main.group()
def baseline() -> None:
    """Keep results to compare later runs with."""


@baseline.command()
@path_argument("file", default=OUTPUT / "results.json")
@config_option
def save(file: Path, config_path: Path | None) -> None:
    """Keep the last results, or those in FILE, as baseline.json next to the config; `run` then compares with them."""
    from .baseline import save_baseline

    save_baseline(file, config_path)


@main.command()
@click.argument("target", metavar="[PROVIDER[:MODEL]]", required=False, shell_complete=complete_names)
@json_option
@config_option
def prices(target: str | None, config_path: Path | None, json: bool) -> None:
    """Show the price of each model, where it comes from, and where the sources disagree by more than 1%.

    Prices are in USD per million tokens. Without a provider: those of a run.
    """
    from .prices import show_prices

    show_prices(target, config_path, as_json=json)


@main.group()
def cassettes() -> None:
    """Look after the recordings."""


@cassettes.command()
@path_argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--gitleaks", is_flag=True, help="Also look with the rules of gitleaks, which must be installed.")
@json_option
@config_option
def scan(paths: tuple[Path, ...], config_path: Path | None, gitleaks: bool, json: bool) -> int:
    """Look for keys in recordings; exit 1 if there is one, for CI and pre-commit."""
    from .recordings import scan_cassettes

    return scan_cassettes(paths, config_path, gitleaks=gitleaks, as_json=json)


@cassettes.command()
@cases_option
@config_option
def unused(cases: Path | None, config_path: Path | None) -> int:
    """Replay every case, and list the interactions and the files that none of them asked for; exit 1 if any."""
    from .recordings import list_unused

    return list_unused(cases, config_path)


@main.command()
@path_argument("source", metavar="PATH")
@path_option("--to", "target", help="The new directory (default: PATH/llm-tester).")
def migrate(source: Path, target: Path | None) -> None:
    """Take over the config and the cases of a pydantic-llm-tester project.

    Nothing is overwritten. Each field that means nothing here is named.
    """
    from .migrate import migrate_project

    migrate_project(source, target or source / "llm-tester")
