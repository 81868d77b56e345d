"""Calls and runs from an event loop, and closing what they opened."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import wire_entry
from pydantic import BaseModel
from sample_cases import LAMP, light_entry
from standins import Reply, StandIn

from llm_tester import BaseLLM, Case, LLMTester, ProviderManager, UsageData, use_cassette
from llm_tester.llm_tester import RunInterrupted
from llm_tester.llms.llm_registry import get_llm_provider
from llm_tester.llms.provider_factory import register_provider_class

Write = Callable[..., Path]
Start = Callable[..., StandIn]


class Product(BaseModel):
    name: str
    price: float


def cases(count: int) -> list[Case]:
    given = {"prompt": "Extract.", "source": "The Aurora Lamp.", "expected": LAMP, "model_class": Product}
    return [Case(name=f"lamp{number}", **given) for number in range(count)]


def echo(body: dict[str, Any]) -> Reply:
    return Reply(body["messages"][-1]["content"].partition("\n")[0].upper())


class Own(BaseLLM):
    """A provider with its own `get_response`."""

    uses_http = False

    def _call_llm_api(self, prompt: str, system_prompt: str, model_name: str, model_config: Any) -> Any:
        raise NotImplementedError

    def get_response(self, prompt: str, source: str, model_name: str | None = None) -> Any:
        return f"{prompt} {source}", UsageData(prompt_tokens=1, completion_tokens=2)


def test_calls_of_one_event_loop_record_and_replay(tmp_path: Path, write_config: Write, standin: Start) -> None:
    """The cassette of the task is open in the thread of each call."""
    server = standin(echo)
    write_config({"x": light_entry(server, tmp_path)})

    async def ask() -> list[str]:
        provider = get_llm_provider("x")
        assert provider
        with use_cassette(tmp_path / "calls.yaml", "once"):
            replies = await asyncio.gather(*(provider.aget_response(word, "") for word in ("one", "two", "three")))
        assert all(usage.total_tokens == 120 for _, usage in replies)
        return [text for text, _ in replies]

    assert [asyncio.run(ask()), asyncio.run(ask())] == [["ONE", "TWO", "THREE"]] * 2
    assert len(server.requests) == 3


def test_a_provider_with_its_own_get_response_is_asked_by_it(write_config: Write) -> None:
    write_config()
    register_provider_class("own", Own)
    provider = get_llm_provider("own")
    assert provider
    text, usage = asyncio.run(provider.aget_response("Say", "hello"))
    assert (text, usage.provider, usage.total_tokens) == ("Say hello", "own", 3)


def test_a_run_of_an_event_loop_keeps_to_its_budget(tmp_path: Path, write_config: Write, standin: Start) -> None:
    write_config({"x": light_entry(standin(json.dumps(LAMP)), tmp_path)})
    tester = LLMTester(["x"])
    assert [item.accuracy for item in asyncio.run(tester.arun_tests(cases=cases(2), record="off")).results] == [100] * 2
    run = asyncio.run(tester.arun_tests(cases=cases(2), record="off", max_cost=0.00001))
    assert [(item.status, item.error) for item in run.results] == [("skipped", "BudgetError")] * 2


@pytest.mark.parametrize(("times", "status"), [(1, "ok"), (2, "failed")])
def test_a_cancelled_run_ends_as_by_ctrl_c(
    times: int, status: str, tmp_path: Path, write_config: Write, standin: Start
) -> None:
    """It waits for the call in flight, starts no other, and drops the call if it is cancelled once more."""
    released = threading.Event()

    async def cancel() -> BaseException | None:
        loop = asyncio.get_running_loop()

        def reply(body: Any) -> str:
            loop.call_soon_threadsafe(task.cancel)
            assert released.wait(20)
            return json.dumps(LAMP)

        def waiting(calls: int) -> None:
            assert calls == 1
            loop.call_soon_threadsafe(task.cancel) if times == 2 else released.set()

        write_config({"x": light_entry(standin(reply), tmp_path)})
        work = LLMTester(["x"]).arun_tests(cases=cases(3), record="off", on_wait=waiting)
        task = asyncio.ensure_future(work)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        released.set()
        return caught.value.__cause__

    ended = asyncio.run(cancel())
    assert isinstance(ended, RunInterrupted)
    assert [result.status for result in ended.results.results] == [status, "skipped", "skipped"]


@pytest.mark.parametrize("wire", ["openai", "anthropic", "gemini", "pydantic-openai", "pydantic-google"])
def test_a_tester_closes_its_connections(
    wire: str, write_config: Write, standin: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server sees every connection end, PydanticAI's thread is gone, and a later call opens new ones."""
    monkeypatch.setenv("WIRE_API_KEY", "lamp" * 5)
    server = standin(json.dumps(LAMP))
    write_config({"x": wire_entry(wire, server.url)})
    for _ in range(2):
        with LLMTester(["x"]) as tester:
            with LLMTester(["x"]) as other:
                assert tester.run_tests(cases=cases(1), record="off").results[0].accuracy == 100
            connections = server._threads[1:]
            assert any(thread.is_alive() for thread in connections), "the other one did not close ours"
            other.close()
        for thread in connections:
            thread.join(20)
        assert not server._open
        assert "llm_tester-pydantic-ai" not in {thread.name for thread in threading.enumerate()}
    tester.close()
    assert ProviderManager(["x"]).get_response("x", "Extract.", "The Aurora Lamp.")[0]
