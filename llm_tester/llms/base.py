"""What every provider is: config in, prompt and source in, reply text and usage out."""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from .. import cassettes, catalog
from ..config import MockScript, ModelConfig, ProviderConfig
from ..errors import BadRequestError, MissingKeyError, UnknownModelError, suggest
from ..pricing import Quote, quote
from ..settings import settings
from ..tokens import count_tokens_upper
from ..usage import UsageData
from . import _model_facts as model_facts
from ._attachments import File, check_files, file_bytes
from ._destinations import refusal
from ._logins import any_of, unsendable
from ._schema import SchemaMode, has_object_root, joined_prompt, schema_text, with_schema
from ._signatures import accepted_keywords
from .budget import Limits, active_budget, expected_tokens

__all__ = ["BaseLLM", "File", "MockScript", "ModelConfig", "ProviderConfig", "WantedModel"]

log = logging.getLogger("llm_tester")

WantedModel = type[BaseModel]


class BaseLLM(ABC):
    """A provider. A subclass needs `_call_llm_api` with its four arguments, and nothing else.

    Args:
        config: what the provider's entry says; without one, the class has no listed models.

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
            system_prompt: the config's system prompt, "" if there is none.
            model_name: the model to call.
            model_config: what is known of it.

        A subclass may also accept any of these keywords, and gets those that it names: `model_class` (the pydantic
        class to extract into, None if it should not be sent), `files` (a tuple of `File`), `timeout` (seconds).

        Returns:
            The reply's text, and its usage: a dict with `prompt_tokens`, `completion_tokens` and, if known,
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
            model_name: the model; by default the provider's.
            model_class: the pydantic class to extract into; see `schema_mode` for how the model is asked for it.
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
        # Only a call needs what maps the errors of every library; a list of providers does not.
        from .attempts import make_call

        model = self.resolve(model_name)
        if files:
            check_files(files, self.config.name, model, self._entry(model))
        self._check_key(model.name)
        text, wanted = self._asked(model, joined_prompt(prompt, source), model_class)
        extras = {"model_class": wanted, "files": tuple(files), "timeout": self.config.timeout}
        accepted = accepted_keywords(type(self)._call_llm_api)
        keywords = {name: value for name, value in extras.items() if name in accepted}

        def api(timeout: float) -> tuple[str, dict[str, Any] | UsageData]:
            if "timeout" in keywords:
                keywords["timeout"] = timeout
            return self._call_llm_api(text, self.config.system_prompt, model.name, model, **keywords)

        size = file_bytes(files)
        return make_call(self, model, api, lambda: self.limits_of(model, text, wanted, size), prompt_length=len(text))

    async def aget_response(
        self,
        prompt: str,
        source: str,
        model_name: str | None = None,
        *,
        model_class: WantedModel | None = None,
        files: Sequence[File] = (),
    ) -> tuple[str, UsageData]:
        """What `get_response` does, from an event loop: the call runs in a thread, in the caller's context.

        Arguments, results and errors are those of `get_response`, also if a subclass overrides that. A task that is
        cancelled does not wait for its call, which goes on and may be billed.
        """
        import asyncio

        from .ask import ask

        place = (self, prompt, source, model_name)
        return await asyncio.to_thread(ask, *place, model_class=model_class, files=files)

    @classmethod
    def overrides_get_response(cls) -> bool:
        """Whether a subclass has its own `get_response`."""
        return cls.get_response is not BaseLLM.get_response

    def schema_mode(self, model_name: str | None = None, model_class: WantedModel | None = None) -> SchemaMode:
        """How a model is asked for a pydantic class.

        Args:
            model_name: the model; the default if None.
            model_class: the class; any one that is a JSON object if None.

        Returns:
            `native`: the request carries its JSON Schema as the API's response schema; `prompt`: the prompt does;
            `off`: the model does not get it.

        Raises:
            UnknownModelError: no one knows the model.
            BadRequestError: the entry asks for `native`, which would not reach the model.
        """
        model = self.resolve(model_name)
        wish = self.config.structured_output
        if "model_class" not in accepted_keywords(type(self).get_response):
            return "off"
        if wish in ("prompt", "off"):
            return wish
        problem = self._schema_problem(model)
        if wish == "native":
            if problem:
                message = f'{self.config.name}, {model.name}: {problem}, so "structured_output" cannot be "native"'
                message += '; write "auto" or "prompt"'
                raise BadRequestError(message, provider=self.config.name, model=model.name)
            return "native"
        fits = self._takes_schema(model) and (model_class is None or has_object_root(model_class))
        return "native" if fits and not problem else "prompt"

    def request_text(
        self, prompt: str, source: str, model_name: str | None = None, *, model_class: WantedModel | None = None
    ) -> str:
        """All text of a request, for an estimate of its tokens: system prompt, prompt, source and, if sent, schema.

        Args:
            prompt: as for `get_response`; so are the others.

        Raises:
            UnknownModelError: no one knows the model.
            BadRequestError: see `schema_mode`.
        """
        text, wanted = self._asked(self.resolve(model_name), joined_prompt(prompt, source), model_class)
        return self._request_text(text, wanted)

    def _request_text(self, text: str, wanted: WantedModel | None) -> str:
        return "\n".join(filter(None, (self.config.system_prompt, text, schema_text(wanted) if wanted else "")))

    def _asked(self, model: ModelConfig, text: str, model_class: WantedModel | None) -> tuple[str, WantedModel | None]:
        """The prompt as it is sent, and the class if it goes out as a response schema."""
        mode = self.schema_mode(model.name, model_class) if model_class else "off"
        if model_class and mode == "prompt":
            return with_schema(text, model_class), None
        return text, model_class if mode == "native" else None

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
        model = self.resolve(model_name)
        text, wanted = self._asked(model, joined_prompt(prompt, source), model_class)
        return self.limits_of(model, text, wanted, file_bytes(files))

    def price(self, model_name: str | None = None) -> Quote:
        """The price of a model, that of the second source, and what they disagree about.

        Raises:
            UnknownModelError: no source knows the model.
        """
        return self.price_of(self.resolve(model_name))

    def get_default_model(self) -> str | None:
        """The name of the default model; None if the config lists none."""
        return self.config.default()

    def get_api_key(self) -> str | None:
        """The API key, from the environment or the `.env` file; None if there is none or none is needed."""
        return self._key(None)

    def _key(self, model_name: str | None) -> str | None:
        active = settings()
        return next((key for variable in self.key_variables(model_name) if (key := active.key(variable))), None)

    def login_variables(self, model_name: str | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The environment variables of the login.

        Returns:
            Those that are set, and what else a live call needs, each with the names accepted in its place.
        """
        variables = self.key_variables(model_name)
        if found := next((name for name in variables if settings().key(name)), None):
            return (found,), ()
        return (), (any_of(variables),) if self.missing_key(model_name) else ()

    def get_model_config(self, model_name: str | None = None) -> ModelConfig | None:
        """What is known of a model.

        Args:
            model_name: the model; the default if None.

        Returns:
            What its config says, and for what that leaves out, what the price sources and LiteLLM's data say: prices
            in USD per million tokens, limits in tokens, and what it supports. None, with a log line that names the
            nearest known models, if no one knows it.
        """
        try:
            model = self.resolve(model_name)
        except UnknownModelError as error:
            log.warning("%s", error)
            return None
        return model_facts.completed(model, self.price_of(model).chosen, self._entry(model))

    def key_variables(self, model_name: str | None = None) -> tuple[str, ...]:
        """The environment variables that may hold the API key, its name first; () if none is needed."""
        if self.config.env_key is not None:
            return (self.config.env_key,) if self.config.env_key else ()
        if self.config.api_base:
            # LiteLLM's variable belongs to the vendor's own address; its key must not go anywhere else.
            return (self.config.own_variable(),)
        place = self._catalog_name(model_name or self.config.default() or "")
        return catalog.env_keys(place[0]) if place else ()

    def missing_key(self, model_name: str | None = None) -> str | None:
        """What a live call lacks: a variable that is set and may be sent, and what to do; None if nothing."""
        variables = self.key_variables(model_name)
        if problem := self._refusal(variables, self.config.api_base):
            return problem
        if (self.config.env_key is None and self.config.api_base) or not variables or self._key(model_name):
            return None
        return f"set {any_of(variables)} in the environment or in {settings().dotenv_path}"

    def _refusal(self, variables: tuple[str, ...], address: str | None) -> str | None:
        """Why the key is not sent to an address; None if it may be, or if a class of the user's sends it."""
        return None if ":" in self.config.provider_type else refusal(variables, self.config.params, address)

    def _catalog_name(self, model_name: str) -> tuple[str, str] | None:
        """The LiteLLM slug and name of a model in the price sources; None if it has none."""
        return None

    def _known_models(self) -> list[str]:
        return [model.name for model in self.config.models]

    def resolve(self, name: str | None = None) -> ModelConfig:
        """What is known of a model; by default of the default model.

        Raises:
            UnknownModelError: no source knows it; suggests near names.
        """
        chosen = name or self.config.default()
        for model in self.config.models:
            if model.name == chosen:
                return model
        if chosen is None and not self.config.models:
            chosen = "default"
        if chosen is not None and not self.config.models and self._catalog_name(chosen) is None:
            # A user's class without listed models knows what it can call.
            return ModelConfig(name=chosen)
        if chosen is not None and (place := self._catalog_name(chosen)) and catalog.model_entry(*place):
            return ModelConfig(name=chosen)
        known = self._known_models()
        few = f"known are {', '.join(known[:3])}" if known else "the entry lists none"
        raise UnknownModelError(
            f"{self.config.name}: the model {chosen!r} is unknown; add it to the entry's models; "
            + suggest(chosen or "", known, few),
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

    def _schema_problem(self, model: ModelConfig) -> str | None:
        """Why a response schema would not reach the model; None if it would."""
        if "model_class" in accepted_keywords(type(self)._call_llm_api):
            return None
        return f"{type(self).__name__}._call_llm_api does not take model_class"

    def _check_key(self, model_name: str) -> None:
        if cassettes.is_offline():
            return
        if missing := self.missing_key(model_name):
            message = f"{self.config.name}: cannot log in; {missing}"
            raise MissingKeyError(message, provider=self.config.name, model=model_name)
        for variable in self.key_variables(model_name):
            if problem := unsendable(settings().key(variable) or ""):
                message = f"{self.config.name}: the key in {variable} cannot be sent: {problem}; set it again"
                raise MissingKeyError(message, provider=self.config.name, model=model_name)

    def _key_to_send(self, model_name: str) -> str | None:
        """The key; a placeholder if nothing is sent, or if the address needs none."""
        return self._key(model_name) or ("no-key" if cassettes.is_offline() or self.config.api_base else None)

    def resolved_params(self) -> dict[str, Any]:
        """The entry's params, with the values of the environment variables that they name; see `Settings.resolved`."""
        return settings().resolved(self.config, is_replay=cassettes.is_offline())

    def price_of(self, model: ModelConfig) -> Quote:
        """The price of a model that may be listed nowhere."""
        written = model.price()
        place = self._catalog_name(model.name)
        if place is None:
            return Quote(chosen=written, other=None)
        return quote(*place, written, settings().config.price_source)

    def limits_of(self, model: ModelConfig, text: str, wanted: WantedModel | None, file_bytes: int) -> Limits:
        """What one attempt can cost: every byte of the input a token, and all the output that is allowed.

        For a budget, if the entry's params set no limit, the output is the size of reply that the budget expects.
        """
        prompt = count_tokens_upper(self._request_text(text, wanted)) + file_bytes
        most, budget = self.most_output(model), active_budget()
        texts, limit = model_facts.texts_of(self.config.params), model_facts.output_limit(self.config.params)
        expected = budget.reply_tokens(f"{self.config.name}, {model.name}", texts) if budget else expected_tokens()
        return model_facts.limits(self.price_of(model).chosen, prompt, most, limit * texts if limit else expected)

    def most_output(self, model: ModelConfig) -> int | None:
        """The output tokens that one attempt allows; None if nothing limits them."""
        return model_facts.most_output(self.config.params, model, self._entry(model))


def _name_of(kind: type) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__.removesuffix("Provider")).lower()
    return words.strip("_") or "provider"
