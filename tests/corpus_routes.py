"""The config entries through which the recorded traffic of ../shared/corpus is replayed: what a user would write.

An entry is for the corpus' provider that its name starts with, up to a `.`. Most need nothing but their models; where
one has an address or another provider's type, the comment says why.
"""

from typing import Any

__all__ = ["OTHER_MODELS", "PROVIDERS", "route_of"]

Entry = dict[str, Any]

_BEDROCK = {"aws_region_name": "us-east-1"}
_OLLAMA = {"provider_type": "ollama_chat", "api_base": "http://127.0.0.1:11434"}
_VERTEX = "aiplatform.googleapis.com"

PROVIDERS: dict[str, Entry] = {
    "anthropic": {
        "models": [
            "claude-3-5-sonnet-20240620",
            "claude-3-7-sonnet-20250219",
            "claude-opus-4-6",
            "claude-opus-5",
            "claude-sonnet-4-0",
            "claude-sonnet-4-5",
            "claude-sonnet-4-5-20250929",
            "claude-sonnet-4-6",
            "claude-sonnet-5",
        ],
    },
    "azure": {
        "api_base": "https://traceloop-stg.openai.azure.com",
        "params": {"api_version": "2024-02-01"},
        "models": ["gpt-5-nano", "openllmetry-testing"],
    },
    # Azure's v1 address speaks OpenAI's format.
    "azure.responses": {
        "provider_type": "openai",
        "api_base": "https://pydantic-ai-realtime-dev.openai.azure.com/openai/v1",
        "models": ["responses/gpt-5.4"],
    },
    "bedrock": {
        "params": _BEDROCK,
        "models": [
            "converse/amazon.titan-text-lite-v1",
            "converse/does-not-exist",
            "converse/minimax.minimax-m2",
            "converse/qwen.qwen3-32b-v1:0",
            "converse/us.amazon.nova-pro-v1:0",
            "converse/us.anthropic.claude-3-7-sonnet-20250219-v1:0",
            "converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "converse/us.meta.llama4-maverick-17b-instruct-v1:0",
        ],
    },
    # The model's name tells LiteLLM the format of the body, `model_id` what stands in the URL.
    "bedrock.claude-2": {
        "provider_type": "bedrock",
        "params": {**_BEDROCK, "model_id": "anthropic.claude-v2"},
        "models": ["invoke/anthropic.claude-3-haiku-20240307-v1:0"],
    },
    "bedrock.claude-3-5": {
        "provider_type": "bedrock",
        "params": {**_BEDROCK, "model_id": "us.anthropic.claude-3-5-sonnet-20240620-v1:0"},
        "models": ["invoke/us.anthropic.claude-3-5-sonnet-20240620-v1:0"],
    },
    "bedrock.unknown": {
        "provider_type": "bedrock",
        "params": {**_BEDROCK, "model_id": "does-not-exist"},
        "models": ["invoke/anthropic.claude-3-haiku-20240307-v1:0"],
    },
    "bedrock_mantle": {"models": ["openai.gpt-oss-safeguard-20b"]},
    "cerebras": {"models": ["gpt-oss-120b", "llama3.3-70b", "zai-glm-4.7"]},
    "cohere": {"models": ["command", "command-r-08-2024", "command-r7b-12-2024"]},
    # LiteLLM has no provider of that name.
    "crusoe": {
        "provider_type": "openai",
        "api_base": "https://api.inference.crusoecloud.com/v1",
        "models": ["zai/GLM-5.2"],
    },
    # LiteLLM's own address is the beta one.
    "deepseek": {"api_base": "https://api.deepseek.com", "models": ["deepseek-reasoner"]},
    "deepseek.responses": {
        "provider_type": "openai",
        "api_base": "https://api.deepseek.com",
        "models": ["responses/deepseek-v4-flash"],
    },
    "gemini": {"models": ["gemini-1.5-flash", "gemini-2.0-flash", "gemini-2.5-flash", "gemini-2.5-pro"]},
    # From Gemini 3 on LiteLLM asks v1alpha.
    "gemini.v1beta": {
        "provider_type": "gemini",
        "api_base": "https://generativelanguage.googleapis.com/v1beta",
        "models": ["gemini-3-flash-preview"],
    },
    "groq": {
        "models": [
            "llama-3.3-70b-versatile",
            "llama-3.3-70b-versatlie",
            "non-existent",
            "openai/gpt-oss-120b",
            "qwen/qwen3-32b",
        ],
    },
    # LiteLLM's own route first asks huggingface.co where a model is served.
    "huggingface.nebius": {
        "provider_type": "openai",
        "api_base": "https://router.huggingface.co/nebius/v1",
        "models": ["Qwen/Qwen2.5-VL-72B-Instruct"],
    },
    "huggingface.together": {
        "provider_type": "openai",
        "api_base": "https://router.huggingface.co/together/v1",
        "models": ["None", "deepseek-ai/DeepSeek-R1"],
    },
    "mistral": {"models": ["magistral-medium-latest", "mistral-medium-latest", "mistral-small-latest", "mistral-tiny"]},
    "ollama": {**_OLLAMA, "models": ["llama3"]},
    # About a model that it does not know LiteLLM first asks the Ollama at localhost, with requests that nobody
    # recorded; so the call goes by a model that it knows, and the body names the one that is meant.
    "ollama.qwen": {**_OLLAMA, "params": {"extra_body": {"model": "qwen3.6:latest"}}, "models": ["llama3"]},
    "ollama.unknown": {
        **_OLLAMA,
        "params": {"extra_body": {"model": "nonexistent-model:latest"}},
        "models": ["llama3"],
    },
    # Ollama's cloud speaks OpenAI's format.
    "ollama.cloud": {"provider_type": "openai", "api_base": "https://ollama.com/v1", "models": ["gpt-oss:20b"]},
    "openai": {
        "models": [
            "gpt-3.5-turbo",
            "gpt-3.5-turbo-0613",
            "gpt-4o",
            "gpt-4o-mini",
            "gpt-4o-search-preview",
            "gpt-5-mini",
            "gpt-5-nano",
            "responses/gpt-4o",
            "responses/gpt-5",
            "responses/gpt-5.4",
            "responses/gpt-5.4-mini",
            "responses/gpt-5.5",
            "responses/gpt-5.6-sol",
        ],
    },
    "openrouter": {
        "models": [
            "anthropic/claude-sonnet-4.5",
            "anthropic/claude-sonnet-4.6",
            "google/gemini-2.0-flash-exp:free",
            "google/gemini-3.6-flash",
            "mistralai/mistral-small",
            "openai/gpt-5-mini",
            "z-ai/glm-4.6",
        ],
    },
    # LiteLLM 1.108's own route cannot read this reply's annotations; its Databricks route does not look at them.
    "openrouter.databricks": {
        "provider_type": "databricks",
        "api_base": "https://openrouter.ai/api/v1",
        "models": ["openai/gpt-5.1-codex-mini"],
    },
    # LiteLLM's own route sends Claude to an address in Anthropic's format, and needs the account's address.
    "snowflake.claude": {
        "provider_type": "openai",
        "api_base": "https://myorg-myaccount.snowflakecomputing.com/api/v2/cortex/v1",
        "models": ["claude-sonnet-4-6"],
    },
    "snowflake": {
        "api_base": "https://myorg-myaccount.snowflakecomputing.com/api/v2",
        "models": ["openai-gpt-4.1"],
    },
    # LiteLLM's own route fetches an access token first; its gemini route takes a key and any address.
    "vertex.us-central1": {
        "provider_type": "gemini",
        "api_base": f"https://us-central1-{_VERTEX}/v1/projects/fake-project/locations/us-central1/publishers/google",
        "models": ["gemini-2.5-pro"],
    },
    "vertex.europe-west4": {
        "provider_type": "gemini",
        "api_base": f"https://europe-west4-{_VERTEX}/v1beta1/projects/gen-lang-client-0498264908/locations/europe-west4"
        "/publishers/google",
        "models": ["gemini-2.5-flash"],
    },
    "vertex.global": {
        "provider_type": "gemini",
        "api_base": f"https://{_VERTEX}/v1beta1/projects/pydantic-ai/locations/global/publishers/google",
        "models": ["gemini-2.0-flash"],
    },
    "vertex.global-2": {
        "provider_type": "gemini",
        "api_base": f"https://{_VERTEX}/v1beta1/projects/gen-lang-client-0498264908/locations/global/publishers/google",
        "models": ["gemini-3-flash-preview"],
    },
    "zai": {"models": ["glm-4.6v", "glm-4.7", "glm-5.2"]},
}

# Where the model in the corpus' index is not the model in the entry: (provider, model there) -> (entry, model here).
OTHER_MODELS: dict[tuple[str, str], tuple[str, str]] = {
    ("bedrock", "invoke/anthropic.claude-v2"): ("bedrock.claude-2", "invoke/anthropic.claude-3-haiku-20240307-v1:0"),
    ("bedrock", "invoke/does-not-exist"): ("bedrock.unknown", "invoke/anthropic.claude-3-haiku-20240307-v1:0"),
    ("ollama", "nonexistent-model:latest"): ("ollama.unknown", "llama3"),
    ("ollama", "qwen3.6:latest"): ("ollama.qwen", "llama3"),
}


def route_of(provider: str, model: str) -> tuple[str, str]:
    """The entry's name and the model in it, for a provider and a model of the corpus' index."""
    if route := OTHER_MODELS.get((provider, model)):
        return route
    of_provider = (name for name in PROVIDERS if name.partition(".")[0] == provider)
    return next(name for name in of_provider if model in PROVIDERS[name]["models"]), model
