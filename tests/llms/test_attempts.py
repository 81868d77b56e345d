"""One call: its seconds, what it may have cost if it failed, and classes that answer for themselves."""

import copyreg
import http.client
import json
import pickle
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from conftest import wire_entry
from sample_cases import LAMP, openai_entry, write_case
from standins import Fault, StandIn

from llm_tester import (
    BaseLLM,
    LLMTester,
    ModelConfig,
    ProviderConfig,
    UsageData,
    register_mock_response,
    use_cassette,
)
from llm_tester.errors import (
    AuthenticationError,
    BudgetError,
    CassetteError,
    ConnectionError,
    MissingKeyError,
    ProviderError,
    RateLimitError,
    ServerError,
    UnusableReplyError,
)
from llm_tester.errors import TimeoutError as OurTimeoutError
from llm_tester.llms import attempts
from llm_tester.llms.budget import Budget, expecting, spending
from llm_tester.llms.error_mapping import never_connected
from llm_tester.llms.llm_registry import get_llm_provider, reset_provider_cache
from llm_tester.llms.provider_factory import register_provider_class
from llm_tester.utils.provider_manager import ProviderManager

Write = Callable[..., Path]
Start = Callable[..., StandIn]
PRICED = {"name": "m", "cost_input": 2.0, "cost_output": 8.0, "max_output_tokens": 100}


def config(url: str = "", **more: Any) -> ProviderConfig:
    entry = {"name": "own", "provider_type": "own", "env_key": "", "api_base": url or None, "models": [PRICED], **more}
    return ProviderConfig.model_validate(entry)


def completion(url: str) -> tuple[str, dict[str, Any]]:
    answer = httpx.post(url + "/v1/chat/completions", json={"model": "m", "messages": []}).raise_for_status().json()
    return answer["choices"][0]["message"]["content"], answer["usage"]


class OwnHttp(BaseLLM):
    """A user's class that uses HTTP, and claims a time of its own."""

    def _call_llm_api(self, prompt: str, system_prompt: str, model_name: str, model_config: ModelConfig) -> Any:
        text, usage = completion(str(self.config.api_base))
        return text, {**usage, "elapsed_seconds": 9_999.0}


class Unseen(BaseLLM):
    """A user's class with a client that the recorder does not see."""

    def _call_llm_api(self, prompt: str, system_prompt: str, model_name: str, model_config: ModelConfig) -> Any:
        place = urlsplit(str(self.config.api_base))
        connection = http.client.HTTPConnection(place.hostname or "", place.port)
        connection.request("POST", "/v1/chat/completions", b"{}")
        return connection.getresponse().read().decode(), {}


# How long it took


def test_the_seconds_are_measured_and_not_what_the_class_claims(standin: Start, tmp_path: Path) -> None:
    """Outside a cassette, recorded and replayed: what the class claims does not count where an exchange was seen."""
    provider = OwnHttp(config(standin("text").url))
    assert 0 < provider.get_response("a", "b")[1].elapsed_seconds < 9_000
    path = tmp_path / "c.yaml"
    with use_cassette(path, "once"):
        assert 0 < provider.get_response("a", "b")[1].elapsed_seconds < 9_000
    text = path.read_text()
    [line] = [line for line in text.splitlines() if line.strip().startswith("seconds:")]
    path.write_text(text.replace(line, line.partition("seconds:")[0] + "seconds: 7.25"))
    with use_cassette(path):
        usage = provider.get_response("a", "b")[1]
    assert (usage.elapsed_seconds, usage.notes) == (7.25, ())
    path.write_text("\n".join(other for other in text.splitlines() if other != line))
    with use_cassette(path):
        usage = provider.get_response("a", "b")[1]
    assert "does not say how long" in usage.notes[0]


# What a failed call may have cost


def test_a_failed_call_of_an_unpatched_client_is_billed_by_its_error(standin: Start) -> None:
    """A refused connection costs nothing; one that breaks after the request may have been billed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConnectionError) as refused:
        Unseen(config(closed, max_attempts=1)).get_response("a", "b")
    assert (refused.value.attempts, refused.value.unanswered, refused.value.failed_cost) == (1, 0, 0.0)
    broken = Unseen(config(standin("text", faults=[Fault(reset=True)]).url, max_attempts=1))
    with pytest.raises(ConnectionError) as dropped:
        broken.get_response("a", "b")
    assert (dropped.value.attempts, dropped.value.unanswered) == (1, 1)
    assert dropped.value.failed_cost == broken.limits("a", "b").worst_usd


def raised(*errors: Exception) -> Exception:
    """Errors each of which led to the next."""
    for inner, outer in pairwise(errors):
        outer.__context__ = inner
    return errors[-1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (raised(ConnectionRefusedError(), httpx.ConnectError("x"), RuntimeError("SDK")), True),
        (raised(socket.gaierror(), OSError("wrapped")), True),
        (ssl.SSLCertVerificationError(), True),
        (httpx.ConnectTimeout("x"), True),
        (raised(httpx.ConnectTimeout("x"), OurTimeoutError("raised by a user's provider")), True),
        (TimeoutError(), False),
        (httpx.LocalProtocolError("Illegal header value"), True),
        (raised(httpx.ReadTimeout("x"), RuntimeError("SDK")), False),
        (raised(ConnectionRefusedError(), httpx.ReadTimeout("on the second address")), False),
        (ConnectionResetError(), False),
        (ValueError("cannot be read"), False),
    ],
)
def test_an_error_says_whether_the_request_was_sent(error: Exception, expected: bool) -> None:
    """By the outermost error that says so: an address that was tried before does not count."""
    assert never_connected(error) is expected


def test_a_retry_that_the_budget_forbids_leaves_the_failure_and_its_cost(standin: Start) -> None:
    """The first attempt broke after it was sent; the second is not made, and the first is not forgotten."""
    server = standin("text", faults=[Fault(reset=True)])
    provider = OwnHttp(config(server.url))
    worst = provider.limits("a", "b").worst_usd
    assert worst is not None
    with spending(Budget(worst * 1.5)), pytest.raises(ConnectionError, match=r"not tried again: .* budget") as caught:
        provider.get_response("a", "b")
    assert (caught.value.attempts, caught.value.unanswered, caught.value.failed_cost) == (1, 1, worst)
    assert len(server.requests) == 1


def test_a_paid_reply_that_cannot_be_recorded_may_have_been_billed(standin: Start, tmp_path: Path) -> None:
    """Another program changes the file while the request is under way; what the reply may have cost is counted."""
    path = tmp_path / "c.yaml"
    with use_cassette(path, "once"):
        OwnHttp(config(standin("another").url)).get_response("a", "b")

    def reply(body: Any) -> str:
        path.write_text("another program was here")
        return "text"

    provider = OwnHttp(config(standin(reply).url))
    with pytest.raises(CassetteError) as caught, use_cassette(path, "new_episodes"):
        provider.get_response("a", "b")
    assert (caught.value.attempts, caught.value.unanswered) == (1, 1)
    assert caught.value.failed_cost == provider.limits("a", "b").worst_usd


@pytest.mark.parametrize("bad", ["one\ntwo", "trailing\n", "clé", "with space", "tab\t"])
def test_a_key_that_cannot_be_a_header_names_its_variable_and_sends_nothing(
    bad: str, write_config: Write, standin: Start
) -> None:
    """The key itself is not in the message."""
    server = standin("text")
    path = write_config({"x": openai_entry(server, env_key="X_API_KEY")})
    (path.parent / ".env").write_text(f"X_API_KEY={json.dumps(bad, ensure_ascii=False)}\n", encoding="utf-8")
    provider = get_llm_provider("x")
    with pytest.raises(MissingKeyError, match="X_API_KEY cannot be sent") as caught:
        provider.get_response("a", "b")
    assert bad not in str(caught.value)
    assert (server.requests, caught.value.attempts, caught.value.failed_cost) == ([], 0, 0.0)


def test_a_refused_key_names_its_variable(write_config: Write, standin: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has several keys knows which one to look at; the key itself is not in the message."""
    key = secrets.token_hex(16)
    monkeypatch.setenv("ACME_API_KEY", key)
    write_config({"x": openai_entry(standin("text", faults=[Fault(status=401)]), env_key="ACME_API_KEY")})
    provider = get_llm_provider("x")
    with pytest.raises(AuthenticationError, match=r"the key was refused; check ACME_API_KEY \(401\)") as caught:
        provider.get_response("a", "b")
    assert key not in str(caught.value)


# Classes that override get_response


class Exact(OwnHttp):
    """The documented signature, to the letter."""

    def get_response(self, prompt, source, model_name=None):  # type: ignore[no-untyped-def]
        text, counts = completion(str(self.config.api_base))
        counted = {name: counts[name] for name in ("prompt_tokens", "completion_tokens")}
        return text, UsageData(**counted, finish_reason="stop")


class WithClass(Exact):
    def get_response(self, prompt, source, model_name=None, *, model_class=None):  # type: ignore[no-untyped-def]
        assert model_class is None or issubclass(model_class, object)
        return super().get_response(prompt, source, model_name)


class WithFiles(Exact):
    def get_response(self, prompt, source, model_name=None, files=()):  # type: ignore[no-untyped-def]
        assert files == ()
        return super().get_response(prompt, source, model_name)


class WithAll(Exact):
    def get_response(self, prompt, source, model_name=None, **more):  # type: ignore[no-untyped-def]
        assert set(more) == {"model_class", "files"}
        return super().get_response(prompt, source, model_name)


class Decorates(OwnHttp):
    """Adds to the prompt, and leaves the rest to BaseLLM."""

    def get_response(self, prompt, source, model_name=None):  # type: ignore[no-untyped-def]
        return super().get_response(f"Be brief. {prompt}", source, model_name)


class Plain(Exact):
    """Gives what `give` says, without any call."""

    def get_response(self, prompt, source, model_name=None):  # type: ignore[no-untyped-def]
        if isinstance(self.give, Exception):
            raise self.give
        return self.give

    give: Any = ("text", None)


OVERRIDES = [Exact, WithClass, WithFiles, WithAll, Decorates]
COST = (100 * 2 + 20 * 8) / 1e6


@pytest.fixture
def own(write_config: Write, standin: Start, tmp_path: Path) -> Callable[[type[BaseLLM]], StandIn]:
    """Registers a class as the provider `own`, with a server behind it and a case."""
    write_case(tmp_path / "cases")
    server = standin(json.dumps(LAMP))

    def register(kind: type[BaseLLM]) -> StandIn:
        write_config({"own": {"api_base": server.url, "env_key": "", "models": [PRICED]}})
        register_provider_class("own", kind)
        return server

    return register


@pytest.mark.parametrize("kind", OVERRIDES)
def test_an_override_works_through_the_manager_and_the_tester(
    kind: type[BaseLLM], own: Callable[[type[BaseLLM]], StandIn], tmp_path: Path
) -> None:
    """Recorded, replayed, timed, priced and counted as any other provider."""
    server = own(kind)
    text, usage = ProviderManager(["own"]).get_response("own", "Extract.", "A lamp.")
    assert (json.loads(text), usage is not None) == (LAMP, True)
    live = LLMTester(["own"], tmp_path / "cases").run_tests()
    [result] = live.results
    assert (result.status, result.accuracy) == ("ok", 100.0)
    assert (result.usage.provider, result.usage.model, result.usage.attempts) == ("own", "m", 1)
    assert result.usage.total_cost == pytest.approx(COST)
    assert 0 < result.usage.elapsed_seconds < 9_000
    assert live.spent_usd == pytest.approx(COST)
    sent = len(server.requests)
    again = LLMTester(["own"], tmp_path / "cases").run_tests()
    [replayed] = again.results
    assert (len(server.requests), again.spent_usd, replayed.usage.replayed) == (sent, 0.0, True)
    assert replayed.usage.elapsed_seconds == pytest.approx(result.usage.elapsed_seconds, abs=0.001)


@pytest.mark.parametrize("kind", OVERRIDES)
def test_an_override_keeps_to_the_budget(
    kind: type[BaseLLM], own: Callable[[type[BaseLLM]], StandIn], tmp_path: Path
) -> None:
    """What could exceed the limit is not called; a call that BaseLLM makes for the override is counted once."""
    for number in range(8):
        write_case(tmp_path / "cases", name=f"case{number}")
    server = own(kind)
    provider = get_llm_provider("own")
    [case, *_] = LLMTester(["own"], tmp_path / "cases").discover_test_cases()
    set_aside = provider.limits(case.prompt, case.source, model_class=case.model_class()).reserve_usd
    assert set_aside is not None
    limit = 1.3 * set_aside + 2.5 * COST
    run = LLMTester(["own"], tmp_path / "cases").run_tests(record="once", max_cost=limit)
    statuses = [result.status for result in run.results]
    assert statuses.count("ok") == len(server.requests) >= 2
    assert "skipped" in statuses
    assert run.spent_usd <= limit


def manager_of(give: Any) -> ProviderManager:
    class Gives(Plain):
        pass

    Gives.give = give
    reset_provider_cache()
    register_provider_class("own", Gives)
    return ProviderManager(["own"])


def test_an_override_may_report_no_usage_or_a_dict(write_config: Write) -> None:
    """No usage is an unknown cost; a dict is priced; a cost of its own is used as it is."""
    write_config({"own": {"env_key": "", "models": [PRICED]}})
    for give in (("text", None), "text"):
        text, usage = manager_of(give).get_response("own", "a", "b")
        assert (text, usage.provider, usage.model, usage.total_cost) == ("text", "own", "m", None)
        assert usage.notes
    _, usage = manager_of(("text", {"prompt_tokens": 100, "completion_tokens": 20})).get_response("own", "a", "b")
    assert (usage.total_cost, usage.cost_source) == (pytest.approx(COST), "config")
    given = UsageData(prompt_tokens=100, completion_tokens=20, total_cost=0.5, elapsed_seconds=3.0)
    _, usage = manager_of(("text", given)).get_response("own", "a", "b", "a model that only the class knows")
    assert (usage.total_cost, usage.cost_source, usage.elapsed_seconds) == (0.5, "provider", 3.0)
    assert (usage.provider, usage.model) == ("own", "a model that only the class knows")


@pytest.mark.parametrize("give", [("text",), (None, {}), None])
def test_an_override_that_gives_no_reply_is_an_unusable_reply(give: Any, write_config: Write) -> None:
    """The message says what came and what was expected."""
    write_config({"own": {"env_key": "", "models": [PRICED]}})
    with pytest.raises(UnusableReplyError, match="expected a text and its usage"):
        manager_of(give).get_response("own", "a", "b")


def test_any_exception_of_an_override_is_a_provider_error(write_config: Write, tmp_path: Path) -> None:
    """In a run it is a failed result, and the run goes on."""
    write_case(tmp_path / "cases")
    write_config({"own": {"env_key": "", "models": [PRICED]}})
    manager = manager_of(ZeroDivisionError("in the class"))
    with pytest.raises(ProviderError, match="in the class") as caught:
        manager.get_response("own", "a", "b")
    assert caught.value.provider == "own"
    run = LLMTester(["own", "mock"], tmp_path / "cases").run_tests()
    assert [(result.provider, result.status) for result in run.results] == [("own", "failed"), ("mock", "ok")]


def test_the_attempts_of_an_override_that_asks_base_llm_are_counted_once(standin: Start, write_config: Write) -> None:
    """Three attempts of its own are three, not four; a refusal is not billed."""
    server = standin("text", faults=[Fault(status=429, headers={"retry-after": "0"})] * 3)
    write_config({"own": {"api_base": server.url, "env_key": "", "models": [PRICED]}})
    register_provider_class("own", Decorates)
    with pytest.raises(RateLimitError) as caught:
        ProviderManager(["own"]).get_response("own", "a", "b")
    assert (caught.value.attempts, caught.value.unanswered, len(server.requests)) == (3, 0, 3)


@pytest.mark.parametrize("with_tblib", [False, True])
def test_one_error_raised_again_and_again_is_counted_each_time(
    with_tblib: bool, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class may keep an instance; its own is left as it is, also if Dask's tblib says how exceptions are copied."""
    kept = RateLimitError("always the same", retry_after=0.0)
    monkeypatch.delitem(copyreg.dispatch_table, RateLimitError, raising=False)
    if with_tblib:
        pickling = pytest.importorskip("tblib.pickling_support")
        monkeypatch.setitem(copyreg.dispatch_table, RateLimitError, pickling.pickle_exception)
    write_config({"mock": {"max_attempts": 4}})
    register_mock_response("*", kept)
    for _ in range(2):
        with pytest.raises(RateLimitError, match="always the same") as caught:
            ProviderManager(["mock"]).get_response("mock", "a", "b")
        assert (caught.value.attempts, kept.attempts) == (4, 0)


# Retries


def test_max_attempts_are_made_however_long_the_waits_would_grow(
    write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Doubling passes the longest wait after a few attempts; then each wait is the longest one."""
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.0001)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.0004)
    write_config({"mock": {"max_attempts": 20}})
    register_mock_response("*", ServerError("always"))
    with pytest.raises(ServerError) as caught:
        ProviderManager(["mock"]).get_response("mock", "a", "b")
    assert caught.value.attempts == 20


def test_max_seconds_end_the_retries_and_the_last_attempt(standin: Start) -> None:
    """A retry that would begin too late is not made, and the error says so; an attempt gets what is left."""
    server = standin("text", faults=[Fault(status=503, headers={"retry-after": "30"})])
    provider = OwnHttp(config(server.url, max_seconds=20))
    with pytest.raises(ServerError, match=r"not tried again: the call's 20 s \(max_seconds\)") as caught:
        provider.get_response("a", "b")
    assert (caught.value.attempts, len(server.requests)) == (1, 1)
    given: list[float] = []

    class Noting(BaseLLM):
        def _call_llm_api(self, prompt, system_prompt, model_name, model_config, *, timeout=0.0):  # type: ignore[no-untyped-def]
            given.append(timeout)
            return "text", None

    Noting(config(timeout=60, max_seconds=5)).get_response("a", "b")
    Noting(config(timeout=2, max_seconds=5)).get_response("a", "b")
    assert 4 < given[0] <= 5
    assert given[1] == 2


def test_the_seconds_of_failed_attempts_are_kept(standin: Start) -> None:
    """Of a call that got a reply, those of the attempts before it; of a failed call, those of all its attempts."""

    def late(body: Any) -> Fault:
        time.sleep(0.02)
        return Fault(status=503, headers={"retry-after": "0"})

    with pytest.raises(ServerError) as caught:
        OwnHttp(config(standin(late).url)).get_response("a", "b")
    assert (caught.value.attempts, caught.value.failed_seconds >= 0.06) == (3, True)
    faults = [Fault(status=503, headers={"retry-after": "0"})]
    usage = OwnHttp(config(standin("text", faults=faults).url)).get_response("a", "b")[1]
    assert (usage.attempts, 0 < usage.failed_seconds < 9_000) == (2, True)
    assert OwnHttp(config(standin("text").url)).get_response("a", "b")[1].failed_seconds == 0


# Budgets


def test_a_budget_allows_calls_without_max_tokens(
    write_config: Write, standin: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`LLMTester(["openai", "groq"]).run_tests(max_cost=0.50)` calls both, without max_tokens in any entry."""
    write_case(tmp_path / "cases")
    server = standin(json.dumps(LAMP))
    monkeypatch.setenv("OWN_KEY", "made-up")
    entry = {"api_base": server.url + "/v1", "env_key": "OWN_KEY"}
    write_config({"openai": entry, "groq": {**entry, "models": ["llama-3.3-70b-versatile"]}})
    run = LLMTester(["openai", "groq"]).run_tests(max_cost=0.50)
    assert [(result.provider, result.status, result.problem) for result in run.results] == [
        ("openai", "ok", None),
        ("groq", "ok", None),
    ]
    assert 0 < run.spent_usd < 0.5


def test_units_that_the_budget_skips_have_one_message(write_config: Write, standin: Start, tmp_path: Path) -> None:
    """It names the limit, what to do, and by how much the calls in flight can exceed an estimate."""
    for number in range(12):
        write_case(tmp_path / "cases", name=f"case{number}", sources="x" * 100 * number)
    server = standin(json.dumps(LAMP))
    models = [{**PRICED, "cost_output": 100.0, "max_output_tokens": 2000}]
    write_config({"x": openai_entry(server, models=models)})
    run = LLMTester(["x"], tmp_path / "cases").run_tests(record="once", max_cost=0.107)
    problems = {result.problem for result in run.results if result.status == "skipped"}
    [problem] = problems
    assert problem is not None
    assert "the budget of $0.1070 does not allow another call" in problem
    assert "max_tokens" in problem
    # 1,000 tokens are set aside of the 2,000 that the model can write: 1,000 more at $100 a million.
    assert "each call in flight can exceed by $0.1000" in problem


def test_what_is_set_aside_without_a_limit_follows_the_replies() -> None:
    """Four times the expected JSON until a reply is known, then the largest so far; at least 1,000 tokens."""
    budget = Budget(1.0)
    with expecting(100):
        assert budget.reply_tokens("x") == 1_000
    with expecting(600):
        assert budget.reply_tokens("x") == 2_400
        budget.note_reply("x", 1_700)
        assert budget.reply_tokens("x") == 1_700
        budget.note_reply("x", 40)
        assert budget.reply_tokens("x") == 1_700
        assert budget.reply_tokens("y") == 2_400


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_a_limit_in_the_params_is_the_worst_case(limit: str) -> None:
    """What is set aside is then what the call can cost at most."""
    provider = OwnHttp(config(params={limit: 50}))
    limits = provider.limits("a", "b")
    assert limits.reserve_usd == limits.worst_usd
    free = OwnHttp(config(models=[{**PRICED, "max_output_tokens": None}])).limits("a", "b")
    assert (free.worst_usd, free.reserve_usd is not None) == (None, True)


def test_a_model_without_a_price_is_not_called_under_a_budget(standin: Start) -> None:
    """The message says what to write into the config."""
    server = standin("text")
    with spending(Budget(1.0)), pytest.raises(BudgetError, match="write cost_input and cost_output"):
        OwnHttp(config(server.url, models=["m"])).get_response("a", "b")
    assert server.requests == []


# What a provider reports, through the libraries


SAME = {"cached_tokens": 2161, "cache_write_tokens": 2161}


@pytest.mark.parametrize("wire", ["openai", "pydantic-openai"])
@pytest.mark.parametrize(
    ("usage", "cost", "note"),
    [
        (
            {"prompt_tokens": 2168, "completion_tokens": 3, "prompt_tokens_details": SAME},
            None,
            "so the cost is unknown",
        ),
        ({"prompt_tokens": -5, "completion_tokens": 3}, None, "no"),
        ({"prompt_tokens": 10**30, "completion_tokens": 3}, None, "more than 12 digits"),
        ({"prompt_tokens": 12, "completion_tokens": 0}, None, "no completion_tokens for a reply with a text"),
        (
            {"prompt_tokens": 10, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 99}},
            (10 * 2.0 + 3 * 8.0) / 1e6,
            "so the cost is right",
        ),
        (None, None, "reports no tokens"),
    ],
)
def test_a_reply_with_a_usage_that_cannot_be_is_kept(
    wire: str,
    usage: dict[str, Any] | None,
    cost: float | None,
    note: str,
    write_config: Write,
    standin: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through LiteLLM and PydanticAI: the text comes back, the cost is honest, and a note says why."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}
    payload = {"id": "a", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice]}
    if usage is not None:
        payload["usage"] = {"total_tokens": 1, **usage}
    server = standin("", faults=[Fault(status=200, body=json.dumps(payload).encode())])
    monkeypatch.setenv("WIRE_API_KEY", "made-up")
    write_config({"x": wire_entry(wire, server.url)})
    provider = get_llm_provider("x")
    text, found = provider.get_response("a", "b")
    assert (text, found.total_cost) == ("hello", None if cost is None else pytest.approx(cost))
    assert note in found.notes[0]


def test_an_error_crosses_processes_with_what_it_says() -> None:
    error = RateLimitError("Too many.", provider="p", model="m", status_code=429, retry_after=2.0)
    error.attempts = 3
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.args, vars(copy)) == (RateLimitError, error.args, vars(error))
