"""How a run shares its threads among providers."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sample_cases import LAMP, openai_entry, write_case
from standins import Fault, StandIn

from llm_tester import LLMTester

Write = Callable[..., Path]
Start = Callable[..., StandIn]


def test_a_held_provider_does_not_hold_up_the_others(tmp_path: Path, write_config: Write, standin: Start) -> None:
    """With one thread, a provider that asks to wait lends it to the other, whose cases are all done first."""
    for number in range(3):
        write_case(tmp_path / "cases", name=f"case{number}")
    slow = standin(json.dumps(LAMP), faults=[Fault(status=429, headers={"retry-after": "1.5"})])
    quick = standin(json.dumps(LAMP))
    write_config({"slow": openai_entry(slow), "quick": openai_entry(quick)})
    order: list[str] = []
    LLMTester(["slow", "quick"], tmp_path / "cases").run_tests(
        record="all", on_result=lambda result, done, total: order.append(result.provider)
    )
    assert order[:3] == ["quick"] * 3


def test_a_provider_at_its_limit_does_not_take_all_threads(tmp_path: Path, write_config: Write, standin: Start) -> None:
    """Two threads, and a provider whose first call does not end before the other provider's last has begun."""
    for number in range(4):
        write_case(tmp_path / "cases", name=f"case{number}")
    all_quick, count = threading.Event(), [0]

    def quick(body: Any) -> str:
        count[0] += 1
        if count[0] == 4:
            all_quick.set()
        return json.dumps(LAMP)

    def slow(body: Any) -> str:
        assert all_quick.wait(20)
        return json.dumps(LAMP)

    write_config({"slow": openai_entry(standin(slow), max_concurrency=1), "quick": openai_entry(standin(quick))})
    run = LLMTester(["slow", "quick"], tmp_path / "cases").run_tests(record="all", concurrency=2)
    assert [result.status for result in run.results] == ["ok"] * 8
