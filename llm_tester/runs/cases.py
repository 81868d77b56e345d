"""Test cases: a directory a module, with a pydantic class and, for each case, a source, prompts and the truth.

    <module>/model.py                       the class to extract into
    <module>/tests/sources/<case>.txt
    <module>/tests/prompts/<case>.txt       and <case>.<variant>.txt, a column of its own
    <module>/tests/expected/<case>.json
    <module>/tests/files/<case>.*           images and PDFs that go along

The class may instead offer `get_test_cases()`; see `discover`.
"""

import hashlib
import importlib.util
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ..catalog import near
from ..errors import CaseError
from ..llms.base import File

__all__ = ["Case", "discover", "load_model_class", "reset"]


class Case(BaseModel):
    """One case with one prompt.

    Attributes:
        module: the name of its module.
        name: its own name.
        variant: the name of its prompt, "" for the plain one.
        directory: the module's directory.
        prompt: what to do.
        source: the text to do it with.
        expected: what a right reply holds.
        files: what goes along.
        alone: whether it is the only prompt of its case.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    module: str
    name: str
    variant: str = ""
    directory: Path
    prompt: str
    source: str
    expected: dict[str, Any]
    files: tuple[Path, ...] = ()
    alone: bool = True

    @property
    def title(self) -> str:
        """`<name>`, or `<name>.<variant>`."""
        return f"{self.name}.{self.variant}" if self.variant else self.name

    @property
    def selector(self) -> str:
        """What names this prompt alone after `-m`; a plain prompt next to others is `<module>/<name>.`."""
        return f"{self.module}/{self.title}" + ("" if self.variant or self.alone else ".")

    def model_class(self) -> type[BaseModel]:
        """The class to extract into."""
        return load_model_class(self.directory)

    def attachments(self) -> tuple[File, ...]:
        """The files that go along, with their types."""
        return tuple(File.of(path) for path in self.files)


class _Loaded:
    """The one place of the imported model files."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.classes: dict[Path, type[BaseModel]] = {}


_loaded = _Loaded()


def reset() -> None:
    """Forgets the imported model files."""
    with _loaded.lock:
        _loaded.classes.clear()


def load_model_class(directory: Path) -> type[BaseModel]:
    """The pydantic class of a module: the last one that its `model.py` defines.

    Args:
        directory: the module's directory.

    Returns:
        The class, the same object at each call.

    Raises:
        CaseError: there is no `model.py`, it does not import, or it defines no pydantic class.
    """
    path = directory.resolve() / "model.py"
    with _loaded.lock:
        if path not in _loaded.classes:
            _loaded.classes[path] = _import_class(path)
        return _loaded.classes[path]


def _import_class(path: Path) -> type[BaseModel]:
    if not path.is_file():
        raise CaseError(f"{path}: there is no such file; a module needs a model.py with a pydantic class")
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    name = f"llm_tester_case_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CaseError(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise CaseError(f"{path}: does not import: {type(error).__name__}: {error}") from error
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == name
    ]
    if not found:
        raise CaseError(f"{path}: defines no subclass of pydantic.BaseModel")
    return found[-1]


def discover(root: Path, modules: tuple[str, ...] = ()) -> list[Case]:
    """Every case below a directory.

    A class with a `get_test_cases()` gives its own: a list of objects with `name`, `prompt` or `prompt_path`, `source`
    or `source_path`, `expected` or `expected_path`, and optionally `variant` and `files`; paths from the module's
    directory.

    Args:
        root: the directory of the modules.
        modules: the names of those wanted, or `<module>/<case>` for one case (with all its prompts, or with one as
            `<module>/<case>.<variant>`, the plain one as `<module>/<case>.`); all if empty.

    Returns:
        The cases, in the order of module, case and variant.

    Raises:
        CaseError: there is no such directory, module or case, or a case cannot be read; names every file at fault.
    """
    if not root.is_dir():
        raise CaseError(f"{root}: there is no such directory of cases; `llm-tester init` makes one")
    known = sorted(path.parent.name for path in root.glob("*/model.py"))
    wanted = {name.partition("/")[0] for name in modules}
    for name in sorted(wanted - set(known)):
        raise _unknown(root, "module", name, known)
    root = root.resolve()
    cases: list[Case] = []
    problems: list[str] = []
    for name in known:
        if wanted and name not in wanted:
            continue
        try:
            cases += _of_module(root / name, problems)
        except CaseError as error:
            problems.append(str(error))
    if problems:
        raise CaseError("\n".join(problems))
    prompts = Counter((case.module, case.name) for case in cases)
    cases = [case.model_copy(update={"alone": prompts[case.module, case.name] == 1}) for case in cases]
    return sorted(_chosen(root, cases, modules), key=lambda case: (case.module, case.name, case.variant))


def _chosen(root: Path, cases: Sequence[Case], names: Sequence[str]) -> list[Case]:
    """The cases that the names mean; each name has to mean one."""
    meant = [{case.module, f"{case.module}/{case.name}", case.selector} for case in cases]
    for name in names:
        if "/" in name and not any(name in ways for ways in meant):
            raise _unknown(root, "case", name, sorted(f"{case.module}/{case.title}" for case in cases))
    return [case for case, ways in zip(cases, meant, strict=True) if not names or not ways.isdisjoint(names)]


def _unknown(root: Path, kind: str, name: str, known: Sequence[str]) -> CaseError:
    hint = near(name, known)
    which = "near" if hint else "known"
    return CaseError(f"{root}: has no {kind} {name!r}; {which} ones are {', '.join(hint or known)}")


def _of_module(directory: Path, problems: list[str]) -> Iterator[Case]:
    own = getattr(load_model_class(directory), "get_test_cases", None)
    tests = directory / "tests"
    if own is not None:
        items: list[Mapping[str, Any]] = list(own())
    else:
        items = list(_on_disk(tests))
        if not items:
            raise CaseError(f"{tests}: holds no case; a case is prompts/<case>.txt, sources/<case>.txt and expected/")
    for item in items:
        try:
            yield _case(directory, item)
        except CaseError as error:
            problems.append(str(error))


def _on_disk(tests: Path) -> Iterator[Mapping[str, Any]]:
    sources = {path.stem for path in (tests / "sources").glob("*.txt")}
    prompts = {path.stem for path in (tests / "prompts").glob("*.txt")}
    expected = {path.stem for path in (tests / "expected").glob("*.json")}
    for prompt in sorted(prompts):
        name, variant = prompt, ""
        if prompt not in sources | expected and "." in prompt:
            name, _, variant = prompt.rpartition(".")
        yield _item(tests, name, variant, prompt)
    with_prompt = prompts | {prompt.rpartition(".")[0] for prompt in prompts}
    for name in sorted((sources | expected) - with_prompt):
        yield _item(tests, name, "", name)


def _item(tests: Path, name: str, variant: str, prompt: str) -> Mapping[str, Any]:
    return {
        "name": name,
        "variant": variant,
        "prompt_path": tests / "prompts" / f"{prompt}.txt",
        "source_path": tests / "sources" / f"{name}.txt",
        "expected_path": tests / "expected" / f"{name}.json",
        "files": sorted((tests / "files").glob(f"{name}.*")),
    }


def _case(directory: Path, item: Mapping[str, Any]) -> Case:
    if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
        raise CaseError(f"{directory / 'model.py'}: get_test_cases() gave {item!r}, expected objects with a name")
    return Case(
        module=directory.name,
        name=item["name"],
        variant=item.get("variant", ""),
        directory=directory.resolve(),
        prompt=_text(directory, item, "prompt"),
        source=_text(directory, item, "source"),
        expected=_expected(directory, item),
        files=tuple(directory / path for path in item.get("files", ())),
    )


def _text(directory: Path, item: Mapping[str, Any], what: str) -> str:
    if what in item:
        return str(item[what])
    if f"{what}_path" not in item:
        raise CaseError(f"{directory / 'model.py'}: case {item['name']!r} has neither {what} nor {what}_path")
    path = directory / Path(item[f"{what}_path"])
    try:
        return path.read_text(encoding="utf-8").strip("\n")
    except FileNotFoundError as error:
        raise CaseError(f"{path}: there is no such file; case {item['name']!r} needs its {what} there") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CaseError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def _expected(directory: Path, item: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(item.get("expected"), dict):
        return dict(item["expected"])
    text = _text(directory, item, "expected")
    path = directory / item.get("expected_path", "model.py")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise CaseError(f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error
    if not isinstance(value, dict):
        raise CaseError(f"{path}: found a {type(value).__name__}, expected an object with the fields of the class")
    return value
