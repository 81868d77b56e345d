"""Names of providers, models, modules and cases for a shell that completes them.

The files are read here, because everything that checks them takes too long to import. A file that cannot be read has
no names, because a shell would print the error into the line that is typed.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from click import Context, Parameter
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

__all__ = ["complete"]

# A shell inserts a completion as it is, so a name with other characters could run something.
_PLAIN = re.compile(r"\w[\w./:@%+,=-]*")
_PACKAGE = Path(__file__).parent.parent / "llms"


class _Bash(BashComplete):
    """Bash takes `openai:gpt-5` apart at the colon, and expects what follows it."""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, word = super().get_completion_args()
        *args, whole = re.sub("\n:\n?", ":", "\n".join([*args, word])).split("\n")
        self.before = whole[: len(whole) - len(word.lstrip(":"))]
        return args, whole

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type},{item.value.removeprefix(self.before)}"


add_completion_class(_Bash)


def complete(context: Context, parameter: Parameter, incomplete: str) -> list[str]:
    """What a parameter accepts: MODULE and MODULE/CASE, or PROVIDER and PROVIDER:MODEL.

    Args:
        context: has the parameters that are typed already.
        parameter: `modules`, or one that takes providers.
        incomplete: what is typed of its value.
    """
    path = Path(context.params.get("config_path") or os.environ.get("LLM_TESTER_CONFIG") or "config.json")
    config = _read(path)
    if parameter.name == "modules":
        root = context.params.get("cases") or path.parent / str(config.get("cases", "cases"))
        modules = [file.parent for file in root.glob("*/model.py")]
        prompts = {module.name: [file.stem for file in module.glob("tests/prompts/*.txt")] for module in modules}
        return _fitting(incomplete, "/", prompts)
    packaged = {file.parent.name: _read(file) for file in _PACKAGE.glob("*/config.json")}
    own = _object(config.get("providers"))
    models = {name: _models({**packaged.get(name, {}), **_object(own.get(name))}) for name in {*packaged, *own}}
    external = dict.fromkeys(_read(path.with_name("external_providers.json")), ())
    return _fitting(incomplete, ":", {**external, **models})


def _fitting(incomplete: str, mark: str, parts: Mapping[str, Iterable[str]]) -> list[str]:
    """The names that fit; if only one does, or one is typed to its end, its parts as well."""
    names = [name for name in sorted(parts) if name.startswith(incomplete)]
    meant = names if len(names) == 1 else [name for name in parts if incomplete.startswith(f"{name}{mark}")]
    found = [*names, *(f"{name}{mark}{part}" for name in meant for part in sorted(parts[name]))]
    return [name for name in found if name.startswith(incomplete) and _PLAIN.fullmatch(name)]


def _models(entry: Mapping[str, Any]) -> set[str]:
    listed = entry.get("models")
    found = [*(listed if isinstance(listed, list) else ()), entry.get("default_model")]
    return {str(model.get("name") if isinstance(model, dict) else model) for model in found if model}


def _read(path: Path) -> dict[str, Any]:
    try:
        return _object(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return {}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
