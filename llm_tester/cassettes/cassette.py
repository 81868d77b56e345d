"""One cassette: what a file holds, what of it was replayed, and what is recorded into it."""

import functools
import importlib.metadata
import itertools
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from ..errors import CassetteError, CassetteMismatch, LLMTesterError
from . import _ignoring as ignoring
from . import bodies
from .calls import running
from .matching import key_of, mismatch
from .secrets import Scrubber, default_scrubber
from .storage import Interaction, check_path, check_writable, is_failure, kept_headers, load, save

__all__ = ["Again", "Cassette", "RecordMode", "check_mode", "reply_of", "versions"]

RecordMode = Literal["none", "once", "new_episodes", "all", "rewrite"]

# The command that records, by record mode: `once`, `new_episodes` or `rewrite`.
Again = str | Callable[[str], str]


def check_mode(mode: str) -> RecordMode:
    """The record mode of that name.

    Raises:
        CassetteError: there is none.
    """
    if mode not in get_args(RecordMode):
        raise CassetteError(f"record mode {mode!r} is unknown; expected one of {', '.join(get_args(RecordMode))}")
    return mode  # type: ignore[return-value]


class Cassette:
    """The interactions of one file.

    Args:
        path: the file.
        record: `none` replays only; `once` records if there is no file and replays if there is one; `new_episodes`
            replays what is there and records the rest; `all` records everything again and keeps what nothing asked
            for; `rewrite` records everything again and, at the end, drops what nothing asked for.
        origin: what answers, if it is not the host in the URL (`stand-in: …`).
        again: the command that records, for the error of a mismatch; a function gets the record mode.
        match_body: whether the bodies must be equal; False is for recordings of other projects.
        scrubber: removes secrets; the environment's if None.
        record_errors: whether failures are recorded and replayed too; for tests that are about errors.
        ignore: JSON paths of request bodies that are not matched on, such as `$.user`.
        shared: whether other tests use the file too, so that `rewrite` drops nothing.
        max_age: days after which a recording is replaced by the same reply too, so that it is no longer old.

    Attributes:
        path: the file, absolute.
        mode: the record mode.
        replays_only: whether nothing is sent.
        outer: the cassette that the same context used before.
        closed: whether it is no longer in use.
        error: its first error outside of a `call`, which an SDK may wrap or swallow.

    Raises:
        CassetteError: the file cannot be read, its path climbs, or the record mode is unknown.
    """

    def __init__(
        self,
        path: str | Path,
        record: str = "none",
        *,
        origin: str | None = None,
        again: Again | None = None,
        match_body: bool = True,
        scrubber: Scrubber | None = None,
        record_errors: bool = False,
        ignore: Sequence[str] = (),
        shared: bool = False,
        max_age: float | None = None,
    ) -> None:
        self.path = check_path(path)
        self.mode = check_mode(record)
        self.origin = origin
        self.match_body = match_body
        self.scrubber = scrubber or default_scrubber()
        self.record_errors = record_errors
        self.shared = shared
        self.max_age = max_age
        self._ignored = ignoring.parse(ignore)
        self._again = again or (lambda mode: f"open {path} with record={mode!r}")
        self.outer: Cassette | None = None
        self.closed = False
        self.error: LLMTesterError | None = None
        self._on_disk = _on_disk(self.path)
        self._loaded, self.metadata = load(self.path)
        self.replays_only = self.mode == "none" or (self.mode == "once" and self._on_disk is not None)
        self._can_write = False
        self._has_written = False
        self._recorded: list[Interaction] = []
        self._has_failed = False
        self._asked = itertools.count(1)
        self._lock = threading.RLock()
        self._waiting: dict[str, deque[Interaction]] = defaultdict(deque)
        self._errors: dict[str, Interaction] = {}
        self._played: set[int] = set()
        # What each recorded interaction replaces, by its id.
        self._replaced: dict[int, Interaction] = {}
        for interaction in self._loaded:
            # The file may come from plain vcrpy, or hold what a key known since then would scrub.
            interaction.key = self._key_of(self._clean(interaction.request))
            self._waiting[interaction.key].append(interaction)

    @functools.cached_property
    def real_path(self) -> Path:
        """The file, without links."""
        return self.path.resolve()

    def _key_of(self, request: Mapping[str, Any]) -> str:
        return key_of(request if self.match_body else {**request, "body": None})

    def again(self, mode: RecordMode) -> str:
        """The command that records, in a record mode."""
        return self._again if isinstance(self._again, str) else self._again(mode)

    def _clean(self, request: Mapping[str, Any]) -> dict[str, Any]:
        uri, body = self.scrubber.url(request["uri"]), self.scrubber.value(request["body"])
        return {**request, "uri": uri, "body": self._masked(body)}

    def _masked(self, body: dict[str, Any] | None) -> dict[str, Any] | None:
        if not self._ignored or not body or "json" not in body:
            return body
        return {"json": ignoring.masked(body["json"], self._ignored)}

    def asked(self, method: str, uri: str, headers: Mapping[str, list[str]], body: bytes) -> dict[str, Any]:
        """A request as it is written and matched: without secrets.

        Args:
            method: GET, POST and so on.
            uri: the whole address.
            headers: with lower-case names.
            body: its bytes.
        """
        return {
            "method": method.upper(),
            "uri": self.scrubber.url(uri),
            "headers": kept_headers(headers, self.scrubber),
            "body": self._masked(bodies.encode(body, headers.get("content-type", [""])[0], self.scrubber)),
            "order": next(self._asked),
        }

    def play(self, request: Mapping[str, Any]) -> Interaction | None:
        """The recorded interaction that answers a request; each answers once, a final error as often as asked.

        Args:
            request: what `asked` made of it.

        Returns:
            The interaction; None if the request is to be sent.

        Raises:
            CassetteMismatch: it was not recorded, and this cassette only replays.
        """
        if self.mode in ("all", "rewrite"):
            return None
        key = self._key_of(request)
        with self._lock:
            waiting = self._waiting.get(key)
            found = self._next(waiting) if waiting else self._errors.get(key)
            if found is not None:
                self._played.add(id(found))
                self._errors.pop(key, None)
                if found.is_failure:
                    self._errors[key] = found
        if found is None and self.replays_only:
            raise self._remembered(self._mismatch(request, key))
        scope = running.get()
        if found is not None and scope is not None:
            scope.replayed.append(found)
            scope.cassette = self
        return found

    def _next(self, waiting: deque[Interaction]) -> Interaction | None:
        """The next interaction to replay; a recorded failure is asked again if that is possible."""
        for interaction in waiting:
            if self.replays_only or self.record_errors or not interaction.is_failure:
                waiting.remove(interaction)
                return interaction
        return None

    def _mismatch(self, request: Mapping[str, Any], key: str) -> CassetteMismatch:
        recorded = [self._clean(interaction.request) for interaction in self._loaded]
        repeats = sum(interaction.key == key for interaction in self._loaded)
        mode: RecordMode = "new_episodes" if repeats else "rewrite" if recorded else "once"
        return mismatch(str(self.path), request, recorded, repeats, self.again(mode))

    def failures(self) -> list[Interaction]:
        """The interactions of the file that are failures."""
        return [interaction for interaction in self.interactions if interaction.is_failure]

    def prepare(self) -> None:
        """Makes sure, before the first request is sent, that its reply can be kept.

        Raises:
            CassetteError: the file cannot be written.
        """
        with self._lock:
            if not self._can_write:
                try:
                    check_writable(self.path)
                except CassetteError as error:
                    raise self._remembered(error) from error.__cause__
                self._can_write = True

    def _remembered(self, error: LLMTesterError) -> LLMTesterError:
        holder = running.get() or self
        holder.error = holder.error or error
        return error

    def record(self, request: dict[str, Any], response: Mapping[str, Any], seconds: float) -> None:
        """Adds an interaction and writes the file, so that a reply that was paid for is never lost.

        A failure is not recorded, and never takes the place of a reply, unless the cassette is to record errors.

        Args:
            request: what `asked` made of it.
            response: status, headers (lists, names in lower case) and body (bytes, not compressed).
            seconds: from the request to the whole reply.

        Raises:
            SecretFoundError: a secret would be in the file; the reply is not in it.
            CassetteError: the file cannot be written; likewise.
        """
        order = request.pop("order")
        if is_failure(request, response) and not self.record_errors:
            self._has_failed = True
            return
        headers = response["headers"]
        body = bodies.encode(response["body"], headers.get("content-type", [""])[0], self.scrubber)
        kept = {"status": response["status"], "headers": kept_headers(headers, self.scrubber), "body": body}
        origin = self.scrubber.text(self.origin or urlsplit(request["uri"]).netloc)
        facts = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "origin": origin, "seconds": round(seconds, 3)}
        new = Interaction(request, kept, facts, order, key=self._key_of(request))
        with self._lock:
            interaction = self._in_place(new)
            recorded = sorted([*self._recorded, interaction], key=lambda item: item.order)
            self._save(recorded)
            self._recorded = recorded
        if (scope := running.get()) is not None:
            scope.recorded.append(interaction)
            scope.cassette = self

    def _in_place(self, new: Interaction) -> Interaction:
        """Gives a recorded interaction the place of an old one: the first of the same request that is still unused.

        Returns:
            The old one if the reply is the same and not too old, so that recording it again changes no line; else the
            new one.
        """
        waiting = self._waiting[new.key]
        if not waiting:
            return new
        old = waiting.popleft()
        self._played.add(id(old))
        is_same = (old.request, old.response) == (new.request, new.response)
        found = old if is_same and not self._is_too_old(old) else new
        found.order = new.order
        self._replaced[id(found)] = old
        return found

    def annotate(self, interaction: Interaction, facts: Mapping[str, Any]) -> None:
        """Adds facts to an interaction's metadata and writes the file; what is on disk already stays as it is.

        Raises:
            CassetteError: the file cannot be written.
        """
        with self._lock:
            if all(interaction is not old for old in self._replaced.values()):
                interaction.recorded.update(self.scrubber.value(dict(facts)))
                interaction.text = None
                self._save(self._recorded)

    def finish(self) -> None:
        """Ends a `rewrite`: what nothing asked for goes, unless nothing was recorded, or something failed.

        Raises:
            CassetteError: the file cannot be written.
        """
        with self._lock:
            if self.mode == "rewrite" and self._recorded and not self._has_failed and not self.shared:
                anew = {id(interaction) for interaction in self._recorded}
                self._write([item for item in self._merged(self._recorded) if id(item) in anew])

    def _save(self, recorded: list[Interaction]) -> None:
        try:
            self._write(self._merged(recorded))
        except CassetteError as error:
            raise self._remembered(error) from error.__cause__

    def _write(self, interactions: list[Interaction]) -> None:
        if interactions == self._loaded and self._on_disk is not None and not self._has_written:
            return
        if self._on_disk is not None and (now := _on_disk(self.path)) is not None and now != self._on_disk:
            raise CassetteError(
                f"{self.path}: was changed since it was opened, by another process or an editor; it was left as it is. "
                "Open it again, and give each process that records a file of its own"
            )
        self.metadata = {**self.metadata, "versions": versions()}
        save(self.path, interactions, self.metadata, self.scrubber)
        self._has_written = True
        self._on_disk = _on_disk(self.path)

    def _merged(self, recorded: list[Interaction]) -> list[Interaction]:
        anew = {id(self._replaced[id(new)]): new for new in recorded if id(new) in self._replaced}
        merged = [anew.get(id(old), old) for old in self._loaded]
        return merged + [new for new in recorded if id(new) not in self._replaced]

    @property
    def interactions(self) -> list[Interaction]:
        """What the file holds, with what was recorded since it was opened."""
        with self._lock:
            return self._merged(self._recorded)

    def unused(self) -> list[Interaction]:
        """The interactions of the file that nothing asked for so far."""
        with self._lock:
            return [interaction for interaction in self._loaded if id(interaction) not in self._played]

    def age_days(self) -> float | None:
        """Days since the oldest interaction was recorded; None if the file does not say."""
        ages = [age for interaction in self._loaded if (age := _age_days(interaction)) is not None]
        return max(ages, default=None)

    def _is_too_old(self, interaction: Interaction) -> bool:
        age = _age_days(interaction)
        return self.max_age is not None and age is not None and age > self.max_age


def _age_days(interaction: Interaction) -> float | None:
    date = _date(interaction.recorded.get("at"))
    return (datetime.now(UTC) - date).total_seconds() / 86400 if date else None


def _date(text: object) -> datetime | None:
    try:
        date = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _on_disk(path: Path) -> tuple[int, int, int] | None:
    """What tells one version of a file from the next; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def reply_of(interaction: Interaction) -> tuple[int, dict[str, list[str]], bytes]:
    """Status, headers and body of a recorded reply, as a client gets them."""
    response = interaction.response
    return response["status"], dict(response["headers"]), bodies.decode(response["body"])


@functools.cache
def _versions() -> dict[str, str]:
    names = {"llm_tester": "llm_tester", "litellm": "litellm", "pydantic-ai": "pydantic-ai-slim", "vcrpy": "vcrpy"}
    return {name: importlib.metadata.version(distribution) for name, distribution in names.items()}


def versions() -> dict[str, str]:
    """The versions of llm_tester and of the libraries that make the calls."""
    return dict(_versions())
