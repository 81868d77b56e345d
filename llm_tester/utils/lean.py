"""Copies of models that take less memory, for what is kept for each of many cases."""

import functools
from typing import Any, TypeVar

from pydantic import BaseModel

__all__ = ["lean"]

Model = TypeVar("Model", bound=BaseModel)


@functools.cache
def _all_fields(kind: type[BaseModel]) -> set[str]:
    return set(kind.model_fields)


def lean(model: Model, **changes: Any) -> Model:
    """A copy of a model that counts all its fields as set.

    pydantic keeps a set of the names of the set fields in each instance, which often is larger than its values. The
    copies of a class have one in common, so nothing may be assigned to them: it is for frozen models.

    Args:
        model: the model, whose own values are not copied.
        changes: values for some of its fields, which are not validated.
    """
    kind = type(model)
    return kind.model_construct(_all_fields(kind), **{**vars(model), **changes})
