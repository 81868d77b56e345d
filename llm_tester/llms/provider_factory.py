"""Makes a class of each config entry, and instances of the classes."""

import importlib
import importlib.metadata
import inspect
import logging
import re
import reprlib
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
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


class _Caches:
    """The one place of what was made from the config."""

    def __init__(self) -> None:
        self.lock = lock_of(threading.RLock)
        self.classes: dict[str, type[BaseLLM]] = {}
        self.registered: dict[str, type[BaseLLM]] = {}
        self.external: dict[str, _External] = {}
        self.found: dict[str, _External] | None = None


_caches = _Caches()


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
    if entry is None:
        return None
    return _instance(_caches.registered.get(provider_name) or _class_of(entry), entry)


def _instance(kind: type[BaseLLM], entry: ProviderConfig | None) -> BaseLLM:
    name, where = entry.name if entry else kind.provider_name, f"{kind.__module__}:{kind.__qualname__}"
    try:
        made = kind(entry)
        config = getattr(made, "config", None)
        if isinstance(config, ProviderConfig):
            made.get_default_model()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ConfigError(_broken(name, f"{where} cannot be used", error)) from error
    if not isinstance(config, ProviderConfig):
        raise ConfigError(f"{name}: {where}: its __init__ does not call super().__init__(config)")
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
        _log_not_found(provider_name)
    return entry


def _entry(name: str) -> ProviderConfig | None:
    """The entry of a provider; that of a class has the provider_type `module:Class`."""
    with _caches.lock:
        if kind := _caches.registered.get(name):
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
            kind = _provider_class(name)
        except ConfigError as error:
            log.warning("%s", error)
            continue
        if kind is not None:
            classes[name] = kind
    return classes


def get_available_providers() -> list[str]:
    """The name of every provider there is an entry or a class for, sorted, whether or not it can be used."""
    with _caches.lock:
        return sorted({*settings().provider_names(), *_externals(), *_caches.registered})


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
    if not any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        if lacking := [wanted for wanted in _CALL_PARAMETERS if wanted not in names]:
            raise ConfigError(f"{name}: _call_llm_api lacks the parameter {', '.join(lacking)}")
        if names[1:5] != list(_CALL_PARAMETERS):
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
    with _caches.lock:
        _caches.registered[provider_name] = provider_class
        _caches.classes.pop(provider_name, None)


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
    with _caches.lock:
        path = Path(config_path) if config_path else None
        _caches.external[provider_name] = _External(f"{module}:{class_name}", path, "register_external_provider")
        _caches.classes.pop(provider_name, None)


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
    with _caches.lock:
        entries = read_json(file)
        for name, entry in entries.items():
            known = validate(_ExternalEntry, entry if isinstance(entry, dict) else {"": entry}, file, name)
            own = file.parent / known.config_path if known.config_path else None
            if own and not own.is_file():
                raise ConfigError(f"{file}: {name}.config_path: there is no file {own}")
            _caches.external[name] = _External(f"{known.module}:{known.class_name}", own, str(file))
        return sorted(entries)


def reset_caches() -> None:
    """Forgets every class, config, key, client and module of the user; the next call reads everything again."""
    with _caches.lock:
        _caches.classes.clear()
        _caches.registered.clear()
        _caches.external.clear()
        _caches.found = None
        caches = (user_code, catalog, direct, schemas, _recent, secrets, mock, pydantic_ai_backend, rates)
        for module in caches:
            module.reset()
        reset_settings()


def _externals() -> dict[str, _External]:
    if _caches.found is None:
        points = importlib.metadata.entry_points(group=ENTRY_POINTS)
        _caches.found = {point.name: _External(point.value, None, f"entry point {point.name}") for point in points}
        load_external_providers()
    return {**_caches.found, **_caches.external}


def _provider_class(name: str) -> type[BaseLLM] | None:
    with _caches.lock:
        if name in _caches.classes:
            return _caches.classes[name]
        entry = None if name in _caches.registered else _entry(name)
        return _caches.registered.get(name) if entry is None else _class_of(entry)


def _class_of(entry: ProviderConfig) -> type[BaseLLM]:
    """The class of an entry: the user's own, or one that is generated once for each name."""
    with _caches.lock:
        if entry.name not in _caches.classes:
            if ":" in entry.provider_type:
                external = _externals().get(entry.name)
                where = external.where if external else f"providers.{entry.name}.provider_type"
                kind = _imported(entry.name, entry.provider_type, where)
            else:
                kind = _generated(entry)
            _caches.classes[entry.name] = kind
        return _caches.classes[entry.name]


def _generated(entry: ProviderConfig) -> type[BaseLLM]:
    base = _backend(entry)
    words = re.split(r"[^A-Za-z0-9]+", entry.name)
    attributes: dict[str, Any] = {
        "provider_name": entry.name,
        "__module__": base.__module__,
        "__doc__": f"The provider {entry.name!r}, made from its config entry.",
        "__reduce__": _reduce,
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


def _module(name: str, module_name: str, where: str) -> ModuleType:
    try:
        return user_code.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        what = f"the module {module_name!r} (from {where}) cannot be imported"
        raise ConfigError(_broken(name, what, error)) from error


def _broken(name: str, what: str, error: BaseException) -> str:
    """What a provider's own code raised, and where."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    place = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else "its code"
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
    said = secrets.default_scrubber().text(" ".join(user_code.said(error).split()))
    return f"{name}: {what}: {place} raised {type(error).__name__}: {said or 'without a message'}"


def _imported(name: str, target: str, where: str) -> type[BaseLLM]:
    module_name, _, class_name = target.partition(":")
    module = _module(name, module_name, where)
    kind = getattr(module, class_name, None)
    if kind is None:
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise ConfigError(f"{where}: {module_name} has no {class_name!r}; {suggest(class_name, classes)}")
    check_provider_class(kind)
    return kind  # type: ignore[no-any-return]


def _reduce(instance: BaseLLM) -> tuple[Any, ...]:
    return _restored, (instance.config,)


def _restored(entry: ProviderConfig) -> BaseLLM:
    """An instance in another process, where the class is generated from the entry again."""
    return _instance(_class_of(entry), entry)


def _log_not_found(name: str) -> None:
    hint = suggest(name, get_available_providers())
    log.warning("there is no provider %r; add its entry to providers in config.json; %s", name, hint)
