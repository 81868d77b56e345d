"""Cassettes: recorded API traffic, right in any number of threads and tasks at once."""

from .calls import Call, Exchange
from .cassette import Cassette, RecordMode, versions
from .storage import Interaction, cassette_path
from .use import call, current, entered, is_offline, use_cassette

__all__ = [
    "Call",
    "Cassette",
    "Exchange",
    "Interaction",
    "RecordMode",
    "call",
    "cassette_path",
    "current",
    "entered",
    "is_offline",
    "use_cassette",
    "versions",
]
