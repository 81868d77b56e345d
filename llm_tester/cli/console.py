"""Where the commands print. Plain lines need no rich, which takes as long to import as click."""

import functools
import logging
import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["console", "log_handler", "plain_table", "say"]

PIPE_WIDTH = 130


@functools.cache
def console(*, err: bool = False) -> "Console":
    """Rich's console of stdout, or of stderr."""
    from rich.console import Console

    made = Console(stderr=err)
    if not err and not made.is_terminal and "COLUMNS" not in os.environ:
        # A log or a pipe has no window to set the width, and 80 columns fold the tables.
        made.width = PIPE_WIDTH
    return made


def say(text: str, style: str = "", *, err: bool = False) -> None:
    """Prints a line as it is: no markup, no folding at the terminal's edge."""
    if not style:
        click.echo(text, err=err)
        return
    from rich.text import Text

    console(err=err).print(Text(text, style=style), soft_wrap=True)


def plain_table(*heads: str) -> "Table":
    """An empty table with these columns."""
    from rich import box
    from rich.table import Table

    table = Table(*heads)
    table.box, table.pad_edge = box.SIMPLE_HEAD, False
    return table


@functools.cache
def log_handler() -> logging.Handler:
    """What prints the lines of the log."""
    from rich.logging import RichHandler

    handler = RichHandler(console=console(err=True), show_path=False)
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler
