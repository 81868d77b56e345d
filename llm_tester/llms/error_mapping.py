"""Maps what libraries raise to our errors: by HTTP status first, the same on every route."""

import builtins
import datetime
import email.utils
import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..cassettes.secrets import Scrubber, default_scrubber
from ..errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionError,
    ContextTooLongError,
    MissingKeyError,
    PermissionDeniedError,
    ProviderError,
    RateLimitError,
    ServerError,
    TimeoutError,
    UnknownModelError,
    UnusableReplyError,
)
from ..usage import well_formed
from ._logins import any_of

__all__ = ["error_in_reply", "exception_chain", "never_connected", "provider_error", "without_key"]

_BY_STATUS: Mapping[int, type[ProviderError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: UnknownModelError,
    408: TimeoutError,
    429: RateLimitError,
}

# What Google's and AWS' own libraries raise if they find no login.
_NO_LOGIN = {"DefaultCredentialsError", "NoCredentialsError", "PartialCredentialsError"}

_ADVICE: Mapping[type[ProviderError], str] = {
    MissingKeyError: "there is no login; `llm-tester providers` names what it needs",
    AuthenticationError: "the key was refused; check the variable that holds it",
    PermissionDeniedError: "the key may not do this; check the account's access to the model",
    UnknownModelError: "the provider does not know this model (or its address is wrong)",
    BadRequestError: "the provider refused the request; check the model's params in the config",
    ContextTooLongError: "prompt and source do not fit the model; shorten them or choose another model",
    RateLimitError: "too many requests; wait, or lower the concurrency",
    ServerError: "the provider failed; try again later",
    TimeoutError: "no answer in time; raise the entry's timeout or try again",
    ConnectionError: "no connection, or it broke; check the network and the entry's api_base",
    UnusableReplyError: "the reply is not what the provider's API promises",
    ProviderError: "the call failed",
}

# How providers say in a 400 that the input is too long (their documented codes and messages).
_TOO_LONG = re.compile(
    r"context_length_exceeded|context (?:length|window)|maximum context|prompt is too long|input is too long"
    r"|too many (?:input )?tokens|exceeds? the (?:maximum|max|model'?s?) .{0,40}tokens|input token count",
    re.IGNORECASE,
)
# Google answers a bad key with 400, and says so in the reason.
_BAD_KEY = re.compile(r"API_KEY_INVALID|api key not valid|invalid api key|incorrect api key", re.IGNORECASE)
_WITHOUT_BODY = re.compile(r"Error code: \d+$")
_LONGEST_REASON = 500


def provider_error(
    error: Exception, provider: str, model: str | None, *, sent: bool = True, keys: tuple[str, ...] = ()
) -> ProviderError:
    """Our error for whatever a call raised; raise it `from` the original.

    Args:
        error: what LiteLLM, PydanticAI, a vendor's SDK, an HTTP client or a provider's own code raised.
        provider: the provider's name in the config.
        model: the model that was asked for.
        sent: whether a request was seen; without one, no reply can be unusable.
        keys: the variables that may hold the provider's key.

    Returns:
        `error` itself, completed, if it is one of ours; else an error of the class for its HTTP status, or else for its
        kind (timeout, connection, undecodable reply). Its message holds no key.
    """
    chain = list(exception_chain(error))
    # Made once for all links: it reads the whole environment.
    scrubber = default_scrubber()
    for link in reversed(chain):
        _scrub(link, scrubber)
    if isinstance(error, ProviderError):
        error.provider, error.model = error.provider or provider, error.model or model
        return error
    status = _status(chain)
    body = _body(chain)
    reason = _reason(error, body, scrubber)
    kind = _kind(chain, status, f"{reason} {body}")
    if kind is UnusableReplyError and not sent and any(map(_is_litellm, chain)):
        kind = ProviderError
    code = f" ({status})" if status else ""
    retry_after = next((wait for link in chain if (wait := _retry_after(link)) is not None), None)
    hint = f"; it asks to wait {retry_after:g} s" if retry_after is not None else ""
    advice = _ADVICE[kind] if sent or kind is not ProviderError else "nothing was sent"
    if kind is AuthenticationError and keys:
        advice = f"the key was refused; check {any_of(keys)}"
    message = f"{provider}, {model or 'no model'}: {advice}{code}{hint}. It said: {reason}"
    return kind(message, provider=provider, model=model, status_code=status, retry_after=retry_after)


def error_in_reply(found: object, provider: str, model: str) -> ProviderError:
    """The error that a reply with a good status holds in its body.

    Args:
        found: the body's `error`.
        provider: the provider's name in the config.
        model: the model that was asked for.

    Returns:
        An error of the class for the status or the type that it names, else an `UnusableReplyError`.
    """
    said = found if isinstance(found, dict) else {"message": found}
    status = next((code for name in ("code", "status", "type") if (code := _named_status(said.get(name)))), None)
    reason = _short(str(said.get("message") or found))
    kind = _kind([], status, reason) if status else UnusableReplyError
    shown = f" ({status})" if status else ""
    message = f"{provider}, {model}: the reply holds an error; {_ADVICE[kind]}{shown}. It said: {reason}"
    return kind(default_scrubber().text(message), provider=provider, model=model, status_code=status)


# https://docs.claude.com/en/api/errors and https://ai.google.dev/gemini-api/docs/troubleshooting
_NAMED: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "timeout_error": 408,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "RESOURCE_EXHAUSTED": 429,
    "api_error": 500,
    "server_error": 500,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "overloaded_error": 529,
}


def _named_status(code: object) -> int | None:
    if isinstance(code, str):
        return _NAMED.get(code) or (_named_status(int(code)) if re.fullmatch("[45][0-9]{2}", code) else None)
    return code if isinstance(code, int) and 400 <= code < 600 else None


# Exceptions are recognized by the names of their classes, so that no library has to be imported for it. These are what
# HTTP clients, and LiteLLM before it asks one, raise if a request never left this machine,
_UNSENT = (
    "ConnectError ConnectTimeout PoolTimeout UnsupportedProtocol LocalProtocolError ProxyError ClientConnectorError "
    "ConnectionTimeoutError ConnectTimeoutError NewConnectionError NameResolutionError InvalidURL InvalidHeader "
    "UnsupportedParamsError ConnectionRefusedError gaierror SSLError ImportError UnicodeEncodeError "
    "MissingKeyError"
)
# if the connection was there,
_SENT = "ConnectionResetError ReadError ReadTimeout"
# if a reply cannot be read,
_UNREADABLE = "JSONDecodeError UnicodeDecodeError ResponseValidationError UnexpectedModelBehavior"
# and if the connection could not be made or broke.
_BROKEN = (
    "ConnectionError TransportError ConnectError APIConnectionError ClientConnectionError ClientPayloadError "
    "ProtocolError ChunkedEncodingError RequestException URLError"
)


def _is_any(error: BaseException, names: str) -> bool:
    """Whether an exception's class, or one that it is derived from, has one of the names."""
    return any(kind.__name__ in names.split() for kind in type(error).__mro__)


def never_connected(error: BaseException, *, sent: bool = True) -> bool:
    """Whether a failed request never left this machine: no address, no connection, no TLS, no login, nothing to send.

    The outermost exception that says so counts: one further in may be what a client tried before.

    Args:
        error: what the call raised.
        sent: whether a request was seen.
    """
    for link in exception_chain(error):
        # Our own TimeoutError says nothing of the connection.
        if (unsent := _is_any(link, _UNSENT)) or _is_any(link, _SENT) or isinstance(link, builtins.TimeoutError):
            return unsent
    # All HTTP clients that LiteLLM uses are seen, so that without a request it refused the call by itself.
    return not sent and any(map(_is_litellm, exception_chain(error)))


def exception_chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what led to it, each once: a library may raise one from itself."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _scrub(error: BaseException, scrubber: Scrubber) -> None:
    """Redacts keys in an exception's text: a provider may quote the key that it refuses, and tracebacks get shared."""
    error.args = tuple(scrubber.parameters(arg) if isinstance(arg, str) else scrubber.value(arg) for arg in error.args)
    for name in ("message", "msg", "body", "__notes__"):
        value = getattr(error, name, None)
        if isinstance(value, str | dict | list) and (clean := scrubber.value(value)) != value:
            setattr(error, name, clean)
    for name in ("__cause__", "__context__"):
        if (link := getattr(error, name)) is not None and (clean := without_key(link, scrubber)) is not link:
            is_suppressed = error.__suppress_context__
            setattr(error, name, clean)
            error.__suppress_context__ = is_suppressed


def without_key(error: BaseException, scrubber: Scrubber | None = None) -> BaseException:
    """An exception that was redacted, or one in its place if its text is made of what cannot be (as pydantic's is)."""
    said = str(error)
    if (clean := (scrubber or default_scrubber()).parameters(said)) == said:
        return error
    other = Exception(f"{type(error).__name__}: {clean}").with_traceback(error.__traceback__)
    other.__cause__, other.__context__ = error.__cause__, error.__context__
    return other


def _response(error: BaseException) -> Any:
    # Not by its truth value: a response of requests is false if its status is an error.
    found = getattr(error, "response", None)
    return found if found is not None else getattr(error, "raw_response", None)


def _status(chain: list[BaseException]) -> int | None:
    """The HTTP status the provider answered with.

    LiteLLM makes statuses up (500 for no connection, 400 for Anthropic's 413), so of its exceptions only the HTTP
    client's own below them is believed.
    """
    of_client = [link for link in chain if type(link).__name__ == "HTTPStatusError"][:1]
    own = [link for link in chain if not _is_litellm(link)]
    return next((status for link in of_client or own if (status := _own_status(link))), None)


def _own_status(error: BaseException) -> int | None:
    holders = (error, _response(error))
    found = (getattr(holder, name, None) for holder in holders for name in ("status_code", "status", "code"))
    return next((value for value in found if isinstance(value, int) and 400 <= value < 600), None)


def _is_litellm(error: BaseException) -> bool:
    return type(error).__module__.startswith("litellm")


def _kind(chain: list[BaseException], status: int | None, reason: str) -> type[ProviderError]:
    if status is None:
        return _transport(chain) or _local(chain)
    if status in (400, 413, 422) and _TOO_LONG.search(reason):
        return ContextTooLongError
    if status == 400 and _BAD_KEY.search(reason):
        return AuthenticationError
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return ServerError if status >= 500 else BadRequestError


def _local(chain: list[BaseException]) -> type[ProviderError]:
    """What a library refused without any HTTP reply, or could not read in one."""
    if _NO_LOGIN & {type(link).__name__ for link in chain}:
        return MissingKeyError
    names = {type(link).__name__ for link in chain if _is_litellm(link)}
    if "UnsupportedParamsError" in names:
        return BadRequestError
    if "AuthenticationError" in names:
        return AuthenticationError
    # PydanticAI raises this from what the vendor's SDK raised, or from nothing if the reply is no JSON.
    is_unreadable = type(chain[-1]).__name__ == "ModelAPIError"
    return UnusableReplyError if names or is_unreadable else ProviderError


def _transport(chain: list[BaseException]) -> type[ProviderError] | None:
    """What happened below HTTP, by the innermost exception that shows it; the outer ones wrap it."""
    # LiteLLM also calls a reply that it cannot read a lost connection.
    for link in (link for link in reversed(chain) if not _is_litellm(link)):
        if any("Timeout" in kind.__name__ for kind in type(link).__mro__):
            return TimeoutError
        if _is_any(link, _UNREADABLE):
            return UnusableReplyError
        if _is_any(link, _BROKEN):
            return ConnectionError
    return None


def _body(chain: list[BaseException]) -> str:
    """The start of the body of a reply with an error's status, as the vendor's SDK keeps it."""
    body = next((found for link in chain if (found := getattr(link, "body", None))), "")
    return _short(body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str))


def _reason(error: Exception, body: str, scrubber: Scrubber) -> str:
    text = str(error)
    # LiteLLM leaves the body out if it has no `message` where OpenAI has it: an HTML page, Ollama's {"error": "…"}.
    if body and _WITHOUT_BODY.search(text):
        text = f"{text} - {body}"
    # LiteLLM puts its own traceback into some messages.
    text = scrubber.parameters(text)
    return _short(text.partition("Traceback (most recent call last)")[0]) or type(error).__name__


def _short(text: str) -> str:
    text = well_formed(" ".join(text[: 20 * _LONGEST_REASON].split()))
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"


def _retry_after(error: BaseException) -> float | None:
    """Seconds from `retry-after-ms` or `retry-after`, a number or a date (RFC 9110, section 10.2.3)."""
    headers = getattr(_response(error), "headers", None) or getattr(error, "headers", None)
    lower = {str(name).lower(): str(value) for name, value in headers.items()} if isinstance(headers, Mapping) else {}
    text = lower.get("retry-after", "")
    for value, unit in ((getattr(error, "retry_after", None), 1), (lower.get("retry-after-ms"), 1000), (text, 1)):
        if (wait := _number(value)) is not None:
            return wait / unit
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=datetime.UTC)
    return max(0.0, date.timestamp() - time.time())


def _number(given: object) -> float | None:
    try:
        value = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return value if 0 <= value < float("inf") else None
