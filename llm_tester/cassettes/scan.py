"""Looks at cassettes that exist: keys in them, and files that nothing uses."""

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from .reading import SafeLoader
from .secrets import MODEL_OUTPUT, Scrubber, default_scrubber, is_secret_field

__all__ = ["Find", "cassette_files", "scan", "unused_files"]

_SECRET_HEADERS = re.compile(
    r"(?:proxy-)?authorization|(?:set-)?cookie|(?:x-)?(?:api|auth|goog-api|functions)-(?:key|token)|"
    r"x-amz-security-token",
    re.IGNORECASE,
)
# What redaction leaves in place of a value.
_TAKEN_OUT = re.compile(r"|\W*(?:(?:Bearer|Basic) )?\W*(?:redacted|removed|filtered|masked|dummy|x+|\*+)\W*", re.I)


@dataclass(frozen=True, order=True)
class Find:
    """Something in a file that should not be there.

    Attributes:
        path: the file.
        line: the line, from 1; for what is encoded, the line where its value begins.
        what: what it is, with at most a few characters of it.
    """

    path: Path
    line: int
    what: str


def cassette_files(root: Path) -> list[Path]:
    """The cassettes under a directory, or the one that a path names, sorted."""
    return _files(root, "*.yaml", "*.yml")


def _files(root: Path, *kinds: str) -> list[Path]:
    return sorted(path for kind in kinds for path in root.rglob(kind)) if root.is_dir() else [root]


def scan(paths: Iterable[str | Path], scrubber: Scrubber | None = None) -> list[Find]:
    """Looks for keys in files: in their text, and in what it decodes to.

    Args:
        paths: files, and directories of them.
        scrubber: knows the keys; by default the environment's. The shapes of keys are always looked for.

    Returns:
        What was found, by file and line. A file that cannot be decoded is a find, too.
    """
    known = scrubber or default_scrubber()
    # What replays were turned into is kept as JSON next to the cassettes, which YAML reads too.
    files = {file for path in paths for file in _files(Path(path), "*.yaml", "*.yml", "*.kept.json")}
    return sorted({find for file in files for find in _scan(file, known)})


def _scan(path: Path, scrubber: Scrubber) -> Iterator[Find]:
    try:
        data = path.read_bytes()
    except OSError as error:
        yield Find(path, 1, f"cannot be read: {error.strerror}")
        return
    found: set[int] = set()
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        for what in scrubber.find(line):
            found.add(number)
            yield Find(path, number, what)
    try:
        node = yaml.compose(data.decode(), Loader=SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        yield Find(path, place.line + 1 if place else 1, "cannot be decoded, so it cannot be checked")
        return
    for name, scalar in _scalars(node):
        first, last = scalar.start_mark.line + 1, scalar.end_mark.line + 1
        if found.isdisjoint(range(first, last + 1)):
            yield from (Find(path, first, what) for what in _scan_scalar(name, scalar, scrubber))


def _scalars(root: yaml.Node | None) -> Iterator[tuple[str, yaml.ScalarNode]]:
    """Each value of a document with its key; each key, and what a model filled in, with none."""
    # Aliases put a node in several places; each node is checked once.
    seen: set[int] = set()
    waiting: list[tuple[str | None, yaml.Node | None]] = [("", root)]
    while waiting:
        name, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, item in node.value:
                inner = None if name is None or key.value in MODEL_OUTPUT else str(key.value)
                waiting += [(inner, item), ("", key)]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(name, item) for item in node.value]
        elif isinstance(node, yaml.ScalarNode):
            yield name or "", node


def _scan_scalar(name: str, node: yaml.ScalarNode, scrubber: Scrubber) -> Iterator[str]:
    text: str = node.value
    found = scrubber.find(text)
    if not found and (name == "base64" or node.tag.endswith(":binary")):
        try:
            found = scrubber.find_in_bytes(base64.b64decode(text))
        except ValueError:
            found = ["base64 that cannot be decoded"]
    yield from found[:1]
    if found or not node.tag.endswith((":str", ":int", ":binary")):
        return
    if _SECRET_HEADERS.fullmatch(name) and not _TAKEN_OUT.fullmatch(text):
        yield f"the header {name.lower()} with a value"
    elif is_secret_field(name) and not _TAKEN_OUT.fullmatch(text):
        yield f"the field {name.lower()} with a value"
    elif name in ("body", "crlf", "string") and scrubber.fields(text) != text:
        # Where vcrpy writes a body, and where an event stream is.
        yield "a field for a credential with a value"
    query = text.partition("?")[2] if name in ("uri", "location") else ""
    if scrubber.parameters(query) != query:
        yield "a URL with the value of a secret parameter"


def unused_files(root: str | Path, used: Iterable[str | Path]) -> list[Path]:
    """The cassettes under a directory that are not among the used ones, sorted.

    Args:
        root: the directory.
        used: the files that something asked for, absolute or from the working directory.
    """
    known = {Path(path).absolute() for path in used}
    return [path for path in cassette_files(Path(root)) if path.is_file() and path.absolute() not in known]
