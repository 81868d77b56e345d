"""Sends what LiteLLM's `completion()` would send, without going through it: that takes most of a call's CPU.

`completion()` prepares each call from nothing, looks up what it costs, and logs it in a thread. The requests of one
entry and model differ in the prompt alone. So `completion()` writes a first one with a mark in the prompt's place,
which is caught before it is sent; each call puts its own prompt there. If a reply is not plain, LiteLLM reads it as
one that it sent for. Nothing of LiteLLM is patched or switched.

This is used for what was compared with `completion()`, byte by byte (tests/llms/test_direct.py): the versions, routes
and arguments below, and LiteLLM's own settings as they are by default. All else goes through `completion()`.
"""

import functools
import json
import os
import threading
from collections.abc import Hashable, Mapping
from operator import attrgetter
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import catalog
from ..cassettes import running
from ..cassettes.forks import lock_of
from ._context import holding

if TYPE_CHECKING:
    from vcr.request import Request

__all__ = ["Answer", "is_known_version", "reset", "send"]

# Versions of LiteLLM.
_VERSIONS = ("1.110.2",)
_ROUTES = ("anthropic", "gemini", "mistral", "openai")
# What a call may consist of.
_ARGUMENTS = (
    "model messages timeout max_retries temperature response_format api_key api_base max_tokens max_completion_tokens "
    "top_p seed stop presence_penalty frequency_penalty"
)
# Settings of LiteLLM that change a call. By default each is None, False, 0 or empty.
_SETTINGS = (
    "add_function_to_prompt anthropic_key api_base api_key cache client_session credential_list custom_prompt_dict "
    "custom_provider_map default_fallbacks disable_stop_sequence_limit drop_params "
    "enable_gemini_default_thinking_level_low enable_json_schema_validation enable_preview_features fallbacks headers "
    "log_raw_request_response max_budget model_alias_map model_fallbacks modify_params network_mock num_retries "
    "num_retries_per_request openai_key organization post_call_rules pre_call_rules proxy_auth reasoning_auto_summary "
    "route_all_chat_openai_to_responses secret_manager_client set_verbose use_litellm_proxy "
    "vertex_ai_safety_settings vertex_location vertex_project "
    # What `litellm.AnthropicConfig(...)` set for all calls.
    "AnthropicConfig.max_tokens AnthropicConfig.metadata AnthropicConfig.stop_sequences AnthropicConfig.system "
    "AnthropicConfig.temperature AnthropicConfig.top_k AnthropicConfig.top_p"
)
_CALLBACKS = (
    "_async_failure_callback _async_input_callback _async_success_callback callbacks failure_callback input_callback "
    "service_callback success_callback"
)
# Environment variables that do so.
_VARIABLES = (
    "ANTHROPIC_API_BASE ANTHROPIC_AUTH_TOKEN ANTHROPIC_BASE_URL EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER "
    "GEMINI_API_BASE LITELLM_ANTHROPIC_DISABLE_URL_SUFFIX MISTRAL_API_BASE MISTRAL_AZURE_API_BASE "
    "OPENAI_API_BASE OPENAI_BASE_URL OPENAI_CUSTOM_HEADERS OPENAI_ORGANIZATION OPENAI_ORG_ID OPENAI_PROJECT_ID "
    "USE_LITELLM_PROXY"
)
_arguments, _variables = frozenset(_ARGUMENTS.split()), _VARIABLES.split()
_settings_of = attrgetter(*_SETTINGS.split())
_callbacks_of = attrgetter(*_CALLBACKS.split())
# LiteLLM's Gemini route registers the callback of a cache, which does nothing if no cache is set.
_WITHOUT_EFFECT = ["cache"]

# In the prompt's place. With a letter that is written in one of two ways.
_MARK = "llm_tester puts the prompt here: é"
# What the HTTP client writes itself, and what the OpenAI SDK says of a single request.
_OF_THE_CLIENT = ("accept-encoding", "connection", "content-length", "host", "x-stainless-")


class _Pattern(NamedTuple):
    """What is the same for all calls with the same arguments but prompt and timeout.

    Attributes:
        url: the address.
        headers: the headers, with the key.
        start: the body up to the prompt.
        end: the rest of it.
        is_ascii: whether other letters in the prompt are escaped.
    """

    url: str
    headers: dict[str, str]
    start: bytes
    end: bytes
    is_ascii: bool


class _Patterns:
    """The one place of the patterns; None is the pattern of what goes through `completion()`."""

    def __init__(self) -> None:
        self.lock = lock_of(threading.Lock)
        self.known: dict[Hashable, _Pattern | None] = {}


_patterns = _Patterns()


def reset() -> None:
    """Forgets what was prepared."""
    with _patterns.lock:
        _patterns.known.clear()


class Answer:
    """The answer to a call that was sent.

    Args:
        response: httpx's response; an exception if httpx cannot unpack its body.

    Attributes:
        is_good: whether its status may be 200.
    """

    endless = True

    def __init__(self, response: Any) -> None:
        self.is_good = isinstance(response, Exception) or response.status_code == 200
        self._response = response

    def meet(self, client: str, request: "Request") -> dict[str, Any]:
        """Answers LiteLLM's request; see `cassettes.use.Fault`."""
        if isinstance(self._response, Exception):
            raise self._response
        headers = self._response.headers
        # The content is unpacked.
        names = [name for name in headers if name not in ("content-encoding", "content-length", "transfer-encoding")]
        return {
            "status": self._response.status_code,
            "headers": {name: headers.get_list(name) for name in names},
            "body": self._response.content,
        }

    def read(self, litellm: ModuleType, call: Mapping[str, Any]) -> Any:
        """What `litellm.completion(**call)` returns, or raises, if it gets this answer."""
        return _met(litellm, call, self)


def send(litellm: ModuleType, call: Mapping[str, Any]) -> Answer | None:
    """Sends what `litellm.completion(**call)` sends, if the call is of a kind that was compared.

    Args:
        litellm: the imported package.
        call: the arguments of `completion`; `model` begins with the provider's slug. The prompt is not blank, as
            `joined_prompt` never is: LiteLLM writes something else for blank ones.

    Returns:
        The answer; None if nothing was sent, because the call has to go through `completion()`.

    Raises:
        Exception: what `completion()` raises before it sends anything.
        httpx.RequestError: no answer came.
    """
    pattern = _pattern(litellm, call) if _is_plain(litellm, call) else None
    if pattern is None:
        return None
    from httpx import DecodingError
    from litellm.llms.custom_httpx.http_handler import get_httpx_client

    prompt = json.dumps(call["messages"][-1]["content"], ensure_ascii=pattern.is_ascii).encode()
    body = pattern.start + prompt + pattern.end
    client = get_httpx_client().client
    try:
        return Answer(client.post(pattern.url, content=body, headers=pattern.headers, timeout=call["timeout"]))
    except DecodingError as error:
        # It may only say that it is packed.
        return Answer(error)


def _is_plain(litellm: ModuleType, call: Mapping[str, Any]) -> bool:
    """Whether nothing in the call, LiteLLM's settings or the environment needs `completion()`."""
    # First, because another version may lack some of the settings.
    return (
        litellm.completion is _known_completion()
        and call.keys() <= _arguments
        and isinstance(call.get("timeout"), float)
        and bool(call.get("api_key"))
        and isinstance(call["messages"][-1]["content"], str)
        and not any(_settings_of(litellm))
        and all(not called or called == _WITHOUT_EFFECT for called in _callbacks_of(litellm))
        and not any(name in os.environ for name in _variables)
        # What `litellm.OpenAIConfig(...)` set for all calls.
        and not litellm.OpenAIConfig.get_config()
    )


def is_known_version() -> bool:
    """Whether the installed LiteLLM is one that was compared."""
    return catalog.litellm_version() in _VERSIONS


@functools.cache
def _known_completion() -> object:
    """LiteLLM's own `completion`, in whose place a user's test may have put another; None in an unknown version."""
    if not is_known_version():
        return None
    from litellm.chat_completions import dispatch

    return dispatch.completion


def _pattern(litellm: ModuleType, call: Mapping[str, Any]) -> _Pattern | None:
    # The class itself is a part of the key, so that no other one gets its address. LiteLLM's map may grow.
    wanted = call.get("response_format")
    shape = (wanted, vars(wanted).get("__pydantic_validator__")) if isinstance(wanted, type) else repr(wanted)
    rest = {name: value for name, value in call.items() if name not in ("messages", "response_format", "timeout")}
    key = (repr(rest), repr(call["messages"][:-1]), shape, len(litellm.model_cost))
    if key not in _patterns.known:
        pattern = _prepared(litellm, call)
        with _patterns.lock:
            _patterns.known[key] = pattern
    return _patterns.known[key]


def _prepared(litellm: ModuleType, call: Mapping[str, Any]) -> _Pattern | None:
    """The pattern of a call; None if it is not of a kind that was compared."""
    if call["model"].partition("/")[0] not in _ROUTES:
        return None
    messages = [*call["messages"][:-1], {**call["messages"][-1], "content": _MARK}]
    try:
        _met(litellm, {**call, "messages": messages}, _Catcher())
    except _Caught as caught:
        request = caught.request
    else:
        # Something else has answered, such as a user's mock of the OpenAI SDK.
        return None
    headers = {name: value for name, value in request.headers.items() if not name.lower().startswith(_OF_THE_CLIENT)}
    # OpenAI's Responses API has other names, and other replies.
    if {"messages", "contents"}.isdisjoint(json.loads(request.body)):
        return None
    for is_ascii in (True, False):
        # The system prompt or the schema may hold the mark as well.
        mark = json.dumps(_MARK, ensure_ascii=is_ascii).encode()
        if request.body.count(mark) == 1:
            start, _, end = request.body.partition(mark)
            return _Pattern(request.uri, headers, start, end, is_ascii)
    return None


class _Caught(BaseException):
    """A request of LiteLLM's; not an `Exception`, which it would take for an error of the provider's."""

    def __init__(self, request: "Request") -> None:
        self.request = request


class _Catcher:
    """Catches the first call; see `cassettes.use.Fault`."""

    endless = True

    def meet(self, client: str, request: "Request") -> None:
        # LiteLLM may fetch its list of headers first, if it was imported before us.
        if request.method == "POST":
            raise _Caught(request)


def _met(litellm: ModuleType, call: Mapping[str, Any], fault: "Answer | _Catcher") -> Any:
    """What `completion()` returns or raises if its request is not sent, but meets the fault."""
    # Only here: commands that call nothing do not read cassettes.
    from ..cassettes import inject

    # It is none of the requests that the running attempt counts.
    with holding(running, None), inject(fault):
        return litellm.completion(**call)
