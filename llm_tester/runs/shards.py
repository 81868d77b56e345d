"""Divides a run among machines that share nothing, and puts their results together again."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import ConfigError, ResultsError
from ..usage import add_usd
from .again import record_of
from .results import CaseRecord, CaseResult, RunResult, Shard
from .units import Unit

__all__ = ["merge", "parse_shard", "part_of", "shard_of"]


def parse_shard(text: str) -> tuple[int, int]:
    """The number of a part and of all parts, from `2/8`.

    Raises:
        ConfigError: it has another form, or there is no such part.
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= of:
        raise ConfigError(f"the shard {text!r} is unusable; expected K/N with K from 1 to N, such as 2/8")
    return number, of


def shard_of(units: Sequence[Unit], number: int, of: int) -> tuple[Shard, list[Unit]]:
    """One part of the units; each unit is in exactly one of the parts.

    A part has as many cases of each model as another, give or take one. It does not depend on the order of the models.

    Args:
        units: all units.
        number: the part, from 1.
        of: the number of parts.
    """
    columns = tuple(dict.fromkeys(unit.column for unit in units))
    ranks = {column: rank for rank, column in enumerate(sorted(columns))}
    cases: dict[tuple[str, str, str], int] = {}
    digest = hashlib.sha256(repr((sorted(columns), units[0].repeats if units else 0)).encode())
    chosen: list[Unit] = []
    for unit in units:
        if unit.case.key not in cases:
            cases[unit.case.key] = len(cases)
            digest.update(record_of(unit.case).model_dump_json().encode("utf-8", "surrogatepass"))
        if (cases[unit.case.key] + ranks[unit.column]) % of == number - 1:
            chosen.append(unit)
    return Shard(number=number, of=of, digest=digest.hexdigest()[:16], columns=columns), chosen


def part_of(
    units: list[Unit], shard: tuple[int, int] | None, previous: RunResult | None
) -> tuple[Shard | None, list[Unit]]:
    """The units of a part of a run.

    Args:
        units: all units.
        shard: the part, from 1, and the number of parts; that of `previous` if None.
        previous: earlier results.

    Returns:
        Which part it is, and its units; None and all units if the run is not divided.

    Raises:
        ConfigError: the earlier results are of another part.
    """
    old = previous.shard if previous else None
    if previous and shard and (old is None or (old.number, old.of) != shard):
        found = f"of part {old.number}/{old.of}" if old else "of a whole run"
        raise ConfigError(f"the earlier results are {found}, not of part {shard[0]}/{shard[1]}; name no part")
    number, of = (old.number, old.of) if old else shard or (0, 0)
    return shard_of(units, number, of) if of else (None, units)


def merge(parts: Mapping[Path, RunResult]) -> RunResult:
    """The results of a whole run from those of all its parts.

    Args:
        parts: the results by their files.

    Returns:
        The results as if one machine had made them, with the run's id of part 1. What was spent and the limits are
        added up, and the seconds are those of the slowest part.

    Raises:
        ResultsError: a file has no part, or one of another run; or a part is missing or there twice.
    """
    shards = _checked(parts)
    runs = [run for _, run in sorted(parts.items(), key=lambda item: shards[item[0]].number)]
    first, columns = runs[0], next(iter(shards.values())).columns
    cases: dict[tuple[str, str, str], CaseRecord] = {case.key: case for run in runs for case in run.cases}
    results = [_renamed(result, run, first) for run in runs for result in run.results]
    order = {column: rank for rank, column in enumerate(columns)}
    results.sort(key=lambda item: (item.key, order.get(item.column, len(order)), item.column, item.repeat))
    return first.model_copy(
        update={
            "shard": None,
            "started_at": min(run.started_at for run in runs),
            "seconds": max(run.seconds for run in runs),
            "max_cost": add_usd(run.max_cost for run in runs),
            "spent_usd": add_usd(run.spent_usd for run in runs),
            "spent_unknown": sum(run.spent_unknown for run in runs),
            "at_most_usd": add_usd(run.at_most_usd for run in runs),
            "unanswered": sum(run.unanswered for run in runs),
            "problems": {name: problem for run in runs for name, problem in run.problems.items()},
            "schemas": {name: schema for run in runs for name, schema in run.schemas.items()},
            "cases": tuple(cases[key] for key in sorted(cases)),
            "results": tuple(results),
        }
    )


def _renamed(result: CaseResult, run: RunResult, first: RunResult) -> CaseResult:
    # What an earlier run made, and `--failed` kept, has that run's id.
    return result.model_copy(update={"run_id": first.run_id}) if result.run_id == run.run_id else result


def _checked(parts: Mapping[Path, RunResult]) -> dict[Path, Shard]:
    shards: dict[Path, Shard] = {}
    files: dict[int, Path] = {}
    for path, run in parts.items():
        shard = run.shard
        if shard is None:
            raise ResultsError(f"{path}: has a whole run; `merge` takes the results of `run --shard K/N`")
        known = next(iter(shards), path)
        if known in shards and (shard.digest, shard.of) != (shards[known].digest, shards[known].of):
            raise ResultsError(
                f"{path}: is part of another run than {known} (cases, models, repeats or the number of parts differ); "
                "run all parts from the same files with the same options"
            )
        if shard.number in files:
            raise ResultsError(f"{path}: part {shard.number} of {shard.of} is also {files[shard.number]}; remove one")
        shards[path], files[shard.number] = shard, path
    of = next((shard.of for shard in shards.values()), 0)
    if missing := [number for number in range(1, of + 1) if number not in files]:
        some = ", ".join(f"{number}/{of}" for number in missing)
        raise ResultsError(f"the results of the parts {some} are missing; name them too")
    return shards
