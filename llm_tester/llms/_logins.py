"""The logins of several parts: which variables and fields each of LiteLLM's providers needs together.

A provider with one key is not here; `catalog.env_keys` has its variables. The parts are those that LiteLLM's own code
asks for before it sends anything; tests/llms/test_logins.py checks each against the installed LiteLLM.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["Login", "Part", "any_of", "login", "unsendable"]

Lookup = Callable[[str], str | None]


@dataclass(frozen=True, eq=False)
class Part:
    """One value of a login, which any of several places may hold.

    Args:
        variables: the environment variables, each with the field of the entry that may hold the same (`api_base`, or
            a name in `params`), by which LiteLLM is given it. A variable without a field has to be in the environment.
        fields: further fields of the entry that may hold it.
        files: files of the user's home whose existence is enough.
    """

    variables: Mapping[str, str | None]
    fields: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        fields = dict.fromkeys(name for name in self._all_fields() if name != "api_key")
        return any_of((*self.variables, *(name if name == "api_base" else f"params.{name}" for name in fields)))

    def _all_fields(self) -> tuple[str, ...]:
        return *filter(None, self.variables.values()), *self.fields

    def holder(self, key: Lookup) -> str | None:
        """The variable that holds it; None if none does."""
        return next((name for name, field in self.variables.items() if (key if field else os.environ.get)(name)), None)

    def is_given(self, key: Lookup, written: Collection[str]) -> bool:
        """Whether a variable, a field or a file holds it."""
        if self.holder(key) or any(field in written for field in self._all_fields()):
            return True
        return any(Path(file).expanduser().is_file() for file in self.files)

    def is_key(self) -> bool:
        """Whether it is the API key."""
        return "api_key" in self.variables.values()


@dataclass(frozen=True)
class Login:
    """The login of a provider.

    Args:
        ways: the ways to log in; for each, all of its parts are needed.
        optional: what is taken over if it is set.
        by_itself: whether a machine may be logged in without any of it, such as by a role in its cloud.
    """

    ways: tuple[tuple[Part, ...], ...]
    optional: tuple[Part, ...] = ()
    by_itself: bool = False

    def missing(self, key: Lookup, written: Collection[str]) -> tuple[tuple[Part, ...], ...]:
        """What each way lacks, those with the fewest first; () if one is complete.

        Args:
            key: gives the value of a variable, None if it has none.
            written: the names of the entry's fields that have a value.
        """
        lacks = [tuple(part for part in way if not part.is_given(key, written)) for way in self.ways]
        if not all(lacks):
            return ()
        begun = [lack for lack, way in zip(lacks, self.ways, strict=True) if len(lack) < len(way)]
        return tuple(sorted(begun or lacks, key=len))

    def key_variables(self) -> tuple[str, ...]:
        """The variables that may hold an API key."""
        return tuple(name for way in self.ways for part in way if part.is_key() for name in part.variables)

    def variables(self) -> tuple[str, ...]:
        """All variables that may hold a secret part of it."""
        parts = (part for way in self.ways for part in way if "api_base" not in part.variables.values())
        return tuple(dict.fromkeys(name for part in parts for name in part.variables))

    def holders(self, key: Lookup) -> tuple[str, ...]:
        """The variables that are set."""
        found = (part.holder(key) for way in self.ways for part in way)
        return tuple(dict.fromkeys(name for name in found if name))

    def arguments(self, key: Lookup, written: Collection[str]) -> dict[str, str]:
        """What LiteLLM is given of the first way that is complete.

        It does not read the `.env` file, nor each variable of the environment on every route (`AZURE_AD_TOKEN`).
        """
        complete = (way for way in self.ways if all(part.is_given(key, written) for part in way))
        held = [(part, part.holder(key)) for part in (*next(complete, ()), *self.optional)]
        return {
            field: value for part, name in held if name and (field := part.variables[name]) and (value := key(name))
        }


def any_of(names: tuple[str, ...]) -> str:
    """Names of which one is enough, such as `A (or B, C)`."""
    return f"{names[0]} (or {', '.join(names[1:])})" if names[1:] else names[0]


def login(slug: str, env_key: str | None = None) -> Login | None:
    """The login of a provider.

    Args:
        slug: a LiteLLM provider slug.
        env_key: the variable of the API key, if it is another one; "" says that no login is needed.

    Returns:
        The login; None if it has one part or none.
    """
    found = _LOGINS.get(slug)
    if found is None or env_key is None:
        return found
    ways = tuple(way for way in found.ways if any(part.is_key() for part in way))
    if not env_key or not ways:
        return None
    other = Part({env_key: "api_key"})
    return replace(found, ways=tuple(tuple(other if part.is_key() else part for part in way) for way in ways))


def _part(text: str) -> Part:
    """A part from words: `VARIABLE:field`, `VARIABLE`, a `:field` that no variable has, and a `~/file`."""
    words = text.split()
    files = tuple(word for word in words if word.startswith("~"))
    pairs = [word.partition(":")[::2] for word in words if word not in files]
    variables = {name: field or None for name, field in pairs if name}
    return Part(variables, tuple(field for name, field in pairs if not name), files)


def _ways(*texts: str) -> tuple[tuple[Part, ...], ...]:
    """The ways to log in, each from its parts with a `+` between them."""
    return tuple(tuple(map(_part, text.split("+"))) for text in texts)


# llms/azure/common_utils.py, get_azure_ad_token(); the API's version has a default.
_AZURE = Login(
    _ways(
        "AZURE_API_KEY:api_key AZURE_OPENAI_API_KEY:api_key + AZURE_API_BASE:api_base",
        "AZURE_AD_TOKEN:azure_ad_token + AZURE_API_BASE:api_base",
        "AZURE_TENANT_ID:tenant_id + AZURE_CLIENT_ID:client_id + AZURE_CLIENT_SECRET:client_secret"
        " + AZURE_API_BASE:api_base",
    ),
    optional=(_part("AZURE_API_VERSION:api_version"),),
)

# llms/bedrock/base_aws_llm.py, and behind it boto3, which reads its own variables and files. The region has a default.
_AWS = Login(
    _ways(
        "AWS_ACCESS_KEY_ID:aws_access_key_id + AWS_SECRET_ACCESS_KEY:aws_secret_access_key",
        "AWS_PROFILE:aws_profile_name ~/.aws/credentials ~/.aws/config",
        "AWS_ROLE_ARN + AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ),
    optional=(
        _part("AWS_REGION_NAME:aws_region_name AWS_REGION:aws_region_name AWS_DEFAULT_REGION:aws_region_name"),
        _part("AWS_SESSION_TOKEN:aws_session_token"),
    ),
    by_itself=True,
)
_BEDROCK = replace(_AWS, ways=(*_ways("AWS_BEARER_TOKEN_BEDROCK:api_key"), *_AWS.ways))

# llms/vertex_ai/vertex_llm_base.py, and behind it google-auth. The location has a default.
_VERTEX = Login(
    _ways(
        "VERTEXAI_CREDENTIALS:vertex_credentials GOOGLE_APPLICATION_CREDENTIALS:vertex_credentials"
        " :vertex_ai_credentials ~/.config/gcloud/application_default_credentials.json"
        " + VERTEXAI_PROJECT:vertex_project :vertex_ai_project"
    ),
    optional=(_part("VERTEXAI_LOCATION:vertex_location VERTEX_LOCATION:vertex_location"),),
    by_itself=True,
)

# llms/watsonx/common_utils.py
_WATSONX_PLACE = (
    "+ WATSONX_API_BASE:api_base WATSONX_URL:api_base WX_URL:api_base WML_URL:api_base"
    " + WATSONX_PROJECT_ID:project_id WX_PROJECT_ID:project_id PROJECT_ID:project_id"
    " WATSONX_DEPLOYMENT_SPACE_ID:space_id WATSONX_SPACE_ID:space_id WX_SPACE_ID:space_id SPACE_ID:space_id"
)
_WATSONX = Login(
    _ways(
        f"WATSONX_APIKEY:api_key WATSONX_API_KEY:api_key WX_API_KEY:api_key {_WATSONX_PLACE}",
        f"WATSONX_TOKEN:token {_WATSONX_PLACE}",
        f"WATSONX_ZENAPIKEY:zen_api_key {_WATSONX_PLACE}",
    )
)

# llms/databricks/common_utils.py
_DATABRICKS = Login(
    _ways(
        "DATABRICKS_API_KEY:api_key + DATABRICKS_API_BASE:api_base",
        "DATABRICKS_CLIENT_ID + DATABRICKS_CLIENT_SECRET + DATABRICKS_API_BASE:api_base",
    )
)

# llms/oci/common_utils.py
_OCI = Login(
    _ways(
        "OCI_USER:oci_user + OCI_FINGERPRINT:oci_fingerprint + OCI_TENANCY:oci_tenancy"
        " + OCI_COMPARTMENT_ID:oci_compartment_id + OCI_KEY_FILE:oci_key_file OCI_KEY:oci_key"
    ),
    optional=(_part("OCI_REGION:oci_region"),),
)

_LOGINS: Mapping[str, Login] = {
    "a2a": Login(_ways("A2A_API_BASE:api_base")),
    "azure": _AZURE,
    "azure_ai": Login(_ways("AZURE_AI_API_KEY:api_key + AZURE_AI_API_BASE:api_base")),
    "azure_text": _AZURE,
    "bedrock": _BEDROCK,
    "cloudflare": Login(_ways("CLOUDFLARE_API_KEY:api_key + CLOUDFLARE_ACCOUNT_ID CLOUDFLARE_API_BASE:api_base")),
    "databricks": _DATABRICKS,
    "databricks_agent": _DATABRICKS,
    "gdc": Login(_ways("GDC_API_KEY:api_key + GDC_API_BASE:api_base")),
    "heroku": Login(_ways("HEROKU_API_KEY:api_key + HEROKU_API_BASE:api_base")),
    "oci": _OCI,
    "predibase": Login(_ways("PREDIBASE_API_KEY:api_key + PREDIBASE_TENANT_ID:tenant_id")),
    "sagemaker": _AWS,
    "sagemaker_chat": _AWS,
    "sagemaker_nova": _AWS,
    "snowflake": Login(_ways("SNOWFLAKE_JWT:api_key + SNOWFLAKE_ACCOUNT_ID:account_id :api_base")),
    "vertex_ai": _VERTEX,
    "vertex_ai_beta": _VERTEX,
    "watsonx": _WATSONX,
    "watsonx_text": _WATSONX,
}


_UNSENDABLE = re.compile("[^!-~]")


def unsendable(key: str) -> str | None:
    """Why a key cannot be the value of an HTTP header; None if it can."""
    bad = _UNSENDABLE.search(key)
    return bad and f"its character {bad.start() + 1} of {len(key)} is a space, a line break or not ASCII"
