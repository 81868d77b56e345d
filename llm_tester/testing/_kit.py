"""What the contract kit works with: a server for the provider's replies, and cassettes with numbers in them."""

import contextlib
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..cassettes import reading, storage
from ..cassettes.secrets import default_scrubber

__all__ = ["MARK", "Guard", "Reply", "leaves", "numbered", "numbered_copy", "served", "switch_often"]

MARK = "contract 00"
Reply = tuple[int, Mapping[str, list[str]], bytes]


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values in a JSON value, each with its key."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, str(key))
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, name)
    else:
        yield name, value


def _words(value: Any) -> set[str]:
    return {word for _, word in leaves(value) if isinstance(word, str) and word}


def _changed(value: Any, texts: Mapping[str, str]) -> Any:
    """A JSON value with some of its texts replaced."""
    if isinstance(value, dict):
        return {key: _changed(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [_changed(item, texts) for item in value]
    return texts.get(value, value) if isinstance(value, str) else value


def numbered(source: str, number: int) -> str:
    """A text with a number in its mark."""
    return source.replace(MARK, f"contract {number:02d}")


def numbered_copy(path: Path, to: Path, number: int, text: str) -> Path:
    """A copy of a cassette with a number in its request and in its reply."""
    interactions, metadata, _ = reading.load(path)
    for interaction in interactions:
        interaction.text, interaction.checked = None, set()
        request, response = interaction.request, interaction.response
        words = _words(request["body"])
        request["body"] = _changed(request["body"], {word: numbered(word, number) for word in words})
        if source := _source_of(text, _words(response["body"])):
            response["body"] = _changed(response["body"], {source: f"{source} {number:02d}"})
    storage.save(to, interactions, metadata, default_scrubber())
    return to


def _source_of(text: str, words: set[str]) -> str:
    """The one of a reply's words that the text was made from; "" if none."""
    folded = text.casefold()
    around = [word for word in words if folded in word.casefold()]
    within = [word for word in words if word.casefold() in folded]
    return min(around, key=len, default="") or max(within, key=len, default="")


def switch_often() -> None:
    """Switches threads a thousand times as often as usual, so that wrongly shared state shows."""
    sys.setswitchinterval(5e-6)


class Guard:
    """Refuses requests to other machines, and keeps their addresses in `strays`."""

    endless = False

    def __init__(self) -> None:
        self.strays: list[str] = []

    def meet(self, client: str, request: Any) -> dict[str, Any] | None:
        if urlsplit(request.uri).hostname == "127.0.0.1":
            return None
        self.strays.append(default_scrubber().url(request.uri))
        return {"status": 421, "headers": {}, "body": b""}


@contextlib.contextmanager
def served(replies: list[Reply]) -> Iterator[str]:
    """Serves replies in turn, and the last one again and again; yields the address."""
    left = iter(replies)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status, headers, body = next(left, replies[-1])
            self.send_response(status)
            for name, values in headers.items():
                for value in values:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Keeps the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
