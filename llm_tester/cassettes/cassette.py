"""One cassette: what a file holds, what of it was replayed, and what is recorded into it."""

import contextlib
import importlib.metadata
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from ..errors import CassetteError
from .matching import key_of, mismatch
from .secrets import Scrubber, default_scrubber
from .storage import Interaction, check_path, decode_body, encode_body, kept_headers, load, save

__all__ = ["Call", "Cassette", "RecordMode", "call", "check_mode", "versions"]

RecordMode = Literal["none", "once", "new_episodes", "all", "rewrite"]

# A reply with one of these may have been tried again; the rest is an answer.
_TRIED_AGAIN = frozenset({408, 409, 429, *range(500, 600)})


def check_mode(mode: str) -> RecordMode:
    """The record mode of that name.

    Raises:
        CassetteError: there is none.
    """
    if mode not in get_args(RecordMode):
        raise CassetteError(f"record mode {mode!r} is unknown; expected one of {', '.join(get_args(RecordMode))}")
    return mode  # type: ignore[return-value]


@dataclass
class Call:
    """The interactions that one call of a provider used, while it runs.

    Attributes:
        replayed: those that came from a cassette.
        recorded: those that were written into one.
        cassette: the cassette they belong to, None where the call used none.
    """

    replayed: list[Interaction] = field(default_factory=list)
    recorded: list[Interaction] = field(default_factory=list)
    cassette: "Cassette | None" = None

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


_call: ContextVar[Call | None] = ContextVar("llm_tester_call", default=None)


@contextlib.contextmanager
def call() -> Iterator[Call]:
    """Collects the interactions of one provider call, across the threads and tasks that carry its context."""
    scope = Call()
    token = _call.set(scope)
    try:
        yield scope
    finally:
        _call.reset(token)


class Cassette:
    """The interactions of one file.

    Args:
        path: the file.
        record: `none` replays only; `once` records where there is no file and replays where there is one;
            `new_episodes` replays what is there and records the rest; `all` records everything anew and keeps what
            nothing asked for; `rewrite` records everything anew into an empty file.
        origin: what answers, where it is not the host in the URL (`stand-in: …`).
        again: the command that records again, for the error of a mismatch.
        match_body: whether the bodies must be equal; False is for recordings of other projects.
        scrubber: removes secrets; the environment's where None.

    Raises:
        CassetteError: the file cannot be read, its path climbs, or the record mode is unknown.
    """

    def __init__(
        self,
        path: str | Path,
        record: str = "none",
        *,
        origin: str | None = None,
        again: str | None = None,
        match_body: bool = True,
        scrubber: Scrubber | None = None,
    ) -> None:
        self.path = check_path(path)
        self.mode = check_mode(record)
        self.origin = origin
        self.match_body = match_body
        self.scrubber = scrubber or default_scrubber()
        self.again = again or f"delete {path}, or open it with record='rewrite'"
        existed = self.path.exists()
        self._loaded, self.metadata = load(self.path)
        self.replays_only = self.mode == "none" or (self.mode == "once" and existed)
        self._recorded: list[tuple[str, Interaction, Call | None]] = []
        self._failures: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        self._waiting: dict[str, deque[Interaction]] = defaultdict(deque)
        self._errors: dict[str, Interaction] = {}
        self._played: set[int] = set()
        if self.mode not in ("all", "rewrite"):
            for interaction in self._loaded:
                self._waiting[self._key(interaction)].append(interaction)

    def _key(self, interaction: Interaction) -> str:
        # The file may come from plain vcrpy, or hold what a key known since then would scrub.
        return self._key_of(self.request(interaction.request))

    def _key_of(self, request: Mapping[str, Any]) -> str:
        return key_of(request if self.match_body else {**request, "body": None})

    def request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A request as it is written and matched: without secrets."""
        return {
            "method": request["method"].upper(),
            "uri": self.scrubber.url(request["uri"]),
            "headers": kept_headers(request.get("headers") or {}, self.scrubber),
            "body": self.scrubber.value(request["body"]),
        }

    def play(self, request: Mapping[str, Any]) -> Interaction | None:
        """The recorded interaction that answers a request; each answers once, a final error as often as asked.

        Args:
            request: what `request` made of it.

        Returns:
            The interaction; None where the request is to be sent.

        Raises:
            CassetteMismatch: it was not recorded, and this cassette only replays.
        """
        key = self._key_of(request)
        with self._lock:
            waiting = self._waiting.get(key)
            found = waiting.popleft() if waiting else self._errors.get(key)
            if found is not None:
                self._played.add(id(found))
                if found.response["status"] >= 400:
                    self._errors[key] = found
            elif self.replays_only:
                raise mismatch(str(self.path), request, self._loaded, key in self._waiting, self.again)
        scope = _call.get()
        if found is not None and scope is not None:
            scope.replayed.append(found)
            scope.cassette = self
        return found

    def failed(self, kind: str, seconds: float) -> None:
        """Notes an attempt that came to no reply; it goes into the metadata of the next interaction."""
        with self._lock:
            self._failures.append({"error": kind, "seconds": round(seconds, 3)})

    def record(self, request: dict[str, Any], response: Mapping[str, Any], seconds: float) -> None:
        """Adds an interaction and writes the file, so that a reply that was paid for is never lost.

        Args:
            request: what `request` made of it.
            response: status, headers (lists) and body (bytes, decoded).
            seconds: from the request to the whole reply.

        Raises:
            CassetteError: the file cannot be written.
        """
        kept = {
            "status": response["status"],
            "headers": kept_headers(response["headers"], self.scrubber),
            "body": self._scrubbed(response["body"]),
        }
        facts: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "origin": self.origin or urlsplit(request["uri"]).netloc,
            "seconds": round(seconds, 3),
        }
        interaction = Interaction(request, kept, facts)
        scope, key = _call.get(), self._key_of(request)
        with self._lock:
            if attempts := self._earlier_attempts(key, scope):
                facts["attempts"] = attempts
            interaction = self._same_as_before(key, interaction)
            self._recorded.append((key, interaction, scope))
            self._save()
        if scope is not None:
            scope.recorded.append(interaction)
            scope.cassette = self

    def _scrubbed(self, body: bytes) -> dict[str, Any] | None:
        return self.scrubber.value(encode_body(body)) if body else None

    def _earlier_attempts(self, key: str, scope: Call | None) -> list[dict[str, Any]]:
        failures, self._failures = self._failures, []
        if self._recorded:
            last_key, last, last_scope = self._recorded[-1]
            status = last.response["status"]
            if last_key == key and last_scope is scope and status in _TRIED_AGAIN:
                # The SDK or we tried again: the refusal is part of how this reply came about, not a reply of its own.
                self._recorded.pop()
                if scope is not None:
                    scope.recorded.remove(last)
                tried = {"status": status, "seconds": last.recorded["seconds"]}
                return [*last.recorded.get("attempts", []), tried, *failures]
        return failures

    def _same_as_before(self, key: str, new: Interaction) -> Interaction:
        """The interaction on disk where the reply is the same, so that recording it again changes no line."""
        for old in self._loaded:
            if old.response == new.response and id(old) not in self._played and self._key(old) == key:
                self._played.add(id(old))
                return old
        return new

    def annotate(self, interaction: Interaction, facts: Mapping[str, Any]) -> None:
        """Adds facts to an interaction's metadata and writes the file; what is on disk already stays as it is."""
        with self._lock:
            if any(old is interaction for old in self._loaded):
                return
            interaction.recorded.update(self.scrubber.value(dict(facts)))
            interaction.text = None
            self._save()

    def _save(self) -> None:
        interactions = self._merged()
        if interactions == self._loaded and self.path.exists():
            return
        self.metadata = {**self.metadata, "versions": versions()}
        save(self.path, interactions, self.metadata, self.scrubber)

    def _merged(self) -> list[Interaction]:
        recorded = [interaction for _, interaction, _ in self._recorded]
        if self.mode == "rewrite":
            return recorded
        if self.mode != "all":
            return self._loaded + recorded
        anew: dict[str, list[Interaction]] = defaultdict(list)
        for key, interaction, _ in self._recorded:
            anew[key].append(interaction)
        merged: list[Interaction] = []
        seen: set[str] = set()
        for old in self._loaded:
            key = self._key(old)
            if key not in anew:
                merged.append(old)
            elif key not in seen:
                seen.add(key)
                merged += anew[key]
        return merged + [new for key, group in anew.items() if key not in seen for new in group]

    @property
    def interactions(self) -> list[Interaction]:
        """What the file holds, with what was recorded since it was opened."""
        with self._lock:
            return self._merged()

    def unused(self) -> list[Interaction]:
        """The interactions of the file that nothing asked for so far."""
        with self._lock:
            return [interaction for interaction in self._loaded if id(interaction) not in self._played]

    def age_days(self) -> float | None:
        """Days since the oldest interaction was recorded; None where the file does not say."""
        times = [interaction.recorded.get("at") for interaction in self._loaded]
        dates = [datetime.fromisoformat(str(at)) for at in times if at]
        return (datetime.now(UTC) - min(dates)).total_seconds() / 86400 if dates else None


def reply_of(interaction: Interaction) -> tuple[int, dict[str, list[str]], bytes]:
    """Status, headers and body of a recorded reply, as a client gets them."""
    response = interaction.response
    return response["status"], dict(response["headers"]), decode_body(response["body"])


def versions() -> dict[str, str]:
    """The versions of llm_tester and of the libraries that make the calls."""
    names = {"llm_tester": "llm_tester", "litellm": "litellm", "pydantic-ai": "pydantic-ai-slim", "vcrpy": "vcrpy"}
    return {name: importlib.metadata.version(distribution) for name, distribution in names.items()}
