"""The command `list`."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..cassettes import cassette_path
from ..config import ProviderConfig, read_json
from ..llm_tester import LLMTester
from ..llms.provider_factory import EXTERNAL_FILE
from ..runs.cases import titles
from ..settings import activate, settings
from .console import say, say_items

__all__ = ["show_list"]


def show_list(cases: Path | None, config: Path | None, *, may_import: bool, as_json: bool = False) -> None:
    """Prints each case with each model of a run, and whether it is recorded.

    Args:
        cases: the directory of the cases; the config's if None.
        config: the global config file.
        may_import: whether model.py files and modules of providers are imported. If not, what they would add is
            missing, and it is printed which files run code and where keys would go.
        as_json: whether to print JSON instead of a table, and the rest on standard error.
    """
    activate(config)
    active = settings()
    folder, recordings = cases or active.folder("cases"), active.folder("cassettes")
    if may_import:
        tester = LLMTester(active.enabled_names(), cases)
        found = [(case.module, case.title) for case in tester.discover_test_cases()]
        targets, notes = tester.targets(), [f"{name} cannot start: {why}" for name, why in tester.problems.items()]
    else:
        found, external = list(titles(folder)), _external(active.directory / EXTERNAL_FILE)
        entries = {name: active.provider(name) for name in active.enabled_names()}
        targets = [(name, entry.default() or "default") for name, entry in entries.items() if entry]
        notes = [*_code(folder, found, entries, external), *_addresses(entries)]
    units = list(_units(found, targets, recordings))
    say_items(units, map(_row, units), as_json=as_json)
    for note in notes:
        say(note)


def _units(found: Iterable[tuple[str, str]], targets: list[tuple[str, str]], root: Path) -> Iterator[dict[str, Any]]:
    for module, title in found:
        for provider, model in targets or [("", "")]:
            is_recorded = bool(title and provider) and cassette_path(root, module, title, provider, model).is_file()
            names = {"module": module, "case": title or None, "provider": provider or None, "model": model or None}
            yield {**names, "recorded": is_recorded}


def _row(unit: dict[str, Any]) -> dict[str, str]:
    case = f"{unit['module']}/{unit['case']}" if unit["case"] else f"{unit['module']}, no case in its files"
    target = f"{unit['provider']}:{unit['model']}" if unit["provider"] else "—"
    return {"case": case, "provider and model": target, "recorded": "yes" if unit["recorded"] else "no"}


def _external(path: Path) -> dict[str, str]:
    """The classes in external_providers.json, by provider."""
    entries = read_json(path) if path.is_file() else {}
    return {
        name: f"{entry.get('module')}:{entry.get('class')}" if isinstance(entry, dict) else repr(entry)
        for name, entry in entries.items()
    }


def _code(
    folder: Path,
    found: Iterable[tuple[str, str]],
    entries: Mapping[str, ProviderConfig | None],
    external: Mapping[str, str],
) -> Iterator[str]:
    for module in dict.fromkeys(module for module, _ in found):
        yield f"runs code: {folder / module / 'model.py'}"
    classes = {name: entry.provider_type for name, entry in entries.items() if entry and ":" in entry.provider_type}
    for name, target in {**external, **classes}.items():
        yield f"runs code: {target}, the provider {name}"


def _addresses(entries: Mapping[str, ProviderConfig | None]) -> Iterator[str]:
    for name, entry in entries.items():
        if entry is None:
            yield f"{name}: no entry of the config; a class of an installed package, or missing"
            continue
        key = entry.env_key
        if key is None:
            key = entry.own_variable() if entry.api_base else f"of {entry.provider_type}"
        where = entry.api_base or f"the address of {entry.provider_type}"
        yield f"{name}: sends prompts, sources and the key {key or '(none)'} to {where}"
