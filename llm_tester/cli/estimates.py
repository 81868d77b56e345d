"""What `run --dry-run` prints."""

from collections.abc import Sequence

from ..estimate import Estimate
from ..usage import format_usd
from .console import say, say_items

__all__ = ["show_estimates"]

_NUMBERS = ("live calls", "replayed", "in", "out", "cost", "at most")


def show_estimates(estimates: Sequence[Estimate], *, as_json: bool = False) -> None:
    """Prints what a run would call and cost, by provider and model, as a table or JSON, and the sum."""
    say("dry run: nothing was called", "bold")
    say_items(estimates, map(_row, estimates), as_json=as_json, numbers=_NUMBERS)
    known = [item.cost_usd for item in estimates if item.cost_usd is not None]
    total = format_usd(sum(known), at_least=len(known) < len(estimates)) if known or not estimates else "unknown"
    say(f"{sum(item.live for item in estimates)} live calls, estimated cost {total}")
    for item in estimates:
        if item.needs:
            say(f"{item.provider}, {item.model}: a live call needs a key: {item.needs}", "yellow")
        if item.problem:
            count = item.skipped + item.over_budget
            say(f"{item.provider}, {item.model}, {count} not called: {item.problem}", "yellow")
    if any(item.counted for item in estimates):
        say("≈: tokens counted from the texts; the others are those of the recordings")


def _row(item: Estimate) -> dict[str, str]:
    about = "≈" if item.counted else ""
    return {
        "provider and model": f"{item.provider}:{item.model}",
        "schema": ", ".join(item.schema_modes) or "—",
        "live calls": str(item.live),
        "replayed": str(item.replayed),
        "in": f"{about}{item.prompt_tokens}",
        "out": f"{about}{item.completion_tokens}",
        "cost": format_usd(item.cost_usd),
        "at most": format_usd(item.worst_usd),
    }
