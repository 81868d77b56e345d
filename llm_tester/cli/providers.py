"""The command `providers`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..llms import llm_registry
from ..settings import activate, settings
from .console import say, say_items

__all__ = ["show_providers"]


def show_providers(config: Path | None, *, as_json: bool = False) -> None:
    """Prints a table of the providers, or JSON, and what is wrong with those that cannot start."""
    activate(config)
    active = settings()
    enabled = set(active.enabled_names())
    infos = [
        {**llm_registry.get_provider_info(name), "in_run": name in enabled}
        for name in llm_registry.discover_providers()
    ]
    say_items(infos, map(_row, infos), as_json=as_json)
    for info in infos:
        for problem in _problems(info):
            say(problem, style="red")
    say(f"config: {active.path or 'none; the package alone'}")


def _row(info: dict[str, Any]) -> dict[str, str]:
    return {
        "provider": info["name"],
        "type": info.get("provider_type", "cannot start"),
        "default model": info.get("default_model") or "—",
        "schema": info.get("schema_mode") or "—",
        "login": _login_cell(info) if info["available"] else "—",
        "in a run": "yes" if info["in_run"] else "no",
    }


def _problems(info: dict[str, Any]) -> Iterator[str]:
    if not info["available"]:
        yield f"{info['name']} cannot start: {info['problem']}"
        return
    if info["schema_problem"]:
        yield info["schema_problem"]
    # A single variable that is not set is in the table.
    if info["missing_key"] and (info["login_set"] or len(info["login_missing"]) > 1):
        yield f"{info['name']}: {_login(info)}; {info['missing_key']}"


def _login_cell(info: dict[str, Any]) -> str:
    """The state of the login; if it has several parts and lacks some, that is too long for a cell."""
    is_long = info["login_missing"] and len(info["login_set"] + info["login_missing"]) > 1
    return "incomplete" if is_long else _login(info)


def _login(info: dict[str, Any]) -> str:
    found = [f"{name} is set" for name in info["login_set"]]
    missing = [f"{name} is not set" for name in info["login_missing"]]
    return "; ".join(found + missing) or "not needed"
