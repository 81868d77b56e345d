"""The command `providers`."""

from pathlib import Path
from typing import Any

from rich.text import Text

from ..llms import llm_registry
from ..settings import activate, settings
from .console import console, plain_table, say, say_json

__all__ = ["show_providers"]


def show_providers(config: Path | None, *, as_json: bool = False) -> None:
    """Prints a table of the providers, and what is wrong with those that cannot start, or both as JSON."""
    activate(config)
    active = settings()
    enabled = set(active.enabled_names())
    infos = [llm_registry.get_provider_info(name) for name in llm_registry.discover_providers()]
    if as_json:
        say_json([{**info, "in_run": info["name"] in enabled} for info in infos])
        return
    table = plain_table("provider", "type", "default model", "schema", "login", "in a run")
    problems: list[str] = []
    for info in infos:
        name = info["name"]
        used = "yes" if name in enabled else "no"
        if not info["available"]:
            problems.append(f"{name} cannot start: {info['problem']}")
            table.add_row(Text(name), Text("cannot start", style="red"), "—", "—", "—", used)
            continue
        if info["schema_problem"]:
            problems.append(info["schema_problem"])
        if _is_incomplete(info):
            problems.append(f"{name}: {_login(info)}; {info['missing_key']}")
        elif info["login_set"] and info["missing_key"]:
            problems.append(f"{name}: {info['missing_key']}")
        schema = info["schema_mode"] or "—"
        cells = [name, info["provider_type"], info["default_model"] or "—", schema, _login_cell(info), used]
        table.add_row(*(Text(cell) for cell in cells))
    console().print(table)
    for problem in problems:
        say(problem, style="red")
    say(f"config: {active.path or 'none; the package alone'}")


def _is_incomplete(info: dict[str, Any]) -> bool:
    """Whether a login of several parts lacks some; that is too long for a cell."""
    return len(info["login_set"]) + len(info["login_missing"]) > 1 and bool(info["login_missing"])


def _login_cell(info: dict[str, Any]) -> str:
    return "incomplete" if _is_incomplete(info) else _login(info)


def _login(info: dict[str, Any]) -> str:
    found = [f"{name} is set" for name in info["login_set"]]
    missing = [f"{name} is not set" for name in info["login_missing"]]
    return "; ".join(found + missing) or "not needed"
