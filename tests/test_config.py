"""What a user writes wrong is named: the file, the place, what was found, what to do."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_tester import settings
from llm_tester.errors import ConfigError
from llm_tester.llms.llm_registry import get_llm_provider, reset_provider_cache
from llm_tester.llms.provider_factory import load_provider_config

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
            assert place is None or catalog.model_entry(*place), model.name


def test_the_config_files_of_the_package_are_plain_json() -> None:
    for path in settings.PACKAGE_PROVIDERS.glob("*/config.json"):
        assert json.loads(path.read_text())["models"]
