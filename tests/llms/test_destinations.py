"""Which keys go to which address, whatever a config from someone else says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from console import invoke

from llm_tester.errors import ConfigError, MissingKeyError
from llm_tester.llms.llm_registry import get_llm_provider

Write = Callable[..., Path]

OWN = {"provider_type": "openai", "models": ["gpt-4o"], "max_attempts": 1}


def lacks(variable: str, write_config: Write, monkeypatch: pytest.MonkeyPatch, **entry: Any) -> str | None:
    """What a call lacks if only this variable is set."""
    monkeypatch.setenv(variable, "v" * 20)
    write_config({"own": {**OWN, **entry}})
    provider = get_llm_provider("own")
    assert provider
    return provider.missing_key()


@pytest.mark.parametrize(
    ("variable", "address", "is_sent"),
    [
        ("OPENAI_API_KEY", "https://api.openai.com/v1", True),
        ("OPENAI_API_KEY", "https://eu.api.openai.com/v1", True),
        ("OPENAI_API_KEY", "http://127.0.0.1:1/v1", True),
        ("OPENAI_API_KEY", "http://localhost:1/v1", True),
        ("DEEPSEEK_API_KEY", "https://api.deepseek.com/v1", True),
        ("CRUSOE_API_KEY", "https://api.inference.crusoecloud.com/v1", True),
        ("MY_SERVER_KEY", "https://llm.example/v1", True),
        ("OPENAI_API_KEY", "https://llm.example/v1", False),
        ("openai_api_key", "https://llm.example/v1", False),
        ("OPENAI_API_KEY", "https://openai.com.example", False),
        ("OPENAI_API_KEY", "https://notopenai.com", False),
        ("OPENAI_API_KEY", "https://api.openai.com@llm.example/", False),
        ("OPENAI_API_KEY", "https://llm.example\\.openai.com/", False),
        ("OPENAI_API_KEY", "https://api.mistral.ai/v1", False),
        ("AWS_SECRET_ACCESS_KEY", "https://llm.example/v1", False),
        ("GITHUB_TOKEN", "https://api.openai.com/v1", False),
        ("SSH_AUTH_SOCK", "https://llm.example/v1", False),
        ("NPM_TOKEN", "https://llm.example/v1", False),
    ],
)
def test_a_key_goes_to_its_own_service_only(
    variable: str, address: str, is_sent: bool, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = lacks(variable, write_config, monkeypatch, env_key=variable, api_base=address)
    assert (problem is None) is is_sent
    assert is_sent or f"{variable} is not sent to" in str(problem)


def test_a_variable_in_params_goes_to_its_own_service_only(
    write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"api_base": "https://llm.example/v1", "params": {"extra_headers": {"x-token": "${GITHUB_TOKEN}"}}}
    assert "GITHUB_TOKEN is not sent to llm.example" in str(lacks("GITHUB_TOKEN", write_config, monkeypatch, **entry))


def test_a_login_of_several_parts_goes_to_its_own_service_only(
    write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure = {"provider_type": "azure"}
    for address, is_sent in (("https://my.openai.azure.com", True), ("https://my.azure-api.net", False)):
        assert (lacks("AZURE_API_KEY", write_config, monkeypatch, **azure, api_base=address) is None) is is_sent
    # A project may have a .env file, too; what the environment says is the user's.
    Path(".env").write_text("AZURE_API_BASE=https://llm.example")
    assert "is not sent to llm.example" in str(lacks("AZURE_API_KEY", write_config, monkeypatch, **azure))
    monkeypatch.setenv("AZURE_API_BASE", "https://llm.example")
    assert lacks("AZURE_API_KEY", write_config, monkeypatch, **azure) is None


def test_the_entry_of_a_vendor_with_another_address_gets_no_key(
    write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "v" * 20)
    write_config({"openai": {"api_base": "https://llm.example/v1"}})
    provider = get_llm_provider("openai")
    assert provider
    with pytest.raises(
        MissingKeyError, match=r"OPENAI_API_KEY is not sent to llm\.example.*LLM_TESTER_ALLOW"
    ) as caught:
        provider.get_response("p", "s")
    assert "vvv" not in str(caught.value)
    assert "is not sent to llm.example" in invoke("providers").output


def test_only_the_environment_can_allow_an_address(write_config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"env_key": "OPENAI_API_KEY", "api_base": "https://llm.example/v1"}
    Path(".env").write_text("LLM_TESTER_ALLOW=llm.example")
    assert lacks("OPENAI_API_KEY", write_config, monkeypatch, **entry)
    monkeypatch.setenv("LLM_TESTER_ALLOW", "gateway.example llm.example")
    assert lacks("OPENAI_API_KEY", write_config, monkeypatch, **entry) is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"models": ["https://llm.example/x"]}, "found the address"),
        ({"params": {"account_id": "llm.example/"}}, "params.account_id: found 'llm.example/'"),
        ({"params": {"vertex_location": "llm.example#"}}, "params.vertex_location"),
        ({"params": {"aws_bedrock_runtime_endpoint": "https://llm.example"}}, "does not belong there"),
        ({"params": {"fallbacks": [{"api_base": "https://llm.example"}]}}, "does not belong there"),
    ],
)
def test_nothing_but_api_base_names_an_address(entry: dict[str, Any], message: str, write_config: Write) -> None:
    write_config({"own": {**OWN, **entry}})
    with pytest.raises(ConfigError) as caught:
        get_llm_provider("own")
    assert message in str(caught.value)
