"""The fault matrix: every fault of `fault_table.py` on six routes has one outcome."""

import re
import socket
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from conftest import ROOT, WIRES, wire_entry
from fault_bodies import GROUPS
from fault_table import MOST_ATTEMPTS, Fault, Outcome, Request
from http_server import Reply, Seen, Server
from wire_bodies import wire_of

from llm_tester import ProviderConfig
from llm_tester.errors import LLMTesterError, ProviderError
from llm_tester.llms import attempts
from llm_tester.llms.base import BaseLLM
from llm_tester.llms.litellm_backend import LiteLLMProvider
from llm_tester.llms.pydantic_ai_backend import PydanticAIProvider

ROUTES = WIRES[:6]
KEY = "-".join(["matrix", "canary", "0123456789"])
# In seconds. A fault that does not take long must not meet the timeout on a busy machine.
SHORT, LONG, SLACK = 0.4, 30.0, 5.0
# Of 10 and 5 tokens, of 500 cached ones more, and of a thousand million, in USD.
PRICES = (pytest.approx(60e-6), pytest.approx(310e-6), pytest.approx(2000 + 40e-6))


class Matrix(NamedTuple):
    """A server that knows by the prompt which fault to answer with.

    Attributes:
        faults: the faults by name.
        requests: how many requests came for a fault and a route.
        other: a server to which no redirect may lead.
        closed: an address where no server listens.
    """

    faults: list[tuple[str, Fault]]
    requests: Counter[tuple[int, str]]
    other: Server
    closed: str

    def answer(self, seen: Seen) -> Reply:
        found = re.search(r"cell-(\d+)-([a-z-]+)", f"{seen.path} {seen.body.decode()}")
        assert found, "a request without its prompt"
        cell = int(found[1]), found[2]
        self.requests[cell] += 1
        answer = self.faults[cell[0]][1].answer
        assert answer is not None
        path = seen.path if "cell-" in seen.path else f"{seen.path}?{found[0]}"
        seen = Seen(seen.method, path, seen.headers, seen.body)
        return answer(Request(wire_of(found[2]), self.requests[cell], self.other.url, seen))

    def ask(self, number: int, route: str, url: str) -> Outcome | str:
        """What one cell of the matrix ends with; a text if it is nothing that a call may end with."""
        fault = self.faults[number][1]
        timeout = SHORT if fault.is_slow else LONG
        provider = provider_of(route, url if fault.answer else self.closed, f"{number}-{route}", timeout)
        try:
            text, usage = provider.get_response(f"cell-{number}-{route}", "A source.")
        except ProviderError as error:
            seconds, outcome = error.failed_seconds, of_error(error)
            said = "".join(traceback.format_exception(error))
        except (Exception, LLMTesterError) as error:  # noqa: BLE001 (it is shown as what it is)
            return "".join(traceback.format_exception(error))
        else:
            seconds, outcome, said = usage.elapsed_seconds + usage.failed_seconds, of_reply(text, usage), f"{usage}"
        if KEY in said:
            return f"the key is in {said}"
        if not 0 < seconds < (timeout + SLACK) * outcome.attempts:
            return f"{seconds} seconds: {said}"
        if fault.is_slow:
            # The timeout may be over before the request is out.
            return outcome._replace(requests=outcome.attempts)
        return outcome._replace(requests=self.requests[number, route])


def provider_of(route: str, url: str, name: str, timeout: float) -> BaseLLM:
    """A provider with a name, and so with a gate for retries, of its own."""
    kind = PydanticAIProvider if route.startswith("pydantic") else LiteLLMProvider
    entry = {**wire_entry(route, url), "name": name, "max_attempts": MOST_ATTEMPTS, "timeout": timeout}
    return kind(ProviderConfig.model_validate({**entry, "max_reply_bytes": 1_000_000, "params": {"max_tokens": 100}}))


def of_error(error: ProviderError) -> Outcome:
    assert error.failed_cost is not None
    billed = "no" if (error.unanswered, error.failed_cost) == (0, 0.0) else "at most"
    if billed == "at most" and not (error.unanswered == error.attempts and 0 < error.failed_cost < 0.1):
        billed = f"{error.failed_cost} for {error.unanswered} of {error.attempts}"
    return Outcome(type(error), error.status_code, error.attempts, billed, retry_after=error.retry_after)


def of_reply(text: str, usage: Any) -> Outcome:
    cost = (
        "unknown" if usage.total_cost is None else "as priced" if usage.total_cost in PRICES else str(usage.total_cost)
    )
    cost += ", and one at most" if usage.unanswered else ""
    notes = "; ".join(usage.notes)
    return Outcome(None, None, usage.attempts, cost, text=text, finish=usage.finish_reason, note=notes)


def is_expected(found: Outcome | str, expected: Outcome) -> bool:
    if isinstance(found, str) or bool(found.note) != bool(expected.note) or expected.note not in found.note:
        return False
    same = found._replace(note=expected.note)
    if expected.error:
        same = same._replace(text=expected.text, finish=expected.finish)
    return same == expected


@pytest.mark.parametrize("group", GROUPS)
def test_each_fault_has_one_outcome_on_all_routes(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Class, status, attempts, requests, seconds and cost; no exception of others, and no key in any text."""
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("WIRE_API_KEY", KEY)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
    wrong = {}
    with Server() as other, Server() as server, ThreadPoolExecutor(12) as pool:
        matrix = Matrix(list(GROUPS[group].items()), Counter(), other, closed)
        server.answer = matrix.answer
        cells = {
            (number, route): pool.submit(matrix.ask, number, route, server.url)
            for number in range(len(matrix.faults))
            for route in ROUTES
        }
        for (number, route), future in cells.items():
            name, fault = matrix.faults[number]
            if not is_expected(found := future.result(), fault.outcome_on(route)):
                wrong[f"{name}, {route}"] = found
        assert not other.seen, "a redirect was followed"
    assert not wrong, "\n".join(f"{cell}: {found}" for cell, found in wrong.items())


def test_the_docs_list_every_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its outcome, as the matrix asserts it; the rows about replies name faults of the matrix."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import write_fault_table

    text = write_fault_table.PAGE.read_text(encoding="utf-8")
    assert write_fault_table.page(text) == text, "run scripts/write_fault_table.py"
    explained = re.findall("^[|] ([^|`-]+) [|]", text.partition("## Replies that lie")[2].partition("## ")[0], re.M)
    assert {*explained} - {"reply"} <= GROUPS["body"].keys() | GROUPS["reply"].keys()
    assert sum(map(len, GROUPS.values())) >= 145
