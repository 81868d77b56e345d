"""Parts of request bodies that change every time: not matched on, and masked in the file.

A path is that part of JSONPath (RFC 9535) that names places: `$.user`, `$.metadata.request_id`, `$.messages[0].id`,
`$.messages[*].id`, `$['a name with spaces']`.
"""

import re
from collections.abc import Sequence
from typing import Any

from ..errors import CassetteError

__all__ = ["MASK", "Path", "masked", "parse"]

MASK = "IGNORED"
Path = tuple[str | int | None, ...]

_STEP = re.compile(r"\.(?P<name>[\w-]+)|\[\'(?P<quoted>[^\']+)\'\]|\[(?P<index>\d+)\]|\[(?P<all>\*)\]")


def parse(paths: Sequence[str]) -> tuple[Path, ...]:
    """The steps of each path; None means every item.

    Raises:
        CassetteError: a path is none, or says more than a place.
    """
    return tuple(_steps(path) for path in paths)


def _steps(path: str) -> Path:
    matches = list(_STEP.finditer(path, 1))
    if not path.startswith("$") or not matches or "$" + "".join(match[0] for match in matches) != path:
        raise CassetteError(f"ignore: {path!r} is no path; expected one such as $.user or $.messages[*].id")
    return tuple(
        match["name"] or match["quoted"] or (int(match["index"]) if match["index"] else None) for match in matches
    )


def masked(value: Any, paths: Sequence[Path]) -> Any:
    """A JSON value with what the paths name replaced by a mask; what they do not find stays as it is."""
    for path in paths:
        value = _masked(value, path)
    return value


def _masked(value: Any, path: Path) -> Any:
    if not path:
        return MASK
    step, rest = path[0], path[1:]
    if isinstance(value, dict) and isinstance(step, str) and step in value:
        return {**value, step: _masked(value[step], rest)}
    if isinstance(value, list) and not isinstance(step, str):
        return [_masked(item, rest) if step in (None, index) else item for index, item in enumerate(value)]
    return value
