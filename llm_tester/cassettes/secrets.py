"""Keeps keys out of files: known values in every encoding, and everything that looks like a key."""

import codecs
import contextlib
import gzip
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from . import _encodings, hooks
from ._searching import may_have

__all__ = [
    "MODEL_OUTPUT",
    "PLACEHOLDER",
    "SHORTEST_SECRET",
    "Scrubber",
    "changes",
    "default_scrubber",
    "environment_secrets",
    "find_key_shapes",
    "is_secret_field",
    "reset",
    "set_source",
    "values_of",
    "variables_in",
]

PLACEHOLDER = "REDACTED"

# What a variable's name says about its value.
_KEY_NAME = re.compile(
    r"(?:^|_)(?:[A-Z]*API)?(?:KEY|TOKEN|JWT|SECRET|PASSWORD|PASSWD|CREDENTIALS?|PAT)\d*(?:_|$)|_PWD$", re.IGNORECASE
)
_NO_KEY_NAME = re.compile(
    r"(?:^|_)(?:URL|URI|BASE|HOST|ENDPOINT|MODEL|REGION|LOCATION|PROJECT|VERSION|LEVEL|MODE|PATH|DIR|FILE|NAME|CONFIG)$",
    re.IGNORECASE,
)
# A shorter value is a flag or a number, and would be redacted from ordinary text.
SHORTEST_SECRET = 6

# What vendors document or publish to secret scanners as the shape of their keys. Ordinary words with a hyphen
# ("sk-learn-based") have neither a digit nor a long part without one. Looking ahead ends somewhere, so that a text that
# begins like a key over and over takes no more than linear time.
_KEY_SHAPES = re.compile(
    r"""
    (?=[-ABabcdefghjlnprstxy])(?:
      \b(?:sk|pk|rk)-(?=[A-Za-z0-9_-]{0,99}(?:\d|[A-Za-z0-9_]{16}))[A-Za-z0-9_-]{16,}  # OpenAI, Anthropic, ...
    | \b(?:sk|pk|rk)_(?:live_|test_)?[A-Za-z0-9]{16,}                             # Stripe, ElevenLabs
    | \bAIza[0-9A-Za-z_-]{30,}                                                    # Google
    | \bya29\.[0-9A-Za-z_-]{20,}                                                  # Google OAuth
    | \b(?:gsk_|xai-|pplx-|csk-|nvapi-|fw_|tgp_v1_|r8_|hf_|jina_|tvly-|lsv2_|pcsk_|npm_)  # Groq, xAI, Perplexity, ...
      (?=[A-Za-z0-9_-]{0,99}(?:\d|[A-Za-z0-9]{16}))[A-Za-z0-9_-]{20,}
    | \bdapi[0-9a-f]{32}                                                          # Databricks
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                                               # AWS
    | \bgh[oprsu]_[A-Za-z0-9]{30,}                                                # GitHub
    | \bgithub_pat_[A-Za-z0-9_]{30,}
    | \bglpat-[A-Za-z0-9_-]{20,}                                                  # GitLab
    | \bxox[abeprs]-[A-Za-z0-9-]{10,}                                             # Slack
    | \beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}          # JSON web token
    | \b[Bb]earer\s+(?=[A-Za-z0-9._~+/-]{0,99}(?:\d|[A-Za-z0-9._~+/-]{20}))[A-Za-z0-9._~+/-]{12,}=*
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----(?:.|\n|\\n)*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    )""",
    re.VERBOSE,
)
# What is in each of the shapes. Most texts have none of it, and looking for it takes a hundredth of the time. The
# boundary is that of ASCII: before a letter, it is wherever Python's is.
_IN_SHAPES = (
    r"(?-u:\b)(?:[spr]k[-_][A-Za-z0-9_-]{12}|AIza|ya29\.|(?:xai|pplx|csk|nvapi|tvly|glpat)-"
    r"|(?:gsk|fw|tgp_v1|r8|hf|jina|lsv2|pcsk|npm|gh[oprsu]|github_pat)_"
    r"|dapi[0-9a-f]{8}|A[KS]IA|xox[abeprs]-|eyJ[A-Za-z0-9_-]+\.eyJ|[bB]earer[^A-Za-z0-9]+[A-Za-z0-9._~+/-]{12})"
    r"|-----BEGIN "
)

# Query and form parameters that carry credentials: Google's key, Azure's and AWS's signatures, OAuth's names. Names
# such as page_token or country_code are none of them: two requests that differ there are two requests.
_PARAMETERS = re.compile(
    r"((?:^|[?&;])(?:key|api[-_]?key|subscription-key|access[-_]?key|(?:access|auth|id|refresh|session)[-_]?token"
    r"|auth|authorization|credentials?|jwt|token|secret|client[-_]?secret|passwd|password|pwd|sig|signature"
    r"|x-(?:amz|goog)-(?:signature|credential|security-token))=)"
    r"[^&#\s\"'<>]+",
    re.IGNORECASE,
)

# Fields of JSON that hold credentials, and, in the names of headers and params, the last part. A "token" alone is a
# model's.
_FIELD = (
    r"(?:[a-z]+[-_])*(?:authorization|cookie|passw(?:or)?d|pwd|private[-_]key|secret|secret[-_](?:access[-_])?key"
    r"|(?:api|functions|subscription)[-_]?key|client[-_]?secret"
    r"|(?:access|ad|auth|id|refresh|security|session)[-_]?token)"
)
_FIELD_NAME = re.compile(_FIELD, re.IGNORECASE)
# Between strings that are looked through together; no key has it.
_BETWEEN = "\x01"
_FIELD_ALONE = f"(?i)(?:^|{_BETWEEN})(?:{_FIELD})(?:{_BETWEEN}|$)"
_FIELD_IN_TEXT = re.compile(rf'((?<!\\)"{_FIELD}"\s*:\s*)(?:"(?:[^"\\]|\\.)+"|\d+)', re.IGNORECASE)
# For Python, these two letters are an i of another case, for Rust they are not.
_FIELD_FOR_RUST = f'(?i)"{_FIELD}"|[\u0130\u0131]'
# A body is not unpacked further, in bytes.
_MOST_UNZIPPED = 50_000_000
# What a model fills in a call of a tool: its output, whatever its fields are called.
MODEL_OUTPUT = frozenset({"args", "arguments", "input"})


def environment_secrets() -> frozenset[str]:
    """The values that must not be written.

    They are those of environment variables whose name says that they hold a key, those of the `.env` file in the
    working directory, and what the active settings and the running test add.
    """
    # By name, because each value takes as long to decode as its name.
    found = {os.environ.get(name, "") for name in os.environ if _names_a_key(name)}
    found.update(_of_dotenv(), hooks.current().redact)
    if _source.secrets is not None:
        found.update(_source.secrets())
    return frozenset(value for value in found if len(value.strip()) >= SHORTEST_SECRET)


@lru_cache(maxsize=4096)
def _names_a_key(name: str) -> bool:
    return bool(_KEY_NAME.search(name)) and not _NO_KEY_NAME.search(name)


def variables_in(path: Path) -> dict[str, str | None]:
    """The variables of a `.env` file."""
    from dotenv import dotenv_values

    return dotenv_values(path)


def values_of(variables: Mapping[str, str | None]) -> Iterator[str]:
    """The values of a `.env` file, but for those whose name says that they hold no key."""
    for name, value in variables.items():
        if value and not _NO_KEY_NAME.search(name):
            yield value


def _of_dotenv() -> frozenset[str]:
    try:
        changed = Path(".env").stat().st_mtime_ns
    except OSError:
        return frozenset()
    return _values_in(Path(".env").absolute(), changed)


@lru_cache(maxsize=8)
def _values_in(path: Path, changed: int) -> frozenset[str]:
    return frozenset(values_of(variables_in(path)))


class _Source:
    """What gives further secrets, and how often it changed."""

    def __init__(self) -> None:
        self.secrets: Callable[[], Iterable[str]] | None = None
        self.changes = 0


_source = _Source()


def set_source(secrets: Callable[[], Iterable[str]]) -> None:
    """Sets what gives further secrets, until `reset`: the active settings, when they are read and when they grow."""
    _source.secrets = secrets
    _source.changes += 1


def changes() -> int:
    """A number that grows when `set_source` is called, so that scrubbers made before are outdated."""
    return _source.changes


def find_key_shapes(text: str) -> list[str]:
    """The first characters of everything in a text that looks like a key, enough to find it, too few to use it."""
    return [f"{match.group()[:7]}…" for match in _KEY_SHAPES.finditer(text)] if may_have(text, _IN_SHAPES) else []


class Scrubber:
    """Replaces secrets by `REDACTED`, the same way in what is recorded and in what is looked up.

    Args:
        secrets: the known values; the shapes of keys are always looked for.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known = _encodings.KnownSecrets(secrets)

    def text(self, text: str) -> str:
        """A text without secrets."""
        if len(text) >= SHORTEST_SECRET:
            for pattern in self._known.patterns(text):
                text = pattern.sub(PLACEHOLDER, text)
        for token, plain in _encodings.zipped_tokens(text):
            if self._find(plain):
                text = text.replace(token, PLACEHOLDER)
        return _KEY_SHAPES.sub(PLACEHOLDER, text) if may_have(text, _IN_SHAPES) else text

    def find_in_bytes(self, data: bytes) -> list[str]:
        """What `find` says of bytes, as `bytes` reads them, and fields that hold credentials."""
        text = _decoded(_encodings.unzipped(data, _MOST_UNZIPPED) or data)[0]
        return self.find(text) or ["a field for a credential with a value"] * (self.fields(text) != text)

    def bytes(self, data: bytes) -> bytes:
        """Bytes of any kind without secrets: text in UTF-8, UTF-16 or UTF-32, or gzip of such a text."""
        plain = _encodings.unzipped(data, _MOST_UNZIPPED)
        text, encoding, errors = _decoded(plain or data)
        clean = self.fields(self.text(text)).encode(encoding, errors)
        if not plain:
            return clean
        return data if clean == plain else gzip.compress(clean, mtime=0)

    def value(self, value: Any) -> Any:
        """A JSON value without secrets, in its keys too."""
        return self._without_secrets(value, _joined(value))

    def _without_secrets(self, value: Any, strings: str) -> Any:
        # Most values have none, and one look at all their strings is much faster than one at each.
        may_hold = self._find(strings) or any(True for _ in _encodings.zipped_tokens(strings))
        return self._value(value) if may_hold else value

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        return value

    def body(self, value: Any) -> Any:
        """The JSON of a request or a reply, without secrets and the values of fields such as `api_key`."""
        strings = _joined(value)
        has_field = may_have(strings, _FIELD_ALONE)
        return self._without_secrets(_without_fields(value) if has_field else value, strings)

    def fields(self, text: str) -> str:
        """A text without the values of such fields of JSON in it."""
        return _FIELD_IN_TEXT.sub(rf'\g<1>"{PLACEHOLDER}"', text) if may_have(text, _FIELD_FOR_RUST) else text

    def parameters(self, text: str) -> str:
        """A query, a form, or a text with URLs in it, without secrets and the values of secret parameters."""
        return self.text(_PARAMETERS.sub(rf"\g<1>{PLACEHOLDER}", text))

    def url(self, url: str) -> str:
        """A URL without its user, its fragment, the values of its secret parameters, and secrets anywhere else."""
        try:
            parts = urlsplit(url)
        except ValueError:
            # A server may redirect to what is no URL.
            return self.parameters(url)
        host = parts.netloc.rpartition("@")[2]
        return self.parameters(urlunsplit((parts.scheme, host, parts.path, parts.query, "")))

    def find(self, text: str) -> list[str]:
        """What in a text is a known secret or looks like one, without a character of the known ones."""
        found = self._find(text)
        if not found and any(self._find(plain) for _, plain in _encodings.zipped_tokens(text)):
            return ["a compressed text with a key"]
        return found

    def _find(self, text: str) -> list[str]:
        known = any(pattern.search(text) for pattern in self._known.patterns(text))
        return ["a known key"] * known + [f"what looks like a key, {shape}" for shape in find_key_shapes(text)]

    def places(self, value: Any, place: str) -> Iterator[tuple[str, str]]:
        """Where in a JSON value secrets are, and what they are.

        Args:
            value: the value.
            place: its own name.

        Yields:
            A place such as `body.json.messages[0].content`, and what `find` says of it.
        """
        if isinstance(value, dict):
            for key, item in value.items():
                if found := self.find(str(key)):
                    yield f"a key of {place}", found[0]
                else:
                    yield from self.places(item, f"{place}.{key}")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from self.places(item, f"{place}[{index}]")
        elif found := self.find(str(value)):
            yield place, found[0]


def is_secret_field(name: str) -> bool:
    """Whether the name of a JSON field, a param or a header says that its value is a credential."""
    return _FIELD_NAME.fullmatch(name) is not None


def _without_fields(value: Any, *, is_secret: bool = False) -> Any:
    if isinstance(value, list):
        return [_without_fields(item, is_secret=is_secret) for item in value]
    if isinstance(value, dict):
        return {
            name: item if name in MODEL_OUTPUT else _without_fields(item, is_secret=is_secret_field(name))
            for name, item in value.items()
        }
    is_value = bool(value) and isinstance(value, str | int) and not isinstance(value, bool)
    return PLACEHOLDER if is_secret and is_value else value


def _decoded(data: bytes) -> tuple[str, str, str]:
    """A text, and how to encode it again. JSON's rule finds UTF-16 and UTF-32 by their marks and their zero bytes."""
    encoding: str = json.detect_encoding(data[:4])
    if encoding == "utf-16":
        # With the order of its bytes, the mark stays a character and comes back.
        encoding = "utf-16-le" if data.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"
    if encoding.startswith(("utf-16-", "utf-32-")):
        with contextlib.suppress(UnicodeError):
            return data.decode(encoding), encoding, "strict"
    return data.decode("utf-8", "surrogateescape"), "utf-8", "surrogateescape"


def _joined(value: Any) -> str:
    """All strings of a JSON value, with what no key has between them."""
    found: list[str] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict):
            found += item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return _BETWEEN.join(found)


def default_scrubber() -> Scrubber:
    """A scrubber for the secrets of the environment as it is now."""
    return _scrubber(environment_secrets())


@lru_cache(maxsize=8)
def _scrubber(secrets: frozenset[str]) -> Scrubber:
    return Scrubber(secrets)


def reset() -> None:
    """Forgets the compiled secrets and the added sources."""
    _source.secrets = None
    _values_in.cache_clear()
    _scrubber.cache_clear()
    _encodings.reset()
