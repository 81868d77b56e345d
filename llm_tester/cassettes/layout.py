"""How JSON values are laid out as YAML, so that a prompt reads as a text and a diff of it goes by lines.

PyYAML's emitters read the same way, but put a text with a trailing space, a tab or, in C, an emoji on one escaped line.
"""

import functools
import json
import re
from typing import Any

__all__ = ["written"]

# A text that YAML reads as itself without quotes: no indicator at its start, no ": ", no " #", no line end.
_PLAIN = re.compile(
    r"[A-Za-z_/](?:[^\x00-\x1f\x7f-\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff:#]|:(?=\S)|(?<=\S)#)*"
)
_NESTED = (dict, list)
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
# What YAML takes for a line end, does not allow, or would lose.
_ESCAPED = re.compile(r"[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")
_NOT_IN_BLOCK = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")

_ASCII_IN_BLOCK = bytes([*b"\t\n", *range(0x20, 0x7F)])


def written(value: dict[str, Any] | list[Any]) -> str:
    """The YAML of a JSON object or list, in block style, keys in their order."""
    lines: list[str] = []
    _add(lines, value, "")
    return "\n".join([*lines, ""])


def _add(lines: list[str], value: dict[str, Any] | list[Any], indent: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            # A list has the indent of its key.
            _add_item(lines, f"{indent}{_key(str(key))}:", item, indent if isinstance(item, list) else f"{indent}  ")
        return
    for item in value:
        if isinstance(item, _NESTED) and item:
            first = len(lines)
            _add(lines, item, f"{indent}  ")
            lines[first] = f"{indent}- {lines[first][len(indent) + 2 :]}"
        else:
            _add_item(lines, f"{indent}-", item, f"{indent}  ")


def _add_item(lines: list[str], head: str, value: Any, indent: str) -> None:
    if isinstance(value, _NESTED) and value:
        lines.append(head)
        _add(lines, value, indent)
    elif isinstance(value, str) and "\n" in value.strip("\n") and value[0] != "\t" and _fits_block(value):
        lines += (f"{head} {_block_header(value)}", _indented(value, indent))
    else:
        lines.append(f"{head} {_scalar(value)}")


def _fits_block(text: str) -> bool:
    if text.isascii():
        return not text.encode().translate(None, _ASCII_IN_BLOCK)
    # The first is many times as fast, and true of most texts.
    return text.replace("\n", "").isprintable() or not _NOT_IN_BLOCK.search(text)


def _indented(text: str, indent: str) -> str:
    """The lines of a text with an indent, but for those that are empty."""
    body = text.removesuffix("\n")
    if text[0] == "\n" or "\n\n" in text:
        return "\n".join(f"{indent}{line}" if line else "" for line in body.split("\n"))
    return indent + body.replace("\n", f"\n{indent}")


def _block_header(text: str) -> str:
    # If the text starts with a space or an empty line, YAML cannot guess its indent.
    indent = "2" if text[0] in " \n" else ""
    return f"|{indent}{'' if text[-1] != chr(10) else '+' if text[-2] == chr(10) else ''}" + (
        "-" if text[-1] != "\n" else ""
    )


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    text = json.dumps(value)
    # YAML 1.1 takes 1e16 for a text.
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT and not text.endswith((" ", ":")):
        return text
    quoted = json.encoder.encode_basestring(text)
    if quoted[1:-1] == text and "'" not in text and not _ESCAPED.search(text):
        return f"'{text}'"
    return _ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", quoted)


# Few keys make up most of all requests and replies.
_key = functools.lru_cache(maxsize=1024)(_text)
