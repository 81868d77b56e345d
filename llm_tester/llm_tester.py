"""Runs test cases over providers and models, and turns what happens into results."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Literal, Self
from weakref import WeakSet

from .cassettes import check_mode
from .errors import ConfigError
from .llms import llm_registry
from .llms.budget import Budget, spending
from .runs.again import Gathered, count, due
from .runs.cases import Case, discover, given
from .runs.comparison import RunComparison
from .runs.execution import RunInterrupted, RunStop, Take, Work, execute, given_stop, in_thread
from .runs.journal import Done, Head, Journal, load_journal
from .runs.results import CaseResult, RunResult
from .runs.shards import part_of
from .runs.threads import Threads
from .runs.units import Unit, run_unit, worst_usd
from .settings import activate, settings
from .utils.cost_manager import CostReport, CostTracker
from .utils.files import check_folder
from .utils.lean import lean
from .utils.provider_manager import ProviderManager

__all__ = ["LLMTester", "RunInterrupted"]

# Testers in their `with` blocks.
_entered: WeakSet["LLMTester"] = WeakSet()

Progress = Callable[[CaseResult, int, int], None]


class LLMTester:
    """Runs the cases of a directory over providers. In a `with` statement, it closes its connections; see `close`.

    Args:
        providers: their names, each with `:<model>` for one model or `:*` for all enabled ones; the default model
            otherwise.
        test_dir: the directory of the cases; by default the config's `cases`.
        config_path: the global config file; by default as `llm_tester.config` says.
        cassettes: the directory of the recordings; by default the config's `cassettes`.

    Attributes:
        manager: the providers, and why some of them could not start.
        costs: what the runs so far cost.
    """

    def __init__(
        self,
        providers: Iterable[str],
        test_dir: str | Path | None = None,
        *,
        config_path: str | Path | None = None,
        cassettes: str | Path | None = None,
    ) -> None:
        if activate(config_path):
            llm_registry.reset_provider_cache()
            activate(config_path)
        active = settings()
        self.test_dir = Path(test_dir) if test_dir else active.folder("cases")
        self.cassettes = Path(cassettes) if cassettes else active.folder("cassettes")
        check_folder(self.cassettes)
        # What the command that a message names must keep.
        self._options: tuple[str, ...] = ("--cases", os.path.relpath(test_dir)) if test_dir else ()
        self._options += ("--cassettes", os.path.relpath(cassettes)) if cassettes else ()
        self.wanted = [name.partition(":")[::2] for name in providers]
        self.manager = ProviderManager(dict.fromkeys(name for name, _ in self.wanted))
        self.costs = CostTracker()

    def __enter__(self) -> Self:
        _entered.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes what calls opened: HTTP connections, and the event loop of PydanticAI with its thread.

        The whole process shares them, so they stay open while another tester is in its `with` block. A later call opens
        new ones. Threads and processes of a run end with it. What a provider class of your own opened is not closed.
        """
        _entered.discard(self)
        if not _entered:
            llm_registry.close_clients()

    def discover_test_cases(self, modules: Iterable[str] = ()) -> list[Case]:
        """The cases of the directory.

        Args:
            modules: the names of the modules wanted, or `<module>/<case>`; all if empty.

        Raises:
            CaseError: a case cannot be read; names every file at fault.
        """
        return discover(self.test_dir, tuple(modules))

    @property
    def problems(self) -> dict[str, str]:
        """By provider, why it is not run: it cannot start, or none of its models is enabled."""
        idle = {
            name: f"{name}:*: its entry lists no enabled model"
            for name, model in self.wanted
            if model == "*" and name in self.manager.provider_instances and not self._enabled(name)
        }
        return {**self.manager.initialization_errors, **idle}

    def _problems_with(self, previous: RunResult | None) -> dict[str, str]:
        """The problems, with those of earlier results whose providers this tester does not have."""
        earlier = previous.problems.items() if previous else ()
        return {**{name: problem for name, problem in earlier if name not in self.manager.providers}, **self.problems}

    def _enabled(self, name: str) -> list[str]:
        return [model.name for model in self.manager.provider_instances[name].config.models if model.enabled]

    def targets(self, models: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
        """The provider and model of each column; an unknown model fails in its column only.

        Args:
            models: by provider, the model to use instead of its default.
        """
        found: list[tuple[str, str]] = []
        for name, model in self.wanted:
            instance = self.manager.provider_instances.get(name)
            if instance is None:
                continue
            if model == "*":
                found += [(name, listed) for listed in self._enabled(name)]
            else:
                asked = model or (models or {}).get(name) or instance.get_default_model()
                found.append((name, asked or "default"))
        return list(dict.fromkeys(found))

    def run_test(
        self, test_case: Case, provider: str, model_name: str | None = None, *, record: str = "auto", repeats: int = 1
    ) -> CaseResult:
        """Runs one case with one model.

        Args:
            test_case: from `discover_test_cases`.
            provider: the provider's name.
            model_name: the model; by default the provider's.
            record: `auto`, or a record mode of `llm_tester.cassettes`.
            repeats: how often.

        Returns:
            The result; the last one of several.

        Raises:
            ConfigError: there is no such provider, or it cannot start.
        """
        model = model_name or self.manager.instance(provider).get_default_model() or "default"
        unit = self._unit(test_case, (provider, model), record, repeats, False)
        return run_unit(unit)[-1]

    def run_tests(
        self,
        modules: Iterable[str] = (),
        models: Mapping[str, str] | None = None,
        *,
        cases: Sequence[Case] | None = None,
        record: str = "auto",
        concurrency: int = 1,
        executor: Executor | None = None,
        workers: int | None = None,
        shard: tuple[int, int] | None = None,
        repeats: int = 1,
        max_cost: float | None = None,
        previous: RunResult | None = None,
        on_result: Progress | None = None,
        on_wait: Callable[[int], None] | None = None,
        through_the_wire: bool = False,
        journal: str | Path | None = None,
    ) -> RunResult:
        """Runs every case with every model.

        Args:
            modules: the names of the modules wanted, or `<module>/<case>`; all if empty.
            models: by provider, the model to use instead of its default.
            cases: cases made in Python, instead of those of the directory. They run in threads.
            record: `auto` replays what is recorded, and calls and records the rest if a key is set (under `CI`
                nothing is called); `off` calls and records nothing; or a record mode of `llm_tester.cassettes`.
            concurrency: the most units at once. With `workers` without an executor, over all of them; with an
                executor of other processes, in each of its tasks.
            executor: your own executor instead of threads (a process pool, a cluster's).
            workers: the number of processes: of the executor, else to start for this run.
            shard: the part to run, from 1, and the number of parts; see `runs.shards.merge`. With `previous`, its part
                is run.
            repeats: how often each unit is run, each time with its own interaction in the cassette; with
                `previous`, its number of repeats is used.
            max_cost: the most that all live calls together may cost, in USD; what could pass it is not called.
            previous: earlier results; only what failed or was skipped in them, or has changed since, is run, and the
                rest is kept.
            on_result: called with each result, how many are done, and how many there are.
            on_wait: called with the number of calls in flight that an interrupted run waits for.
            through_the_wire: whether recordings are replayed even if what they were turned into is kept.
            journal: a file to which everything that is done is added as it comes. If it is there, its run goes on, with
                its number of repeats and what it spent: what is missing or failed is run. Remove it once the results
                are saved.

        Returns:
            The results, in the order of cases, then providers and models; `previous` itself if there is nothing to run
            again. What they say is spent is what this run spent.

        Raises:
            CaseError: a case cannot be read, or there is none.
            ConfigError: there is no provider to run them with.
            RunInterrupted: Ctrl-C, or there is no room on the disk for a reply; holds what was done. The first Ctrl-C
                waits for the calls in flight, the second one drops them.
            ResultsError: the journal is another program's, or cannot be written.
            BudgetError: `max_cost` is not a positive number, or comes with an executor of an unknown number of
                processes.
            CassetteError: the record mode is unknown.
            ValueError: concurrency, repeats or workers are below 1.
        """
        if min(concurrency, repeats, workers or 1) < 1 or workers == 0:
            raise ValueError("concurrency, repeats and workers are at least 1")
        log = Journal(Path(journal)) if journal else None
        if done := load_journal(log.path) if log else None:
            previous = done.over(previous)
            max_cost = done.head.max_cost if max_cost is None else max_cost
        budget = Budget(max_cost) if max_cost is not None else None
        modules, repeats = tuple(modules), previous.repeats if previous else repeats
        every = self.units(
            modules, models, cases=cases, record=record, repeats=repeats, through_the_wire=through_the_wire
        )
        part, every = part_of(every, shard, previous)
        units = due(every, previous, missing=done is not None) if previous else every
        gathered = Gathered(previous, every, whole=not modules, resumed=done is not None)
        if previous and not done and not units and gathered.holds_all_of(previous):
            return previous
        started = time.perf_counter()
        head = Head(
            run_id=self.costs.start_run(),
            columns=(*(f"{name}:{model}" for name, model in self.targets(models)), *self.problems),
            modules=modules,
            record=record,
            repeats=repeats,
            max_cost=max_cost,
            shard=part,
            base=previous.run_id if previous else None,
        )
        if done:
            head = head.model_copy(update={"run_id": done.head.run_id, "started_at": done.head.started_at})
            self._count_done(done, every, budget)
        if log:
            log.resumed() if done else log.begin(head)
        take, stop = self._take(head, units, gathered, on_result), given_stop.get() or RunStop()
        with spending(budget):
            execute(lambda: self._work(units, concurrency, executor, workers, log), take, log, stop, on_wait)
        run = RunResult(
            **head.shared(),
            **self.costs.spent_by(head.run_id),
            **gathered.fields(units),
            seconds=round(time.perf_counter() - started, 3),
            problems=self._problems_with(previous),
        )
        if stop.asked:
            raise RunInterrupted(run, stop.problem)
        return run

    arun_tests = in_thread(run_tests)
    """What `run_tests` does, for an event loop; see `runs.execution.in_thread`."""

    def _take(self, head: Head, units: list[Unit], gathered: Gathered, on_result: Progress | None) -> Take:
        """What adds the results of a unit to those of the run, counts what they cost, and says that they came."""
        taken = 0

        def take(index: int, results: tuple[CaseResult, ...]) -> None:
            nonlocal taken
            unit, fresh = units[index], tuple(result.of_run(head.run_id) for result in results)
            gathered.add(unit, fresh)
            for result in fresh:
                self._count(head.run_id, result)
            before, taken = taken * head.repeats, taken + 1
            for number, result in enumerate(fresh, before + unit.first):
                if on_result:
                    on_result(result, number, len(units) * head.repeats)

        return take

    def _work(
        self, units: list[Unit], concurrency: int, executor: Executor | None, workers: int | None, log: Journal | None
    ) -> Work:
        """Where units are run; the arguments are those of `run_tests`."""
        if isinstance(executor, ThreadPoolExecutor | None) and (executor or (workers or 1) == 1):
            return Threads(units, concurrency, log, executor)
        if any(unit.case.directory is None for unit in units):
            raise ConfigError(
                "cases made in Python run in threads, because other processes read a case from its files; leave out "
                "workers and the executor, or write the cases into cases.jsonl next to a model.py"
            )
        # Only here: threads need none of what other processes need.
        from .runs.pools import OwnPool, Pool
        from .runs.workers import Chunks

        threads = concurrency if executor else -(-concurrency // (workers or 1))
        pool = Pool(executor) if executor else OwnPool(workers or 1)
        configs = {name: instance.config for name, instance in self.manager.provider_instances.items()}
        return Chunks(units, pool, workers, threads, configs, log)

    def _count_done(self, done: Done, units: list[Unit], budget: Budget | None) -> None:
        """Counts what a run spent before it ended early; a call that was in flight then may be billed."""
        run_id, by_place = done.head.run_id, {unit.place: unit for unit in units}
        for result in done.results:
            self._count(run_id, result)
        for place in done.lost:
            module, name, variant, provider, model = place
            worst = worst_usd(by_place[place]) if place in by_place else None
            title = f"{name}.{variant}" if variant else name
            self.costs.add_failed(run_id, module, title, provider, model, 1, worst)
        spent = self.costs.spent_by(run_id)
        if budget and spent:
            usd = spent["spent_usd"] if spent["at_most_usd"] is None else spent["at_most_usd"]
            budget.end(Decimal(0), Decimal(repr(usd)))

    def units(
        self,
        modules: Iterable[str] = (),
        models: Mapping[str, str] | None = None,
        *,
        cases: Sequence[Case] | None = None,
        record: str = "auto",
        repeats: int = 1,
        through_the_wire: bool = False,
    ) -> list[Unit]:
        """What `run_tests` would run, unit by unit, for your own executor or scheduler; see `runs.units.run_unit`.

        Raises:
            CaseError: a case cannot be read, or there is none.
            ConfigError: there is no provider to run them with.
            CassetteError: the record mode is unknown.
        """
        if record not in ("auto", "off"):
            check_mode(record)
        found = self.discover_test_cases(modules) if cases is None else given(cases, tuple(modules))
        targets = self.targets(models)
        if not targets:
            config = settings().path
            where = f"{config}:" if config else f"{Path.cwd() / 'config.json'}: there is no such file, and"
            none = f"{where} no provider is enabled or named; see `llm-tester init` and `llm-tester providers`"
            raise ConfigError("nothing to run: " + ("\n".join(self.problems.values()) or none))
        return [self._unit(case, target, record, repeats, through_the_wire) for case in found for target in targets]

    def _unit(self, case: Case, target: tuple[str, str], record: str, repeats: int, through_the_wire: bool) -> Unit:
        unit = Unit(
            case=case,
            provider=target[0],
            model=target[1],
            record=record,
            cassettes=self.cassettes,
            repeats=repeats,
            config=settings().path,
            options=self._options,
            through_the_wire=through_the_wire,
        )
        return lean(unit)

    def _count(self, run_id: str, result: CaseResult) -> None:  # also in pytest's summary
        count(self.costs, run_id, result)

    def generate_report(
        self,
        results: RunResult,
        form: Literal["markdown", "json", "html"] = "markdown",
        comparison: RunComparison | None = None,
    ) -> str:
        """The results as a text.

        Args:
            results: from `run_tests`.
            form: `markdown`, `json` (what `RunResult.save` writes) or `html` (one file that needs no other).
            comparison: from `compare_runs`, to show as well; not in the JSON.
        """
        from .reports import html, markdown

        if form == "json":
            return results.to_json()
        return html.render(results, comparison) if form == "html" else markdown.render(results, comparison)

    def save_cost_report(self, path: str | Path, *, merge: bool = False) -> CostReport:
        """Writes what the runs so far cost, as JSON, and as Markdown next to it.

        Args:
            path: the JSON file.
            merge: whether to keep the runs that the file already holds.

        Returns:
            The report.

        Raises:
            ResultsError: the file is another program's or has another format, or it cannot be written.
        """
        return self.costs.save(Path(path), merge=merge)
