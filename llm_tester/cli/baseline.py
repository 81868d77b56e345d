"""The command `baseline save`."""

from pathlib import Path

from ..runs.baseline import BASELINE
from ..runs.results import RunResult
from ..settings import activate, settings
from .console import say

__all__ = ["save_baseline"]


def save_baseline(file: Path, config: Path | None) -> None:
    """Copies results to the baseline.json next to the config."""
    activate(config)
    target = settings().directory / BASELINE
    results = RunResult.load(file)
    results.save(target)
    say(
        f"saved {file} (run {results.run_id} of {results.started_at}, {len(results.results)} results) as {target}",
    )
    if missing := len(results.incomplete()):
        say(f"{missing} of these results have no reply, and will not be compared", style="yellow")
    say("`llm-tester run` compares with it; add --fail-on-regression to fail if a model is worse")
