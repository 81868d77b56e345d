"""What a pydantic class says about each value of its data: its types, rule and weight."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import PurePath
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    ForwardRef,
    Literal,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

from pydantic import AliasChoices, AliasPath, AnyUrl, BaseModel, EmailStr, RootModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from ..cassettes.forks import stored
from ..errors import CaseError
from .rules import DATE, EXACT, NUMBER, TEXT, Compare, Exact, Ignore, Key, Marker, Ordered, Rule, Weight

__all__ = ["ANYTHING", "Shape", "field_names", "shape_of"]

# A code is right or wrong. Times and durations have one form each in pydantic's JSON.
_CODES = (bool, Enum, UUID, PurePath, AnyUrl, EmailStr, bytes, time, timedelta)
_NETWORK = (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)
_SECRETS = (Secret, SecretBytes, SecretStr)
_RULES: tuple[tuple[tuple[type, ...], Rule], ...] = (
    ((*_CODES, *_NETWORK), EXACT),
    ((int, float, Decimal), NUMBER),
    ((date,), DATE),
    ((str,), TEXT),
)


class Shape:
    """What a class says about a value in its data.

    Args:
        annotation: the type, as the class has it, with its markers.
        place: the name for messages, such as `Product.maker.country`.
        around: the shape of the object or list that holds the value; its rule and weight apply to the value too.

    Raises:
        CaseError: a marker does not fit the type.
    """

    def __init__(self, annotation: Any, place: str = "", around: "Shape | None" = None) -> None:
        parts = list(_unfolded(annotation))
        own = [marker for _, markers in parts for marker in markers]
        self.annotation = annotation
        self.types = tuple(kind for kind, _ in parts)
        self.place = place
        self.is_ignored = any(isinstance(marker, Ignore) for marker in own)
        weight = next((marker.times for marker in own if isinstance(marker, Weight)), 1.0)
        self.weight: float = weight * (around.weight if around else 1.0)
        self.key = next((marker.field for marker in own if isinstance(marker, Key)), None)
        self._is_fixed = any(get_origin(kind) is tuple and get_args(kind)[-1:] != (...,) for kind in self.types)
        self.is_ordered = self._is_fixed or any(isinstance(marker, Ordered) for marker in own)
        self.is_whole = any(isinstance(marker, Compare) for marker in own)
        self._inherited: Marker | None = around._inherited if around else None
        self.rule = self._chosen_rule(own)
        if not self.is_ignored and any(_is_a(kind, _SECRETS) for kind in self.types):
            raise CaseError(f"{place}: pydantic writes a {_names(self.types)} as asterisks; mark the field with Ignore")
        if (self.key or self.is_ordered) and self.types and not any(map(_is_list, self.types)):
            raise CaseError(f"{place}: Key and Ordered are for lists, and this is {_names(self.types)}")
        pairing = around._pairing if around else ""
        self._suffix = pairing + (f", weight {self.weight:g}" if self.weight != 1 else "")
        self._pairing: str = f", paired by {self.key}" if self.key else ", in order" if self.is_ordered else pairing
        self._children: dict[str | int, Shape] = {}

    def _chosen_rule(self, own: Iterable[Marker]) -> Rule | None:
        scalars = [kind for kind in self.types if not (_is_list(kind) or _is_mapping(kind) or _fields(kind))]
        rules = {_natural(kind) for kind in scalars}
        natural = rules.pop() if len(rules) == 1 else None
        for marker in own:
            if type(marker).rule is Marker.rule:  # it chooses no rule
                continue
            rule = marker.rule(natural)
            if rule is None:
                raise CaseError(f"{self.place}: {type(marker).__name__} does not fit the type {_names(self.types)}")
            self._inherited = None if isinstance(marker, Compare) else marker
            return rule
        return (self._inherited and self._inherited.rule(natural)) or natural

    def words(self, rule: Rule) -> str:
        """The rule in words, with the weight and how the items of the list around it are paired."""
        return rule.words + self._suffix

    @stored
    def models(self) -> tuple[type[BaseModel], ...]:
        """The pydantic classes that the value may be an instance of."""
        return tuple(_plain(kind) for kind in self.types if _is_a(kind, (BaseModel,)))

    @property
    def has_mapping(self) -> bool:
        """Whether the value may be a dict with any keys."""
        return any(map(_is_mapping, self.types))

    @stored
    def fields(self) -> Mapping[str, Any]:
        """The types of the named fields of the value; empty for a dict and for an unknown type."""
        found: dict[str, list[Any]] = {}
        for kind in self.types:
            for name, annotation in (_fields(kind) or {}).items():
                found.setdefault(name, []).append(annotation)
        return {name: _union(kinds) for name, kinds in found.items()}

    def narrowed(self, value: Mapping[str, Any]) -> "Shape":
        """The shape for an object: if several classes are allowed, that of the best fit."""
        if len(self.models) < 2:
            return self
        best = max(self.models, key=lambda model: _fit(model, value))
        key = f"<{self.models.index(best)}>"
        if key not in self._children:
            self._children[key] = Shape(best, place=self.place, around=self)
        return self._children[key]

    def child(self, name: str) -> "Shape":
        """The shape of a field, or of a dict's value."""
        key = name if name in self.fields else ""
        if key not in self._children:
            kinds = [get_args(kind)[-1] for kind in self.types if _is_mapping(kind) and get_args(kind)]
            annotation = self.fields[key] if key else _union(kinds)
            self._children[key] = self._inner(annotation, f".{name}" if key else "[*]")
        return self._children[key]

    def item(self, index: int = 0) -> "Shape":
        """The shape of a list's item. The index matters only in a tuple of fixed length."""
        index = index if self._is_fixed else 0
        if index not in self._children:
            arguments = [get_args(kind) for kind in self.types if _is_list(kind)]
            kinds = [args[index if index < len(args) and args[-1] is not ... else 0] for args in arguments if args]
            self._children[index] = self._inner(_union(kinds), "[]")
        return self._children[index]

    def _inner(self, annotation: Any, segment: str) -> "Shape":
        inner = Shape(annotation, place=self.place + segment, around=self)
        if self.key and segment == "[]" and inner.fields and self.key not in inner.fields:
            known = ", ".join(inner.fields)
            raise CaseError(f"{self.place}: Key({self.key!r}) names no field of its items; they have {known}")
        return inner


@lru_cache(maxsize=256)
def shape_of(model_class: type[BaseModel] | None) -> Shape:
    """The shape of a class; for None, that of any JSON.

    Raises:
        CaseError: a marker on the value of a RootModel does not fit its type.
    """
    return ANYTHING if model_class is None else Shape(model_class, place=model_class.__name__)


def _unfolded(annotation: Any, markers: tuple[Marker, ...] = ()) -> Iterator[tuple[Any, tuple[Marker, ...]]]:
    """The types that an annotation allows, without None, aliases, unions and Annotated, each with its markers."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is NoneType:
        return
    if origin is Annotated:
        yield from _unfolded(annotation.__origin__, markers + _markers(annotation.__metadata__))
    elif (alias := getattr(origin or annotation, "__value__", None)) is not None:  # a TypeAliasType
        yield from _unfolded(alias[arguments] if arguments else alias, markers)
    elif origin in (Union, UnionType):
        for member in arguments:
            yield from _unfolded(member, markers)
    elif origin in (Final, Required, NotRequired):
        yield from _unfolded(arguments[0], markers)
    elif isinstance(annotation, TypeVar):
        yield from _unfolded(annotation.__bound__ or Any, markers)
    elif hasattr(annotation, "__supertype__"):  # a NewType
        yield from _unfolded(annotation.__supertype__, markers)
    elif isinstance(annotation, type) and issubclass(annotation, RootModel):
        yield from _unfolded(_type_of(annotation.model_fields["root"]), markers)
    elif not isinstance(annotation, str | ForwardRef):
        yield annotation, markers


def _markers(metadata: Iterable[Any]) -> tuple[Marker, ...]:
    """The markers in the metadata of an annotation. `Exact` means the same as `Exact()`."""
    classes = (Exact, Ignore, Ordered)
    items = (item() if isinstance(item, type) and issubclass(item, classes) else item for item in metadata)
    return tuple(item for item in items if isinstance(item, Marker))


def _union(kinds: Sequence[Any]) -> Any:
    """The union of several types; any type if there are none."""
    if len(kinds) == 1:
        return kinds[0]
    try:
        return Union[tuple(kinds)] if kinds else Any  # noqa: UP007
    except TypeError:  # Python before 3.14 hashes what is in Annotated
        return Any


def _type_of(field: FieldInfo) -> Any:
    """The type of a field with all that its class says in Annotated."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _plain(kind: Any) -> Any:
    return get_origin(kind) or kind


def _is_mapping(kind: Any) -> bool:
    return _is_a(kind, (Mapping,)) and not _is_typed_dict(_plain(kind))


def _is_typed_dict(kind: type) -> bool:
    return hasattr(kind, "__required_keys__")  # `typing.is_typeddict` does not know those of typing_extensions


def _is_list(kind: Any) -> bool:
    return _is_a(kind, (Iterable,)) and not _is_a(kind, (str, bytes, Mapping, BaseModel, Enum, PurePath, *_NETWORK))


def _is_a(kind: Any, kinds: tuple[type, ...]) -> bool:
    plain = _plain(kind)
    return isinstance(plain, type) and issubclass(plain, kinds)


def _natural(kind: Any) -> Rule | None:
    if get_origin(kind) is Literal:
        return EXACT
    return next((rule for kinds, rule in _RULES if _is_a(kind, kinds)), None)


def _fields(kind: Any) -> Mapping[str, Any] | None:
    plain = _plain(kind)
    if not isinstance(plain, type):
        return None
    if issubclass(plain, BaseModel):
        found: dict[str, Any] = {name: _type_of(field) for name, field in plain.model_fields.items()}
        # A model is not asked for computed fields.
        return found | dict.fromkeys(plain.model_computed_fields, Annotated[Any, Ignore()])
    if not (dataclasses.is_dataclass(plain) or _is_typed_dict(plain)):
        return None
    try:
        return get_type_hints(plain, include_extras=True)
    except NameError:  # names that only a type checker sees
        return None


def _fit(model: type[BaseModel], value: Mapping[str, Any]) -> int:
    """How well an object fits a class: by its keys, and above all by its fields of type Literal."""
    fields, names = model.model_fields, field_names(model)
    known = {name: value[key] for key in value if (name := names.get(key))}
    words = {
        name: get_args(fields[name].annotation) for name in known if get_origin(fields[name].annotation) is Literal
    }
    return len(known) + sum(100 if known[name] in allowed else -100 for name, allowed in words.items())


@lru_cache(maxsize=1024)
def field_names(model: type[BaseModel]) -> Mapping[str, str]:
    """The keys that a class reads, names and aliases, each with its field; "" for a key with only a part of a field."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        for way in alias.choices if isinstance(alias, AliasChoices) else [alias, field.alias]:
            if isinstance(way, AliasPath):
                found[str(way.path[0])] = ""
            elif way is not None:
                found[way] = name
    return found | {name: name for name in model.model_fields}


def _names(types: Iterable[Any]) -> str:
    return " | ".join(getattr(kind, "__name__", str(kind)) for kind in types)


ANYTHING = Shape(Any)
