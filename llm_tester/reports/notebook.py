"""The matrix of cases and models for a notebook: HTML without scripts, with the colours in the cells."""

import re
from bisect import bisect_right

from ..runs.results import OfCase, RunResult
from ..runs.summary import grouped, summarize
from . import tables
from .html import _asset, _environment, _plain_cell

__all__ = ["notebook_matrix"]

_MOST_CASES = 200


def notebook_matrix(run: RunResult) -> str:
    """The matrix of the HTML report.

    Args:
        run: the results.

    Returns:
        A `div` that loads nothing, in which all texts are escaped, with the first 200 cases.
    """
    groups, columns = grouped(run.results), summarize(run).columns
    keys = list(dict.fromkeys(result.key for result in run.results))
    cases = (OfCase(module=module, name=name, variant=variant) for module, name, variant in keys[:_MOST_CASES])
    rows = [(case.title, [groups.get((*case.key, one.provider, one.model)) for one in columns]) for case in cases]
    given = {"run": run, "columns": columns, "rows": rows, "left": len(keys) - len(rows)}
    template = _environment().get_template("notebook.html.j2")
    return template.render(**given, words=_plain_cell, colours=_colours, colour=_colour)


def _colours(accuracy: float | None) -> str:
    """The colours of a cell."""
    level = None if accuracy is None else bisect_right(tables.LEVELS, accuracy)
    back, ink = ("sunk", "ink") if level is None else (f"s{level}", f"on{level}")
    return f"background: {_colour(back)}; color: {_colour(ink)}"


def _colour(name: str) -> str:
    """A colour of the report, for the light and the dark theme."""
    return str(re.findall(rf"--{name}: ([^;]+);", _asset("report.css"))[0])
