"""A provider without a network: valid instances of the wanted class, or what a script says."""

import json
import threading
import time
from collections import Counter
from typing import Any

from pydantic import BaseModel, ValidationError

from ...cassettes.forks import lock_of
from ...config import MockScript
from ...errors import UnusableReplyError
from ...tokens import rough_tokens
from ..base import BaseLLM, File, ModelConfig, WantedModel
from .instances import made_up

__all__ = ["MockProvider", "register_mock_response", "reset"]

MockResponse = str | dict[str, Any] | BaseModel | Exception


# What tests registered, and how often each mock failed so far.
_lock = lock_of(threading.Lock)
_responses: dict[str, MockResponse] = {}
_failures: Counter[str] = Counter()


def register_mock_response(key: str, response: MockResponse) -> None:
    """Lets every mock answer in a set way, until `reset_provider_cache`.

    Args:
        key: a text that the prompt or the source contains; `*` answers everything else.
        response: the reply's text, an object or a pydantic instance to send as JSON, or an exception to raise.
    """
    with _lock:
        _responses[key] = response


def reset() -> None:
    """Forgets the registered responses and the failures so far."""
    with _lock:
        _responses.clear()
        _failures.clear()


class _MockFailure(Exception):
    def __init__(self, status_code: int) -> None:
        super().__init__(f"the mock is scripted to fail with {status_code}")
        self.status_code = status_code


class MockProvider(BaseLLM):
    """The mock. The same call gives the same reply, the same usage and the same cost."""

    uses_http = False

    def _takes_schema(self, model: ModelConfig) -> bool:
        return model.supports_schema is not False

    def _call_llm_api(
        self,
        prompt: str,
        system_prompt: str,
        model_name: str,
        model_config: ModelConfig,
        *,
        model_class: WantedModel | None = None,
        files: tuple[File, ...] = (),
    ) -> tuple[str, dict[str, Any]]:
        script = self.config.mock
        if script.delay:
            time.sleep(script.delay)
        self._fail(script)
        reply = _chosen(prompt, script)
        if isinstance(reply, Exception):
            raise reply
        text = _instance(model_class) if reply is None else _as_text(reply)
        counted = {"prompt_tokens": rough_tokens(system_prompt + prompt), "completion_tokens": rough_tokens(text)}
        rest = {"answered_model": model_name, "finish_reason": "stop", "elapsed_seconds": script.delay}
        return text, {**counted, **rest, **script.usage}

    def _fail(self, script: MockScript) -> None:
        if script.error is None:
            return
        with _lock:
            _failures[self.config.name] += 1
            times = _failures[self.config.name]
        if script.error_times is None or times <= script.error_times:
            raise _MockFailure(script.error)


def _chosen(prompt: str, script: MockScript) -> MockResponse | None:
    with _lock:
        responses: dict[str, MockResponse] = {**script.replies, **_responses}
    return next((reply for key, reply in responses.items() if key != "*" and key in prompt), responses.get("*"))


def _as_text(reply: MockResponse) -> str:
    if isinstance(reply, BaseModel):
        return reply.model_dump_json()
    return reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)


def _instance(model_class: WantedModel | None) -> str:
    """JSON of a valid instance, made up from the class's schema."""
    if model_class is None:
        return "mock reply"
    made = made_up(model_class.model_json_schema())
    try:
        return model_class.model_validate(made).model_dump_json()
    except ValidationError as error:
        first = error.errors()[0]
        raise UnusableReplyError(
            f"the mock cannot make up a valid {model_class.__name__} ({first['loc']}: {first['msg']}); "
            "script a reply in the entry's mock.replies or with register_mock_response"
        ) from error
