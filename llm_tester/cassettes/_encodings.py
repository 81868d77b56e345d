"""Where a known secret is in a text, in whatever encoding it is written.

A regular expression for all encodings of a secret takes 10 ms a megabyte. So a text is first folded: escapes decoded,
white space removed, letters in lower case. If no piece of a secret's encodings is in that, neither is the secret.
"""

import base64
import binascii
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote, unquote, unquote_to_bytes

from .forks import stored

__all__ = ["KnownSecrets", "reset", "unzipped", "zipped_tokens"]

# From this length on, a secret is also found in other letter case and with white space inside; "secret" is a word.
_LONG = 12
# From this length on, its base64, base32 and hexadecimal digits are also found with line breaks inside.
_WRAPPED = 16
# So much of the beginning of an encoding may look like an escape together with what is before it ("\" and "n…").
_AMBIGUOUS = 8

# White space inside a secret: plain, escaped, percent-encoded, or the zero bytes of UTF-16.
_SPACE = r"(?:\\*+[\s\0]|\\++[nrt]|%(?:25)?(?:20|0[9AaDd]))*+"
# Inside another encoding of a secret, a line break.
_BREAK = r"(?:\s|\\++[nr])*+"
_ESCAPED_ASCII = re.compile(rb"(?<!\\)\\++u00([0-7][0-9a-fA-F])")
_LOWER = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-_", b"abcdefghijklmnopqrstuvwxyz+/")

# The first two bytes of gzip and its method, in base64.
_ZIPPED_BEGINNING = "H4sI"
_ZIPPED = re.compile(r"H4sI(?:[A-Za-z0-9+/_-]|\\+[/nr]|\s|%2[BbFf])*(?:=|%3[Dd])*")
# What a text's compressed parts are unpacked to, in bytes; a longer one is looked at up to here.
_MOST_UNZIPPED = 4_000_000


def _folded(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    if b"\\" in data:
        if b"\\u00" in data:
            data = _ESCAPED_ASCII.sub(lambda match: bytes.fromhex(match[1].decode()), data)
        for space in (rb"\n", rb"\r", rb"\t"):
            # Of the same length, which is twice as fast.
            data = data.replace(space, b"  ")
    if b"%" in data:
        data = unquote_to_bytes(data)
        data = unquote_to_bytes(data) if b"%" in data else data
    return data.translate(_LOWER, b"\\ \t\r\n\f\v\0\x1c\x1d\x1e\x1f")


def _hexadecimal(digits: str) -> str:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits)


def _ways(characters: str) -> Iterator[str]:
    """How a run of backslashes, or one other character, may be written: plain, percent-encoded, or escaped in JSON.

    JSON within JSON doubles backslashes, so up to sixteen count as one; of a secret's own, up to four.
    """
    if characters[0] == "\\":
        length = len(characters)
        yield rf"\\{{{length},{4 * length}}}"
        yield f"(?:%(?:25)?5[cC]){{{length},{2 * length}}}"
        yield rf"(?:\\{{1,4}}u005[cC]){{{length}}}"
        return
    yield re.escape(characters)
    octets = [_hexadecimal(f"{byte:02x}") for byte in characters.encode("utf-8", "surrogatepass")]
    yield "".join(f"%(?:25)?{octet}" for octet in octets)
    units = characters.encode("utf-16-be", "surrogatepass").hex()
    yield "".join(rf"\\\\{{0,15}}u{_hexadecimal(units[at : at + 4])}" for at in range(0, len(units), 4))
    if (short := json.dumps(characters)[1:-1]).startswith("\\") and short[1] != "u":
        yield rf"\\\\{{0,15}}{re.escape(short[1])}"
    if characters == "/":
        yield r"\\\\{0,15}/"
    if characters == " ":
        yield r"\+"


def _written(secret: str, space: str) -> str:
    """A secret in plain, URL-encoded or JSON-escaped form, each character in any of them."""
    runs = re.findall(r"\\+|[^\\]", secret, re.DOTALL)
    return space.join(f"(?:{'|'.join(_ways(run))})" for run in runs)


def _forms(secret: str) -> set[bytes]:
    """The bytes that may be encoded as a whole."""
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {form.encode("utf-8", "surrogatepass") for form in {secret, quote(secret, safe=""), *escaped}}


def _inside(secret: str, encode: Callable[[bytes], bytes], bits: int) -> Iterator[str]:
    """A secret inside a longer encoded text ("user:key"): at each offset, what depends on nothing but the secret.

    Args:
        secret: the secret.
        encode: makes base64 or base32.
        bits: of one of its characters; after so many bytes, at most, the offsets repeat.
    """
    for form in _forms(secret):
        for shift in range(bits):
            encoded = encode(b"\0" * shift + form).decode()
            yield encoded[-(-shift * 8 // bits) : (shift + len(form)) * 8 // bits]


_BASE64_CHARACTERS = {"+": r"(?:[+-]|%2[bB])", "/": r"(?:[/_]|%2[fF]|\\{1,16}/)"}


def _any_of(texts: set[str], space: str) -> str:
    ordered = sorted(texts, key=len, reverse=True)
    return "|".join(space.join(_BASE64_CHARACTERS.get(one, one) for one in text) for text in ordered)


def _is_plain(secret: str) -> bool:
    """Whether nothing in a secret can be mistaken for white space or the escape of something else."""
    return re.fullmatch(r"[!-~]+", secret) is not None and not {"\\", "%"} & set(secret)


class _Encoding:
    """One way to write a secret, with its variants.

    Args:
        forms: the secret as it is written so.
        source: the expression that finds them.
        flags: of the expression.
        is_folded: whether a folded text that has a form has its folded form.

    Attributes:
        pieces: one of these is in every folded text that has the secret so; none if that cannot be said.
    """

    def __init__(self, forms: Iterable[str], source: str, flags: re.RegexFlag, *, is_folded: bool = True) -> None:
        folded = [_folded(form) for form in forms] if is_folded else []
        self.pieces = {form[_AMBIGUOUS:] for form in folded} if folded and min(map(len, folded)) >= _LONG else set()
        self._source, self._flags = source, flags

    @stored
    def pattern(self) -> re.Pattern[str]:
        return re.compile(self._source, self._flags)


@lru_cache(maxsize=512)
def _encodings(secret: str) -> tuple[_Encoding, ...]:
    is_plain, is_long = _is_plain(secret), len(secret) >= _LONG
    # White space or letter case could be mistaken in others.
    cases = {secret, secret.upper(), secret.lower()} if is_long and not is_plain else {secret}
    written = "|".join(_written(case, _SPACE if is_plain and is_long else "") for case in sorted(cases))
    line_break = _BREAK if len(secret) >= _WRAPPED else ""
    in_64 = {*_inside(secret, base64.b64encode, 6)}
    in_32 = {*_inside(secret, base64.b32encode, 5), *(form.hex() for form in _forms(secret))}
    return (
        _Encoding([secret], written, re.IGNORECASE if is_plain and is_long else re.NOFLAG, is_folded=is_plain),
        _Encoding(in_64, _any_of(in_64, line_break), re.NOFLAG),
        _Encoding(in_32, _any_of(in_32, line_break), re.IGNORECASE),
    )


class KnownSecrets:
    """Secrets whose values are known.

    Args:
        secrets: the values.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        ordered = sorted(secrets, key=len, reverse=True)
        self._encodings = [encoding for secret in ordered for encoding in _encodings(secret)]
        self._always = {encoding for encoding in self._encodings if not encoding.pieces}
        self._pieces = [(piece, encoding) for encoding in self._encodings for piece in encoding.pieces]
        self._shortest = min((len(piece) for piece, _ in self._pieces), default=0)

    def patterns(self, text: str) -> list[re.Pattern[str]]:
        """The expressions that may match in a text, those of the longest secrets first."""
        if not self._encodings:
            return []
        found = set(self._always)
        if len(text) >= self._shortest:
            folded = _folded(text)
            found.update([encoding for piece, encoding in self._pieces if piece in folded])
        return [encoding.pattern for encoding in self._encodings if encoding in found] if found else []


def zipped_tokens(text: str) -> Iterator[tuple[str, str]]:
    """Each base64 of gzip in a text, and what it unpacks to."""
    left = _MOST_UNZIPPED
    if _ZIPPED_BEGINNING not in text:
        return
    for token in dict.fromkeys(_ZIPPED.findall(text)):
        letters = re.sub(r"(?<!\\)\\++[nr]|[\\\s=]", "", unquote(token)).translate(str.maketrans("-_", "+/"))
        try:
            data = base64.b64decode(letters[: len(letters) - (len(letters) % 4 == 1)] + "==")
        except binascii.Error:
            continue
        plain = unzipped(data, left)
        left -= len(plain)
        if left <= 0:
            return
        yield token, plain.decode("utf-8", "surrogateescape")


def unzipped(data: bytes, most: int) -> bytes:
    """What gzip data unpacks to, up to a number of bytes and to where it is broken; b"" if it is no gzip data."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data, most)
    except zlib.error:
        return b""


def reset() -> None:
    """Forgets the compiled secrets."""
    _encodings.cache_clear()
