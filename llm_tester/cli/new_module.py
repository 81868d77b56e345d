"""The command `new-module`."""

import os
import shlex
from keyword import iskeyword
from pathlib import Path

from ..errors import ConfigError
from ..settings import activate, settings
from .console import say
from .init import copy_template

__all__ = ["write_module"]


def write_module(name: str, config: Path | None) -> None:
    """Writes a module with one case into the directory of the cases, and says what to do next.

    Args:
        name: the module's name.
        config: the global config file.

    Raises:
        ConfigError: Python could not import a module of this name, or there is one already.
    """
    if not name.isidentifier() or iskeyword(name):
        raise ConfigError(f"{name!r} is not a name that Python can import; use letters, digits and underscores")
    activate(config)
    directory = Path(os.path.relpath(settings().folder("cases") / name))
    if directory.exists():
        raise ConfigError(f"{directory}: already exists; choose another name, or add a case to its tests folder")
    copy_template("module", directory)
    options = f"-m {name}" + (f" --config {shlex.quote(str(config))}" if config else "")
    say(f"1. llm-tester run -p mock {options}  # made-up replies")
    say(f"2. edit {directory / 'model.py'} and the three files in {directory / 'tests'}")
    say(f"3. llm-tester run --dry-run {options}  # what the providers of your config would cost")
