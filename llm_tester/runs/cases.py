"""Finds the test cases. A module is a folder with a pydantic class and, for each case, a source, prompts and the truth.

    <module>/model.py                       the class to extract into; see `load_model_class`
    <module>/tests/sources/<case>.txt
    <module>/tests/prompts/<case>.txt       and <case>.<variant>.txt, another prompt for the case
    <module>/tests/expected/<case>.json
    <module>/tests/files/<case>.*           images and PDFs to send with it

Instead of the files, the class may have a `get_test_cases()`; see `discover`.
"""

import inspect
import logging
import re
import reprlib
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, Field

from ..cassettes.importing import collector_at_rest
from ..config import validate
from ..errors import CaseError, ConfigError, suggest
from ..llms.base import File
from ..utils.files import Boundary
from .expected import check_expected, read_expected
from .model_classes import load_model_class, raised
from .results import OfCase, Record

__all__ = ["Case", "discover", "load_model_class", "titles"]

log = logging.getLogger("llm_tester")

# Control characters must not reach a terminal. A name that is not UTF-8 has halves of surrogates.
_CONTROL = r"\x00-\x1f\x7f-\x9f"
_UNUSABLE = re.compile(rf"[{_CONTROL}\ud800-\udfff]")
_Name = Annotated[str, Field(pattern=f"^[^{_CONTROL}]*$")]


class Case(OfCase):
    """One case with one prompt.

    Attributes:
        directory: the module's directory.
        prompt: the instructions.
        source: the text to extract from.
        expected: the JSON of a right reply; it fits the class.
        files: the files to send.
        alone: whether it is the only prompt of its case.
    """

    directory: Path
    prompt: str
    source: str
    expected: Any
    files: tuple[Path, ...] = ()
    alone: bool = True

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
        return load_model_class(self.directory)

    def attachments(self) -> tuple[File, ...]:
        """The files to send with it, with their types."""
        return tuple(File.of(path) for path in self.files)


class _Item(Record):
    """A case as `get_test_cases()` or the files give it. The last two fields are those of the original project."""

    name: _Name = Field(min_length=1)
    variant: _Name = ""
    prompt: str | None = None
    prompt_path: Path | None = None
    source: str | None = None
    source_path: Path | None = None
    expected: Any = None
    expected_path: Path | None = None
    files: tuple[Path, ...] = Field(default=(), validation_alias=AliasChoices("files", "file_paths"))
    module: str | None = None
    model_class: Any = None


def discover(root: Path, modules: tuple[str, ...] = ()) -> list[Case]:
    """All cases in a directory.

    A class may have a classmethod `get_test_cases()`. It returns a list of objects with `name`, `prompt` or
    `prompt_path`, `source` or `source_path`, `expected` or `expected_path`, and optionally `variant` and `files`. Paths
    are relative to the module's directory.

    Args:
        root: the directory of the modules.
        modules: the names of the modules wanted, or `<module>/<case>` for one case with all its prompts, or
            `<module>/<case>.<variant>` for one prompt (`<module>/<case>.` for the plain one); all if empty.

    Returns:
        The cases, at least one, in the order of module, case and variant.

    Raises:
        CaseError: there is no such directory, module or case, or no case at all, or cases cannot be read; names every
            file at fault.
    """
    known = _modules(root)
    wanted = {name.partition("/")[0] for name in modules}
    for name in sorted(wanted - set(known)):
        raise CaseError(f"{root}: has no module {name!r}; {suggest(name, known)}")
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
    prompts = Counter((case.module, case.name) for case in cases)
    cases = [case.model_copy(update={"alone": prompts[case.module, case.name] == 1}) for case in cases]
    return sorted(_chosen(root, cases, modules), key=lambda case: (case.module, case.name, case.variant))


def titles(root: Path) -> Iterator[tuple[str, str]]:
    """The cases in a directory by their files, without importing anything.

    Yields:
        The module and the title of each; "" as the title if the module has no files, because its class makes its cases.

    Raises:
        CaseError: there is no such directory or no module, or it cannot be read.
    """
    for module in _modules(root):
        tests = root / module / "tests"
        items = _from_files(tests) if _listed(tests) else ()
        yield from [(module, f"{item.name}.{item.variant}" if item.variant else item.name) for item in items] or [
            (module, "")
        ]


def _modules(root: Path) -> list[str]:
    try:
        found = [path.name for path in _listed(root) if _is_module(path)]
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


def _listed(directory: Path) -> list[Path]:
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


def _chosen(root: Path, cases: Sequence[Case], names: Sequence[str]) -> list[Case]:
    """The cases that the names select. Each name must select at least one."""
    selectors = [{case.module, f"{case.module}/{case.name}", case.selector} for case in cases]
    known = set().union(*selectors)
    for name in names:
        if name not in known:
            titles = sorted(f"{case.module}/{case.title}" for case in cases)
            raise CaseError(f"{root}: has no case {name!r}; {suggest(name, titles)}")
    return [case for case, own in zip(cases, selectors, strict=True) if not names or not own.isdisjoint(names)]


def _of_module(directory: Path, problems: list[str], boundary: Boundary) -> Iterator[Case]:
    kind = load_model_class(directory)
    has_own = hasattr(kind, "get_test_cases")
    items = _from_class(kind, directory) if has_own else list(_from_files(directory / "tests"))
    titles = Counter((item.name, item.variant) for item in items)
    if doubles := sorted(name for (name, _), times in titles.items() if times > 1):
        raise CaseError(f"{directory / 'model.py'}: get_test_cases() returned the case {doubles[0]!r} twice")
    real = directory.resolve()
    for item in items:
        try:
            yield _case(directory, item, kind, real, boundary)
        except CaseError as error:
            problems.append(str(error))


def _from_class(kind: type[BaseModel], directory: Path) -> list[_Item]:
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
        try:
            item = validate(_Item, value, path, f"get_test_cases()[{number}]")
        except ConfigError as error:
            raise CaseError(str(error)) from error
        if item.model_class is not None and item.model_class is not kind:
            found = reprlib.repr(item.model_class)
            raise CaseError(f"{path}: case {item.name!r} has the class {found}; a module has one class")
        if item.module not in (None, directory.name):
            log.warning("%s: get_test_cases(): module %r is ignored; the folder names the module", path, item.module)
        items.append(item)
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


def _from_files(tests: Path) -> Iterator[_Item]:
    sources, prompts = _stems(tests / "sources", ".txt"), _stems(tests / "prompts", ".txt")
    expected = _stems(tests / "expected", ".json")
    named = {*sources, *expected}
    places = {prompt: _split(prompt, named) for prompt in prompts}
    names = {name for name, _ in places.values()}
    # A source or an expected reply without a prompt becomes a case too; reading it reports the missing file.
    places |= {name: (name, "") for name in named - names}
    if not places:
        raise CaseError(f"{tests}: has no case; a case is prompts/<case>.txt, sources/<case>.txt and expected/")
    files: dict[str, list[Path]] = defaultdict(list)
    owners = named | names
    for path in _listed(tests / "files"):
        files[_owner(path.name, owners)].append(path)
    prompt_files, source_files, expected_files = tests / "prompts", tests / "sources", tests / "expected"
    for prompt, (name, variant) in sorted(places.items()):
        yield _Item(
            name=name,
            variant=variant,
            prompt_path=prompt_files / f"{prompt}.txt",
            source_path=source_files / f"{name}.txt",
            expected_path=expected_files / f"{name}.json",
            files=tuple(files[name]),
        )


def _stems(directory: Path, suffix: str) -> list[str]:
    return [path.stem for path in _listed(directory) if path.suffix == suffix]


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


def _case(directory: Path, item: _Item, kind: type[BaseModel], real: Path, boundary: Boundary) -> Case:
    files = tuple(directory / path for path in item.files)
    for path in files:
        if not boundary.check(path):
            raise CaseError(f"{path}: there is no such file; case {item.name!r} sends it")
    return Case(
        module=directory.name,
        name=item.name,
        variant=item.variant,
        directory=real,
        prompt=_text(directory, item, "prompt", boundary),
        source=_text(directory, item, "source", boundary),
        expected=_expected(directory, item, kind, boundary),
        files=files,
    )


def _text(directory: Path, item: _Item, what: str, boundary: Boundary) -> str:
    given: str | None = getattr(item, what)
    if given is not None:
        return given
    where: Path | None = getattr(item, f"{what}_path")
    if where is None:
        raise CaseError(f"{directory / 'model.py'}: case {item.name!r} has neither {what} nor {what}_path")
    path = directory / where
    boundary.check(path)
    try:
        return path.read_text(encoding="utf-8").strip("\n")
    except FileNotFoundError as error:
        raise CaseError(f"{path}: there is no such file; case {item.name!r} needs its {what} there") from error
    except (OSError, ValueError) as error:
        raise CaseError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def _expected(directory: Path, item: _Item, kind: type[BaseModel], boundary: Boundary) -> Any:
    if "expected" not in item.model_fields_set:
        text = _text(directory, item, "expected", boundary)
        return read_expected(text, kind, str(directory / (item.expected_path or "")))
    check_expected(item.expected, kind, f"{directory / 'model.py'}: case {item.name!r}: expected")
    return item.expected
