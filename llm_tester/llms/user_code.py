"""Imports what the user wrote: the model.py of each module of cases, and modules next to the config.

The config's directory goes to the end of `sys.path` when the first of them is imported, so an installed package of the
same name leads, and commands that import nothing of the user's leave `sys.path` alone.

A model.py below that directory has the name that an `import` from there gives it: `cases/products/model.py` is
`cases.products.model`. So a test or a provider that imports it gets the same classes. If it lies elsewhere, or if that
name belongs to something else, the folder of the modules becomes a package with a name made from its path. Either way,
each module is a package, so `from .parts import Part` finds its own parts.py.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from ..cassettes.forks import lock_of
from ..settings import settings

__all__ = ["cached", "import_file", "import_module", "raised_at", "reset", "said"]

_PREFIX = "_llm_tester_cases_"
_Found = TypeVar("_Found")


class _Imported:
    """The one place of what was imported, and of the directory on `sys.path`."""

    def __init__(self) -> None:
        self.lock = lock_of(threading.RLock)
        self.directory: Path | None = None
        self.added: str | None = None
        self.cases: dict[str, ModuleType] = {}
        self.found: dict[Path, Any] = {}
        self.project: dict[str, ModuleType] = {}


_imported = _Imported()


def import_module(name: str) -> ModuleType:
    """Imports a module by its name, also from the config's directory.

    Args:
        name: its full name.

    Returns:
        The module. What it raises is not caught.
    """
    with _importing():
        return importlib.import_module(name)


def import_file(path: Path) -> ModuleType:
    """Imports a file of a module of cases, once.

    Args:
        path: the file, `<cases>/<module>/<name>.py`, resolved.

    Returns:
        The module. What it raises is not caught.
    """
    with _importing(path.parent.parent) as directory:
        name = _name_from(directory, path) or f"{_own_package(path.parent)}.{path.stem}"
        return importlib.import_module(name)


def cached(path: Path, find: Callable[[Path], _Found]) -> _Found:
    """What `find` returns for a file of a module of cases, called once and kept until `reset`."""
    with _imported.lock:
        if path not in _imported.found:
            _imported.found[path] = find(path)
        found: _Found = _imported.found[path]
        return found


def reset() -> None:
    """Forgets the modules of cases and what was found in them, so that they are read again.

    Modules next to the config are forgotten when another config's directory takes over: within one project, they are
    imported once per process, like any other module.
    """
    with _imported.lock:
        _imported.found.clear()
        _forget(_imported.cases)


def raised_at(error: BaseException, folder: Path) -> str:
    """Where the user's code raised an error.

    Args:
        error: what was caught.
        folder: the folder to look in first; then the config's directory.

    Returns:
        `<file>, line <number>` of the innermost line there; "" if there is none.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    steps = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    for home in (folder, settings().directory):
        inside = [f"{file}, line {line}" for file, line in steps if file.is_absolute() and _is_in(file, home)]
        if inside:
            return inside[-1]
    return ""


def said(error: BaseException) -> str:
    """The message of an error that the user's code raised, also if that code fails at it."""
    kind = type(error).__name__
    last = traceback.format_exception_only(type(error), error)[-1].strip()
    return last.partition(f"{kind}: ")[2]


@contextlib.contextmanager
def _importing(root: Path | None = None) -> Iterator[Path]:
    """Puts the config's directory on `sys.path`, and notes which modules of the user an import brings in."""
    with _imported.lock:
        directory = settings().directory.resolve()
        _use(directory)
        importlib.invalidate_caches()
        before = set(sys.modules)
        try:
            yield directory
        finally:
            for name in sys.modules.keys() - before:
                if _is_users(name, directory):
                    module = sys.modules[name]
                    is_case = root is not None and any(_is_in(path, root) for path in _paths(module))
                    (_imported.cases if is_case else _imported.project)[name] = module


def _use(directory: Path) -> None:
    if _imported.directory not in (None, directory):
        _forget(_imported.cases)
        _forget(_imported.project)
        if _imported.added in sys.path:
            sys.path.remove(_imported.added)
    _imported.directory = directory
    if not any(Path(entry).resolve() == directory for entry in sys.path):
        sys.path.append(str(directory))
        _imported.added = str(directory)


def _forget(modules: dict[str, ModuleType]) -> None:
    for name, module in modules.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
    modules.clear()


def _is_users(name: str, directory: Path) -> bool:
    """Whether a module is ours to forget: its top-level package lies in the directory itself, not in a .venv there."""
    top = sys.modules.get(name.partition(".")[0])
    return name.startswith(_PREFIX) or (top is not None and directory in {path.parent for path in _paths(top)})


def _is_in(path: Path, directory: Path) -> bool:
    return path.resolve().is_relative_to(directory.resolve())


def _paths(module: ModuleType) -> list[Path]:
    """The directories of a package, or the file of a module; none for what is built in."""
    found = list(getattr(module, "__path__", ())) or [getattr(module, "__file__", None)]
    return [Path(path).resolve() for path in found if path]


def _name_from(directory: Path, path: Path) -> str | None:
    """The name of a file as an `import` from the directory gives it; None if that would find something else."""
    folder = path.parent
    parts = folder.relative_to(directory).parts if folder.is_relative_to(directory) else ()
    if not parts or any("." in part for part in parts) or folder.with_suffix(".py").is_file():
        return None
    top = sys.modules.get(parts[0])
    if top is None:
        found = importlib.util.find_spec(parts[0])
        homes = [Path(home).resolve() for home in found.submodule_search_locations or ()] if found else []
    else:
        # Not its spec: a module that a program made has none.
        homes = _paths(top)
    if directory / parts[0] not in homes:
        return None
    # Of a namespace package with several homes, another may lead.
    name = ".".join([*parts, path.stem])
    spec = importlib.util.find_spec(name)
    return name if spec and spec.origin and Path(spec.origin).resolve() == path else None


def _own_package(folder: Path) -> str:
    root = folder.parent
    outer = _PREFIX + hashlib.sha256(str(root).encode()).hexdigest()[:12]
    _make_package(outer, root)
    # A dot in a folder's name must not look like one between packages.
    inner = f"{outer}.{folder.name.replace('%', '%25').replace('.', '%2E')}"
    _make_package(inner, folder)
    return inner


def _make_package(name: str, directory: Path) -> None:
    if name in sys.modules:
        return
    spec = ModuleSpec(name, None, is_package=True)
    if (init := directory / "__init__.py").is_file():
        spec = importlib.util.spec_from_file_location(name, init) or spec
    spec.submodule_search_locations = [str(directory)]
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if spec.loader:
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
