"""Fails if an environment has a dependency below its floor in pyproject.toml; prints what it has.

python .ci/check_floor.py .venv .venv-wheel
"""

import re
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[\w,]+\])?>=(?P<floor>[\d.]+)")


def floors() -> dict[str, str]:
    """The floor of each dependency, by name in lower case."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {line: REQUIREMENT.fullmatch(line) for line in project["dependencies"]}
    if bare := [line for line, match in found.items() if match is None]:
        sys.exit(f"pyproject.toml: {bare[0]!r} is not of the form 'name>=version'")
    return {match["name"].lower(): match["floor"] for match in found.values() if match}


def installed(environment: Path) -> dict[str, str]:
    """The version of each distribution in a virtual environment, by name in lower case."""
    [packages] = environment.glob("lib/python3*/site-packages")
    return {item.name.lower().replace("_", "-"): item.version for item in distributions(path=[str(packages)])}


def numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def main() -> int:
    below = []
    for environment in sys.argv[1:]:
        versions = installed(Path(environment))
        print(f"{environment}: " + ", ".join(f"{name} {versions[name]}" for name in floors()))
        below += [
            f"{environment}: {name} {versions[name]} is below its floor {floor}"
            for name, floor in floors().items()
            if numbers(versions[name]) < numbers(floor)
        ]
    print(*below, sep="\n", end="\n" if below else "")
    return int(bool(below))


if __name__ == "__main__":
    sys.exit(main())
