"""What a run would call and cost, before a cent is spent."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from .cassettes import Cassette
from .errors import BudgetError, LLMTesterError
from .llm_tester import LLMTester
from .llms.base import BaseLLM
from .llms.budget import Budget, Limits, spending
from .pricing import Tokens, cost
from .runs.again import due
from .runs.results import RunResult
from .runs.shards import part_of
from .runs.units import Unit, limits_of, plan, worst_usd
from .tokens import estimate_tokens

__all__ = ["Estimate", "estimate"]


class Estimate(BaseModel):
    """What one provider and model would be called for.

    Attributes:
        live: calls that would be made.
        replayed: calls that cassettes would answer.
        skipped: calls that would not be made; `problem` says why.
        over_budget: calls that would not be made, because they could exceed the budget.
        problem: why calls would not be made, such as an unknown model; None if nothing is in the way.
        needs: what a live call still needs, such as a key; None if nothing.
        schema_modes: how the model would be asked for the classes: `native`, `prompt`, `off`.
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
    problem: str | None = None
    needs: str | None = None
    schema_modes: tuple[str, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    counted: int = 0
    cost_usd: float | None = 0.0
    worst_usd: float | None = 0.0


class _Guess(NamedTuple):
    tokens: Tokens
    recorded: bool


class _Call(NamedTuple):
    guess: _Guess
    usd: float | None
    limits: Limits


def estimate(
    tester: LLMTester,
    modules: Iterable[str] = (),
    *,
    record: str = "auto",
    shard: tuple[int, int] | None = None,
    repeats: int = 1,
    max_cost: float | None = None,
    previous: RunResult | None = None,
) -> list[Estimate]:
    """What `tester.run_tests` with the same arguments would call and cost, by provider and model.

    Args:
        tester: the providers and cases.
        modules: the names of the modules wanted; all if empty.
        record: the record mode.
        shard: the part of the units and the number of parts; all if None.
        repeats: how often each unit would be run; with `previous`, its number of repeats is used.
        max_cost: the run's limit in USD; None for none.
        previous: earlier results, of which only what failed or was skipped would be run; None to run everything.

    Returns:
        An estimate for each provider and model, in the order of the providers. No key is needed for it.

    Raises:
        CaseError: a case cannot be read, or there is none.
        ConfigError: there is no provider to run them with.
        BudgetError: `max_cost` is not a positive number.
    """
    budget = Budget(max_cost) if max_cost is not None else None
    units = tester.units(modules, record=record, repeats=previous.repeats if previous else repeats)
    _, units = part_of(units, shard, previous)
    found: dict[tuple[str, str], Estimate] = {}
    for unit in due(units, previous) if previous else units:
        place = (unit.provider, unit.model)
        before = found.get(place) or Estimate(provider=unit.provider, model=unit.model)
        try:
            found[place] = _with(before, unit, tester.manager.instance(unit.provider), budget)
        except LLMTesterError as error:
            # Each unit would fail with it in a run as well.
            found[place] = _skipping(before, unit, str(error))
    return list(found.values())


def _skipping(before: Estimate, unit: Unit, problem: str) -> Estimate:
    problems = dict.fromkeys([*([before.problem] if before.problem else []), problem])
    return before.model_copy(update={"skipped": before.skipped + unit.repeats, "problem": "\n".join(problems)})


def _with(before: Estimate, unit: Unit, provider: BaseLLM, budget: Budget | None) -> Estimate:
    mode = provider.schema_mode(unit.model, unit.case.model_class())
    planned = plan(unit, provider, without_key=True)
    if planned.skip:
        return _skipping(before, unit, planned.skip)
    after = before.model_copy(
        update={
            "replayed": before.replayed + unit.repeats - planned.live,
            "needs": before.needs or (provider.missing_key(unit.model) if planned.live else None),
            "schema_modes": tuple(dict.fromkeys((*before.schema_modes, mode))),
        }
    )
    if planned.live:
        call = _call(unit, provider, budget)
        for _ in range(planned.live):
            after = _with_call(after, call, unit.provider, budget)
    return after


def _call(unit: Unit, provider: BaseLLM, budget: Budget | None) -> _Call:
    """What one live call of a unit would use and cost."""
    guess = _guess(unit, provider)
    price = provider.price(unit.model).chosen
    with spending(budget):
        limits = limits_of(unit, provider)
        if provider.config.fallback:
            limits = limits._replace(worst_usd=worst_usd(unit))
    return _Call(guess, cost(guess.tokens, price).total_usd if price else None, limits)


def _with_call(before: Estimate, call: _Call, name: str, budget: Budget | None) -> Estimate:
    """The estimate with one more live call, if the budget allows it."""
    if budget is not None:
        try:
            with budget.reserve(call.limits.reserve_usd, f"{name}, {before.model}") as reservation:
                reservation.settle(call.usd or 0.0)
        except BudgetError as error:
            return before.model_copy(update={"over_budget": before.over_budget + 1, "problem": str(error)})
    tokens = call.guess.tokens
    return before.model_copy(
        update={
            "live": before.live + 1,
            "prompt_tokens": before.prompt_tokens + tokens.prompt_tokens,
            "completion_tokens": before.completion_tokens + tokens.completion_tokens,
            "counted": before.counted + (not call.guess.recorded),
            "cost_usd": _plus(before.cost_usd, call.usd),
            "worst_usd": _plus(before.worst_usd, call.limits.worst_usd),
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
    asked = provider.request_text(case.prompt, case.source, unit.model, model_class=case.model_class())
    sent, written = (estimate_tokens(text, unit.model) for text in (asked, json.dumps(case.expected, indent=1)))
    return _Guess(Tokens(sent, written), recorded=False)
