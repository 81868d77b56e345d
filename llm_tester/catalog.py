"""What LiteLLM ships about models and providers, read as data.

Importing LiteLLM costs about 3 seconds and 170 MB and may start a thread that fetches prices, so nothing here imports
it: the package is found with `importlib.util.find_spec`, and four of its files are read as text.

    model_prices_and_context_window_backup.json   models, token limits, prices (`model_entry`, `model_names`)
    types/utils.py, class LlmProviders            the provider slugs that LiteLLM's router accepts (`known_slugs`)
    provider_endpoints_support_backup.json        the same, if that class has moved
    llms/openai_like/providers.json               further slugs, each with the variable of its key (`env_keys`)

Everything is read at the first use and kept until `reset()`. All functions may be called from any thread.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from pydantic_core import from_json

from .cassettes.forks import lock_of
from .errors import ConfigError

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")

__all__ = [
    "env_keys",
    "hosts",
    "kept",
    "known_slugs",
    "litellm_version",
    "model_entry",
    "model_names",
    "package_file",
    "reset",
    "strip_route",
]

_MODELS = "model_prices_and_context_window_backup.json"
_ENUM = "types/utils.py"
_ENDPOINTS = "provider_endpoints_support_backup.json"
_JSON_PROVIDERS = "llms/openai_like/providers.json"

# One provider under two slugs: the second has the models and the key. From LiteLLM's get_llm_provider().
_ALIASES: Mapping[str, str] = {
    "ai21_chat": "ai21",
    "aiohttp_openai": "openai",
    "anthropic_text": "anthropic",
    "azure_text": "azure",
    "cohere_chat": "cohere",
    "databricks_agent": "databricks",
    "ollama_chat": "ollama",
    "sagemaker_chat": "sagemaker",
    "sagemaker_nova": "sagemaker",
    "text-completion-codestral": "codestral",
    "text-completion-inception": "inception",
    "text-completion-openai": "openai",
    "vertex_ai_beta": "vertex_ai",
    "watsonx_text": "watsonx",
}

# What else `litellm_provider`, or the prefix of a model's name, may be in the bundle; a trailing "-" means a family,
# such as "vertex_ai-anthropic_models". From LiteLLM's _check_provider_match() and the bundle itself.
_OWNERS: Mapping[str, tuple[str, ...]] = {
    "amazon_nova": ("amazon-nova",),
    "azure": ("azure_text",),
    "bedrock": ("bedrock_converse",),
    "cohere": ("cohere_chat",),
    "fireworks_ai": ("fireworks_ai-",),
    "openai": ("text-completion-openai",),
    "vertex_ai": ("vertex_ai-",),
}

# Parts of a model's name that choose LiteLLM's route and never reach the provider: responses_api_bridge_check() in
# main.py, BedrockModelInfo.get_bedrock_route() in llms/bedrock/common_utils.py.
_ROUTES: Mapping[str, tuple[str, ...]] = {"bedrock": ("converse/", "invoke/", "converse_like/", "chat_completions/")}
_ANY_ROUTE = ("responses/",)

# Variables that do not follow <SLUG>_API_KEY. First what validate_environment() in litellm/utils.py asks for (or else
# what the provider's own code reads first), then the others that the same code accepts in place of it.
_ENV_KEYS: Mapping[str, tuple[str, ...]] = {
    "azure": ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"),
    "bedrock_mantle": ("BEDROCK_MANTLE_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cometapi": ("COMETAPI_KEY",),
    "custom_openai": ("OPENAI_API_KEY",),
    "datarobot": ("DATAROBOT_API_TOKEN",),
    "featherless_ai": ("FEATHERLESS_AI_API_KEY", "FEATHERLESS_API_KEY"),
    "fireworks_ai": ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    "friendliai": ("FRIENDLIAI_API_KEY", "FRIENDLI_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "gigachat": ("GIGACHAT_CREDENTIALS", "GIGACHAT_API_KEY"),
    "huggingface": ("HUGGINGFACE_API_KEY", "HF_TOKEN"),
    "lambda_ai": ("LAMBDA_API_KEY",),
    "meta_llama": ("LLAMA_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY", "OR_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "qwen_ai_platform": ("QWEN_AI_PLATFORM_API_KEY", "DASHSCOPE_API_KEY"),
    "qwencloud": ("QWENCLOUD_API_KEY", "DASHSCOPE_API_KEY"),
    "replicate": ("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
    "snowflake": ("SNOWFLAKE_JWT",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"),
    "vercel_ai_gateway": ("VERCEL_AI_GATEWAY_API_KEY", "VERCEL_OIDC_TOKEN"),
    "watsonx": ("WATSONX_APIKEY", "WATSONX_API_KEY", "WX_API_KEY"),
}

# No single key is needed: a local server, cloud credentials of several parts, a login, a router.
_KEYLESS = (
    "a2a a2a_agent auto_router aws_polly aws_textract bedrock chatgpt cursor custom docker_model_runner dotprompt "
    "github_copilot hosted_vllm humanloop langfuse langgraph lemonade litellm_agent llamafile lm_studio "
    "microsoft_365_copilot mongodb oci ollama oobabooga openai_like opensearch petals reducto s3_vectors sagemaker sap "
    "transcribe triton valkey vertex_ai vllm xinference"
)


_lock = lock_of(threading.RLock)
_kept: list[Callable[[], None]] = []


def kept(make: Callable[Arguments, Value]) -> Callable[Arguments, Value]:
    """Keeps what a function makes from LiteLLM's files, for each of its arguments, until `reset`."""
    cached = functools.cache(make)
    _kept.append(cached.cache_clear)

    @functools.wraps(make)
    def get(*arguments: Arguments.args, **keywords: Arguments.kwargs) -> Value:
        # Many threads ask at once when a run begins, and the files are to be read once.
        with _lock:
            return cached(*arguments, **keywords)  # type: ignore[arg-type]

    return get


def reset() -> None:
    """Forget what was read, so that the next call reads LiteLLM's files again."""
    with _lock:
        for clear in _kept:
            clear()


def package_file(name: str) -> Path:
    """The path of a file in LiteLLM's package.

    Raises:
        ConfigError: LiteLLM is not installed.
    """
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("The package litellm is not installed; its data files are needed: pip install litellm")
    return Path(spec.submodule_search_locations[0]) / name


def _read(name: str) -> str:
    path = package_file(name)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read this file of litellm {litellm_version()}: {error}") from error


def _read_json(name: str) -> dict[str, Any]:
    try:
        # A third faster than json, on two megabytes that every command reads.
        data = from_json(_read(name))
    except ValueError as error:
        raise ConfigError(f"{name} of litellm {litellm_version()} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{name} of litellm {litellm_version()}: expected an object, found {type(data).__name__}")
    return data


@kept
def _bundle() -> dict[str, dict[str, Any]]:
    data = _read_json(_MODELS)
    return {name: entry for name, entry in data.items() if isinstance(entry, dict) and name != "sample_spec"}


@kept
def _json_providers() -> dict[str, dict[str, Any]]:
    return _read_json(_JSON_PROVIDERS)


@kept
def litellm_version() -> str:
    """The version of the installed LiteLLM, such as "1.106.2", from its package metadata.

    Raises:
        ConfigError: LiteLLM is not installed.
    """
    try:
        return importlib.metadata.version("litellm")
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError("The package litellm is not installed: pip install litellm") from error


@kept
def known_slugs() -> frozenset[str]:
    """Every provider slug that LiteLLM's router accepts, and so every one usable as `provider_type`.

    The router accepts the values of the enum `LlmProviders` and the keys of `providers.json`
    (litellm/litellm_core_utils/get_llm_provider_logic.py). Some of them, such as "aws_polly", have no chat endpoint;
    LiteLLM's own table of that is wrong for others, so none is left out.
    """
    block = re.search(r"^class LlmProviders\(.*\):\n((?:[ \t].*\n|\n)+)", _read(_ENUM), re.MULTILINE)
    slugs = re.findall(r"^\s+[A-Z]\w* = \"([^\"]+)\"", block[1], re.MULTILINE) if block else []
    return frozenset(slugs or _read_json(_ENDPOINTS)["providers"]) | frozenset(_json_providers())


def env_keys(slug: str) -> tuple[str, ...]:
    """The environment variables that may hold this provider's API key.

    Args:
        slug: a LiteLLM provider slug.

    Returns:
        The canonical name first, then the other names that LiteLLM looks at. Empty for a provider without one key
        that has to be there (a local server, cloud credentials of several parts), and for an unknown slug. The rule
        is `api_key_env` of LiteLLM's providers.json, else this module's table of exceptions, else <SLUG>_API_KEY.
    """
    listed = _json_providers().get(slug, {}).get("api_key_env")
    if isinstance(listed, str):
        return (listed,)
    owner = _ALIASES.get(slug, slug)
    if owner in _ENV_KEYS:
        return _ENV_KEYS[owner]
    if owner in _KEYLESS.split() or owner not in known_slugs():
        return ()
    return (re.sub(r"\W", "_", owner).upper() + "_API_KEY",)


def hosts(slug: str) -> tuple[str, ...]:
    """The host of a provider's own address, if LiteLLM's providers.json has one."""
    address = _json_providers().get(slug, {}).get("base_url")
    host = urlsplit(address).hostname if isinstance(address, str) else None
    return (host,) if host else ()


def strip_route(slug: str, model: str) -> str:
    """The model's name without what only chooses LiteLLM's route: "responses/gpt-5" of openai is "gpt-5"."""
    routes = (*_ROUTES.get(slug, ()), *_ANY_ROUTE)
    return next((model.removeprefix(route) for route in routes if model.startswith(route)), model)


def _owners(slug: str) -> tuple[str, ...]:
    owner = _ALIASES.get(slug, slug)
    return tuple(dict.fromkeys((slug, owner, *_OWNERS.get(owner, ()))))


def _belongs(entry: Mapping[str, Any], slug: str) -> bool:
    provider = str(entry.get("litellm_provider", ""))
    return any(provider == owner or (owner.endswith("-") and provider.startswith(owner)) for owner in _owners(slug))


def _spellings(slug: str, model: str) -> Iterator[str]:
    for name in dict.fromkeys((model, strip_route(slug, model))):
        yield from (f"{owner}/{name}" for owner in _owners(slug))
        yield name


@kept
def model_entry(slug: str, model: str) -> Mapping[str, Any] | None:
    """What LiteLLM's bundle says about one model of one provider: limits, prices in USD per token, abilities.

    Args:
        slug: a LiteLLM provider slug.
        model: the model's name without the slug, as written in the config.

    Returns:
        The entry, read-only, or None. The name must match to the letter, as "<slug>/<model>" or, for an entry that
        belongs to this provider, as "<model>"; a similar name is never used.
    """
    found = (_bundle().get(name) for name in _spellings(slug, model))
    return next((MappingProxyType(entry) for entry in found if entry and _belongs(entry, slug)), None)


def model_names(slug: str) -> list[str]:
    """The chat and responses models that LiteLLM's bundle knows for this provider, sorted, without the slug."""
    prefixes = tuple(f"{owner}/" for owner in _owners(slug))
    return sorted(
        {
            name.partition("/")[2] if name.startswith(prefixes) else name
            for name, entry in _bundle().items()
            if entry.get("mode") in ("chat", "responses") and "*" not in name and _belongs(entry, slug)
        }
    )
