"""Starts the providers of a run, and asks them."""

import logging
from collections.abc import Iterable, Sequence

from ..errors import ConfigError
from ..llms.base import BaseLLM, File, WantedModel
from ..llms.fallback import ask_in_order, started
from ..usage import UsageData

__all__ = ["ProviderManager"]

log = logging.getLogger("llm_tester")


class ProviderManager:
    """The providers of a run.

    Args:
        providers: their names; `mock_anything` is the mock under that name.

    Attributes:
        provider_instances: by name, those that could start.
        initialization_errors: by name, why the others could not.
    """

    def __init__(self, providers: Iterable[str]) -> None:
        self.providers = list(providers)
        self.provider_instances: dict[str, BaseLLM] = {}
        self.initialization_errors: dict[str, str] = {}
        for name in self.providers:
            try:
                self.provider_instances[name] = started(name)
            except ConfigError as error:
                log.warning("%s", error)
                self.initialization_errors[name] = str(error)

    def get_response(
        self,
        provider: str,
        prompt: str,
        source: str,
        model_name: str | None = None,
        *,
        model_class: WantedModel | None = None,
        files: Sequence[File] = (),
    ) -> tuple[str, UsageData | None]:
        """Asks a provider, and its fallbacks; see `BaseLLM.get_response` for the arguments and the errors.

        Args:
            provider: its name; one that the manager was not made with is started now.

        Raises:
            ConfigError: it cannot start, or there is none of that name.
        """
        instance = self.instance(provider)
        return ask_in_order(instance, prompt, source, model_name, model_class=model_class, files=files)

    def instance(self, provider: str) -> BaseLLM:
        """A provider by its name; one that the manager was not made with is started now.

        Raises:
            ConfigError: it cannot start, or there is none of that name.
        """
        if provider in self.initialization_errors:
            raise ConfigError(self.initialization_errors[provider])
        if provider not in self.provider_instances:
            self.provider_instances[provider] = started(provider)
        return self.provider_instances[provider]
