"""Makes a class of each config entry, and instances of the classes."""

import importlib
import importlib.metadata
import inspect
import logging
import re
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from .. import catalog
from ..cassettes import secrets
from ..config import ProviderConfig, read_json, validate
from ..errors import ConfigError
from ..settings import PACKAGE_PROVIDERS, package_names, settings
from ..settings import reset as reset_settings
from . import pydantic_ai_backend, user_code
from .base import BaseLLM
from .class_check import check_provider_class
from .litellm_backend import LiteLLMProvider
from .mock import provider as mock
from .pydantic_ai_backend import PydanticAIProvider

__all__ = [
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
EXTERNAL_FILE = "external_providers.json"


class _External(NamedTuple):
    """A class from another package, by its address."""

    target: str
    config_path: Path | None
    where: str


class _ExternalEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    module: str
    class_name: str = Field(alias="class")
    config_path: str | None = None


class _Caches:
    """The one place of what was made from the config."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
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
        A new instance; None, with a log line that names the nearest known names, where there is none of that name.

    Raises:
        ConfigError: its entry or its class cannot be used.
    """
    kind = _provider_class(provider_name)
    if kind is None:
        return None
    entry = load_provider_config(provider_name)
    return _instance(kind, entry)


def _instance(kind: type[BaseLLM], entry: ProviderConfig | None) -> BaseLLM:
    name, where = entry.name if entry else kind.provider_name, f"{kind.__module__}:{kind.__qualname__}"
    try:
        made = kind(entry)
    except (Exception, SystemExit) as error:
        raise ConfigError(_broken(name, f"{where} cannot be made", error)) from error
    if not isinstance(getattr(made, "config", None), ProviderConfig):
        raise ConfigError(f"{name}: {where}: its __init__ does not call super().__init__(config)")
    return made


def load_provider_config(provider_name: str) -> ProviderConfig | None:
    """Reads what the config files say of a provider.

    Args:
        provider_name: its name.

    Returns:
        The global entry laid over the package's (or the external provider's) own file; for a class that came without
        one, a config with nothing but its name; None, with a log line, where there is no provider of that name.

    Raises:
        ConfigError: the entry cannot be used.
    """
    with _caches.lock:
        external = _externals().get(provider_name)
        if external is not None and external.config_path is None:
            # Its config may stand beside its class.
            _provider_class(provider_name)
            external = _externals()[provider_name]
        entry = settings().provider(provider_name, _config_file(provider_name, external))
        if entry is not None:
            return entry
        if external is not None:
            return ProviderConfig(name=provider_name, provider_type=external.target, env_key="")
        if kind := _caches.registered.get(provider_name):
            target = f"{kind.__module__}:{kind.__qualname__}"
            return ProviderConfig(name=provider_name, provider_type=target, env_key="")
        if provider_name in package_names():
            return ProviderConfig(name=provider_name, provider_type=provider_name, env_key="")
    _not_found(provider_name)
    return None


def _config_file(provider_name: str, external: _External | None) -> Path | None:
    """The file that an entry is laid over, if it is not the one in the package's directory of that name."""
    if external is not None:
        return external.config_path
    if not provider_name.startswith(_MOCK_PREFIX) or provider_name in package_names():
        return None
    entry = settings().config.providers.get(provider_name, {})
    is_mock = not isinstance(entry, dict) or entry.get("provider_type", "mock") == "mock"
    return PACKAGE_PROVIDERS / "mock" / "config.json" if is_mock else None


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


def validate_provider_implementation(provider_class: object) -> bool:
    """Whether a class can be used as a provider; where it cannot, a log line says why."""
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
        config_path: its config file; one beside the module is found by itself.
    """
    with _caches.lock:
        path = Path(config_path) if config_path else None
        _caches.external[provider_name] = _External(f"{module}:{class_name}", path, "register_external_provider")
        _caches.classes.pop(provider_name, None)


def load_external_providers(path: str | Path | None = None) -> list[str]:
    """Reads `external_providers.json`.

    Args:
        path: the file; the one beside the global config where None, if there is one.

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
    """Forgets every class, config, key and client; the next call reads everything anew."""
    with _caches.lock:
        _caches.classes.clear()
        _caches.registered.clear()
        _caches.external.clear()
        _caches.found = None
        reset_settings()
        catalog.reset()
        secrets.reset()
        mock.reset()
        pydantic_ai_backend.reset()


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
        kind = _caches.registered.get(name)
        if kind is None:
            kind = _made(name)
        if kind is not None:
            check_provider_class(kind)
            _caches.classes[name] = kind
        return kind


def _made(name: str) -> type[BaseLLM] | None:
    if external := _externals().get(name):
        kind = _imported(name, external.target, external.where)
        beside = Path(inspect.getfile(kind)).parent / "config.json"
        if external.config_path is None and beside.is_file() and beside.resolve() != settings().path:
            _caches.external[name] = external._replace(config_path=beside)
        return kind
    if name in package_names() and (PACKAGE_PROVIDERS / name / "provider.py").is_file():
        return _packaged(name)
    entry = load_provider_config(name)
    return None if entry is None else _class_of(entry)


def _class_of(entry: ProviderConfig) -> type[BaseLLM]:
    """The class of an entry: made once a name, so that it is the same object wherever it is asked for."""
    with _caches.lock:
        if entry.name in _caches.classes:
            return _caches.classes[entry.name]
        base = _backend(entry)
        words = re.split(r"[^A-Za-z0-9]+", entry.name)
        title = "".join(word[:1].upper() + word[1:] for word in words) + "Provider"
        attributes: dict[str, Any] = {
            "provider_name": entry.name,
            "__module__": base.__module__,
            "__doc__": f"The provider {entry.name!r}, made from its config entry.",
            "__reduce__": _reduce,
        }
        kind: type[BaseLLM] = type(title, (base,), attributes)
        check_provider_class(kind)
        _caches.classes[entry.name] = kind
        return kind


def _backend(entry: ProviderConfig) -> type[BaseLLM]:
    own: Mapping[str, type[BaseLLM]] = {"pydantic_ai": PydanticAIProvider, "mock": mock.MockProvider}
    if entry.provider_type in own:
        return own[entry.provider_type]
    if ":" in entry.provider_type:
        return _imported(entry.name, entry.provider_type, f"providers.{entry.name}.provider_type")
    slugs = catalog.known_slugs()
    if entry.provider_type in slugs:
        return LiteLLMProvider
    hint = catalog.near(entry.provider_type, {*slugs, *own})
    near = f"near ones are {', '.join(hint)}" if hint else "expected one of LiteLLM's provider slugs"
    raise ConfigError(
        f"{settings().path or 'config'}: providers.{entry.name}.provider_type: {entry.provider_type!r} is unknown; "
        f"{near}, or pydantic_ai, mock, or package.module:Class"
    )


def _module(name: str, module_name: str, where: str) -> ModuleType:
    try:
        return user_code.import_module(module_name)
    except (Exception, SystemExit) as error:
        what = f"the module {module_name!r} (from {where}) cannot be imported"
        raise ConfigError(_broken(name, what, error)) from error


def _broken(name: str, what: str, error: BaseException) -> str:
    """What a provider's own code raised, and where."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    place = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else "its code"
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
    said = secrets.default_scrubber().text(" ".join(str(error).split()))
    return f"{name}: {what}: {place} raised {type(error).__name__}: {said or 'without a message'}"


def _imported(name: str, target: str, where: str) -> type[BaseLLM]:
    module_name, _, class_name = target.partition(":")
    module = _module(name, module_name, where)
    kind = getattr(module, class_name, None)
    if kind is None:
        hint = catalog.near(class_name, vars(module))
        near = f"; did you mean {' or '.join(hint)}?" if hint else ""
        raise ConfigError(f"{where}: {module_name} has no {class_name!r}{near}")
    check_provider_class(kind)
    return kind  # type: ignore[no-any-return]


def _packaged(name: str) -> type[BaseLLM]:
    module = _module(name, f"llm_tester.llms.{name}.provider", "the package")
    found = [
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, BaseLLM) and kind.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ConfigError(f"{module.__file__}: holds {len(found)} subclasses of BaseLLM, expected one")
    return found[0]


def _reduce(instance: BaseLLM) -> tuple[Any, ...]:
    return _restored, (instance.config,)


def _restored(entry: ProviderConfig) -> BaseLLM:
    """An instance in another process, where the class is made anew from the entry."""
    return _instance(_class_of(entry), entry)


def _not_found(name: str) -> None:
    hint = catalog.near(name, get_available_providers())
    near = f"near ones are {', '.join(hint)}" if hint else f"known are {', '.join(get_available_providers())}"
    log.warning("there is no provider %r; %s; a new one is an entry under providers in config.json", name, near)
