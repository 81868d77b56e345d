"""Finds out fast that something is not in a text: by pydantic's engine for expressions, which is compiled Rust."""

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator

__all__ = ["may_have"]


def may_have(text: str, pattern: str) -> bool:
    """Whether a text may have a match of an expression.

    Args:
        text: the text.
        pattern: the expression, without look-ahead, look-behind and references, which Rust's engine does not know.

    Returns:
        False if there is none for certain; True if there is one, or if the text is no valid Unicode.
    """
    from pydantic_core import ValidationError

    try:
        _validator(pattern).validate_python(text)
    except ValidationError as error:
        return error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] != _MISMATCH
    return True


_MISMATCH = "string_pattern_mismatch"


@functools.cache
def _validator(pattern: str) -> "SchemaValidator":
    from pydantic_core import SchemaValidator, core_schema

    return SchemaValidator(core_schema.str_schema(pattern=pattern, strict=True))
