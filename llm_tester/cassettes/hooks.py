"""What a running test adds to each cassette of its process: ignored paths, redacted values, and its own functions."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .storage import Interaction

__all__ = ["Hook", "Hooks", "current", "using"]

Hook = Callable[["Interaction"], "Interaction | None"]


class Hooks(NamedTuple):
    """What is added to a cassette when it is opened.

    Attributes:
        ignore: JSON paths of request bodies that are not matched on either.
        redact: values to redact in everything that is written.
        before_record: gets each interaction before it is recorded; gives the one to record, or None to record none.
        before_replay: gets each interaction before it is replayed; gives the one to replay.
    """

    ignore: tuple[str, ...] = ()
    redact: frozenset[str] = frozenset()
    before_record: Hook | None = None
    before_replay: Hook | None = None


# pytest runs one test of a process at a time, and its threads have no context of it.
_active = [Hooks()]


def current() -> Hooks:
    """What the running test adds."""
    return _active[-1]


@contextlib.contextmanager
def using(hooks: Hooks) -> Iterator[None]:
    """Adds to all cassettes that are opened until the end of the block, in any thread."""
    _active.append(hooks)
    try:
        yield
    finally:
        _active.pop()
