"""Calls through LiteLLM: the backend of every entry whose provider_type is a LiteLLM slug."""

import functools
import inspect
import logging
import os
import re
import sys
import warnings
from types import ModuleType
from typing import Any

from .. import cassettes, catalog
from ..cassettes.forks import importing
from ..cassettes.importing import collector_at_rest
from ..config import ProviderConfig
from ..errors import BadRequestError, ConfigError, UnusableReplyError
from ..settings import settings
from ._billing import vendor_of
from ._litellm_direct import send
from ._logins import Login, login
from .base import BaseLLM, File, ModelConfig, WantedModel

__all__ = ["LiteLLMProvider", "close", "usage_of"]

# LiteLLM drops `max_retries` for these, and the OpenAI SDK below them then tries three times; named as an allowed
# parameter it comes through. For the other slugs it would go into the request's body.
_DEAF_TO_MAX_RETRIES = (
    "ai21 ai21_chat baseten bigmodel clf_ai_gateway codestral deepinfra featherless_ai hyperbolic inception morph "
    "nscale nvidia_nim sambanova text-completion-inception v0 zai"
)
# These try once by themselves, and refuse the parameter or put it into the body.
_WITHOUT_MAX_RETRIES = ("gradient_ai", "huggingface")

# LiteLLM's routes that refuse a response schema, or leave it out, for every model. From each one's
# get_supported_openai_params(); tests/llms/test_schema.py compares.
_WITHOUT_SCHEMA = (
    "a2a amazon_nova anthropic_text azure_text bytez cohere cohere_chat custom databricks_agent fal_ai "
    "featherless_ai gradient_ai infinity langflow langgraph maritalk microsoft_365_copilot nlp_cloud petals "
    "replicate sagemaker scaledown snowflake text-completion-codestral text-completion-inception "
    "text-completion-openai triton v0 volcengine watsonx_text"
)

# What LiteLLM warns of, and the filter that this makes.
_READ_ONLY = r"Items? .* `ReadOnly` qualifier"
_IGNORED = ("ignore", re.compile(_READ_ONLY, re.IGNORECASE), UserWarning, None, 0)
_LOGGERS = [logging.getLogger(name) for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")]


@functools.cache
def _litellm() -> ModuleType:
    # Without these, importing LiteLLM fetches its price map and header list from the network.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
    with importing, collector_at_rest():
        import litellm

    # Otherwise it prints "Give Feedback / Get Help" at every failed call.
    litellm.suppress_debug_info = True
    if not hasattr(litellm.ModelResponse, "service_tier"):
        # Its groq route reads this of every reply, and some have none: https://console.groq.com/docs/service-tiers
        litellm.ModelResponse.service_tier = None
    return litellm


def close() -> None:
    """Closes the HTTP clients that LiteLLM keeps; the next call makes new ones."""
    if litellm := sys.modules.get("litellm"):
        clients = litellm.in_memory_llm_clients_cache.cache_dict
        for name, client in list(clients.items()):
            # It also makes clients for event loops, which are not used here.
            if not inspect.iscoroutinefunction(client.close):
                del clients[name]
                client.close()


def _silence() -> None:
    """Keeps what LiteLLM logs and warns off the terminal: a failed call is an error of ours, and says why."""
    if warnings.filters[:1] != [_IGNORED]:
        warnings.filterwarnings("ignore", _READ_ONLY, UserWarning)
    if "LITELLM_LOG" not in os.environ:
        for logger in _LOGGERS:
            logger.disabled = True


class LiteLLMProvider(BaseLLM):
    """Any provider that LiteLLM has a route for; the route is the config's `provider_type`."""

    def __init__(self, config: ProviderConfig | None = None) -> None:
        super().__init__(config)
        # The models that take no temperature: to ask LiteLLM again at each call takes longer than the call.
        self._without_temperature: set[str] = set()

    def _catalog_name(self, model_name: str) -> tuple[str, str] | None:
        return self.config.provider_type, model_name

    def _known_models(self) -> list[str]:
        return [*super()._known_models(), *catalog.model_names(self.config.provider_type)]

    def _login(self) -> Login | None:
        return login(self.config.provider_type, self.config.env_key)

    def _written(self) -> set[str]:
        return {*self.config.params, *(["api_base"] if self.config.api_base else [])}

    def key_variables(self, model_name: str | None = None) -> tuple[str, ...]:
        if self.config.env_key is None and (needed := self._login()):
            # The address is a part of the login, so the vendor's key belongs to the one that the entry names.
            return needed.key_variables()
        return super().key_variables(model_name)

    def missing_key(self, model_name: str | None = None) -> str | None:
        needed = self._login()
        if needed is None:
            return super().missing_key(model_name)
        address = self.config.api_base or needed.arguments(settings().key, self._written()).get("api_base")
        is_users = not self.config.api_base and address in os.environ.values()  # not from the project's .env
        if problem := self._refusal(needed.variables(), None if is_users else address):
            return problem
        lacks = needed.missing(settings().key, self._written())
        if not lacks:
            return None
        ways = ", or ".join(" and ".join(map(str, way)) for way in lacks)
        alone = '; or write "env_key": "" in the entry if this machine is logged in' if needed.by_itself else ""
        return f"set {ways}, in the environment or in {settings().dotenv_path}{alone}"

    def login_variables(self, model_name: str | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        needed = self._login()
        if needed is None:
            return super().login_variables(model_name)
        lacks = needed.missing(settings().key, self._written())
        return needed.holders(settings().key), tuple(map(str, lacks[0])) if lacks else ()

    def _schema_problem(self, model: ModelConfig) -> str | None:
        if self.config.provider_type in _WITHOUT_SCHEMA.split():
            return f"LiteLLM's route {self.config.provider_type} takes no response schema"
        return super()._schema_problem(model)

    def _check_schema_is_kept(self, litellm: ModuleType, model_name: str) -> None:
        """Asks LiteLLM as it asks itself, since with `drop_params` it leaves a schema out without a word."""
        slug = self.config.provider_type
        supported = litellm.get_supported_openai_params(model=model_name, custom_llm_provider=slug)
        allowed = self.config.params.get("allowed_openai_params", ())
        if supported is not None and "response_format" not in (*supported, *allowed):
            message = f"{self.config.name}, {model_name}: with drop_params LiteLLM drops the response schema; write "
            message += '"structured_output": "prompt"'
            raise BadRequestError(message, provider=self.config.name, model=model_name)

    def _call_llm_api(
        self,
        prompt: str,
        system_prompt: str,
        model_name: str,
        model_config: ModelConfig,
        *,
        model_class: WantedModel | None = None,
        files: tuple[File, ...] = (),
        timeout: float = 60.0,
    ) -> tuple[str, dict[str, Any]]:
        # At each call: a test runner puts the filters of warnings back after each test.
        _silence()
        litellm = _litellm()
        call = self._arguments(model_name, timeout, model_class)
        call["messages"] = _messages(prompt, system_prompt, files)
        if model_name in self._without_temperature:
            del call["temperature"]
        if model_class and (call.get("drop_params") or litellm.drop_params):
            self._check_schema_is_kept(litellm, model_name)
        try:
            try:
                return self._reply(litellm, call, model_name)
            except litellm.UnsupportedParamsError:
                if "temperature" in self.config.params:
                    raise
            # Some reasoning models take no temperature, and LiteLLM refuses it before any request. The 0 is our
            # default, not the user's wish, so it is left out for them.
            del call["temperature"]
            reply = self._reply(litellm, call, model_name)
            self._without_temperature.add(model_name)
            return reply
        except ModuleNotFoundError as error:
            raise _missing(error) from error

    def _reply(self, litellm: ModuleType, call: dict[str, Any], model_name: str) -> tuple[str, dict[str, Any]]:
        """Makes the call, and reads the reply."""
        # Only a call needs what maps errors.
        from ._replies import corrected

        name, answer = self.config.name, send(litellm, call)

        def read() -> tuple[str, dict[str, Any]]:
            response = answer.read(litellm, call) if answer else litellm.completion(**call)
            return _text(response, name, model_name), usage_of(response)

        vendor = vendor_of(self.config.provider_type, self.config.api_base)
        return corrected(name, model_name, vendor, read, is_sent=answer is not None and answer.is_good)

    def _arguments(self, model_name: str, timeout: float, model_class: WantedModel | None) -> dict[str, Any]:
        """LiteLLM's arguments without the messages; later ones lead."""
        slug, needed = self.config.provider_type, self._login()
        call: dict[str, Any] = {
            "model": f"{slug}/{model_name}",
            "timeout": timeout,
            "max_retries": None if slug in _WITHOUT_MAX_RETRIES else 0,
            "temperature": 0,
            "response_format": model_class,
            **(needed.arguments(settings().key, self._written()) if needed else {}),
            "api_key": self._key_to_send(model_name),
            **({"api_base": self.config.api_base} if self.config.api_base else {}),
            **self.resolved_params(),
        }
        if slug in _DEAF_TO_MAX_RETRIES.split():
            call["allowed_openai_params"] = ["max_retries", *call.get("allowed_openai_params", ())]
        return {name: value for name, value in call.items() if value is not None}

    def _key_to_send(self, model_name: str) -> str | None:
        if self._login() and not cassettes.is_offline():
            # A word in the key's place would hide the login's other parts.
            return self._key(model_name)
        return super()._key_to_send(model_name)


def _missing(error: ModuleNotFoundError) -> ConfigError:
    extra = "; pip install 'llm_tester[responses]' brings it" if error.name == "mcp" else ""
    return ConfigError(f"LiteLLM's route for this model needs the package {error.name!r}{extra}")


def _messages(prompt: str, system_prompt: str, files: tuple[File, ...]) -> list[dict[str, Any]]:
    content: Any = prompt
    if files:
        parts = [
            {"type": "image_url", "image_url": {"url": file.data_url()}}
            if file.needs == "supports_vision"
            else {"type": "file", "file": {"file_data": file.data_url(), "filename": file.path.name}}
            for file in files
        ]
        content = [{"type": "text", "text": prompt}, *parts]
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": content}]


def _text(response: Any, provider: str, model: str) -> str:
    choices = getattr(response, "choices", None)
    if not choices:
        message = f"{provider}, {model}: the reply holds no choices"
        raise UnusableReplyError(message, provider=provider, model=model)
    return choices[0].message.content or ""


def _get(holder: object, name: str) -> object:
    return holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def usage_of(response: object) -> dict[str, Any]:
    """What a LiteLLM reply says of itself.

    Args:
        response: a `ModelResponse`.

    Returns:
        The counts in this package's sense (all input, all output, and the parts of them), as they are reported, with
        `answered_model` and `finish_reason`. LiteLLM already adds Anthropic's cache tokens to the input and Google's
        thoughts to the output; the tests replay 131 real recordings against these numbers.
    """
    usage = _get(response, "usage")
    sent = _get(usage, "prompt_tokens_details")
    prompt, completion = _get(usage, "prompt_tokens"), _get(usage, "completion_tokens")
    if _whole(_get(sent, "tool_use_tokens")):
        # LiteLLM leaves the tool-use input of a search-grounded Gemini reply out of prompt_tokens, not of the total.
        prompt = max(_whole(prompt), _whole(_get(usage, "total_tokens")) - _whole(completion))
    choices = _get(response, "choices")
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cached_tokens": _get(sent, "cached_tokens"),
        "cache_write_tokens": _get(sent, "cache_write_tokens"),
        "reasoning_tokens": _get(_get(usage, "completion_tokens_details"), "reasoning_tokens"),
        "answered_model": _get(response, "model"),
        "finish_reason": _get(choices[0], "finish_reason") if isinstance(choices, list) and choices else None,
    }
