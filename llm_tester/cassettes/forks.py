"""What a forked child gets afresh: the thread that held a lock, or ran a loop, does not exist there.

Every lock of the package is made with `lock_of`, and is in the one list of this module.
"""

import functools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ["importing", "in_child", "lock_of", "stored", "watch"]

Lock = TypeVar("Lock")
Owner = TypeVar("Owner")
Value = TypeVar("Value")

_locks: weakref.WeakSet[Any] = weakref.WeakSet()
_resets: list[Callable[[], object]] = []


def lock_of(make: Callable[[], Lock]) -> Lock:
    """A lock that is free in a child.

    Args:
        make: `threading.Lock`, `threading.RLock` or `threading.Condition`.
    """
    lock = make()
    _locks.add(lock)
    return lock


# Held while a large library is imported. A fork waits for it: the child could never finish another thread's import.
importing = lock_of(threading.RLock)


def in_child(reset: Callable[[], object]) -> None:
    """Calls a function in each child, after the locks are free."""
    _resets.append(reset)


@functools.cache
def watch() -> None:
    """Sees to the children of this process from now on."""
    os.register_at_fork(before=importing.acquire, after_in_parent=importing.release, after_in_child=_free)


def _free() -> None:
    for lock in _locks:
        # As Python's own modules do it, such as logging and concurrent.futures.
        lock._at_fork_reinit()
    for reset in _resets:
        reset()


class stored(Generic[Owner, Value]):  # noqa: N801 (used as a decorator)
    """A property that is computed once; that of functools takes a lock in Python 3.11, which no child could free."""

    def __init__(self, compute: Callable[[Owner], Value]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, owner: None, kind: type[Any]) -> "stored[Owner, Value]": ...

    @overload
    def __get__(self, owner: Owner, kind: type[Any]) -> Value: ...

    def __get__(self, owner: Owner | None, kind: type[Any]) -> "stored[Owner, Value] | Value":
        if owner is None:
            return self
        value = vars(owner)[self._compute.__name__] = self._compute(owner)
        return value
