"""The record modes."""

from typing import Literal, get_args

from ..errors import CassetteError

__all__ = ["RecordMode", "check_mode"]

RecordMode = Literal["none", "once", "new_episodes", "all", "rewrite"]


def check_mode(mode: str) -> RecordMode:
    """The record mode of that name.

    Raises:
        CassetteError: there is none.
    """
    if mode not in get_args(RecordMode):
        raise CassetteError(f"record mode {mode!r} is unknown; expected one of {', '.join(get_args(RecordMode))}")
    return mode  # type: ignore[return-value]
