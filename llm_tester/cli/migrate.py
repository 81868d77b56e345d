"""Takes over a project of pydantic-llm-tester (github.com/madviking/pydantic-llm-tester): its config and its cases.

Its folders of cases run as they are. Its config is read from `pyllm_config.json` (or `config.json`) and from
`llms/<provider>/config.json`, and what has a meaning here is written to a new config.json.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ..config import ModelConfig, ProviderConfig, read_json
from ..errors import ConfigError
from .console import say

__all__ = ["migrate_project"]

# Where a project, or a checkout of the original itself, keeps its folders.
_HOMES = ("", "src", "src/pydantic_llm_tester", "llm_tester")
_CONFIGS = ("pyllm_config.json", "src/pyllm_config.json", "config.json")
_BASE = re.compile(r"^from pydantic_llm_tester\.py_models(?:\.base)? import BasePyModel$", re.MULTILINE)
_INSTEAD = {
    "api_key": "set the provider's variable in the environment or in .env",
    "env_key_secret": "set the variable that `llm-tester providers` names",
    "cost_category": "costs are computed from prices",
    "output_dir": "use `llm-tester run --output`",
    "default_modules": "use `llm-tester run -m`",
    "enabled": "all modules run; use `llm-tester run -m` to choose some",
    "llm_models": "use `llm-tester run -p PROVIDER:MODEL`",
    "path": "copy that folder next to the others",
}


def migrate_project(source: Path, target: Path) -> None:
    """Writes a config and a copy of the cases of a pydantic-llm-tester project, and prints what was left out.

    Args:
        source: the project's directory.
        target: the directory to write to.

    Raises:
        ConfigError: the project has no config or no cases, a file of it cannot be read, or something would be
            overwritten; nothing was written.
    """
    path = next((source / name for name in _CONFIGS if (source / name).is_file()), None)
    if path is None:
        raise ConfigError(f"{source}: holds none of {', '.join(_CONFIGS)}; name the directory of the project")
    given = read_json(path)
    modules = _modules(source, given)
    config, cases = target / "config.json", target / modules.name
    for made in (config, cases):
        if made.exists():
            raise ConfigError(f"{made}: already exists; nothing was written. Choose another directory with --to")
    if target.resolve().is_relative_to(modules.resolve()):
        raise ConfigError(f"{target}: lies inside {modules}, which is copied; choose another directory with --to")
    warnings: list[str] = []
    providers = dict(_providers(source, path, given, warnings))
    text = json.dumps({"providers": providers, "cases": modules.name}, indent=2, ensure_ascii=False)
    try:
        # A link stays a link: what it leads to may be no part of the project.
        shutil.copytree(modules, cases, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "reports"))
        warnings += [*_settings(path, given), *_modules_warnings(source, cases)]
        config.write_text(text + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{target}: the project cannot be copied there whole ({error})") from error
    for warning in warnings:
        say(f"warning: {warning}", style="yellow")
    say(f"wrote {config} and {cases}")
    say(f"now: cd {target} && llm-tester run")


def _modules(source: Path, given: Mapping[str, Any]) -> Path:
    settings = given.get("test_settings")
    named = settings.get("py_models_path") if isinstance(settings, dict) else None
    places = [source / named] if isinstance(named, str) else []
    places += [source / home / name for home in _HOMES for name in ("py_models", "models")]
    for place in places:
        if any(place.glob("*/model.py")):
            return place.resolve()
    raise ConfigError(f"{source}: no folder of cases found in {', '.join(str(place) for place in places)}")


def _providers(
    source: Path, path: Path, given: Mapping[str, Any], warnings: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    files = {file.parent.name: file for home in _HOMES for file in (source / home).glob("llms/*/config.json")}
    entries = _object(path, "providers", given.get("providers", {}))
    for name in {**entries, **files}:
        own = _object(path, f"providers.{name}", entries.get(name, {}))
        fields = _fields(files[name], "", name, read_json(files[name]), warnings) if name in files else {}
        fields |= _fields(path, f"providers.{name}.", name, own, warnings)
        if name.startswith("mock"):
            fields["provider_type"] = "mock"
        if "default_model" in fields and "models" in fields:
            # A default that is named and one that is marked would be two.
            fields["models"] = [{**model, "default": False} for model in fields["models"]]
        yield name, {**fields, "enabled": own.get("enabled") is True}


def _fields(path: Path, place: str, name: str, given: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    """What a provider's entry has that means something here, with the models' names without the provider's."""
    others = {key: value for key, value in given.items() if key not in ("name", "models", "llm_models")}
    fields = _known(ProviderConfig, path, place, others, warnings)
    for number, model in enumerate(given.get("llm_models") or given.get("models") or []):
        where = f"{place}models[{number}]"
        known = _known(ModelConfig, path, f"{where}.", _object(path, where, model), warnings)
        known["name"] = str(model.get("name", "")).removeprefix(f"{name}:")
        fields.setdefault("models", []).append(known)
    if "default_model" in fields:
        fields["default_model"] = str(fields["default_model"]).removeprefix(f"{name}:")
    return fields


def _known(
    form: type[BaseModel], path: Path, place: str, given: Mapping[str, Any], warnings: list[str]
) -> dict[str, Any]:
    """The fields that a class has; warns of the others."""
    for key in given.keys() - form.model_fields.keys():
        warnings += _left_out(path, place + key, given[key])
    return {key: value for key, value in given.items() if key in form.model_fields and value is not None}


def _settings(path: Path, given: Mapping[str, Any]) -> Iterator[str]:
    for key in given.keys() - {"providers"}:
        parts = given[key] if isinstance(given[key], dict) else {"": given[key]}
        for part, value in parts.items():
            place = f"{key}.{part}".rstrip(".")
            if key == "py_models" and isinstance(value, dict):
                for field, found in value.items():
                    if (field, found) != ("enabled", True):
                        yield from _left_out(path, f"{place}.{field}", found)
            elif place != "test_settings.py_models_path":
                yield from _left_out(path, place, value)


def _left_out(path: Path, place: str, value: Any) -> Iterator[str]:
    """The warning about a field; none if it is empty. Its value may be a key, so it is not shown."""
    if value not in (None, "", [], {}):
        instead = _INSTEAD.get(place.rpartition(".")[2])
        yield f"{path}: {place} means nothing here" + (f"; {instead}" if instead else "")


def _modules_warnings(source: Path, cases: Path) -> Iterator[str]:
    """What the folders hold that is not used; the one import that they cannot do without is replaced in the copy."""
    for file in sorted(cases.glob("*/*.py")):
        text = file.read_text(encoding="utf-8")
        replaced = _BASE.sub("from pydantic import BaseModel as BasePyModel", text)
        if replaced != text:
            file.write_text(replaced, encoding="utf-8")
        if "pydantic_llm_tester" in replaced:
            yield f"{file}: names pydantic_llm_tester, which must be installed or removed"
    for folder in sorted(cases.glob("*/tests/prompts/optimized")):
        yield f"{folder}: is not run; copy a prompt to prompts/<case>.optimized.txt to run it as a variant"
    if (external := source / "external_providers.json").is_file():
        yield f"{external}: is not taken over; docs/add_a_provider.md has the class that a provider needs here"


def _object(path: Path, place: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {place}: found {value!r}, expected an object")
    return value
