"""How two scalar values of JSON are compared: as texts, numbers, dates, or exactly."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any, NamedTuple

from rapidfuzz import fuzz

__all__ = ["DATE", "EXACT", "NUMBER", "TEXT", "Rule", "by_value", "close_text", "near_number", "normal"]

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
        words: its name for a person.
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
    """The rule that two values ask for by themselves, if no class says what they are."""
    if isinstance(expected, str) and isinstance(actual, str):
        if _instant(expected) and _instant(actual):
            return DATE
        return NUMBER if _is_plain(expected) and _is_plain(actual) else TEXT
    return NUMBER if _is_plain(expected) and _is_plain(actual) else EXACT


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
    """Why two texts are not the same thing, however alike they look; empty if they may be."""
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
        return min(fuzz.ratio(expected, actual) / 100, 0.999)
    words = Counter(expected.split()), Counter(actual.split())
    return min(2 * (words[0] & words[1]).total() / (words[0].total() + words[1].total()), 0.999)


def close_text(at_least: float) -> Rule:
    """The rule that a text is right from a likeness on, and wrong below it."""

    def score(expected: Any, actual: Any) -> Score:
        ratio, note = _score_text(expected, actual)
        return float(ratio >= at_least), note

    return Rule(f"text, right if at least {at_least:g} alike", score)


def _number(value: Any) -> Decimal | None:
    """The value of a finite number, or of a text that is one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        # The shortest text of a float, so that 40.0 - 39.9 is 0.1.
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
    """The rule that a number is right within the larger of two tolerances; both 0 ask for the same number."""
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
    moments = [_instant(value) if isinstance(value, str) else None for value in (expected, actual)]
    first, second = moments
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
