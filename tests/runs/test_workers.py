"""Runs in other processes: budgets, limits and results are as in one, and a process that dies loses nothing."""

import itertools
import json
import multiprocessing
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from sample_cases import LAMP, SMALL, light_entry, openai_entry, write_case
from standins import StandIn

from llm_tester import BaseLLM, LLMTester, ModelConfig
from llm_tester.errors import BudgetError, ConfigError
from llm_tester.llms import rates
from llm_tester.llms.llm_registry import reset_provider_cache
from llm_tester.llms.provider_factory import register_provider_class

Write = Callable[..., Path]
Start = Callable[..., StandIn]
# What a call of the sample costs: 100 tokens in at 2 USD per million, 20 out at 8.
COST = 0.00036


class Workers:
    """An executor whose tasks run one after the other in a thread of no context, and are kept.

    Each has rate limits of its own, as in a process of its own.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self.chunks: list[Any] = []

    def submit(self, work: Any, chunk: Any) -> Future[Any]:
        self.chunks.append(chunk)
        self._pool.submit(rates.reset)
        return self._pool.submit(work, chunk)

    def shutdown(self) -> None:
        self._pool.shutdown()


@pytest.fixture
def workers() -> Iterator[Workers]:
    executor = Workers()
    yield executor
    executor.shutdown()


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    for number in range(12):
        write_case(tmp_path / "cases", name=f"case{number:02}", sources=f"Lamp {number:02}.")
    return tmp_path / "cases"


def asked(server: StandIn) -> Counter[str]:
    """How often each case was sent to a server."""
    return Counter(request.body["messages"][-1]["content"].split("Lamp ")[1][:2] for request in server.requests)


def test_processes_give_the_results_of_threads(
    cases: Path, write_config: Write, standin: Start, tmp_path: Path
) -> None:
    """Each case is called once, its reply recorded, and the costs added up; then the recordings answer."""
    server = standin(json.dumps(LAMP))
    write_config({"x": light_entry(server, tmp_path)})
    tester = LLMTester(["x"], cases)
    run = tester.run_tests(workers=2, concurrency=4)
    assert [result.accuracy for result in run.results] == [100.0] * 12
    assert [result.name for result in run.results] == [f"case{number:02}" for number in range(12)]
    assert run.spent_usd == pytest.approx(12 * COST)
    assert set(asked(server).values()) == {1}
    again = tester.run_tests(record="none")
    assert [result.reply for result in again.results] == [result.reply for result in run.results]
    assert len(server.requests) == 12


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_budget_is_one_limit_over_all_processes(
    at_once: int, cases: Path, write_config: Write, standin: Start, workers: Workers
) -> None:
    """As many calls are made as one thread makes, no matter how the limit was divided."""
    server = standin(json.dumps(LAMP))
    write_config({"x": openai_entry(server, **SMALL)})
    tester, limit = LLMTester(["x"], cases), 12 * COST
    alone = tester.run_tests(max_cost=limit, record="off")
    made = len(server.requests)
    assert 1 < made < 12
    run = tester.run_tests(executor=workers, workers=3, concurrency=at_once, max_cost=limit, record="off")  # type: ignore[arg-type]
    assert Counter(result.status for result in run.results) == Counter(result.status for result in alone.results)
    assert (run.spent_usd, len(server.requests)) == (alone.spent_usd, 2 * made)
    refused = next(result.problem for result in run.results if result.status == "skipped")
    assert "the budget of $0.00432 does not allow another call" in str(refused)


def test_a_budget_or_a_limit_needs_the_number_of_processes(
    cases: Path, write_config: Write, standin: Start, workers: Workers
) -> None:
    server = standin(json.dumps(LAMP))
    write_config({"x": openai_entry(server, requests_per_minute=5), "y": openai_entry(server)})
    with pytest.raises(ConfigError, match="x: its limits need workers="):
        LLMTester(["x"], cases).run_tests(executor=workers)
    with pytest.raises(BudgetError, match="needs workers="):
        LLMTester(["y"], cases).run_tests(executor=workers, max_cost=1)
    assert server.requests == []


@pytest.mark.parametrize(
    ("limits", "parts", "most"),
    [
        ({}, 4, 3),
        ({"max_concurrency": 2}, 2, 6),
        ({"requests_per_minute": 8}, 4, 2),
        ({"requests_per_minute": 3}, 3, 1),
    ],
)
def test_limits_are_divided_among_the_chunks_at_once(
    limits: dict[str, int], parts: int, most: int, cases: Path, write_config: Write, standin: Start, workers: Workers
) -> None:
    """A provider has no more chunks at once than its limits can be divided by, and a chunk no more than a minute's."""
    write_config({"x": {"provider_type": "mock", "models": ["m"], "mock": {"replies": {"*": LAMP}}, **limits}})
    LLMTester(["x"], cases).run_tests(
        ["products/case00", "products/case01", "products/case02"], executor=workers, workers=4, concurrency=4
    )
    assert {chunk.parts for chunk in workers.chunks} == {parts}
    assert max(len(chunk.units) for chunk in workers.chunks) <= most


here: ContextVar[str] = ContextVar("here", default="nowhere")


class Contextual(BaseLLM):
    """A user's class that reads a context variable."""

    def _call_llm_api(self, prompt: str, system_prompt: str, model_name: str, model_config: ModelConfig) -> Any:
        return json.dumps({"name": here.get(), "price": 1}), {}


@pytest.mark.parametrize("given", [False, True])
def test_context_variables_reach_the_threads(given: bool, cases: Path, write_config: Write) -> None:
    """In the run's own threads and in a user's thread pool."""
    write_config({"own": {"provider_type": "own", "env_key": "", "models": ["m"]}})
    register_provider_class("own", Contextual)
    here.set("set by the caller")
    with ThreadPoolExecutor(2) as pool:
        run = LLMTester(["own"], cases).run_tests(executor=pool if given else None, concurrency=2)
    assert {json.loads(result.reply or "")["name"] for result in run.results} == {"set by the caller"}


def test_a_config_that_is_edited_during_a_run_changes_the_next_one(
    cases: Path, write_config: Write, standin: Start, tmp_path: Path
) -> None:
    """Also in processes that start later, or that served another run before."""
    first, second = standin(json.dumps(LAMP)), standin(json.dumps(LAMP))
    write_config({"x": light_entry(first, tmp_path)})
    edited = json.dumps({"providers": {"x": light_entry(second, tmp_path)}})

    def run() -> None:
        def edit(result: Any, done: int, total: int) -> None:
            (tmp_path / "config.json").write_text(edited)

        tester = LLMTester(["x"], cases)
        names = [f"products/case{number:02}" for number in range(6)]
        tester.run_tests(names, record="off", executor=pool, workers=2, on_result=edit)
        reset_provider_cache()

    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        run()
        assert (len(first.requests), len(second.requests)) == (6, 0)
        run()
        assert (len(first.requests), len(second.requests)) == (6, 6)


def test_a_process_that_dies_loses_nothing(cases: Path, write_config: Write, standin: Start, tmp_path: Path) -> None:
    """Its cases are given to a new process; of those only the ones without a recording are called again."""
    dead = threading.Event()
    before = {child.pid for child in multiprocessing.active_children()}

    def answer(body: Any) -> str:
        if len(server.requests) == 6 and not dead.is_set():
            dead.set()
            victim = next(child for child in multiprocessing.active_children() if child.pid not in before)
            victim.kill()
        return json.dumps(LAMP)

    server = standin(answer)
    write_config({"x": light_entry(server, tmp_path)})
    run = LLMTester(["x"], cases).run_tests(workers=2, concurrency=4)
    assert [result.status for result in run.results] == ["ok"] * 12
    # A killed process had at most two calls in flight, whose replies it could not record; the pool ends the other one.
    assert len(server.requests) <= 12 + 4


def test_an_executor_that_fails_makes_failed_results(cases: Path, write_config: Write) -> None:
    """If a task of a user's executor raises, its cases failed and may be billed; the run goes on."""

    class Failing:
        def submit(self, work: Any, chunk: Any) -> Future[Any]:
            future: Future[Any] = Future()
            if chunk.units[0].case.name == "case03":
                future.set_exception(RuntimeError("the machine is gone"))
            else:
                future.set_result(work(chunk))
            return future

    write_config({"x": {"provider_type": "mock", "models": ["m"], "mock": {"replies": {"*": LAMP}}}})
    run = LLMTester(["x"], cases).run_tests(executor=Failing())  # type: ignore[arg-type]
    assert {result.name for result in run.incomplete()} == {"case03"}
    [lost] = run.incomplete()
    assert ("the machine is gone" in str(lost.problem), lost.failed_cost, run.at_most_usd) == (True, None, None)


@pytest.mark.parametrize("workers", [0, -1])
def test_a_number_of_processes_below_one_is_refused(workers: int, cases: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        LLMTester(["mock"], cases).run_tests(workers=workers)


# Dask


@contextmanager
def dask_cluster(count: int, directory: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A Dask scheduler and workers, each in a process of its own on 127.0.0.1; gives its address and the workers."""
    file = directory / "scheduler.json"
    options = ["--scheduler-file", str(file), "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *options]
    processes = [subprocess.Popen(start, **quiet)]  # type: ignore[call-overload]
    try:
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--host", "127.0.0.1", "--nthreads", "1"]
        for _ in range(count):
            command = [*worker, "--no-nanny", "--local-directory", str(directory), *options]
            processes.append(subprocess.Popen(command, **quiet))  # type: ignore[call-overload]
        from distributed import Client

        with Client(scheduler_file=str(file), set_as_default=False, timeout=60) as client:
            client.wait_for_workers(count, timeout=60)
            yield client.scheduler.address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_dask_cluster_loses_and_pays_nothing_twice(
    cases: Path, write_config: Write, standin: Start, tmp_path: Path
) -> None:
    """Two real worker processes, of which one is killed in the second run.

    Only its call in flight can be made twice: that had no recording.
    """
    distributed = pytest.importorskip("distributed", reason="Dask is not installed (pip install 'llm_tester[dask]')")
    with (
        dask_cluster(2, tmp_path) as (address, processes),
        distributed.Client(address, set_as_default=False) as client,
    ):
        executor = client.get_executor(pure=False)
        for kill, twice in ((lambda: None, 0), (processes[0].kill, 1)):
            server = standin(at_the_sixth(kill))
            write_config({"x": light_entry(server, tmp_path)})
            run = LLMTester(["x"], cases).run_tests(executor=executor, workers=2, max_cost=30 * COST)
            assert [result.status for result in run.results] == ["ok"] * 12
            extra = {case: count for case, count in asked(server).items() if count > 1}
            assert (set(extra.values()) <= {2}, len(extra) <= twice) == (True, True)
            assert len(asked(server)) == 12
            replayed = sum(bool(result.usage and result.usage.replayed) for result in run.results)
            assert run.spent_usd == pytest.approx((12 - replayed) * COST)
            shutil.rmtree(tmp_path / "cassettes")


def at_the_sixth(act: Callable[[], None]) -> Callable[[Any], str]:
    """Answers each request, and does something at the sixth."""
    numbers, lock = itertools.count(1), threading.Lock()

    def answer(body: Any) -> str:
        with lock:
            if next(numbers) == 6:
                act()
        return json.dumps(LAMP)

    return answer


def test_an_address_without_a_scheduler_is_an_error(cases: Path, write_config: Write) -> None:
    from click.testing import CliRunner

    from llm_tester.__main__ import main

    dask = pytest.importorskip("dask", reason="Dask is not installed (pip install 'llm_tester[dask]')")
    write_config({"x": {"provider_type": "mock", "models": ["m"]}})
    with dask.config.set({"distributed.comm.timeouts.connect": "300ms"}):
        result = CliRunner().invoke(main, ["run", "--cases", str(cases), "--dask", "tcp://127.0.0.1:9"])
    assert (result.exit_code, "no Dask scheduler answers there" in result.output) == (2, True)
