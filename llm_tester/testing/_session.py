"""What the pytest plugin shares: the session's tally, its settings, and failures without a traceback of ours."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..cassettes.network import network

if TYPE_CHECKING:
    from ..cassettes import Cassette, Interaction
    from ..runs.results import CaseResult

__all__ = ["TALLY", "Tally", "again", "case_providers", "check_used", "failure", "guarded", "least_accuracy", "max_age"]

_LEAST_ACCURACY = 80.0


@dataclass
class Tally:
    """What the session did.

    Attributes:
        replies: how many were `replayed` and `recorded`.
        calls: how each call of a provider got its reply (`replayed`, `recorded` or `live`), and its usage.
        accuracies: that of each case that got a reply, 0 to 100, by the name of its test.
        refused: connections refused, by host.
        old: cassettes that are too old, with their days.
        opened: the cassettes of the tests that ran.
        places: the directories that hold them.
    """

    replies: Counter[str] = field(default_factory=Counter)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    accuracies: dict[str, float] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    old: dict[str, float] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)

    def count(self, replayed: int, recorded: int, path: str, age: float | None, limit: float | None) -> None:
        """Counts the replies of one cassette."""
        self.replies.update(replayed=replayed, recorded=recorded)
        if replayed and age is not None and limit is not None and age > limit:
            self.old[path] = age

    def add_cassette(self, cassette: Cassette, limit: float | None) -> None:
        """Counts the replies of a test's cassette, and what its recordings say that the calls cost."""
        self.count(cassette.replayed, cassette.recorded, str(cassette.path), cassette.age_days(), limit)
        for item in cassette.interactions:
            told, way = item.recorded, "recorded" if item.order else "replayed"
            if told.get("provider") and (item.order or item.was_used):
                names = {name: str(told.get(name)) for name in ("provider", "model")}
                cost = {"total_cost": told.get("cost_usd"), "replayed": not item.order}
                self.calls.append((way, {**dict(told.get("usage") or {}), **names, **cost}))

    def add_result(self, result: CaseResult, limit: float | None) -> None:
        """Counts the reply of a case."""
        if (usage := result.usage) is not None:
            way = "replayed" if usage.replayed else "recorded" if result.cassette else "live"
            self.count(int(way == "replayed"), int(way == "recorded"), result.cassette or "", result.age_days, limit)
            self.calls.append((way, usage.model_dump(mode="json")))

    def plain(self) -> dict[str, Any]:
        """All of it as data that pytest-xdist can send."""
        return {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()}

    def add(self, plain: Mapping[str, Any]) -> None:
        """Adds the counts of another process."""
        for name, value in plain.items():
            own = getattr(self, name)
            own.extend(value) if isinstance(own, list) else own.update(value)

    def cost_lines(self) -> Iterator[str]:
        """For each provider: its replies, their tokens, what was spent, and what the recordings cost that replayed."""
        if not self.calls:
            return
        from ..usage import UsageData, format_sum
        from ..utils.cost_manager import CostTracker

        costs = CostTracker()
        for way, usage in self.calls:
            costs.add("", way, "", UsageData.model_validate(usage))
        ways = costs.report().by("provider", "module")
        for (provider,), total in costs.report().by("provider").items():
            counts = ", ".join(f"{row.calls} {way}" for (name, way), row in ways.items() if name == provider)
            line = f"{provider}: {counts}; {total.prompt_tokens + total.completion_tokens:,} tokens; "
            old = ways.get((provider, "replayed"))
            recordings = f"; the recordings cost {format_sum(old.cost_usd, old.unknown)}" if old else ""
            yield f"{line}spent {total.spent_text}{recordings}"

    def shortfall(self, config: pytest.Config) -> str | None:
        """Says how far the mean accuracy of all cases is below what is wanted; None if it is not."""
        wanted, count = _least_mean(config), len(self.accuracies)
        if wanted is None or not count or (mean := sum(self.accuracies.values()) / count) >= wanted:
            return None
        below = f"{wanted - mean:.3g} below the wanted {wanted:g}"
        return f"FAIL: the mean accuracy of {count} case{'s' * (count > 1)} is {mean:.2f}, {below}"

    def unused_files(self) -> list[Path]:
        """Our cassettes in the directories of the tests that ran, which none of them opened."""
        found = {path for place in self.places for path in Path(place).rglob("*.y*ml") if str(path) not in self.opened}
        return sorted(path for path in found if path.read_bytes().startswith(b"format:"))


TALLY = pytest.StashKey[Tally]()


def failure(message: object) -> BaseException:
    """A failure that pytest shows as this message, without a traceback of ours."""
    return pytest.fail.Exception(str(message), pytrace=False)


def again(item: pytest.Item, mode: str) -> str:
    """The command that records a test."""
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    name = item.nodeid.partition("::")[2]
    return f"pytest {shlex.quote(f'{path}::{name}')} --llm-record {mode}"


def least_accuracy(config: pytest.Config) -> dict[str, float]:
    """The accuracy that cases must reach, by module; "" is for all others.

    Raises:
        pytest.UsageError: `llm_min_accuracy` or `llm_min_mean_accuracy` is unusable.
    """
    _least_mean(config)
    entries = [(entry, *entry.rpartition("=")[::2]) for entry in config.getini("llm_min_accuracy")]
    found = {module: _percent("llm_min_accuracy", number, entry) for entry, module, number in entries}
    return {"": _LEAST_ACCURACY, **found}


def _least_mean(config: pytest.Config) -> float | None:
    """The mean accuracy that all cases together must reach; None if that is not asked for."""
    name = "llm_min_mean_accuracy"
    given: str = config.getoption(name) or config.getini(name)
    return _percent(name, given, given) if given else None


def _percent(setting: str, number: str, entry: str) -> float:
    try:
        found = float(number)
    except ValueError:
        found = -1
    if not 0 <= found <= 100:
        form = ", or MODULE=NUMBER" if setting == "llm_min_accuracy" else ""
        raise pytest.UsageError(f"{setting}: found {entry!r}, expected 0 to 100{form}")
    return found


def max_age(config: pytest.Config) -> float | None:
    """Days after which a recording is listed as old; None for never."""
    from ..settings import settings

    given: float | None = config.getoption("llm_max_age")
    return settings().config.max_age if given is None else given


def case_providers(config: pytest.Config) -> list[str]:
    """The providers that cases run with."""
    from ..settings import settings

    named: str | None = config.getoption("llm_providers")
    if named is None:
        return settings().enabled_names()
    return [name.strip() for name in named.split(",") if name.strip()]


def guarded(config: pytest.Config, *, may_record: bool = False) -> contextlib.AbstractContextManager[None]:
    """Refuses connections that leave this machine, if the session asks for it and nothing is recorded."""
    leaving = config.getoption("llm_block_network") and not may_record
    return network.refusing(config.stash[TALLY].refused, leaving=leaving)


def check_used(path: Path, unused: list[Interaction], command: str) -> None:
    """Fails if interactions of a cassette were not used."""
    if unused:
        lines = [f"{path}: {len(unused)} of its interactions were not used:"]
        lines += [f"  {item.request['method']} {item.request['uri']}" for item in unused]
        raise failure("\n".join([*lines, f"to record again: {command}"]))
