"""Which of the keywords that this package adds a user's method accepts."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["accepted_keywords"]


@functools.cache
def accepted_keywords(function: Callable[..., Any]) -> frozenset[str]:
    """The keywords that a method of a provider accepts, of `model_class`, `files` and `timeout`."""
    added = frozenset({"model_class", "files", "timeout"})
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return added
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
    return added & {parameter.name for parameter in parameters if parameter.kind not in positional}
