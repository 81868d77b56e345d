"""What a pydantic class says about each place of its data: which types, which rule, which weight."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property, lru_cache
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

from ..errors import CaseError
from ._values import DATE, EXACT, NUMBER, TEXT, Rule
from .rules import Compare, Exact, Ignore, Key, Marker, Ordered, Weight

__all__ = ["ANYTHING", "Shape", "field_names", "shape_of"]

Part = tuple[Any, tuple[Marker, ...]]

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
    """One place in the data of a class.

    Args:
        annotation: its type, as the class has it.
        markers: what the field says about it besides.
        place: its name for messages, such as `Product.maker.country`.
        around: the place that holds it, whose rule and weight hold for it too.

    Raises:
        CaseError: a marker does not fit the type.
    """

    def __init__(
        self, annotation: Any, markers: tuple[Marker, ...] = (), place: str = "", around: "Shape | None" = None
    ) -> None:
        parts = list(_unfolded(annotation))
        own = (*markers, *(marker for _, inner in parts for marker in inner))
        self.annotation = annotation
        self.types = tuple(kind for kind, _ in parts)
        self.place = place
        self.is_ignored = any(isinstance(marker, Ignore) for marker in own)
        own_weight = next((marker.times for marker in own if isinstance(marker, Weight)), 1.0)
        self.weight: float = own_weight * (around.weight if around else 1.0)
        self.key = next((marker.field for marker in own if isinstance(marker, Key)), None)
        self._is_fixed = any(get_origin(kind) is tuple and get_args(kind)[-1:] != (...,) for kind in self.types)
        self.is_ordered = self._is_fixed or any(isinstance(marker, Ordered) for marker in own)
        self.is_whole = any(isinstance(marker, Compare) for marker in own)
        self._inherited: Marker | None = around._inherited if around else None
        self.rule = self._chosen_rule(own)
        if not self.is_ignored and any(_is_a(kind, _SECRETS) for kind in self.types):
            raise CaseError(f"{place}: pydantic writes a {_names(self.types)} as asterisks; mark the field with Ignore")
        if (self.key or self.is_ordered) and self.types and not any(map(_is_list, self.types)):
            raise CaseError(f"{self.place}: Key and Ordered are for lists, and this is {_names(self.types)}")
        pairing = f", paired by {self.key}" if self.key else ", in order" if self.is_ordered else ""
        self._how_inside: str = pairing or (around._how_inside if around else "")
        how = around._how_inside if around else ""
        self._suffix = how + (f", weight {self.weight:g}" if self.weight != 1 else "")
        self._children: dict[str | int, Shape] = {}

    def _chosen_rule(self, own: Iterable[Marker]) -> Rule | None:
        scalars = [kind for kind in self.types if not (_is_list(kind) or _is_mapping(kind) or _fields(kind))]
        rules = {_natural(kind) for kind in scalars}
        natural = rules.pop() if len(rules) == 1 else None
        for marker in own:
            # A list or an object has no rule by itself; what it says holds for what is in it.
            if type(marker).rule is Marker.rule:
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

    @cached_property
    def models(self) -> tuple[type[BaseModel], ...]:
        """The pydantic classes that an object here may be."""
        return tuple(_plain(kind) for kind in self.types if _is_a(kind, (BaseModel,)))

    @property
    def has_mapping(self) -> bool:
        """Whether an object here may be a dict with any keys."""
        return any(map(_is_mapping, self.types))

    @cached_property
    def fields(self) -> Mapping[str, Part]:
        """The named fields of an object here; empty for a dict and for an unknown type."""
        found: dict[str, list[Part]] = {}
        for kind in self.types:
            for name, part in (_fields(kind) or {}).items():
                found.setdefault(name, []).append(part)
        return {name: _merged(parts) for name, parts in found.items()}

    def narrowed(self, value: Mapping[str, Any]) -> "Shape":
        """The place, if several classes are allowed, as the one of them that fits an object best."""
        if len(self.models) < 2:
            return self
        best = max(self.models, key=lambda model: _fit(model, value))
        key = f"<{self.models.index(best)}>"
        if key not in self._children:
            self._children[key] = Shape(best, place=self.place, around=self)
        return self._children[key]

    def child(self, name: str) -> "Shape":
        """The place of a field or of a dict's value."""
        part = self.fields.get(name)
        key = name if part else ""
        if key not in self._children:
            if part is None:
                part = _merged(
                    [(get_args(kind)[-1], ()) for kind in self.types if _is_mapping(kind) and get_args(kind)]
                )
            self._children[key] = self._inner(part, f".{name}" if key else "[*]")
        return self._children[key]

    def item(self, index: int = 0) -> "Shape":
        """The place of a list's item; the index counts in a tuple of fixed length only."""
        index = index if self._is_fixed else 0
        if index not in self._children:
            arguments = [get_args(kind) for kind in self.types if _is_list(kind)]
            inner = [
                args[index] if len(args) > index and args[-1] is not ... else args[0] for args in arguments if args
            ]
            self._children[index] = self._inner(_merged([(kind, ()) for kind in inner]), "[]")
        return self._children[index]

    def _inner(self, part: Part, segment: str) -> "Shape":
        inner = Shape(*part, place=self.place + segment, around=self)
        known = self.key and segment == "[]" and inner.fields
        if known and self.key not in known:
            raise CaseError(
                f"{self.place}: Key({self.key!r}) names no field of its items; they have {', '.join(known)}"
            )
        return inner


@lru_cache(maxsize=256)
def shape_of(model_class: type[BaseModel] | None) -> Shape:
    """The shape of a class; without one, that of any JSON.

    Raises:
        CaseError: a marker on the class's own value (of a RootModel) does not fit its type.
    """
    return ANYTHING if model_class is None else Shape(model_class, place=model_class.__name__)


def _unfolded(annotation: Any, markers: tuple[Marker, ...] = ()) -> Iterator[Part]:
    """The types that an annotation allows, without None, aliases, unions and Annotated, each with its markers."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is NoneType:
        return
    if origin is Annotated:
        found = tuple(marker for item in annotation.__metadata__ if (marker := _marker(item)))
        yield from _unfolded(annotation.__origin__, markers + found)
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
        root = annotation.model_fields["root"]
        yield from _unfolded(root.annotation, markers + _markers(root.metadata))
    elif not isinstance(annotation, str | ForwardRef):
        yield annotation, markers


def _marker(item: Any) -> Marker | None:
    """The marker that a piece of an annotation is; `Exact` means the same as `Exact()`."""
    if isinstance(item, type) and issubclass(item, Exact | Ignore | Ordered):
        return item()
    return item if isinstance(item, Marker) else None


def _markers(metadata: Iterable[Any]) -> tuple[Marker, ...]:
    return tuple(marker for item in metadata if (marker := _marker(item)))


def _merged(parts: list[Part]) -> Part:
    """One place of several that a union allows."""
    kinds = [kind for kind, _ in parts]
    if not kinds:
        return Any, ()
    markers = tuple(marker for _, found in parts for marker in found)
    return (kinds[0] if len(kinds) == 1 else Union[tuple(kinds)], markers)  # noqa: UP007


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


@lru_cache(maxsize=1024)
def _fields(kind: Any) -> Mapping[str, Part] | None:
    plain = _plain(kind)
    if not isinstance(plain, type):
        return None
    if issubclass(plain, BaseModel):
        found: dict[str, Part] = {
            name: (field.annotation, _markers(field.metadata)) for name, field in plain.model_fields.items()
        }
        # What the class computes, no model was asked for.
        return found | {name: (Any, (Ignore(),)) for name in plain.model_computed_fields}
    if not (dataclasses.is_dataclass(plain) or _is_typed_dict(plain)):
        return None
    try:
        return {name: (hint, ()) for name, hint in get_type_hints(plain, include_extras=True).items()}
    except NameError:  # names that only a type checker sees
        return None


def _fit(model: type[BaseModel], value: Mapping[str, Any]) -> int:
    """How well an object fits a class: by its keys, and above all by what tells the classes of a union apart."""
    fields, names = model.model_fields, field_names(model)
    known = {name: value[key] for key in value if (name := names.get(key))}
    words = {
        name: get_args(fields[name].annotation) for name in known if get_origin(fields[name].annotation) is Literal
    }
    return len(known) + sum(100 if known[name] in allowed else -100 for name, allowed in words.items())


@lru_cache(maxsize=1024)
def field_names(model: type[BaseModel]) -> Mapping[str, str]:
    """The keys that a class reads, by name or alias, each with its field; "" for one that holds a part of a field."""
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
