"""Finds the test cases. A module is a folder with a pydantic class and, for each case, a source, prompts and the truth.

    <module>/model.py                       the class to extract into; see `load_model_class`
    <module>/tests/sources/<case>.txt
    <module>/tests/prompts/<case>.txt       and <case>.<variant>.txt, another prompt for the case
    <module>/tests/prompts/_default.txt     the prompt of every case that has none of its own
    <module>/tests/expected/<case>.json
    <module>/tests/files/<case>.*           images and PDFs to send with it
    <module>/cases.jsonl, cases.csv         tables of more cases; see `case_files`

Instead of the files, the class may have a `get_test_cases()`; see `discover`. A `Case` made in Python needs no files.
"""

import inspect
import logging
import reprlib
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, model_validator
from pydantic_core import to_jsonable_python

from ..cassettes.importing import collector_at_rest
from ..errors import CaseError, suggest
from ..llms.base import File
from ..utils.files import Boundary
from .case_files import SHARED, TABLES, Item, Name, content, item_of, listed, on_disk
from .expected import check_expected, read_expected
from .model_classes import load_model_class, raised
from .results import OfCase

__all__ = ["Case", "discover", "given", "load_model_class", "titles"]

log = logging.getLogger("llm_tester")


class Case(OfCase):
    """One case with one prompt.

    Those in files are found by `LLMTester.discover_test_cases`. `LLMTester.run_tests(cases=[...])` runs those that are
    made in Python, from keyword arguments with the names of the attributes and `model_class`, the pydantic class to
    extract into.

    Attributes:
        module: the name of the module; by default that of the class in lower case.
        name: the name of the case.
        variant: the name of the prompt; "" for the plain one.
        prompt: the instructions.
        source: the text to extract from.
        expected: the JSON of a right reply; it fits the class. An instance of the class is turned into its JSON.
        files: the files to send: images and PDFs.
        alone: whether it is the only prompt of its case.
        directory: the module's directory; None for a case made in Python.
    """

    module: Name = ""
    name: Name = Field(min_length=1)
    variant: Name = ""
    prompt: str
    source: str
    expected: Any
    files: tuple[Path, ...] = ()
    alone: bool = True
    directory: Path | None = None
    given_class: type[BaseModel] | None = Field(default=None, alias="model_class")

    @model_validator(mode="before")
    @classmethod
    def _of_class(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Takes the module's name from the class, and turns what is expected into JSON."""
        if "directory" in values:
            return values
        if "model_class" not in values:
            raise ValueError("model_class is missing: the pydantic class to extract into")
        expected = {"expected": to_jsonable_python(values["expected"])} if "expected" in values else {}
        return {"module": getattr(values["model_class"], "__name__", "").lower(), **values, **expected}

    @property
    def title(self) -> str:
        """`<name>`, or `<name>.<variant>`."""
        return f"{self.name}.{self.variant}" if self.variant else self.name

    @property
    def selector(self) -> str:
        """The value of `-m` for this prompt alone; the plain prompt of several is `<module>/<name>.`."""
        return f"{self.module}/{self.title}" + ("" if self.variant or self.alone else ".")

    def model_class(self) -> type[BaseModel]:
        """The class to extract into."""
        return self.given_class or load_model_class(self.directory or Path())

    @property
    def place(self) -> str:
        """Where its class is, for messages: the model.py, or the name of a case made in Python."""
        return str(self.directory / "model.py") if self.directory else self.selector

    def attachments(self) -> tuple[File, ...]:
        """The files to send with it, with their types."""
        return tuple(File.of(path) for path in self.files)


def discover(root: Path, modules: tuple[str, ...] = ()) -> list[Case]:
    """All cases in a directory.

    A class may have a classmethod `get_test_cases()`. It returns a list of objects with `name`, `prompt` or
    `prompt_path`, `source` or `source_path`, `expected` or `expected_path`, and optionally `variant` and `files`. Paths
    are relative to the module's directory.

    Args:
        root: the directory of the modules.
        modules: the names of the modules wanted, or `<module>/<case>` for one case with all its prompts, or
            `<module>/<case>.<variant>` for one prompt (`<module>/<case>.` for the plain one), each also as a glob
            (`prod*`, `products/desk*`); all if empty.

    Returns:
        The cases, at least one, in the order of module, case and variant.

    Raises:
        CaseError: there is no such directory, module or case, or no case at all, or cases cannot be read; names every
            file at fault.
    """
    known = _modules(root)
    wanted: set[str] = set()
    for pattern in sorted({name.partition("/")[0] for name in modules}):
        if not (found := {name for name in known if _matches(name, pattern)}):
            raise CaseError(f"{root}: has no module {pattern!r}; {suggest(pattern, known)}")
        wanted |= found
    root = root.resolve()
    boundary = Boundary(root)
    cases: list[Case] = []
    problems: list[str] = []
    for name in known:
        if wanted and name not in wanted:
            continue
        try:
            # A case stays until the end of the run; looking through thousands of them takes longer than reading them.
            with collector_at_rest():
                cases += _of_module(root / name, problems, boundary)
        except CaseError as error:
            problems.append(str(error))
    if problems:
        raise CaseError("\n".join(problems))
    return sorted(_chosen(root, cases, modules), key=lambda case: (case.module, case.name, case.variant))


def given(cases: Sequence[Case], names: Sequence[str] = ()) -> list[Case]:
    """Checks cases that were made in Python.

    Args:
        cases: the cases.
        names: those wanted, as for `discover`; all if empty.

    Raises:
        CaseError: there is none, two have the same name, what is expected does not fit the class, or a file is missing.
    """
    found = {case.key: case for case in cases}
    if not found:
        raise CaseError("cases: the list is empty; leave it out to run those of the directory")
    for case in cases:
        if found[case.key] is not case:
            raise CaseError(f"cases: {case.selector!r} is there twice; give one another name or variant")
        check_expected(case.expected, case.model_class(), f"{case.place}: expected")
        for path in case.files:
            if not path.is_file():
                raise CaseError(f"{path}: there is no such file; case {case.name!r} sends it")
    return _chosen("cases", cases, names)


def titles(root: Path) -> Iterator[tuple[str, str]]:
    """The cases in a directory by their files, without importing anything.

    Yields:
        The module and the title of each; "" as the title if the module has no files, because its class makes its cases.

    Raises:
        CaseError: there is no such directory or no module, or it cannot be read.
    """
    boundary = Boundary(root)
    for module in _modules(root):
        directory = root / module
        has_files = listed(directory / "tests") or any((directory / table).exists() for table in TABLES)
        items = on_disk(directory, boundary) if has_files else []
        yield from [(module, f"{item.name}.{item.variant}" if item.variant else item.name) for _, item in items] or [
            (module, "")
        ]


def _modules(root: Path) -> list[str]:
    try:
        found = [path.name for path in listed(root) if _is_module(path)]
        there = root.is_dir()
    except OSError as error:
        raise CaseError(f"{root}: cannot be read ({error})") from error
    if not there:
        raise CaseError(f"{root}: there is no such directory of cases; `llm-tester init` makes one")
    if not found:
        raise CaseError(
            f"{root}: has no module; a module is a folder with a model.py in it. `llm-tester init` writes a sample"
        )
    return found


def _is_module(folder: Path) -> bool:
    # From Python 3.14 on, is_file() also says no if it may not look.
    try:
        return stat.S_ISREG((folder / "model.py").stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _matches(name: str, pattern: str) -> bool:
    """Whether a name is the one that is meant, or fits a glob. A name may itself hold the characters of a glob."""
    return name == pattern or fnmatchcase(name, pattern)


def _chosen(root: Path | str, cases: Sequence[Case], names: Sequence[str]) -> list[Case]:
    """The cases that the names select. Each name must select at least one."""
    prompts = Counter((case.module, case.name) for case in cases)
    cases = [case.model_copy(update={"alone": prompts[case.module, case.name] == 1}) for case in cases]
    selectors = [(case.module, f"{case.module}/{case.name}", case.selector) for case in cases]
    chosen = [[any(_matches(own, name) for own in case) for case in selectors] for name in names]
    for name, found in zip(names, chosen, strict=True):
        if not any(found):
            titles = sorted(f"{case.module}/{case.title}" for case in cases)
            raise CaseError(f"{root}: has no case {name!r}; {suggest(name, titles)}")
    return [case for case, *found in zip(cases, *chosen, strict=True) if not names or any(found)]


def _of_module(directory: Path, problems: list[str], boundary: Boundary) -> Iterator[Case]:
    kind = load_model_class(directory)
    has_own = hasattr(kind, "get_test_cases")
    items = _from_class(kind, directory) if has_own else on_disk(directory, boundary)
    real, places = directory.resolve(), dict[tuple[str, str], str]()
    for place, item in items:
        try:
            if (first := places.setdefault((item.name, item.variant), place)) != place:
                raise CaseError(f"{place}: the case {item.name!r} is there twice; {first} has it already")
            if item.model_class is not None and item.model_class is not kind:
                found = reprlib.repr(item.model_class)
                raise CaseError(f"{place}: case {item.name!r} has the class {found}; a module has one class")
            if item.module not in (None, directory.name):
                log.warning("%s: module %r is ignored; the folder names the module", place, item.module)
            yield _case(directory, place, item, kind, real, boundary)
        except CaseError as error:
            problems.append(str(error))


def _from_class(kind: type[BaseModel], directory: Path) -> list[tuple[str, Item]]:
    path = directory / "model.py"
    given = _called(kind, directory)
    if not isinstance(given, list):
        found = reprlib.repr(given)
        raise CaseError(f"{path}: get_test_cases() returned {found}, expected a list of objects with a name")
    items = []
    for number, value in enumerate(given):
        if not isinstance(value, Mapping):
            found = reprlib.repr(value)
            raise CaseError(f"{path}: get_test_cases() returned {found}, expected an object with a name")
        place = f"get_test_cases()[{number}]"
        items.append((f"{path}: {place}", item_of(value, path, place)))
    if not items:
        raise CaseError(f"{path}: get_test_cases() of {kind.__name__} returned no case")
    return items


def _called(kind: type[BaseModel], directory: Path) -> Any:
    """What `get_test_cases` returns. As in the original project, it may take the module's directory."""
    path = directory / "model.py"
    method: Any = kind.get_test_cases  # type: ignore[attr-defined]
    is_bound = callable(method) and not inspect.isfunction(method)
    if not is_bound and not (callable(method) and inspect.signature(method).parameters.keys() <= {"module_dir"}):
        raise CaseError(f"{path}: get_test_cases is not a classmethod; write @classmethod above it")
    try:
        takes_directory = "module_dir" in inspect.signature(method).parameters
        given = method(str(directory)) if takes_directory else method()
        return given if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable) else [*given]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise raised(error, path, "get_test_cases() failed") from error


def _case(directory: Path, place: str, item: Item, kind: type[BaseModel], real: Path, boundary: Boundary) -> Case:
    files = tuple(directory / path for path in item.files)
    for path in files:
        if not boundary.check(path):
            raise CaseError(f"{path}: there is no such file; case {item.name!r} sends it")
    return Case(
        module=directory.name,
        name=item.name,
        variant=item.variant,
        directory=real,
        prompt=_text(directory, place, item, "prompt", boundary),
        source=_text(directory, place, item, "source", boundary),
        expected=_expected(directory, place, item, kind, boundary),
        files=files,
    )


def _text(directory: Path, place: str, item: Item, what: str, boundary: Boundary) -> str:
    given: str | None = getattr(item, what)
    if given is not None:
        return given
    where: Path | None = getattr(item, f"{what}_path")
    if where is None and what == "prompt":
        where = SHARED
        if not boundary.check(directory / where):
            raise CaseError(
                f"{place}: case {item.name!r} has no prompt, and there is no such file as {directory / where}"
            )
    if where is None:
        raise CaseError(f"{place}: case {item.name!r} has neither {what} nor {what}_path")
    boundary.check(directory / where)
    try:
        return content(directory / where, boundary).strip("\n")
    except FileNotFoundError as error:
        path = directory / where
        raise CaseError(f"{path}: there is no such file; case {item.name!r} needs its {what} there") from error


def _expected(directory: Path, place: str, item: Item, kind: type[BaseModel], boundary: Boundary) -> Any:
    if "expected" not in item.model_fields_set:
        text = _text(directory, place, item, "expected", boundary)
        return read_expected(text, kind, str(directory / (item.expected_path or "")))
    check_expected(item.expected, kind, f"{place}: case {item.name!r}: expected")
    return item.expected
