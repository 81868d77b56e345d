"""How a model is asked for the wanted pydantic class: by the API's own response schema, or in the prompt."""

import json
from typing import Literal

from pydantic import BaseModel

__all__ = ["SchemaMode", "has_object_root", "schema_text", "with_schema"]

SchemaMode = Literal["native", "prompt", "off"]


def schema_text(model_class: type[BaseModel]) -> str:
    """The class's JSON Schema, as it goes out."""
    return json.dumps(model_class.model_json_schema(), ensure_ascii=False)


def with_schema(text: str, model_class: type[BaseModel]) -> str:
    """The prompt with the class's JSON Schema below it, and what to do with it."""
    return (
        f"{text}\n\nReply with JSON only, without any other text. It must be one value that is valid against this "
        f"JSON Schema:\n{schema_text(model_class)}"
    )


def has_object_root(model_class: type[BaseModel]) -> bool:
    """Whether the class is a JSON object; the APIs take no other response schema (a `RootModel` may be a list)."""
    schema = model_class.model_json_schema()
    if "$ref" in schema:
        schema = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema.get("type") == "object"
