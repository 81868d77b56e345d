"""What a field of a pydantic class can say about how it is compared, inside `Annotated[...]`.

    class Product(BaseModel):
        sku: Annotated[str, Exact]
        price: Annotated[float, Tolerance(rel=0.01), Weight(2)]
        parts: Annotated[list[Part], Key("number")]

A rule on a list, a dict or an object holds for everything in it that has no rule of its own. docs/scoring.md has an
example for each.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import CaseError
from ._values import DATE, EXACT, NUMBER, TEXT, Rule, close_text, near_number
from .extraction import with_place

__all__ = ["Close", "Compare", "Exact", "Ignore", "Key", "Marker", "Ordered", "Tolerance", "Weight"]


class Marker:
    """What all markers have in common."""

    def rule(self, natural: Rule | None) -> Rule | None:
        """The rule that the marker makes of the one that a type has by itself; None if it does not fit the type."""
        return natural


@dataclass(frozen=True)
class Exact(Marker):
    """The value has to be the same: a text to the character, a number without tolerance."""

    def rule(self, natural: Rule | None) -> Rule | None:
        """Dates stay instants and numbers stay numbers, so that `39.90` is `39.9`."""
        if natural is NUMBER:
            return near_number(0, 0)
        return DATE if natural is DATE else EXACT


@dataclass(frozen=True)
class Close(Marker):
    """A text is right from a likeness on, and wrong below it. Texts that differ in their digits stay wrong.

    Args:
        at_least: the likeness, above 0 and at most 1.

    Raises:
        ValueError: it is outside of that.
    """

    at_least: float

    def __post_init__(self) -> None:
        if not 0 < self.at_least <= 1:
            raise ValueError(f"Close({self.at_least!r}): the likeness is above 0 and at most 1")

    def rule(self, natural: Rule | None) -> Rule | None:
        """For texts, and for values of any type."""
        return close_text(self.at_least) if natural in (TEXT, None) else None


@dataclass(frozen=True, kw_only=True)
class Tolerance(Marker):
    """A number is right within a distance; of two distances, within the larger.

    Args:
        abs: the distance.
        rel: the distance as a share of the expected number, 0.01 for 1%.

    Raises:
        ValueError: both are 0, or one is negative or not finite.
    """

    abs: float = 0.0
    rel: float = 0.0

    def __post_init__(self) -> None:
        if not all(0 <= value < math.inf for value in (self.abs, self.rel)) or self.abs == self.rel == 0:
            raise ValueError(f"{self}: give abs, rel or both as numbers above 0")

    def rule(self, natural: Rule | None) -> Rule | None:
        """For numbers, and for values of any type."""
        return near_number(float(self.abs), float(self.rel)) if natural in (NUMBER, None) else None


@dataclass(frozen=True)
class Ignore(Marker):
    """The field is not compared."""


@dataclass(frozen=True)
class Weight(Marker):
    """The field, or each value in it, counts this many times.

    Args:
        times: a number above 0.

    Raises:
        ValueError: it is not.
    """

    times: float

    def __post_init__(self) -> None:
        if not 0 < self.times < math.inf:
            raise ValueError(f"Weight({self.times!r}): a weight is a number above 0; use Ignore to leave a field out")


@dataclass(frozen=True)
class Ordered(Marker):
    """The order of the list counts: each item is compared with the one in the same place."""


@dataclass(frozen=True)
class Key(Marker):
    """Items of the list belong together if this field of theirs is equal.

    Args:
        field: the field's name in the items.
    """

    field: str


@dataclass(frozen=True)
class Compare(Marker):
    """The value is compared by a function of the user's.

    Args:
        function: takes the expected and the actual value, both as JSON has them, and returns a score from 0 to 1, or
            whether the actual one is right. It is not called if one of the two is missing.
    """

    function: Callable[[Any, Any], float | bool]

    def rule(self, natural: Rule | None) -> Rule | None:
        """Fits every type."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return Rule(f"function {name}", self._score)

    def _score(self, expected: Any, actual: Any) -> tuple[float, str]:
        called = f"Compare({_place(self.function)}), called with {expected!r:.60} and {actual!r:.60},"
        try:
            score = self.function(expected, actual)
        except Exception as error:
            raise CaseError(f"{called} raised {with_place(error)}") from error
        if not isinstance(score, bool | int | float) or not 0 <= score <= 1:
            raise CaseError(f"{called} returned {score!r:.60}, expected a number from 0 to 1, or True or False")
        return float(score), "right" if score == 1 else f"score {score:.2f}"


def _place(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", type(function).__name__)
    code = inspect.unwrap(function).__code__ if inspect.isfunction(function) else None
    return f"{name}, {code.co_filename}:{code.co_firstlineno}" if code else name
