"""Reads cassettes; of a file that was read before, only what is new in it is parsed.

Plain vcrpy cassettes (`version: 1`, bodies as strings) are read as well; recording into one writes it in our format.
"""

import functools
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml
from yaml.constructor import ConstructorError

from ..errors import CassetteError
from . import _recent, bodies
from .importing import collector_at_rest
from .secrets import Scrubber
from .storage import END, FORMAT, KEPT_HEADERS, Interaction

__all__ = ["File", "SafeLoader", "load"]

MOST_DEEP = 1000

log = logging.getLogger("llm_tester")


class File(NamedTuple):
    """What a cassette's file holds.

    Attributes:
        interactions: its interactions.
        metadata: what it says of them.
        head: what is above its first interaction, if an interaction can be appended to it; else None.
    """

    interactions: list[Interaction]
    metadata: dict[str, Any]
    head: str | None


def load(path: Path) -> File:
    """Reads a cassette.

    Args:
        path: the file.

    Returns:
        What it holds; nothing if there is no file. An interaction whose writing was cut off is left out, with a
        warning.

    Raises:
        CassetteError: it cannot be read or decoded, or has a format this version does not know. It stays as it is.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return File([], {}, None)
    except OSError as error:
        raise CassetteError(f"{path}: cannot be read ({error.strerror})") from error
    unix = data.replace(b"\r\n", b"\n")
    whole = _without_part(path, unix)
    try:
        text = whole.decode()
    except UnicodeDecodeError as error:
        raise CassetteError(f"{path}: is not UTF-8 text ({error}); the file was left as it is") from error
    with collector_at_rest():
        if (parts := _ours(text)) is None:
            found, metadata = _parsed(path, text)
            return File(_in_place(path, found), metadata, None)
        head, texts = parts
        found, metadata = _of_ours(path, text, head, texts)
        items = _in_place(path, found)
        is_marked = text.endswith(END) and all(one.endswith(_MARK) for one in texts)
        return File(items, metadata, head if is_marked and whole == data and len(items) == len(found) else None)


def _in_place(path: Path, found: list[Interaction]) -> list[Interaction]:
    """The interactions of a file, of which a killed process may not have put all in their places."""
    items: list[Interaction] = []
    for interaction in found:
        number = len(items) if interaction.replaces is None else interaction.replaces
        if not 0 <= number <= len(items):
            raise CassetteError(f"{path}: an interaction replaces number {number}, which is missing; record it again")
        items[number : number + 1] = [interaction]
    return items


_MARK = f"\n{END}".removesuffix("\n")


def _without_part(path: Path, data: bytes) -> bytes:
    """A file without an interaction at its end that was not written to its last line."""
    found = data.rfind(f"\n{END}".encode())
    end = found + len(END) + 1
    if found < 0 or not data[end:].strip() or data.endswith(_MARK.encode()):
        return data
    log.warning(
        "%s, line %d: the writing of the last interaction was cut off, so it is left out; the others are whole. "
        "Recording writes the file without it; if you added it by hand, add the line %r below it",
        path,
        data.count(b"\n", 0, end) + 1,
        END.strip(),
    )
    return data[:end]


# What is no line of an interaction as we write it.
_OTHER_LINE = re.compile(r"\n(?!- |  |# end\n|# end\Z|\n|\Z)")
_HEAD = re.compile(r"format: .*\nmetadata:.*\n(?:  .*\n)*interactions:\n")


def _ours(text: str) -> tuple[str, list[str]] | None:
    """The head of a file and the text of each interaction; None if it is not laid out as we lay it out."""
    head = _HEAD.match(text)
    if head is None or not text.startswith("- ", head.end()) or _OTHER_LINE.search(text, head.end()):
        return None
    first, *others = text[head.end() :].removesuffix("\n").split("\n- ")
    return head.group(), [first, *(f"- {other}" for other in others)]


def _of_ours(path: Path, text: str, head: str, texts: list[str]) -> tuple[list[Interaction], dict[str, Any]]:
    """The interactions and the metadata of a file in our layout; only those that are new in it are parsed."""
    known = _recent.known(path)
    new = [one for one in dict.fromkeys(texts) if one not in known]
    items = "\n".join(new)
    try:
        found, metadata = _parsed(path, f"{head}{items}\n" if new else head.removesuffix("\n") + " []\n")
    except CassetteError:
        # The whole file gives the right line.
        return _parsed(path, text)
    if len(found) != len(new):
        return _parsed(path, text)
    for one, interaction in zip(new, found, strict=True):
        # What was written to its last line was written by us, and is written again as it is.
        is_ours = one.endswith(_MARK) and interaction.replaces is None
        interaction.text = one.removesuffix(END.strip()) if is_ours else None
    read = {**known, **dict(zip(new, found, strict=True))}
    kept = _recent.keep(path, ((one, read[one]) for one in texts))
    return [kept[one].copy() for one in texts], metadata


_STR, _MAP, _SEQ = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))


class SafeLoader(yaml.CSafeLoader):
    """Reads scalars as text: a date without quotes stays the text that a body had."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own way of saying it)
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":merge", ":value"))]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str | bytes) -> None:
        super().__init__(text)
        # libyaml's composer is recursive, so deep input would crash the interpreter. It calls these at each node, which
        # happens so often that a counter would take a noticeable time: an empty list says that the depth is used up.
        left = [None] * MOST_DEEP
        take = left.pop
        vars(self).update(
            descend_resolver=lambda parent, index: take(), ascend_resolver=functools.partial(left.append, None)
        )

    def get_single_node(self) -> yaml.Node | None:
        """The document's node.

        Raises:
            yaml.YAMLError: it is not YAML, or is nested too deeply.
        """
        try:
            return super().get_single_node()
        except IndexError as error:
            raise yaml.YAMLError(f"nested deeper than {MOST_DEEP} levels") from error

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A node's value; that of text, objects and lists three times as fast as by PyYAML's own constructors."""
        if node.tag == _STR and isinstance(node, yaml.ScalarNode):
            return node.value
        # An alias is the same node again.
        if node in self.constructed_objects:
            return self.constructed_objects[node]
        if node.tag == _MAP and isinstance(node, yaml.MappingNode):
            values = self.constructed_objects[node] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise ConstructorError(None, None, "found unhashable key", key.start_mark)
                values[self.construct_object(key)] = self.construct_object(value)
            return values
        if node.tag == _SEQ and isinstance(node, yaml.SequenceNode):
            items = self.constructed_objects[node] = []
            items += map(self.construct_object, node.value)
            return items
        return super().construct_object(node, deep=True)


def _parsed(path: Path, text: str) -> tuple[list[Interaction], dict[str, Any]]:
    try:
        data = yaml.load(text, Loader=SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise CassetteError(
            f"{path}{line}: not YAML ({getattr(error, 'problem', None) or error}); restore the file, or delete it and "
            "record again"
        ) from error
    if isinstance(data, list):
        raise CassetteError(f"{path}: was written by vcrpy before 1.0; delete it and record again")
    if not isinstance(data, dict) or not isinstance(data.get("interactions"), list):
        raise CassetteError(f"{path}: holds no list of interactions; restore the file, or delete it and record again")
    _check_format(path, data)
    if "&" in text and "*" in text and not _fits(data, len(text)):
        raise CassetteError(f"{path}: its YAML aliases unfold to more than the file holds; delete it and record again")
    try:
        return [_read(item) for item in data["interactions"]], dict(data.get("metadata") or {})
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise CassetteError(
            f"{path}: an interaction is not whole ({what}); restore the file, or delete it and record again"
        ) from error


def _check_format(path: Path, data: Mapping[str, Any]) -> None:
    if "format" in data and data["format"] != FORMAT:
        raise CassetteError(
            f"{path}: has format {data['format']!r}, this llm_tester reads format {FORMAT}: upgrade llm_tester"
        )
    if "format" not in data and data.get("version") != 1:
        raise CassetteError(
            f"{path}: has vcrpy's format {data.get('version')!r}, expected 1; delete it and record again"
        )


def _fits(data: Any, limit: int) -> bool:
    """Whether a tree has at most so many nodes; without aliases each takes at least a character of the file."""
    waiting = [data]
    while waiting and limit > 0:
        node = waiting.pop()
        limit -= 1
        if isinstance(node, dict | list):
            waiting += node.values() if isinstance(node, dict) else node
    return not waiting


def _read(item: Mapping[str, Any]) -> Interaction:
    request, response = dict(item["request"]), dict(item["response"])
    request["headers"], response["headers"] = _lists(request.get("headers")), _lists(response.get("headers"))
    request["method"], request["uri"] = str(request["method"]), str(request["uri"])
    _ = urlsplit(request["uri"]).port  # raises if it is no address
    request.setdefault("body", None)
    response.setdefault("body", None)
    if isinstance(status := response["status"], dict):
        # vcrpy's way of writing it: bodies as they came over the wire, and every header.
        response["status"] = status["code"]
        request["body"] = _from_vcrpy(request["body"], request["headers"])
        response["body"] = _from_vcrpy((response["body"] or {}).get("string"), response["headers"])
    if not isinstance(response["status"], int):
        raise ValueError(f"the status is {response['status']!r}")
    bodies.decode(request["body"])
    bodies.decode(response["body"])
    replaces = int(item["replaces"]) if "replaces" in item else None
    return Interaction(request, response, dict(item.get("recorded") or {}), replaces=replaces)


def _lists(headers: Mapping[str, Any] | None) -> dict[str, list[str]]:
    return {
        str(name).lower(): [str(value) for value in (values if isinstance(values, list) else [values])]
        for name, values in (headers or {}).items()
        if str(name).lower() in KEPT_HEADERS
    }


def _from_vcrpy(body: str | bytes | None, headers: dict[str, list[str]]) -> dict[str, Any] | None:
    raw = body.encode() if isinstance(body, str) else body or b""
    # Some of vcrpy's stubs keep the header of a body that they have decoded already.
    plain = bodies.uncompressed(raw, ", ".join(headers["content-encoding"])) if "content-encoding" in headers else None
    headers.pop("content-encoding", None)
    kind = headers.get("content-type", [""])[0]
    return bodies.encode(raw if plain is None else plain, kind, Scrubber())
