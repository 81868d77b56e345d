"""The active configuration: the global file, the package's entries, and the keys."""

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ._variables import variables_of, with_variables
from .cassettes import secrets
from .cassettes.forks import lock_of, stored, watch
from .config import GlobalConfig, ProviderConfig, read_json, validate
from .errors import ConfigError, MissingKeyError

__all__ = ["CONFIG_VARIABLE", "PACKAGE_PROVIDERS", "Settings", "activate", "package_names", "reset", "settings"]

log = logging.getLogger("llm_tester")

CONFIG_VARIABLE = "LLM_TESTER_CONFIG"
PACKAGE_PROVIDERS = Path(__file__).parent / "llms"


class Settings:
    """The active configuration: the global file, the package's entries, and the keys.

    Args:
        path: the global config file; None if there is none.
        config: what the file said when a run began, for a worker of that run; None to read it.

    Raises:
        ConfigError: a file that is not JSON, is empty, or says something unknown.
    """

    def __init__(self, path: Path | None, config: GlobalConfig | None = None) -> None:
        self.path = path
        self.directory = path.parent if path else Path.cwd()
        self.config = config or GlobalConfig()
        if path and config is None:
            self.config = validate(GlobalConfig, read_json(path), path)
        self.dotenv_path = self.directory / ".env"
        self._dotenv = _in_dotenv(self.dotenv_path) if self.dotenv_path.is_file() else {}
        self._external_keys: set[str] = set()

    def folder(self, field: Literal["cases", "cassettes"]) -> Path:
        """The directory that a field of the config names.

        Raises:
            ConfigError: it is not in the project, which is the directory of the config.
        """
        named: str = getattr(self.config, field)
        path = self.directory / named
        try:
            target = Path(os.path.realpath(path))
        except ValueError as error:
            raise ConfigError(f"{self.path}: {field}: {named!r} is no path ({error})") from error
        if not target.is_relative_to(os.path.realpath(self.directory)):
            where = f"{self.path}: {field}" if self.path else f"{path}"
            raise ConfigError(
                f"{where}: leads to {target}, which is outside of {self.directory}; move it there, or name it with "
                f"`llm-tester run --{field} {target}`"
            )
        return path

    def key(self, variable: str) -> str | None:
        """The value of an environment variable, else of the `.env` file; None if both lack it or it is empty."""
        return os.environ.get(variable) or self._dotenv.get(variable) or None

    def resolved(self, entry: ProviderConfig, *, is_replay: bool) -> dict[str, Any]:
        """The params of an entry, with the values of the variables that they name as `${NAME}`.

        Args:
            entry: the entry.
            is_replay: whether nothing is sent, so that what a recording has in their place will do.

        Raises:
            MissingKeyError: a variable is not set.
        """

        def value_of(variable: str) -> str:
            if value := self.key(variable) or (secrets.PLACEHOLDER if is_replay else None):
                return value
            message = f"{entry.name}: params name {variable}; set it in the environment or in {self.dotenv_path}"
            raise MissingKeyError(message, provider=entry.name)

        return dict(with_variables(entry.params, value_of))

    def secrets(self) -> Iterator[str]:
        """The secrets that only the config knows, to be kept out of every file.

        They are the values of the variables that entries name as their key's or in their params, and those of the
        `.env` file.
        """
        yield from secrets.values_of(self._dotenv)
        yield from filter(None, map(self.key, [*self._named_keys, *self._external_keys]))

    @stored
    def _named_keys(self) -> list[str]:
        entries = [entry for entry in self.config.providers.values() if isinstance(entry, dict)]
        entries += map(read_json, PACKAGE_PROVIDERS.glob("*/config.json"))
        return [name for entry in entries for name in _variables(entry)]

    def provider_names(self) -> list[str]:
        """Every name with an entry in the global config or in the package, sorted."""
        return sorted({*self.config.providers, *package_names()})

    def enabled_names(self) -> list[str]:
        """The names that a run uses by default: those of the global config that are enabled, in its order."""
        return [
            name
            for name, entry in self.config.providers.items()
            if entry is True or (isinstance(entry, dict) and entry.get("enabled", True))
        ]

    def provider(
        self, name: str, base: Mapping[str, Any] | None = None, file: Path | None = None
    ) -> ProviderConfig | None:
        """The config of one provider: the global entry laid over the package's, or over another one.

        Args:
            name: the provider's name.
            base: the entry of an external provider.
            file: the file that `base` was read from; None if it comes from none.

        Returns:
            The config; None if no file has an entry of that name.

        Raises:
            ConfigError: the entry cannot be used.
        """
        packaged = PACKAGE_PROVIDERS / name / "config.json"
        if base is None and name in package_names():
            base, file = read_json(packaged), packaged
        elif base is not None and (named := _variables(base)):
            self._external_keys |= named
            secrets.set_source(self.secrets)
        entry = self.config.providers.get(name)
        if base is None and not isinstance(entry, dict):
            return None
        over = _with_api_base({"enabled": entry} if isinstance(entry, bool) else entry or {})
        base = _with_api_base(base or {})
        if "default_model" in over and "models" not in over:
            # The user's choice of a default replaces the mark in the package's file.
            base = {**base, "models": [_unmarked(model) for model in base.get("models", [])]}
        where, prefix = (self.path, f"providers.{name}") if over and self.path else (file or packaged, "")
        return validate(ProviderConfig, {**base, **over, "name": name}, where, prefix)


def _with_api_base(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with its address under one name, so that the user's leads; of two, `api_base` counts."""
    address = {"api_base": entry["base_url"]} if "base_url" in entry else {}
    return address | {name: value for name, value in entry.items() if name != "base_url"}


def _variables(entry: Mapping[str, Any]) -> set[str]:
    """The environment variables that an entry names."""
    key = entry.get("env_key")
    return variables_of(entry.get("params")) | ({str(key)} if key else set())


def _in_dotenv(path: Path) -> dict[str, str | None]:
    """The variables of the `.env` file; warns if other users can read it."""
    try:
        found = secrets.variables_in(path)
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    if os.name == "posix" and mode & 0o004 and found:
        log.warning("%s: every user of this machine can read it; run: chmod 600 %s", path, path)
    return found


def _unmarked(model: Any) -> Any:
    return {key: value for key, value in model.items() if key != "default"} if isinstance(model, dict) else model


def package_names() -> list[str]:
    """The names of the package's own providers: the folders with a config.json."""
    return sorted(path.parent.name for path in PACKAGE_PROVIDERS.glob("*/config.json"))


class _Active:
    """The one place of the active settings."""

    def __init__(self) -> None:
        self.lock = lock_of(threading.RLock)
        self.settings: Settings | None = None
        self.chosen: Path | None = None


_active = _Active()


def settings() -> Settings:
    """The active settings, read at the first call and kept until `reset` or `activate`.

    Raises:
        ConfigError: the file that `LLM_TESTER_CONFIG` or `activate` names is missing, or cannot be used.
    """
    if (found := _active.settings) is not None:
        return found
    watch()
    with _active.lock:
        if _active.settings is None:
            _active.settings = active = Settings(_find(_active.chosen))
            secrets.set_source(active.secrets)
        return _active.settings


def _find(chosen: Path | None) -> Path | None:
    if chosen is None and (named := os.environ.get(CONFIG_VARIABLE)):
        chosen = Path(named)
    if chosen is not None:
        if not chosen.is_file():
            raise ConfigError(f"{chosen}: there is no such file; it was named as the global config")
        return chosen.resolve()
    here = Path.cwd() / "config.json"
    return here if here.is_file() else None


def activate(path: str | Path | None, config: GlobalConfig | None = None) -> bool:
    """Makes a file the global config, until `reset`.

    Args:
        path: the file; None leaves things as they are.
        config: what it said when a run began, for a worker of that run; None to read it when it is needed.

    Returns:
        Whether the active settings changed, so that what was made from them is stale.
    """
    if path is None:
        return False
    with _active.lock:
        resolved, active = Path(path).resolve(), _active.settings
        if active is not None and active.path == resolved and config in (None, active.config):
            return False
        _active.chosen = resolved
        _active.settings = made = Settings(resolved, config) if config else None
        if made:
            secrets.set_source(made.secrets)
        return True


def reset() -> None:
    """Forgets the active settings and the file that `activate` named."""
    with _active.lock:
        _active.settings = _active.chosen = None
