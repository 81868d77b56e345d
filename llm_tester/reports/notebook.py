"""The matrix of cases and models for a notebook: HTML without scripts, with the colours in the cells."""

import re
from bisect import bisect_right

from ..runs.results import RunResult
from ..runs.summary import matrix, summarize
from . import tables
from .html import _asset, _environment

__all__ = ["notebook_matrix"]

_MOST_CASES = 200


def notebook_matrix(run: RunResult) -> str:
    """The matrix of the HTML report.

    Args:
        run: the results.

    Returns:
        A `div` that loads nothing, in which all texts are escaped, with the first 200 cases.
    """
    columns = summarize(run).columns
    rows = matrix(run, columns)
    given = {"run": run, "columns": columns, "rows": rows[:_MOST_CASES], "left": max(0, len(rows) - _MOST_CASES)}
    template = _environment().get_template("notebook.html.j2")
    return template.render(**given, words=tables.cell_text, colours=_colours, colour=_colour)


def _colours(accuracy: float | None) -> str:
    """The colours of a cell."""
    level = None if accuracy is None else bisect_right(tables.LEVELS, accuracy)
    back, ink = ("sunk", "ink") if level is None else (f"s{level}", f"on{level}")
    return f"background: {_colour(back)}; color: {_colour(ink)}"


def _colour(name: str) -> str:
    """A colour of the report, for the light and the dark theme."""
    return str(re.findall(rf"--{name}: ([^;]+);", _asset("report.css"))[0])
