"""What the contract tests work with: the provider on a stand-in, its recording, and its reply."""

import contextlib
import inspect
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ..cassettes import inject, reading, use_cassette
from ..cassettes.secrets import Scrubber
from ..cassettes.storage import reply_of
from ..config import ModelConfig, ProviderConfig
from ..errors import ProviderError
from ..llms.base import BaseLLM
from ..llms.llm_registry import discover_providers
from ..llms.provider_factory import create_provider
from ..usage import UsageData
from ._kit import MARK, Guard, Reply, served

__all__ = ["VARIABLE", "ContractSetup", "must"]

# A variable of the kit alone, so that no real key is ever read, sent or printed.
VARIABLE = "LLM_TESTER_CONTRACT_API_KEY"


class ContractSetup:
    """What `ProviderContract` asks with; see there for the attributes."""

    provider: ClassVar[str] = ""
    model: ClassVar[str | None] = None
    prompt: ClassVar[str] = "Answer with one word: what colour is a clear sky at noon?"
    source: ClassVar[str] = f"Nothing else is known ({MARK})."
    reply: ClassVar[Any] = None
    cassette: ClassVar[str | None] = None
    text: ClassVar[str | None] = None
    usage: ClassVar[Mapping[str, int] | None] = None
    # What `cassette` is relative to; the plugin sets it from the fixture `llm_cassette_dir`.
    kit_directory: Path | None = None

    @contextlib.contextmanager
    def standin(self) -> Iterator[str]:
        """Serves what the provider's API would; override it if one reply for all requests is not enough.

        Yields:
            The address that goes into the entry's `api_base`.
        """
        with served(self._replies()) as url:
            yield url

    @pytest.fixture(autouse=True)
    def _contract(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
        if not self.provider:
            pytest.fail(f"{type(self).__name__}: say which provider it is: provider = '...'", pytrace=False)
        self._folder, self._environment = tmp_path, monkeypatch
        self._record_mode = str(request.config.getoption("--llm-record", default=None) or "none")
        self._taken: tuple[Path, BaseLLM] | None = None
        self._key = f"contract-{secrets.token_hex(16)}"
        monkeypatch.setenv(VARIABLE, self._key)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")

    # What the tests ask with.

    def _installed(self) -> BaseLLM:
        made = create_provider(self.provider)
        if made is None:
            pytest.fail(f"there is no provider {self.provider!r}; known are {discover_providers()}", pytrace=False)
        return made

    def _made(self, **changes: Any) -> BaseLLM:
        """The provider with its key in the kit's variable, and with changes to its entry."""
        made = self._installed()
        if made.key_variables(self.model):
            changes["env_key"] = VARIABLE
        return type(made)(ProviderConfig.model_validate({**made.config.model_dump(), **changes}))

    def _over_http(self, **changes: Any) -> BaseLLM:
        made = self._made(**changes)
        if not made.uses_http:
            pytest.skip(f"{self.provider} says that it does not use HTTP")
        return made

    def _with_key(self, **changes: Any) -> BaseLLM:
        made = self._made(**changes)
        if not made.key_variables(self.model):
            pytest.skip(f"{self.provider} says that it needs no key")
        return made

    def _model(self, provider: BaseLLM) -> ModelConfig:
        return provider.resolve(self.model)

    def _ask(self, provider: BaseLLM, source: str | None = None) -> tuple[str, UsageData]:
        return provider.get_response(self.prompt, source or self.source, self.model)

    def _own_cassette(self) -> Path:
        return (self.kit_directory or Path(inspect.getfile(type(self))).parent) / str(self.cassette)

    def _replies(self) -> list[Reply]:
        if self.reply is None and self.cassette is None:
            pytest.fail(
                f"{type(self).__name__}: say what the provider's API answers with: reply = {{...}} as in its "
                "documentation, or cassette = 'cassettes/contract.yaml'",
                pytrace=False,
            )
        if self.reply is None:
            return [reply_of(interaction) for interaction in reading.load(self._own_cassette()).interactions]
        body = self.reply if isinstance(self.reply, str | bytes) else json.dumps(self.reply)
        return [(200, {"content-type": ["application/json"]}, body.encode() if isinstance(body, str) else body)]

    def _recording(self, *, record: bool = False) -> tuple[Path, BaseLLM]:
        """A cassette of one call, and the provider whose call it is; the same ones throughout a test."""
        if self._taken is None:
            self._taken = self._take(record)
        return self._taken

    def _take(self, record: bool) -> tuple[Path, BaseLLM]:
        if self.cassette is None:
            path = self._folder / "contract.yaml"
            return path, self._recorded(path)[0]
        path = self._own_cassette()
        if self._record_mode != "none" and (record or not path.is_file()):
            with use_cassette(path, self._record_mode):
                self._ask(self._installed())
        if not path.is_file():
            pytest.fail(f"{path}: is not there yet; set the key and run pytest --llm-record once", pytrace=False)
        return path, self._made()

    def _recorded(self, path: Path) -> tuple[BaseLLM, str, UsageData]:
        """The provider on a stand-in, and its answer, recorded."""
        guard, origin = Guard(), "stand-in: the contract kit"
        try:
            with self.standin() as url, use_cassette(path, "rewrite", origin=origin), inject(guard):
                provider = self._made(api_base=url, max_attempts=1)
                return provider, *self._ask(provider)
        finally:
            if guard.strays:
                problem = f"{self.provider} calls {guard.strays[0]}, not the api_base of its entry"
                if self.cassette:
                    pytest.skip(f"{problem}; {self.cassette} holds what was recorded from there")
                pytest.fail(f"{problem} (self.config.api_base)", pytrace=False)

    def _answered(self, *, record: bool = False) -> tuple[BaseLLM, str, UsageData]:
        """The provider, and its answer: replayed if it uses HTTP."""
        provider = self._made()
        if not provider.uses_http:
            return provider, *self._ask(provider)
        path, provider = self._recording(record=record)
        with self._replaying(path):
            return provider, *self._ask(provider)

    def _replaying(self, path: Path) -> contextlib.AbstractContextManager[Any]:
        return use_cassette(path, again="pytest --llm-record rewrite, with the provider's key set")

    def _error_of(self, provider: BaseLLM, what: str) -> ProviderError:
        try:
            found = self._ask(provider)
        except ProviderError as error:
            return error
        pytest.fail(f"{what} did not end in an error but in {found!r}; let errors pass through", pytrace=False)

    def _check_key_is_out(self, text: str, where: str) -> None:
        found = Scrubber([self._key]).find(text)
        must(not found, f"the API key is in {where}; it must not")


def must(kept: object, message: str) -> None:
    __tracebackhide__ = True
    if not kept:
        pytest.fail(message, pytrace=False)
