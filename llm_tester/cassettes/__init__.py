"""Cassettes: recorded API traffic, right in any number of threads and tasks.

This folder imports nothing of the package but `errors`. Its names are imported when they are used, because every
pytest session on the machine loads the network guard.
"""

from typing import TYPE_CHECKING

from .importing import lazy

if TYPE_CHECKING:
    from .calls import Call, Exchange, running
    from .cassette import Cassette
    from .modes import RecordMode, check_mode
    from .storage import Interaction, cassette_path, versions
    from .use import call, current, inject, is_offline, live, opened, use_cassette

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
    "live",
    "opened",
    "running",
    "use_cassette",
    "versions",
]

__getattr__ = lazy(
    globals(),
    {
        "calls": "Call Exchange running",
        "cassette": "Cassette",
        "modes": "RecordMode check_mode",
        "storage": "Interaction cassette_path versions",
        "use": "call current inject is_offline live opened use_cassette",
    },
)
