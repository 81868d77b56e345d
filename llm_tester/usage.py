"""What a call used and cost. The rules for numbers that cannot be true are in docs/prices.md."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Self, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field, model_validator

from .pricing import Cost, Price, Tokens, cost

__all__ = [
    "MOST_USD",
    "TOKEN_COUNTS",
    "Billed",
    "UsageData",
    "add_usd",
    "format_spent",
    "format_sum",
    "format_usd",
    "is_count",
    "well_formed",
]

# The totals with their parts, each with the name of its rate.
_INPUT = {"prompt_tokens": "input", "cached_tokens": "cached_input", "cache_write_tokens": "cache_write"}
_OUTPUT = {"completion_tokens": "output", "reasoning_tokens": "reasoning"}
TOKEN_COUNTS = (*_INPUT, *_OUTPUT)
# No context and no reply comes near it; a larger number is a fault of the server's.
_MOST_TOKENS = 10**12

_HALF = re.compile("[\ud800-\udfff]")

# No reply costs more. Larger amounts would make sums that no one can use, or no numbers at all.
MOST_USD = 1e9
_Count = Annotated[int, Field(ge=0, le=_MOST_TOKENS)]


class Billed(BaseModel):
    """What the provider itself says that it billed; it leads over any price list.

    Attributes:
        usd: USD for the whole reply, such as OpenRouter's `usage.cost`; None if it does not say.
        prompt_tokens: the input tokens it billed, such as Cohere's `billed_units`; None if it does not say.
        completion_tokens: the output tokens it billed; None if it does not say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd: float | None = Field(default=None, ge=0, le=MOST_USD, allow_inf_nan=False)
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None


_NOT_SAID = Billed()


class UsageData(BaseModel):
    """What one call used, what that costs, and how long it took.

    A count or an amount that cannot be true (negative, NaN, a text) raises nothing: it becomes 0 or None, and `notes`
    says what was found.

    Attributes:
        provider: the provider's name in the config.
        model: the requested model.
        answered_model: the model that answered, as the provider names it; None if it does not.
        prompt_tokens: all input tokens, those read from and written to a cache included.
        completion_tokens: all output tokens, reasoning included.
        cached_tokens: of the input, those read from the provider's cache.
        cache_write_tokens: of the input, those written to it.
        reasoning_tokens: of the output, those spent on reasoning.
        price: the rates used, in USD per million tokens, and where they came from; None if no source has one.
        prompt_cost: USD for the input; None if unknown.
        completion_cost: USD for the output; None if unknown.
        total_cost: USD for both and for the request itself; None if unknown.
        failed_cost: USD that earlier attempts of the call may have cost, at most; None if that is unknown.
        failed_seconds: seconds that the earlier attempts took, without the waits between them.
        unanswered: of the earlier attempts, how many may have been billed although no reply came.
        elapsed_seconds: seconds of the HTTP exchange, from the request to the whole reply; of a replay, as recorded.
        attempts: how often the call was tried.
        finish_reason: why the model stopped, in OpenAI's words (`stop`, `length`, …); None if it does not say.
        replayed: whether the reply came from a cassette.
        origin: the host or stand-in that answered; None if nothing was sent over HTTP.
        recorded_at: when a replayed reply was recorded, ISO 8601.
        price_note: what the two price sources disagree about, if they do.
        billed: what the provider itself says that it billed; None if it does not say.
        cost_source: where `total_cost` comes from: "provider" or the price's source; None if the cost is unknown.
        notes: what does not add up in the provider's own usage, one sentence each.
        priceable: whether the token counts can be priced; False if one of them was no count.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    provider: str = ""
    model: str = ""
    answered_model: str | None = None
    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0
    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    reasoning_tokens: _Count = 0
    price: Price | None = None
    prompt_cost: float | None = None
    completion_cost: float | None = None
    total_cost: float | None = None
    failed_cost: float | None = 0.0
    failed_seconds: float = Field(default=0.0, ge=0)
    unanswered: int = Field(default=0, ge=0)
    elapsed_seconds: float = Field(default=0.0, ge=0)
    attempts: int = Field(default=1, ge=1)
    finish_reason: str | None = None
    replayed: bool = False
    origin: str | None = None
    recorded_at: str | None = None
    price_note: str | None = None
    billed: Billed | None = None
    cost_source: str | None = None
    notes: tuple[str, ...] = ()
    priceable: bool = True

    @model_validator(mode="before")
    @classmethod
    def _keep_what_can_be_true(cls, given: Any) -> Any:
        return _believable(given) if isinstance(given, Mapping) else given

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def spent_usd(self) -> float | None:
        """USD that the reply took from an account: nothing for a replay; None if the cost is unknown."""
        return 0.0 if self.replayed else self.total_cost

    def priced(self, price: Price | None, note: str | None = None) -> Self:
        """The same usage at a price, or at what the provider itself billed.

        Args:
            price: USD per million tokens; None if unknown.
            note: what the price sources disagree about.

        Returns:
            A copy with the price, the costs and where they come from. The costs are None if the price is unknown, no
            tokens were reported, or they do not add up at this price; `notes` then says so.
        """
        tokens, notes = self._tokens(price)
        found: Cost | None = cost(tokens, price) if price and tokens else None
        if found and not found.total_usd <= MOST_USD:
            found, notes = None, [*notes, "the rates are too large for a cost"]
        total, source = (found.total_usd, price.source) if found and price else (None, None)
        if self.billed and self.billed.usd is not None:
            # What was billed is one sum; no one says how it divides into input and output.
            found, total, source = None, self.billed.usd, "provider"
        elif found and self.billed not in (None, _NOT_SAID):
            source = "provider"
        return self.model_copy(
            update={
                "price": price,
                "price_note": note,
                "prompt_cost": found.input_usd if found else None,
                "completion_cost": found.output_usd if found else None,
                "total_cost": total,
                "cost_source": source,
                "notes": tuple(dict.fromkeys([*self.notes, *notes])),
            }
        )

    def _tokens(self, price: Price | None) -> tuple[Tokens | None, list[str]]:
        """The tokens to price, and what does not add up; None if nothing honest can be priced."""
        billed = self.billed or _NOT_SAID
        if not self.priceable and None in (billed.prompt_tokens, billed.completion_tokens):
            return None, []
        counts = {name: getattr(self, name) for name in TOKEN_COUNTS}
        for billed_total, names in ((billed.prompt_tokens, _INPUT), (billed.completion_tokens, _OUTPUT)):
            if billed_total is not None:
                # It has no parts: what was billed has the plain rate.
                counts |= {**dict.fromkeys(names, 0), next(iter(names)): billed_total}
        if not counts["prompt_tokens"] and not counts["completion_tokens"]:
            return None, ["the provider reports no tokens"]
        checked = [_parts_checked(counts, names, price) for names in (_INPUT, _OUTPUT)]
        notes = [note for _, note in checked if note]
        if any(parts is None for parts, _ in checked):
            return None, notes
        return Tokens(**{name: count for parts, _ in checked for name, count in (parts or {}).items()}), notes


def _parts_checked(
    counts: Mapping[str, int], names: Mapping[str, str], price: Price | None
) -> tuple[dict[str, int] | None, str | None]:
    """A total and its parts as they can be priced, and a note if the parts are more than the total.

    Args:
        counts: all token counts by name.
        names: the names of the total and of its parts, each with the name of its rate.
        price: the price; None if unknown.
    """
    total, *parts = names
    if sum(counts[part] for part in parts) <= counts[total]:
        return {name: counts[name] for name in names}, None
    listed = " and ".join(f"{part} ({counts[part]})" for part in parts)
    note = f"{listed} exceed {total} ({counts[total]})"
    if price is None:
        return None, note
    rates = price.rates(counts["prompt_tokens"])
    if len({getattr(rates, rate) for rate in names.values()}) > 1:
        return None, f"{note}, and have another rate, so the cost is unknown"
    return {**dict.fromkeys(names, 0), total: counts[total]}, f"{note}; they have the same rate, so the cost is right"


def _believable(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `UsageData` without what cannot be true, and a note for each of these."""
    kept: dict[str, Any] = {name: value for name, value in given.items() if name not in TOKEN_COUNTS}
    notes = list(_bad_counts(given, kept))
    kept["priceable"] = bool(given.get("priceable", True)) and not notes
    for name in ("prompt_cost", "completion_cost", "total_cost", "elapsed_seconds"):
        value = kept.get(name)
        if _is_amount(value) and value <= MOST_USD:
            continue
        kept.pop(name, None)
        if value is not None:
            notes.append(f"the provider reports {name} as {_shown(value)}, which is no such number")
    for name in ("answered_model", "finish_reason"):
        said = kept.pop(name, None)
        if isinstance(said, str):
            kept[name] = well_formed(said)
    try:
        kept["billed"] = None if kept.get("billed") is None else Billed.model_validate(kept["billed"])
    except ValidationError:
        notes.append(f"the provider reports {_shown(kept.pop('billed'))} as what it billed, which is no such number")
    before = given.get("notes") or ()
    return {**kept, "notes": tuple(dict.fromkeys([*before, *notes]))}


def _bad_counts(given: Mapping[str, Any], kept: dict[str, Any]) -> Iterator[str]:
    """Keeps the token counts that are counts; a sentence for each that is not."""
    for name in TOKEN_COUNTS:
        value = given.get(name)
        if value is None:
            continue
        if (count := _count(value)) is None:
            yield f"the provider reports {name} as {_shown(value)}, which is no number of tokens"
        else:
            kept[name] = count
    missing = [name for name in ("prompt_tokens", "completion_tokens") if given.get(name, 0) is None]
    if len(missing) == 1:
        yield f"the provider does not report {missing[0]}"


def _count(value: object) -> int | None:
    """A number of tokens; None for what is none."""
    # No larger number is made an int: that of 1e308 has 309 digits.
    if not _is_amount(value) or value > _MOST_TOKENS or value != int(value):
        return None
    return int(value)


def is_count(value: object) -> TypeGuard[int]:
    """Whether a value is a number of tokens, as a JSON integer."""
    return type(value) is int and 0 <= value <= _MOST_TOKENS


def well_formed(text: str) -> str:
    """A text with U+FFFD for each half of a surrogate pair, which no file can hold."""
    return text if text.isascii() else _HALF.sub("\ufffd", text)


def _is_amount(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max


def _shown(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _MOST_TOKENS:
        return "a number of more than 12 digits"
    # Of an object of any other kind, its text may be anything, of any length.
    return repr(value)[:40] if isinstance(value, int | float | str) else type(value).__name__


def add_usd(amounts: Iterable[float | None]) -> float | None:
    """The sum of amounts in USD; None if one of them is unknown."""
    total = Decimal(0)
    for usd in amounts:
        if usd is None:
            return None
        # Decimal of the shortest text, so that a thousand tenths of a cent make a dollar.
        total += Decimal(repr(usd))
    return float(total)


def format_usd(usd: float | None, *, at_least: bool = False) -> str:
    """An amount for a person: `unknown`, `$0`, `$0.000123`, `$1.2825`, or `at least $…`."""
    if usd is None:
        return "unknown"
    # Four decimals from a cent on, four significant digits below: an amount that is not 0 never looks like it.
    text = "$0" if usd == 0 else f"${usd:.4f}" if usd >= 0.01 else f"${Decimal(f'{usd:.4g}'):f}"
    return f"at least {text}" if at_least else text


def format_sum(usd: float, unknown: int) -> str:
    """A sum for a person: `unknown` if nothing in it is known, `at least $…` if something is not."""
    return "unknown" if unknown and not usd else format_usd(usd, at_least=unknown > 0)


def format_spent(spent_usd: float, unknown: int, at_most_usd: float | None, unanswered: int) -> str:
    """What was spent, for a person: what is known, and next to it what else may have been billed.

    Args:
        spent_usd: USD that replies are known to have cost.
        unknown: live replies of unknown cost.
        at_most_usd: `spent_usd`, and USD that calls without a reply may have cost; None if that is unknown.
        unanswered: calls that may have been billed without a reply.
    """
    text = format_sum(spent_usd, unknown)
    if not unanswered or at_most_usd == spent_usd:
        return text
    calls = f"the {unanswered} calls without a reply were" if unanswered > 1 else "the call without a reply was"
    if at_most_usd is None:
        return f"{text}, and an unknown amount more if {calls} billed"
    if unknown:
        # With replies of unknown cost there is no sum that could be called the most.
        more = float(Decimal(repr(at_most_usd)) - Decimal(repr(spent_usd)))
        return f"{text}, and up to {format_usd(more)} more if {calls} billed"
    return f"{text}, at most {format_usd(at_most_usd)} if {calls} billed"
