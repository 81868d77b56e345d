"""Whether a class can be a provider."""

import inspect

from ..errors import ConfigError
from .base import BaseLLM

__all__ = ["check_provider_class"]

_CALL_PARAMETERS = ("prompt", "system_prompt", "model_name", "model_config")


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
