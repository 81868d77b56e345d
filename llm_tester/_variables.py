"""Environment variables in a provider's entry: named in the place of keys."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from .cassettes.secrets import find_key_shapes, is_secret_field

__all__ = ["FORM", "looks_like_a_key", "variables_of", "with_variables", "written_keys"]

# `${NAME}` in a text of the params: the value of an environment variable.
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
FORM = 'write "${NAME}", where NAME is the environment variable that holds it'


def variables_of(params: object) -> set[str]:
    """The environment variables that params name as `${NAME}`."""
    found: set[str] = set()
    # Not recursive: this reads entries before anything is checked, and they may be nested deeply.
    waiting = [params]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            found.update(_VARIABLE.findall(item))
        elif isinstance(item, dict | list | tuple):
            waiting += item.values() if isinstance(item, dict) else item
    return found


def with_variables(params: Any, value_of: Callable[[str], str]) -> Any:
    """Params with each `${NAME}` replaced by what a function gives for the name."""
    if isinstance(params, str):
        return _VARIABLE.sub(lambda match: value_of(match[1]), params)
    if isinstance(params, dict):
        return {name: with_variables(item, value_of) for name, item in params.items()}
    return [with_variables(item, value_of) for item in params] if isinstance(params, list) else params


def written_keys(params: object, place: str, *, is_secret: bool = False, levels: int = 100) -> Iterator[str]:
    """The places of params that hold a key as it is.

    Args:
        params: the params, or a part of them.
        place: its name.
        is_secret: whether the name of the part says that it holds a credential.
        levels: how deep it may be nested.

    Raises:
        ValueError: it is nested deeper. Python reads JSON that it can then not walk through.
    """
    if levels == 0:
        raise ValueError("params are nested too deeply, in more than 100 levels")
    if isinstance(params, dict):
        for name, item in params.items():
            is_named = is_secret_field(str(name))
            yield from written_keys(item, f"{place}.{name}", is_secret=is_named, levels=levels - 1)
    elif isinstance(params, list):
        for index, item in enumerate(params):
            yield from written_keys(item, f"{place}[{index}]", is_secret=is_secret, levels=levels - 1)
    elif isinstance(params, str) and (
        (is_secret and params and not _VARIABLE.search(params)) or find_key_shapes(params)
    ):
        yield place


def looks_like_a_key(name: str) -> bool:
    """Whether a text is rather a key than the name of an environment variable."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or find_key_shapes(name):
        return True
    # Digits among the letters of one long word, as random characters have them.
    words = (word for word in name.split("_") if len(word) >= 16)
    return any(len(re.findall(r"[0-9](?=[A-Za-z])|[A-Za-z](?=[0-9])", word)) >= 3 for word in words)
