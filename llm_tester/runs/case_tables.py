"""Reads cases from a table next to model.py: JSON Lines, one case a line, or CSV."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import CaseError
from .expected import JsonObject, read_json_text

__all__ = ["TABLES", "rows"]

TABLES = ("cases.jsonl", "cases.csv")
_FIELD = "expected."


def rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The cases in a table.

    Args:
        path: the file.
        text: what is in it.

    Yields:
        The file and the line, for messages, and the values by the names of the columns, without empty cells of CSV.

    Raises:
        CaseError: it is not JSON Lines or CSV.
    """
    text = text.removeprefix("\ufeff")
    return _of_csv(path, text) if path.suffix == ".csv" else _of_lines(path, text)


def _of_lines(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            row = read_json_text(line, str(path), number)
            if not isinstance(row, JsonObject):
                raise CaseError(f"{path}, line {number}: found {line.strip():.40}, expected an object with a name")
            if row.duplicates:
                raise CaseError(f"{path}, line {number}: duplicate key {row.duplicates[0]!r}; remove one")
            yield f"{path}, line {number}", row


def _of_csv(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = reader.fieldnames or ()
        if len(set(columns)) < len(columns):
            raise CaseError(f"{path}, line 1: two columns have the same name")
        for row in reader:
            line = reader.line_num - sum(cell.count("\n") for cell in row.values() if isinstance(cell, str))
            if None in row or None in row.values():
                raise CaseError(f"{path}, line {line}: expected {len(columns)} cells, as in the first line")
            yield f"{path}, line {line}", _filled(row, str(path), line)
    except csv.Error as error:
        raise CaseError(f"{path}, line {reader.reader.line_num}: not CSV: {error}") from error


def _filled(row: dict[str, str], path: str, line: int) -> dict[str, Any]:
    """The cells that are not empty. `expected` is JSON; columns `expected.<field>` are its fields, as texts."""
    filled: dict[str, Any] = {name: cell for name, cell in row.items() if cell and not name.startswith(_FIELD)}
    fields = {name.removeprefix(_FIELD): cell for name, cell in row.items() if cell and name.startswith(_FIELD)}
    if fields and "expected" in filled:
        raise CaseError(f"{path}, line {line}: has expected and expected.{next(iter(fields))}; leave one empty")
    if "expected" in filled:
        return {**filled, "expected": read_json_text(filled["expected"], path, line)}
    return {**filled, "expected": fields} if fields else filled
