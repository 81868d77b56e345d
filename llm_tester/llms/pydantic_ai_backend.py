"""Calls through PydanticAI: the backend of entries with `"provider_type": "pydantic_ai"`.

Each call is one request, made by `pydantic_ai.direct`: an agent would ask again if it did not like a reply, at the
user's expense. All calls run on one event loop in its own thread, because PydanticAI's clients belong to the loop on
which they were first used; `run_coroutine_threadsafe` carries the caller's context, and with it the cassette.
"""

import atexit
import functools
import re
import threading
import warnings
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from .. import catalog
from ..cassettes.forks import importing, in_child, lock_of
from ..cassettes.importing import collector_at_rest
from ..errors import ConfigError, UnusableReplyError
from ._billing import vendor_of
from .base import BaseLLM, File, ModelConfig, WantedModel

if TYPE_CHECKING:
    import asyncio

__all__ = ["PydanticAIProvider", "reset"]

Result = TypeVar("Result")

# The names that PydanticAI gives, or gave, to what LiteLLM's data calls otherwise.
_SLUGS = {
    "openai-chat": "openai",
    "openai-responses": "openai",
    "google": "gemini",
    "google-gla": "gemini",
    "google-cloud": "vertex_ai",
    "google-vertex": "vertex_ai",
}
# The vendors to which PydanticAI sends a response schema for every model; it takes a second to import, so that it is
# asked about the others only. tests/llms/test_schema.py compares.
_TAKE_SCHEMA = ("google", "google-cloud", "openai", "openai-chat", "openai-responses")
_RENAMED = {"google-gla": "google", "google-vertex": "google-cloud"}

_UNREAD = "Failed to extract usage"
_IGNORED = ("ignore", re.compile(_UNREAD, re.IGNORECASE), Warning, None, 0)

# Anthropic requires a limit, and PydanticAI streams if there is none.
_MOST_TOKENS = 8192


class _Worker:
    """The event loop, its thread, and the clients that belong to it."""

    def __init__(self) -> None:
        self.lock = lock_of(threading.RLock)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None
        self.models: dict[tuple[str, str | None, str | None], Any] = {}
        self.clients: list[Any] = []
        self.of_parent: list[object] = []

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        import asyncio

        with self.lock:
            if self.loop is None:
                self.loop = asyncio.new_event_loop()
                self.thread = threading.Thread(target=self.loop.run_forever, name="llm_tester-pydantic-ai", daemon=True)
                self.thread.start()
                atexit.register(self.stop)
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def leave_behind(self) -> None:
        """Forgets, in a forked child, what belongs to the parent; closing it would close the parent's sockets."""
        if self.loop is not None:
            # Kept, because a loop and clients that are collected close themselves.
            self.of_parent.append((self.loop, self.clients, self.models))
            self.loop, self.thread, self.clients, self.models = None, None, [], {}

    def stop(self) -> None:
        with self.lock:
            loop, thread, self.loop, self.thread = self.loop, self.thread, None, None
            clients, self.clients = self.clients, []
            self.models.clear()
            atexit.unregister(self.stop)
        if loop is not None and thread is not None:
            import asyncio

            # A client that is dropped unclosed closes itself later, and takes the sockets of others along.
            asyncio.run_coroutine_threadsafe(_close(clients), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


async def _close(clients: list[Any]) -> None:
    import asyncio

    # Calls of other threads may still be under way.
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)
    for client in clients:
        async with client:
            pass


_worker = _Worker()
in_child(_worker.leave_behind)


def reset() -> None:
    """Closes the event loop and forgets the clients."""
    _worker.stop()


class PydanticAIProvider(BaseLLM):
    """PydanticAI; a model is named `<pydantic-ai provider>:<model>`, such as `openai-chat:gpt-4o`."""

    def _catalog_name(self, model_name: str) -> tuple[str, str] | None:
        vendor, colon, name = model_name.partition(":")
        return (_SLUGS.get(vendor, vendor.replace("-", "_")), name) if colon else None

    def _schema_problem(self, model: ModelConfig) -> str | None:
        vendor, colon, name = model.name.partition(":")
        vendor = _RENAMED.get(vendor, vendor)
        if colon and vendor in _TAKE_SCHEMA:
            return None
        from pydantic_ai.providers import infer_provider_class

        try:
            profile = infer_provider_class(vendor).model_profile(name) if colon else {}
        except (ValueError, ImportError):
            # The call itself says what is missing.
            return None
        if (profile or {}).get("supports_json_schema_output"):
            return None
        return f"PydanticAI sends {vendor or 'this vendor'} no response schema for this model"

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
        _import()
        from pydantic_ai.messages import BinaryContent, ModelRequest, TextPart, UserPromptPart
        from pydantic_ai.models import ModelRequestParameters
        from pydantic_ai.output import OutputObjectDefinition

        # Only a call needs what maps errors.
        from ._replies import corrected

        # The counts are then those of the reply's body, and a note says what was wrong with them.
        if _IGNORED not in warnings.filters:
            warnings.filterwarnings("ignore", _UNREAD)
        model = self._client(model_name)
        content: Any = prompt
        if files:
            content = [prompt, *(BinaryContent(data=file.data(), media_type=file.media_type) for file in files)]
        parameters = ModelRequestParameters()
        if model_class:
            schema = OutputObjectDefinition(json_schema=model_class.model_json_schema(), name=model_class.__name__)
            parameters = ModelRequestParameters(output_mode="native", output_object=schema)
        request = ModelRequest(parts=[UserPromptPart(content)], instructions=system_prompt or None)
        settings: Any = {"temperature": 0, "timeout": timeout, **self.resolved_params()}
        if model_name.startswith("anthropic:"):
            settings.setdefault("max_tokens", model_config.max_output_tokens or self._limit(model_name))
        settings = {name: value for name, value in settings.items() if value is not None}

        def read() -> tuple[str, dict[str, Any]]:
            response = _worker.run(_request(timeout, model, request, settings, parameters))
            text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
            if not text and response.finish_reason is None and not response.usage.total_tokens:
                message = f"{self.config.name}, {model_name}: the reply holds neither a text nor usage"
                raise UnusableReplyError(message, provider=self.config.name, model=model_name)
            return text, _usage(response.usage, response)

        place = self._catalog_name(model_name)
        vendor = vendor_of(place[0] if place else "", self.config.api_base)
        try:
            return corrected(self.config.name, model_name, vendor, read)
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            # PydanticAI raises these if it cannot read the reply; the request is ours and typed.
            message = f"{self.config.name}, {model_name}: the reply is not what the provider's API promises: {error}"
            raise UnusableReplyError(message, provider=self.config.name, model=model_name) from error

    def _limit(self, model_name: str) -> int:
        place = self._catalog_name(model_name)
        known = (catalog.model_entry(*place) if place else None) or {}
        return min(int(known.get("max_output_tokens") or _MOST_TOKENS), _MOST_TOKENS)

    def _client(self, model_name: str) -> Any:
        from pydantic_ai.models import infer_model

        key = self._key_to_send(model_name)
        vendor, colon, name = model_name.partition(":")
        if not colon:
            raise ConfigError(
                f"{self.config.name}: PydanticAI's models are named vendor:model, such as openai-chat:gpt-4o or "
                f"anthropic:claude-sonnet-4-5; found {model_name!r}"
            )
        place = (model_name, self.config.api_base, key)
        with _worker.lock:
            if place not in _worker.models:
                full = f"{_RENAMED.get(vendor, vendor)}:{name}"
                _worker.models[place] = infer_model(full, lambda vendor: _vendor(vendor, self.config.api_base, key))
            return _worker.models[place]


@functools.cache
def _import() -> None:
    with importing, collector_at_rest():
        import pydantic_ai.direct  # noqa: F401


async def _request(timeout: float, model: Any, request: Any, settings: Any, parameters: Any) -> Any:
    import asyncio

    from pydantic_ai.direct import model_request

    # The SDKs' own timeouts count each read; this one holds for the call as a whole, whatever they wait for.
    async with asyncio.timeout(timeout):
        return await model_request(model, [request], model_settings=settings, model_request_parameters=parameters)


def _vendor(vendor: str, api_base: str | None, key: str | None) -> Any:
    """PydanticAI's provider for a vendor, whose SDK does not try again by itself."""
    if vendor in ("openai", "openai-chat", "openai-responses"):
        from openai import AsyncOpenAI
        from pydantic_ai.providers.openai import OpenAIProvider

        _worker.clients.append(client := AsyncOpenAI(api_key=key, base_url=api_base, max_retries=0))
        return OpenAIProvider(openai_client=client)
    if vendor == "anthropic":
        from anthropic import AsyncAnthropic
        from pydantic_ai.providers.anthropic import AnthropicProvider

        _worker.clients.append(own := AsyncAnthropic(api_key=key, base_url=api_base, max_retries=0))
        return AnthropicProvider(anthropic_client=own)
    from pydantic_ai.providers import infer_provider_class

    try:
        kind: Any = infer_provider_class(vendor)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"PydanticAI cannot be used for {vendor!r}: {error}") from error
    # Mistral's and Google's SDKs make one request by default.
    _worker.clients.append(made := kind(api_key=key, **({"base_url": api_base} if api_base else {})))
    return made


def _usage(usage: Any, response: Any) -> dict[str, Any]:
    """PydanticAI's usage; its input and output already include caches and reasoning, for every vendor."""
    details = usage.details or {}
    reasoning = [value for name, value in details.items() if re.fullmatch("(reasoning|thinking|thoughts)_tokens", name)]
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": max(reasoning, default=0),
        "answered_model": response.model_name,
        "finish_reason": response.finish_reason,
    }
