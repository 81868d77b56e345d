"""Calls through LiteLLM: the backend of every entry whose provider_type is a LiteLLM slug."""

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from .. import catalog
from ..errors import ConfigError, UnusableReplyError
from .base import BaseLLM, File, ModelConfig, WantedModel

__all__ = ["LiteLLMProvider", "usage_of"]

# LiteLLM 1.106 and 1.107 drop `max_retries` for these, and the OpenAI SDK below them then tries three times; named as
# an allowed parameter it comes through. For the other slugs it would go into the request's body.
_DEAF_TO_MAX_RETRIES = frozenset(
    {
        "ai21_chat",
        "baseten",
        "codestral",
        "deepinfra",
        "featherless_ai",
        "hyperbolic",
        "inception",
        "morph",
        "nscale",
        "nvidia_nim",
        "sambanova",
        "v0",
        "zai",
    }
)


def _litellm() -> ModuleType:
    # Without these, importing LiteLLM fetches its price map and header list from the network.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
    import litellm

    # Otherwise it prints "Give Feedback / Get Help" at every failed call.
    litellm.suppress_debug_info = True
    return litellm


class LiteLLMProvider(BaseLLM):
    """Any provider that LiteLLM has a route for; the route is the config's `provider_type`."""

    def _catalog_name(self, model_name: str) -> tuple[str, str] | None:
        return self.config.provider_type, model_name

    def _known_models(self) -> list[str]:
        return [*super()._known_models(), *catalog.model_names(self.config.provider_type)]

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
        litellm = _litellm()
        call: dict[str, Any] = {
            "model": f"{self.config.provider_type}/{model_name}",
            "messages": _messages(prompt, system_prompt, files),
            "timeout": timeout,
            "max_retries": 0,
            "api_key": self._key_to_send(model_name),
            "api_base": self.config.api_base,
            "temperature": 0,
            **({"response_format": model_class} if model_class else {}),
            **self.config.params,
        }
        if self.config.provider_type in _DEAF_TO_MAX_RETRIES:
            call["allowed_openai_params"] = ["max_retries", *call.get("allowed_openai_params", ())]
        call = {name: value for name, value in call.items() if value is not None}
        response = None
        try:
            response = litellm.completion(**call)
        except litellm.UnsupportedParamsError:
            if "temperature" in self.config.params:
                raise
        except ModuleNotFoundError as error:
            raise _missing(error) from error
        if response is None:
            # Some reasoning models take no temperature, and LiteLLM refuses it before any request. The 0 is our
            # default, not the user's wish, so it is left out for them.
            del call["temperature"]
            response = litellm.completion(**call)
        return _text(response, self.config.name, model_name), usage_of(response)


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
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _count(holder: object, name: str) -> int:
    value = _get(holder, name)
    return int(value) if isinstance(value, int | float) else 0


def usage_of(response: object) -> dict[str, Any]:
    """What a LiteLLM reply says of itself.

    Args:
        response: a `ModelResponse`.

    Returns:
        The counts in this package's sense (all input, all output, and the parts of them), `answered_model` and
        `finish_reason`. LiteLLM already adds Anthropic's cache tokens to the input and Google's thoughts to the
        output; the tests replay 131 real recordings against these numbers.
    """
    usage = _get(response, "usage")
    sent = _get(usage, "prompt_tokens_details")
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if _count(sent, "tool_use_tokens"):
        # LiteLLM leaves the tool-use input of a search-grounded Gemini reply out of prompt_tokens, not of the total.
        prompt = max(prompt, _count(usage, "total_tokens") - completion)
    choices = _get(response, "choices")
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cached_tokens": _count(sent, "cached_tokens"),
        "cache_write_tokens": _count(sent, "cache_write_tokens"),
        "reasoning_tokens": _count(_get(usage, "completion_tokens_details"), "reasoning_tokens"),
        "answered_model": _get(response, "model"),
        "finish_reason": _get(choices[0], "finish_reason") if isinstance(choices, list) and choices else None,
    }
