"""How this package imports: names when they are used, and large libraries without the garbage collector."""

import contextlib
import gc
import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .forks import lock_of

__all__ = ["collector_at_rest", "lazy"]


def lazy(namespace: dict[str, Any], modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names are imported when they are used.

    Args:
        namespace: the package's `globals()`; it keeps each name that was used.
        modules: the names of each module, which is named from the package on. A name that is its own module is that
            module.
    """
    package = namespace["__name__"]
    homes = {name: module for module, names in modules.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f".{homes[name]}", package)
        value = module if homes[name] == name else getattr(module, name)
        namespace[name] = value
        return value

    return get


_switching = lock_of(threading.Lock)


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Keeps the garbage collector off during a block that makes many objects that stay, such as a large import.

    It would look through all of them again and again. If blocks of several threads overlap, it is on again when the
    first of them ends.
    """
    with _switching:
        was_on = gc.isenabled()
        gc.disable()
    try:
        yield
    finally:
        if was_on:
            with _switching:
                gc.enable()
