"""Acme, a made-up vendor without an SDK: its API is called with httpx."""

import functools
from typing import Any

import httpx

from llm_tester.errors import UnusableReplyError
from llm_tester.llms.base import BaseLLM, ModelConfig

__all__ = ["AcmeProvider"]


@functools.cache
def _connections() -> httpx.Client:
    """The connections of all calls; one client serves any number of threads."""
    return httpx.Client()


class AcmeProvider(BaseLLM):
    """`POST {api_base}/generate`; what may be configured stands in the config.json beside this file."""

    def _call_llm_api(
        self, prompt: str, system_prompt: str, model_name: str, model_config: ModelConfig, *, timeout: float = 60.0
    ) -> tuple[str, dict[str, Any]]:
        response = _connections().post(
            f"{self.config.api_base}/generate",
            headers={"x-acme-key": self.get_api_key() or "no-key"},
            json={"model": model_name, "system": system_prompt, "input": prompt, **self.config.params},
            timeout=timeout,
        )
        answer = response.raise_for_status().json()
        if "output" not in answer:
            raise UnusableReplyError(f"{self.config.name}, {model_name}: the reply has no output")
        tokens = answer["tokens"]
        return answer["output"], {
            # Acme counts what it read from its cache beside the rest of the input.
            "prompt_tokens": tokens["in"] + tokens["cached"],
            "cached_tokens": tokens["cached"],
            "completion_tokens": tokens["out"],
            "answered_model": answer.get("model"),
            "finish_reason": {"end": "stop", "limit": "length"}.get(answer.get("stopped")),
        }
