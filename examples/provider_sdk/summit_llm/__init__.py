"""Summit, a made-up vendor whose SDK is OpenAI's."""

import functools
from typing import Any

from openai import DefaultHttpxClient, OpenAI

from llm_tester.errors import UnusableReplyError
from llm_tester.llms.base import BaseLLM, ModelConfig

__all__ = ["SummitProvider"]


@functools.cache
def _connections() -> DefaultHttpxClient:
    """The connections of all calls: a client of one's own a call would shake hands anew each time."""
    return DefaultHttpxClient()


class SummitProvider(BaseLLM):
    """`OpenAI`, the SDK's client; what may be configured stands in the config.json beside this file."""

    def _call_llm_api(
        self, prompt: str, system_prompt: str, model_name: str, model_config: ModelConfig, *, timeout: float = 60.0
    ) -> tuple[str, dict[str, Any]]:
        messages: list[Any] = [{"role": "user", "content": prompt}]
        if system_prompt:
            messages.insert(0, {"role": "system", "content": system_prompt})
        # No retries here: `get_response` makes them, as many as the entry's max_attempts says.
        client = OpenAI(
            api_key=self.get_api_key() or "no-key",
            base_url=self.config.api_base,
            timeout=timeout,
            max_retries=0,
            http_client=_connections(),
        )
        completion = client.chat.completions.create(model=model_name, messages=messages, **self.config.params)
        if not completion.choices or completion.usage is None:
            raise UnusableReplyError(f"{self.config.name}, {model_name}: the reply has no choices or no usage")
        usage, choice = completion.usage, completion.choices[0]
        sent, made = usage.prompt_tokens_details, usage.completion_tokens_details
        return choice.message.content or "", {
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": sent and sent.cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "reasoning_tokens": made and made.reasoning_tokens,
            "answered_model": completion.model,
            "finish_reason": choice.finish_reason,
        }
