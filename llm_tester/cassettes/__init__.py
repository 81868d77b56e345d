"""Cassettes: recorded API traffic, right in any number of threads and tasks at once."""

from .cassette import Call, Cassette, RecordMode, call, versions
from .seam import current, is_offline, use_cassette
from .storage import Interaction, cassette_path

__all__ = [
    "Call",
    "Cassette",
    "Interaction",
    "RecordMode",
    "call",
    "cassette_path",
    "current",
    "is_offline",
    "use_cassette",
    "versions",
]
