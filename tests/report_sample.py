"""Runs as they come out of real work, made up: for the tests of the HTML report and for looking at it."""

import copy
import json
import random
from collections.abc import Callable
from datetime import date
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field

from llm_tester.pricing import Price
from llm_tester.runs.results import CaseRecord, CaseResult, RunResult
from llm_tester.runs.scoring import compare
from llm_tester.utils.cost_manager import UsageData


class Model(NamedTuple):
    """A model of the sample: how often it gets a value wrong, and what it costs in USD per million tokens."""

    provider: str
    name: str
    mistakes: float
    seconds: float
    price: tuple[float, float] | None
    origin: str


MODELS = (
    Model("openai", "gpt-5", 0.012, 9.5, (1.25, 10.0), "api.openai.com"),
    Model("openai", "gpt-5-mini", 0.035, 4.1, (0.25, 2.0), "api.openai.com"),
    Model("openai", "gpt-4.1-nano", 0.14, 1.1, (0.1, 0.4), "api.openai.com"),
    Model("anthropic", "claude-sonnet-4-5", 0.02, 5.2, (3.0, 15.0), "api.anthropic.com"),
    Model("anthropic", "claude-haiku-4-5", 0.05, 2.3, (1.0, 5.0), "api.anthropic.com"),
    Model("google", "gemini-2.5-flash", 0.04, 2.0, (0.3, 2.5), "generativelanguage.googleapis.com"),
    Model("mistral", "mistral-small-latest", 0.09, 1.7, (0.1, 0.3), "api.mistral.ai"),
    Model("groq", "llama-3.3-70b-versatile", 0.11, 0.8, (0.59, 0.79), "api.groq.com"),
    Model("ollama", "qwen3:8b", 0.2, 14.0, (0.0, 0.0), "127.0.0.1:11434"),
    Model("acme", "acme-extract-preview", 0.07, 3.0, None, "llm.acme.example"),
)
FIRMS = (
    "Nordlicht Optik GmbH",
    "Brasserie Lefèvre",
    "Holzwerk Sägemann KG",
    "Quayside Print",
    "Studio Ōkami",
    "Tecnova",
)
TOWNS = ("Utrecht", "Graz", "Porto", "Lübeck", "Leeds", "Kraków")
GOODS = (
    "oak shelf 80 cm",
    "A5 flyers, 170 g",
    "reading glasses +1.5",
    "espresso beans 1 kg",
    "bracket M8",
    "brass lamp",
)
SKILLS = ("Python", "PostgreSQL", "Kubernetes", "TypeScript", "Terraform", "Go", "Figma", "Accounting")
JOBS = ("Backend Engineer", "Warehouse Lead", "Product Designer", "Night Nurse", "Data Analyst", "Pastry Chef")


class Firm(BaseModel):
    """A firm on an invoice."""

    name: str
    vat_id: str | None = Field(None, description="With the code of its country.")
    town: str | None = None


class Line(BaseModel):
    """A line of an invoice."""

    description: str
    quantity: int
    unit_price: float = Field(description="In the invoice's currency, without tax.")


class Invoice(BaseModel):
    """The class of the sample's invoices."""

    number: str = Field(description="As it is printed.")
    issued_on: date
    seller: Firm
    buyer: Firm
    currency: Literal["EUR", "USD", "GBP"]
    total: float
    lines: list[Line]


def _invoice(dice: random.Random) -> tuple[str, dict[str, Any], str]:
    lines = [
        {"description": text, "quantity": dice.randint(1, 40), "unit_price": round(dice.uniform(2, 180), 2)}
        for text in dice.sample(GOODS, dice.randint(1, 3))
    ]
    seller, buyer = dice.sample(FIRMS, 2)
    number = f"{dice.randint(2024, 2026)}-{dice.randint(100, 9999):04}"
    total = round(sum(line["quantity"] * line["unit_price"] for line in lines), 2)
    expected = {
        "number": number,
        "issued_on": f"2026-{dice.randint(1, 12):02}-{dice.randint(1, 28):02}",
        "seller": {"name": seller, "vat_id": f"DE{dice.randint(10**8, 10**9 - 1)}"},
        "buyer": {"name": buyer, "town": dice.choice(TOWNS)},
        "currency": "EUR",
        "total": total,
        "lines": lines,
    }
    text = "\n".join(f"{row['quantity']:>4} × {row['description']:<28} à {row['unit_price']:>8.2f}" for row in lines)
    source = (
        f"{seller}\nInvoice {number}\nDate: {expected['issued_on']}\nVAT ID {expected['seller']['vat_id']}\n\n"
        f"To: {buyer}, {expected['buyer']['town']}\n\n{text}\n\nTotal due: {total:.2f} EUR, payable within 14 days.\n"
    )
    return f"{seller.split()[0].lower()}-{number}", expected, source


def _job(dice: random.Random) -> tuple[str, dict[str, Any], str]:
    title, firm, town = dice.choice(JOBS), dice.choice(FIRMS), dice.choice(TOWNS)
    low = dice.randrange(32, 80) * 1000
    expected = {
        "title": title,
        "company": firm,
        "location": town,
        "remote": dice.random() < 0.4,
        "salary": {"min": low, "max": low + dice.randrange(5, 20) * 1000, "currency": "EUR"},
        "skills": [{"name": name, "required": dice.random() < 0.6} for name in dice.sample(SKILLS, dice.randint(2, 4))],
    }
    skills = ", ".join(skill["name"] + ("" if skill["required"] else " (a plus)") for skill in expected["skills"])
    salary = expected["salary"]
    source = (
        f"{firm} is looking for a {title} in {town}{' or remote' if expected['remote'] else ''}.\n\n"
        f"You bring {skills}. We pay {salary['min']:,} to {salary['max']:,} euros a year, and mean it.\n"
    )
    return f"{title.lower().replace(' ', '-')}-{town.lower()}-{dice.randint(1, 9999)}", expected, source


def _product(dice: random.Random) -> tuple[str, dict[str, Any], str]:
    name, firm = dice.choice(GOODS), dice.choice(FIRMS)
    expected = {
        "name": name,
        "brand": firm,
        "price": round(dice.uniform(4, 400), 2),
        "currency": "EUR",
        "weight_grams": dice.randrange(20, 9000, 10),
        "colours": dice.sample(["black", "oak", "sand", "petrol", "brass"], dice.randint(1, 3)),
    }
    source = (
        f"{name.capitalize()} by {firm}. Now {expected['price']:.2f} €. Comes in {' and '.join(expected['colours'])}; "
        f"weighs {expected['weight_grams'] / 1000:.2f} kg.\n"
    )
    return f"{name.split()[0].lower()}-{dice.randint(1, 99999):05}", expected, source


MODULES: dict[str, tuple[str, Callable[[random.Random], tuple[str, dict[str, Any], str]]]] = {
    "invoices": ("Extract the invoice. Amounts are numbers, dates are ISO 8601. Leave out what is not said.", _invoice),
    "job_ads": ("Extract the job advertisement. Salaries are per year. Leave out what is not said.", _job),
    "products": ("Extract the product. The weight is in grams. Leave out what is not said.", _product),
}


def _mistaken(value: Any, dice: random.Random, rate: float) -> Any:
    """The value as a model might have understood it."""
    if isinstance(value, dict):
        return {key: _mistaken(item, dice, rate) for key, item in value.items() if dice.random() >= rate / 3}
    if isinstance(value, list):
        return [_mistaken(item, dice, rate) for item in value if dice.random() >= rate / 2]
    if dice.random() >= rate:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value * 10 if dice.random() < 0.3 else value + dice.randint(1, 9)
    if isinstance(value, float):
        return round(value + dice.choice([-1, 0.1, 10]), 2)
    return dice.choice([value[:-1], value.upper() + " Inc.", value.split()[0], value.replace("e", "a", 1) + "s"])


def sample_run(cases: int = 18, models: tuple[Model, ...] = MODELS, repeats: int = 1, seed: int = 5) -> RunResult:
    """A run of made-up cases with models that make mistakes, some of whose calls fail.

    Args:
        cases: how many, over three modules.
        models: who answers.
        repeats: how often each case is run.
        seed: of the made-up values; the same seed gives the same run.
    """
    dice = random.Random(seed)
    records = []
    for number in range(cases):
        module = list(MODULES)[number % len(MODULES)]
        prompt, make = MODULES[module]
        name, expected, source = make(dice)
        records.append(CaseRecord(module=module, name=name, prompt=prompt, source=source, expected=expected))
    results = [
        _result(record, model, repeat, dice)
        for record in records
        for model in models
        for repeat in range(1, repeats + 1)
    ]
    live = [result.usage for result in results if result.usage is not None and not result.usage.replayed]
    return RunResult(
        run_id="20261122T140301Z-4f6c2a9e",
        started_at="2026-11-22T14:03:01+00:00",
        seconds=192.4,
        versions={"llm_tester": "0.1.0", "litellm": "1.106.2", "pydantic-ai": "2.31.1", "vcrpy": "9.4.2"},
        repeats=repeats,
        max_cost=2.0,
        spent_usd=sum(usage.total_cost or 0.0 for usage in live),
        spent_unknown=sum(usage.total_cost is None for usage in live),
        problems={"cohere": "CO_API_KEY is not set; set it, or run with record=none to replay what is recorded"},
        schemas={"invoices": Invoice.model_json_schema()},
        cases=tuple(records),
        results=tuple(results),
    )


def _result(record: CaseRecord, model: Model, repeat: int, dice: random.Random) -> CaseResult:
    place = {"module": record.module, "name": record.name, "variant": record.variant, "repeat": repeat}
    place |= {"provider": model.provider, "model": model.name}
    fate = dice.random()
    if fate < 0.008:
        problem = f"{model.origin} answered 429: rate limit reached for {model.name}; tried 3 times over 14 s"
        return CaseResult(**place, status="failed", error="RateLimitError", problem=problem, failed_cost=0.0004)
    if fate < 0.014:
        problem = "could cost $0.0134, and $0.0021 is left of the budget of $2.0000"
        return CaseResult(**place, status="skipped", error="BudgetError", problem=problem)
    actual = _mistaken(copy.deepcopy(record.expected), dice, model.mistakes)
    comparison = compare(record.expected, actual)
    usage = _usage(record, model, dice)
    invalid = dice.random() < model.mistakes / 3
    reply = json.dumps(actual, ensure_ascii=False, indent=2)
    old = model.provider == "groq"
    return CaseResult(
        **place,
        status="invalid" if invalid else "ok",
        accuracy=0.0 if invalid else comparison.accuracy,
        fields=tuple(comparison.fields),
        problem="total: Input should be a valid number, found '1.204,50'" if invalid else None,
        error="ReplyError" if invalid else None,
        reply=f"Here is the JSON you asked for:\n```json\n{reply}\n```" if invalid else reply,
        actual=actual,
        usage=usage,
        cassette=f"cassettes/{record.module}/{record.name}/{model.provider}-{model.name}.yaml".replace(":", "-"),
        age_days=(112.6 if old else 8.3) if usage.replayed else None,
        old=old,
    )


def _usage(record: CaseRecord, model: Model, dice: random.Random) -> UsageData:
    tokens = len(record.prompt + record.source) // 3
    replayed = model.provider not in ("ollama", "acme")
    usage = UsageData(
        provider=model.provider,
        model=model.name,
        answered_model=f"{model.name}-2026-01-15",
        prompt_tokens=tokens + 310,
        completion_tokens=dice.randint(90, 240),
        cached_tokens=256 if model.provider == "openai" else 0,
        reasoning_tokens=64 if model.name.startswith("gpt-5") else 0,
        elapsed_seconds=round(model.seconds * dice.uniform(0.6, 1.7), 3),
        finish_reason="stop",
        replayed=replayed,
        origin=model.origin,
        recorded_at="2026-11-14T07:20:44+00:00" if replayed else None,
    )
    if model.price is None:
        return usage
    price = Price(input=model.price[0], output=model.price[1], source="litellm 1.106.2")
    note = "input: litellm says $0.59, genai-prices $0.64 per million tokens"
    return usage.priced(price, note if model.provider == "groq" else None)
