"""Rate limits: how many calls at once, requests and tokens a minute, and a provider's own request to wait."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_cases import LAMP, openai_entry, write_case
from standins import Fault, Reply, StandIn

from llm_tester import BaseLLM, LLMTester, ModelConfig, ProviderConfig
from llm_tester.errors import ConfigError
from llm_tester.llms.provider_factory import register_provider_class
from llm_tester.llms.rates import Gate, Rates

Write = Callable[..., Path]
Start = Callable[..., StandIn]


class FakeClock:
    """A time that only waiting moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def gate(self, **limits: Any) -> Gate:
        gate = Gate(lambda: self.now, self._wait)
        gate.limits = Rates(**limits)
        return gate

    def _wait(self, condition: threading.Condition, seconds: float | None) -> None:
        assert seconds is not None, "it waits for another call, and there is none"
        self.now += seconds


def test_requests_a_minute_hold_in_every_minute() -> None:
    """The third call of two a minute waits until the first is a minute old, and so on."""
    clock = FakeClock()
    gate, starts = clock.gate(requests=2), []
    for _ in range(5):
        gate.leave(gate.enter(), 10, replayed=False)
        starts.append(clock.now)
        clock.now += 1
    assert starts == [0, 1, 60, 61, 120]


def test_a_call_waits_at_a_closed_gate_until_its_own_time_is_over() -> None:
    clock = FakeClock()
    gate = clock.gate()
    gate.hold(100, 0.0)
    gate.leave(gate.enter(until=5.0), None, replayed=False)
    assert clock.now == 5
    gate.leave(gate.enter(until=1000.0), 10, replayed=False)
    assert clock.now >= 100


@given(st.lists(st.floats(0, 90), max_size=40), st.integers(1, 5))
def test_no_minute_has_more_requests_than_allowed(gaps: list[float], limit: int) -> None:
    """Whenever calls come, any 60 seconds have at most the allowed number of them."""
    clock = FakeClock()
    gate, starts = clock.gate(requests=limit), []
    for gap in gaps:
        clock.now += gap
        gate.leave(gate.enter(), 1, replayed=False)
        starts.append(clock.now)
    for start in starts:
        assert sum(start <= other < start + 60 for other in starts) <= limit


def test_tokens_a_minute_count_what_replies_used() -> None:
    """A call is expected to use the mean of those before; one that is larger than the limit goes alone."""
    clock = FakeClock()
    gate, starts = clock.gate(tokens=100), []
    for used in (40, 40, 40, 300, 40):
        gate.leave(gate.enter(), used, replayed=False)
        starts.append(clock.now)
    assert starts == [0, 0, 60, 60, 120]


def test_a_replay_counts_for_no_limit() -> None:
    """A call that a recording answered leaves no trace in the minute."""
    gate = FakeClock().gate(requests=1, tokens=10)
    for _ in range(3):
        gate.leave(gate.enter(), 9, replayed=True)
    gate.leave(gate.enter(), 9, replayed=False)


def test_calls_held_by_a_provider_come_back_one_after_another() -> None:
    """Five replies came before a request to wait a second: then about four calls start in each second, and no wave."""
    clock = FakeClock()
    gate, starts = clock.gate(), []
    for _ in range(5):
        gate.leave(gate.enter(), 10, replayed=False)
    gate.hold(1, sent=0.0)
    gate.hold(0.5, sent=0.0)
    for _ in range(40):
        gate.enter()
        starts.append(clock.now)
    assert starts[0] == 1.0
    assert all(0.25 <= after - before <= 0.3 for before, after in pairwise(starts))


def test_replies_make_calls_faster_and_a_refusal_slower() -> None:
    """The pace of a refusal is not reached again for a minute; after many replies, no call is held up."""
    clock = FakeClock()
    gate = clock.gate()

    def gap() -> float:
        gate.leave(gate.enter(), 1, replayed=False)
        before = clock.now
        gate.leave(gate.enter(), 1, replayed=False)
        return clock.now - before

    gate.hold(1, sent=0.0)
    assert gap() > gap() > gap()
    refused = gap()
    gate.hold(1, sent=clock.now)
    start = clock.now + 1
    gate.enter()
    assert clock.now == start
    assert min(gap() for _ in range(20)) > 0.9 * refused
    clock.now += 60
    for _ in range(300):
        gate.leave(gate.enter(), 1, replayed=False)
    assert gap() == 0


def test_threads_that_are_refused_together_do_not_come_back_as_one_wave(standin: Start) -> None:
    """The server allows 5 requests in any 100 ms: all 32 calls get a reply, and few of their retries are refused."""
    served: deque[float] = deque()
    lock = threading.Lock()

    def answer(body: Any) -> str | Fault:
        with lock:
            now = time.monotonic()
            while served and served[0] <= now - 0.1:
                served.popleft()
            if len(served) >= 5:
                return Fault(status=429, headers={"retry-after-ms": "100"})
            served.append(now)
            return "text"

    server = standin(answer)
    entry = {"name": "own", "provider_type": "own", "env_key": "", "api_base": server.url, "max_attempts": 4}
    provider = Own(ProviderConfig.model_validate(entry))
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda number: provider.get_response("a", str(number)), range(32)))
    assert {text for text, _ in replies} == {"text"}
    # Each call once, the first wave's refusals again, and few more.
    assert len(server.requests) < 32 + 27 + 15


def test_calls_at_once_are_as_many_as_the_entry_allows(tmp_path: Path, write_config: Write, standin: Start) -> None:
    """With 8 threads and 2 calls at once, the server never sees a third; without the limit it does."""
    for number in range(8):
        write_case(tmp_path / "cases", name=f"case{number}")
    together, most, lock = [0], [0], threading.Lock()
    third = threading.Event()

    def answer(body: Any) -> str:
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
            if together[0] > 2:
                third.set()
        third.wait(0.05)
        with lock:
            together[0] -= 1
        return json.dumps(LAMP)

    write_config({"x": openai_entry(standin(answer), max_concurrency=2)})
    run = LLMTester(["x"], tmp_path / "cases").run_tests(concurrency=8, record="all")
    assert ({result.status for result in run.results}, most[0]) == ({"ok"}, 2)


class Own(BaseLLM):
    """A user's class that calls the package's `get_response` in its own, one call at once."""

    def get_response(self, prompt: str, source: str, model_name: str | None = None, **more: Any) -> Any:
        return super().get_response(prompt, source, model_name, **more)

    def _call_llm_api(self, prompt: str, system_prompt: str, model_name: str, model_config: ModelConfig) -> Any:
        reply = httpx.post(str(self.config.api_base) + "/v1/chat/completions", json={"model": "m", "messages": []})
        reply.raise_for_status()
        return reply.json()["choices"][0]["message"]["content"], reply.json()["usage"]


def test_an_override_does_not_wait_for_itself(tmp_path: Path, write_config: Write, standin: Start) -> None:
    """A call inside an override's call is the same call; a retry inside it waits as the provider asks."""
    write_case(tmp_path / "cases")
    server = standin(json.dumps(LAMP), faults=[Fault(status=429, headers={"retry-after": "0.01"})])
    entry = {**openai_entry(server, max_concurrency=1), "provider_type": "own", "env_key": ""}
    write_config({"own": entry})
    register_provider_class("own", Own)
    [result] = LLMTester(["own"], tmp_path / "cases").run_tests().results
    assert (result.status, len(server.requests)) == ("ok", 2)


def test_replays_pass_a_closed_gate(tmp_path: Path, write_config: Write, standin: Start) -> None:
    """What is recorded replays at once, however little the entry allows."""
    for number in range(5):
        write_case(tmp_path / "cases", name=f"case{number}")
    server = standin(Reply(json.dumps(LAMP)))
    write_config({"x": openai_entry(server)})
    LLMTester(["x"], tmp_path / "cases").run_tests(record="once")
    write_config({"x": openai_entry(server, requests_per_minute=1, tokens_per_minute=1, max_concurrency=1)})
    run = LLMTester(["x"], tmp_path / "cases").run_tests(record="none")
    assert ([result.usage.replayed for result in run.results if result.usage], len(server.requests)) == ([True] * 5, 5)


@pytest.mark.parametrize("field", ["max_concurrency", "requests_per_minute", "tokens_per_minute"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True])
def test_an_unusable_limit_is_refused(field: str, value: Any, write_config: Write) -> None:
    write_config({"x": {"provider_type": "openai", field: value}})
    with pytest.raises(ConfigError, match=field):
        LLMTester(["x"]).manager.instance("x")


def test_the_limits_are_fields_of_an_entry() -> None:
    entry = {"name": "x", "provider_type": "openai", "max_concurrency": 4}
    assert ProviderConfig.model_validate(entry).max_concurrency == 4
