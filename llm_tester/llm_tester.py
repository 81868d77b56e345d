"""Runs test cases over providers and models, and turns what happens into results."""

import contextvars
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from .cassettes import Cassette, Interaction, RecordMode, cassette_path, use_cassette
from .cassettes.cassette import check_mode
from .errors import BudgetError, CaseError, ConfigError, LLMTesterError, ProviderError
from .files import write_own
from .llms import llm_registry
from .llms.base import BaseLLM
from .runs.cases import Case, discover
from .runs.extraction import extract
from .runs.results import CaseRecord, CaseResult, RunResult
from .runs.scoring import compare
from .settings import activate, settings
from .usage import Budget, spending
from .utils.cost_manager import COST_KIND, CostReport, CostTracker
from .utils.provider_manager import ProviderManager

__all__ = ["LLMTester", "Plan", "RunInterrupted", "Unit", "plan", "run_unit", "under_ci", "unused_interactions"]

Progress = Callable[[CaseResult, int, int], None]


class Unit(BaseModel):
    """The unit of work: a case with a model. Importable, picklable, and it needs nothing but the config file.

    Attributes:
        case: the case.
        provider: the provider's name.
        model: the model.
        record: `auto` or a record mode.
        cassettes: the directory of the recordings.
        repeats: how often to run it.
        config: the global config file, None where there is none.
    """

    model_config = ConfigDict(frozen=True)

    case: Case
    provider: str
    model: str
    record: str = "auto"
    cassettes: Path
    repeats: int = 1
    config: Path | None = None

    @property
    def path(self) -> Path:
        """The unit's cassette."""
        return cassette_path(self.cassettes, self.case.module, self.case.title, self.provider, self.model)

    @property
    def again(self) -> str:
        """The command that records the unit again."""
        case, model = f"{self.case.module}/{self.case.title}", f"{self.provider}:{self.model}"
        return shlex.join(["llm-tester", "run", "-m", case, "-p", model, "--record", "rewrite"])


def under_ci() -> bool:
    """Whether the environment variable `CI` says that this is a CI run."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


def run_unit(unit: Unit) -> tuple[CaseResult, ...]:
    """Runs one unit; a call that fails becomes a result.

    Returns:
        A result for each repeat.
    """
    activate(unit.config)
    results: list[CaseResult] = []
    try:
        provider = llm_registry.get_llm_provider(unit.provider)
        if provider is None:
            raise ConfigError(f"there is no provider {unit.provider!r}")
        planned = plan(unit, provider)
        if planned.skip:
            return tuple(_no_reply(unit, number, "skipped", planned.skip) for number in _repeats(unit))
        opened: AbstractContextManager[Cassette | None] = nullcontext()
        if planned.mode:
            opened = use_cassette(unit.path, planned.mode, origin=provider.config.origin, again=unit.again)
        with opened as cassette:
            for number in _repeats(unit):
                results.append(_run_once(unit, number, provider, cassette))
    except LLMTesterError as error:
        # The cassette itself cannot be used, so no further repeat can be run.
        results += [_failed(unit, number, error) for number in _repeats(unit)[len(results) :]]
    return tuple(results)


def unused_interactions(unit: Unit) -> list[Interaction]:
    """The recorded interactions of a unit that its case does not ask for any more, found by replaying it.

    Raises:
        CassetteError: its cassette cannot be read.
    """
    activate(unit.config)
    provider = llm_registry.get_llm_provider(unit.provider)
    with use_cassette(unit.path) as cassette:
        if provider is not None:
            for number in range(1, len(cassette.interactions) + 1):
                if _run_once(unit, number, provider, cassette).error:
                    break
        return cassette.unused()


def _repeats(unit: Unit) -> range:
    return range(1, unit.repeats + 1)


class Plan(NamedTuple):
    """What a unit would do.

    Attributes:
        skip: why it cannot be run; None where it can.
        mode: the record mode of its cassette; None where it uses none.
        live: how many of its repeats would be sent to the provider.
    """

    skip: str | None
    mode: RecordMode | None
    live: int


def plan(unit: Unit, provider: BaseLLM) -> Plan:
    """Decides how a unit gets its replies.

    Raises:
        CassetteError: its cassette cannot be read.
    """
    if not provider.uses_http:
        return Plan(None, None, unit.repeats)
    is_recorded = unit.path.is_file()
    if unit.record != "auto":
        mode = check_mode(unit.record)
        if mode == "new_episodes":
            return Plan(None, mode, _missing_repeats(unit))
        return Plan(None, mode, 0 if mode == "none" or (mode == "once" and is_recorded) else unit.repeats)
    missing = provider.missing_key(unit.model)
    live = not under_ci() and not missing
    if is_recorded:
        more = _missing_repeats(unit) if live else 0
        return Plan(None, "new_episodes" if more else "none", more)
    if live:
        return Plan(None, "once", unit.repeats)
    why = "under CI nothing is called" if under_ci() else f"there is no key: {missing}"
    return Plan(f"not recorded in {unit.path}, and {why}; to record it: {unit.again}", None, 0)


def _missing_repeats(unit: Unit) -> int:
    return max(0, unit.repeats - len(Cassette(unit.path).interactions))


def _run_once(unit: Unit, number: int, provider: BaseLLM, cassette: Cassette | None) -> CaseResult:
    case = unit.case
    try:
        files = case.attachments()
        wanted = case.model_class()
        reply, usage = provider.get_response(case.prompt, case.source, unit.model, model_class=wanted, files=files)
        extraction = _extracted(case, reply)
    except LLMTesterError as error:
        return _failed(unit, number, error)
    compared = compare(_as_dumped(case), extraction.data)
    problem = extraction.problem
    if problem and usage.finish_reason == "length":
        problem += "\nthe reply was cut at the output limit (finish reason: length)"
    age = cassette.age_days() if cassette and usage.replayed else None
    limit = settings().config.max_age
    return CaseResult(
        **_place(unit, number),
        status="ok" if problem is None else "invalid",
        accuracy=compared.accuracy if problem is None else 0.0,
        fields=tuple(compared.fields),
        problem=problem,
        reply=reply,
        actual=extraction.data,
        usage=usage,
        cassette=str(cassette.path) if cassette else None,
        age_days=age,
        old=age is not None and limit is not None and age > limit,
    )


def _extracted(case: Case, reply: str) -> Any:
    try:
        return extract(reply, case.model_class())
    except Exception as error:
        raise CaseError(
            f"{case.directory / 'model.py'}: its validation raised {type(error).__name__}: {error}; a validator says "
            "that a value is wrong with ValueError"
        ) from error


def _as_dumped(case: Case) -> dict[str, Any]:
    """The expected data in the form that the class dumps it, defaults included, where it is whole enough for that."""
    try:
        return case.model_class().model_validate(case.expected).model_dump(mode="json")
    except ValidationError:
        return case.expected


def _place(unit: Unit, number: int) -> dict[str, Any]:
    case = unit.case
    place = {"module": case.module, "name": case.name, "variant": case.variant, "repeat": number}
    return {**place, "provider": unit.provider, "model": unit.model}


def _no_reply(unit: Unit, number: int, status: Literal["failed", "skipped"], problem: str, **more: Any) -> CaseResult:
    return CaseResult(**_place(unit, number), status=status, problem=problem, **more)


def _failed(unit: Unit, number: int, error: LLMTesterError) -> CaseResult:
    status: Literal["failed", "skipped"] = "skipped" if isinstance(error, BudgetError) else "failed"
    cost = error.failed_cost if isinstance(error, ProviderError) else 0.0
    return _no_reply(unit, number, status, str(error), error=type(error).__name__, failed_cost=cost)


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C during a run.

    Args:
        results: what was done until then.
    """

    def __init__(self, results: RunResult) -> None:
        super().__init__("the run was interrupted")
        self.results = results


class LLMTester:
    """Runs the cases of a directory over providers.

    Args:
        providers: their names, each with `:<model>` for one model or `:*` for all enabled ones; the default model
            otherwise.
        test_dir: the directory of the cases; the config's `cases` where None.
        config_path: the global config file; see `llm_tester.config` for where it is found otherwise.
        cassettes: the directory of the recordings; the config's `cassettes` where None.

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
        self.test_dir = Path(test_dir) if test_dir else active.directory / active.config.cases
        self.cassettes = Path(cassettes) if cassettes else active.directory / active.config.cassettes
        self.wanted = [name.partition(":")[::2] for name in providers]
        self.manager = ProviderManager(dict.fromkeys(name for name, _ in self.wanted))
        self.costs = CostTracker()

    def discover_test_cases(self, modules: Iterable[str] = ()) -> list[Case]:
        """The cases of the directory.

        Args:
            modules: the names of the modules wanted, or `<module>/<case>`; all where empty.

        Raises:
            CaseError: a case cannot be read; names every file at fault.
        """
        return discover(self.test_dir, tuple(modules))

    def targets(self, models: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
        """The provider and model of each column.

        Args:
            models: by provider, the model to use instead of its default.

        Raises:
            UnknownModelError: a provider has no such model.
        """
        found: list[tuple[str, str]] = []
        for name, model in self.wanted:
            instance = self.manager.provider_instances.get(name)
            if instance is None:
                continue
            if model == "*":
                found += [(name, listed.name) for listed in instance.config.models if listed.enabled]
            else:
                found.append((name, instance.resolve(model or (models or {}).get(name)).name))
        return list(dict.fromkeys(found))

    def run_test(
        self, test_case: Case, provider: str, model_name: str | None = None, *, record: str = "auto", repeats: int = 1
    ) -> CaseResult:
        """Runs one case with one model.

        Args:
            test_case: from `discover_test_cases`.
            provider: the provider's name.
            model_name: the model; its default where None.
            record: `auto`, or a record mode of `llm_tester.cassettes`.
            repeats: how often.

        Returns:
            The result; the last one of several.

        Raises:
            ConfigError: there is no such provider, or it cannot start.
            UnknownModelError: it has no such model.
        """
        instance = self.manager.instance(provider)
        unit = self._unit(test_case, provider, instance.resolve(model_name).name, record, repeats)
        return run_unit(unit)[-1]

    def run_tests(
        self,
        modules: Iterable[str] = (),
        models: Mapping[str, str] | None = None,
        *,
        record: str = "auto",
        concurrency: int = 1,
        executor: Executor | None = None,
        repeats: int = 1,
        max_cost: float | None = None,
        on_result: Progress | None = None,
    ) -> RunResult:
        """Runs every case with every model.

        Args:
            modules: the names of the modules wanted, or `<module>/<case>`; all where empty.
            models: by provider, the model to use instead of its default.
            record: `auto` replays what is recorded, and calls and records the rest where a key is set (under `CI`
                nothing is called); or a record mode of `llm_tester.cassettes`.
            concurrency: how many units run at once, in threads.
            executor: an executor of one's own instead of threads (a process pool, a cluster's).
            repeats: how often each unit is run; each time is an interaction of its own in its cassette.
            max_cost: the most that all live calls together may cost, in USD; what could pass it is not called.
            on_result: called with each result, how many are done, and how many there are.

        Returns:
            The results, in the order of cases, then providers and models.

        Raises:
            CaseError: a case cannot be read.
            RunInterrupted: Ctrl-C; holds what was done.
            BudgetError: `max_cost` is not a positive number, or comes with an executor that does not share memory.
            CassetteError: the record mode is unknown.
            ValueError: concurrency or repeats are below 1.
        """
        if concurrency < 1 or repeats < 1:
            raise ValueError("concurrency and repeats are at least 1")
        budget = Budget(max_cost) if max_cost is not None else None
        if budget and executor and not isinstance(executor, ThreadPoolExecutor):
            raise BudgetError("max_cost is kept over threads; leave the executor out, or the budget")
        units = self.units(modules, models, record=record, repeats=repeats)
        run_id, started = self.costs.start_run(), time.perf_counter()
        found: dict[int, tuple[CaseResult, ...]] = {}

        def so_far() -> RunResult:
            results = tuple(result for index in sorted(found) for result in found[index])
            total = self.costs.report().by("run_id").get((run_id,))
            return RunResult(
                run_id=run_id,
                seconds=round(time.perf_counter() - started, 3),
                record=record,
                repeats=repeats,
                max_cost=max_cost,
                spent_usd=(total.spent_usd if total else 0.0) + sum(result.failed_cost or 0.0 for result in results),
                spent_unknown=total.unknown_spent if total else 0,
                problems=self.manager.initialization_errors,
                cases=tuple(_record(case) for case in _distinct(units)),
                results=results,
            )

        try:
            with spending(budget):
                for index, results in _run_all(units, concurrency, executor):
                    found[index] = results
                    for number, result in enumerate(results, 1):
                        self._count(run_id, result)
                        if on_result:
                            on_result(result, (len(found) - 1) * repeats + number, len(units) * repeats)
        except KeyboardInterrupt as error:
            raise RunInterrupted(so_far()) from error
        return so_far()

    def units(
        self,
        modules: Iterable[str] = (),
        models: Mapping[str, str] | None = None,
        *,
        record: str = "auto",
        repeats: int = 1,
    ) -> list[Unit]:
        """What `run_tests` would run, unit by unit, for an executor or a scheduler of one's own; see `run_unit`.

        Raises:
            CaseError: a case cannot be read.
            CassetteError: the record mode is unknown.
        """
        if record != "auto":
            check_mode(record)
        cases, targets = self.discover_test_cases(modules), self.targets(models)
        return [self._unit(case, *target, record, repeats) for case in cases for target in targets]

    def _unit(self, case: Case, provider: str, model: str, record: str, repeats: int) -> Unit:
        return Unit(
            case=case,
            provider=provider,
            model=model,
            record=record,
            cassettes=self.cassettes,
            repeats=repeats,
            config=settings().path,
        )

    def _count(self, run_id: str, result: CaseResult) -> None:
        if result.usage is not None:
            case = f"{result.name}.{result.variant}" if result.variant else result.name
            self.costs.add(run_id, result.module, case, result.usage)

    def generate_report(self, results: RunResult, form: Literal["markdown", "json", "html"] = "markdown") -> str:
        """The results as a text.

        Args:
            results: from `run_tests`.
            form: `markdown`, `json` (what `RunResult.save` writes) or `html` (one file that needs no other).
        """
        from .reports import html, markdown

        if form == "json":
            return results.to_json()
        return html.render(results) if form == "html" else markdown.render(results)

    def save_cost_report(self, path: str | Path, *, merge: bool = False) -> CostReport:
        """Writes what the runs so far cost, as JSON, and the same as Markdown beside it.

        Args:
            path: the JSON file.
            merge: whether to keep the runs that the file already holds.

        Returns:
            The report.

        Raises:
            ResultsError: another program's file stands there, one of another format, or it cannot be written.
        """
        report = self.costs.report()
        if merge and Path(path).exists():
            report = CostReport.load(path).merged([report])
        report.save(path)
        write_own(Path(path).with_suffix(".md"), report.markdown(), COST_KIND)
        return report


def _distinct(units: Iterable[Unit]) -> Iterator[Case]:
    """Each case once; the units repeat it for each provider."""
    seen: dict[tuple[str, str], Case] = {(unit.case.module, unit.case.title): unit.case for unit in units}
    yield from seen.values()


def _record(case: Case) -> CaseRecord:
    return CaseRecord(
        module=case.module,
        name=case.name,
        variant=case.variant,
        prompt=case.prompt,
        source=case.source,
        expected=case.expected,
        files=tuple(path.name for path in case.files),
    )


def _run_all(
    units: Sequence[Unit], concurrency: int, executor: Executor | None
) -> Iterator[tuple[int, tuple[CaseResult, ...]]]:
    """Each unit's results with its index, as they are done."""
    if executor is None and concurrency == 1:
        for index, unit in enumerate(units):
            yield index, run_unit(unit)
        return
    own = ThreadPoolExecutor(concurrency) if executor is None else None
    pool = own or executor
    assert pool is not None
    futures: dict[Future[tuple[CaseResult, ...]], int] = {}
    try:
        for index, unit in enumerate(units):
            if isinstance(pool, ThreadPoolExecutor):
                # The budget travels in the context, which threads do not inherit.
                futures[pool.submit(contextvars.copy_context().run, run_unit, unit)] = index
            else:
                futures[pool.submit(run_unit, unit)] = index
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()
        if own is not None:
            own.shutdown(wait=True)
