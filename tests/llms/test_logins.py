"""Logins of several parts: what is missing is named, and a call without it is not tried."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from console import litellm_environment, run_python
from standins import StandIn

from llm_tester import __main__
from llm_tester.errors import MissingKeyError
from llm_tester.llms import _logins as logins
from llm_tester.llms.base import BaseLLM
from llm_tester.llms.llm_registry import get_llm_provider, get_provider_info

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither variables nor files of a login."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for login in logins._LOGINS.values():
        for part in (*(part for way in login.ways for part in way), *login.optional):
            for name in part.variables:
                monkeypatch.delenv(name, raising=False)


@pytest.fixture
def provider_of(write_config: Write) -> Callable[..., BaseLLM]:
    def make(slug: str, **more: Any) -> BaseLLM:
        write_config({"p": {"provider_type": slug, "models": ["m"], **more}})
        provider = get_llm_provider("p")
        assert provider is not None
        return provider

    return make


@pytest.mark.parametrize(
    ("slug", "names"),
    [
        ("azure", "AZURE_API_KEY (or AZURE_OPENAI_API_KEY) and AZURE_API_BASE (or api_base)"),
        ("bedrock", "AWS_BEARER_TOKEN_BEDROCK, or AWS_PROFILE (or params.aws_profile_name)"),
        ("bedrock", "AWS_ACCESS_KEY_ID (or params.aws_access_key_id) and AWS_SECRET_ACCESS_KEY"),
        ("sagemaker", "AWS_SECRET_ACCESS_KEY"),
        ("vertex_ai", "VERTEXAI_CREDENTIALS (or GOOGLE_APPLICATION_CREDENTIALS, params.vertex_credentials"),
        ("vertex_ai", "VERTEXAI_PROJECT (or params.vertex_project"),
        ("watsonx", "WATSONX_APIKEY (or WATSONX_API_KEY, WX_API_KEY) and WATSONX_API_BASE (or WATSONX_URL"),
        ("watsonx", "WATSONX_PROJECT_ID"),
        ("databricks", "DATABRICKS_API_KEY and DATABRICKS_API_BASE (or api_base)"),
        ("snowflake", "SNOWFLAKE_JWT and SNOWFLAKE_ACCOUNT_ID (or params.account_id, api_base)"),
        ("cloudflare", "CLOUDFLARE_API_KEY and CLOUDFLARE_ACCOUNT_ID (or CLOUDFLARE_API_BASE, api_base)"),
        ("oci", "OCI_FINGERPRINT"),
    ],
)
def test_a_call_without_a_login_names_its_parts_and_sends_nothing(
    slug: str, names: str, provider_of: Callable[..., BaseLLM], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MissingKeyError) as caught:
        provider_of(slug).get_response("a", "b")
    assert names in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_only_what_is_missing_is_named(provider_of: Callable[..., BaseLLM], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key-of-no-one")
    provider = provider_of("azure")
    assert (provider.missing_key() or "").startswith("set AZURE_API_BASE (or api_base), in the environment or in ")
    assert get_provider_info("p")["key_variable"] == "AZURE_OPENAI_API_KEY"
    assert provider_of("azure", api_base="http://127.0.0.1:1").missing_key() is None


def test_a_login_may_be_in_the_entry(provider_of: Callable[..., BaseLLM], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATSONX_APIKEY", "a-key-of-no-one")
    params = {"project_id": "p"}
    assert provider_of("watsonx", api_base="http://127.0.0.1:1", params=params).missing_key() is None
    assert "project_id" in (provider_of("watsonx", api_base="http://127.0.0.1:1").missing_key() or "")


def test_a_login_may_be_in_a_file_or_in_the_machine(provider_of: Callable[..., BaseLLM], tmp_path: Path) -> None:
    assert '"env_key": ""' in (provider_of("bedrock").missing_key() or "")
    assert provider_of("bedrock", env_key="").missing_key() is None
    (tmp_path / "home" / ".aws").mkdir(parents=True)
    (tmp_path / "home" / ".aws" / "credentials").write_text("[default]\n")
    assert provider_of("bedrock").missing_key() is None


def test_an_entry_may_name_another_variable_for_the_key(
    provider_of: Callable[..., BaseLLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_API_BASE", "http://127.0.0.1:1")
    provider = provider_of("azure", env_key="WORK_KEY")
    assert (provider.missing_key() or "").startswith("set WORK_KEY, ")
    monkeypatch.setenv("WORK_KEY", "a-key-of-no-one")
    assert (provider.missing_key(), provider.get_api_key()) == (None, "a-key-of-no-one")


def test_parts_in_the_dotenv_file_reach_the_provider(
    provider_of: Callable[..., BaseLLM], standin: Callable[..., StandIn], tmp_path: Path
) -> None:
    """LiteLLM itself reads the environment only."""
    server = standin("yes")
    lines = [f"DATABRICKS_API_BASE={server.url}/v1", "DATABRICKS_API_KEY=a-key-of-no-one"]
    (tmp_path / ".env").write_text("\n".join(lines))
    text, _ = provider_of("databricks").get_response("Say yes.", "b")
    assert text == "yes"
    assert server.requests[0].headers["authorization"] == "Bearer a-key-of-no-one"


def test_a_token_in_the_environment_is_sent(
    provider_of: Callable[..., BaseLLM], standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteLLM reads this variable, and then does not use it."""
    server = standin("yes")
    monkeypatch.setenv("AZURE_AD_TOKEN", "a-token-of-no-one")
    assert provider_of("azure", api_base=server.url).get_response("Say yes.", "b")[0] == "yes"
    assert server.requests[0].headers["authorization"] == "Bearer a-token-of-no-one"


def test_providers_shows_what_is_set_and_what_is_missing(write_config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key-of-no-one")
    monkeypatch.setenv("GOOGLE_API_KEY", "another-of-no-one")
    write_config({"azure": {"models": ["m"]}, "vertex_ai": {"models": ["m"]}})
    shown = " ".join(CliRunner().invoke(__main__.main, ["providers"]).output.split())
    assert "azure: AZURE_OPENAI_API_KEY is set; AZURE_API_BASE (or api_base) is not set" in shown
    assert "GOOGLE_API_KEY is set" in shown
    assert "GEMINI_API_KEY" not in shown
    assert "VERTEXAI_PROJECT" in shown
    assert "of-no-one" not in shown


# Which of LiteLLM's routes connect, with the parts that are given.
ASK_LITELLM = """
import json, logging, os, socket, sys
import litellm
litellm.suppress_debug_info = True
logging.disable(logging.CRITICAL)
tried = []
def refuse(*place, **_):
    tried.append(place)
    raise OSError("no network")
socket.socket.connect = socket.getaddrinfo = refuse
answer = []
for slug, variables in json.load(sys.stdin):
    os.environ.update(variables)
    tried.clear()
    try:
        litellm.completion(model=slug + "/m", messages=[{"role": "user", "content": "x"}], max_retries=0, timeout=5)
    except Exception:
        pass
    answer.append(bool(tried))
    for name in variables:
        del os.environ[name]
print(json.dumps(answer))
"""
# AWS' and Google's own libraries look for more, and OCI reads a file that the test does not have.
ASKED = ["azure", "azure_ai", "cloudflare", "databricks", "gdc", "heroku", "predibase", "snowflake", "watsonx"]


def test_litellm_sends_nothing_without_each_part() -> None:
    """With all of them it tries to connect, and without one it does not."""
    cases, expected = [], []
    for slug in ASKED:
        for way in logins._LOGINS[slug].ways:
            names = [next(iter(part.variables)) for part in way]
            values = {name: "http://127.0.0.1:1/v1/projects/p" if "BASE" in name else "value" for name in names}
            if "AZURE_AD_TOKEN" not in names and "AZURE_TENANT_ID" not in names:
                # LiteLLM reads the first only as an argument, and the second needs a package of its own.
                cases.append((slug, values))
                expected.append(True)
            # Without the key most of them ask nonetheless.
            for left_out in [name for name, part in zip(names, way, strict=True) if not part.is_key()]:
                # watsonx asks for its token first, at another address.
                if left_out.endswith(("BASE", "ID")) and "CLIENT" not in left_out and left_out != "WATSONX_API_BASE":
                    cases.append((slug, {name: value for name, value in values.items() if name != left_out}))
                    expected.append(False)
    run = run_python(ASK_LITELLM, env=litellm_environment(), stdin=json.dumps(cases))
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    wrong = [
        (case, is_tried) for case, is_tried, wanted in zip(cases, found, expected, strict=True) if is_tried != wanted
    ]
    assert wrong == [], json.dumps(wrong)


def test_every_variable_is_named_in_litellms_code() -> None:
    spec = importlib.util.find_spec("litellm")
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    code = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py") if "proxy" not in path.parts)
    parts = [
        part
        for login in logins._LOGINS.values()
        for part in (*(part for way in login.ways for part in way), *login.optional)
    ]
    names = {name for part in parts for name in part.variables}
    assert {name for name in names if f'"{name}"' not in code and f"'{name}'" not in code} == set()
    fields = {field for part in parts for field in (*part.variables.values(), *part.fields) if field}
    assert {field for field in fields if f'"{field}"' not in code and f"{field}:" not in code} == set()
