"""The cassette file: YAML that a person can review, replaced as a whole or not at all.

    format: 1
    metadata: {versions: ...}
    interactions:
    - request: {method, uri, headers, body}
      response: {status, headers, body}
      recorded: {at, origin, seconds, provider, model, answered, usage, cost_usd, attempts}

`bodies` says what a body is. Plain vcrpy cassettes (`version: 1`, bodies as strings) are read as well, and written back
in this format.
"""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from ..errors import CassetteError, SecretFoundError
from . import bodies
from .layout import written
from .secrets import Scrubber

__all__ = [
    "FORMAT",
    "Interaction",
    "cassette_path",
    "check_path",
    "check_writable",
    "is_failure",
    "kept_headers",
    "load",
    "save",
]

FORMAT = 1

# Headers that a client needs to read the body, to wait, or to tell an error; every other header may hold a key, an
# account or a date.
_KEPT_HEADERS = frozenset(
    {
        *("accept", "content-encoding", "content-type", "location", "operation-location"),
        *("retry-after", "retry-after-ms", "x-amzn-errortype", "x-should-retry"),
    }
)

_LONGEST_PART = 200
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
    """

    request: dict[str, Any]
    response: dict[str, Any]
    recorded: dict[str, Any] = field(default_factory=dict)
    order: int = field(default=0, repr=False, compare=False)
    text: str | None = field(default=None, repr=False, compare=False)
    key: str = field(default="", repr=False, compare=False)
    was_used: bool = field(default=False, repr=False, compare=False)

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


class _Loader(yaml.CSafeLoader):
    """Reads scalars as text: a date without quotes stays the text that a body had."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own way of saying it)
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":merge", ":value"))]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def load(path: Path) -> tuple[list[Interaction], dict[str, Any]]:
    """Reads a cassette.

    Args:
        path: the file.

    Returns:
        Its interactions and its metadata; both empty if there is no file.

    Raises:
        CassetteError: it cannot be read or decoded, or has a format this version does not know. It stays as it is.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.load(text, Loader=_Loader)
    except FileNotFoundError:
        return [], {}
    except OSError as error:
        raise CassetteError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise CassetteError(f"{path}: is not UTF-8 text ({error}); the file was left as it is") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise CassetteError(
            f"{path}{line}: not YAML ({getattr(error, 'problem', None) or error}); restore the file, or delete it and "
            "record again"
        ) from error
    if isinstance(data, list):
        raise CassetteError(f"{path}: was written by vcrpy before 1.0; record it again")
    if not isinstance(data, dict) or not isinstance(data.get("interactions"), list):
        raise CassetteError(f"{path}: holds no list of interactions; restore the file, or delete it and record again")
    _check_format(path, data)
    if "&" in text and "*" in text and not _fits(data, len(text)):
        raise CassetteError(f"{path}: its YAML aliases unfold to more than the file holds; record it again")
    try:
        return [_read(item) for item in data["interactions"]], dict(data.get("metadata") or {})
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CassetteError(f"{path}: an interaction is not whole ({error!r}); record it again") from error


def _check_format(path: Path, data: Mapping[str, Any]) -> None:
    if "format" in data and data["format"] != FORMAT:
        raise CassetteError(
            f"{path}: has format {data['format']!r}, this llm_tester reads format {FORMAT}: upgrade llm_tester"
        )
    if "format" not in data and data.get("version") != 1:
        raise CassetteError(f"{path}: has vcrpy's format {data.get('version')!r}, expected 1: record it again")


def _fits(data: Any, limit: int) -> bool:
    """Whether a tree has at most so many nodes; without aliases each takes at least a character of the file."""
    waiting = [data]
    while waiting and limit > 0:
        node = waiting.pop()
        limit -= 1
        if isinstance(node, dict | list):
            waiting += node.values() if isinstance(node, dict) else node
    return not waiting


def _read(item: Mapping[str, Any]) -> Interaction:
    request, response = dict(item["request"]), dict(item["response"])
    request["headers"], response["headers"] = _lists(request.get("headers")), _lists(response.get("headers"))
    request["method"], request["uri"] = str(request["method"]), str(request["uri"])
    request.setdefault("body", None)
    response.setdefault("body", None)
    if isinstance(status := response["status"], dict):
        # vcrpy's way of writing it: bodies as they came over the wire, and every header.
        response["status"] = status["code"]
        request["body"] = _from_vcrpy(request["body"], request["headers"])
        response["body"] = _from_vcrpy((response["body"] or {}).get("string"), response["headers"])
    if not isinstance(response["status"], int):
        raise ValueError(f"the status is {response['status']!r}")
    bodies.decode(request["body"])
    bodies.decode(response["body"])
    return Interaction(request, response, dict(item.get("recorded") or {}))


def _lists(headers: Mapping[str, Any] | None) -> dict[str, list[str]]:
    return {
        str(name).lower(): [str(value) for value in (values if isinstance(values, list) else [values])]
        for name, values in (headers or {}).items()
        if str(name).lower() in _KEPT_HEADERS
    }


def _from_vcrpy(body: str | bytes | None, headers: dict[str, list[str]]) -> dict[str, Any] | None:
    raw = body.encode() if isinstance(body, str) else body or b""
    # Some of vcrpy's stubs keep the header of a body that they have decoded already.
    plain = bodies.uncompressed(raw, headers) if "content-encoding" in headers else None
    headers.pop("content-encoding", None)
    kind = headers.get("content-type", [""])[0]
    return bodies.encode(raw if plain is None else plain, kind, Scrubber())


def kept_headers(headers: Mapping[str, list[str]], scrubber: Scrubber) -> dict[str, list[str]]:
    """The headers that may be written, sorted; names are lower-case."""
    kept = {name: [scrubber.url(value) for value in headers[name]] for name in sorted(_KEPT_HEADERS & headers.keys())}
    if boundary := bodies.boundary_of(kept.get("content-type", [""])[0]):
        kept["content-type"] = [value.replace(boundary, "boundary") for value in kept["content-type"]]
    return kept


def dump(interactions: Iterable[Interaction], metadata: Mapping[str, Any]) -> str:
    """The text of a cassette's file."""
    head = written({"format": FORMAT, "metadata": dict(metadata)})
    items = [item.text or _written(item) for item in interactions]
    return f"{head}interactions:\n{''.join(items)}" if items else f"{head}interactions: []\n"


def _written(interaction: Interaction) -> str:
    parts = {"request": interaction.request, "response": interaction.response, "recorded": interaction.recorded}
    return written([parts])


def save(path: Path, interactions: list[Interaction], metadata: Mapping[str, Any], scrubber: Scrubber) -> None:
    """Replaces a cassette's file, so that a kill at any moment leaves the old one or the new one.

    Args:
        path: the file.
        interactions: what to write; each has been looked through when it has a `text`.
        metadata: what to write about them.
        scrubber: knows the secrets that must not be in it.

    Raises:
        SecretFoundError: a secret is still in it; nothing was written.
        CassetteError: the file cannot be written; the old one is as it was.
    """
    _check(path, written(dict(metadata)), {"metadata": dict(metadata)}, scrubber)
    for number, interaction in enumerate(interactions):
        if interaction.text is None:
            text = _written(interaction)
            parts = {"request": interaction.request, "response": interaction.response, "recorded": interaction.recorded}
            _check(path, text, {f"interactions[{number}]": parts}, scrubber)
            interaction.text = text
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, dump(interactions, metadata))
    except OSError as error:
        raise CassetteError(f"{path}: cannot be written ({error}); the old file is unchanged") from error


def _check(path: Path, text: str, value: dict[str, Any], scrubber: Scrubber) -> None:
    if found := scrubber.find(text):
        name, inner = next(iter(value.items()))
        place, what = next(scrubber.places(inner, name), (name, found[0]))
        raise SecretFoundError(
            f"{path}: not written, because {place} would hold {what} and it cannot be redacted there; remove it from "
            "the prompt, the source or the params"
        )


def check_writable(path: Path) -> None:
    """Checks that a cassette could be written, so that no reply is paid for and lost.

    Args:
        path: the file; its directory is made.

    Raises:
        CassetteError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path)
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as error:
        raise CassetteError(f"{path}: cannot be written ({error}); nothing was sent") from error


def _temporary(path: Path) -> Path:
    return path.with_name(f".{secrets.token_hex(8)}.tmp")


def _replace(path: Path, text: str) -> None:
    temporary = _temporary(path)
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
