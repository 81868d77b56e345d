"""Where the commands print. Plain lines need no rich, which takes as long to import as click.

A reply, an error of a provider or the name of a file may hold characters that clear the terminal, set its title or
write to the clipboard. Everything that is printed here shows them as `\\x1b` instead.
"""

import functools
import json
import os
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

__all__ = ["console", "printable", "say", "say_items", "say_json"]

PIPE_WIDTH = 130
# Control characters but for tab and line end, halves of surrogates, and what changes the direction of a text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """A text with its control characters as escapes, such as `\\x1b`."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@functools.cache
def console(*, err: bool = False) -> "Console":
    """Rich's console of stdout, or of stderr."""
    from rich.console import Console

    class Printable(Console):
        def render(self, renderable: "RenderableType", options: "ConsoleOptions | None" = None) -> "Iterator[Segment]":
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=printable(segment.text))

    made = Printable(stderr=err, emoji=False)
    if not err and not made.is_terminal and "COLUMNS" not in os.environ:
        # A log or a pipe has no window to set the width, and 80 columns fold the tables.
        made.width = PIPE_WIDTH
    return made


def say_json(document: Any) -> None:
    """Prints JSON on standard output, with the characters that `printable` replaces as JSON's own escapes.

    Args:
        document: the text, or what to make it of; pydantic models and dataclasses may be in it.
    """
    if not isinstance(document, str):
        from pydantic_core import to_jsonable_python

        document = json.dumps(document, indent=1, ensure_ascii=False, default=to_jsonable_python)
    click.echo(_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", document.rstrip("\n")))


def say(text: str, style: str = "", *, err: bool = False) -> None:
    """Prints a line without markup, and without folding at the terminal's edge."""
    text, context = printable(text), click.get_current_context(silent=True)
    # With `--json`, standard output is for one JSON document.
    err = err or bool(context and context.params.get("json"))
    if not style:
        click.echo(text, err=err)
        return
    from rich.text import Text

    console(err=err).print(Text(text, style=style), soft_wrap=True)


def say_items(
    items: "Sequence[Any]", rows: "Iterable[Mapping[str, str]]", *, as_json: bool, numbers: "Collection[str]" = ()
) -> None:
    """Prints items as a table, or as JSON.

    Args:
        items: what the JSON has.
        rows: what the table has: in each row, the text of each column by its head.
        as_json: which of the two.
        numbers: the heads of the columns that are aligned right.
    """
    if as_json:
        say_json(items)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for row in rows:
        if not table.columns:
            for head in row:
                table.add_column(head, justify="right" if head in numbers else "left", overflow="fold")
        table.add_row(*map(Text, row.values()))
    console().print(table)
