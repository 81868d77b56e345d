"""The contract kit: the tests that every provider must pass, offline and without a key. It needs pytest.

    from llm_tester.testing import ProviderContract

    class TestAcme(ProviderContract):
        provider = "acme"
        reply = {"output": "Blue.", "tokens": {"in": 31, "out": 2}}

That is a whole test module. `reply` is what the provider's API answers with, as its documentation shows it; the kit
serves it on 127.0.0.1 and points the entry's `api_base` there. A recording does as well: with
`cassette = "cassettes/contract.yaml"` and a key, `pytest --llm-record once` asks the real provider once, and from then
on the recording answers.
"""

import concurrent.futures
import contextlib
import inspect
import logging
import pickle
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from ..cassettes import reading, use_cassette
from ..cassettes.secrets import PLACEHOLDER, environment_secrets
from ..config import ModelConfig
from ..errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionError,
    MissingKeyError,
    PermissionDeniedError,
    ProviderError,
    RateLimitError,
    ServerError,
    TimeoutError,
    UnknownModelError,
    UnusableReplyError,
)
from ..llms.base import BaseLLM
from ..llms.llm_registry import discover_providers, get_llm_provider
from ..llms.provider_factory import check_provider_class
from ..usage import TOKEN_COUNTS, UsageData
from . import faults
from ._contract_setup import VARIABLE, ContractSetup, must
from ._kit import leaves, numbered, numbered_copy, switch_often

__all__ = ["ProviderContract"]

THREADS = 16
ROUNDS = 5

_TOTALS = frozenset({"totaltokens", "totaltokencount"})
_TOLD_BY_REPLAY = {"elapsed_seconds", "replayed", "recorded_at"}

_RATES = [name for name in ModelConfig.model_fields if name.startswith("cost_")]
_A_DOLLAR = {**dict.fromkeys(_RATES), "cost_input": 1.0, "cost_output": 1.0, "cost_per_request": 0.0}


class _Case(NamedTuple):
    """A fault and what must come of it."""

    name: str
    fault: Callable[[], faults.Injection]
    kind: type[ProviderError]
    status: int | None = None


_FAULTS = (
    _Case("400", lambda: faults.status(400), BadRequestError, 400),
    _Case("401", faults.unauthorized, AuthenticationError, 401),
    _Case("403", faults.forbidden, PermissionDeniedError, 403),
    _Case("404", faults.not_found, UnknownModelError, 404),
    _Case("429", lambda: faults.rate_limit(retry_after=1), RateLimitError, 429),
    _Case("500", faults.server_error, ServerError, 500),
    _Case("529", faults.overloaded, ServerError, 529),
    _Case("timeout", faults.timeout, TimeoutError),
    _Case("reset", faults.connection_reset, ConnectionError),
    _Case("cut", faults.cut_body, ConnectionError),
    _Case("invalid JSON", faults.invalid_json, UnusableReplyError),
    _Case("empty reply", faults.empty_reply, UnusableReplyError),
)


class ProviderContract(ContractSetup):
    """The tests of a provider; subclass it in a test module, name the provider, and run pytest.

    Attributes:
        provider: the provider's name: an entry of config.json, of external_providers.json, or an installed one.
        model: the model to ask for; by default the provider's.
        prompt: the prompt to ask with.
        source: the source to ask with; keep the mark in it, by which the concurrency test distinguishes its calls.
        reply: the reply of the provider's API: a value to send as JSON, or the text or bytes to send.
        cassette: instead of it, a recording, as a path from the directory of the test module.
        text: the text that the provider must make of that; None checks only that there is one.
        usage: the counts that it must make of that, by the names of `UsageData`; None checks only that they add up.
    """

    # The interface and the config.

    def test_the_class_is_a_provider(self) -> None:
        made = self._installed()
        check_provider_class(type(made))
        parameters = list(inspect.signature(made.get_response).parameters.values())
        names = [parameter.name for parameter in parameters]
        must(
            names[:3] == ["prompt", "source", "model_name"] and parameters[2].default is None,
            f"get_response takes {names}, expected (prompt, source, model_name=None, ...); leave it to BaseLLM",
        )
        must({"model_class", "files"} <= {*names}, "get_response lacks model_class and files; leave it to BaseLLM")

    def test_the_registry_has_one_instance(self) -> None:
        must(self.provider in discover_providers(), f"discover_providers() does not name {self.provider}")
        one, other = get_llm_provider(self.provider), get_llm_provider(self.provider)
        must(one is not None and one is other, "get_llm_provider gave two instances of one name")

    def test_the_config_reaches_the_instance(self) -> None:
        made = self._made(system_prompt="From the config.", timeout=7.5)
        must(made.config.name == self.provider, f"its config is named {made.config.name!r}")
        must(made.config.timeout == 7.5, "the config that __init__ got is not in self.config; call super().__init__")

    def test_the_default_model_is_known(self) -> None:
        made = self._made()
        default = made.get_default_model()
        must(bool(default) == bool(made.config.models), f"its default model is {default!r}; list one in the config")
        found = made.get_model_config(self.model)
        must(isinstance(found, ModelConfig), f"get_model_config({self.model!r}) gave {found!r}")

    def test_an_unknown_model_is_told_with_near_ones(self, caplog: pytest.LogCaptureFixture) -> None:
        made = self._made()
        if not made.config.models:
            pytest.skip(f"{self.provider} lists no models, so that any name goes")
        known = self._model(made).name
        wrong = f"{known}x"
        must(made.get_model_config(wrong) is None, f"get_model_config({wrong!r}) is not None")
        must(known in caplog.text, f"the log line of the unknown model {wrong!r} does not name {known!r}")
        with faults.server_error() as fault, pytest.raises(UnknownModelError) as caught:
            made.get_response(self.prompt, self.source, wrong)
        must(not fault.count, f"the unknown model {wrong!r} was sent to the provider")
        must(known in str(caught.value), f"the error of the unknown model {wrong!r} does not name {known!r}")

    # The key.

    def test_a_missing_key_is_told(self) -> None:
        # A closed port, for a class that does not look for its key before it sends.
        made = self._with_key(api_base="http://127.0.0.1:9", max_attempts=1)
        self._environment.delenv(VARIABLE)
        must(made.get_api_key() is None, "get_api_key() gives a key although its variable is not set")
        error = self._error_of(made, "a missing key")
        must(isinstance(error, MissingKeyError), f"a missing key raised {error!r}, expected MissingKeyError")
        must(VARIABLE in str(error), f"the error of a missing key does not name its variable: {error}")
        must(error.provider == self.provider, f"the error of a missing key has provider={error.provider!r}")

    def test_the_key_is_read_from_its_variable(self) -> None:
        must(self._with_key().get_api_key() == self._key, "get_api_key() does not read the entry's env_key")
        variable = self._installed().key_variables()[0]
        self._environment.setenv(variable, self._key)
        must(self._installed().get_api_key() == self._key, f"get_api_key() does not give the value of {variable}")
        self._environment.delenv(VARIABLE)
        must(
            self._key in environment_secrets(),
            f"{variable} would not be taken for a secret, and its value be recorded; name it ..._API_KEY",
        )

    def test_the_key_is_not_in_the_instance(self) -> None:
        self._with_key()
        provider, *_ = self._answered()
        self._check_key_is_out(f"{provider!r}{provider}", "repr() or str() of the provider")
        with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
            # A client's locks cannot be pickled, and then nothing leaks that way.
            self._check_key_is_out(pickle.dumps(provider).decode("latin-1"), "the provider's pickle")

    def test_the_key_is_in_no_output(
        self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
    ) -> None:
        self._with_key()
        self._over_http()
        # Libraries may say at their own debug level what went over the wire; the provider's package may not.
        caplog.set_level(logging.INFO)
        package = type(self._installed()).__module__.partition(".")[0]
        caplog.set_level(logging.DEBUG, logger=package)
        self._answered()
        provider = self._made(max_attempts=1)
        said = f"Incorrect API key provided: {self._key}"
        for case in (*_FAULTS, _Case("a 401 with the key", lambda: faults.status(401, message=said), ProviderError)):
            with case.fault():
                error = self._error_of(provider, case.name)
            shown = "".join(traceback.format_exception(error))
            self._check_key_is_out(f"{error!r} {vars(error)} {shown}", f"the error or the traceback of {case.name}")
            self._check_key_is_out(
                pickle.dumps(error.__reduce_ex__(4)).decode("latin-1"), f"the pickled error of {case.name}"
            )
        self._check_key_is_out(caplog.text, "the log")
        # During a call the log is redacted; a class must not need that.
        own = [record.getMessage() for record in caplog.records if record.name.partition(".")[0] == package]
        must(not any(PLACEHOLDER in message for message in own), "the API key is in the log; it must not")
        self._check_key_is_out("".join(capfd.readouterr()), "what is printed")
        self._check_key_is_out("".join(str(warning.message) for warning in recwarn), "a warning")

    # A reply.

    def test_a_reply_has_text_usage_and_an_honest_cost(self) -> None:
        provider, text, usage = self._answered(record=True)
        must(type(text) is str and text.strip(), f"the reply's text is {text!r}")
        must(self.text in (None, text), f"the reply's text is {text!r}, expected {self.text!r}")
        must(isinstance(usage, UsageData), f"the usage is {usage!r}, expected UsageData")
        said = (usage.provider, usage.model)
        must(said == (self.provider, self._model(provider).name), f"the usage is of {said}")
        must(usage.replayed == provider.uses_http, "the usage does not say that it comes from a cassette")
        self._check_counts(usage)
        self._check_cost(usage)

    def _check_counts(self, usage: UsageData) -> None:
        counts = {name: getattr(usage, name) for name in TOKEN_COUNTS}
        must(all(type(count) is int and count >= 0 for count in counts.values()), f"not all are counts: {counts}")
        must(usage.priceable, f"not all are counts: {'; '.join(usage.notes)}")
        expected = dict(self.usage or {})
        wrong = {name: counts.get(name) for name in expected if counts.get(name) != expected[name]}
        must(not wrong, f"the usage says {wrong}, expected {expected}")
        must(
            "prompt_tokens" in expected or (usage.prompt_tokens and usage.completion_tokens),
            f"the usage counts nothing: {counts}; if the API does not, say so: usage = {{'prompt_tokens': 0}}",
        )
        total = usage.prompt_tokens + usage.completion_tokens
        must(usage.total_tokens == total, f"total_tokens is {usage.total_tokens}, its parts make {total}")
        parts = usage.cached_tokens + usage.cache_write_tokens
        must(parts <= usage.prompt_tokens, f"the cache's tokens are not within prompt_tokens: {counts}")
        must(usage.reasoning_tokens <= usage.completion_tokens, f"reasoning is not within completion_tokens: {counts}")
        named = {count for count in self._totals_of_reply() if count != total}
        must(not named or self.usage, f"the reply says {named} tokens in total, the usage {counts}")

    def _totals_of_reply(self) -> Iterator[int]:
        if not self._made().uses_http:
            return
        path, _ = self._recording()
        for interaction in reading.load(path).interactions:
            for name, value in leaves(interaction.response["body"]):
                if re.sub("[^a-z]", "", name.lower()) in _TOTALS and type(value) is int:
                    yield value

    def _check_cost(self, usage: UsageData) -> None:
        if usage.total_cost == 0:
            rates = usage.price.model_dump(include={"input", "output", "per_request"}) if usage.price else {}
            must(
                rates and not any(rates.values()),
                f"the cost is 0 at a price of {rates or 'nothing known'}; what is unknown is None, never 0",
            )
        if usage.price is not None:
            found = usage.priced(usage.price).total_cost
            must(found == usage.total_cost, f"the cost is {usage.total_cost}, its tokens at its price make {found}")

    def test_a_price_in_the_config_counts(self) -> None:
        provider, *_ = self._answered()
        model = self._model(provider).model_copy(update=_A_DOLLAR)
        dear = type(provider)(provider.config.model_copy(update={"models": (model,)}))
        with self._replaying(self._recording()[0]) if provider.uses_http else contextlib.nullcontext():
            _, usage = self._ask(dear)
        if usage.price is None:
            must(usage.total_cost != 0, "the cost is 0 although the config has a price")
        else:
            expected = usage.total_tokens / 1e6 if usage.total_tokens else None
            must(
                usage.total_cost == pytest.approx(expected),
                f"{usage.total_tokens} tokens at USD 1 a million cost {usage.total_cost}",
            )

    # What goes wrong.

    @pytest.mark.parametrize("case", _FAULTS, ids=lambda case: case.name)
    def test_a_failure_is_one_of_our_errors(self, case: _Case) -> None:
        provider = self._over_http(max_attempts=2)
        with case.fault() as fault:
            error = self._error_of(provider, case.name)
        attempts = 2 if case.kind.retryable else 1
        must(type(error) is case.kind, f"{case.name} raised {error!r}, expected {case.kind.__name__}")
        must(error.status_code == case.status, f"{case.name} has status_code={error.status_code}")
        place = (error.provider, error.model)
        must(place == (self.provider, self._model(provider).name), f"the error of {case.name} says it is of {place}")
        caused = error.__cause__ or case.kind is UnusableReplyError
        must(caused, f"the error of {case.name} has no __cause__; raise it from the original")
        must(
            fault.count == attempts,
            f"{case.name} was met {fault.count} times at max_attempts=2, expected {attempts}; "
            "turn the retries of your client off, get_response makes them",
        )
        must(case.status != 429 or error.retry_after == 1.0, f"the 429 has retry_after={error.retry_after}")

    def test_a_failure_that_passes_is_tried_again(self) -> None:
        self._over_http()
        path, provider = self._recording()
        entry = provider.config.model_copy(update={"max_attempts": 3})
        with self._replaying(path), faults.server_error(times=2) as fault:
            text, usage = self._ask(type(provider)(entry))
        must(text.strip() and (fault.count, usage.attempts) == (2, 3), f"took {usage.attempts} attempts, expected 3")

    # Recording and concurrency.

    def test_what_is_recorded_is_replayed(self) -> None:
        self._over_http()
        path = self._folder / "recorded.yaml"
        provider, text, usage = self._recorded(path)
        self._check_key_is_out(path.read_text(encoding="utf-8"), "the cassette")
        self._environment.delenv(VARIABLE)
        with use_cassette(path, fail_on_unused=True):
            again, replayed = self._ask(provider)
        must(again == text, f"{text!r} was recorded, {again!r} replayed")
        one, other = (item.model_dump(exclude=_TOLD_BY_REPLAY) for item in (usage, replayed))
        differing = {name: (one[name], other[name]) for name in one if one[name] != other[name]}
        must(not differing, f"recorded and replayed usage differ: {differing}")
        must(replayed.replayed and not usage.replayed, "the usage does not say which of the two is the replay")

    def test_threads_get_their_own_answers(self) -> None:
        if self._made().uses_http:
            path, provider = self._recording()
            text = self._answered()[1]
            copies = [numbered_copy(path, self._folder / f"{number}.yaml", number, text) for number in range(THREADS)]
        else:
            provider, copies = self._made(), []

        def ask(provider: BaseLLM, number: int) -> tuple[str, int, int]:
            with self._replaying(copies[number]) if copies else contextlib.nullcontext():
                reply, usage = self._ask(provider, numbered(self.source, number))
            return reply, usage.prompt_tokens, usage.completion_tokens

        alone = [ask(type(provider)(provider.config), number) for number in range(THREADS)]
        # Only once all of them run: a coverage tool may fail to start in a thread that is interrupted so often.
        ready = threading.Barrier(THREADS, action=switch_often)

        def ask_again(number: int) -> None:
            ready.wait(60)
            for _ in range(ROUNDS):
                found = ask(provider, number)
                must(found == alone[number], f"among {THREADS} threads, call {number} got {found}, not {alone[number]}")

        usual = sys.getswitchinterval()
        try:
            with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
                for future in [pool.submit(ask_again, number) for number in range(THREADS)]:
                    future.result()
        finally:
            sys.setswitchinterval(usual)
        if copies and len(set(alone)) < THREADS:
            pytest.skip(
                "no crossed request, but the text is not in the recorded reply, so crossed replies look the same"
            )
