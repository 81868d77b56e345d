"""Runs units in other processes: a process pool, or a cluster's executor.

The coordinator hands out chunks of units of one provider. Each comes with its part of the budget and of the provider's
limits; the worker runs it in threads, and gives back the results and what they cost. Nothing else is shared.
"""

import queue
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future

from ..config import ProviderConfig
from ..errors import BudgetError, ConfigError
from ..llms.budget import Spent, active_budget
from ..settings import settings
from .journal import Journal, load_journal
from .pools import Chunk, Done, Pool
from .threads import CUT_OFF, Finished, cut_off, dropped, elsewhere
from .units import Unit

__all__ = ["Chunks"]

# Units of a chunk per thread. Towards its end a chunk leaves threads idle, so it is not too short.
WAVES = 8
# How often the units of a process that died are given to another one.
MOST_DEATHS = 3


class Chunks:
    """Runs units in the workers of a pool; iterate over it once.

    Args:
        units: the units.
        pool: the workers.
        workers: how many chunks run at once; None if that is unknown.
        threads: how many units run at once in a worker.
        configs: the config of each provider.
        journal: where to add what is done; None for nowhere.

    Raises:
        BudgetError: there is a budget, and it is unknown into how many parts to divide it.
        ConfigError: a provider has limits, and it is unknown into how many parts to divide them.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        pool: Pool,
        workers: int | None,
        threads: int,
        configs: Mapping[str, ProviderConfig],
        journal: Journal | None = None,
    ) -> None:
        # Workers on this machine write into the journal what they do; for others it is done here.
        self._theirs, self._ours = journal if pool.is_here else None, None if pool.is_here else journal
        self._config = settings().config
        self._units, self._pool, self._workers, self._threads = units, pool, workers, threads
        self._budget = active_budget()
        self._waiting: dict[str, deque[int]] = {}
        for index, unit in enumerate(units):
            self._waiting.setdefault(unit.provider, deque()).append(index)
        self._most, self._size = {}, {}
        for name in self._waiting:
            self._most[name], self._size[name] = self._plan(configs.get(name))
        if self._budget and workers is None:
            raise BudgetError("max_cost with an executor needs workers=…, the number of its processes, to divide it")
        self._running: dict[Future[Done], tuple[Chunk, list[int], bool]] = {}
        # Units that the budget's part of their chunk did not allow, and whether any other was done since they were.
        self._refused: list[int] = []
        self._helped = True
        self._deaths: dict[int, int] = {}
        self._ended: queue.SimpleQueue[Future[Done] | None] = queue.SimpleQueue()
        self._pending: deque[Finished] = deque()
        self._is_cancelled = False

    def _plan(self, config: ProviderConfig | None) -> tuple[int, int]:
        """How many chunks of a provider run at once, and how many units they have."""
        limits = [limit for limit in _limits(config) if limit is not None]
        size = self._threads * WAVES if self._threads > 1 else 1
        if self._workers is None:
            if limits and config:
                raise ConfigError(
                    f"{config.name}: its limits need workers=…, the number of the executor's processes, to divide them"
                )
            return len(self._units), size
        if not limits or config is None:
            return self._workers, size
        # Fixed for the whole run: a part that grew while others still had theirs would exceed the limit.
        most = min(max(1, self._workers // len(self._waiting)), *limits)
        # A chunk of about a minute at most, so that the worker is free for other providers.
        return most, min(size, max(1, (config.requests_per_minute or size * most) // most))

    def __iter__(self) -> Iterator[Finished]:
        elsewhere.add(self._under_way)
        self._fill()
        while self._pending or self._running:
            if self._pending:
                yield self._pending.popleft()
            elif future := self._ended.get():
                self._pending.extend(self._finished(future))
                self._fill()
            else:
                return

    def end(self) -> None:
        """As that of `Threads`."""
        self._ended.put(None)

    def cancel(self) -> int:
        """As that of `Threads`: our own workers end their calls in flight, other ones their chunks."""
        self._is_cancelled = True
        for units in self._waiting.values():
            units.clear()
        self._refused.clear()
        self._pool.cancel()
        for future in [future for future in self._running if future.cancel()]:
            del self._running[future]
        return self._under_way()

    def _under_way(self) -> int:
        """How many units run at most."""
        return sum(min(len(indices), chunk.threads) for chunk, indices, _ in [*self._running.values()])

    def drop(self) -> list[Finished]:
        """The results of the units of chunks that are still under way; our own workers are ended."""
        self._pool.end()
        units = [(index, self._units[index]) for _, indices, _ in self._running.values() for index in indices]
        done = load_journal(self._theirs.path, since_resumed=True) if self._theirs else None
        if done is None:
            return [*self._pending, *((index, cut_off(unit, CUT_OFF, unit.repeats)) for index, unit in units)]
        results = done.by_unit
        for _, unit in units:
            if unit.place not in results and unit.place in done.lost:
                results[unit.place] = dropped(unit, done.lost.count(unit.place))
        return [*self._pending, *((index, results[unit.place]) for index, unit in units if unit.place in results)]

    def close(self) -> None:
        """Lets go of the workers."""
        elsewhere.discard(self._under_way)
        self._pool.end()

    def _fill(self) -> None:
        while self._workers is None or len(self._running) < self._workers:
            if not (indices := self._next()):
                break
            self._submit(indices)
        if not self._running and self._refused:
            # Other chunks have given back what they did not need: now one chunk at a time gets all of it. If that does
            # not help, calls in flight may have had it: one at a time, what is refused now cannot be paid.
            name = self._units[self._refused[0]].provider
            same = [index for index in self._refused if self._units[index].provider == name][: self._size[name]]
            self._refused = [index for index in self._refused if index not in set(same)]
            last, self._helped = not self._helped, False
            self._submit(same, last=last, alone=True)

    def _next(self) -> list[int]:
        """The units of the next chunk: of the provider with the fewest chunks under way."""
        running = dict.fromkeys(self._waiting, 0)
        for chunk, _, _ in self._running.values():
            running[chunk.units[0].provider] += 1
        ready = [name for name, units in self._waiting.items() if units and running[name] < self._most[name]]
        if not ready:
            return []
        name = min(ready, key=lambda name: (running[name], self._waiting[name][0]))
        units = self._waiting[name]
        # The rest is divided evenly, so that all workers end together.
        size = min(self._size[name], -(-len(units) // max(1, self._most[name] - running[name])))
        return [units.popleft() for _ in range(min(size, len(units)))]

    def _submit(self, indices: list[int], *, last: bool = False, alone: bool = False) -> None:
        units = tuple(self._units[index] for index in indices)
        share = None
        if self._budget and self._workers:
            share = self._budget.lend(1 if alone else self._workers - len(self._running))
        if self._ours:
            for unit in units:
                self._ours.started(unit)
        threads, parts = 1 if last else self._threads, self._most[units[0].provider]
        chunk = Chunk(units, threads, parts, share, self._theirs, self._config)
        future = self._pool.submit(chunk)
        self._running[future] = chunk, indices, last
        future.add_done_callback(self._ended.put)

    def _finished(self, future: "Future[Done]") -> Iterator[Finished]:
        if future not in self._running:
            return
        if error := future.exception():
            yield from self._lost(future, error)
            return
        chunk, indices, last = self._running.pop(future)
        done = future.result()
        if self._theirs and done.problem:
            self._theirs.problem = done.problem
        if self._budget and chunk.share and done.spent:
            self._budget.take_back(chunk.share, done.spent)
        for number, results in done.results.items():
            is_last = last or self._is_cancelled
            if not is_last and self._budget and all(result.error == BudgetError.__name__ for result in results):
                self._refused.append(indices[number])
            else:
                self._helped = True
                if self._ours:
                    self._ours.finished(self._units[indices[number]], results)
                yield indices[number], results

    def _lost(self, future: "Future[Done]", error: BaseException) -> Iterator[Finished]:
        """Gives a chunk whose worker died to another one; its units fail if that is not possible."""
        if not isinstance(error, Exception):
            raise error
        broken = isinstance(error, BrokenExecutor)
        # One dead process breaks the whole pool.
        lost = list(self._running) if broken else [future]
        again = broken and not self._is_cancelled and self._pool.renew()
        for each in lost:
            chunk, indices, _ = self._running.pop(each)
            if self._budget and chunk.share:
                # What its calls cost is unknown, so all of it counts as spent.
                self._budget.take_back(chunk.share, Spent(chunk.share.usd, {}))
            for index in reversed(indices):
                self._deaths[index] = self._deaths.get(index, 0) + 1
                if again and self._deaths[index] < MOST_DEATHS:
                    self._waiting[chunk.units[0].provider].appendleft(index)
                else:
                    problem = f"the worker failed, and its calls may be billed: {type(error).__name__}: {error}"
                    yield index, cut_off(self._units[index], problem, self._units[index].repeats)


def _limits(config: ProviderConfig | None) -> tuple[int | None, ...]:
    return (config.max_concurrency, config.requests_per_minute, config.tokens_per_minute) if config else ()
