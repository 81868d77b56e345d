"""The commands `cassettes scan` and `cassettes unused`."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ..cassettes.scan import Find, scan, unused_files
from ..errors import ConfigError
from ..settings import activate, settings
from . import COMPLETE, INCOMPLETE
from .console import say, say_json

__all__ = ["list_unused", "scan_cassettes"]


def scan_cassettes(paths: tuple[Path, ...], config: Path | None, *, gitleaks: bool, as_json: bool = False) -> int:
    """Prints the keys that are in recordings, as lines or JSON; gives the exit code."""
    activate(config)
    chosen = paths or (settings().folder("cassettes"),)
    for path in chosen:
        if not path.exists():
            raise ConfigError(f"{path}: there is no such file or directory")
    finds = sorted([*scan(chosen), *(_scan_with_gitleaks(chosen) if gitleaks else [])])
    if as_json:
        say_json(finds)
    for find in finds:
        say(f"{find.path}:{find.line}: {find.what}", style="red")
    say(f"{len(finds)} found in {', '.join(str(path) for path in chosen)}")
    return INCOMPLETE if finds else COMPLETE


def _scan_with_gitleaks(paths: Iterable[Path]) -> list[Find]:
    """What gitleaks finds with the rules that it is published with, or with those of its own configuration."""
    program = shutil.which("gitleaks")
    if program is None:
        raise ConfigError("gitleaks is not on the PATH; install it, or leave out --gitleaks")
    command = [program, "dir", "--no-banner", "--log-level=error", "--redact", "--exit-code=0"]
    command += ["--report-format=json", "--report-path=-"]
    finds = []
    for path in paths:
        # It reads only the first of several paths, and says nothing of the others.
        done = subprocess.run([*command, path], capture_output=True, text=True)
        if done.returncode:
            raise ConfigError(f"gitleaks cannot scan {path}: {done.stderr.strip()}")
        finds += [Find(Path(leak["File"]), leak["StartLine"], leak["RuleID"]) for leak in json.loads(done.stdout)]
    return finds


def list_unused(cases: Path | None, config: Path | None) -> int:
    """Replays every case, and prints the interactions and the files that none asked for; gives the exit code."""
    from ..cassettes import Cassette
    from ..llm_tester import LLMTester
    from ..runs.units import unused_interactions

    activate(config)
    tester = LLMTester([f"{name}:*" for name in settings().enabled_names()], cases)
    units = [unit for unit in tester.units(record="none") if unit.path.is_file()]
    lines = [
        f"{unit.path}: {interaction.request['method']} {interaction.request['uri']}: nothing asks for it"
        for unit in units
        for interaction in unused_interactions(unit)
    ]
    for path in unused_files(tester.cassettes, {unit.path.absolute() for unit in units}):
        lines.append(f"{path}: no case uses it, {len(Cassette(path).interactions)} interactions")
    for line in [*lines, f"{len(lines)} unused in {tester.cassettes}"]:
        say(line)
    return INCOMPLETE if lines else COMPLETE
