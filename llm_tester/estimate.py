"""What a run would call and cost, before a cent is spent."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from .cassettes import Cassette
from .errors import BudgetError
from .llm_tester import LLMTester
from .llms.base import BaseLLM, joined_prompt
from .pricing import Tokens, cost, estimate_tokens
from .runs.units import Unit, plan, under_ci
from .usage import Budget, expecting, spending

__all__ = ["Estimate", "estimate"]


class Estimate(BaseModel):
    """What one provider and model would be called for.

    Attributes:
        live: calls that would be made.
        replayed: calls that cassettes would answer.
        skipped: calls that would not be made, because nothing is recorded and this is a CI run.
        over_budget: calls that would not be made, because they could exceed the budget.
        needs: what a live call still needs, such as a key; None if nothing.
        prompt_tokens: input tokens of the live calls: of the recording if there is one, else estimated.
        completion_tokens: output tokens; estimated from the length of the expected JSON.
        counted: the live calls whose tokens are estimated, not recorded.
        cost_usd: USD for these tokens; None if the price is unknown.
        worst_usd: USD at most: every byte a token, and all the output that is allowed; None if unknown.
    """

    model_config = ConfigDict(frozen=True)

    provider: str
    model: str
    live: int = 0
    replayed: int = 0
    skipped: int = 0
    over_budget: int = 0
    needs: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    counted: int = 0
    cost_usd: float | None = 0.0
    worst_usd: float | None = 0.0


class _Guess(NamedTuple):
    tokens: Tokens
    recorded: bool


def estimate(
    tester: LLMTester,
    modules: Iterable[str] = (),
    *,
    record: str = "auto",
    repeats: int = 1,
    max_cost: float | None = None,
) -> list[Estimate]:
    """What `tester.run_tests` with the same arguments would call and cost, by provider and model.

    Args:
        tester: the providers and cases.
        modules: the names of the modules wanted; all if empty.
        record: the record mode.
        repeats: how often each unit would be run.
        max_cost: the run's limit in USD; None for none.

    Returns:
        An estimate for each provider and model, in the order of the providers. No key is needed for it.

    Raises:
        CaseError: a case cannot be read.
        UnknownModelError: a provider has no such model.
    """
    budget = Budget(max_cost) if max_cost is not None else None
    found: dict[tuple[str, str], Estimate] = {}
    for unit in tester.units(modules, record=record, repeats=repeats):
        place = (unit.provider, unit.model)
        before = found.get(place) or Estimate(provider=unit.provider, model=unit.model)
        found[place] = _with(before, unit, tester.manager.instance(unit.provider), budget)
    return list(found.values())


def _with(before: Estimate, unit: Unit, provider: BaseLLM, budget: Budget | None) -> Estimate:
    planned = plan(unit, provider)
    if planned.skip and under_ci():
        return before.model_copy(update={"skipped": before.skipped + unit.repeats})
    wanted = unit.repeats if planned.skip else planned.live
    after = before.model_copy(update={"replayed": before.replayed + unit.repeats - wanted})
    if planned.skip:
        after = after.model_copy(update={"needs": provider.missing_key(unit.model)})
    for _ in range(wanted):
        after = _with_call(after, unit, provider, budget)
    return after


def _with_call(before: Estimate, unit: Unit, provider: BaseLLM, budget: Budget | None) -> Estimate:
    """The estimate with one more live call, if the budget allows it."""
    case, guess = unit.case, _guess(unit, provider)
    price = provider.price(unit.model).chosen
    usd = cost(guess.tokens, price).total_usd if price else None
    with spending(budget), expecting(estimate_tokens(json.dumps(case.expected))):
        limits = provider.limits(
            case.prompt, case.source, unit.model, model_class=case.model_class(), files=case.attachments()
        )
    if budget is not None:
        try:
            with budget.reserve(limits.reserve_usd, unit.provider) as reservation:
                reservation.settle(usd or 0.0)
        except BudgetError:
            return before.model_copy(update={"over_budget": before.over_budget + 1})
    return before.model_copy(
        update={
            "live": before.live + 1,
            "prompt_tokens": before.prompt_tokens + guess.tokens.prompt_tokens,
            "completion_tokens": before.completion_tokens + guess.tokens.completion_tokens,
            "counted": before.counted + (not guess.recorded),
            "cost_usd": _plus(before.cost_usd, usd),
            "worst_usd": _plus(before.worst_usd, limits.worst_usd),
        }
    )


def _plus(one: float | None, two: float | None) -> float | None:
    return None if one is None or two is None else one + two


def _guess(unit: Unit, provider: BaseLLM) -> _Guess:
    """The tokens of one call: those of the last recorded one, else counted from the texts."""
    if unit.path.is_file():
        used = [item.recorded.get("usage") for item in Cassette(unit.path).interactions]
        if known := [counts for counts in used if isinstance(counts, dict)]:
            return _Guess(Tokens(**known[-1]), recorded=True)
    case = unit.case
    asked = joined_prompt(case.prompt, case.source)
    if provider.schema_mode(unit.model, case.model_class()) != "off":
        asked += json.dumps(case.model_class().model_json_schema())
    return _Guess(Tokens(estimate_tokens(asked), estimate_tokens(json.dumps(case.expected, indent=1))), recorded=False)
