"""The contract kit: the package's providers pass it, so do correct classes of users, and each kind of bug fails it."""

import contextlib
import json
import logging
import os
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import requests
from conftest import ROOT
from console import run_script
from standins import Reply, StandIn

from llm_tester import UsageData
from llm_tester.errors import ProviderError, ServerError, UnusableReplyError
from llm_tester.llms.base import BaseLLM, ModelConfig, ProviderConfig
from llm_tester.llms.llm_registry import get_llm_provider, reset_provider_cache
from llm_tester.llms.provider_factory import ENTRY_POINTS, load_provider_config
from llm_tester.testing import ProviderContract, faults

pytest_plugins = ["pytester"]

# Our own six.


class OnStandIn(ProviderContract):
    """A provider of the package, on a stand-in that speaks its wire format."""

    path = ""
    text = "Blue."
    usage: ClassVar = {"prompt_tokens": 100, "completion_tokens": 20, "cached_tokens": 30}

    @contextlib.contextmanager
    def standin(self) -> Iterator[str]:
        with StandIn(Reply("Blue.", input_tokens=100, output_tokens=20, cached_tokens=30)) as server:
            yield server.url + self.path


class TestOpenAI(OnStandIn):
    provider = "openai"
    path = "/v1"


class TestAnthropic(OnStandIn):
    provider = "anthropic"


class TestMistral(OnStandIn):
    provider = "mistral"
    path = "/mistral/v1"


class TestGoogle(OnStandIn):
    provider = "google"
    path = "/v1beta"


class TestPydanticAI(OnStandIn):
    provider = "pydantic_ai"
    path = "/v1"


class TestPydanticAIOnAnthropic(OnStandIn):
    provider = "pydantic_ai"
    model = "anthropic:claude-haiku-4-5"


class TestMock(ProviderContract):
    provider = "mock"
    text = "mock reply"


# Providers of other people.

CLIENT = httpx.Client()
CHAT = {
    "choices": [{"message": {"role": "assistant", "content": "Blue."}}],
    "usage": {"prompt_tokens": 31, "completion_tokens": 2, "total_tokens": 33},
}


class Acme(BaseLLM):
    """A provider as it should be, over HTTP."""

    def _post(self, prompt: str, model_name: str) -> httpx.Response:
        messages = [{"role": "user", "content": prompt}]
        return CLIENT.post(
            f"{self.config.api_base}/chat/completions",
            headers={"authorization": f"Bearer {self.get_api_key()}"},
            json={"model": model_name, "messages": messages},
        ).raise_for_status()

    def _call_llm_api(
        self, prompt: str, system_prompt: str, model_name: str, model_config: ModelConfig
    ) -> tuple[str, dict[str, Any] | UsageData]:
        answer = self._post(prompt, model_name).json()
        return answer["choices"][0]["message"]["content"], answer["usage"]


class OverRequests(Acme):
    """The same over requests, whose replies are false where their status is an error."""

    def _call_llm_api(self, prompt: str, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        answer = requests.post(
            f"{self.config.api_base}/chat/completions",
            headers={"authorization": f"Bearer {self.get_api_key()}"},
            json={"prompt": prompt},
        )
        answer.raise_for_status()
        return answer.json()["choices"][0]["message"]["content"], answer.json()["usage"]


class NoUsage(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        return super()._call_llm_api(*arguments)[0][::-1], {}


class OwnCost(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        text, _ = super()._call_llm_api(*arguments)
        return text, UsageData(prompt_tokens=31, completion_tokens=2, total_cost=0.004)


class NotPicklable(Acme):
    def __init__(self, config: ProviderConfig | None = None) -> None:
        super().__init__(config)
        self.clock: Callable[[], float] = lambda: 0.0


def acme(kind: type[BaseLLM] = Acme, **more: Any) -> dict[str, Any]:
    entry = {"provider_type": f"{__name__}:{kind.__name__}", "env_key": "ACME_API_KEY", "models": ["ultra-large"]}
    return {"acme": {**entry, "api_base": "https://api.acme.example", **more}}


class OfAcme(ProviderContract):
    provider = "acme"
    reply: Any = CHAT
    entry: dict[str, Any]

    @pytest.fixture(autouse=True)
    def _config(self, write_config: Callable[..., Path]) -> None:
        write_config(self.entry)


class TestAcme(OfAcme):
    entry = acme()
    text = "Blue."
    usage: ClassVar = {"prompt_tokens": 31, "completion_tokens": 2}


class TestAcmeOverRequests(OfAcme):
    entry = acme(OverRequests)


class TestAcmeOnBytes(OfAcme):
    entry = acme(models=[{"name": "ultra-large", "cost_input": 0, "cost_output": 0}])
    reply = json.dumps(CHAT).encode()


class TestWithoutKeyOrModels(OfAcme):
    entry = acme(env_key="", models=[])
    reply = json.dumps(CHAT)


class TestNoUsage(OfAcme):
    entry = acme(NoUsage)
    usage: ClassVar = {"prompt_tokens": 0, "completion_tokens": 0}


class TestOwnCost(OfAcme):
    entry = acme(OwnCost)


class TestNotPicklable(OfAcme):
    entry = acme(NotPicklable)


# Broken ones, each with the test that must find it and what that must say.

BROKEN: list[tuple[type[BaseLLM], str, str]] = []


def found_by(test: str, message: str) -> Callable[[type[BaseLLM]], type[BaseLLM]]:
    def note(kind: type[BaseLLM]) -> type[BaseLLM]:
        BROKEN.append((kind, test, message))
        return kind

    return note


@found_by("test_a_failure_is_one_of_our_errors[500]", "did not end in an error but in ('', ")
class SwallowsErrors(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        with contextlib.suppress(Exception):
            return super()._call_llm_api(*arguments)
        return "", {}


@found_by("test_a_failure_is_one_of_our_errors[timeout]", "timeout did not end in an error")
class IgnoresTimeouts(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        with contextlib.suppress(httpx.TimeoutException):
            return super()._call_llm_api(*arguments)
        return "", {}


@found_by("test_a_failure_is_one_of_our_errors[cut]", "cut did not end in an error")
class TakesHalfReplies(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        with contextlib.suppress(httpx.RemoteProtocolError):
            return super()._call_llm_api(*arguments)
        return "", {}


@found_by("test_a_failure_is_one_of_our_errors[empty reply]", "empty reply did not end in an error")
class TakesEmptyReplies(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        with contextlib.suppress(json.JSONDecodeError):
            return super()._call_llm_api(*arguments)
        return "", {}


@found_by("test_a_failure_is_one_of_our_errors[429]", "expected RateLimitError")
class LosesTheCause(Acme):
    def _post(self, prompt: str, model_name: str) -> httpx.Response:
        with contextlib.suppress(httpx.HTTPStatusError):
            return super()._post(prompt, model_name)
        raise RuntimeError("it did not work")


@found_by("test_a_failure_is_one_of_our_errors[401]", "expected AuthenticationError")
class CallsEverythingAServerError(Acme):
    def _post(self, prompt: str, model_name: str) -> httpx.Response:
        try:
            return super()._post(prompt, model_name)
        except httpx.HTTPError as error:
            raise ServerError("it did not work", status_code=500) from error


@found_by("test_a_failure_is_one_of_our_errors[500]", "was met 6 times at max_attempts=2, expected 2")
class TriesAgainInside(Acme):
    def _post(self, prompt: str, model_name: str) -> httpx.Response:
        for _ in range(2):
            with contextlib.suppress(httpx.HTTPStatusError):
                return super()._post(prompt, model_name)
        return super()._post(prompt, model_name)


@found_by("test_the_key_is_not_in_the_instance", "the API key is in repr()")
class TellsItsKey(Acme):
    def __repr__(self) -> str:
        return f"<TellsItsKey {self.get_api_key()}>"


class KeepsItsKey(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        self.key = self.get_api_key()
        return super()._call_llm_api(*arguments)


@found_by("test_the_key_is_in_no_output", "the API key is in the error or the traceback")
class PutsItsKeyIntoErrors(Acme):
    def get_response(self, *arguments: Any, **more: Any) -> tuple[str, UsageData]:
        try:
            return super().get_response(*arguments, **more)
        except ProviderError as error:
            raise UnusableReplyError(f"{error}; the key was {self.get_api_key()}") from error


@found_by("test_the_class_is_a_provider", "get_response takes")
class HasItsOwnInterface(PutsItsKeyIntoErrors):
    pass


@found_by("test_the_key_is_in_no_output", "the API key is in the log")
class LogsItsKey(Acme):
    def _post(self, prompt: str, model_name: str) -> httpx.Response:
        logging.getLogger(__name__).debug("calling with %s", self.get_api_key())
        return super()._post(prompt, model_name)


@found_by("test_the_key_is_in_no_output", "the API key is in what is printed")
class PrintsItsKey(Acme):
    def _post(self, prompt: str, model_name: str) -> httpx.Response:
        sys.stderr.write(f"calling with {self.get_api_key()}\n")
        return super()._post(prompt, model_name)


@found_by("test_the_key_is_read_from_its_variable", "does not read the entry's env_key")
class ReadsAnotherVariable(Acme):
    def get_api_key(self) -> str | None:
        return os.environ.get("ACME_API_KEY")


@found_by("test_a_missing_key_is_told", "a missing key raised")
class DoesNotMissItsKey(Acme):
    def missing_key(self, model_name: str | None = None) -> str | None:
        return None


@found_by("test_the_key_is_read_from_its_variable", "ACME_PASSPHRASE would not be taken for a secret")
class HasItsKeyElsewhere(Acme):
    def key_variables(self, model_name: str | None = None) -> tuple[str, ...]:
        return tuple(name.replace("ACME_API_KEY", "ACME_PASSPHRASE") for name in super().key_variables(model_name))


@found_by("test_a_reply_has_text_usage_and_an_honest_cost", "gave bytes as its reply, expected a text")
class GivesBytes(Acme):
    def _call_llm_api(self, *arguments: Any) -> Any:
        text, usage = super()._call_llm_api(*arguments)
        return text.encode(), usage


@found_by("test_a_reply_has_text_usage_and_an_honest_cost", "the reply's text is ' '")
class GivesNothing(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        return " ", super()._call_llm_api(*arguments)[1]


@found_by("test_a_reply_has_text_usage_and_an_honest_cost", "the usage counts nothing")
class CountsNothing(NoUsage):
    pass


@found_by("test_a_reply_has_text_usage_and_an_honest_cost", "the reply says {33} tokens in total, the usage")
class CountsTheTotalAsInput(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        return super()._call_llm_api(*arguments)[0], {"prompt_tokens": 33, "completion_tokens": 2}


class _OddTotal(UsageData):
    @property
    def total_tokens(self) -> int:  # type: ignore[override]
        return self.prompt_tokens


@found_by("test_a_reply_has_text_usage_and_an_honest_cost", "total_tokens is 31, its parts make 33")
class AddsUpWrongly(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        return super()._call_llm_api(*arguments)[0], _OddTotal(prompt_tokens=31, completion_tokens=2)


@found_by("test_a_reply_has_text_usage_and_an_honest_cost", "reasoning is not within completion_tokens")
class CountsReasoningApart(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        text, usage = super()._call_llm_api(*arguments)
        return text, {**dict(usage), "reasoning_tokens": 300}


@found_by("test_a_reply_has_text_usage_and_an_honest_cost", "the cache's tokens are not within prompt_tokens")
class CountsTheCacheApart(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        text, usage = super()._call_llm_api(*arguments)
        return text, {**dict(usage), "cached_tokens": 300}


@found_by("test_a_reply_has_text_usage_and_an_honest_cost", "not all are counts")
class CountsInFloats(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        text, _ = super()._call_llm_api(*arguments)
        return text, UsageData.model_construct(prompt_tokens=31.5, completion_tokens=2)


@found_by("test_a_reply_has_text_usage_and_an_honest_cost", "what is unknown is None, never 0")
class CallsTheUnknownFree(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        text, _ = super()._call_llm_api(*arguments)
        return text, UsageData(prompt_tokens=31, completion_tokens=2, total_cost=0.0)


@found_by("test_a_price_in_the_config_counts", "the cost is 0 although the config has a price")
class CallsEverythingFree(CallsTheUnknownFree):
    pass


@found_by("test_threads_get_their_own_answers", "among 16 threads, call")
class SharesItsReply(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        self.answer = super()._call_llm_api(*arguments)
        time.sleep(0)  # what another thread may do at any moment, it may do here
        return self.answer


@found_by("test_what_is_recorded_is_replayed", "was recorded, ")
class AnswersDifferentlyEachTime(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        text, usage = super()._call_llm_api(*arguments)
        return f"{text} {time.perf_counter_ns()}", usage


@found_by(
    "test_what_is_recorded_is_replayed", "https://api.acme.example/chat/completions, not the api_base of its entry"
)
class IgnoresTheAddress(Acme):
    def _post(self, prompt: str, model_name: str) -> httpx.Response:
        return CLIENT.post("https://api.acme.example/chat/completions", json={"prompt": prompt}).raise_for_status()


@found_by("test_the_config_reaches_the_instance", "call super().__init__")
class IgnoresItsConfig(Acme):
    def __init__(self, config: ProviderConfig | None = None) -> None:
        own = ProviderConfig(name="acme", provider_type="acme", env_key="ACME_API_KEY", api_base="https://x.example")
        super().__init__(own)


@found_by("test_an_unknown_model_is_told_with_near_ones", "is not None")
class KnowsEveryModel(Acme):
    def resolve(self, name: str | None = None) -> ModelConfig:
        return ModelConfig(name=name or "ultra-large")


Outcomes = dict[str, tuple[str, str]]


@pytest.fixture
def contract(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcomes]:
    """Runs the contract in a project of its own; gives what became of each test, and what it said."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    with faults.timeout(times=0):
        # What the first patch imports must not be forgotten with the modules of that project.
        pass

    def run(entry: dict[str, Any], *arguments: str, body: str = f"reply = {CHAT!r}") -> Outcomes:
        pytester.makefile(".json", config=json.dumps({"providers": entry}))
        pytester.makepyfile(
            test_acme=f"""
            from llm_tester.testing import ProviderContract

            class TestAcme(ProviderContract):
                {body}
            """
        )
        reset_provider_cache()
        reports = pytester.inline_run("-p", "no:cacheprovider", *arguments).getreports("pytest_runtest_logreport")
        return {
            report.nodeid.partition("::TestAcme::")[2]: (report.outcome, str(report.longrepr))
            for report in reports
            if report.when == "call" or report.outcome != "passed"
        }

    return run


IS_ACME = f"provider = 'acme'; reply = {CHAT!r}"


def test_a_correct_provider_passes_in_its_own_project(contract: Callable[..., Outcomes]) -> None:
    outcomes = contract(acme(), body=IS_ACME)
    assert {outcome for outcome, _ in outcomes.values()} == {"passed"}
    assert len(outcomes) == len([name for name in dir(ProviderContract) if name.startswith("test_")]) + 11


@pytest.mark.parametrize(("kind", "test", "message"), BROKEN, ids=[kind.__name__ for kind, *_ in BROKEN])
def test_a_broken_provider_fails(
    kind: type[BaseLLM], test: str, message: str, contract: Callable[..., Outcomes]
) -> None:
    outcome, said = contract(acme(kind), "-k", test.partition("[")[0], body=IS_ACME)[test]
    assert outcome == "failed"
    assert message in said


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("reply = {}", "say which provider it is"),
        ("provider = 'akme'; reply = {}", "there is no provider 'akme'"),
        ("provider = 'acme'", "say what the provider's API answers with"),
        ("provider = 'acme'; cassette = 'one.yaml'", "one.yaml: is not there yet; set the key"),
        (f"{IS_ACME}; text = 'Red.'", "the reply's text is 'Blue.', expected 'Red.'"),
        (f"{IS_ACME}; usage = {{'prompt_tokens': 7}}", "the usage says {'prompt_tokens': 31}, expected"),
    ],
    ids=["no provider", "a mistyped one", "no reply", "no cassette", "another text", "other counts"],
)
def test_a_forgotten_part_of_a_contract_is_reported(body: str, message: str, contract: Callable[..., Outcomes]) -> None:
    outcomes = contract(acme(), "-k", "honest_cost", body=body)
    (outcome, said), *_ = outcomes.values()
    assert outcome == "failed"
    assert message in said


def test_a_key_that_would_be_pickled_fails(contract: Callable[..., Outcomes]) -> None:
    outcomes = contract(acme(KeepsItsKey), "-k", "not_in_the_instance", body=IS_ACME)
    assert "the API key is in the provider's pickle" in outcomes["test_the_key_is_not_in_the_instance"][1]


RECORDED = "provider = 'acme'; cassette = 'cassettes/one.yaml'"
# In place of the plugin, whose option it is.
OPTION = "def pytest_addoption(parser): parser.addoption('--llm-record', default='none')"


class Fixed(Acme):
    """A provider with one address and no other."""

    def _post(self, prompt: str, model_name: str) -> httpx.Response:
        answer = CLIENT.post(os.environ["FIXED_ADDRESS"] + "/v1/chat/completions", json={"prompt": prompt})
        return answer.raise_for_status()


@pytest.mark.parametrize("kind", [Acme, Fixed])
def test_a_contract_may_use_a_recording_of_the_real_provider(
    kind: type[BaseLLM],
    contract: Callable[..., Outcomes],
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytester.makeconftest(OPTION)
    monkeypatch.setenv("ACME_API_KEY", "acme-0123456789")
    with StandIn(Reply("Blue.")) as server:
        # `localhost`, because the kit takes 127.0.0.1 for its own.
        address = server.url.replace("127.0.0.1", "localhost")
        monkeypatch.setenv("FIXED_ADDRESS", address)
        entry = acme(kind, api_base=f"{address}/v1")
        first = contract(entry, "--llm-record", "once", body=RECORDED)
        assert len(server.requests) == 1
        contract(entry, "--llm-record", "rewrite", "-k", "honest_cost", body=RECORDED)
        assert len(server.requests) == 2
    monkeypatch.delenv("ACME_API_KEY")
    assert first == contract(entry, body=RECORDED)
    skipped = {name: said for name, (outcome, said) in first.items() if outcome == "skipped"}
    assert set(skipped) == ({"test_what_is_recorded_is_replayed"} if kind is Fixed else set())
    assert all("cassettes/one.yaml holds what was recorded from there" in said for said in skipped.values())
    assert {outcome for outcome, _ in first.values()} - {"skipped"} == {"passed"}


class QuotesItsKey(BaseLLM):
    """It raises our own error, with a key in it."""

    def _call_llm_api(
        self, prompt: str, system_prompt: str, model_name: str, model_config: ModelConfig
    ) -> tuple[str, dict[str, Any] | UsageData]:
        raise UnusableReplyError(f"nothing for {self.get_api_key()}")


def test_a_key_in_an_error_of_ours_is_taken_out(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_API_KEY", "acme-0123456789")
    write_config(acme(QuotesItsKey))
    provider = get_llm_provider("acme")
    with pytest.raises(UnusableReplyError, match="nothing for REDACTED"):
        provider.get_response("Say yes.", "A source.")


class CountsItsCacheApart(Acme):
    def _call_llm_api(self, *arguments: Any) -> tuple[str, dict[str, Any] | UsageData]:
        return "yes", {"prompt_tokens": 31, "completion_tokens": 2, "cached_tokens": 300}


def test_counts_that_do_not_add_up_are_a_note_on_a_paid_reply(write_config: Callable[..., Path]) -> None:
    """More cached than sent: the reply is kept, the note says so, and the cost is what the totals cost."""
    models = [{"name": "ultra-large", "cost_input": 1, "cost_output": 1}]
    write_config(acme(CountsItsCacheApart, env_key="", models=models))
    provider = get_llm_provider("acme")
    text, usage = provider.get_response("Say yes.", "A source.")
    assert text
    assert "cached_tokens (300)" in usage.notes[0]
    assert usage.total_cost == pytest.approx(usage.total_tokens / 1e6)


def test_the_config_next_to_an_external_class_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples" / "provider_http")
    external = {"acme": {"module": "acme_llm", "class": "AcmeProvider"}}
    (tmp_path / "external_providers.json").write_text(json.dumps(external), encoding="utf-8")
    entry = load_provider_config("acme")
    assert entry.env_key == "ACME_API_KEY"


# The two packages under examples/.

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/pyproject.toml"))


def _project(example: Path) -> dict[str, Any]:
    return dict(tomllib.loads((example / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def _install(example: Path, site: Path) -> None:
    """Writes the metadata that an installer adds, so that the entry point is found."""
    project = _project(example)
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


def _run(example: Path, cwd: Path, *arguments: str) -> str:
    python_path = os.pathsep.join(map(str, (example, cwd, ROOT)))
    # Neither a cache nor compiled modules are written into the repository.
    options = ("-q", "-p", "no:cacheprovider", str(example / "tests"), *arguments)
    result = run_script("pytest", *options, cwd=cwd, PYTHONPATH=python_path, PYTHONDONTWRITEBYTECODE="1")
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_there_are_two_examples() -> None:
    assert [example.name for example in EXAMPLES] == ["provider_http", "provider_sdk"]
    groups = [_project(example)["entry-points"] for example in EXAMPLES]
    assert all(list(group) == [ENTRY_POINTS] for group in groups)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example.name))
def test_an_installed_example_passes(example: Path, tmp_path: Path) -> None:
    _install(example, tmp_path)
    printed = _run(example, tmp_path)
    assert " passed" in printed
    assert " skipped" not in printed


def test_an_example_passes_through_external_providers_json(tmp_path: Path) -> None:
    example = EXAMPLES[0]
    points = _project(example)["entry-points"][ENTRY_POINTS]
    external = {name: dict(zip(("module", "class"), target.split(":"), strict=True)) for name, target in points.items()}
    (tmp_path / "external_providers.json").write_text(json.dumps(external), encoding="utf-8")
    assert " passed" in _run(example, tmp_path, "-k", "honest_cost or in_the_config")
