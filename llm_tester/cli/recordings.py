"""The commands `cassettes scan` and `cassettes unused`."""

from pathlib import Path

from ..cassettes.scan import scan, unused_files
from ..errors import ConfigError
from ..settings import activate, settings
from .console import say, say_json

__all__ = ["list_unused", "scan_cassettes"]


def scan_cassettes(paths: tuple[Path, ...], config: Path | None, *, as_json: bool = False) -> bool:
    """Prints the keys that are in recordings, as lines or JSON; returns whether there are any."""
    activate(config)
    active = settings()
    chosen = paths or (active.folder("cassettes"),)
    for path in chosen:
        if not path.exists():
            raise ConfigError(f"{path}: there is no such file or directory")
    finds = scan(chosen)
    if as_json:
        say_json(finds)
    for find in finds:
        say(f"{find.path}:{find.line}: {find.what}", style="red")
    say(f"{len(finds)} found in {', '.join(str(path) for path in chosen)}")
    return bool(finds)


def list_unused(cases: Path | None, config: Path | None) -> bool:
    """Replays every case, and prints the interactions and the files that none of them asked for."""
    from ..cassettes import Cassette
    from ..llm_tester import LLMTester
    from ..runs.units import unused_interactions

    activate(config)
    tester = LLMTester([f"{name}:*" for name in settings().enabled_names()], cases)
    used: set[Path] = set()
    count = 0
    for unit in tester.units(record="none"):
        if not unit.path.is_file():
            continue
        used.add(unit.path.absolute())
        left = unused_interactions(unit)
        for interaction in left:
            request = interaction.request
            say(f"{unit.path}: {request['method']} {request['uri']}: nothing asks for it")
        count += len(left)
    for path in unused_files(tester.cassettes, used):
        say(f"{path}: no case uses it, {len(Cassette(path).interactions)} interactions")
        count += 1
    say(f"{count} unused in {tester.cassettes}")
    return bool(count)
