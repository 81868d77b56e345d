"""How many tokens a text is, counted offline: an estimate for a preview, and an upper bound for a budget."""

from __future__ import annotations

import os
import threading
import unicodedata
from typing import TYPE_CHECKING

from . import catalog
from .cassettes.forks import lock_of
from .errors import ConfigError

if TYPE_CHECKING:
    from tiktoken import Encoding

__all__ = ["count_tokens_upper", "estimate_tokens", "rough_tokens"]

# OpenAI's encodings that LiteLLM ships in its package, and the file of each: tiktoken names it by the SHA-1 of the
# address that it would download it from.
_BUNDLED = {
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
    "p50k_base": "ec7223a39ce59f226a68acc30dc1af2788490e15",
}
_FOLDER = "litellm_core_utils/tokenizers"
_CACHE_VARIABLE = "TIKTOKEN_CACHE_DIR"
_ADDED_TOKENS = 512

_lock = lock_of(threading.Lock)


def count_tokens_upper(text: str) -> int:
    """An upper bound on the tokens of a text sent as one prompt, for budgets; needs no tokenizer and no network.

    A token of a byte-level or byte-fallback vocabulary covers at least one byte of UTF-8, also after the NFKC
    normalization that some tokenizers apply first. 512 tokens are added for what a provider puts around the text: role
    marks, a default system prompt, and instructions for tools (346 at Anthropic). Schemas and tools have to be part of
    the text; images, files, and what the provider fetches by itself are not covered.
    """
    if text.isascii():
        return len(text) + _ADDED_TOKENS
    plain, normal = (len(form.encode("utf-8", "surrogatepass")) for form in (text, unicodedata.normalize("NFKC", text)))
    return max(plain, normal) + _ADDED_TOKENS


def estimate_tokens(text: str, model: str | None = None) -> int:
    """About how many tokens a text is, for a preview.

    Args:
        text: the text.
        model: the model's name, with or without a vendor in front.

    Returns:
        The count in the model's own encoding if it is one of OpenAI's that LiteLLM ships; else in `o200k_base`, that
        of OpenAI's models since GPT-4o. Other vendors' tokenizers differ from it, least for English text.

    Raises:
        ConfigError: the encoding's file is not in the installed LiteLLM.
    """
    # Not `encode`, which gives marks such as <|endoftext|> a meaning.
    return len(_encoding(_encoding_name(model)).encode_ordinary(text)) if text else 0


def _encoding_name(model: str | None) -> str:
    from tiktoken.model import encoding_name_for_model

    try:
        name = encoding_name_for_model((model or "").rpartition("/")[2])
    except KeyError:
        name = "o200k_base"
    return name if name in _BUNDLED else "o200k_base"


def _encoding(name: str) -> Encoding:
    import tiktoken

    # tiktoken looks for its files in a folder named by a variable, and downloads those that it does not find there.
    with _lock:
        path = catalog.package_file(f"{_FOLDER}/{_BUNDLED[name]}")
        if not path.is_file():
            raise ConfigError(f"{path}: litellm {catalog.litellm_version()} ships no file of the encoding {name}")
        before = os.environ.get(_CACHE_VARIABLE)
        os.environ[_CACHE_VARIABLE] = str(path.parent)
        try:
            return tiktoken.get_encoding(name)
        finally:
            if before is None:
                del os.environ[_CACHE_VARIABLE]
            else:
                os.environ[_CACHE_VARIABLE] = before


def rough_tokens(text: str) -> int:
    """One token for 4 ASCII characters and one for 3 bytes of any other script.

    It loads nothing, so it serves the mock and what a budget sets aside for each call.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    ascii_characters = sum(character.isascii() for character in text)
    return -(-(3 * ascii_characters + 4 * (size - ascii_characters)) // 12)
