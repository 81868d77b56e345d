"""Reads what a module of cases has in files: a source, prompts and the truth of each case, and tables of cases."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, Field

from ..config import validate
from ..errors import CaseError, ConfigError
from ..utils.files import Boundary
from .expected import JsonObject, read_json_text
from .results import Record

__all__ = ["SHARED", "TABLES", "Item", "Name", "content", "item_of", "listed", "on_disk"]

# Control characters must not reach a terminal. A name that is not UTF-8 has halves of surrogates.
_CONTROL = r"\x00-\x1f\x7f-\x9f"
# The prompt of the cases of a module that have none of their own.
SHARED = Path("tests/prompts/_default.txt")
_UNUSABLE = re.compile(rf"[{_CONTROL}\ud800-\udfff]")
# Tables next to model.py: JSON Lines, one case a line, or CSV.
TABLES = ("cases.jsonl", "cases.csv")
_FIELD = "expected."
Name = Annotated[str, Field(pattern=f"^[^{_CONTROL}]*$")]


class Item(Record):
    """A case as `get_test_cases()` or the files give it. The last two fields are those of the original project."""

    name: Name = Field(min_length=1)
    variant: Name = ""
    prompt: str | None = None
    prompt_path: Path | None = None
    source: str | None = None
    source_path: Path | None = None
    expected: Any = None
    expected_path: Path | None = None
    files: tuple[Path, ...] = Field(default=(), validation_alias=AliasChoices("files", "file_paths"))
    module: str | None = None
    model_class: Any = None


def on_disk(directory: Path, boundary: Boundary) -> list[tuple[str, Item]]:
    """The cases in a module's files and tables, each with its place for messages."""
    found = list(_from_files(directory / "tests"))
    for table in (directory / name for name in TABLES):
        if boundary.check(table):
            rows = _of_csv if table.suffix == ".csv" else _of_lines
            text = content(table, boundary).removeprefix("\ufeff")
            found += [(place, item_of(row, Path(place))) for place, row in rows(table, text)]
    if not found:
        tables = " or ".join(TABLES)
        raise CaseError(
            f"{directory / 'tests'}: has no case; a case is prompts/<case>.txt, sources/<case>.txt and expected/, "
            f"or a line of {tables} next to model.py"
        )
    return found


def _from_files(tests: Path) -> Iterator[tuple[str, Item]]:
    sources, prompts = _stems(tests / "sources", ".txt"), _stems(tests / "prompts", ".txt")
    expected = _stems(tests / "expected", ".json")
    named = {*sources, *expected}
    places = {prompt: _split(prompt, named) for prompt in prompts if prompt != SHARED.stem}
    names = {name for name, _ in places.values()}
    # A source or an expected reply without a prompt becomes a case too; it takes the shared prompt.
    places |= {name: (name, "") for name in named - names}
    files: dict[str, list[Path]] = defaultdict(list)
    written = set(prompts)
    owners = named | names
    for path in listed(tests / "files"):
        files[_owner(path.name, owners)].append(path)
    prompt_files, source_files, expected_files = tests / "prompts", tests / "sources", tests / "expected"
    for prompt, (name, variant) in sorted(places.items()):
        path = prompt_files / f"{prompt}.txt"
        item = Item(
            name=name,
            variant=variant,
            prompt_path=path if prompt in written else None,
            source_path=source_files / f"{name}.txt",
            expected_path=expected_files / f"{name}.json",
            files=tuple(files[name]),
        )
        yield str(path), item


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


def _stems(directory: Path, suffix: str) -> list[str]:
    return [path.stem for path in listed(directory) if path.suffix == suffix]


def _split(prompt: str, named: set[str]) -> tuple[str, str]:
    """The case and the variant that a prompt is for."""
    if prompt in named or "." not in prompt:
        return prompt, ""
    name, _, variant = prompt.rpartition(".")
    return name, variant


def _owner(file: str, names: set[str]) -> str:
    """The longest name of a case that a file's name starts with, up to a dot; "" if there is none."""
    while "." in file:
        file = file.rpartition(".")[0]
        if file in names:
            return file
    return ""


def item_of(value: Mapping[str, Any], path: Path, place: str = "") -> Item:
    """A case from its values; a CaseError with the file and the place in it if they are wrong."""
    try:
        return validate(Item, value, path, place)
    except ConfigError as error:
        raise CaseError(str(error)) from error


def listed(directory: Path) -> list[Path]:
    """The entries of a directory, sorted, without hidden files; empty if there is no such directory."""
    try:
        # Names compare several times as fast as paths.
        found = [path for path in sorted(directory.iterdir(), key=attrgetter("name")) if not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CaseError(f"{directory}: cannot be read as a directory ({error})") from error
    if bad := [path.name for path in found if _UNUSABLE.search(path.name)]:
        raise CaseError(f"{directory}: the name {bad[0]!r} has a control character or is not UTF-8; rename it")
    return found


def content(path: Path, boundary: Boundary) -> str:
    """The text of a file inside of the boundary."""
    boundary.check(path)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise CaseError(f"{path}: cannot be read as UTF-8 text ({error})") from error
