"""What one call of a provider used of its cassette."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import LLMTesterError
from .hidden import raise_hidden
from .storage import Interaction

if TYPE_CHECKING:
    from .cassette import Cassette

__all__ = ["Call", "call", "running"]


@dataclass
class Call:
    """The interactions that one call of a provider used, while it runs.

    Attributes:
        replayed: those that came from a cassette.
        recorded: those that were written into one.
        cassette: the cassette they belong to, None where the call used none.
        error: the cassette's first error, which an SDK may wrap or swallow.
    """

    replayed: list[Interaction] = field(default_factory=list)
    recorded: list[Interaction] = field(default_factory=list)
    cassette: "Cassette | None" = None
    error: LLMTesterError | None = None

    @property
    def is_replay(self) -> bool:
        """Whether every reply of the call came from a cassette."""
        return bool(self.replayed) and not self.recorded

    @property
    def seconds(self) -> float | None:
        """The original seconds of the replayed interactions; None where the file does not say."""
        times = [interaction.recorded.get("seconds") for interaction in self.replayed]
        known = [float(seconds) for seconds in times if seconds is not None]
        return sum(known) if len(known) == len(times) and known else None

    def said(self, name: str) -> Any:
        """What the metadata of the last interaction says under a name; None where it says nothing."""
        last = (self.recorded or self.replayed)[-1:]
        return last[0].recorded.get(name) if last else None

    def note(self, **facts: Any) -> None:
        """Writes facts about the call (provider, model, usage, cost) into what it recorded, None left out."""
        if self.recorded and self.cassette:
            self.cassette.annotate(self.recorded[-1], {name: fact for name, fact in facts.items() if fact is not None})


running: ContextVar[Call | None] = ContextVar("llm_tester_call", default=None)


@contextlib.contextmanager
def call() -> Iterator[Call]:
    """Collects the interactions of one provider call, across the threads and tasks that carry its context.

    Raises:
        CassetteMismatch: something below swallowed or wrapped it.
        CassetteError: likewise.
    """
    scope = Call()
    token = running.set(scope)
    try:
        yield scope
    except Exception as error:
        raise_hidden(scope.error, error)
        raise
    else:
        raise_hidden(scope.error, None)
    finally:
        running.reset(token)
