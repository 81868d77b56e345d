"""What every provider is: config in, prompt and source in, reply text and usage out."""

import base64
import inspect
import logging
import mimetypes
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from .. import cassettes, catalog
from ..config import MockScript, ModelConfig, ProviderConfig
from ..errors import (
    CaseError,
    ConfigError,
    MissingKeyError,
    UnknownModelError,
)
from ..pricing import Quote, count_tokens_upper, quote
from ..settings import settings
from ..usage import UsageData, active_budget, expected_tokens
from .attempts import Limits, make_call

__all__ = ["BaseLLM", "File", "MockScript", "ModelConfig", "ProviderConfig", "WantedModel", "joined_prompt"]

log = logging.getLogger("llm_tester")

WantedModel = type[BaseModel]
_CALL_PARAMETERS = ("prompt", "system_prompt", "model_name", "model_config")


@dataclass(frozen=True)
class File:
    """A file that goes along with a prompt.

    Attributes:
        path: where it stands.
        media_type: its type, such as `image/png` or `application/pdf`.
    """

    path: Path
    media_type: str

    @classmethod
    def of(cls, path: Path) -> "File":
        """The file at a path, its type guessed from the name.

        Raises:
            CaseError: the name tells no image and no PDF.
        """
        kind = mimetypes.guess_type(path.name)[0] or ""
        if not (kind.startswith("image/") or kind == "application/pdf"):
            raise CaseError(f"{path}: is {kind or 'of an unknown type'}; images and PDFs can be sent")
        return cls(path, kind)

    @property
    def needs(self) -> Literal["supports_vision", "supports_pdf"]:
        """The name of what a model must support to take it."""
        return "supports_vision" if self.media_type.startswith("image/") else "supports_pdf"

    def data(self) -> bytes:
        """What is in it."""
        return self.path.read_bytes()

    def data_url(self) -> str:
        """What is in it, as a `data:` URL."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data()).decode()}"


def joined_prompt(prompt: str, source: str) -> str:
    """What is sent: the prompt, a blank line, `Source Text:` and the source."""
    return f"{prompt}\n\nSource Text:\n{source}"


class BaseLLM(ABC):
    """A provider. A subclass needs `_call_llm_api` with its four arguments, and nothing else.

    Args:
        config: what the provider's entry says; without one, the class stands for itself, with no models listed.

    Attributes:
        config: that config.
        provider_name: the provider's name.
        uses_http: whether calls go over HTTP, so that they can be recorded; the mock's do not.
    """

    provider_name: ClassVar[str] = ""
    uses_http: ClassVar[bool] = True

    def __init__(self, config: ProviderConfig | None = None) -> None:
        name = self.provider_name or _name_of(type(self))
        self.config = config or ProviderConfig(name=name, provider_type=name, env_key="")

    def __repr__(self) -> str:
        models = ", ".join(model.name for model in self.config.models) or "none listed"
        return f"<{type(self).__name__} {self.config.name!r} type={self.config.provider_type!r} models: {models}>"

    @abstractmethod
    def _call_llm_api(
        self, prompt: str, system_prompt: str, model_name: str, model_config: ModelConfig
    ) -> tuple[str, dict[str, Any] | UsageData]:
        """Makes one call, once.

        Args:
            prompt: the prompt with the source below it.
            system_prompt: the config's system prompt, "" where there is none.
            model_name: the model to call.
            model_config: what is known of it.

        A subclass may also accept any of these keywords, and gets those that it names: `model_class` (the pydantic
        class to extract into, None where it should not be sent), `files` (a tuple of `File`), `timeout` (seconds).

        Returns:
            The reply's text, and its usage: a dict with `prompt_tokens`, `completion_tokens` and, where known,
            `cached_tokens`, `cache_write_tokens`, `reasoning_tokens`, `answered_model`, `finish_reason` and
            `elapsed_seconds` (other keys are ignored), or a `UsageData`.

        Raises:
            Exception: anything; `get_response` turns it into a `ProviderError` by its HTTP status or its kind.
        """

    def get_response(
        self,
        prompt: str,
        source: str,
        model_name: str | None = None,
        *,
        model_class: WantedModel | None = None,
        files: Sequence[File] = (),
    ) -> tuple[str, UsageData]:
        """Asks the provider.

        Args:
            prompt: what to do.
            source: the text to do it with.
            model_name: the model; the default where None.
            model_class: the pydantic class to extract into. Where the model takes a response schema and the entry's
                `structured_output` is on, it is sent as one.
            files: images and PDFs to send along.

        Returns:
            The reply's text and its usage.

        Raises:
            ProviderError: the call failed; see `llm_tester.errors` for its kinds. What is worth it (rate limits,
                timeouts, connections, server errors) was tried `max_attempts` times.
            CaseError: the model does not take one of the files.
            BudgetError: the call could pass the run's budget.
            CassetteMismatch: inside a replaying cassette, the request is not what was recorded.
        """
        model = self.resolve(model_name)
        self._check_files(model, files)
        self._check_key(model.name)
        wanted = model_class if model_class and self.config.structured_output and self._takes_schema(model) else None
        text = joined_prompt(prompt, source)
        extras = {"model_class": wanted, "files": tuple(files), "timeout": self.config.timeout}
        accepted = _accepted_keywords(type(self)._call_llm_api)
        keywords = {name: value for name, value in extras.items() if name in accepted}

        def api() -> tuple[str, dict[str, Any] | UsageData]:
            return self._call_llm_api(text, self.config.system_prompt, model.name, model, **keywords)

        return make_call(self, model, api, self._limits(model, text, wanted, files))

    def limits(
        self,
        prompt: str,
        source: str,
        model_name: str | None = None,
        *,
        model_class: WantedModel | None = None,
        files: Sequence[File] = (),
    ) -> Limits:
        """What one attempt of a call can cost, at most and for a budget; the arguments are those of `get_response`."""
        return self._limits(self.resolve(model_name), joined_prompt(prompt, source), model_class, files)

    def price(self, model_name: str | None = None) -> Quote:
        """The price of a model, the second source's beside it, and what they disagree about.

        Raises:
            UnknownModelError: nobody knows the model.
        """
        return self._quote(self.resolve(model_name))

    def get_default_model(self) -> str | None:
        """The name of the default model; None where the config lists none."""
        return self.config.default()

    def get_api_key(self) -> str | None:
        """The API key, from the environment or the `.env` file; None where there is none or none is needed."""
        return self._key(None)

    def _key(self, model_name: str | None) -> str | None:
        active = settings()
        return next((key for variable in self.key_variables(model_name) if (key := active.key(variable))), None)

    def get_model_config(self, model_name: str | None = None) -> ModelConfig | None:
        """What is known of a model.

        Args:
            model_name: the model; the default where None.

        Returns:
            Its config: as listed, or a bare one where LiteLLM knows the model for this provider; None, with a log
            line that names the nearest known models, where nobody knows it.
        """
        try:
            return self.resolve(model_name)
        except UnknownModelError as error:
            log.warning("%s", error)
            return None

    def key_variables(self, model_name: str | None = None) -> tuple[str, ...]:
        """The environment variables that may hold the API key, its name first; () where none is needed."""
        if self.config.env_key is not None:
            return (self.config.env_key,) if self.config.env_key else ()
        if self.config.api_base:
            # LiteLLM's variable belongs to the vendor's own address; its key must not go anywhere else.
            return (re.sub(r"[^A-Z0-9]+", "_", self.config.name.upper()) + "_API_KEY",)
        place = self._catalog_name(model_name or self.config.default() or "")
        return catalog.env_keys(place[0]) if place else ()

    def missing_key(self, model_name: str | None = None) -> str | None:
        """What stands in the way of a live call: which variable is not set, and where it may stand; None if nothing."""
        optional = self.config.env_key is None and self.config.api_base
        variables = () if optional else self.key_variables(model_name)
        if not variables or self._key(model_name):
            return None
        other = f" (or {', '.join(variables[1:])})" if variables[1:] else ""
        return f"set {variables[0]}{other} in the environment or in {settings().dotenv_path}"

    def _catalog_name(self, model_name: str) -> tuple[str, str] | None:
        """The LiteLLM slug and model name that stand for a model in the price sources; None where none does."""
        return None

    def _known_models(self) -> list[str]:
        return [model.name for model in self.config.models]

    def resolve(self, name: str | None = None) -> ModelConfig:
        """What is known of a model; the default where the name is None.

        Raises:
            UnknownModelError: nobody knows it; names the nearest known models.
        """
        chosen = name or self.config.default()
        listed = {model.name: model for model in self.config.models}
        if chosen in listed:
            return listed[chosen]
        if chosen is None and not listed:
            chosen = "default"
        if chosen is not None and not self.config.models and self._catalog_name(chosen) is None:
            # A class of one's own without listed models knows itself what it can call.
            return ModelConfig(name=chosen)
        if chosen is not None and (place := self._catalog_name(chosen)) and catalog.model_entry(*place):
            return ModelConfig(name=chosen)
        known = self._known_models()
        hint = catalog.near(chosen or "", known) or known[:3]
        near = f"near ones are {', '.join(hint)}" if hint else "the entry lists no models"
        raise UnknownModelError(
            f"{self.config.name}: the model {chosen!r} is unknown; {near}; any other goes into the entry's models",
            provider=self.config.name,
            model=chosen,
        )

    def _entry(self, model: ModelConfig) -> Mapping[str, Any]:
        place = self._catalog_name(model.name)
        return (catalog.model_entry(*place) if place else None) or {}

    def _takes_schema(self, model: ModelConfig) -> bool:
        if model.supports_schema is not None:
            return model.supports_schema
        return bool(self._entry(model).get("supports_response_schema"))

    def schema_mode(self, model_name: str | None = None, model_class: WantedModel | None = None) -> str:
        return "native" if model_class and self._takes_schema(self.resolve(model_name)) else "off"

    def _check_files(self, model: ModelConfig, files: Sequence[File]) -> None:
        for file in files:
            written = getattr(model, file.needs)
            takes = written if written is not None else self._entry(model).get(f"{file.needs}_input", False)
            if written is None:
                takes = takes or self._entry(model).get(file.needs, False)
            if not takes:
                raise CaseError(
                    f"{self.config.name}, {model.name}: does not take {file.path.name} ({file.media_type}); choose "
                    f'another model, or write "{file.needs}": true in its config entry'
                )

    def _check_key(self, model_name: str) -> None:
        if not cassettes.is_offline() and (missing := self.missing_key(model_name)):
            message = f"{self.config.name}: no API key; {missing}"
            raise MissingKeyError(message, provider=self.config.name, model=model_name)

    def _key_to_send(self, model_name: str) -> str | None:
        """The key; a word in its place where nothing is sent, or where the address asks for none."""
        return self._key(model_name) or ("no-key" if cassettes.is_offline() or self.config.api_base else None)

    def _quote(self, model: ModelConfig) -> Quote:
        written = model.price()
        place = self._catalog_name(model.name)
        if place is None:
            return Quote(chosen=written, other=None)
        return quote(*place, written, settings().config.price_source)

    def _limits(self, model: ModelConfig, text: str, wanted: WantedModel | None, files: Sequence[File]) -> Limits:
        """Every byte a token, and all the output that is allowed; for a budget, if nothing limits it, an estimate."""
        price = self._quote(model).chosen
        if price is None:
            return Limits()
        schema = str(wanted.model_json_schema()) if wanted else ""
        prompt = count_tokens_upper(f"{self.config.system_prompt}{text}{schema}")
        prompt += sum(file.path.stat().st_size for file in files)
        params = self.config.params
        limit = next((params[name] for name in ("max_tokens", "max_completion_tokens") if name in params), None)
        entry = self._entry(model)
        allowed = limit or model.max_output_tokens or entry.get("max_output_tokens") or entry.get("max_tokens")
        rates = (price, *price.tiers)
        most_in = max(max(rate.input, rate.cache_write or 0, rate.cached_input or 0) for rate in rates)
        most_out = max(max(rate.output, rate.reasoning or 0) for rate in rates)

        def usd(output: int) -> float:
            return (prompt * most_in + output * most_out) / 1e6 + price.per_request

        worst = usd(int(allowed)) if allowed else None if most_out else usd(0)
        if limit or not most_out:
            return Limits(worst, worst)
        budget = active_budget()
        expected = budget.reply_tokens(f"{self.config.name}, {model.name}") if budget else expected_tokens()
        return Limits(worst, usd(min(expected, int(allowed)) if allowed else expected))


def _name_of(kind: type) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__.removesuffix("Provider")).lower()
    return words.strip("_") or "provider"


def _accepted_keywords(function: Callable[..., Any]) -> frozenset[str]:
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return frozenset({"model_class", "files", "timeout"})
    return frozenset(parameter.name for parameter in parameters)


def check_provider_class(kind: object) -> None:
    """Checks that a class can be used as a provider.

    Raises:
        ConfigError: it cannot, and why.
    """
    if not isinstance(kind, type) or not issubclass(kind, BaseLLM):
        raise ConfigError(f"{kind!r} is not a subclass of llm_tester.llms.base.BaseLLM")
    name = f"{kind.__module__}:{kind.__qualname__}"
    if missing := sorted(getattr(kind, "__abstractmethods__", ())):
        raise ConfigError(f"{name}: does not define {', '.join(missing)}")
    parameters = list(inspect.signature(kind._call_llm_api).parameters.values())
    names = [parameter.name for parameter in parameters]
    if not any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        if lacking := [wanted for wanted in _CALL_PARAMETERS if wanted not in names]:
            raise ConfigError(f"{name}: _call_llm_api lacks the parameter {', '.join(lacking)}")
        if names[1:5] != list(_CALL_PARAMETERS):
            raise ConfigError(f"{name}: _call_llm_api takes {names[1:5]}, expected {list(_CALL_PARAMETERS)}")
    try:
        inspect.signature(kind).bind(None)
    except TypeError as error:
        raise ConfigError(f"{name}: its __init__ must accept the config as its one argument ({error})") from error
