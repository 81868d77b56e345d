"""The catalog against the installed LiteLLM: what it reads as data must be what LiteLLM itself does."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from console import litellm_environment, run_python

from llm_tester import catalog
from llm_tester.errors import ConfigError, suggest

# Runs in a process of its own: importing LiteLLM takes seconds and must not leak into the other tests. The two slugs
# left out log in over the network as soon as they are resolved.
ASK_LITELLM = """
import json, logging, os, sys
import litellm
from litellm.llms.openai_like.json_loader import JSONProviderRegistry
logging.disable(logging.CRITICAL)
litellm.suppress_debug_info = True
canonical = json.load(sys.stdin)
answer = {"slugs": sorted({p.value for p in litellm.LlmProviders} | set(JSONProviderRegistry.list_providers()))}
answer["missing"], answer["key"] = {}, {}
for slug in answer["slugs"]:
    if slug in ("chatgpt", "github_copilot"):
        continue
    answer["missing"][slug] = litellm.validate_environment(f"{slug}/some-model")["missing_keys"]
    name = canonical.get(slug)
    if name:
        os.environ[name] = "the-key"
        try:
            answer["key"][slug] = litellm.get_llm_provider(f"{slug}/some-model")[2]
        except litellm.exceptions.BadRequestError:
            pass
        del os.environ[name]
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def litellm_says() -> dict[str, Any]:
    canonical = {slug: catalog.env_keys(slug)[0] for slug in catalog.known_slugs() if catalog.env_keys(slug)}
    run = run_python(ASK_LITELLM, env=litellm_environment(), stdin=json.dumps(canonical))
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return answer


@pytest.fixture
def fresh() -> Iterator[None]:
    catalog.reset()
    yield
    catalog.reset()


def test_version() -> None:
    assert catalog.litellm_version()[0].isdigit()


def test_slugs_are_those_of_litellm(litellm_says: dict[str, Any]) -> None:
    assert sorted(catalog.known_slugs()) == litellm_says["slugs"]


def test_the_common_slugs_are_known() -> None:
    common = (
        "groq openai anthropic gemini mistral bedrock ollama hosted_vllm openrouter huggingface cohere azure vertex_ai "
        "deepseek cerebras together_ai fireworks_ai xai perplexity crusoe nano-gpt lm_studio"
    )
    assert set(common.split()) <= catalog.known_slugs()


@pytest.mark.parametrize(
    ("slug", "names"),
    [
        ("groq", ("GROQ_API_KEY",)),
        ("anthropic", ("ANTHROPIC_API_KEY",)),
        ("gemini", ("GEMINI_API_KEY", "GOOGLE_API_KEY")),
        ("perplexity", ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY")),
        ("nano-gpt", ("NANOGPT_API_KEY",)),
        ("scaleway", ("SCW_SECRET_KEY",)),
        ("text-completion-openai", ("OPENAI_API_KEY",)),
        ("cohere_chat", ("COHERE_API_KEY", "CO_API_KEY")),
        ("xai", ("XAI_API_KEY",)),
        ("deepinfra", ("DEEPINFRA_API_KEY",)),
        ("github", ("GITHUB_API_KEY",)),
        ("nvidia_nim", ("NVIDIA_NIM_API_KEY",)),
        ("ollama", ()),
        ("ollama_chat", ()),
        ("bedrock", ()),
        ("vertex_ai", ()),
        ("sagemaker", ()),
        ("hosted_vllm", ()),
        ("lm_studio", ()),
        ("no-such-provider", ()),
    ],
)
def test_env_keys(slug: str, names: tuple[str, ...]) -> None:
    assert catalog.env_keys(slug) == names


def test_env_keys_are_those_that_validate_environment_asks_for(litellm_says: dict[str, Any]) -> None:
    checked = 0
    for slug, missing in litellm_says["missing"].items():
        keys = [name for name in missing if name.endswith(("_KEY", "_TOKEN")) and not name.startswith("AWS_")]
        if keys:
            assert catalog.env_keys(slug)[0] in keys, slug
            checked += 1
    assert checked >= 40


def test_env_keys_are_those_that_the_router_reads(litellm_says: dict[str, Any]) -> None:
    read = {slug: key for slug, key in litellm_says["key"].items() if key is not None}
    assert {slug for slug, key in read.items() if key != "the-key"} == set()
    assert len(read) >= 75


def test_every_variable_is_named_in_litellms_code() -> None:
    spec = importlib.util.find_spec("litellm")
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    files = [*package.glob("*.py"), *(package / "llms").rglob("*.py"), *(package / "llms").rglob("*.json")]
    files += [*(package / "litellm_core_utils").rglob("*.py"), *(package / "secret_managers").rglob("*.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    names = {(slug, name) for slug in catalog.known_slugs() for name in catalog.env_keys(slug)}
    built = {"bespoke", "laya", "qwencloud", "qwen_ai_platform"}  # as f"{slug.upper()}_API_KEY" there
    assert {(slug, name) for slug, name in names if slug not in built and f'"{name}"' not in code} == set()


@pytest.mark.parametrize(
    ("slug", "model", "owner"),
    [
        ("openai", "gpt-4o", "openai"),
        ("openai", "responses/gpt-5.4", "openai"),
        ("azure", "gpt-4o", "azure"),
        ("gemini", "gemini-2.5-pro", "gemini"),
        ("vertex_ai", "gemini-2.5-pro", "vertex_ai-language-models"),
        ("vertex_ai", "claude-sonnet-4-5", "vertex_ai-anthropic_models"),
        ("bedrock", "converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock_converse"),
        ("bedrock", "us-gov-west-1/anthropic.claude-haiku-5-5", "bedrock"),
        ("cohere", "command-r-08-2024", "cohere_chat"),
        ("cohere_chat", "command-r-08-2024", "cohere_chat"),
        ("ollama_chat", "llama3", "ollama"),
        ("text-completion-openai", "gpt-3.5-turbo-instruct", "text-completion-openai"),
        ("amazon_nova", "nova-micro-v1", "amazon_nova"),
        ("perplexity", "sonar", "perplexity"),
    ],
)
def test_model_entry(slug: str, model: str, owner: str) -> None:
    entry = catalog.model_entry(slug, model)
    assert entry is not None
    assert entry["litellm_provider"] == owner


@pytest.mark.parametrize(
    ("slug", "model"),
    [
        ("openai", "gpt-4"[:-1]),
        ("openai", "GPT-4o"),
        ("openai", "gpt-4o "),
        ("openai", "claude-sonnet-4-5"),  # another provider's
        ("groq", "gpt-4o"),
        ("gemini", "claude-sonnet-4-5"),
        ("openai", "sample_spec"),
        ("openai", ""),
        ("no-such-provider", "gpt-4o"),
    ],
)
def test_model_entry_is_never_a_similar_or_foreign_one(slug: str, model: str) -> None:
    assert catalog.model_entry(slug, model) is None


def test_model_entry_cannot_be_changed() -> None:
    entry: Any = catalog.model_entry("openai", "gpt-4o")
    with pytest.raises(TypeError):
        entry["input_cost_per_token"] = 0


def test_every_model_name_is_found_again() -> None:
    names = [(slug, name) for slug in catalog.known_slugs() for name in catalog.model_names(slug)]
    assert len(names) > 3000
    assert [pair for pair in names if catalog.model_entry(*pair) is None] == []


def test_model_names_are_bare_chat_models() -> None:
    names = catalog.model_names("gemini")
    assert "gemini-2.5-pro" in names
    assert names == sorted(names)
    assert not [name for name in names if name.startswith("gemini/") or "*" in name]
    names.clear()
    assert catalog.model_names("gemini")


@pytest.mark.parametrize(
    ("slug", "model", "plain"),
    [
        ("openai", "responses/gpt-5", "gpt-5"),
        ("bedrock", "converse/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("bedrock", "converse_like/x", "x"),
        ("groq", "converse/x", "converse/x"),
        ("groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b"),
    ],
)
def test_strip_route(slug: str, model: str, plain: str) -> None:
    assert catalog.strip_route(slug, model) == plain


def test_suggestions_name_what_is_near_else_what_there_is() -> None:
    assert suggest("antropic", catalog.known_slugs()).startswith("did you mean 'anthropic'")
    assert suggest("Gpt4o", catalog.model_names("openai")).startswith("did you mean 'gpt-4o'")
    assert suggest("gpt-4o", ["GPT-4O"]) == "did you mean 'GPT-4O'?"
    assert suggest("gpt-4o", ["gpt-4a", "gpt-4b"]) == "did you mean 'gpt-4b' or 'gpt-4a'?"
    assert suggest("zzzz", ["gpt-4o", "b"]) == "known are gpt-4o, b"
    assert suggest("zzzz", ["gpt-4o"], "see the docs") == "see the docs"


@pytest.mark.usefixtures("fresh")
def test_64_threads_read_each_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[str] = Counter()
    read = catalog._read

    def counting(name: str) -> str:
        reads[name] += 1
        return read(name)

    monkeypatch.setattr(catalog, "_read", counting)
    with ThreadPoolExecutor(64) as pool:
        entries = list(pool.map(lambda _: catalog.model_entry("openai", "gpt-4o"), range(256)))
        list(pool.map(lambda _: catalog.env_keys("groq"), range(256)))
    assert all(entry == entries[0] for entry in entries)
    assert set(reads.values()) == {1}
    catalog.reset()
    catalog.known_slugs()
    assert reads["types/utils.py"] == 2


def package(monkeypatch: pytest.MonkeyPatch, path: Path | None) -> None:
    spec = None if path is None else SimpleNamespace(submodule_search_locations=[str(path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)


@pytest.mark.usefixtures("fresh")
def test_no_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    package(monkeypatch, None)
    with pytest.raises(ConfigError, match="litellm is not installed"):
        catalog.known_slugs()

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ConfigError, match="litellm is not installed"):
        catalog.litellm_version()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(("text", "said"), [("{", "is not JSON"), ("[]", "expected an object, found list")])
def test_a_broken_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, said: str) -> None:
    package(monkeypatch, tmp_path)
    with pytest.raises(ConfigError, match="cannot read this file"):
        catalog.model_entry("openai", "gpt-4o")
    (tmp_path / "model_prices_and_context_window_backup.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        catalog.model_entry("openai", "gpt-4o")


@pytest.mark.usefixtures("fresh")
def test_the_endpoints_file_is_read_if_the_enum_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "types").mkdir()
    (tmp_path / "types" / "utils.py").write_text("# the enum has moved\n", encoding="utf-8")
    (tmp_path / "provider_endpoints_support_backup.json").write_text('{"providers": {"groq": {}}}', encoding="utf-8")
    (tmp_path / "llms" / "openai_like").mkdir(parents=True)
    providers = tmp_path / "llms" / "openai_like" / "providers.json"
    providers.write_text('{"poe": {"api_key_env": "POE_KEY"}}', encoding="utf-8")
    package(monkeypatch, tmp_path)
    assert catalog.known_slugs() == {"groq", "poe"}
    assert catalog.env_keys("poe") == ("POE_KEY",)
