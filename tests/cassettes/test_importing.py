"""The garbage collector is off while libraries are imported, and afterwards as it was before."""

import contextlib
import gc
from collections.abc import Iterator

import pytest

from llm_tester.cassettes.importing import collector_at_rest


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    was_on = gc.isenabled()
    yield
    (gc.enable if was_on else gc.disable)()


@pytest.mark.parametrize("is_on", [True, False])
def test_the_collector_is_afterwards_as_it_was_before(is_on: bool) -> None:
    (gc.enable if is_on else gc.disable)()
    with contextlib.suppress(ImportError), collector_at_rest():
        assert not gc.isenabled()
        with collector_at_rest():
            pass
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled() == is_on


def test_blocks_of_several_threads_overlap() -> None:
    """Whichever of them ends last, the collector is on afterwards."""
    gc.enable()
    first, second = collector_at_rest(), collector_at_rest()
    first.__enter__()
    second.__enter__()
    assert not gc.isenabled()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert gc.isenabled()
