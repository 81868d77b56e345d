"""Makes a class of each config entry, and instances of the classes."""

import contextlib
import functools
import importlib.metadata
import inspect
import logging
import re
import reprlib
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from .. import catalog
from ..cassettes import _recent, secrets
from ..cassettes.forks import lock_of
from ..config import ProviderConfig, read_json, validate
from ..errors import ConfigError, suggest
from ..settings import PACKAGE_PROVIDERS, package_names, settings
from ..settings import reset as reset_settings
from . import _litellm_direct as direct
from . import _schema as schemas
from . import pydantic_ai_backend, rates, user_code
from .base import BaseLLM
from .litellm_backend import LiteLLMProvider
from .mock import provider as mock
from .pydantic_ai_backend import PydanticAIProvider

__all__ = [
    "check_provider_class",
    "create_provider",
    "discover_provider_classes",
    "get_available_providers",
    "load_external_providers",
    "load_provider_config",
    "register_external_provider",
    "register_provider_class",
    "reset_caches",
    "validate_provider_implementation",
]

log = logging.getLogger("llm_tester")

ENTRY_POINTS = "llm_tester.providers"
# Any name that begins so is the mock under that name.
_MOCK_PREFIX = "mock_"
_CALL_PARAMETERS = ("prompt", "system_prompt", "model_name", "model_config")
EXTERNAL_FILE = "external_providers.json"


class _External(NamedTuple):
    """A class from another package, by its address."""

    target: str
    config_path: Path | None
    where: str


class _ExternalEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    module: str
    class_name: str = Field(alias="class")
    config_path: str | None = None


# What was made from the config, until `reset_caches`.
_lock = lock_of(threading.RLock)
_classes: dict[str, type[BaseLLM]] = {}
_registered: dict[str, type[BaseLLM]] = {}
_external: dict[str, _External] = {}


def create_provider(provider_name: str) -> BaseLLM | None:
    """Makes a provider.

    Args:
        provider_name: its name in the config, or of a registered or installed provider.

    Returns:
        A new instance; None, with a log line that suggests near names, if there is no provider of that name.

    Raises:
        ConfigError: its entry or its class cannot be used.
    """
    entry = load_provider_config(provider_name)
    return _instance(entry) if entry else None


def _instance(entry: ProviderConfig) -> BaseLLM:
    kind = _class_of(entry)
    where = f"{kind.__module__}:{kind.__qualname__}"
    with _blamed(entry.name, f"{where} cannot be used"):
        made = kind(entry)
        config = getattr(made, "config", None)
        if isinstance(config, ProviderConfig):
            made.get_default_model()
    if not isinstance(config, ProviderConfig):
        raise ConfigError(f"{entry.name}: {where}: its __init__ does not call super().__init__(config)")
    return made


def load_provider_config(provider_name: str) -> ProviderConfig | None:
    """Reads what the config files say of a provider.

    Args:
        provider_name: its name.

    Returns:
        The global entry laid over the package's, or over the external provider's own. A class without a config file
        gets a config with its name only. None, with a log line, if there is no provider of that name.

    Raises:
        ConfigError: the entry cannot be used.
    """
    entry = _entry(provider_name)
    if entry is None:
        hint = suggest(provider_name, get_available_providers())
        log.warning("there is no provider %r; add its entry to providers in config.json; %s", provider_name, hint)
    return entry


def _entry(name: str) -> ProviderConfig | None:
    """The entry of a provider; that of a class has the provider_type `module:Class`."""
    with _lock:
        if kind := _registered.get(name):
            return settings().provider(name, {"provider_type": f"{kind.__module__}:{kind.__qualname__}", "env_key": ""})
        if external := _externals().get(name):
            file = external.config_path or _config_next_to(name, external)
            base = read_json(file) if file else {"env_key": ""}
            return settings().provider(name, {**base, "provider_type": external.target}, file)
        if name.startswith(_MOCK_PREFIX) and name not in package_names():
            written = settings().config.providers.get(name, {})
            if not isinstance(written, dict) or written.get("provider_type", "mock") == "mock":
                file = PACKAGE_PROVIDERS / "mock" / "config.json"
                return settings().provider(name, read_json(file), file)
        return settings().provider(name)


def _config_next_to(name: str, external: _External) -> Path | None:
    """The config.json next to the module of a class; not the global config, which may be there too."""
    file = Path(inspect.getfile(_imported(name, external.target, external.where))).parent / "config.json"
    return file if file.is_file() and file.resolve() != settings().path else None


def discover_provider_classes() -> dict[str, type[BaseLLM]]:
    """The class of every provider that can be used; one that cannot is left out, with a warning that says why."""
    classes: dict[str, type[BaseLLM]] = {}
    for name in get_available_providers():
        try:
            if entry := _entry(name):
                classes[name] = _class_of(entry)
        except ConfigError as error:
            log.warning("%s", error)
    return classes


def get_available_providers() -> list[str]:
    """The name of every provider there is an entry or a class for, sorted, whether or not it can be used."""
    with _lock:
        return sorted({*settings().provider_names(), *_externals(), *_registered})


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
    if not callable(kind._call_llm_api):
        raise ConfigError(f"{name}: _call_llm_api is {reprlib.repr(kind._call_llm_api)}, expected a method")
    parameters = list(inspect.signature(kind._call_llm_api).parameters.values())
    names = [parameter.name for parameter in parameters]
    takes_any = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    if not takes_any and names[1:5] != list(_CALL_PARAMETERS):
        raise ConfigError(f"{name}: _call_llm_api takes {names[1:5]}, expected {list(_CALL_PARAMETERS)}")
    try:
        inspect.signature(kind).bind(None)
    except TypeError as error:
        raise ConfigError(f"{name}: its __init__ must accept the config as its one argument ({error})") from error


def validate_provider_implementation(provider_class: object) -> bool:
    """Whether a class can be used as a provider; if not, a log line says why."""
    try:
        check_provider_class(provider_class)
    except ConfigError as error:
        log.warning("%s", error)
        return False
    return True


def register_provider_class(provider_name: str, provider_class: type[BaseLLM]) -> None:
    """Makes a class known under a name, until `reset_caches`.

    Raises:
        ConfigError: it cannot be used as a provider.
    """
    check_provider_class(provider_class)
    with _lock:
        _registered[provider_name] = provider_class


def register_external_provider(
    provider_name: str, module: str, class_name: str, config_path: str | Path | None = None
) -> None:
    """Makes a class of another package known under a name, until `reset_caches`; it is imported when it is needed.

    Args:
        provider_name: the name.
        module: the module that holds the class.
        class_name: the class.
        config_path: its config file; by default the config.json next to the module.
    """
    with _lock:
        path = Path(config_path) if config_path else None
        _external[provider_name] = _External(f"{module}:{class_name}", path, "register_external_provider")
        _classes.pop(provider_name, None)


def load_external_providers(path: str | Path | None = None) -> list[str]:
    """Reads `external_providers.json`.

    Args:
        path: the file; by default the one next to the global config, if there is one.

    Returns:
        The names in it, sorted.

    Raises:
        ConfigError: the file cannot be used.
    """
    file = Path(path) if path else settings().directory / EXTERNAL_FILE
    if path is None and not file.is_file():
        return []
    with _lock:
        entries = read_json(file)
        for name, entry in entries.items():
            known = validate(_ExternalEntry, entry if isinstance(entry, dict) else {"": entry}, file, name)
            own = file.parent / known.config_path if known.config_path else None
            if own and not own.is_file():
                raise ConfigError(f"{file}: {name}.config_path: there is no file {own}")
            _external[name] = _External(f"{known.module}:{known.class_name}", own, str(file))
        return sorted(entries)


def reset_caches() -> None:
    """Forgets every class, config, key, client and module of the user; the next call reads everything again."""
    with _lock:
        for cache in (_classes, _registered, _external):
            cache.clear()
        _installed.cache_clear()
        for module in (user_code, catalog, direct, schemas, _recent, secrets, mock, pydantic_ai_backend, rates):
            module.reset()
        reset_settings()


@functools.cache
def _installed() -> dict[str, _External]:
    """The classes of installed packages; reads the project's file as well."""
    points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    load_external_providers()
    return {point.name: _External(point.value, None, f"entry point {point.name}") for point in points}


def _externals() -> dict[str, _External]:
    return {**_installed(), **_external}


def _class_of(entry: ProviderConfig) -> type[BaseLLM]:
    """The class of an entry: the user's own, or one that is generated once for each name."""
    with _lock:
        if entry.name in _registered:
            return _registered[entry.name]
        if entry.name not in _classes:
            if ":" in entry.provider_type:
                external = _externals().get(entry.name)
                where = external.where if external else f"providers.{entry.name}.provider_type"
                kind = _imported(entry.name, entry.provider_type, where)
            else:
                kind = _generated(entry)
            _classes[entry.name] = kind
        return _classes[entry.name]


def _generated(entry: ProviderConfig) -> type[BaseLLM]:
    base = _backend(entry)
    words = re.split(r"[^A-Za-z0-9]+", entry.name)
    attributes: dict[str, Any] = {
        "provider_name": entry.name,
        "__module__": base.__module__,
        "__doc__": f"The provider {entry.name!r}, made from its config entry.",
        # In another process, the class is generated from the entry again.
        "__reduce__": lambda instance: (_instance, (instance.config,)),
    }
    return type("".join(word[:1].upper() + word[1:] for word in words) + "Provider", (base,), attributes)


def _backend(entry: ProviderConfig) -> type[BaseLLM]:
    own: Mapping[str, type[BaseLLM]] = {"pydantic_ai": PydanticAIProvider, "mock": mock.MockProvider}
    if entry.provider_type in own:
        return own[entry.provider_type]
    slugs = catalog.known_slugs()
    if entry.provider_type in slugs:
        return LiteLLMProvider
    raise ConfigError(
        f"{settings().path or 'config'}: providers.{entry.name}.provider_type: {entry.provider_type!r} is unknown; "
        "expected one of LiteLLM's slugs, pydantic_ai, mock, or package.module:Class; "
        + suggest(entry.provider_type, {*slugs, *own}, "docs/configuration.md explains them")
    )


@contextlib.contextmanager
def _blamed(name: str, what: str) -> Iterator[None]:
    """Makes whatever a provider's own code raises an error of that provider, and says where it was raised."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        frame = [step for step in traceback.extract_tb(error.__traceback__) if "importlib" not in step.filename][-1]
        place = (error.filename, error.lineno) if isinstance(error, SyntaxError) else (frame.filename, frame.lineno)
        said = secrets.default_scrubber().text(" ".join(user_code.said(error).split())) or "without a message"
        message = f"{name}: {what}: {place[0]}, line {place[1]} raised {type(error).__name__}: {said}"
        raise ConfigError(message) from error


def _imported(name: str, target: str, where: str) -> type[BaseLLM]:
    module_name, _, class_name = target.partition(":")
    with _blamed(name, f"the module {module_name!r} (from {where}) cannot be imported"):
        module = user_code.import_module(module_name)
    kind = getattr(module, class_name, None)
    if kind is None:
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise ConfigError(f"{where}: {module_name} has no {class_name!r}; {suggest(class_name, classes)}")
    check_provider_class(kind)
    return kind  # type: ignore[no-any-return]
