"""One cassette: what its file holds, what was replayed from it, and what is recorded into it."""

import contextlib
import copy
import itertools
import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import CassetteError, CassetteMismatch, LLMTesterError
from . import _ignoring as ignoring
from . import bodies, hooks, secrets, storage
from .calls import running
from .forks import lock_of, stored
from .matching import Request, key_of, mismatch
from .modes import RecordMode, check_mode
from .reading import load
from .secrets import Scrubber
from .storage import Interaction, check_path, check_writable, is_failure, kept_headers

__all__ = ["Again", "Cassette"]

log = logging.getLogger("llm_tester")

# The command that records, by record mode: `once`, `new_episodes` or `rewrite`.
Again = str | Callable[[str], str]

# Up to so many interactions, a file is written as a whole to replace one; above, what is new is appended first.
_FEW = 16


class Cassette:
    """The interactions of one file.

    Args:
        path: the file.
        record: `none` replays only; `once` records if there is no file and replays if there is one; `new_episodes`
            replays what is there and records the rest; `all` records everything again and keeps what was not asked
            for; `rewrite` records everything again and, at the end, drops what was not asked for.
        origin: what answers, if it is not the host in the URL (`stand-in: …`).
        again: the command that records, for the error of a mismatch; a function gets the record mode.
        match_body: whether the bodies must be equal; False is for recordings of other projects.
        scrubber: redacts secrets; by default those of the environment.
        record_errors: whether failures are recorded and replayed too; for tests that are about errors.
        ignore: JSON paths of request bodies that are not matched on, such as `$.user`.
        shared: whether other tests use the file too, so that `rewrite` drops nothing.
        mismatch: the class of the error for a request that was not recorded.

    Attributes:
        path: the file, absolute.
        mode: the record mode.
        replays_only: whether nothing is sent.
        replayed: how many requests it answered.
        recorded: how many replies it recorded.
        outer: the cassette that the same context used before.
        closed: whether it is no longer in use.
        error: its first error outside of a `call`, which an SDK may wrap or swallow.

    Raises:
        CassetteError: the file cannot be read, or the record mode is unknown.
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
        mismatch: type[CassetteMismatch] = CassetteMismatch,
    ) -> None:
        self.path = check_path(path)
        self.mode = check_mode(record)
        self.origin = origin
        self.match_body = match_body
        self._scrubber = scrubber
        self._changes, self.scrubber = secrets.changes(), scrubber or secrets.default_scrubber()
        self.record_errors = record_errors
        self.shared = shared
        self.outer: Cassette | None = None
        self.closed = False
        self.error: LLMTesterError | None = None
        self.replayed = self.recorded = 0
        self._mismatch = mismatch
        self._hooks = hooks.current()
        self._ignored = ignoring.parse((*ignore, *self._hooks.ignore))
        self._again = again or (lambda mode: f"open {path} with record={mode!r}")
        self._version = storage.version_of(self.path)
        self._loaded, self.metadata, self._head = load(self.path)
        # What the file holds: what it held, with new recordings in place of their old ones, then what was added.
        self._items = list(self._loaded)
        self._unwritten: dict[int, Interaction] = {}
        self.replays_only = self.mode == "none" or (self.mode == "once" and self._version is not None)
        # The last: whether the end of the file holds what belongs in the place of another interaction.
        self._can_write = self._has_failed = self._has_replaced = False
        self._order = itertools.count(1)
        self._lock = lock_of(threading.RLock)
        self._waiting: dict[str, deque[Interaction]] = defaultdict(deque)
        self._errors: dict[str, Interaction] = {}
        depends_on = (self.scrubber, self._ignored, match_body)
        for interaction in self._loaded:
            if (key := interaction.keys.get(depends_on)) is None:
                # The file may come from plain vcrpy, or hold a secret that was not known when it was recorded.
                key = interaction.keys[depends_on] = self._key_of(self._clean(interaction.request))
            interaction.key = key
            self._waiting[interaction.key].append(interaction)

    @stored
    def real_path(self) -> Path:
        """The file, with links resolved."""
        return self.path.resolve()

    def _key_of(self, request: Mapping[str, Any]) -> str:
        return key_of(request if self.match_body else {**request, "body": None})

    def again(self, mode: RecordMode) -> str:
        """The command that records in a record mode."""
        return self._again if isinstance(self._again, str) else self._again(mode)

    def _clean(self, request: Mapping[str, Any]) -> dict[str, Any]:
        uri, body = self.scrubber.url(request["uri"]), self.scrubber.body(request["body"])
        return {**request, "uri": uri, "body": self._masked(body)}

    def _masked(self, body: dict[str, Any] | None) -> dict[str, Any] | None:
        if not self._ignored or not body or "json" not in body:
            return body
        return {"json": ignoring.masked(body["json"], self._ignored)}

    def request(self, method: str, uri: str, headers: Mapping[str, list[str]], body: bytes) -> Request:
        """A client's request as it is matched and written.

        Args:
            method: GET, POST and so on.
            uri: the whole address.
            headers: with lower-case names.
            body: its bytes.
        """
        if self._changes != secrets.changes() and self._scrubber is None:
            # Settings that were read since then know more secrets.
            self._changes, self.scrubber = secrets.changes(), secrets.default_scrubber()
        parts = {
            "method": method.upper(),
            "uri": self.scrubber.url(uri),
            "headers": kept_headers(headers, self.scrubber),
            "body": self._masked(bodies.encode(body, headers.get("content-type", [""])[0], self.scrubber)),
        }
        return Request(parts, self._key_of(parts), next(self._order))

    def play(self, request: Request) -> Interaction | None:
        """The recorded interaction that answers a request. Each replays once, in order; a final error repeats.

        Returns:
            The interaction; None if the request is to be sent.

        Raises:
            CassetteMismatch: it was not recorded, and this cassette only replays.
        """
        if self.mode in ("all", "rewrite"):
            return None
        with self._lock:
            key = self._key_in_file(request)
            waiting = self._waiting.get(key)
            found = self._next(waiting) if waiting else self._errors.get(key)
            if found is not None:
                found.was_used = True
                self.replayed += 1
                self._errors.pop(key, None)
                if found.is_failure:
                    self._errors[key] = found
        if found is None and self.replays_only:
            raise self._remembered(self._mismatch_of(request))
        if found is not None and (hook := self._hooks.before_replay):
            found = self._applied("llm_before_replay", hook, found)
        scope = running.get()
        if found is not None and scope is not None:
            scope.replayed.append(found)
            scope.cassette = self
        return found

    def _applied(self, name: str, hook: hooks.Hook, given: Interaction) -> Interaction | None:
        """What a test's function makes of a copy of an interaction; only before recording may it be None.

        Raises:
            CassetteError: it raised something, or gave what is no interaction.
        """
        try:
            made = hook(Interaction(*copy.deepcopy((given.request, given.response, given.recorded)), given.order))
            if made is not None or name == "llm_before_replay":
                _ = [bodies.decode(part["body"]) for part in (made.request, made.response)]  # type: ignore[union-attr]
        except Exception as error:
            problem = f"{self.path}: {name} failed or gave no interaction: {type(error).__name__}: {error}"
            raise self._remembered(CassetteError(problem)) from error
        return made

    def _as_recorded(self, given: Interaction) -> Interaction | None:
        """An interaction as the test's function leaves it, and then without secrets; None if it is to be dropped."""
        if (hook := self._hooks.before_record) is None:
            return given
        if (made := self._applied("llm_before_record", hook, given)) is None:
            return None
        request, response = (
            {**part, "headers": kept_headers(part["headers"], self.scrubber)} for part in (made.request, made.response)
        )
        request, response["body"] = self._clean(request), self.scrubber.body(response["body"])
        recorded = self.scrubber.value(made.recorded)
        return replace(made, request=request, response=response, recorded=recorded, key=self._key_of(request))

    def _in_file(self, request: Request, like: Interaction) -> Interaction | None:
        """What a request would be in the file if it had the reply of an interaction there."""
        return self._as_recorded(Interaction(request.parts, like.response, like.recorded, key=request.key))

    def _key_in_file(self, request: Request) -> str:
        """The key of a request in the file, where the test's function may have changed it."""
        if self._hooks.before_record and request.key not in self._waiting and request.key not in self._errors:
            first = {key: waiting[0] for key, waiting in self._waiting.items() if waiting} | self._errors
            for key, like in first.items():
                if (made := self._in_file(request, like)) is not None and made.key == key:
                    return key
        return request.key

    def _next(self, waiting: deque[Interaction]) -> Interaction | None:
        """The next interaction to replay; if it can, a cassette asks again instead of replaying a failure."""
        for interaction in waiting:
            if self.replays_only or self.record_errors or not interaction.is_failure:
                waiting.remove(interaction)
                return interaction
        return None

    def _mismatch_of(self, request: Request) -> CassetteMismatch:
        recorded = [self._clean(interaction.request) for interaction in self._loaded]
        if self._loaded and (new := self._in_file(request, self._loaded[0])):
            request = replace(request, parts=new.request, key=new.key)
        repeats = sum(interaction.key == request.key for interaction in self._loaded)
        mode: RecordMode = "new_episodes" if repeats else "rewrite" if recorded else "once"
        return self._mismatch(mismatch(self.path, request.parts, recorded, repeats, self.again(mode)), str(self.path))

    @property
    def interactions(self) -> list[Interaction]:
        """What the file holds now, in its order."""
        with self._lock:
            return list(self._items)

    def failures(self) -> list[Interaction]:
        """The interactions that are failures."""
        return [interaction for interaction in self.interactions if interaction.is_failure]

    def prepare(self) -> None:
        """Checks, before the first request is sent, that its reply can be kept.

        Raises:
            StorageError: the file cannot be written.
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

    def record(self, request: Request, response: Mapping[str, Any], seconds: float) -> None:
        """Adds an interaction; it is written at once, or, within a `call`, when that ends or gets its next reply.

        A failure is not recorded, and never replaces a reply, unless the cassette records errors.

        Args:
            request: the request.
            response: status, headers (lists, names in lower case) and body (bytes, decompressed).
            seconds: from sending the request to the end of the reply.

        Raises:
            SecretFoundError: a secret would be in the file; the reply was not written.
            CassetteError: the file cannot be written; the reply was not written.
        """
        if is_failure(request.parts, response) and not self.record_errors:
            self._has_failed = True
            return
        headers = response["headers"]
        body = bodies.encode_reply(response["body"], headers.get("content-type", [""])[0], self.scrubber)
        kept = {"status": response["status"], "headers": kept_headers(headers, self.scrubber), "body": body}
        origin = self.scrubber.text(self.origin or urlsplit(request.parts["uri"]).netloc)
        facts = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "origin": origin, "seconds": round(seconds, 3)}
        new = self._as_recorded(Interaction(request.parts, kept, facts, request.order, key=request.key))
        if new is None:
            log.warning("%s: llm_before_record drops %s %s", self.path, request.parts["method"], request.parts["uri"])
            return
        scope = running.get()
        if scope is not None:
            scope.write()
            scope.recorded.append(new)
            scope.cassette = self
        with self._lock:
            self._unwritten[id(new)] = new
            if scope is None:
                self.write([new])

    def write(self, interactions: Iterable[Interaction]) -> None:
        """Writes those of its recorded interactions that are not in the file yet.

        Raises:
            SecretFoundError: a secret would be in the file; the reply was not written.
            CassetteError: the file cannot be written; the reply was not written.
        """
        with self._lock:
            for interaction in interactions:
                if self._unwritten.pop(id(interaction), None):
                    self._write(interaction)
                    self.recorded += 1

    def _write(self, new: Interaction) -> None:
        """Puts an interaction in the place of its old recording, else at the end."""
        number = len(self._items)
        if is_again := bool(waiting := self._waiting[new.key]):
            old = waiting.popleft()
            old.was_used = True
            number = next(index for index, item in enumerate(self._items) if item is old)
        is_small = is_again and len(self._items) <= _FEW
        if is_small or storage.version_of(self.path) is None or self._head != storage.head_of(self._new_metadata()):
            self._save([*self._items[:number], new, *self._items[number + 1 :]])
            return
        with self._changing():
            storage.append(self.path, new, number, self.scrubber, is_again=is_again)
        self._items[number : number + 1] = [new]
        self._has_replaced |= is_again

    def finish(self) -> None:
        """Writes what is not in the file yet, and puts what was added in the order of its requests.

        Ends a `rewrite`: drops what was not asked for, unless nothing was recorded or a request failed.

        Raises:
            CassetteError: the file cannot be written.
        """
        with self._lock:
            self.write([*self._unwritten.values()])
            kept, added = self._items[: len(self._loaded)], self._items[len(self._loaded) :]
            if self.mode == "rewrite" and self.recorded and not self._has_failed and not self.shared:
                kept = [interaction for interaction in kept if interaction.order]
            items = [*kept, *sorted(added, key=lambda item: item.order)]
            if self._has_replaced or list(map(id, items)) != list(map(id, self._items)):
                self._save(items)

    def close(self) -> None:
        """Puts what replaced another interaction into its place in the file, however the block ended.

        Raises:
            CassetteError: the file cannot be written; it replays as it should.
        """
        self.closed = True
        with self._lock:
            if self._has_replaced:
                self._save(self._items)

    def _new_metadata(self) -> dict[str, Any]:
        return {**self.metadata, "versions": storage.versions()}

    def _save(self, items: list[Interaction]) -> None:
        metadata = self._new_metadata()
        with self._changing():
            head = storage.save(self.path, items, metadata, self.scrubber)
        self._items, self.metadata, self._head, self._has_replaced = items, metadata, head if items else None, False

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Checks that the file is still as it was last seen, and remembers it as it is then."""
        try:
            if self._version is not None and storage.version_of(self.path) not in (None, self._version):
                raise CassetteError(
                    f"{self.path}: another process or an editor changed it since it was opened; it was left as it is. "
                    "Open it again, and give each process that records its own file"
                )
            yield
        except CassetteError as error:
            raise self._remembered(error) from error.__cause__
        self._version = storage.version_of(self.path)

    def unused(self) -> list[Interaction]:
        """The interactions that the file held when it was opened and that no request asked for so far."""
        with self._lock:
            return [interaction for interaction in self._loaded if not interaction.was_used]

    def age_days(self) -> float | None:
        """Days since the oldest interaction was recorded; None if the file does not say."""
        return max((age for interaction in self._loaded if (age := interaction.age_days) is not None), default=None)
