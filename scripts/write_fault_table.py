"""Writes the table of faults into docs/errors.md, from the table that the fault matrix asserts."""

import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from fault_bodies import GROUPS
from fault_table import Fault, Outcome

PAGE = ROOT / "docs" / "errors.md"
BEGIN, END = "<!-- faults: written by scripts/write_fault_table.py -->\n", "<!-- end of faults -->"
ROUTES = 6
TITLES = {
    "status": "the status",
    "retry-after": "`retry-after` of a 429",
    "redirect": "a redirect",
    "time": "the time",
    "connection": "the connection",
    "first attempt": "the first attempt only",
    "body": "the body, with 200",
    "reply": "the reply, with 200",
    "usage": "the usage, with 200",
}


def _ends(outcome: Outcome) -> str:
    if outcome.error:
        return f"`{outcome.error.__name__}`"
    text = "the reply" if outcome.text else "a reply without a text"
    finish = f"finish reason `{outcome.finish}`" if outcome.finish else "no finish reason"
    return f"{text}{'' if outcome.finish == 'stop' else f', {finish}'}{', with a note' if outcome.note else ''}"


def _row(group: str, fault: Fault) -> str:
    """A fault's cells but the first one: what is the same for all faults in one row."""
    outcome, others = fault.outcome, defaultdict(list)
    for route, other in fault.instead.items():
        cost = f", {other.billed}" if other.billed != outcome.billed else ""
        others[f"{_ends(other)}{cost}"].append(f"`{route}`")
    ends = "; ".join([_ends(outcome), *(f"on {' and '.join(routes)} {other}" for other, routes in others.items())])
    status = "the same" if group == "status" else outcome.status or "none" if outcome.error else "200"
    return f"{ends} | {status} | {outcome.attempts} | {outcome.requests} | {outcome.billed} |"


def _listed(names: list[str]) -> str:
    """Names in one cell; `400, 400 with HTML` is shown as `400 (with HTML)`."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in names:
        number, found, kind = name.partition(" with ")
        kinds[number if found and number.isdigit() else name] += [kind] if found and number.isdigit() else []
    return "; ".join(f"{name} (also with {', '.join(more)})" if more else name for name, more in kinds.items())


def table() -> str:
    """The section between the two marks."""
    count = sum(map(len, GROUPS.values()))
    lines = [f"{count} faults on {ROUTES} routes are {count * ROUTES:,} cases. Each call may make two attempts."]
    for group, faults in GROUPS.items():
        rows: dict[str, list[str]] = defaultdict(list)
        for name, fault in faults.items():
            rows[_row(group, fault)].append(name)
        lines += ["", f"| {TITLES[group]} | ends with | status | attempts | requests | cost |"]
        lines += ["| --- | --- | --- | ---: | ---: | --- |"]
        lines += [f"| {_listed(names)} | {row}" for row, names in rows.items()]
    return "\n".join([*lines, "", ""])


def page(text: str) -> str:
    """The page with the table in its place."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
