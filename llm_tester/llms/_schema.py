"""What a model is asked: prompt and source, and the wanted pydantic class as a response schema or in the prompt."""

import functools
import json
from typing import Any, Literal

from pydantic import BaseModel

__all__ = ["SchemaMode", "has_object_root", "joined_prompt", "reset", "schema_text", "with_schema"]

SchemaMode = Literal["native", "prompt", "off"]


def joined_prompt(prompt: str, source: str) -> str:
    """What is sent: the prompt, a blank line, `Source Text:` and the source."""
    return f"{prompt}\n\nSource Text:\n{source}"


def schema_text(model_class: type[BaseModel]) -> str:
    """The class's JSON Schema, as it goes out."""
    return _described(model_class, _identity(model_class))[0]


def with_schema(text: str, model_class: type[BaseModel]) -> str:
    """The prompt with the class's JSON Schema below it, and what to do with it."""
    return (
        f"{text}\n\nReply with JSON only, without any other text. It must be one value that is valid against this "
        f"JSON Schema:\n{schema_text(model_class)}"
    )


def has_object_root(model_class: type[BaseModel]) -> bool:
    """Whether the class is a JSON object; the APIs take no other response schema (a `RootModel` may be a list)."""
    return _described(model_class, _identity(model_class))[1]


def reset() -> None:
    """Forgets the classes."""
    _described.cache_clear()


def _identity(model_class: type[BaseModel]) -> int:
    # `model_rebuild` gives a class another schema, and with it another validator.
    return id(getattr(model_class, "__pydantic_validator__", None))


@functools.lru_cache(maxsize=256)
def _described(model_class: type[BaseModel], identity: int) -> tuple[str, bool]:
    """The class's JSON Schema as a text, and whether its root is an object; pydantic takes 0.1 ms or more for it."""
    schema: dict[str, Any] = model_class.model_json_schema()
    text = json.dumps(schema, ensure_ascii=False)
    if "$ref" in schema:
        schema = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    return text, schema.get("type") == "object"
