"""Keeps what a replay was turned into, next to its cassette, so that the next replay needs no LiteLLM.

`<model>.kept.json` holds the replies and their usage with a fingerprint of everything that made them: the cassette,
the request, the provider's entry, its price, and the versions of the libraries. If any of it differs, the file does
not count: the recording is replayed through the wire, and what comes out is kept instead.
"""

import functools
import hashlib
import importlib.metadata
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from .. import catalog
from ..cassettes.context import current, injected_faults
from ..errors import ResultsError
from ..llms._schema import schema_text
from ..llms.base import BaseLLM
from ..settings import settings
from ..usage import UsageData
from ..utils.files import write_own
from .cases import Case
from .results import Record

__all__ = ["KEPT_SUFFIX", "Kept", "KeptReply", "fingerprint", "is_keepable", "kept_path", "load_kept", "save_kept"]

log = logging.getLogger("llm_tester")

KEPT_SUFFIX = ".kept.json"
_KIND: Literal["llm_tester kept replies"] = "llm_tester kept replies"
_FORMAT: Literal[1] = 1

# What is below each backend: its library, and the SDKs that make its requests.
_LIBRARIES = {"litellm": ("litellm", "openai"), "pydantic_ai": ("pydantic-ai-slim", "genai-prices")}
# PydanticAI's SDK by the first word of the model's name; the others use OpenAI's.
_SDKS = {
    "anthropic": "anthropic",
    "bedrock": "boto3",
    "cohere": "cohere",
    "google": "google-genai",
    "groq": "groq",
    "huggingface": "huggingface-hub",
    "mistral": "mistralai",
}
# Not settings of the SDKs: a key, which is no part of a replayed request, and what the LiteLLM backend sets itself.
_NOT_SETTINGS = (
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "CREDENTIALS",
    "LOCAL_MODEL_COST_MAP",
    "LOCAL_ANTHROPIC_BETA_HEADERS",
)
_PREFIXES = {"gemini": ("GEMINI_", "GOOGLE_"), "vertex": ("VERTEX", "GOOGLE_"), "bedrock": ("AWS_",)}


class KeptReply(Record):
    """One reply of a replay.

    Attributes:
        text: the reply's text.
        usage: what it used and cost.
        schema_mode: how the class was sent.
    """

    text: str
    usage: UsageData
    schema_mode: Literal["native", "prompt", "off"]


class Kept(Record):
    """The file next to a cassette.

    Attributes:
        kind: marks the file as one of llm_tester.
        format: the version of the file format.
        fingerprint: of everything that made the replies.
        oldest: when the oldest interaction of the cassette was recorded, ISO 8601; None if it does not say.
        replies: one for each repeat, in order.
        checksum: of the rest of the file, against edits.
    """

    kind: Literal["llm_tester kept replies"] = _KIND
    format: Literal[1] = _FORMAT
    fingerprint: str
    oldest: datetime | None = None
    replies: tuple[KeptReply, ...]
    checksum: str = ""

    @property
    def age_days(self) -> float | None:
        """Days since the oldest interaction was recorded; None if that is unknown."""
        return (datetime.now(UTC) - self.oldest).total_seconds() / 86400 if self.oldest else None

    def checked(self) -> str:
        """The checksum that the file must have."""
        return _digest(self.model_dump_json(exclude={"checksum"}))


def kept_path(cassette: Path) -> Path:
    """The file with what a cassette's replay was turned into."""
    return cassette.with_suffix(KEPT_SUFFIX)


def is_keepable(provider: BaseLLM) -> bool:
    """Whether replies of a provider may be kept.

    Only those of this package's own classes may: what a user's class makes of a reply is in no fingerprint. Inside an
    open cassette or with an injected fault the wire is what is tested.
    """
    if provider.config.fallback:
        # A recording may be another provider's, of which the fingerprint says nothing.
        return False
    own = all(base.__module__.partition(".")[0] in ("llm_tester", "abc", "builtins") for base in type(provider).__mro__)
    return own and provider.uses_http and current() is None and not injected_faults()


def fingerprint(provider: BaseLLM, model: str, case: Case, cassette: Path) -> str | None:
    """A digest of everything that makes the replies of a cassette.

    Args:
        provider: the provider.
        model: the name of the model.
        case: what is sent besides the entry, and the class to extract into.
        cassette: the recording.

    Returns:
        The digest; None if there is no recording.

    Raises:
        UnknownModelError: no one knows the model.
        CaseError: a file or the class cannot be read.

    How the class is sent follows from the entry, the model, the class and the versions; to ask for it would import
    the libraries.
    """
    try:
        recording = cassette.read_bytes()
    except OSError:
        return None
    config, name = settings().config, provider.resolve(model).name
    environment = tuple(sorted(_environment(provider.config.provider_type, name)))
    made_from = {
        **_of_model(provider, name, environment, config.price_source),
        "format": _FORMAT,
        "texts": [case.prompt, case.source],
        "files": [[file.path.name, file.media_type, _digest(file.data())] for file in case.attachments()],
        "schema": schema_text(case.model_class()),
        "ignore": list(config.ignore),
        "recording": _digest(recording),
    }
    return _digest(json.dumps(made_from, sort_keys=True, default=_plain))


@catalog.kept
def _of_model(
    provider: BaseLLM, model: str, environment: tuple[tuple[str, str], ...], price_source: str
) -> dict[str, Any]:
    """What makes the replies of a model, whatever it is asked; the same for all its cases."""
    config, kind, known = provider.config, type(provider).__mro__[1], provider.get_model_config(model)
    return {
        "versions": _versions(config.provider_type, model),
        "environment": environment,
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "entry": config.model_dump(mode="json", exclude={"fallback"}),
        "model": known and known.model_dump(mode="json"),
        "price": asdict(provider.price(model)) | {"source": price_source},
    }


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def _digest(data: str | bytes) -> str:
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return hashlib.sha256(data).hexdigest()


def _versions(provider_type: str, model: str) -> dict[str, str | None]:
    names: tuple[str, ...] = _LIBRARIES.get(provider_type, _LIBRARIES["litellm"])
    if provider_type == "pydantic_ai":
        names = (*names, _SDKS.get(model.partition(":")[0].partition("-")[0], "openai"))
    return {name: _version(name) for name in ("llm_tester", *names)}


@functools.cache
def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _environment(provider_type: str, model: str) -> Iterator[tuple[str, str]]:
    """The variables that may change a route's requests, each with its value."""
    route = (model if provider_type == "pydantic_ai" else provider_type).partition(":")[0].partition("-")[0]
    first = route.partition("_")[0]
    prefixes = ("OPENAI_", "LITELLM_", *_PREFIXES.get(first, (f"{first.upper()}_",)))
    for name in os.environ:
        if name.startswith(prefixes) and not name.endswith(_NOT_SETTINGS):
            yield name, os.environ.get(name, "")


def load_kept(cassette: Path, wanted: str) -> Kept | None:
    """What is kept of a cassette under a fingerprint.

    Args:
        cassette: the recording.
        wanted: the fingerprint of what would be replayed now.

    Returns:
        The file's content; None if there is none, if it was made from something else, or if it was edited.
    """
    try:
        kept = Kept.model_validate_json(kept_path(cassette).read_bytes())
    except (OSError, ValidationError):
        return None
    return kept if kept.fingerprint == wanted and kept.checksum == kept.checked() else None


def save_kept(cassette: Path, kept: Kept) -> None:
    """Writes the file next to a cassette. A failure is only logged: a replay that is not kept is none the worse."""
    whole = kept.model_copy(update={"checksum": kept.checked()})
    try:
        write_own(kept_path(cassette), whole.model_dump_json(indent=1) + "\n", _KIND)
    except ResultsError as error:
        log.warning("the next replay goes through the wire again: %s", error)
