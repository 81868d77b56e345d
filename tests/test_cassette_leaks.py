"""A key in any place and any form stands in no file, no message, no log and no report."""

import base64
import json
import logging
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
import requests
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from standins import Fault, StandIn

from llm_tester import use_cassette
from llm_tester.cassettes.inspect import scan
from llm_tester.cassettes.secrets import Scrubber
from llm_tester.cassettes.storage import save
from llm_tester.errors import CassetteMismatch, SecretFoundError

Start = Callable[..., StandIn]


def canary() -> str:
    return "/".join(("canary+key", "with=odd", "ch√rs&more", 'and"quote'))


def forms(secret: str) -> dict[str, str]:
    """A secret as others write it."""
    found = {
        "plain": secret,
        "url": quote(secret, safe=""),
        "form": quote_plus(secret),
        "json": json.dumps(secret)[1:-1],
        "json, not ASCII": json.dumps(secret, ensure_ascii=False)[1:-1],
        "json, slashes": json.dumps(secret)[1:-1].replace("/", "\\/"),
        "escaped": re.sub("(....)", r"\\u\1", secret.encode("utf-16-be").hex()),
    }
    for before in ("", "u", "us", "user:"):
        found[f"base64 after {before!r}"] = base64.b64encode(f"{before}{secret}".encode()).decode()
    found["base64, for URLs"] = base64.urlsafe_b64encode(secret.encode()).decode()
    return found


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    secret = canary()
    monkeypatch.setenv("CANARY_API_KEY", secret)
    return secret


def assert_absent(secret: str, text: str) -> None:
    for name, form in forms(secret).items():
        core = form.rstrip("=")
        assert core not in text, f"{name} is in it"
        assert core[4:-4] not in text, f"most of {name} is in it"


@pytest.fixture
def echo() -> Iterator[Callable[..., str]]:
    """Starts servers that answer anything with a text, and with a key in their headers."""
    servers: list[ThreadingHTTPServer] = []

    def start(text: str, status: int, key: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(status)
                for name in ("x-echo", "set-cookie", "x-request-id"):
                    self.send_header(name, quote(key))
                self.send_header("content-length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.05,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def send(client: str, url: str, **parts: Any) -> Any:
    if client == "requests":
        return requests.post(url, timeout=10, **parts)
    with httpx.Client() as session:
        return session.post(url, **parts)


@pytest.mark.parametrize("client", ["httpx", "requests"])
def test_a_key_in_every_place_of_a_request_and_its_reply_is_in_no_file(
    client: str, key: str, tmp_path: Path, echo: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    written = json.dumps(forms(key))
    bodies: list[dict[str, Any]] = [
        {"json": {"model": "m", "messages": [], "nested": forms(key)}},
        {"data": forms(key)},
        {"files": {"file": (quote(key, safe=""), written.encode())}},
        {"json": {"model": "m", "messages": []}, "params": {"key": key, "q": f"x{key}y"}},
        {
            "json": {"model": "m", "messages": []},
            "headers": {"authorization": f"Bearer {quote(key)}", "x-api-key": "k"},
        },
    ]
    for number, body in enumerate(bodies):
        path = tmp_path / f"{number}.yaml"
        target = f"{echo(written, 401 if number % 2 else 200, key)}/v1/chat/completions"
        with use_cassette(path, "once"):
            send(client, target, **body)
        assert_absent(key, path.read_text())
        with use_cassette(path):
            send(client, target, **body)
    assert_absent(key, caplog.text)
    assert scan([tmp_path]) == []


def test_a_key_in_a_path_and_a_redirect_is_in_no_file(key: str, tmp_path: Path, standin: Start) -> None:
    location = Fault(status=307, body=b"", headers={"location": f"/v1/{quote(key, safe='')}?key={quote(key, safe='')}"})
    server = standin("yes", faults=[location])
    path = tmp_path / "c.yaml"
    with use_cassette(path, "once"):
        httpx.post(f"{server.url}/v1/{quote(key, safe='')}", json={"a": 1})
    assert_absent(key, path.read_text())


def test_a_key_is_in_no_mismatch(key: str, tmp_path: Path, standin: Start) -> None:
    path = tmp_path / "c.yaml"
    server = standin("yes")
    url = f"{server.url}/v1/chat/completions?key={quote(key, safe='')}"
    with use_cassette(path, "once"):
        httpx.post(url, json={"model": key, "messages": []})
    with pytest.raises(CassetteMismatch) as caught, use_cassette(path):
        httpx.post(url, json={"model": f"other {key}", "messages": []})
    assert_absent(key, str(caught.value))
    assert_absent(key, "".join(traceback.format_exception_only(caught.value)))


SHAPES = {
    "OpenAI": ("sk-", "proj-", "aB3" * 14),
    "Anthropic": ("sk-", "ant-api03-", "aB3" * 14),
    "Google": ("AI", "za", "aB3" * 12),
    "Groq": ("gs", "k_", "aB3" * 14),
    "AWS": ("AK", "IA", "A1B2C3D4E5F6G7H8"),
    "GitHub": ("gh", "p_", "aB3" * 12),
    "bearer": ("Bea", "rer ", "aB3" * 10),
    "private key": ("-----BEGIN ", "PRIVATE KEY", "-----\nMIIB\n-----END PRIVATE KEY-----"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_looks_like_a_key_is_taken_out_without_being_known(name: str, tmp_path: Path, standin: Start) -> None:
    secret = "".join(SHAPES[name])
    path = tmp_path / "c.yaml"
    server = standin(f"here: {secret}")
    with use_cassette(path, "once"):
        live = httpx.post(f"{server.url}/v1/chat/completions", json={"model": "m", "messages": [secret]})
    assert secret in live.json()["choices"][0]["message"]["content"]
    assert "".join(SHAPES[name][2])[:12] not in path.read_text()


def test_a_key_that_is_still_there_is_not_written(key: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("the old file")
    with pytest.raises(SecretFoundError) as caught:
        save(path, [], {"note": f"it is {key}"}, Scrubber([key]))
    assert str(path) in str(caught.value)
    assert "metadata.note" in str(caught.value)
    assert_absent(key, str(caught.value))
    assert path.read_text() == "the old file"


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=8, max_size=30), st.integers(0, 10))
def test_any_key_in_any_form_is_taken_out(secret: str, which: int) -> None:
    assume(secret.strip() and "REDACTED" not in secret)
    name, form = list(forms(secret).items())[which]
    clean = Scrubber([secret]).text(f'{{"a": "{form}"}}')
    core = form.rstrip("=")
    assert core not in clean, name
