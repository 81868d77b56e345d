"""The facts about a call that the HTML page shows with its result."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..pricing import Price
from ..runs.results import CaseResult
from ..usage import Billed, UsageData, format_usd
from ..utils.files import links_from

__all__ = ["Paths", "facts_of", "time_text"]


class Paths:
    """Paths of this machine as the page shows them: relative, so that they say nothing about the machine.

    Args:
        directory: where the page will be; links start there.
    """

    def __init__(self, directory: Path) -> None:
        self.link = links_from(directory)
        here = Path.cwd()
        above = "|".join(re.escape(f"{folder}{os.sep}") for folder in (here, *here.parents[:-1]))
        # Not in the middle of a path or an address.
        self._absolute = re.compile(rf"(?<![\w./-])(?:{above})")

    def in_text(self, text: str) -> str:
        """A text with its paths from the working directory, where the commands in it are run."""
        return self._absolute.sub(lambda match: f"{os.path.relpath(match[0])}{os.sep}".removeprefix("./"), text)


def time_text(iso: str) -> str:
    """A time in ISO 8601 as people read it."""
    return iso.replace("T", " ").replace("+00:00", " UTC")


def facts_of(result: CaseResult) -> Iterator[tuple[str, str]]:
    """The facts about a call, as names and texts."""
    yield "origin", result.source_of_reply
    if result.fallback:
        yield "answered by the fallback", result.fallback
    if (counts := result.counts) is not None:
        yield "values", str(counts)
    if result.usage is not None:
        yield from _usage_facts(result.usage)
    else:
        yield "attempts", str(result.attempts)
        yield "seconds of failed attempts", f"{result.failed_seconds:.2f}"
    if result.unanswered:
        yield "attempts without a reply", _unanswered(result.unanswered, result.failed_cost)
    if result.age_days is not None:
        yield "age of the recording", f"{result.age_days:.1f} days" + (", older than max_age" if result.old else "")


def _usage_facts(usage: UsageData) -> Iterator[tuple[str, str]]:
    parts = {"read from cache": usage.cached_tokens, "written to cache": usage.cache_write_tokens}
    yield "input tokens", _with_parts(usage.prompt_tokens, parts)
    yield "output tokens", _with_parts(usage.completion_tokens, {"reasoning": usage.reasoning_tokens})
    yield "cost", format_usd(usage.total_cost)
    if usage.prompt_cost is not None:
        yield "cost of input, output", f"{format_usd(usage.prompt_cost)}, {format_usd(usage.completion_cost)}"
    yield "price", "unknown: no source has one" if usage.price is None else _price_text(usage.price)
    if usage.price_note:
        yield "price sources", usage.price_note
    if usage.billed is not None:
        yield "billed by the provider", _billed(usage.billed)
    for note in usage.notes:
        yield "note", note
    if usage.unanswered:
        yield "attempts without a reply", _unanswered(usage.unanswered, usage.failed_cost)
    yield "seconds", f"{usage.elapsed_seconds:.2f}" + (" when it was recorded" if usage.replayed else "")
    yield "attempts", str(usage.attempts)
    yield "finish reason", usage.finish_reason or "not said"
    if usage.answered_model:
        yield "answered by", usage.answered_model
    if usage.recorded_at:
        yield "recorded", time_text(usage.recorded_at)


def _unanswered(attempts: int, usd: float | None) -> str:
    bound = "at an unknown cost" if usd is None else f"for up to {format_usd(usd)}"
    return f"{attempts}, which may have been billed {bound}"


def _billed(billed: Billed) -> str:
    counts = {"input tokens": billed.prompt_tokens, "output tokens": billed.completion_tokens}
    parts = [format_usd(billed.usd)] if billed.usd is not None else []
    return ", ".join([*parts, *(f"{count:,} {name}" for name, count in counts.items() if count is not None)])


def _with_parts(total: int, parts: Mapping[str, int]) -> str:
    named = [f"{count:,} {name}" for name, count in parts.items() if count]
    return f"{total:,}" + (f" ({', '.join(named)})" if named else "")


def _price_text(price: Price) -> str:
    rates = {
        "input": price.input,
        "output": price.output,
        "cached input": price.cached_input,
        "cache write": price.cache_write,
        "reasoning": price.reasoning,
    }
    text = ", ".join(f"{format_usd(rate)} {name}" for name, rate in rates.items() if rate is not None)
    request = f", {format_usd(price.per_request)} a request" if price.per_request else ""
    tiers = ", ".join(f"other rates above {tier.above_tokens:,} input tokens" for tier in price.tiers[:1])
    return f"{text} per million tokens{request}{', ' + tiers if tiers else ''} (source: {price.source})"
