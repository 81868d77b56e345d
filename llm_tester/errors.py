"""Every error this package raises, in one tree.

    LLMTesterError
    ├── ConfigError                 a config file, an entry or a class that cannot be used
    ├── CaseError                   a test case that cannot be read
    ├── ResultsError                a results, baseline or report file that cannot be used
    ├── BudgetError                 a call could exceed the run's limit in USD
    ├── StoppedError                the run was interrupted before the call was made
    ├── ProviderError               a call without a usable reply
    │   ├── MissingKeyError         no API key although one is needed
    │   ├── AuthenticationError     401
    │   ├── PermissionDeniedError   403
    │   ├── UnknownModelError       404, or an unknown name
    │   ├── BadRequestError         400 and the other 4xx
    │   │   └── ContextTooLongError the input does not fit the model
    │   ├── RateLimitError          429
    │   ├── ServerError             5xx
    │   ├── TimeoutError            408, or no answer within the timeout
    │   ├── ConnectionError         no connection, or one that broke
    │   └── UnusableReplyError      a reply that is empty, cut or not what was asked for
    └── CassetteError               a recording that cannot be read, written or trusted
        ├── StorageError            a reply has no place on the disk
        ├── SecretFoundError        what was to be written holds something that looks like a key
        ├── OfflineError            a connection while only recordings are replayed
        └── CassetteMismatch        a request that is not what was recorded

All but `CassetteMismatch` are `Exception`s. `CassetteMismatch` is a `BaseException` only, as pytest's own outcomes are:
an SDK that catches `Exception` to retry or to wrap would otherwise turn a drifted test into a connection error.
`except LLMTesterError` catches every one of them.
"""

import builtins
from collections.abc import Iterable
from typing import ClassVar

__all__ = [
    "AuthenticationError",
    "BadRequestError",
    "BudgetError",
    "CaseError",
    "CassetteError",
    "CassetteMismatch",
    "ConfigError",
    "ConnectionError",
    "ContextTooLongError",
    "LLMTesterError",
    "MissingKeyError",
    "OfflineError",
    "PermissionDeniedError",
    "ProviderError",
    "RateLimitError",
    "ResultsError",
    "SecretFoundError",
    "ServerError",
    "StoppedError",
    "StorageError",
    "TimeoutError",
    "UnknownModelError",
    "UnusableReplyError",
    "near",
    "suggest",
]


_MOST_NAMED = 12


class LLMTesterError(BaseException):
    """The root of the tree; see the module's docstring.

    Attributes:
        attempts: how often the call was tried; 0 if the error came before, or is not a call's.
        unanswered: of these, how many may have been billed although no reply came.
        failed_cost: USD that these may have cost, at most; None if that is unknown.
        failed_seconds: seconds that the attempts took, without the waits between them.
    """

    attempts: int = 0
    unanswered: int = 0
    failed_cost: float | None = 0.0
    failed_seconds: float = 0.0


class ConfigError(LLMTesterError, Exception):
    """A config file, one of its entries, or a provider class that cannot be used."""


class CaseError(LLMTesterError, Exception):
    """A test case that cannot be read, or has files that the model does not take."""


class ResultsError(LLMTesterError, Exception):
    """A results, baseline or report file that is not ours, not whole, or of another format."""


class BudgetError(LLMTesterError, Exception):
    """The run's limit in USD is unusable, or a call could exceed it and was not made."""


class StoppedError(LLMTesterError, Exception):
    """The run was interrupted before the call was made."""


class ProviderError(LLMTesterError, Exception):
    """A call without a usable reply.

    Args:
        message: what was found and what to do, without any key.
        provider: the provider's name in the config.
        model: the model that was asked for, None if none was chosen yet.
        status_code: the HTTP status, None if there was no HTTP reply.
        retry_after: seconds that the provider asked to wait, None if it did not say.

    The original exception is `__cause__`.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        status_code: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.model = model
        self.status_code = status_code
        self.retry_after = retry_after


class MissingKeyError(ProviderError):
    """No API key, or one that cannot be sent; names the variable and the file that may hold it."""


class AuthenticationError(ProviderError):
    """The provider refused the key (401)."""


class PermissionDeniedError(ProviderError):
    """The key is valid but not allowed to do this (403)."""


class UnknownModelError(ProviderError):
    """Neither the config, LiteLLM's bundle nor the provider (404) knows this model."""


class BadRequestError(ProviderError):
    """The provider refused the request (400, and the 4xx with no class of their own)."""


class ContextTooLongError(BadRequestError):
    """Prompt, source and wanted output do not fit into the model's context."""


class RateLimitError(ProviderError):
    """Too many requests (429); `retry_after` is in seconds, if the provider says so."""

    retryable = True


class ServerError(ProviderError):
    """The provider failed (5xx, Anthropic's 529 included)."""

    retryable = True


class TimeoutError(ProviderError):
    """No answer within the provider's `timeout` (seconds), or a 408."""

    retryable = True


class ConnectionError(ProviderError):
    """The connection could not be made or broke before the reply was complete."""

    retryable = True


class UnusableReplyError(ProviderError):
    """The reply is empty, cut, not JSON, or not of the wanted shape."""


class CassetteError(LLMTesterError, Exception):
    """A cassette that cannot be read, written or trusted; the file on disk is untouched."""


class StorageError(CassetteError):
    """The disk has no room for a reply, or does not let it be written. A run ends with the first one."""


class SecretFoundError(CassetteError):
    """What was to be written holds a key, or something that looks like one; nothing was written."""


class OfflineError(CassetteError, builtins.ConnectionRefusedError):
    """Something tried to connect while only recordings are replayed; nothing was sent.

    It is also Python's `ConnectionRefusedError`, so that code that handles being offline goes on working.
    """


class CassetteMismatch(LLMTesterError):
    """A request inside a replaying cassette that is not what was recorded.

    The message names the file, shows a diff to the nearest recorded request, and names the command that re-records.

    Args:
        message: the whole explanation.
        path: the cassette's file.
    """

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


def near(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that look most like a name, best first; capitals do not count."""
    import difflib

    spelled: dict[str, str] = {}
    for candidate in known:
        spelled.setdefault(candidate.lower(), candidate)
    return [spelled[found] for found in difflib.get_close_matches(name.lower(), spelled, n=3, cutoff=0.5)]


def suggest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """What to say of a name that does not exist.

    Args:
        name: the name.
        known: the names that do.
        otherwise: what to say if none of them is near; by default the first of them.
    """
    names = list(known)
    if found := near(name, names):
        return f"did you mean {' or '.join(map(repr, found))}?"
    return otherwise or f"known are {', '.join(names[:_MOST_NAMED])}"
