"""Which keys may go to which address, because a config from someone else names both.

A variable that is known as a service's own is sent to that service and to this machine only. Any other variable is the
user's own, made for the address that the entry names.
"""

import functools
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from .. import catalog
from .._variables import variables_of
from ..cassettes.network import stays
from ..settings import settings
from ._logins import login

__all__ = ["ALLOW_VARIABLE", "refusal"]

ALLOW_VARIABLE = "LLM_TESTER_ALLOW"

# The hosts of services, and with them all below. A host where anyone can run a server of their own is left out.
_AZURE = "openai.azure.com cognitiveservices.azure.com services.ai.azure.com models.ai.azure.com"
_HOSTS: Mapping[str, str] = {
    "anthropic": "anthropic.com",
    "azure": _AZURE,
    "azure_ai": _AZURE,
    "bigmodel": "bigmodel.cn",
    "cerebras": "cerebras.ai",
    "cloudflare": "api.cloudflare.com",
    "codestral": "mistral.ai",
    "cohere": "cohere.com cohere.ai",
    "dashscope": "dashscope.aliyuncs.com dashscope-intl.aliyuncs.com dashscope-us.aliyuncs.com",
    "databricks": "cloud.databricks.com gcp.databricks.com azuredatabricks.net",
    "deepinfra": "deepinfra.com",
    "deepseek": "deepseek.com",
    "fireworks_ai": "fireworks.ai",
    "gemini": "generativelanguage.googleapis.com aiplatform.googleapis.com",
    "github": "models.github.ai models.inference.ai.azure.com",
    "groq": "groq.com",
    "heroku": "inference.heroku.com",
    "huggingface": "huggingface.co",
    "minimax": "minimax.io minimaxi.com",
    "mistral": "mistral.ai",
    "moonshot": "moonshot.ai moonshot.cn",
    "nvidia_nim": "api.nvidia.com",
    "openai": "openai.com",
    "openrouter": "openrouter.ai",
    "perplexity": "perplexity.ai",
    "replicate": "api.replicate.com",
    "sambanova": "sambanova.ai",
    "snowflake": "snowflakecomputing.com",
    "together_ai": "together.ai together.xyz",
    "vertex_ai": "aiplatform.googleapis.com",
    "watsonx": "ml.cloud.ibm.com",
    "xai": "x.ai",
    "zai": "z.ai",
}
# Services that are no providers, and those that are, for their other variables (`OPENAI_ADMIN_KEY`).
_SERVICES = re.compile(
    r"(?:AWS|AZURE|ARM|GOOGLE|GCP|GCLOUD|CLOUDSDK|GITHUB|GH|GITLAB|CI_JOB|BITBUCKET|CIRCLE|ACTIONS|NPM|NODE_AUTH|PYPI|"
    r"TWINE|UV|POETRY|CARGO|DOCKER|KUBE|SSH|GPG|VAULT|STRIPE|SLACK|DISCORD|TWILIO|SENDGRID|SENTRY|DATADOG|CLOUDFLARE|"
    r"DIGITALOCEAN|HEROKU|NETLIFY|VERCEL|SUPABASE|FIREBASE|DATABASE|POSTGRES|MYSQL|REDIS|MONGO|HF|WANDB|OPENAI|"
    r"ANTHROPIC|MISTRAL|GEMINI)_|PG\w*PASS|SSH_AUTH_SOCK$",
    re.IGNORECASE,
)
_HOST = re.compile(r"[a-z0-9.-]+")


def refusal(variables: Iterable[str], params: object, address: str | None) -> str | None:
    """Why a key is not sent to an address.

    Args:
        variables: the variables that may hold the key, or the parts of the login.
        params: the entry's, which may name others.
        address: the `api_base`; None for the provider's own address.

    Returns:
        What is refused and what to do; None if each of them may be sent.
    """
    host = _host_elsewhere(address) if address else None
    if host is None or host in os.environ.get(ALLOW_VARIABLE, "").lower().split():
        return None
    for variable in filter(settings().key, (*variables, *sorted(variables_of(params)))):
        owners = _owners().get(variable.upper(), ())
        if not (owners or _SERVICES.match(variable)) or _belongs(host, owners):
            continue
        return (
            f"the value of {variable} is not sent to {host}, which is not known as an address of its service; name "
            f"another variable in env_key, or, if you trust this address, set {ALLOW_VARIABLE}={host}"
        )
    return None


@functools.lru_cache(maxsize=256)
def _host_elsewhere(address: str) -> str | None:
    """The host of an address; None if it is this machine."""
    try:
        host = (urlsplit(address if "://" in address else f"https://{address}").hostname or address).lower()
    except ValueError:
        host = address
    return None if stays(host, looked_up=False) else host


def _belongs(host: str, owners: Iterable[str]) -> bool:
    known = [name for owner in owners for name in (*_HOSTS.get(owner, "").split(), *catalog.hosts(owner))]
    return bool(_HOST.fullmatch(host)) and any(host == name or host.endswith(f".{name}") for name in known)


@catalog.kept
def _owners() -> Mapping[str, set[str]]:
    """The LiteLLM slugs whose key or login a variable is."""
    found: dict[str, set[str]] = {}
    for slug in catalog.known_slugs():
        needed = login(slug)
        for name in (*catalog.env_keys(slug), *(needed.variables() if needed else ())):
            found.setdefault(name, set()).add(slug)
    return found
