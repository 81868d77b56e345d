"""What a run would call and cost, before a cent is spent."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from .cassettes import Cassette
from .llm_tester import LLMTester, Unit, plan
from .llms.base import BaseLLM, joined_prompt
from .pricing import Tokens, cost, estimate_tokens

__all__ = ["Estimate", "estimate"]


class Estimate(BaseModel):
    """What one provider and model would be called for.

    Attributes:
        live: calls that would be made.
        replayed: calls that would be answered by cassettes.
        skipped: calls that would not be made, because nothing is recorded and no key is set.
        prompt_tokens: input tokens of the live calls: of the recording where there is one, else counted.
        completion_tokens: output tokens likewise; counted from the length of the expected JSON.
        counted: the live calls whose tokens are counted, not recorded.
        cost_usd: USD for these tokens; None where the price is unknown.
        worst_usd: USD at most: every byte a token, and all the output that is allowed; None where unknown.
    """

    model_config = ConfigDict(frozen=True)

    provider: str
    model: str
    live: int = 0
    replayed: int = 0
    skipped: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    counted: int = 0
    cost_usd: float | None = 0.0
    worst_usd: float | None = 0.0


class _Guess(NamedTuple):
    tokens: Tokens
    recorded: bool


def estimate(
    tester: LLMTester, modules: Iterable[str] = (), *, record: str = "auto", repeats: int = 1
) -> list[Estimate]:
    """What `tester.run_tests` with the same arguments would call and cost, by provider and model.

    Args:
        tester: the providers and cases.
        modules: the names of the modules wanted; all where empty.
        record: the record mode.
        repeats: how often each unit would be run.

    Returns:
        An estimate for each provider and model, in the order of the providers.
    """
    found: dict[tuple[str, str], Estimate] = {}
    for unit in tester.units(modules, record=record, repeats=repeats):
        place = (unit.provider, unit.model)
        before = found.get(place) or Estimate(provider=unit.provider, model=unit.model)
        found[place] = _with(before, unit, tester.manager.instance(unit.provider))
    return list(found.values())


def _with(before: Estimate, unit: Unit, provider: BaseLLM) -> Estimate:
    planned = plan(unit, provider)
    if planned.skip:
        return before.model_copy(update={"skipped": before.skipped + unit.repeats})
    live = planned.live
    update: dict[str, object] = {"live": before.live + live, "replayed": before.replayed + unit.repeats - live}
    if live:
        guess = _guess(unit)
        price = provider.price(unit.model).chosen
        case = unit.case
        worst = provider.worst_case_usd(
            case.prompt, case.source, unit.model, model_class=case.model_class(), files=case.attachments()
        )
        update |= {
            "prompt_tokens": before.prompt_tokens + live * guess.tokens.prompt_tokens,
            "completion_tokens": before.completion_tokens + live * guess.tokens.completion_tokens,
            "counted": before.counted + (0 if guess.recorded else live),
            "cost_usd": _plus(before.cost_usd, cost(guess.tokens, price).total_usd * live if price else None),
            "worst_usd": _plus(before.worst_usd, worst * live if worst is not None else None),
        }
    return before.model_copy(update=update)


def _plus(one: float | None, two: float | None) -> float | None:
    return None if one is None or two is None else one + two


def _guess(unit: Unit) -> _Guess:
    if unit.path.is_file():
        used = [item.recorded.get("usage") for item in Cassette(unit.path).interactions]
        if known := [counts for counts in used if isinstance(counts, dict)]:
            return _Guess(Tokens(**known[-1]), recorded=True)
    case = unit.case
    schema = json.dumps(case.model_class().model_json_schema())
    prompt = estimate_tokens(joined_prompt(case.prompt, case.source) + schema)
    return _Guess(Tokens(prompt, estimate_tokens(json.dumps(case.expected, indent=1))), recorded=False)
