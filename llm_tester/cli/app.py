"""The command `llm-tester`."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from ..errors import ConfigError, LLMTesterError
from ..llms import llm_registry
from ..settings import activate, settings

__all__ = ["main"]

COMPLETE, INCOMPLETE, MISUSE, INTERRUPTED = 0, 1, 2, 130
PIPE_WIDTH = 130
OUTPUT = Path("llm_tester_results")

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
        # A log or a pipe has no window to set the width, and 80 columns fold the tables.
        console.width = PIPE_WIDTH
    level = logging.INFO if verbose else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s", handlers=[RichHandler(console=errors, show_path=False)])
    for chatty in ("httpx", "httpx2", "LiteLLM", "vcr"):
        logging.getLogger(chatty).setLevel(logging.ERROR)


@main.command()
@config_option
def providers(config_path: Path | None) -> None:
    """List the providers, which keys are set, and what is wrong with those that cannot start."""
    activate(config_path)
    active = settings()
    enabled = set(active.enabled_names())
    table = Table("provider", "type", "default model", "schema", "login", "in a run")
    table.box, table.pad_edge = box.SIMPLE_HEAD, False
    problems: list[str] = []
    for name in llm_registry.discover_providers():
        info = llm_registry.get_provider_info(name)
        used = "yes" if name in enabled else "no"
        if not info["available"]:
            problems.append(f"{name} cannot start: {info['problem']}")
            table.add_row(Text(name), Text("cannot start", style="red"), "—", "—", "—", used)
            continue
        if info["schema_problem"]:
            problems.append(info["schema_problem"])
        if _is_incomplete(info):
            problems.append(f"{name}: {_login(info)}; {info['missing_key']}")
        schema = info["schema_mode"] or "—"
        cells = [name, info["provider_type"], info["default_model"] or "—", schema, _login_cell(info), used]
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    for problem in problems:
        say(console, problem, style="red")
    say(console, f"config: {active.path or 'none; the package alone'}")


def _is_incomplete(info: dict[str, Any]) -> bool:
    """Whether a login of several parts lacks some; that is too long for a cell."""
    return len(info["login_set"]) + len(info["login_missing"]) > 1 and bool(info["login_missing"])


def _login_cell(info: dict[str, Any]) -> str:
    return "incomplete" if _is_incomplete(info) else _login(info)


def _login(info: dict[str, Any]) -> str:
    found = [f"{name} is set" for name in info["login_set"]]
    missing = [f"{name} is not set" for name in info["login_missing"]]
    return "; ".join(found + missing) or "not needed"


@main.command()
@click.argument("directory", type=click.Path(path_type=Path), default=".")
def init(directory: Path) -> None:
    """Write a config, one module with a case, and its recorded cassette, so that `run` works."""
    template = Path(__file__).parent.parent / "template"
    files = [path for path in sorted(template.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    targets = {path: directory / path.relative_to(template) for path in files}
    if existing := [target for target in targets.values() if target.exists()]:
        raise ConfigError(f"{existing[0]}: already exists; nothing was written. Choose an empty directory")
    for path, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        say(console, f"wrote {target}")
    say(console, "now: llm-tester run" if directory == Path() else f"now: cd {directory} && llm-tester run")
