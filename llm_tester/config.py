"""What a user writes: the global config, with one entry per provider.

The global config is the file named by an argument, else by `LLM_TESTER_CONFIG`, else `config.json` in the working
directory; there need not be one. The package's own providers are in `llm_tester/llms/<name>/config.json`, and an
entry of the same name in the global config is laid over them, field by field.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from . import errors
from ._price import Price, Rate
from ._variables import FORM, looks_like_a_key, written_keys
from .cassettes.secrets import default_scrubber
from .errors import ConfigError, suggest

__all__ = ["Fallback", "GlobalConfig", "MockScript", "ModelConfig", "ProviderConfig", "read_json", "validate"]

Model = TypeVar("Model", bound=BaseModel)


class _Strict(BaseModel):
    # A key may be in the wrong place, and pydantic would show it in tracebacks.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ModelConfig(_Strict):
    """One model of a provider. Everything but the name may be left to what LiteLLM ships.

    Attributes:
        name: the name the provider knows it by.
        default: whether it is the provider's default; at most one model is.
        enabled: whether it is used if all of a provider's models are asked for.
        cost_input: USD per million input tokens; None leaves it to the price sources, 0 says free.
        cost_output: USD per million output tokens.
        cost_cached_input: USD per million input tokens read from the provider's cache; None means `cost_input`.
        cost_cache_write: USD per million input tokens written to the provider's cache; None means `cost_input`.
        cost_reasoning: USD per million reasoning tokens; None means `cost_output`.
        cost_per_request: USD for each request, on top of its tokens.
        max_input_tokens: tokens that fit in.
        max_output_tokens: tokens that can come out.
        supports_schema: whether the model takes a response schema; None asks LiteLLM's bundle.
        supports_vision: whether it takes images; None asks LiteLLM's bundle.
        supports_pdf: whether it takes PDFs; None asks LiteLLM's bundle.
    """

    name: str = Field(min_length=1)
    default: bool = False
    enabled: bool = True
    cost_input: Rate | None = None
    cost_output: Rate | None = None
    cost_cached_input: Rate | None = None
    cost_cache_write: Rate | None = None
    cost_reasoning: Rate | None = None
    cost_per_request: Rate = 0.0
    max_input_tokens: int | None = Field(default=None, gt=0)
    max_output_tokens: int | None = Field(default=None, gt=0)
    supports_schema: bool | None = None
    supports_vision: bool | None = None
    supports_pdf: bool | None = None

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        if "://" in self.name:
            raise ValueError(f"name: found the address {self.name!r}; write it as api_base of the entry")
        if (self.cost_input is None) != (self.cost_output is None):
            raise ValueError("cost_input and cost_output belong together: write both (0 for free) or neither")
        rates = (self.cost_cached_input, self.cost_cache_write, self.cost_reasoning, self.cost_per_request or None)
        if self.cost_input is None and rates != (None, None, None, None):
            raise ValueError("a price needs cost_input and cost_output (0 for free)")
        return self

    def price(self) -> Price | None:
        """The price written in the config, in USD per million tokens; None if none is written."""
        if self.cost_input is None:
            return None
        rates = {name.removeprefix("cost_"): rate for name, rate in vars(self).items() if name.startswith("cost_")}
        return Price(**rates, source="config")


class MockScript(_Strict):
    """What the mock provider answers instead of a made-up valid instance.

    Attributes:
        replies: a text, or an object that is sent as JSON, by the key that the prompt or the source contains;
            the key `*` answers everything else.
        usage: the token counts to report, by the names of `UsageData`.
        error: the status code to fail with instead of answering.
        error_times: how many calls fail before the mock answers; None means all.
        delay: seconds to wait before answering.
    """

    replies: dict[str, str | dict[str, Any]] = {}
    usage: dict[str, Annotated[int, Field(ge=0, strict=True)]] = {}
    error: int | None = Field(default=None, ge=400, le=599)
    error_times: int | None = Field(default=None, ge=1)
    delay: float = Field(default=0.0, ge=0, le=3600, allow_inf_nan=False)


def _error_of_a_call(name: str) -> str:
    kinds = (kind for kind in vars(errors).values() if isinstance(kind, type))
    known = [kind.__name__ for kind in kinds if issubclass(kind, errors.ProviderError)]
    if name not in known:
        raise ValueError(f"found {name!r}, expected the name of an error of a call; {suggest(name, known)}")
    return name


class Fallback(_Strict):
    """Another provider to ask if the entry's own does not answer. In a config, `to` alone may be written as a text.

    Attributes:
        to: the provider's name, or `<provider>:<model>`; without a model it is the provider's default one.
        on: the errors after which it is asked, by the names of their classes; subclasses count.
    """

    to: str = Field(min_length=1)
    on: tuple[Annotated[str, AfterValidator(_error_of_a_call)], ...] = Field(
        default=("RateLimitError", "ServerError", "TimeoutError", "ConnectionError"), min_length=1
    )


# What params may not set, and where it belongs.
_OURS = {
    "api_key": "a key has no place in a file; name its variable in env_key",
    "api_base": "write api_base next to params",
    "base_url": "write api_base next to params",
    "messages": "prompt and source make the messages",
    "model": "write models next to params",
    "stream": "replies are read as a whole",
    "timeout": "write timeout next to params",
    "max_retries": "write max_attempts next to params",
    "num_retries": "write max_attempts next to params",
    "custom_llm_provider": "write provider_type next to params",
    "fallbacks": "a provider is one address",
    "model_list": "a provider is one address",
    "aws_bedrock_runtime_endpoint": "write api_base next to params",
    "aws_sts_endpoint": "the login goes to AWS's own address",
    "token_exchange_endpoint": "the login goes to the vendor's own address",
}
# LiteLLM makes a host of these.
_IN_HOSTS = {"account_id", "aws_region_name", "oci_region", "region_name", "vertex_ai_location", "vertex_location"}


# Fields of the project that `llm-tester migrate` reads.
_ORIGINALS = {"bridge", "cost_category", "env_key_secret", "llm_models", "preferred", "py_models", "test_settings"}


def _short_form(field: str) -> BeforeValidator:
    """Lets a text stand for an object with that field alone."""
    return BeforeValidator(lambda given: {field: given} if isinstance(given, str) else given)


class ProviderConfig(_Strict):
    """One provider: what its config entry says.

    Attributes:
        name: the provider's name, the key of its entry.
        provider_type: a LiteLLM slug, `pydantic_ai`, `mock` or `package.module:Class`; by default the name.
        models: its models, each a name or a `ModelConfig`.
        default_model: the model used if none is asked for; by default the one marked `default`, else the first.
        enabled: whether a run uses it if no provider is asked for.
        env_key: the environment variable of the API key; "" says that no key is needed. By default
            LiteLLM's name for the slug. An entry with its own `api_base` takes `<NAME>_API_KEY` if it is set and no
            key otherwise, so that one vendor's key is never sent to another's address.
        api_base: the address of the API (`base_url` is the same field).
        system_prompt: sent before each prompt.
        params: any further parameter of the call, LiteLLM's names; `temperature` is 0 by default. `${NAME}` in a text
            is the value of an environment variable.
        timeout: seconds for one attempt, from connecting to the end of its reply.
        max_reply_bytes: the most bytes that a reply may have, unpacked.
        max_attempts: tries in all, for rate limits, timeouts, connections and server errors.
        max_seconds: seconds for a call with its retries and the waits between them, from the start of its first
            attempt; None for no limit.
        max_concurrency: live calls at once; None for as many as a run makes. Replays count for none of these limits.
        requests_per_minute: live requests in any 60 seconds, retries included; None for no limit.
        tokens_per_minute: tokens in and out of live requests in any 60 seconds; None for no limit. A call in flight
            counts as the mean of those before.
        structured_output: how the model is asked for the pydantic class: `auto` (as `native` if the model takes a
            response schema, else as `prompt`), `native` (the API's response schema), `prompt` (its JSON Schema in the
            prompt) or `off` (not at all).
        origin: what answers at `api_base`, if it is not the provider itself; goes into the cassettes' metadata.
        ignore: JSON paths of its request bodies that change every time; neither matched on nor recorded.
        mock: the mock provider's script.
        fallback: the providers that runs and `ProviderManager` ask, in this order, if this one does not answer.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")
    provider_type: str = Field(min_length=1)
    models: tuple[Annotated[ModelConfig, _short_form("name")], ...] = ()
    default_model: str | None = None
    enabled: bool = True
    env_key: str | None = None
    api_base: str | None = Field(default=None, validation_alias=AliasChoices("api_base", "base_url"))
    system_prompt: str = ""
    params: dict[str, Any] = {}
    timeout: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    max_reply_bytes: int = Field(default=50_000_000, gt=0, strict=True)
    max_attempts: int = Field(default=3, ge=1, le=20)
    max_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_concurrency: int | None = Field(default=None, gt=0, strict=True)
    requests_per_minute: int | None = Field(default=None, gt=0, strict=True)
    tokens_per_minute: int | None = Field(default=None, gt=0, strict=True)
    structured_output: Literal["auto", "native", "prompt", "off"] = "auto"
    origin: str | None = None
    ignore: tuple[str, ...] = ()
    mock: MockScript = MockScript()
    fallback: tuple[Annotated[Fallback, _short_form("to")], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _type_is_name(cls, entry: Any) -> Any:
        return {"provider_type": entry["name"], **entry} if isinstance(entry, dict) and "name" in entry else entry

    @model_validator(mode="after")
    def _params_are_params(self) -> Self:
        if ours := sorted(_OURS.keys() & self.params.keys()):
            raise ValueError(f"params.{ours[0]} does not belong there: {_OURS[ours[0]]}")
        for name in sorted(_IN_HOSTS & self.params.keys()):
            if not re.fullmatch(r"[\w.-]*", str(self.params[name] or "")):
                raise ValueError(f"params.{name}: found {self.params[name]!r}, expected letters, digits, '.' and '-'")
        if place := next(written_keys(self.params, "params"), None):
            raise ValueError(f"{place} holds a key (not shown), which has no place in a file; {FORM}")
        return self

    @model_validator(mode="after")
    def _env_key_is_a_name(self) -> Self:
        if self.env_key and looks_like_a_key(self.env_key):
            raise ValueError(
                f"env_key is no name of an environment variable ({len(self.env_key)} characters, not shown because it "
                "may be a key); write the variable's name there, such as ACME_API_KEY, and the key into the variable"
            )
        return self

    @model_validator(mode="after")
    def _models_agree(self) -> Self:
        names = [model.name for model in self.models]
        if doubles := sorted(name for name, times in Counter(names).items() if times > 1):
            raise ValueError(f"model {doubles[0]!r} is listed twice; remove one")
        marked = [model.name for model in self.models if model.default]
        defaults = list(dict.fromkeys([*filter(None, [self.default_model]), *marked]))
        if len(defaults) > 1:
            raise ValueError(f"two defaults, {defaults[0]!r} and {defaults[1]!r}: remove one")
        if self.name in [item.to for item in self.fallback]:
            raise ValueError(f"fallback: {self.name!r} is this entry itself; name another provider, or add a model")
        return self

    def own_variable(self) -> str:
        """The variable of the key if the entry has its own `api_base` and no `env_key`."""
        return re.sub(r"[^A-Z0-9]+", "_", self.name.upper()) + "_API_KEY"

    def default(self) -> str | None:
        """The name of the default model: `default_model`, else the one marked, else the first enabled one."""
        if self.default_model is not None:
            return self.default_model
        enabled = [model for model in self.models if model.enabled]
        marked = [model.name for model in enabled if model.default]
        return next(iter(marked or [model.name for model in enabled]), None)


class GlobalConfig(_Strict):
    """The global config file.

    Attributes:
        providers: by name: `true`/`false` to use a provider of the package as it is or not at all, or an entry: a
            whole provider, or fields laid over the package's own.
        cases: the directory of the test cases, from the config file's directory.
        cassettes: the directory of the recordings, also from there.
        price_source: which of the two price sources leads if the config has no price.
        ignore: JSON paths of request bodies that change every time; neither matched on nor recorded.
        max_age: days after which a recording is marked as old; None for never.
        allow: hosts that may be reached while recordings are replayed, such as `localhost:6379`.
    """

    providers: dict[str, bool | dict[str, Any]] = {}
    cases: str = "cases"
    cassettes: str = "cassettes"
    price_source: Literal["litellm", "genai-prices"] = "litellm"
    max_age: int | None = Field(default=None, gt=0)
    ignore: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


_PARTS: dict[int | str, type[BaseModel]] = {"models": ModelConfig, "mock": MockScript, "fallback": Fallback}


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object from a file.

    Args:
        path: the file.

    Returns:
        The object.

    Raises:
        ConfigError: there is no such file, it is empty, not UTF-8, not JSON, has a key twice, or is not an object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    if not text.strip():
        raise ConfigError(f'{path}: is empty; the smallest config is {{"providers": {{}}}}')
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, path))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:  # Python refuses integers of more than 4,300 digits
        raise ConfigError(f"{path}: nested too deeply, or a number is too long: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: found {_kind(value)}, expected an object")
    return value


def _unique(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        double = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ConfigError(f"{path}: duplicate key {double!r}; remove one")
    return found


def validate(kind: type[Model], value: Mapping[str, Any], path: Path, prefix: str = "") -> Model:
    """Validates what was read from a file.

    Args:
        kind: the model to validate with.
        value: what was read.
        path: the file, for the message.
        prefix: the place in the file that `value` was read from.

    Returns:
        The model's instance.

    Raises:
        ConfigError: with the file, each place, what was found and what was expected.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        lines = [_explain(item, kind, prefix) for item in error.errors(include_url=False)]
        message = "\n".join(f"{path}: {line}" for line in lines)
        raise ConfigError(default_scrubber().text(message)) from error


def _explain(item: Mapping[str, Any], kind: type[BaseModel], prefix: str) -> str:
    place = prefix
    for part in item["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    if item["type"] == "extra_forbidden":
        known = next((_PARTS[part] for part in item["loc"] if part in _PARTS), kind).model_fields
        field = str(item["loc"][-1])
        if field in _ORIGINALS:
            return f"{place}: a field of pydantic-llm-tester; `llm-tester migrate` takes its files over"
        return f"{place}: an unknown field; {suggest(field, known)}"
    message = item["msg"].removeprefix("Value error, ")
    found = item["input"]
    shown = _kind(found) if isinstance(found, dict | list) else f"{found!r} ({_kind(found)})"
    if item["type"] in ("missing", "value_error"):
        return f"{place}: {message}" if place else message
    return f"{place}: found {shown}; {message[:1].lower()}{message[1:]}"


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
