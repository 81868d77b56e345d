"""Results as flat records, and as a data frame of pandas or polars."""

import importlib
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .scoring import Counts

if TYPE_CHECKING:
    from .results import CaseResult

__all__ = ["COLUMNS", "data_frame", "record_of"]

# The columns and their types; docs/python.md explains them.
COLUMNS: dict[str, type] = {
    **dict.fromkeys(("module", "name", "variant", "provider", "model"), str),
    "repeat": int,
    "status": str,
    "accuracy": float,
    **dict.fromkeys((*Counts._fields, "prompt_tokens", "completion_tokens"), int),
    **dict.fromkeys(("cost_usd", "seconds"), float),
    "replayed": bool,
    **dict.fromkeys(("schema_mode", "error", "problem", "cassette", "run_id"), str),
}


def record_of(result: "CaseResult") -> dict[str, Any]:
    """A result as a flat dict with the names of `COLUMNS`; what is unknown is None."""
    counts, usage = result.counts, result.usage
    known: dict[str, Any] = counts._asdict() if counts else {}
    if usage:
        known |= {"cost_usd": usage.total_cost, "seconds": usage.elapsed_seconds, "replayed": usage.replayed}
        known |= {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
    return {name: known.get(name, getattr(result, name, None)) for name in COLUMNS}


def data_frame(records: list[dict[str, Any]]) -> Any:
    """The records as a `pandas.DataFrame`; without pandas, as a `polars.DataFrame`.

    Raises:
        ConfigError: neither is installed.
    """
    for name, columns in (("pandas", {"columns": list(COLUMNS)}), ("polars", {"schema": COLUMNS})):
        try:
            return importlib.import_module(name).DataFrame(records, **columns)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    raise ConfigError("to_dataframe() needs pandas or polars: pip install pandas")
