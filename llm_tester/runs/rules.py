"""How two scalar values are compared, and the markers by which a field chooses it, inside `Annotated[...]`.

    class Product(BaseModel):
        sku: Annotated[str, Exact]
        price: Annotated[float, Tolerance(rel=0.01), Weight(2)]
        parts: Annotated[list[Part], Key("number")]

A marker on a list, a dict or an object applies to everything in it that has no marker. docs/scoring.md has an example
for each.
"""

import inspect
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any, NamedTuple

from ..errors import CaseError
from .extraction import with_place

__all__ = ["Close", "Compare", "Exact", "Ignore", "Key", "Marker", "Ordered", "Rule", "Tolerance", "Weight", "by_value"]

Score = tuple[float, str]

_LEAST_LIKENESS = 0.6  # below it any two texts of one language look alike
_ROUNDING = Decimal("1e-9")
_LONG_TEXT = 10_000  # characters; the likeness of two such texts takes some milliseconds, and grows with the square
_QUIET = Context(prec=60, traps=[])  # an overflow is a difference, not an exception

_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[t ][0-9]{2}:.*)?", re.IGNORECASE)
# Spaces and hyphens group the digits of one code; a hyphen at the start of a word is a minus sign.
_GROUPING = re.compile(r"(?<=\d)[\s-]+(?=\d)")
_DIGITS = re.compile(r"(?:(?<!\S)-)?\d+(?:[.,:/]\d+)*")


class Rule(NamedTuple):
    """A way to compare two scalars.

    Attributes:
        words: its name in reports.
        score: from the expected and the actual value to a score from 0 to 1, and the reason in a few words.
    """

    words: str
    score: Callable[[Any, Any], Score]


def normal(text: str) -> str:
    """The text without differences of case, white space and Unicode form (NFKC)."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(text.lower().split())


def by_value(expected: Any, actual: Any) -> Rule:
    """The rule for two values if no class gives their type."""
    if _is_plain(expected) and _is_plain(actual):
        return NUMBER
    if not (isinstance(expected, str) and isinstance(actual, str)):
        return EXACT
    return DATE if _instant(expected) and _instant(actual) else TEXT


def _is_plain(value: Any) -> bool:
    """Whether a value is a number, or a text that is one: pydantic writes a Decimal as text, and `007` is a code."""
    if isinstance(value, str):
        return bool(_PLAIN_NUMBER.fullmatch(value.strip()))
    return _number(value) is not None


def _score_exact(expected: Any, actual: Any) -> Score:
    numbers = [not isinstance(value, bool) and isinstance(value, int | float) for value in (expected, actual)]
    if type(expected) is not type(actual) and not all(numbers):
        return 0.0, "different type"
    return (1.0, "equal") if expected == actual else (0.0, "different value")


def _score_text(expected: Any, actual: Any) -> Score:
    if not (isinstance(expected, str) and isinstance(actual, str)):
        return _score_exact(expected, actual)
    wanted, found = normal(expected), normal(actual)
    if wanted == found:
        return 1.0, "equal"
    if trouble := _different_code(wanted, found):
        return 0.0, trouble
    ratio = _likeness(wanted, found)
    return (ratio, f"close text {ratio:.2f}") if ratio >= _LEAST_LIKENESS else (0.0, "different text")


def _different_code(expected: str, actual: str) -> str:
    """Why two texts cannot mean the same although they look alike; empty if they can."""
    if not any(map(str.isalpha, expected + actual)):
        return "different text"
    digits = _digits(expected)
    if digits != _digits(actual):
        return "different digits"
    one_word = " " not in expected and " " not in actual
    if digits and one_word and [*filter(str.isalnum, expected)] != [*filter(str.isalnum, actual)]:
        return "different code"
    return ""


def _digits(text: str) -> list[str]:
    found = _DIGITS.findall(_GROUPING.sub("", text)) if any(map(str.isdigit, text)) else []
    return [re.sub("[.,:/]", ".", number) for number in found]


def _likeness(expected: str, actual: str) -> float:
    """From 0 to below 1: only equal texts are right."""
    if max(len(expected), len(actual)) <= _LONG_TEXT:
        from rapidfuzz import fuzz

        return min(fuzz.ratio(expected, actual) / 100, 0.999)
    words = Counter(expected.split()), Counter(actual.split())
    return min(2 * (words[0] & words[1]).total() / (words[0].total() + words[1].total()), 0.999)


def close_text(at_least: float) -> Rule:
    """The rule that a text is right if it is at least this much alike."""

    def score(expected: Any, actual: Any) -> Score:
        ratio, note = _score_text(expected, actual)
        return float(ratio >= at_least), note

    return Rule(f"text, right if at least {at_least:g} alike", score)


def _number(value: Any) -> Decimal | None:
    """The value of a finite number, or of a text that is one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        # From the shortest text of a float, so that 40.0 - 39.9 is 0.1.
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _number_rule(words: str, is_same: Callable[[Decimal, Decimal], bool]) -> Rule:
    def score(expected: Any, actual: Any) -> Score:
        wanted, found = _number(expected), _number(actual)
        if wanted is None or found is None:
            return _score_exact(expected, actual)
        if wanted == found:
            return 1.0, "equal"
        return (1.0, "near enough") if is_same(wanted, found) else (0.0, "different number")

    return Rule(words, score)


def _same_but_for_rounding(expected: Decimal, actual: Decimal) -> bool:
    # A tolerance between whole numbers would take one long id for another.
    if expected == expected.to_integral_value() and actual == actual.to_integral_value():
        return False
    return _difference(expected, actual) <= _QUIET.multiply(_ROUNDING, max(abs(expected), abs(actual)))


def _difference(expected: Decimal, actual: Decimal) -> Decimal:
    return abs(_QUIET.subtract(expected, actual))


def near_number(absolute: float, relative: float) -> Rule:
    """The rule that a number is right within the larger of two tolerances, or equal if both are 0."""
    amount, share = Decimal(repr(absolute)), Decimal(repr(relative))
    words = [f"±{absolute:g}"] if absolute else []
    words += [f"±{relative * 100:g}%"] if relative else []

    def is_near(expected: Decimal, actual: Decimal) -> bool:
        return _difference(expected, actual) <= max(amount, _QUIET.multiply(share, abs(expected)))

    return _number_rule("number " + (" or ".join(words) or "exactly"), is_near)


def _instant(text: str) -> datetime | None:
    """The time that an ISO date or time means, None if the text is neither."""
    if not _ISO_DATE.fullmatch(text.strip()):
        return None
    try:
        return datetime.fromisoformat(text.strip().upper())
    except ValueError:
        return None


def _score_date(expected: Any, actual: Any) -> Score:
    first, second = (_instant(value) if isinstance(value, str) else None for value in (expected, actual))
    if first is None or second is None:
        return _score_exact(expected, actual)
    if len(expected.strip()) == len("2024-01-05"):
        return (1.0, "same date") if first.date() == second.date() else (0.0, "different date")
    if first.tzinfo is None or second.tzinfo is None:  # compare what the clocks show
        first, second = first.replace(tzinfo=UTC), second.replace(tzinfo=UTC)
    return (1.0, "same date") if first == second else (0.0, "different date")


TEXT = Rule("text", _score_text)
EXACT = Rule("exact", _score_exact)
NUMBER = _number_rule("number", _same_but_for_rounding)
DATE = Rule("date", _score_date)


class Marker:
    """The base class of all markers."""

    def rule(self, natural: Rule | None) -> Rule | None:
        """The rule for a field whose type has the rule `natural`; None if the marker does not fit the type."""
        return natural


@dataclass(frozen=True)
class Exact(Marker):
    """The value must be equal: a text character by character, a number without tolerance."""

    def rule(self, natural: Rule | None) -> Rule | None:
        """Dates stay instants and numbers stay numbers, so that `39.90` is `39.9`."""
        if natural is NUMBER:
            return near_number(0, 0)
        return DATE if natural is DATE else EXACT


@dataclass(frozen=True)
class Close(Marker):
    """A text is right if it is alike enough, and wrong otherwise. Texts with different digits are always wrong.

    Args:
        at_least: the likeness, above 0 and at most 1.

    Raises:
        ValueError: the likeness is out of range.
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
    """A number is right within a distance. If both are given, the larger one counts.

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
        ValueError: it is 0, negative or infinite.
    """

    times: float

    def __post_init__(self) -> None:
        if not 0 < self.times < math.inf:
            raise ValueError(f"Weight({self.times!r}): a weight is a number above 0; use Ignore to leave a field out")


@dataclass(frozen=True)
class Ordered(Marker):
    """The order of the list counts: each item is compared with the one at the same index."""


@dataclass(frozen=True)
class Key(Marker):
    """Items of the list are paired if this field is equal.

    Args:
        field: the field's name in the items.
    """

    field: str


@dataclass(frozen=True)
class Compare(Marker):
    """The value is compared by a function of the user.

    Args:
        function: takes the expected and the actual value as JSON values, and returns a score from 0 to 1, or whether
            the actual value is right. It is not called if one of the two is missing.
    """

    function: Callable[[Any, Any], float | bool]

    def rule(self, natural: Rule | None) -> Rule | None:
        """Fits every type."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return Rule(f"function {name}", self._score)

    def _score(self, expected: Any, actual: Any) -> tuple[float, str]:
        function = self.function
        code = inspect.unwrap(function).__code__ if inspect.isfunction(function) else None
        name = getattr(function, "__qualname__", type(function).__name__)
        place = f"{name}, {code.co_filename}:{code.co_firstlineno}" if code else name
        called = f"Compare({place}), called with {expected!r:.60} and {actual!r:.60},"
        try:
            score = function(expected, actual)
        except Exception as error:
            raise CaseError(f"{called} raised {with_place(error)}") from error
        if not isinstance(score, bool | int | float) or not 0 <= score <= 1:
            raise CaseError(f"{called} returned {score!r:.60}, expected a number from 0 to 1, or True or False")
        return float(score), "right" if score == 1 else f"score {score:.2f}"
