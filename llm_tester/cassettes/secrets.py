"""Keeps keys out of files: known values in every encoding, and whatever looks like a key."""

import base64
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit, urlunsplit

from ..config import settings

__all__ = ["PLACEHOLDER", "Scrubber", "environment_secrets", "find_key_shapes"]

PLACEHOLDER = "REDACTED"

# A shorter value is a flag or a number, and would be scrubbed out of ordinary text.
_SHORTEST_SECRET = 6

# What vendors document or publish to secret scanners as the shape of their keys.
_KEY_SHAPES = re.compile(
    r"""
      \b(?:sk|pk|rk)-(?:ant-|proj-|or-v1-|svcacct-|admin-|lf-)?[A-Za-z0-9_-]{16,}   # OpenAI, Anthropic, OpenRouter
    | \bAIza[0-9A-Za-z_-]{30,}                          # Google
    | \bya29\.[0-9A-Za-z_-]{20,}                        # Google OAuth
    | \b(?:gsk|xai|pplx|csk|nvapi|fw|tgp_v1|r8|hf|co)[_-][A-Za-z0-9_-]{20,}  # Groq, xAI, Perplexity, Cerebras, ...
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                     # AWS
    | \b(?:ghp|gho|ghs|ghu|ghr)_[A-Za-z0-9]{30,}        # GitHub
    | \bgithub_pat_[A-Za-z0-9_]{30,}
    | \bglpat-[A-Za-z0-9_-]{20,}                        # GitLab
    | \bxox[abprs]-[A-Za-z0-9-]{10,}                    # Slack
    | \beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}    # JSON web token
    | \b[Bb]earer\s+(?!REDACTED)[A-Za-z0-9._~+/-]{12,}=*
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----(?:.|\n|\\n)*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    """,
    re.VERBOSE,
)

# Query parameters that carry credentials: Google's key, Azure's and AWS's signatures, and the common names.
_SECRET_PARAMETERS = re.compile(
    r"^(?:.*[-_])?(?:key|apikey|token|secret|password|sig|signature|credential|code|auth)$", re.IGNORECASE
)


def environment_secrets() -> frozenset[str]:
    """The values that must not be written: of key variables in the environment, and of the `.env` file."""
    active = settings()
    values = {secret.get_secret_value() for secret in active.secrets()}
    return frozenset(value for value in values if len(value) >= _SHORTEST_SECRET)


def find_key_shapes(text: str) -> list[str]:
    """The first characters of everything in a text that looks like a key, enough to find it, too few to use it."""
    return [f"{match.group()[:7]}…" for match in _KEY_SHAPES.finditer(text)]


@lru_cache(maxsize=512)
def _encodings(secret: str) -> tuple[str, ...]:
    raw = secret.encode()
    forms = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}
    forms |= {form.replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d") for form in tuple(forms)}
    forms |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], secret.replace("/", "\\/")}
    for shift in range(3):
        # Inside a longer base64 text ("user:key") a value stands at one of three bit offsets; the characters at its
        # edges also encode its neighbours and are left out.
        shifted = base64.b64encode(b"\0" * shift + raw)
        inner = shifted[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6].decode()
        forms |= {inner, inner.translate(str.maketrans("+/", "-_"))}
    return tuple(sorted((form for form in forms if form), key=len, reverse=True))


class Scrubber:
    """Replaces secrets by `REDACTED`, the same way in what is recorded and in what is looked up.

    Args:
        secrets: the known values; the shapes of keys are always looked for.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _encodings(secret)}
        ordered = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """A text without secrets."""
        if self._known:
            text = self._known.sub(PLACEHOLDER, text)
        return _KEY_SHAPES.sub(PLACEHOLDER, text)

    def value(self, value: Any) -> Any:
        """A JSON value without secrets, in its keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return value

    def url(self, url: str) -> str:
        """A URL without its user, the values of its secret parameters, and secrets anywhere else."""
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        pairs = [pair.partition("=") for pair in parts.query.split("&") if pair]
        query = "&".join(
            f"{name}={PLACEHOLDER}" if equals and _SECRET_PARAMETERS.match(name) else f"{name}{equals}{value}"
            for name, equals, value in pairs
        )
        return self.text(urlunsplit((parts.scheme, host, parts.path, query, "")))

    def find(self, text: str) -> list[str]:
        """What in a text is a known secret or looks like one, each as its first characters."""
        known = [f"{match.group()[:3]}…" for match in self._known.finditer(text)] if self._known else []
        return known + find_key_shapes(text)


def default_scrubber() -> Scrubber:
    """A scrubber for the secrets of the environment as it is now."""
    return _scrubber(environment_secrets())


@lru_cache(maxsize=8)
def _scrubber(secrets: frozenset[str]) -> Scrubber:
    return Scrubber(secrets)


def reset() -> None:
    """Forgets the compiled secrets."""
    _scrubber.cache_clear()
    _encodings.cache_clear()
