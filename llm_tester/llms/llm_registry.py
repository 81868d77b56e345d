"""One instance of each provider, for all callers and threads."""

import threading
from typing import Any

from ..cassettes.forks import lock_of
from ..errors import ConfigError, ProviderError
from . import litellm_backend, provider_factory, pydantic_ai_backend
from .base import BaseLLM

__all__ = ["close_clients", "discover_providers", "get_llm_provider", "get_provider_info", "reset_provider_cache"]


_lock = lock_of(threading.RLock)
_instances: dict[str, BaseLLM] = {}


def get_llm_provider(provider_name: str) -> BaseLLM | None:
    """The instance of a provider, made at the first call.

    Args:
        provider_name: its name.

    Returns:
        The same instance for the same name, until `reset_provider_cache`; None, with a log line that suggests near
        names, if there is no provider of that name.

    Raises:
        ConfigError: its entry or its class cannot be used.
    """
    with _lock:
        if provider_name not in _instances:
            made = provider_factory.create_provider(provider_name)
            if made is None:
                return None
            _instances[provider_name] = made
        return _instances[provider_name]


def discover_providers() -> list[str]:
    """The name of every provider there is an entry or a class for, sorted, whether or not it can be used."""
    return provider_factory.get_available_providers()


def reset_provider_cache() -> None:
    """Forgets instances, classes, configs, keys, clients, cases and mock replies."""
    with _lock:
        _instances.clear()
        provider_factory.reset_caches()


def close_clients() -> None:
    """Closes the HTTP clients of all providers, and PydanticAI's event loop; the next call makes new ones."""
    litellm_backend.close()
    pydantic_ai_backend.reset()


def get_provider_info(provider_name: str) -> dict[str, Any]:
    """What there is to know of a provider, without calling it.

    Args:
        provider_name: its name.

    Returns:
        `name`, `available`, `problem` (why it cannot start; None if it can), `class`, `provider_type`,
        `default_model`, `models` (names), `key_variable` (the one that is set, else the first of those that may hold
        the key; None if no key is needed), `key_set`, `login_set` and `login_missing` (the variables of the whole
        login), `missing_key` (what to do about what a live call lacks; None if nothing), `schema_mode` (how the
        default model is asked for a pydantic class; None if it cannot be, with `schema_problem`) and `enabled`.
    """
    info: dict[str, Any] = {"name": provider_name, "available": False, "problem": None}
    try:
        instance = get_llm_provider(provider_name)
    except ConfigError as error:
        return {**info, "problem": str(error)}
    if instance is None:
        return {**info, "problem": f"there is no provider {provider_name!r}"}
    variables = instance.key_variables()
    given, missing = instance.login_variables()
    return {
        **info,
        "available": True,
        "class": type(instance).__name__,
        "provider_type": instance.config.provider_type,
        "default_model": instance.get_default_model(),
        "models": [model.name for model in instance.config.models],
        "key_variable": next((name for name in variables if name in given), *variables[:1]) if variables else None,
        "key_set": instance.get_api_key() is not None,
        "login_set": given,
        "login_missing": missing,
        "missing_key": instance.missing_key(),
        **_schema(instance),
        "enabled": instance.config.enabled,
    }


def _schema(instance: BaseLLM) -> dict[str, str | None]:
    try:
        return {"schema_mode": instance.schema_mode(), "schema_problem": None}
    except ProviderError as error:
        return {"schema_mode": None, "schema_problem": str(error)}
