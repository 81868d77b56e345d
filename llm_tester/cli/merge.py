"""The command `merge`: the results of a run whose parts were run on several machines."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from ..errors import ResultsError
from ..reports import terminal
from ..runs.results import RunResult
from ..runs.shards import merge as merged
from ..utils.cost_manager import CostReport
from ..utils.files import only_run_in
from . import COMPLETE, INCOMPLETE
from .console import console
from .report import load_runs, write_reports
from .run import check_outputs, say_written

__all__ = ["merge_parts"]


def merge_parts(results: Sequence[Path], output: Path, *, whole: bool = False) -> int:
    """Puts the results of the parts together, and prints them.

    Args:
        results: the output directories of the parts, or their results.json with the costs.json next to it.
        output: the directory to write into.
        whole: whether to print all rows and wrong fields, not only a screen of each.

    Returns:
        The exit code: whether every call has a reply.
    """
    parts = dict(load_runs(results))
    together = merged(parts)
    again = shlex.join(["llm-tester", "run", "--failed", "--output", str(output)])
    with only_run_in(output):
        check_outputs(output)
        costs = CostReport().merged(_costs(path, run, together) for path, run in parts.items())
        together.save(output / "results.json")
        costs.write(output / "costs.json")
        write_reports(output, together, None, again)
    terminal.show_results(console(), together, None, again, whole=whole)
    say_written(output)
    return INCOMPLETE if together.incomplete() or together.problems else COMPLETE


def _costs(path: Path, run: RunResult, whole: RunResult) -> CostReport:
    """The costs of a part, under the id of the whole run."""
    costs = path.with_name("costs.json")
    if not costs.exists():
        raise ResultsError(f"{costs}: there is no such file; keep it next to results.json, because it has the costs")
    return CostReport.load(costs).renamed(run.run_id, whole.run_id)
