"""A body as a cassette writes it: decoded, readable, without secrets; and its bytes again.

`{"json": …}` decoded JSON, `{"text": …}`, `{"crlf": …}` a text whose lines end in CR LF (most event streams), or
`{"base64": …}` of anything else; None if there is none.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .secrets import Scrubber

__all__ = ["decode", "encode", "encode_reply", "joined", "uncompressed"]

# Deeper nesting and longer keys are no API's; YAML's own limits lie a little above.
_DEEPEST = 60
_LONGEST_KEY = 500


# As YAML, a large value takes thirty times as long to read as it takes as JSON.
_LARGE = 100_000

# Packed bytes to unpack at a time, into 4 MB at most by gzip, and some 30 MB by brotli or two codings.
_GZIP_STEP, _STEP = 4096, 32


def encode_reply(body: bytes, content_type: str, scrubber: Scrubber) -> dict[str, Any] | None:
    """A reply's body as it is written: large JSON as a text, one value a line; else as `encode` says.

    Nothing is matched on replies, so that the text need not be equal for equal values.
    """
    is_large = len(body) > _LARGE and body.lstrip()[:1] in (b"{", b"[")
    lines = _in_lines(body) if is_large else None
    return encode(body, content_type, scrubber) if lines is None else {"text": scrubber.fields(scrubber.text(lines))}


def _in_lines(body: bytes) -> str | None:
    """The text of a JSON value, one item a line; None if it would not give the same value back."""
    import pydantic_core

    try:
        lines = pydantic_core.to_json(pydantic_core.from_json(body), indent=1)
        # With each duplicate key a colon is lost. If one may be written in another way, the keys are looked at.
        if rb"\u003" in body or body.count(b":") != lines.count(b":"):
            json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None
    return None if b"NaN" in lines or b"Infinity" in lines else lines.decode()


def encode(body: bytes, content_type: str, scrubber: Scrubber) -> dict[str, Any] | None:
    """A body as it is written: decoded JSON if that gives the same value back, else text, else base64.

    Args:
        body: its bytes, not compressed.
        content_type: the header of that name; a multipart boundary in it, which is random, is replaced in the body.
        scrubber: takes the secrets out.
    """
    if not body:
        return None
    if boundary := boundary_of(content_type):
        body = body.replace(boundary.encode(), b"boundary")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(scrubber.bytes(body)).decode()}
    if "\0" in text and (clean := scrubber.bytes(body)) != body:
        # UTF-16, which ASCII characters make valid UTF-8.
        text = clean.decode("utf-8", "replace")
    if (value := _json(text)) is not None:
        return {"json": scrubber.body(value)}
    text = scrubber.parameters(text) if "x-www-form-urlencoded" in content_type else scrubber.text(text)
    text = scrubber.fields(text)
    lines = text.split("\r\n")
    if len(lines) > 1 and not any("\n" in line or "\r" in line for line in lines):
        return {"crlf": "\n".join(lines)}
    return {"text": text}


def boundary_of(content_type: str) -> str:
    """The boundary of a multipart body; "" for any other."""
    _, found, rest = content_type.partition("boundary=")
    return rest.split(";")[0].strip().strip('"') if found else ""


def _json(text: str) -> Any:
    """The object or list in a text; None if there is none, or if YAML would change it."""
    import pydantic_core

    try:
        value = json.loads(text, object_pairs_hook=_unique)
        if not isinstance(value, dict | list):
            return None
        # An infinite number, or half of a surrogate pair, which has no UTF-8, raises.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        is_deep = b"\n" + b" " * (_DEEPEST + 1) in pydantic_core.to_json(value, indent=1)
    except (ValueError, RecursionError):
        return None
    return None if is_deep else value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs) or any(len(key) > _LONGEST_KEY for key in found):
        raise ValueError("duplicate or long key")
    return found


def decode(body: Mapping[str, Any] | None) -> bytes:
    """The bytes of a body as it was written.

    Raises:
        ValueError: it is none of the four kinds.
    """
    match body:
        case None:
            return b""
        case {"json": value}:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        case {"text": str(text)}:
            return text.encode()
        case {"crlf": str(text)}:
            return text.replace("\n", "\r\n").encode()
        case {"base64": str(text)}:
            return base64.b64decode(text, validate=True)
    raise ValueError(f"a body is {', '.join(map(str, body)) or 'empty'}; expected json, text, crlf or base64")


def uncompressed(
    body: bytes, encoding: str, goes_on: Callable[[int], bool] = lambda _: True, library: Any = None
) -> bytes | None:
    """A body as it was before its content encoding, as httpx decodes it; None if it cannot.

    Args:
        body: the bytes as they came.
        encoding: the header `content-encoding`.
        goes_on: gets the number of bytes so far; if it says False, or raises, no more are decoded.
        library: httpx2, to decode as that does.
    """
    if library is None:
        import httpx as library
    # httpx decodes each part that it gets as a whole.
    step = _GZIP_STEP if encoding in ("gzip", "deflate") else _STEP
    packed: Iterator[bytes] = (body[start : start + step] for start in range(0, len(body), step))
    try:
        response = library.Response(200, headers={"content-encoding": encoding}, content=packed)
        return joined(response.iter_bytes(), goes_on)
    except library.DecodingError:
        return None


def joined(parts: Iterable[bytes], goes_on: Callable[[int], bool]) -> bytes:
    """The parts of a body as one, up to where `goes_on` says of the number of bytes that no more are wanted."""
    body = bytearray()
    for part in parts:
        body += part
        if not goes_on(len(body)):
            break
    return bytes(body)
