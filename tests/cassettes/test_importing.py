"""The garbage collector is off while libraries are imported, and afterwards as it was before."""

import contextlib
import gc
import threading
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
    """The collector comes back after the last block, not after the first."""
    gc.enable()
    entered, leave, left = threading.Event(), threading.Event(), threading.Event()

    def other() -> None:
        with collector_at_rest():
            entered.set()
            assert leave.wait(60)
        left.set()

    with collector_at_rest():
        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(60)
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert left.is_set()
    assert gc.isenabled()
