"""Cassettes: recorded API traffic, right in any number of threads and tasks.

This folder imports nothing of the package but `errors`. Its names are imported when they are used, because every
pytest session on the machine loads the network guard.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calls import Call, Exchange, running
    from .cassette import Cassette, RecordMode, check_mode, versions
    from .storage import Interaction, cassette_path
    from .use import call, current, inject, is_offline, opened, use_cassette

_HOMES = {
    "Call": "calls",
    "Cassette": "cassette",
    "Exchange": "calls",
    "Interaction": "storage",
    "RecordMode": "cassette",
    "call": "use",
    "cassette_path": "storage",
    "check_mode": "cassette",
    "current": "use",
    "inject": "use",
    "is_offline": "use",
    "opened": "use",
    "running": "calls",
    "use_cassette": "use",
    "versions": "cassette",
}

__all__ = [
    "Call",
    "Cassette",
    "Exchange",
    "Interaction",
    "RecordMode",
    "call",
    "cassette_path",
    "check_mode",
    "current",
    "inject",
    "is_offline",
    "opened",
    "running",
    "use_cassette",
    "versions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
