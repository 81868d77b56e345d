"""The interactions of the files that were read last, so that tests which share a file do not parse it again and again.

A module without imports, because everything that resets caches loads it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .forks import lock_of

if TYPE_CHECKING:
    from .storage import Interaction

__all__ = ["keep", "known", "reset"]

# Bytes of text in all; what is parsed from it takes several times as much. The last file is kept whatever its size.
_MOST = 4_000_000


_lock = lock_of(threading.Lock)
# By file: how long their texts are, and the interactions.
_files: dict[Path, tuple[int, Mapping[str, Interaction]]] = {}


def known(path: Path) -> Mapping[str, Interaction]:
    """The interactions that were read from a file, by their text."""
    with _lock:
        return _files.get(path, (0, {}))[1]


def keep(path: Path, interactions: Iterable[tuple[str, Interaction]]) -> Mapping[str, Interaction]:
    """Keeps the interactions of a file instead of those that were kept of it, and gives them back by their text."""
    items = dict(interactions)
    with _lock:
        _files.pop(path, None)
        _files[path] = (sum(map(len, items)), items)
        while len(_files) > 1 and sum(size for size, _ in _files.values()) > _MOST:
            del _files[next(iter(_files))]
    return items


def reset() -> None:
    """Forgets all of them."""
    with _lock:
        _files.clear()
