"""The cassette file: YAML that a person can review. What is new is appended; any other change replaces the file.

    format: 1
    metadata: {versions: ...}
    interactions:
    - request: {method, uri, headers, body}
      response: {status, headers, body}
      recorded: {at, origin, seconds, provider, model, answered, usage, cost_usd, attempts}
    # end

`bodies` says what a body is. `replaces: 3`, above a request, says that it belongs in the place of the fourth one: a
block that records a large file again puts all in their places when it ends. The last line of an interaction says that
it is whole: a process that is killed while it appends may leave a part of one, which `reading` then leaves out.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import CassetteError, SecretFoundError, StorageError
from . import bodies
from .layout import written
from .secrets import Scrubber
from .temporary import remove_stale, temporary_of

__all__ = [
    "END",
    "FORMAT",
    "KEPT_HEADERS",
    "Interaction",
    "append",
    "cassette_path",
    "check_path",
    "check_writable",
    "head_of",
    "is_failure",
    "kept_headers",
    "reply_of",
    "save",
    "version_of",
    "versions",
]

FORMAT = 1
END = "# end\n"

# Headers that a client needs to read the body, to wait, or to tell an error; every other header may hold a key, an
# account or a date.
KEPT_HEADERS = frozenset(
    {
        *("accept", "content-encoding", "content-type", "location", "operation-location"),
        *("retry-after", "retry-after-ms", "x-amzn-errortype", "x-should-retry"),
    }
)

_LONGEST_PART = 200
# Bytes that there must be room for before a request is sent: as much as most replies need.
_ROOM = 64 * 1024
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")


@dataclass
class Interaction:
    """One request with its reply.

    Attributes:
        request: method, uri, headers and body, already without secrets.
        response: status, headers and body, already without secrets and decoded.
        recorded: when and from what it was recorded, and what it cost; empty in a plain vcrpy cassette.
        order: the number of its request since the cassette was opened; 0 if it was in the file.
        text: its text in the file, once that is known.
        key: what a request must have in common with it to be answered by it, once that is known.
        was_used: whether a request asked for it since the cassette was opened.
        keys: its keys by what they depend on; one dict for all copies.
        checked: the scrubbers that found no secret in its text; one set for all copies.
        replaces: the number of the interaction whose place it takes when the file is read; None if it has its own.
    """

    request: dict[str, Any]
    response: dict[str, Any]
    recorded: dict[str, Any] = field(default_factory=dict)
    order: int = field(default=0, repr=False, compare=False)
    text: str | None = field(default=None, repr=False, compare=False)
    key: str = field(default="", repr=False, compare=False)
    was_used: bool = field(default=False, repr=False, compare=False)
    keys: dict[Any, str] = field(default_factory=dict, repr=False, compare=False)
    checked: set[Scrubber] = field(default_factory=set, repr=False, compare=False)
    replaces: int | None = field(default=None, repr=False, compare=False)

    def copy(self) -> "Interaction":
        """Another one that was not used, with the same request and reply."""
        request, response, recorded = {**self.request}, {**self.response}, {**self.recorded}
        return replace(self, request=request, response=response, recorded=recorded, order=0, key="", was_used=False)

    @property
    def age_days(self) -> float | None:
        """Days since it was recorded; None if it does not say."""
        try:
            date = datetime.fromisoformat(str(self.recorded.get("at")))
        except ValueError:
            return None
        return (datetime.now(UTC) - (date if date.tzinfo else date.replace(tzinfo=UTC))).total_seconds() / 86400

    @property
    def is_failure(self) -> bool:
        """Whether the reply is an error, or HTML in reply to JSON."""
        return is_failure(self.request, self.response)


def is_failure(request: Mapping[str, Any], response: Mapping[str, Any]) -> bool:
    """Whether a reply is a failure, which is not recorded unless a test is about errors.

    Args:
        request: its headers, names in lower case.
        response: its status and headers, names in lower case.

    Returns:
        True for a status of 400 and above, and for HTML in reply to JSON: a proxy's login page.
    """
    sent, received = (" ".join(part["headers"].get("content-type", [])).lower() for part in (request, response))
    return response["status"] >= 400 or ("json" in sent and "html" in received)


def cassette_path(root: str | Path, *parts: str) -> Path:
    """The file of a cassette: a directory a part under `root`, safe on every file system, without collisions.

    A part stays as it is if it is lower-case letters, digits, `.`, `_` and `-`. Other characters are
    percent-encoded as in a URL; a part with capitals (which some file systems do not tell apart), a reserved name, or
    one of over 200 bytes gets `~` and eight digits of its SHA-256.

    Args:
        root: the directory of the cassettes.
        parts: module, case, provider and model.

    Returns:
        `root/<part>/…/<last part>.yaml`
    """
    *folders, last = (_safe(part) for part in parts)
    return Path(root, *folders, f"{last}.yaml")


@functools.lru_cache(maxsize=1024)
def _safe(part: str) -> str:
    raw = part.encode("utf-8", "surrogatepass")
    encoded = quote(raw, safe="").replace("~", "%7E")
    if _RESERVED.match(encoded):
        # Windows looks at what is before the first dot.
        encoded = encoded.replace(".", "%2E", 1) + "~"
    plain = encoded.strip(".") == encoded and "~" not in encoded
    if plain and part == part.lower() and 0 < len(encoded) <= _LONGEST_PART:
        return encoded
    return f"{encoded.strip('.~')[:_LONGEST_PART]}~{hashlib.sha256(raw).hexdigest()[:8]}"


def check_path(path: str | Path) -> Path:
    """The absolute path of a cassette.

    Args:
        path: the file, absolute or from the working directory.

    Raises:
        CassetteError: it is a directory.
    """
    given = Path(path)
    if given.is_dir():
        raise CassetteError(f"{given}: is a directory, expected the cassette's file; add a name such as 'case.yaml'")
    return given.absolute()


def version_of(path: Path) -> tuple[int, int, int] | None:
    """What differs between two versions of a file: inode, time and size; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def kept_headers(headers: Mapping[str, list[str]], scrubber: Scrubber) -> dict[str, list[str]]:
    """The headers that may be written, sorted; names are lower-case."""
    kept = {name: [scrubber.url(value) for value in headers[name]] for name in sorted(KEPT_HEADERS & headers.keys())}
    if boundary := bodies.boundary_of(kept.get("content-type", [""])[0]):
        kept["content-type"] = [value.replace(boundary, "boundary") for value in kept["content-type"]]
    return kept


def reply_of(interaction: Interaction) -> tuple[int, dict[str, list[str]], bytes]:
    """Status, headers and body of a recorded reply, as a client gets them."""
    response = interaction.response
    return response["status"], dict(response["headers"]), bodies.decode(response["body"])


@functools.cache
def versions() -> dict[str, str]:
    """The versions of llm_tester and of the libraries that make the calls; one dict for all, not to be changed."""
    names = {"llm_tester": "llm_tester", "litellm": "litellm", "pydantic-ai": "pydantic-ai-slim", "vcrpy": "vcrpy"}
    return {name: importlib.metadata.version(distribution) for name, distribution in names.items()}


def head_of(metadata: Mapping[str, Any]) -> str:
    """What is above the first interaction."""
    return written({"format": FORMAT, "metadata": dict(metadata)}) + "interactions:\n"


def save(path: Path, interactions: Sequence[Interaction], metadata: Mapping[str, Any], scrubber: Scrubber) -> str:
    """Replaces a cassette's file, so that a kill at any moment leaves the old one or the new one.

    Args:
        path: the file.
        interactions: what to write.
        metadata: what to write about them.
        scrubber: knows the secrets that must not be in it.

    Returns:
        What is above the first interaction.

    Raises:
        SecretFoundError: a secret is still in it; nothing was written.
        StorageError: the file cannot be written; the old one is as it was.
    """
    head = head_of(metadata)
    _check(path, head, {"metadata": dict(metadata)}, scrubber)
    items = [_checked(path, interaction, number, scrubber) for number, interaction in enumerate(interactions)]
    with _reported(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, head + "".join(items) if items else head.removesuffix("\n") + " []\n")
    return head


def append(path: Path, interaction: Interaction, number: int, scrubber: Scrubber, *, is_again: bool = False) -> None:
    """Adds an interaction at the end of a file whose list of interactions ends there.

    Args:
        path: the file.
        interaction: what to write.
        number: its place among the interactions, counted from 0.
        scrubber: knows the secrets that must not be in it.
        is_again: whether it replaces the interaction of that number, which stays in the file until `save`.

    Raises:
        SecretFoundError: a secret is still in it; nothing was written.
        StorageError: it cannot be written; the file is as it was.
    """
    text = _checked(path, interaction, number, scrubber)
    if is_again:
        text = f"- replaces: {number}\n  {text.removeprefix('- ')}"
    data = text.encode(errors="replace")
    with _reported(path), path.open("r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(size)
            raise


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error}); the old file is unchanged") from error


def _checked(path: Path, interaction: Interaction, number: int, scrubber: Scrubber) -> str:
    """The text of an interaction, looked through for secrets."""
    parts = {"request": interaction.request, "response": interaction.response, "recorded": interaction.recorded}
    text = interaction.text or written([parts])
    if scrubber not in interaction.checked:
        _check(path, text, {f"interactions[{number}]": parts}, scrubber)
        interaction.checked.add(scrubber)
    interaction.text = text
    return text + END


def _check(path: Path, text: str, value: dict[str, Any], scrubber: Scrubber) -> None:
    if found := scrubber.find(text):
        name, inner = next(iter(value.items()))
        place, what = next(scrubber.places(inner, name), (name, found[0]))
        raise SecretFoundError(
            f"{path}: not written, because {place} would hold {what} and it cannot be redacted there; remove it from "
            "the prompt, the source or the params"
        )


def check_writable(path: Path) -> None:
    """Checks that a cassette could be written, with a reply of usual size, so that none is paid for and lost.

    Args:
        path: the file; its directory is made.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path.parent)
        temporary = temporary_of(path)
        try:
            with temporary.open("xb") as file:
                file.write(bytes(_ROOM))
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error}); nothing was sent") from error


def _replace(path: Path, text: str) -> None:
    temporary = temporary_of(path)
    try:
        with temporary.open("x", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
