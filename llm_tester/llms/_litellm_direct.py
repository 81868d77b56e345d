"""Calls LiteLLM's routes without its outer `completion()`, which takes most of a call's CPU.

`completion()` prepares each call from nothing (130 to 470 µs for the parameters alone), looks up what it costs, and
logs it in a thread. Here what depends on the config is prepared once, and the route's own code in LiteLLM does the
rest: it writes the request, sends it with LiteLLM's HTTP client, and reads the reply. Nothing of LiteLLM is patched or
switched.

This goes past LiteLLM's public interface, so it is used for what it was compared with `completion()` on, byte by byte
(tests/llms/test_direct.py): the versions, routes and arguments below, and LiteLLM's own settings as they are by
default. All else goes through `completion()`.
"""

import copy
import functools
import json
import os
import threading
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from operator import attrgetter
from types import ModuleType
from typing import Any, NamedTuple

from .. import catalog
from ..cassettes.forks import lock_of

__all__ = ["complete", "is_known_version", "reset"]

# Versions of LiteLLM.
_VERSIONS = ("1.110.2",)
# What a call may consist of; all other parameters need parts of `completion()` that are left out here.
_ARGUMENTS = (
    "model messages timeout max_retries temperature response_format api_key api_base max_tokens max_completion_tokens "
    "top_p seed stop presence_penalty frequency_penalty"
)
# Settings of LiteLLM that change a call. By default each is None, False, 0 or empty.
_SETTINGS = (
    "add_function_to_prompt anthropic_key api_base api_key cache client_session credential_list custom_prompt_dict "
    "custom_provider_map default_fallbacks disable_stop_sequence_limit drop_params "
    "enable_gemini_default_thinking_level_low enable_json_schema_validation enable_preview_features fallbacks headers "
    "log_raw_request_response max_budget model_alias_map model_fallbacks modify_params num_retries "
    "num_retries_per_request openai_key organization post_call_rules pre_call_rules proxy_auth reasoning_auto_summary "
    "route_all_chat_openai_to_responses secret_manager_client set_verbose use_litellm_proxy "
    "vertex_ai_safety_settings vertex_location vertex_project"
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


class _Plan(NamedTuple):
    """What is the same for all calls with the same arguments but messages, key and timeout.

    Attributes:
        route: sends a call.
        slug: the provider, as LiteLLM calls it.
        model: the model's name without the slug.
        api_base: the address.
        config: LiteLLM's description of the provider.
        parameters: the provider's own parameters.
        encoding: LiteLLM's tokenizer.
    """

    route: Callable[["_Plan", Mapping[str, Any], dict[str, Any]], Any]
    slug: str
    model: str
    api_base: str | None
    config: Any
    parameters: dict[str, Any]
    encoding: Any


class _Plans:
    """The one place of the plans; None is the plan of what goes through `completion()`."""

    def __init__(self) -> None:
        self.lock = lock_of(threading.Lock)
        self.known: dict[Hashable, _Plan | None] = {}


_plans = _Plans()


def reset() -> None:
    """Forgets what was prepared."""
    with _plans.lock:
        _plans.known.clear()


def complete(litellm: ModuleType, call: Mapping[str, Any]) -> Any:
    """What `litellm.completion(**call)` returns, or raises, for less CPU if the call is of a kind that was compared.

    Args:
        litellm: the imported package.
        call: the arguments of `completion`; `model` begins with the provider's slug.

    Returns:
        A `ModelResponse`.
    """
    plan = _plan(litellm, call) if _is_plain(litellm, call) else None
    if plan is None:
        return litellm.completion(**call)
    try:
        return plan.route(plan, call, _common(litellm, plan, call))
    except Exception as error:
        # As the end of `completion()` has it.
        mapped = litellm.exception_type(
            model=plan.model,
            custom_llm_provider=plan.slug,
            original_exception=error,
            completion_kwargs=dict(call),
            extra_kwargs={},
        )
        if mapped is error:
            raise
        raise mapped from error


def _is_plain(litellm: ModuleType, call: Mapping[str, Any]) -> bool:
    """Whether nothing in the call, LiteLLM's settings or the environment needs what is left out here."""
    # First, because another version may lack some of the settings.
    return (
        litellm.completion is _known_completion()
        and call.keys() <= _arguments
        and isinstance(call.get("timeout"), float)
        and bool(call.get("api_key"))
        and all(isinstance(message["content"], str) for message in call["messages"])
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


def _plan(litellm: ModuleType, call: Mapping[str, Any]) -> _Plan | None:
    # The class itself is a part of the key, so that no other one gets its address. LiteLLM's map may grow.
    wanted = call.get("response_format")
    shape = (wanted, id(vars(wanted).get("__pydantic_validator__"))) if isinstance(wanted, type) else repr(wanted)
    rest = {
        name: value for name, value in call.items() if name not in ("messages", "api_key", "response_format", "timeout")
    }
    key = (repr(rest), shape, len(litellm.model_cost))
    if key not in _plans.known:
        plan = _prepared(litellm, call)
        with _plans.lock:
            _plans.known[key] = plan
    return _plans.known[key]


def _prepared(litellm: ModuleType, call: Mapping[str, Any]) -> _Plan | None:
    """The plan of a call; None if it is not of a kind that was compared."""
    from litellm.litellm_core_utils.get_llm_provider_logic import get_provider_affinity_header
    from litellm.responses.bridge_check import responses_api_bridge_check
    from litellm.utils import ProviderConfigManager

    slug, _, name = call["model"].partition("/")
    route = _ROUTES.get(slug)
    if route is None:
        return None
    model, provider, _, api_base = litellm.get_llm_provider(
        model=call["model"], api_base=call.get("api_base"), api_key=call["api_key"]
    )
    mode = responses_api_bridge_check(model=model, custom_llm_provider=provider, api_base=api_base)[0].get("mode")
    if (model, provider) != (name, slug) or mode == "responses" or get_provider_affinity_header(api_base):
        return None
    given = {name: value for name, value in call.items() if name not in ("model", "timeout", "api_key", "api_base")}
    parameters = litellm.get_optional_params(model=model, custom_llm_provider=slug, **given)
    config = ProviderConfigManager.get_provider_chat_config(model=model, provider=litellm.LlmProviders(slug))
    if slug == "openai":
        config = _as_the_sdk_writes(type(config))
    return _Plan(route, slug, model, api_base, config, parameters, litellm.main.encoding)


def _common(litellm: ModuleType, plan: _Plan, call: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that all of LiteLLM's routes take."""
    from litellm.litellm_core_utils.get_litellm_params import get_litellm_params

    response = litellm.ModelResponse()
    response.usage = litellm.Usage()
    response._hidden_params["custom_llm_provider"] = plan.slug
    parameters = get_litellm_params(
        acompletion=False,
        api_key=call["api_key"],
        custom_llm_provider=plan.slug,
        api_base=plan.api_base,
        max_retries=call.get("max_retries"),
        timeout=call["timeout"],
    )
    return {
        "model": plan.model,
        "messages": [dict(message) for message in call["messages"]],
        "custom_llm_provider": plan.slug,
        "model_response": response,
        "encoding": plan.encoding,
        "logging_obj": _silent(plan, call, parameters),
        "optional_params": copy.deepcopy(plan.parameters),
        "timeout": call["timeout"],
        "litellm_params": parameters,
        "acompletion": False,
    }


def _silent(plan: _Plan, call: Mapping[str, Any], parameters: dict[str, Any]) -> Any:
    log = _silent_logging()(
        model=plan.model,
        messages=call["messages"],
        stream=None,
        call_type="completion",
        start_time=datetime.now(),
        litellm_call_id="",
        litellm_trace_id="none",
        function_id="",
        supports_correlation_logging=False,
    )
    log.optional_params, log.litellm_params = plan.parameters, parameters
    return log


@functools.cache
def _silent_logging() -> Any:
    """LiteLLM's log of a call, but for the two methods that its routes report to; there are no callbacks."""
    from litellm.litellm_core_utils.litellm_logging import Logging

    class Silent(Logging):
        def pre_call(self, *_: Any, **__: Any) -> None:
            pass

        def post_call(self, *_: Any, **__: Any) -> None:
            pass

    return Silent


def _openai(plan: _Plan, call: Mapping[str, Any], common: dict[str, Any]) -> Any:
    from litellm.main import base_llm_http_handler

    for name in ("max_retries", "stream"):
        common["optional_params"].pop(name, None)
    return base_llm_http_handler.completion(
        **common,
        api_key=call["api_key"],
        api_base=plan.api_base or "https://api.openai.com/v1",
        headers={"Accept": "application/json"},
        provider_config=plan.config,
    )


def _as_the_sdk_writes(kind: type[Any]) -> Any:
    """A description of the provider whose requests have the bytes of the OpenAI SDK, which `completion()` uses."""

    def sign_request(_: Any, headers: dict[str, str], *, request_data: Any, **__: Any) -> tuple[dict[str, str], bytes]:
        text = json.dumps(request_data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return headers, text.encode()

    return type(kind.__name__, (kind,), {"sign_request": sign_request})()


def _mistral(plan: _Plan, call: Mapping[str, Any], common: dict[str, Any]) -> Any:
    from litellm.main import base_llm_http_handler

    return base_llm_http_handler.completion(
        **common, api_key=call["api_key"], api_base=plan.api_base, headers={}, provider_config=plan.config
    )


def _anthropic(plan: _Plan, call: Mapping[str, Any], common: dict[str, Any]) -> Any:
    from litellm.litellm_core_utils.url_utils import ensure_api_route
    from litellm.main import anthropic_chat_completions

    return anthropic_chat_completions.completion(
        **common,
        api_key=call["api_key"],
        api_base=ensure_api_route(plan.api_base or "https://api.anthropic.com/v1/messages", "v1/messages"),
        custom_prompt_dict={},
        print_verbose=_nothing,
        headers={},
    )


def _gemini(plan: _Plan, call: Mapping[str, Any], common: dict[str, Any]) -> Any:
    from litellm.main import vertex_chat_completion

    return vertex_chat_completion.completion(
        **common,
        gemini_api_key=call["api_key"],
        api_base=plan.api_base,
        vertex_location=None,
        vertex_project=None,
        vertex_credentials=None,
        print_verbose=_nothing,
        extra_headers={},
    )


def _nothing(*_: object) -> None:
    """LiteLLM's printing, if it is not verbose."""


_ROUTES = {"anthropic": _anthropic, "gemini": _gemini, "mistral": _mistral, "openai": _openai}
