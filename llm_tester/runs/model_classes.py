"""Finds the pydantic class of a module of cases."""

import reprlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard, get_args

from pydantic import BaseModel

from ..cassettes.secrets import default_scrubber
from ..errors import CaseError
from ..llms import user_code

__all__ = ["load_model_class", "raised"]

_HOW = "write `Model = Product`, or `from mypackage import Product as Model`"


def load_model_class(directory: Path) -> type[BaseModel]:
    """The pydantic class of a module.

    It is the class that `model.py` names `Model`, defined or imported there. Without that name, it is the only class
    in the file that no other class there uses as a base or as the type of a field.

    Args:
        directory: the module's directory.

    Returns:
        The class, the same object at each call.

    Raises:
        CaseError: there is no `model.py`, it cannot be imported, or more than one class could be the one.
    """
    return user_code.cached(directory.resolve() / "model.py", _import_class)


def raised(error: BaseException, path: Path, doing: str) -> CaseError:
    """A CaseError for an error that the user's code raised, with the file, the line and the cause.

    Args:
        error: the user's error.
        path: the `model.py`.
        doing: what failed, for the message.
    """
    place = user_code.raised_at(error, path.parent) or str(path)
    by = "" if place.startswith(str(path)) else f" (for {path})"
    # A settings class in the file quotes the key that it refuses.
    said = default_scrubber().text(user_code.said(error))
    return CaseError(f"{place}: {doing}{by}: {type(error).__name__}: {said}{_hint(error, path)}")


def _hint(error: BaseException, path: Path) -> str:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    top = error.name.partition(".")[0]
    if (path.parent / f"{top}.py").is_file() or (path.parent / top).is_dir():
        return f"; it is next to model.py, so write `from .{error.name} import ...`"
    return "; a module of yours must be installed or lie next to config.json"


def _import_class(path: Path) -> type[BaseModel]:
    if not path.is_file():
        raise CaseError(f"{path}: there is no such file; a module needs a model.py with a pydantic class")
    try:
        module = user_code.import_file(path)
        return _choose(module, path)
    except (CaseError, KeyboardInterrupt):
        raise
    except BaseException as error:
        # The file may also call sys.exit or pytest.skip, which must not end the run without a message.
        raise raised(error, path, "cannot be imported") from error


def _choose(module: ModuleType, path: Path) -> type[BaseModel]:
    if "Model" in vars(module):
        chosen: Any = vars(module)["Model"]
        if _is_model(chosen):
            return chosen
        raise CaseError(f"{path}: Model is {reprlib.repr(chosen)}, expected a subclass of pydantic.BaseModel")
    models = {value: None for value in vars(module).values() if _is_model(value)}
    defined = [kind for kind in models if kind.__module__ == module.__name__]
    if not defined:
        names = ", ".join(sorted(kind.__name__ for kind in models))
        found = f"it only imports {names}" if names else "found none"
        raise CaseError(f"{path}: must define a subclass of pydantic.BaseModel, {found}; or {_HOW}")
    needed = {kind: _needs(kind) for kind in defined}
    candidates = [kind for kind in defined if not any(kind in needed[other] for other in defined if other is not kind)]
    if len(candidates) != 1:
        names = ", ".join(kind.__name__ for kind in candidates or defined)
        raise CaseError(f"{path}: {names} could each be the class of this module; to choose, {_HOW}")
    return candidates[0]


def _is_model(value: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(value, type) and issubclass(value, BaseModel) and value is not BaseModel


def _needs(kind: type[BaseModel]) -> set[Any]:
    """The class, its bases, the classes in the types of its fields, and theirs in turn."""
    seen: set[Any] = set()
    waiting: list[Any] = [kind]
    while waiting:
        for part in _parts(waiting.pop()):
            try:
                if part not in seen:
                    seen.add(part)
                    waiting.append(part)
            except TypeError:  # an unhashable value in Annotated or Literal, which is no class
                continue
    return seen


def _parts(annotation: Any) -> Iterator[Any]:
    if _is_model(annotation):
        # Resolves the names of classes that the file defines later.
        annotation.model_rebuild(raise_errors=False, _types_namespace={})
        yield from annotation.__bases__
        for field in annotation.model_fields.values():
            yield field.annotation
    elif value := getattr(annotation, "__value__", None):  # what a `type` statement names
        yield value
    yield from get_args(annotation)
