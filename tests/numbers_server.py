"""Eight models on loopback whose cost, latency, accuracy and failures are known, and what a run must say of them.

Every figure in this module was worked out by hand from the scripts in it; none comes from the package.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from standins import Fault, Reply

MODEL = """
from pydantic import BaseModel

class Maker(BaseModel):
    name: str
    country: str | None = None

class Product(BaseModel):
    name: str
    price: float
    maker: Maker
    tags: list[str] = []
"""


def product(name: str, price: float, maker: str, country: str, *tags: str) -> dict[str, Any]:
    """A product of six values."""
    return {"name": name, "price": price, "maker": {"name": maker, "country": country}, "tags": list(tags)}


EXPECTED = {
    "chair": product("Fjord Chair", 129.0, "Holm", "DK", "oak", "seat"),
    "desk": product("Pine Desk", 240.5, "Berg", "SE", "pine", "work"),
    "lamp": product("Aurora Lamp", 39.9, "Nord", "DE", "led", "home"),
}
CASES = ("chair", "desk", "lamp")

ALL_RIGHT = 100.0
ONE_OF_SIX_WRONG = 83.3333
SIX_RIGHT_ONE_EXTRA = 85.7143
INVALID = 0.0


def right(case: str, **changed: Any) -> str:
    return json.dumps(EXPECTED[case] | changed)


def wrong_price(case: str) -> str:
    return right(case, price=1.0)


NO_COUNTRY = right("lamp", maker={"name": "Nord"})
THIRD_TAG = right("desk", tags=["pine", "work", "new"])


class Answer(NamedTuple):
    """One reply of a model and what a run must report of it.

    Attributes:
        text: the reply.
        tokens: prompt, completion, cached and reasoning tokens.
        cost: USD, None if no one can know.
        accuracy: 0 to 100.
        counts: how many values are right, wrong, missing and extra; None for a reply that is no valid instance.
        attempts: how many requests the call takes.
        billed: what the reply itself says it cost, in USD.
    """

    text: str
    tokens: tuple[int, int, int, int]
    cost: float | None
    accuracy: float = ALL_RIGHT
    counts: tuple[int, int, int, int] | None = (6, 0, 0, 0)
    attempts: int = 1
    billed: float | None = None

    @property
    def status(self) -> str:
        return "ok" if self.counts else "invalid"


class Failure(NamedTuple):
    """A call that gets no reply.

    Attributes:
        fault: what the server does.
        error: the error's class.
        requests: how many requests the server sees.
        at_most: USD that the call may have cost.
    """

    fault: Fault
    error: str
    requests: int
    at_most: float


class Scripted(NamedTuple):
    """A model: what the config says, how long it takes (seconds), what it does in each case, and the sums."""

    config: dict[str, Any]
    delay: float
    cases: dict[str, Answer | Failure]
    accuracy: float | None
    tokens: tuple[int, int]
    cost: float | None


LATER = {"retry-after": "0"}

MODELS: dict[str, Scripted] = {
    # 600 at $2 and 400 cached at $0.50 and 100 at $8 per million: 1,200 + 200 + 800 = 2,200 millionths.
    "exact": Scripted(
        {"cost_input": 2, "cost_output": 8, "cost_cached_input": 0.5},
        0.04,
        {
            "lamp": Answer(right("lamp"), (1000, 100, 400, 30), 0.0022),
            "desk": Answer(right("desk"), (2000, 150, 0, 0), 0.0052),
            "chair": Answer(right("chair"), (500, 50, 500, 10), 0.00065),
        },
        100.0,
        (3500, 300),
        0.00805,
    ),
    # 300 at $1 and 60 at $4.
    "wrong": Scripted(
        {"cost_input": 1, "cost_output": 4},
        0.06,
        {
            "lamp": Answer(wrong_price("lamp"), (300, 60, 0, 0), 0.00054, ONE_OF_SIX_WRONG, (5, 1, 0, 0)),
            "desk": Answer(wrong_price("desk"), (400, 70, 0, 0), 0.00068, ONE_OF_SIX_WRONG, (5, 1, 0, 0)),
            "chair": Answer(wrong_price("chair"), (500, 80, 0, 0), 0.00082, ONE_OF_SIX_WRONG, (5, 1, 0, 0)),
        },
        83.3333,
        (1200, 210),
        0.00204,
    ),
    # 700 at $0.10, 50 at $0.40 and 40 of reasoning at $0.80: 70 + 20 + 32.
    "partial": Scripted(
        {"cost_input": 0.1, "cost_output": 0.4, "cost_reasoning": 0.8},
        0.02,
        {
            "lamp": Answer(
                right("lamp", maker={"name": "Nord"}), (700, 90, 0, 40), 0.000122, ONE_OF_SIX_WRONG, (5, 0, 1, 0)
            ),
            "desk": Answer(
                right("desk", tags=["pine", "work", "new"]),
                (700, 80, 0, 20),
                0.00011,
                SIX_RIGHT_ONE_EXTRA,
                (6, 0, 0, 1),
            ),
            "chair": Answer(right("chair"), (700, 70, 0, 0), 0.000098),
        },
        89.6825,  # the mean of 83.3333, 85.7143 and 100
        (2100, 240),
        0.00033,
    ),
    # 250 at $3 and 40 at $15.
    "broken": Scripted(
        {"cost_input": 3, "cost_output": 15},
        0.05,
        {
            "lamp": Answer('{"name": "Aurora Lamp", "price": 39', (250, 40, 0, 0), 0.00135, INVALID, None),
            "desk": Answer("I cannot help with that.", (260, 12, 0, 0), 0.00096, INVALID, None),
            "chair": Answer(right("chair"), (270, 45, 0, 0), 0.001485),
        },
        33.3333,
        (780, 97),
        0.003795,
    ),
    "unpriced": Scripted(
        {},
        0.03,
        {
            "lamp": Answer(right("lamp"), (800, 85, 0, 0), None),
            "desk": Answer(right("desk"), (810, 86, 0, 0), None),
            "chair": Answer(right("chair"), (820, 87, 0, 0), None),
        },
        100.0,
        (2430, 258),
        None,
    ),
    # The prices in the config would give 50 times as much; what the provider itself says leads.
    "billed": Scripted(
        {"cost_input": 100, "cost_output": 100},
        0.07,
        {
            "lamp": Answer(right("lamp"), (900, 95, 0, 0), 0.00123, billed=0.00123),
            "desk": Answer(right("desk"), (910, 96, 0, 0), 0.00045, billed=0.00045),
            "chair": Answer(right("chair"), (920, 97, 0, 0), 0.002, billed=0.002),
        },
        100.0,
        (2730, 288),
        0.00368,
    ),
    # 400 at $5 and 50 at $25; the lamp is refused twice, which costs nothing.
    "flaky": Scripted(
        {"cost_input": 5, "cost_output": 25},
        0.08,
        {
            "lamp": Answer(right("lamp"), (400, 50, 0, 0), 0.00325, attempts=3),
            "desk": Answer(right("desk"), (410, 51, 0, 0), 0.003325),
            "chair": Answer(right("chair"), (420, 52, 0, 0), 0.0034),
        },
        100.0,
        (1230, 153),
        0.009975,
    ),
    # Input is free, and 500 tokens of output at $10 are the limit: a lost attempt costs at most half a cent.
    "down": Scripted(
        {"cost_input": 0, "cost_output": 10},
        0.0,
        {
            "lamp": Failure(Fault(500, headers=LATER), "ServerError", 2, 0.0),
            "desk": Failure(Fault(reset=True), "ConnectionError", 2, 0.01),
            "chair": Failure(Fault(401), "AuthenticationError", 1, 0.0),
        },
        None,
        (0, 0),
        0.0,
    ),
}

SPENT = 0.02787  # the sum of the known costs: 0.00805 + 0.00204 + 0.00033 + 0.003795 + 0.00368 + 0.009975
UNKNOWN = 3  # the replies of the model without a price
AT_MOST = 0.01  # the connection that was lost twice
COUNTS = {"ok": 19, "invalid": 2, "failed": 3, "skipped": 0}
REQUESTS = 28  # 18 of six models, 5 of the one that is refused twice, and 5 that failed


def model_of(name: str) -> str:
    return f"{name}-1"


def answers(name: str) -> dict[str, Answer]:
    return {case: answer for case, answer in MODELS[name].cases.items() if isinstance(answer, Answer)}


def script() -> Callable[[dict[str, Any]], Reply | Fault]:
    """What the server answers, by the model and the source text of a request."""
    seen: dict[tuple[str, str], int] = defaultdict(int)
    lock = threading.Lock()

    def reply(body: dict[str, Any]) -> Reply | Fault:
        name = body["model"].removesuffix("-1")
        asked = json.dumps(body["messages"])
        case = next(case for case in CASES if EXPECTED[case]["name"] in asked)
        planned = MODELS[name].cases[case]
        with lock:
            seen[name, case] += 1
            number = seen[name, case]
        if isinstance(planned, Failure):
            return planned.fault
        if number < planned.attempts:
            return Fault(429, headers=LATER)
        prompt, completion, cached, reasoning = planned.tokens
        return Reply(
            planned.text,
            input_tokens=prompt,
            output_tokens=completion,
            cached_tokens=cached,
            reasoning_tokens=reasoning,
            billed_usd=planned.billed,
            delay=MODELS[name].delay,
        )

    return reply


def write_project(root: Path, url: str) -> None:
    """Writes the config and the three cases."""
    providers = {
        name: {
            "provider_type": "openrouter" if name == "billed" else "openai",
            "api_base": url + "/v1",
            "env_key": "",
            "params": {"max_tokens": 500},
            "max_attempts": 2 if name == "down" else 3,
            "models": [{"name": model_of(name), "supports_schema": True, **model.config}],
        }
        for name, model in MODELS.items()
    }
    (root / "config.json").write_text(json.dumps({"providers": providers}), encoding="utf-8")
    module = root / "cases" / "products"
    for folder in ("sources", "prompts", "expected"):
        (module / "tests" / folder).mkdir(parents=True)
    (module / "model.py").write_text(MODEL)
    for case, expected in EXPECTED.items():
        (module / f"tests/sources/{case}.txt").write_text(f"For sale: {expected['name']}.")
        (module / f"tests/prompts/{case}.txt").write_text("Extract the product.")
        (module / f"tests/expected/{case}.json").write_text(json.dumps(expected))
