"""What a run would call and cost, before a cent is spent."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import BaseModel

from .cassettes import Cassette
from .errors import BudgetError, LLMTesterError
from .llm_tester import LLMTester
from .llms.base import BaseLLM
from .llms.budget import Budget, Limits, spending
from .pricing import Tokens, cost
from .runs.again import due
from .runs.results import RunResult
from .runs.shards import part_of
from .runs.units import Unit, limits_of, missing_repeats, plan, worst_usd
from .tokens import estimate_tokens
from .usage import add_usd

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


class _Call(NamedTuple):
    """What one live call of a unit would use and cost."""

    tokens: Tokens
    is_recorded: bool
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
        sums = found.setdefault(place, Estimate(provider=unit.provider, model=unit.model))
        try:
            _add(sums, unit, tester.manager.instance(unit.provider), budget)
        except LLMTesterError as error:
            # Each unit would fail with it in a run as well.
            _add_skipped(sums, unit.repeats, str(error))
    return list(found.values())


def _add_skipped(sums: Estimate, repeats: int, problem: str) -> None:
    sums.skipped += repeats
    sums.problem = "\n".join(dict.fromkeys([*filter(None, [sums.problem]), problem]))


def _add(sums: Estimate, unit: Unit, provider: BaseLLM, budget: Budget | None) -> None:
    """Adds a unit; nothing is counted if it raises an error."""
    mode = provider.schema_mode(unit.model, unit.case.model_class())
    planned = plan(unit, provider, without_key=True)
    if planned.skip:
        _add_skipped(sums, unit.repeats, planned.skip)
        return
    calls = [_call(unit, provider, budget)] * planned.live if planned.live else []
    sums.needs = sums.needs or (provider.missing_key(unit.model) if calls else None)
    # In these modes, what is not recorded is neither replayed nor called.
    missing = missing_repeats(unit) if planned.mode in ("none", "once") and not planned.live else 0
    if missing:
        _add_skipped(sums, missing, "not recorded, and in this record mode nothing is called")
    sums.replayed += unit.repeats - planned.live - missing
    sums.schema_modes = tuple(dict.fromkeys((*sums.schema_modes, mode)))
    for call in calls:
        _add_call(sums, call, budget)


def _call(unit: Unit, provider: BaseLLM, budget: Budget | None) -> _Call:
    tokens, is_recorded = _tokens(unit, provider)
    price = provider.price(unit.model).chosen
    with spending(budget):
        limits = limits_of(unit, provider)
        if provider.config.fallback:
            limits = limits._replace(worst_usd=worst_usd(unit))
    return _Call(tokens, is_recorded, cost(tokens, price).total_usd if price else None, limits)


def _add_call(sums: Estimate, call: _Call, budget: Budget | None) -> None:
    """Adds one live call, if the budget allows it."""
    if budget is not None:
        try:
            with budget.reserve(call.limits.reserve_usd, f"{sums.provider}, {sums.model}") as reservation:
                reservation.settle(call.usd or 0.0)
        except BudgetError as error:
            sums.over_budget += 1
            sums.problem = str(error)
            return
    sums.live += 1
    sums.prompt_tokens += call.tokens.prompt_tokens
    sums.completion_tokens += call.tokens.completion_tokens
    sums.counted += not call.is_recorded
    sums.cost_usd = add_usd((sums.cost_usd, call.usd))
    sums.worst_usd = add_usd((sums.worst_usd, call.limits.worst_usd))


def _tokens(unit: Unit, provider: BaseLLM) -> tuple[Tokens, bool]:
    """The tokens of one call, and whether they are those of the last recorded one; else counted from the texts."""
    if unit.path.is_file():
        used = [item.recorded.get("usage") for item in Cassette(unit.path).interactions]
        if known := [counts for counts in used if isinstance(counts, dict)]:
            return Tokens(**known[-1]), True
    case = unit.case
    asked = provider.request_text(case.prompt, case.source, unit.model, model_class=case.model_class())
    sent, written = (estimate_tokens(text, unit.model) for text in (asked, json.dumps(case.expected, indent=1)))
    return Tokens(sent, written), False
