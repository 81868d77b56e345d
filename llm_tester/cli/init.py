"""The command `init`."""

from pathlib import Path

from ..errors import ConfigError
from .console import say

__all__ = ["write_project"]


def write_project(directory: Path) -> None:
    """Copies the template of a project to a directory."""
    template = Path(__file__).parent.parent / "template"
    try:
        _copy(template, directory)
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be written ({error.strerror}); choose another place") from error
    say("now: llm-tester run" if directory == Path() else f"now: cd {directory} && llm-tester run")


def _copy(template: Path, directory: Path) -> None:
    files = [path for path in sorted(template.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    targets = {path: directory / path.relative_to(template) for path in files}
    if existing := [target for target in targets.values() if target.exists()]:
        raise ConfigError(f"{existing[0]}: already exists; nothing was written. Choose an empty directory")
    for path, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        say(f"wrote {target}")
