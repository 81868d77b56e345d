"""The command `init`."""

import shlex
from pathlib import Path

from ..errors import ConfigError
from .console import say

__all__ = ["copy_template", "write_project"]


def write_project(directory: Path) -> None:
    """Writes a project into a directory, and says what to do next."""
    copy_template("project", directory)
    there = "" if directory == Path() else f"cd {shlex.quote(str(directory))} && "
    say(f"1. {there}llm-tester run  # replays the sample: no key, no network")
    say("2. llm-tester new-module invoices  # adds a class of your own, with a case to edit")
    say("3. llm-tester run -p mock -m invoices  # made-up replies; with a key: -p openai")


def copy_template(name: str, directory: Path) -> None:
    """Copies a folder of `template/`. If there is a .gitignore already, it says which lines that lacks.

    Args:
        name: the folder's name.
        directory: the directory to copy to, which is made.

    Raises:
        ConfigError: another file exists already, or one cannot be written.
    """
    template = Path(__file__).parent.parent / "template" / name
    try:
        _copy(template, directory)
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be written ({error.strerror}); choose another place") from error


def _copy(template: Path, directory: Path) -> None:
    files = [path for path in sorted(template.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    targets = {path: directory / path.relative_to(template) for path in files}
    existing = {path: target for path, target in targets.items() if target.exists()}
    if others := [target for target in existing.values() if target.name != ".gitignore"]:
        raise ConfigError(f"{others[0]}: already exists; nothing was written. Choose an empty directory")
    for path, target in sorted(targets.items() - existing.items()):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        say(f"wrote {target}")
    for path, target in existing.items():
        there = target.read_text(encoding="utf-8", errors="replace").splitlines()
        if missing := [line for line in path.read_text().splitlines() if line not in there]:
            say(f"{target} already exists; add these lines to it: {' '.join(missing)}")
