"""What a user writes wrong is named: the file, the place, what was found, what to do."""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from counting import calls_of
from sample_cases import openai_entry
from standins import StandIn

from llm_tester import settings
from llm_tester.cassettes import use_cassette
from llm_tester.config import ProviderConfig, validate
from llm_tester.errors import ConfigError, MissingKeyError
from llm_tester.llms.llm_registry import get_llm_provider, reset_provider_cache
from llm_tester.llms.provider_factory import create_provider, load_provider_config

Write = Callable[..., Path]

BAD_ENTRIES: list[tuple[dict[str, Any], str, str]] = [
    ({"models": [{"name": "m", "cost_input": "2.0", "cost_output": 1}]}, "models[0].cost_input", "found '2.0'"),
    ({"models": [{"name": "m", "cost_input": -1, "cost_output": 1}]}, "models[0].cost_input", "greater than or equal"),
    ({"models": [{"name": "m", "cost_input": 1}]}, "models[0]", "cost_input and cost_output belong together"),
    ({"models": [{"name": "m", "cost_per_request": 1}]}, "models[0]", "needs cost_input and cost_output"),
    ({"models": "gpt-4o"}, "models", "found 'gpt-4o'"),
    ({"models": ["m"], "modles": []}, "modles", "did you mean 'models'"),
    ({"models": [{"name": "m", "cost_inptu": 1}]}, "models[0].cost_inptu", "did you mean 'cost_input'"),
    ({"models": ["m", "m"]}, "providers.x", "'m' is listed twice"),
    ({"models": [{"name": "a", "default": True}, {"name": "b", "default": True}]}, "providers.x", "two defaults"),
    ({"models": [{"name": "a", "default": True}, "b"], "default_model": "b"}, "providers.x", "two defaults"),
    ({"models": ["m"], "timeout": 0}, "timeout", "greater than 0"),
    ({"models": ["m"], "max_attempts": 0}, "max_attempts", "greater than or equal to 1"),
    ({"models": ["m"], "params": {"api_key": "x"}}, "providers.x", "name its variable in env_key"),
    ({"models": ["m"], "params": {"stream": True}}, "providers.x", "read as a whole"),
    ({"models": ["m"], "mock": {"delays": 1}}, "mock.delays", "did you mean 'delay'"),
]


@pytest.mark.parametrize(("entry", "place", "message"), BAD_ENTRIES)
def test_a_bad_entry_names_the_file_the_place_and_the_fix(
    entry: dict[str, Any], place: str, message: str, write_config: Write
) -> None:
    path = write_config({"x": {"provider_type": "openai", **entry}})
    with pytest.raises(ConfigError) as caught:
        load_provider_config("x")
    assert str(path) in str(caught.value)
    assert place in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("{'providers': {}}", "line 1, column 2: not JSON"),
        ('{"providers": {}', "not JSON"),
        ("[]", "found a list, expected an object"),
        ("3", "found a number, expected an object"),
        ('{"providers": []}', "providers: found a list"),
        ('{"providers": {"a": 3}}', "providers.a"),
        ('{"provders": {}}', "did you mean 'providers'"),
        ('{"providers": {"a": {}, "a": {}}}', "duplicate key 'a'"),
        ('{"price_source": "guess"}', "price_source: found 'guess'"),
        ('{"max_age": -1}', "max_age"),
    ],
)
def test_a_bad_file_names_itself_and_the_fix(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        settings.settings()
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert path.read_text() == text


def test_a_file_that_is_not_text_names_itself(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(ConfigError, match="cannot be read as UTF-8"):
        settings.settings()


def test_the_config_is_the_arguments_or_the_variables_or_the_directorys(
    tmp_path: Path, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = write_config({"here": {"provider_type": "mock"}})
    named = tmp_path / "named.json"
    named.write_text('{"providers": {"named": {"provider_type": "mock"}}}')
    given = tmp_path / "given.json"
    given.write_text('{"providers": {"given": {"provider_type": "mock"}}}')
    assert settings.settings().path == here
    monkeypatch.setenv("LLM_TESTER_CONFIG", str(named))
    reset_provider_cache()
    assert settings.settings().enabled_names() == ["named"]
    settings.activate(given)
    assert settings.settings().enabled_names() == ["given"]


def test_a_missing_config_is_an_error_only_if_it_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.settings().path is None
    monkeypatch.setenv("LLM_TESTER_CONFIG", "nowhere.json")
    reset_provider_cache()
    with pytest.raises(ConfigError, match=r"nowhere\.json: there is no such file"):
        settings.settings()


def test_an_entry_overrides_the_packages_own(write_config: Write) -> None:
    write_config({"openai": {"default_model": "gpt-5.4-nano", "timeout": 5}, "mistral": True, "google": False})
    openai = load_provider_config("openai")
    assert (openai.default(), openai.timeout, openai.env_key) == ("gpt-5.4-nano", 5.0, "OPENAI_API_KEY")
    assert len(openai.models) > 1
    assert settings.settings().enabled_names() == ["openai", "mistral"]


def test_base_url_is_api_base(write_config: Write) -> None:
    write_config({"x": {"provider_type": "openai", "base_url": "http://127.0.0.1:9/v1", "models": ["m"]}})
    entry = load_provider_config("x")
    assert entry.api_base == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("names", [("api_base", "base_url"), ("base_url", "api_base")])
def test_the_users_address_leads_under_either_name(names: tuple[str, str], write_config: Write) -> None:
    theirs, users = names
    write_config({"x": {users: "http://127.0.0.1:9/v1"}})
    external = {"provider_type": "openai", theirs: "http://127.0.0.1:8/v1"}
    entry = settings.settings().provider("x", external)
    assert entry is not None
    assert entry.api_base == "http://127.0.0.1:9/v1"


def test_of_two_addresses_in_an_entry_api_base_counts(write_config: Write) -> None:
    write_config({"x": {"provider_type": "openai", "base_url": "http://a/v1", "api_base": "http://b/v1"}})
    assert load_provider_config("x").api_base == "http://b/v1"


def test_a_key_comes_from_the_environment_before_the_dotenv_file(
    tmp_path: Path, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=from-the-file\n")
    write_config()
    provider = get_llm_provider("openai")
    assert provider.get_api_key() == "from-the-file"
    assert "OPENAI_API_KEY" not in os.environ
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    assert provider.get_api_key() == "from-the-environment"
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert provider.get_api_key() == "from-the-file"


def test_a_vendors_key_is_not_sent_to_another_address(write_config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "the-vendor-s-own")
    write_config({"my-server": {"provider_type": "openai", "api_base": "http://127.0.0.1:9/v1", "models": ["m"]}})
    provider = get_llm_provider("my-server")
    assert provider.get_api_key() is None
    assert provider.missing_key() is None
    monkeypatch.setenv("MY_SERVER_API_KEY", "its-own")
    assert provider.get_api_key() == "its-own"


def test_the_packages_own_configs_are_valid() -> None:
    from llm_tester import catalog

    for name in ("openai", "anthropic", "mistral", "google", "pydantic_ai", "mock"):
        provider = get_llm_provider(name)
        assert provider.get_default_model()
        for model in provider.config.models:
            place = provider._catalog_name(model.name)
            known = catalog.model_entry(*place) if place else {}
            assert known is not None, model.name
            if place and model.supports_schema is not None:
                # Written for the default models, so that `llm-tester providers` needs not read LiteLLM's bundle.
                assert model.supports_schema == bool(known.get("supports_response_schema")), model.name


def test_the_config_files_of_the_package_are_plain_json() -> None:
    for path in settings.PACKAGE_PROVIDERS.glob("*/config.json"):
        assert json.loads(path.read_text())["models"]


RANDOM = secrets.token_hex(16)
AS_KEYS = [
    f"sk-{RANDOM}",
    f"gsk_{RANDOM}x",
    f"a{RANDOM}",
    f"Ab{RANDOM.upper()}",
    f"acme_{RANDOM}7z",
    "two words",
    "a=b",
    "7UP",
]
NO_KEYS = ["ACME_API_KEY", "acme_key_2", "_X", "OPENAI_API_KEY_EU_WEST_1", "ACME2PRODUCTIONAPIKEY", "S3_KEY", ""]


def shown(error: BaseException | None) -> Iterator[str]:
    """What a traceback shows of an exception and of what led to it."""
    while error is not None:
        yield str(error) + repr(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("key", AS_KEYS, ids=map(str, range(len(AS_KEYS))))
@pytest.mark.parametrize("place", ["config.json", "external", "package"])
def test_a_key_in_env_key_is_refused_and_not_shown(
    place: str, key: str, write_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key in the place of its variable's name is no secret any more if it is printed."""
    entry = {"models": ["m"], "env_key": key}
    path = write_config({"x": {"provider_type": "openai", **entry}} if place == "config.json" else {})
    if place == "external":
        path = tmp_path / "own.json"
        path.write_text(json.dumps(entry))
        declared = {"module": "own", "class": "Own", "config_path": "own.json"}
        (tmp_path / "external_providers.json").write_text(json.dumps({"x": declared}))
    if place == "package":
        monkeypatch.setattr("llm_tester.settings.PACKAGE_PROVIDERS", tmp_path)
        path = tmp_path / "x" / "config.json"
        path.parent.mkdir()
        path.write_text(json.dumps({"provider_type": "openai", **entry}))
    with pytest.raises(ConfigError) as caught:
        load_provider_config("x")
    assert f"{path}: " in str(caught.value)
    assert "env_key is no name of an environment variable" in str(caught.value)
    assert "such as ACME_API_KEY" in str(caught.value)
    assert key not in "".join(shown(caught.value))


@pytest.mark.parametrize("name", NO_KEYS)
def test_the_name_of_a_variable_is_no_key(name: str, write_config: Write) -> None:
    write_config({"x": {"provider_type": "openai", "models": ["m"], "env_key": name}})
    assert load_provider_config("x").env_key == name


LITERALS: list[tuple[dict[str, Any], str]] = [
    ({"extra_headers": {"Authorization": f"Token {RANDOM}"}}, "params.extra_headers.Authorization"),
    ({"extra_headers": {"x-acme-api-key": RANDOM}}, "params.extra_headers.x-acme-api-key"),
    ({"aws_secret_access_key": RANDOM}, "params.aws_secret_access_key"),
    ({"azure_ad_token": RANDOM}, "params.azure_ad_token"),
    ({"extra_body": {"login": [{"password": RANDOM}]}}, "params.extra_body.login[0].password"),
    ({"user": f"hf_{RANDOM}"}, "params.user"),
]


@pytest.mark.parametrize(("params", "place"), LITERALS)
def test_a_key_in_params_is_refused_and_not_shown(params: dict[str, Any], place: str, write_config: Write) -> None:
    """The message names the place and the form that takes the key from the environment."""
    write_config({"x": {"provider_type": "openai", "models": ["m"], "params": params}})
    with pytest.raises(ConfigError) as caught:
        load_provider_config("x")
    assert f"{place} holds a key (not shown)" in str(caught.value)
    assert 'write "${NAME}"' in str(caught.value)
    assert RANDOM not in "".join(shown(caught.value))


def test_params_that_are_no_keys_are_kept(write_config: Write) -> None:
    params = {"max_tokens": 5, "prompt_cache_key": "one", "stop": ["$", "${", "$NAME"], "password_hint": "none"}
    params["response_format"] = {"properties": {"password": {"type": "string", "$ref": "#/$defs/Key"}}}
    write_config({"x": {"provider_type": "openai", "models": ["m"], "params": params}})
    provider = create_provider("x")
    assert provider.resolved_params() == provider.config.params == params


def test_a_key_in_another_place_of_an_entry_is_not_shown(write_config: Write) -> None:
    write_config({"x": {"provider_type": "openai", "models": ["m"], "timeout": f"sk-{RANDOM}"}})
    with pytest.raises(ConfigError) as caught:
        load_provider_config("x")
    assert "timeout: found 'REDACTED'" in str(caught.value)
    assert RANDOM not in "".join(shown(caught.value))


class TestVariablesInParams:
    @pytest.fixture(autouse=True)
    def entry(self, write_config: Write, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch) -> None:
        # If LiteLLM is imported in here, it would take the variables of `.env` into the environment.
        monkeypatch.setenv("LITELLM_MODE", "PRODUCTION")
        self.server = standin("A reply.")
        headers = {"Authorization": "Token ${ACME_WORD}", "x-plain": "plain"}
        params = {"extra_headers": headers, "extra_body": {"user": "${ACME_WORD}-${ACME_OTHER}"}}
        write_config({"x": openai_entry(self.server, env_key="", params=params)})

    def test_they_are_sent_and_redacted_and_a_replay_needs_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A variable of any name is a secret if params name it; its value comes from `.env`, too."""
        (tmp_path / ".env").write_text(f"ACME_WORD={RANDOM}\n")
        monkeypatch.setenv("ACME_OTHER", RANDOM[::-1])
        path = tmp_path / "one.yaml"
        for mode in ("once", "none"):
            reset_provider_cache()
            with use_cassette(path, mode):
                assert create_provider("x").get_response("Ask.", "Source.")[0] == "A reply."
            (tmp_path / ".env").unlink(missing_ok=True)
            monkeypatch.delenv("ACME_OTHER", raising=False)
        [sent] = self.server.requests
        assert sent.headers["authorization"] == f"Token {RANDOM}"
        assert (sent.headers["x-plain"], sent.body["user"]) == ("plain", f"{RANDOM}-{RANDOM[::-1]}")
        assert RANDOM not in path.read_text()
        assert RANDOM[::-1] not in path.read_text()

    def test_one_that_is_not_set_is_named_and_nothing_is_sent(self) -> None:
        with pytest.raises(MissingKeyError, match="params name ACME_WORD; set it in the environment or in"):
            create_provider("x").get_response("Ask.", "Source.")
        assert self.server.requests == []


def test_params_that_are_nested_too_deeply_are_named(write_config: Write) -> None:
    """Python reads JSON that is deeper than it can then walk through."""
    path = write_config({"x": {"provider_type": "openai", "models": ["m"]}})
    deep = "[" * 150 + "1" + "]" * 150
    path.write_text(path.read_text().replace('"models"', f'"params": {{"extra_body": {deep}}}, "models"'))
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_provider_config("x")


def test_a_config_is_read_in_linear_time() -> None:
    """Ten times the models take at most ten times the work: no name is compared with all others."""

    def read(models: int) -> None:
        written = [{"name": f"m{number}"} for number in range(models)]
        validate(ProviderConfig, {"name": "x", "models": written}, Path("config.json"))

    read(10)
    assert calls_of(lambda: read(2000)) < 11 * calls_of(lambda: read(200))
