"""What the pytest plugin shares: the session's tally, its settings, and failures without a traceback of ours."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..cassettes.network import network

if TYPE_CHECKING:
    from ..cassettes import Interaction

__all__ = ["TALLY", "Tally", "again", "case_providers", "check_used", "failure", "guarded", "least_accuracy", "max_age"]

_LEAST_ACCURACY = 80.0


@dataclass
class Tally:
    """What the session did.

    Attributes:
        replies: how many were `replayed` and `recorded`.
        refused: connections refused, by host.
        old: cassettes that are too old, with their days.
        opened: the cassettes of the tests that ran.
        places: the directories that hold them.
    """

    replies: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    old: dict[str, float] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)

    def count(self, replayed: int, recorded: int, path: str, age: float | None, limit: float | None) -> None:
        """Counts the replies of one cassette."""
        self.replies.update(replayed=replayed, recorded=recorded)
        if replayed and age is not None and limit is not None and age > limit:
            self.old[path] = age

    def plain(self) -> dict[str, Any]:
        """All of it as data that pytest-xdist can send."""
        return {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()}

    def add(self, plain: Mapping[str, Any]) -> None:
        """Adds the counts of another process."""
        for name, value in plain.items():
            getattr(self, name).update(value)

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
        pytest.UsageError: `llm_min_accuracy` is unusable.
    """
    found = {"": _LEAST_ACCURACY}
    for entry in config.getini("llm_min_accuracy"):
        module, _, number = entry.rpartition("=")
        try:
            found[module] = float(number)
        except ValueError:
            found[module] = -1
        if not 0 <= found[module] <= 100:
            raise pytest.UsageError(f"llm_min_accuracy: found {entry!r}, expected 0 to 100, or MODULE=NUMBER")
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
