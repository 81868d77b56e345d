"""Makes up a small value that fits a JSON Schema, as pydantic writes them; the same one each time."""

from collections.abc import Mapping
from math import ceil, floor
from typing import Any

__all__ = ["made_up"]

_FORMATS = {
    "date": "2024-01-01",
    "date-time": "2024-01-01T12:00:00Z",
    "time": "12:00:00",
    "duration": "PT1H",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uuid4": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "path": "file.txt",
}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def made_up(schema: Mapping[str, Any]) -> Any:
    """A value for a schema: required fields only, one item in each list, the smallest number, the first choice.

    Patterns, and what validators written in Python demand, are not met.
    """
    return _Maker(schema).make(schema)


class _Maker:
    """Makes the parts of one value.

    Attributes:
        inside: the definitions that are being made, so that a class which holds itself ends.
        number: counts the items of a set, which must differ.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.definitions: Mapping[str, Any] = schema.get("$defs", {})
        self.inside: list[str] = []
        self.number = 0

    def make(self, schema: Any) -> Any:
        if not isinstance(schema, Mapping):  # `true`: anything
            return _LETTERS[0]
        if "const" in schema:
            return schema["const"]
        if choices := schema.get("enum") or schema.get("examples"):
            return choices[self.number % len(choices)]
        if "$ref" in schema:
            return self._definition(schema["$ref"])
        if members := schema.get("anyOf") or schema.get("oneOf"):
            return self._member(members, schema.get("discriminator"))
        match schema.get("type"):
            case "object":
                return self._object(schema)
            case "array":
                return self._array(schema)
            case "integer":
                return int(self._lowest(schema, is_whole=True))
            case "number":
                return float(self._lowest(schema, is_whole=False))
            case "boolean":
                return False
            case "null":
                return None
        return self._string(schema)

    def _definition(self, reference: str) -> Any:
        self.inside.append(reference)
        try:
            return self.make(self.definitions[reference.removeprefix("#/$defs/")])
        finally:
            self.inside.pop()

    def _ends(self, schema: Any) -> bool:
        return not (isinstance(schema, Mapping) and schema.get("$ref") in self.inside)

    def _member(self, members: list[Any], discriminator: Mapping[str, Any] | None) -> Any:
        if discriminator:
            # The tag may have a default, and so not be required, but without it no member is chosen.
            tag, reference = next(iter(discriminator["mapping"].items()))
            return {discriminator["propertyName"]: tag, **self._definition(reference)}
        return self.make(next(filter(self._ends, members), members[0]))

    def _object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        fields = schema.get("properties", {})
        made = {name: self.make(fields[name]) for name in fields if name in schema.get("required", ())}
        if (more := schema.get("additionalProperties")) and self._ends(more):
            names = [f"key_{number}" for number in range(schema.get("minProperties", 1))]
            made |= {name: self.make(more) for name in names}
        return made

    def _array(self, schema: Mapping[str, Any]) -> list[Any]:
        first, items = schema.get("prefixItems", []), schema.get("items")
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        wanted = 1 if items and self._ends(items) and (most is None or most > len(first)) else 0
        made, before = [], self.number
        for item in [*first, *[items] * max(wanted, least - len(first))]:
            made.append(self.make(item))
            self.number += bool(schema.get("uniqueItems"))
        self.number = before
        return made

    def _string(self, schema: Mapping[str, Any]) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        return _LETTERS[self.number % len(_LETTERS)] * int(schema.get("minLength", schema.get("maxLength") != 0))

    def _lowest(self, schema: Mapping[str, Any], *, is_whole: bool) -> float:
        """The lowest number that is allowed; without a lower bound 0, or the highest one if that is below 0."""
        least, over = schema.get("minimum"), schema.get("exclusiveMinimum")
        under = schema.get("exclusiveMaximum")
        most = schema.get("maximum", under)
        if over is not None:
            least = over + 1 if is_whole or most is None else (over + most) / 2
        value = least
        if value is None:
            value = 0 if most is None or most > 0 else most - (under is not None)
        step = schema.get("multipleOf")
        if step:
            value = (floor if least is None else ceil)(value / step) * step
        return value + self.number * (step or 1)
