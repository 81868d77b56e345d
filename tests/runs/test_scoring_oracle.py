"""Accuracy against a second scorer that was written to be simple, over outputs as models give them."""

import json
import random
import re
import string
from collections import defaultdict
from collections.abc import Iterator
from difflib import SequenceMatcher
from statistics import correlation
from typing import Any

from conftest import ROOT

from llm_tester.runs.scoring import compare

OUTPUTS = 300


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar with its path, without the places in lists."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, path + "[]")
    elif value not in (None, ""):
        yield path, value


def likeness(expected: Any, actual: Any) -> float:
    if isinstance(expected, str) and isinstance(actual, str):
        if expected.lower() == actual.lower():
            return 1.0
        if re.findall(r"\d", expected) != re.findall(r"\d", actual):
            return 0.0
        ratio = SequenceMatcher(None, expected.lower(), actual.lower()).ratio()
        return ratio if ratio >= 0.6 else 0.0
    return float(expected == actual)


def simple_accuracy(expected: Any, actual: Any) -> float:
    """The leaves of each path as a bag: the most alike pair off first, and the longer bag is the measure."""
    bags: dict[str, tuple[list[Any], list[Any]]] = defaultdict(lambda: ([], []))
    for side, value in enumerate((expected, actual)):
        for path, leaf in leaves(value):
            bags[path][side].append(leaf)
    right, total = 0.0, 0
    for wanted, found in bags.values():
        total += max(len(wanted), len(found))
        pairs = sorted(
            ((likeness(a, b), i, j) for i, a in enumerate(wanted) for j, b in enumerate(found)), reverse=True
        )
        used: tuple[set[int], set[int]] = (set(), set())
        for score, i, j in pairs:
            if i not in used[0] and j not in used[1]:
                used[0].add(i)
                used[1].add(j)
                right += score
    return 100 * right / total if total else 100.0


def document(chance: random.Random) -> dict[str, Any]:
    """An object such as people extract: an invoice, an advertisement, a payslip."""
    word = lambda: "".join(chance.choices(string.ascii_lowercase, k=chance.randint(3, 9)))  # noqa: E731
    name = lambda: " ".join(word().title() for _ in range(chance.randint(1, 4)))  # noqa: E731
    return {
        "number": f"INV-{chance.randint(2019, 2026)}-{chance.randint(1, 999):03}",
        "supplier": {"name": name(), "city": name(), "vat": f"DE{chance.randint(10**8, 10**9)}"},
        "issued": f"2024-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}",
        "paid": chance.random() < 0.5,
        "remark": " ".join(word() for _ in range(chance.randint(4, 20))),
        "skills": [name() for _ in range(chance.randint(0, 8))],
        "lines": [
            {"text": name(), "count": chance.randint(1, 20), "price": round(chance.uniform(1, 900), 2)}
            for _ in range(chance.randint(0, 6))
        ],
    }


def as_read(value: Any, chance: random.Random, errors: float) -> Any:
    """A value as a model gives it: with typos, other numbers, items lost, invented and in another order."""
    if isinstance(value, dict):
        return {key: as_read(item, chance, errors) for key, item in value.items() if chance.random() > errors / 4}
    if isinstance(value, list):
        items = [as_read(item, chance, errors) for item in value if chance.random() > errors / 3]
        items += [as_read(item, chance, 0.9) for item in value if chance.random() < errors / 5]
        return chance.sample(items, len(items))
    if chance.random() > errors:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return round(value + chance.choice([1, -1, 10, 0.5]), 2)
    place = chance.randrange(len(value))
    typo = value[:place] + chance.choice(string.ascii_lowercase + string.digits) + value[place + 1 :]
    return chance.choice([typo, value.upper(), value[: len(value) // 2], "something else", None])


def outputs() -> Iterator[tuple[dict[str, Any], Any]]:
    chance = random.Random(7)
    samples = [json.loads(path.read_text("utf-8")) for path in sorted(ROOT.glob("cases/*/tests/expected/*.json"))]
    for number in range(OUTPUTS):
        expected = samples[number % len(samples)] if number % 3 == 0 else document(chance)
        yield expected, as_read(expected, chance, chance.random() ** 1.5)


def test_the_accuracy_agrees_with_a_simpler_scorer() -> None:
    """By top-level keys instead of leaves, it would be 0.94 here, with a mean difference of 6.7 points."""
    scores = [(compare(*pair).accuracy, simple_accuracy(*pair)) for pair in outputs()]
    ours, simple = zip(*scores, strict=True)
    assert correlation(ours, simple) > 0.99
    assert sum(abs(a - b) for a, b in scores) / len(scores) < 1


if __name__ == "__main__":
    pairs = [(compare(*pair).accuracy, simple_accuracy(*pair)) for pair in outputs()]
    print(correlation(*zip(*pairs, strict=True)), sum(abs(a - b) for a, b in pairs) / len(pairs))  # noqa: T201
