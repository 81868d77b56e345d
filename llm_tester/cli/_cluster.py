"""The workers of a Dask cluster as an executor."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from ..errors import ConfigError

__all__ = ["cluster"]


@contextmanager
def cluster(address: str | None, workers: int | None) -> Iterator[tuple[Executor | None, int | None]]:
    """Where a run's units are run.

    Args:
        address: of a Dask scheduler; None for this machine.
        workers: the number of processes on this machine.

    Yields:
        The executor, None for processes or threads of the run's own; and how many tasks run in it at once.

    Raises:
        ConfigError: Dask is not installed, or the scheduler does not answer or has no workers.
    """
    if address is None:
        yield None, workers
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError("--dask needs the extra dask: pip install 'llm_tester[dask]'") from error
    try:
        # Dask's own setting says how long it tries: distributed.comm.timeouts.connect.
        client = Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--dask {address}: no Dask scheduler answers there: {error}") from error
    with client:
        if not (threads := sum(client.nthreads().values())):
            raise ConfigError(f"--dask {address}: the scheduler has no workers; start some: dask worker {address}")
        yield client.get_executor(pure=False), threads
