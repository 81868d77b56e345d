"""The fixtures that users override, and where a test's cassettes are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ._cases import CaseItem
from ._session import failure

if TYPE_CHECKING:
    from ..cassettes import Interaction

__all__ = ["cassette_of", "llm_before_record", "llm_before_replay", "llm_cassette_dir", "llm_ignore", "llm_redact"]

Hook = Callable[["Interaction"], "Interaction | None"] | None


def cassette_of(item: pytest.Item, directory: Path, name: str | None) -> Path:
    """A test's cassette in a directory; without a name, the one that is named after the test."""
    from ..cassettes import cassette_path

    if name is not None:
        return directory / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    names = [node.name for node in item.listchain() if node.path == item.path and not isinstance(node, pytest.File)]
    plain = getattr(item, "originalname", None)
    if plain and item.name.startswith(f"{plain}["):
        # A directory for the function, and in it a file for each set of parameters.
        names[-1:] = [plain, item.name[len(plain) + 1 : -1]]
    return cassette_path(directory, *names)


@pytest.fixture
def llm_cassette_dir(request: pytest.FixtureRequest) -> str | Path:
    """The directory of a test's cassettes; override it in a conftest.py, a module or a class.

    By default `cassettes/<test module>` next to the module, for a case the config's `cassettes`, and for the contract
    kit the directory of its module. A relative path is taken from pytest's rootdir.
    """
    from ..cassettes import cassette_path

    item: pytest.Item = request.node
    if isinstance(item, CaseItem):
        return item.unit.cassettes
    if hasattr(request.cls, "kit_directory"):
        return item.path.parent
    root, parts = item.path.parent / "cassettes", [item.path.stem]
    if central := item.config.getini("llm_cassette_dir"):
        root = item.config.rootpath / central
        parts = list(Path(item.nodeid.partition("::")[0]).with_suffix("").parts)
    return cassette_path(root, *parts).with_suffix("")


@pytest.fixture
def llm_ignore() -> Sequence[str]:
    """JSON paths of request bodies that are neither matched nor recorded, next to the config's; none by default."""
    return ()


@pytest.fixture
def llm_redact() -> Sequence[str]:
    """Values that are redacted from recordings, next to the keys; none by default."""
    return ()


@pytest.fixture
def llm_before_record() -> Hook:
    """A function that gets each interaction before it is recorded, and gives the one to record; None by default.

    It is a fixture, and no hook of pytest, because users of pytest-recording pass such functions in the fixture
    `vcr_config`. As with vcrpy, it may change the interaction or give another one, None records nothing, and it also
    gets what it has changed already: that is how a request finds its recording. What it gives is redacted.
    """
    return None


@pytest.fixture
def llm_before_replay() -> Hook:
    """A function that gets a copy of each interaction before it is replayed, and gives the one to replay."""
    return None


@pytest.fixture
def _llm_customs(llm_ignore: Any, llm_redact: Any, llm_before_record: Hook, llm_before_replay: Hook) -> Iterator[None]:
    """Applies these fixtures to all cassettes that are opened during the test."""
    from ..cassettes import hooks, secrets

    if any(len(value.strip()) < (least := secrets.SHORTEST_SECRET) for value in llm_redact):
        raise failure(f"llm_redact: a value has fewer than {least} characters, so ordinary text would be redacted too")
    with hooks.using(hooks.Hooks(tuple(llm_ignore), frozenset(llm_redact), llm_before_record, llm_before_replay)):
        yield
