"""Values that hold for the calling context until a block ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

__all__ = ["holding"]

Value = TypeVar("Value")


@contextmanager
def holding(variable: ContextVar[Value], value: Value) -> Iterator[None]:
    """Gives a context variable a value until the end of the block."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
