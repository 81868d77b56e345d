"""Errors of the engine that something between it and the user's code wrapped or swallowed."""

from types import CodeType, FrameType

from ..errors import LLMTesterError

__all__ = ["callers", "raise_hidden", "was_told"]


def raise_hidden(hidden: LLMTesterError | None, instead: BaseException | None) -> None:
    """Raises an error that did not come out by itself.

    Args:
        hidden: the error, None where there was none.
        instead: what came out in its place, None where nothing did.
    """
    if hidden is None or (isinstance(instead, type(hidden)) and str(instead) == str(hidden)):
        return
    link: BaseException | None = instead
    while link is not None and link is not hidden:
        link = link.__cause__ or link.__context__
    # What only wraps it has nothing to add.
    raise hidden from (None if link is hidden else instead)


def callers(frame: FrameType | None) -> frozenset[CodeType]:
    """The code of a frame and of everything that called it."""
    found = set()
    while frame is not None:
        found.add(frame.f_code)
        frame = frame.f_back
    return frozenset(found)


def was_told(error: LLMTesterError, opened_by: frozenset[CodeType]) -> bool:
    """Whether an error came back to the code that opened the cassette (or to its callers), or to this package.

    The outermost frame of its traceback is the one that caught it: a library's where it was swallowed.

    Args:
        error: it was raised.
        opened_by: the code that opened the cassette, and its callers.
    """
    caught = error.__traceback__.tb_frame if error.__traceback__ else None
    return caught is not None and (
        caught.f_code in opened_by or str(caught.f_globals.get("__name__")).startswith("llm_tester.")
    )
