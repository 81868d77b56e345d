"""What LiteLLM does that this package works around: each test fails if a trap is back, or is another one."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from console import litellm_environment
from standins import Fault, Reply, StandIn

from llm_tester import catalog
from llm_tester.errors import ServerError
from llm_tester.llms import litellm_backend
from llm_tester.llms.llm_registry import get_llm_provider

Write = Callable[..., Path]

# They need more than a key and an address before they send anything, or send it to an address of their own.
OTHERS = (
    "aiohttp_openai auto_router bytez chatgpt clarifai fal_ai gdc gigachat github_copilot langflow "
    "microsoft_365_copilot oci petals predibase ragflow replicate sagemaker sagemaker_chat sagemaker_nova sap "
    "scaledown triton vertex_ai vertex_ai_beta vllm watsonx watsonx_text"
)


def test_every_route_sends_one_request_per_attempt(standin: Callable[..., StandIn], write_config: Write) -> None:
    """Some SDKs below LiteLLM try a 503 three times; then attempts, costs and seconds would be wrong."""
    server = standin("yes", faults=[Fault(status=503)] * 2000)
    slugs = sorted(catalog.known_slugs() - set(OTHERS.split()))
    models = {slug: (catalog.model_names(slug) or ["some-model"])[0] for slug in slugs}
    common = {"api_base": f"{server.url}/v1", "env_key": "", "max_attempts": 1, "timeout": 20}
    write_config({slug: {**common, "provider_type": slug, "models": [models[slug]]} for slug in slugs})
    asked, leaking = {}, []
    for slug in slugs:
        before = len(server.requests)
        provider = get_llm_provider(slug)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - some slugs have no chat endpoint
            provider.get_response("a", "b")
        requests = server.requests[before:]
        if requests or isinstance(caught.value, ServerError):
            asked[slug] = len(requests)
        leaking += [slug for request in requests if "max_retries" in json.dumps(request.body)]
    assert {slug: count for slug, count in asked.items() if count != 1} == {}
    assert leaking == []
    assert len(asked) > 100
    named = {*litellm_backend._DEAF_TO_MAX_RETRIES.split(), *litellm_backend._WITHOUT_MAX_RETRIES}
    assert named & catalog.known_slugs() <= asked.keys()


def test_a_temperature_that_a_model_refuses_is_left_out(standin: Callable[..., StandIn], write_config: Write) -> None:
    """The 0 is this package's default; LiteLLM raises UnsupportedParamsError for it before any request."""
    server = standin(Reply("yes"))
    entry = {"api_base": f"{server.url}/v1", "env_key": "", "models": ["o3-mini"]}
    write_config({"openai": entry})
    provider = get_llm_provider("openai")
    assert provider.get_response("a", "b")[0] == "yes"
    assert "temperature" not in server.requests[0].body


def test_a_model_that_refuses_a_temperature_is_not_asked_again(
    standin: Callable[..., StandIn], write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal takes LiteLLM longer than a call."""
    import litellm

    asked: list[bool] = []

    def completion(**call: Any) -> Any:
        asked.append("temperature" in call)
        return original(**call)

    original = litellm.completion
    monkeypatch.setattr(litellm, "completion", completion)
    entry = {"api_base": f"{standin(Reply('yes')).url}/v1", "env_key": "", "models": ["o3-mini"]}
    write_config({"openai": entry})
    provider = get_llm_provider("openai")
    for _ in range(2):
        provider.get_response("a", "b")
    assert asked == [True, False, False]


QUIET = """
import json, pathlib, sys
pathlib.Path("config.json").write_text(sys.argv[1])
from llm_tester.errors import MissingKeyError, ProviderError
from llm_tester.llms.llm_registry import get_llm_provider
for name in json.loads(sys.argv[1])["providers"]:
    try:
        get_llm_provider(name).get_response("a", "b")
    except ProviderError as error:
        assert "Traceback" not in str(error), str(error)
        assert name != "vertex_ai" or isinstance(error, MissingKeyError)
"""


def test_litellm_prints_nothing(standin: Callable[..., StandIn], tmp_path: Path) -> None:
    """Neither its ERROR with a traceback on Vertex without a login, nor its advice, nor Python's warnings."""
    server = standin("yes", faults=[Fault(status=401)] * 99)
    entry: dict[str, Any] = {"api_base": f"{server.url}/v1", "env_key": "", "max_attempts": 1}
    models = {"openai": "gpt-4o", "anthropic": "claude-haiku-4-5", "gemini": "gemini-2.5-flash", "groq": "a/b"}
    models |= {"mistral": "mistral-small-latest", "cohere": "command-r-08-2024", "openrouter": "a/b", "snowflake": "x"}
    providers = {slug: {**entry, "models": [model]} for slug, model in models.items()}
    providers["vertex_ai"] = {
        "env_key": "",
        "models": ["gemini-2.5-pro"],
        "params": {"vertex_project": "p"},
        "max_attempts": 1,
    }
    environment = {**litellm_environment(), "HOME": str(tmp_path), "NO_GCE_CHECK": "true"}
    environment.pop("LITELLM_LOCAL_MODEL_COST_MAP")
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(QUIET), json.dumps({"providers": providers})],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert (run.stdout, run.stderr) == ("", "")
