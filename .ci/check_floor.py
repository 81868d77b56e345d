"""Fails where pip or uv resolves the project to a litellm below the floor; prints what each takes."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FLOOR = (1, 106)


def resolved_by_pip() -> str:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed"]
        subprocess.run([*command, "--report", str(report), "."], check=True)
        found = json.loads(report.read_text())["install"]
    return next(item["metadata"]["version"] for item in found if item["metadata"]["name"] == "litellm")


def resolved_by_uv() -> str:
    # The machine's certificates, as pip's are: uv's own know no proxy that a company has in between.
    command = [sys.executable, "-m", "uv", "pip", "compile", "-q", "--system-certs", "--no-header", "--no-annotate"]
    output = subprocess.run([*command, "pyproject.toml"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return next(line.partition("==")[2] for line in output.splitlines() if line.startswith("litellm=="))


def main() -> int:
    worst = 0
    for name, version in (("pip", resolved_by_pip()), ("uv", resolved_by_uv())):
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        print(f"{name}: litellm {version}")
        worst = max(worst, int(numbers < FLOOR))
    return worst


if __name__ == "__main__":
    sys.exit(main())
