"""The cassette file: YAML that a person can review, replaced as a whole or not at all.

    format: 1
    metadata: {versions: ...}
    interactions:
    - request: {method, uri, headers, body}
      response: {status, headers, body}
      recorded: {at, origin, seconds, provider, model, answered, usage, cost_usd, attempts}

A body is `json` (decoded, so that a prompt is text and a diff is by line), `text`, or `base64` of anything else.
Plain vcrpy cassettes (`version: 1`, bodies as strings) are read as well, and written back in this format.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from ..errors import CassetteError, SecretFoundError
from .secrets import Scrubber

__all__ = ["FORMAT", "Interaction", "cassette_path", "check_path", "load", "save"]

FORMAT = 1

# Headers that a client needs to read the body, or to wait; every other header may hold a key, an account or a date.
_KEPT_HEADERS = frozenset({"accept", "content-type", "location", "retry-after", "retry-after-ms"})

_LONGEST_PART = 200
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")


@dataclass
class Interaction:
    """One request with its reply.

    Attributes:
        request: method, uri, headers and body, already without secrets.
        response: status, headers and body, already without secrets and decoded.
        recorded: when and from what it was recorded, and what it cost; empty in a plain vcrpy cassette.
    """

    request: dict[str, Any]
    response: dict[str, Any]
    recorded: dict[str, Any] = field(default_factory=dict)
    text: str | None = field(default=None, repr=False, compare=False)


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def cassette_path(root: str | Path, *parts: str) -> Path:
    """The file of a cassette: a directory a part under `root`, safe on every file system, without collisions.

    A part stays as it is where it is lower-case letters, digits, `.`, `_` and `-`. Other characters are
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
    encoded = quote(part, safe="").replace("~", "%7E")
    plain = encoded.strip(".") == encoded and not _RESERVED.match(encoded)
    if plain and part == part.lower() and 0 < len(encoded) <= _LONGEST_PART:
        return encoded
    digest = hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{encoded.strip('.')[:_LONGEST_PART]}~{digest}"


def check_path(path: str | Path) -> Path:
    """A path that may be opened as a cassette.

    Args:
        path: the file, absolute or from the working directory.

    Returns:
        It, made absolute.

    Raises:
        CassetteError: it climbs out of its directory with `..`, or is a directory.
    """
    given = Path(path)
    if ".." in given.parts:
        raise CassetteError(f"{given}: a cassette's path may not climb with '..'; name the file where it is")
    if given.is_dir():
        raise CassetteError(f"{given}: is a directory, expected the cassette's file; add a name such as 'case.yaml'")
    return given.absolute()


def load(path: Path) -> tuple[list[Interaction], dict[str, Any]]:
    """Reads a cassette.

    Args:
        path: the file.

    Returns:
        Its interactions and its metadata; both empty where there is no file.

    Raises:
        CassetteError: it cannot be read or decoded, or has a format this version does not know. It stays as it is.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except FileNotFoundError:
        return [], {}
    except (OSError, UnicodeDecodeError) as error:
        raise CassetteError(f"{path}: cannot be read as UTF-8 text ({error}); the file was left as it is") from error
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise CassetteError(f"{path}{line}: not YAML; restore the file, or delete it and record again") from error
    if isinstance(data, list):
        raise CassetteError(f"{path}: written by vcrpy before 1.0; record it again")
    if not isinstance(data, dict) or not isinstance(data.get("interactions"), list):
        raise CassetteError(f"{path}: holds no list of interactions; restore the file, or delete it and record again")
    _check_format(path, data)
    try:
        return [_read(item) for item in data["interactions"]], dict(data.get("metadata") or {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CassetteError(f"{path}: an interaction is not whole ({error!r}); record it again") from error


def _check_format(path: Path, data: Mapping[str, Any]) -> None:
    if "format" in data and data["format"] != FORMAT:
        raise CassetteError(
            f"{path}: has format {data['format']!r}, this llm_tester reads format {FORMAT}: upgrade llm_tester"
        )
    if "format" not in data and data.get("version") != 1:
        raise CassetteError(f"{path}: has vcrpy's format {data.get('version')!r}, expected 1: record it again")


def _read(item: Mapping[str, Any]) -> Interaction:
    request, response = dict(item["request"]), dict(item["response"])
    request["headers"], response["headers"] = _lists(request.get("headers")), _lists(response.get("headers"))
    status = response["status"]
    if isinstance(status, dict):
        # vcrpy's way of writing it.
        response["status"] = int(status["code"])
        response["body"] = _plain_body((response.get("body") or {}).get("string"))
        request["body"] = _plain_body(request.get("body"))
    request["method"], request["uri"] = str(request["method"]), str(request["uri"])
    decode_body(response.get("body"))
    return Interaction(request, response, dict(item.get("recorded") or {}))


def _lists(headers: Mapping[str, Any] | None) -> dict[str, list[str]]:
    return {
        name: [str(value) for value in (values if isinstance(values, list) else [values])]
        for name, values in (headers or {}).items()
    }


def _plain_body(body: Any) -> dict[str, Any] | None:
    return encode_body(body.encode() if isinstance(body, str) else body)


def kept_headers(headers: Mapping[str, list[str]], scrubber: Scrubber) -> dict[str, list[str]]:
    """The headers that may be written, lower-case and sorted."""
    lower = {name.lower(): values for name, values in headers.items()}
    return {name: [scrubber.text(value) for value in lower[name]] for name in sorted(_KEPT_HEADERS & lower.keys())}


def encode_body(body: bytes | None) -> dict[str, Any] | None:
    """A body as it is written: JSON decoded where it comes back the same, else text, else base64; None if empty."""
    if not body:
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
    try:
        # Numbers that a float cannot hold, keys that stand twice and halves of a surrogate pair would not come back:
        # such a body stays text.
        value = json.loads(text, object_pairs_hook=_unique, parse_float=_exact, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict | list):
        return {"json": value}
    return {"text": text} if _writable(text) else {"base64": base64.b64encode(body).decode()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _exact(number: str) -> float:
    if float(number) in (float("inf"), float("-inf")):
        raise ValueError("out of range")
    return float(number)


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def _writable(text: str) -> bool:
    # YAML folds these line ends, so the text would not come back as it was.
    return not any(mark in text for mark in ("\r", "\x85", "\u2028", "\u2029", "\ufeff", "\0"))


def decode_body(body: Mapping[str, Any] | None) -> bytes:
    """The bytes of a body as it was written."""
    if not body:
        return b""
    if "json" in body:
        return json.dumps(body["json"], ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    if "base64" in body:
        return base64.b64decode(body["base64"], validate=True)
    return str(body["text"]).encode()


def dump(interactions: Iterable[Interaction], metadata: Mapping[str, Any]) -> str:
    """The text of a cassette's file."""
    head = _yaml({"format": FORMAT, "metadata": dict(metadata)})
    items = []
    for interaction in interactions:
        if interaction.text is None:
            body = {"request": interaction.request, "response": interaction.response, "recorded": interaction.recorded}
            interaction.text = _yaml([body])
        items.append(interaction.text)
    return f"{head}interactions:\n{''.join(items)}" if items else f"{head}interactions: []\n"


def _yaml(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def save(path: Path, interactions: list[Interaction], metadata: Mapping[str, Any], scrubber: Scrubber) -> None:
    """Replaces a cassette's file, so that a kill at any moment leaves the old one or the new one.

    Args:
        path: the file.
        interactions: what to write.
        metadata: what to write about them.
        scrubber: knows the secrets that must not be in it.

    Raises:
        SecretFoundError: a secret is still in the text; nothing was written.
        CassetteError: the file cannot be written; the old one is as it was.
    """
    text = dump(interactions, metadata)
    if found := scrubber.find(text):
        at = next((number for number, line in enumerate(text.splitlines(), 1) if scrubber.find(line)), 1)
        raise SecretFoundError(
            f"{path}: not written, because a secret ({found[0]}) would stand in line {at}; "
            "take it out of the prompt, the source or the params"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, text)
    except OSError as error:
        raise CassetteError(f"{path}: cannot be written ({error}); what stood there is as it was") from error


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
