"""The file: what is recorded is read again; a file that cannot be read or written raises and is left unchanged."""

# ruff: noqa: SIM117 (a server around a cassette around a client reads better in steps)

import base64
import contextlib
import gzip
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cassette_helpers import CLIENTS, Reply, Server, ask
from conftest import ROOT
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from llm_tester.cassettes import Cassette, cassette_path, use_cassette
from llm_tester.cassettes.secrets import Scrubber
from llm_tester.cassettes.storage import reply_of
from llm_tester.errors import CassetteError, SecretFoundError

AWKWARD = st.sampled_from(" \n\t:#-'\"\\|>&*!%@`{}[],?~=<\r\x85\u2028\ufeff\u00a0\x00\x7f😀")
TEXTS = st.text(st.one_of(st.characters(), AWKWARD), max_size=40)
LINES = st.lists(TEXTS, max_size=4).map("\n".join)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | LINES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
ANYTHING = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "one.yaml"


def through_the_file(path: Path, body: bytes) -> tuple[bytes, bytes]:
    """A body as a request's and as a reply's, recorded and read again."""
    path.unlink(missing_ok=True)
    cassette = Cassette(path, "once", scrubber=Scrubber())
    headers = {"content-type": ["application/json"]}
    asked = cassette.request("POST", "http://a.test/v1", headers, body)
    cassette.record(asked, {"status": 200, "headers": headers, "body": body}, 0.1)
    again = Cassette(path, scrubber=Scrubber())
    found = again.play(again.request("POST", "http://a.test/v1", headers, body))
    assert found is not None
    return reply_of(found)[2], json.dumps(found.request["body"]).encode()


class TestRoundTrip:
    @ANYTHING
    @given(st.lists(VALUES, max_size=4) | st.dictionaries(TEXTS, VALUES, max_size=4))
    @example({"<<": "=", "1": "2026-01-01", "k": "end\n\n", "l": "  a\nb", "": "", "~": "a\n \n  x\n", "n": "\n"})
    @example([1e16, 1e-7, -0.0, 10**30, "1e16", "0x1f", "1:30", "yes", "NO", "null"])
    @example({"k" * 500: "\ttab\nfirst"})
    def test_json(self, path: Path, value: Any) -> None:
        # Hypothesis takes names from the source, also those of fields that are redacted.
        assume(Scrubber().body(value) == value)
        body = json.dumps(value).encode("utf-8", "surrogatepass")
        assert json.loads(through_the_file(path, body)[0]) == value

    @ANYTHING
    @given(LINES.map(lambda text: text.encode("utf-8", "surrogatepass")))
    @example(b"a\r\nb\r\n")
    @example(b"\r\n")
    def test_texts(self, path: Path, body: bytes) -> None:
        assert through_the_file(path, body)[0] == body

    @ANYTHING
    @given(st.binary(max_size=200))
    def test_bytes(self, path: Path, body: bytes) -> None:
        again = through_the_file(path, body)[0]
        assert again == body or json.loads(again) == json.loads(body)

    @ANYTHING
    @given(at=st.integers(0), cut=st.integers(0, 9), new=st.binary(max_size=3) | st.text(AWKWARD).map(str.encode))
    def test_a_damaged_file_opens_or_is_refused_and_stays(self, path: Path, at: int, cut: int, new: bytes) -> None:
        through_the_file(path, b'{"a": [1, "text\\nlines\\n", null]}')
        whole = path.read_bytes()
        at %= len(whole)
        path.write_bytes(damaged := whole[:at] + new + whole[at + cut :])
        with contextlib.suppress(CassetteError):
            for interaction in Cassette(path, scrubber=Scrubber()).interactions:
                reply_of(interaction)
        assert path.read_bytes() == damaged

    @pytest.mark.parametrize(
        "body",
        [
            b'{"a": 1, "a": 2}',
            b'{"a": 1e999}',
            b'{"a": NaN}',
            b'{"a": "\\ud800"}',
            b'{"\\ud800": 1}',
            b"[" * 70 + b"]" * 70,
            b'{"a":' * 70 + b"1" + b"}" * 70,
            b"[" * 100_000 + b"]" * 100_000,
            b'{"' + b"k" * 600 + b'": 1}',
        ],
        ids=lambda body: body[:12].decode(),
    )
    def test_json_that_yaml_would_lose_stays_text(self, body: bytes, path: Path) -> None:
        assert through_the_file(path, body)[0] == body
        assert "text: " in path.read_text()


class TestReadability:
    def test_prompts_read_as_text_and_the_order_is_stable(self, path: Path) -> None:
        prompt = "Zeile eins: für 😀 \n\n\tdrei\n"
        with (
            Server(lambda seen: Reply(json.dumps({"z": 1, "a": prompt}).encode())) as server,
            use_cassette(path, "once"),
        ):
            ask("httpx", "POST", server.url, json={"prompt": prompt, "model": "m"})
        text = path.read_text(encoding="utf-8")
        assert "        prompt: |\n          Zeile eins: für 😀 \n\n          \tdrei\n        model: m\n" in text
        assert "        z: 1\n        a: |\n          Zeile eins" in text
        top = [line.split(":")[0] for line in text.splitlines() if line and not line.startswith(" ")]
        assert top == ["format", "metadata", "interactions", "- request", "# end"]

    def test_no_temporary_file_is_left(self, path: Path) -> None:
        with Server() as server, use_cassette(path, "once"):
            ask("httpx", "GET", server.url)
        assert [found.name for found in path.parent.iterdir()] == ["one.yaml"]
        assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


VCRPY = """
version: 1
interactions:
- request:
    method: post
    uri: http://a.test/v1?api_key=secret
    body: '{"b": 1}'
    headers: {Authorization: [Bearer secret], Content-Type: [application/json], Accept: [a/b, c/d]}
  response:
    status: {code: 200, message: OK}
    headers:
      Content-Encoding: [gzip]
      Content-Length: ['999']
      Set-Cookie: [a=b]
      content-type: application/json
    body: {string: BODY}
"""


class TestPlainVcrpyFiles:
    @pytest.mark.parametrize("client", CLIENTS)
    @pytest.mark.parametrize(
        "body",
        [
            """'{"said": "é"}'""",
            "!!binary " + base64.b64encode(json.dumps({"said": "é"}).encode()).decode(),
            "!!binary " + base64.b64encode(gzip.compress(json.dumps({"said": "é"}).encode())).decode(),
        ],
        ids=["text", "binary", "gzip"],
    )
    def test_they_are_replayed(self, body: str, client: str, path: Path) -> None:
        path.parent.mkdir()
        path.write_text(VCRPY.replace("BODY", body), encoding="utf-8")
        with use_cassette(path, fail_on_unused=True):
            status, said = ask(client, "POST", "http://a.test/v1?api_key=other", json={"b": 1})
        assert (status, json.loads(said)) == (200, {"said": "é"})

    def test_they_are_written_back_in_our_format_without_what_is_secret(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path.parent.mkdir()
        path.write_text(VCRPY.replace("BODY", "'{}'").replace("=secret", "=secret-key"), encoding="utf-8")
        before = path.read_bytes()
        with Server() as server:
            with monkeypatch.context() as patch:
                patch.setenv("ACME_API_KEY", "secret-key")
                with pytest.raises(SecretFoundError, match=r"interactions\[0\]\.request\.uri"):
                    with use_cassette(path, "new_episodes"):
                        ask("httpx", "GET", server.url)
            assert path.read_bytes() == before
            with use_cassette(path, "new_episodes"):
                ask("httpx", "GET", server.url)
        text = path.read_text()
        assert text.startswith("format: 1\n")
        assert "Bearer" not in text
        assert "a=b" not in text
        assert len(Cassette(path).interactions) == 2

    def test_an_alias_that_stays_small_is_read(self, path: Path) -> None:
        path.parent.mkdir()
        text = VCRPY.replace("BODY", "'{}'").replace("Accept: [a/b, c/d]", "Accept: &x [a/b], X: *x")
        path.write_text(text, encoding="utf-8")
        assert Cassette(path).interactions[0].request["headers"]["accept"] == ["a/b"]


def bomb() -> str:
    lines = ["format: 1", "a0: &a0 [1, 1]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 30)]
    return "\n".join([*lines, "interactions: []"])


def _interaction(body: str) -> bytes:
    request = f"{{method: a, uri: b, body: {body}}}"
    return f"format: 1\ninteractions: [{{request: {request}, response: {{status: 200}}}}]".encode()


UNREADABLE = {
    "truncated": (b'format: 1\nmetadata: {"', "one.yaml, line 2: not YAML"),
    "empty": (b"", "holds no list of interactions"),
    "not a mapping": (b"just a text", "holds no list of interactions"),
    "before vcrpy 1": (b"- request: {}\n", "was written by vcrpy before 1.0"),
    "another vcrpy": (b"version: 2\ninteractions: []", "has vcrpy's format 2, expected 1"),
    "no version": (b"interactions: []", "has vcrpy's format None, expected 1"),
    "newer": (b"format: 2\ninteractions: []", "has format 2, this llm_tester reads format 1: upgrade llm_tester"),
    "latin-1": ("format: 1 # é".encode("latin-1"), "is not UTF-8 text"),
    "utf-16": ("format: 1".encode("utf-16"), "is not UTF-8 text"),
    "a bomb": (bomb().encode(), "its YAML aliases unfold to more than the file holds"),
    "a circle": (b"format: 1\nx: &a [*a]\ninteractions: []", "its YAML aliases unfold to more"),
    "a key that is no text": (
        b"format: 1\ninteractions:\n- request: {{url}: a}\n",
        "one.yaml, line 3: not YAML .found unhashable key",
    ),
    "a python object": (b"format: 1\ninteractions: [!!python/object:os.system x]", "not YAML .could not determine"),
    "deep": (
        b"format: 1\ninteractions: " + b"[" * 5000 + b"]" * 5000,
        "is not whole|nested deeper|nesting depth|recursion depth",
    ),
    "no address": (
        b"format: 1\ninteractions: [{request: {method: a, uri: 'http://[b'}, response: {status: 200}}]",
        "is not whole .*Invalid IPv6 URL",
    ),
    "no port": (
        b"format: 1\ninteractions: [{request: {method: a, uri: 'http://b:x'}, response: {status: 200}}]",
        "is not whole .*Port could not be cast",
    ),
    "a deep body": (
        _interaction("{json: " + "[" * 5000 + "]" * 5000 + "}"),
        "is not whole|nested deeper|nesting depth|recursion depth",
    ),
    "not base64": (_interaction("{base64: x}"), "is not whole"),
    "no response": (
        b"format: 1\ninteractions: [{request: {method: a, uri: b}}]",
        r"is not whole \(it has no 'response'\); restore the file, or delete it",
    ),
    "no interaction": (b"format: 1\ninteractions: [1]", "is not whole"),
    "no status": (_interaction("null").replace(b"200", b"x"), "the status is 'x'"),
    "no body": (_interaction("{what: 1}"), "a body is what; expected json, text, crlf or base64"),
    "a date": (_interaction("{json: !!timestamp 2026-01-01}"), "is not whole"),
}


class TestBadInput:
    @pytest.mark.parametrize("mode", ["none", "once", "new_episodes", "all", "rewrite"])
    @pytest.mark.parametrize("kind", UNREADABLE)
    def test_an_unreadable_file_raises_and_is_left_unchanged(self, kind: str, mode: str, path: Path) -> None:
        content, message = UNREADABLE[kind]
        path.parent.mkdir()
        path.write_bytes(content)
        with pytest.raises(CassetteError, match=message) as caught, use_cassette(path, mode):
            raise AssertionError
        assert str(path) in str(caught.value)
        assert path.read_bytes() == content

    def test_a_directory_in_its_place(self, tmp_path: Path) -> None:
        with pytest.raises(CassetteError, match="is a directory, expected the cassette's file"), use_cassette(tmp_path):
            raise AssertionError

    def test_a_path_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(CassetteError, match="cannot be read"), use_cassette(tmp_path / "file" / "a.yaml", "once"):
            raise AssertionError

    @pytest.mark.parametrize("exists", [True, False])
    def test_a_folder_that_is_read_only(self, exists: bool, tmp_path: Path) -> None:
        # /proc stays read-only for root as well, whom a mode does not stop.
        place = Path("/proc/self") if exists else Path("/proc/no-such-directory")
        with Server() as server:
            with pytest.raises(CassetteError, match=r"cannot be written \(.*; nothing was sent"):
                with use_cassette(place / "a.yaml", "once"):
                    ask("httpx", "GET", server.url)
            assert server.seen == []

    @pytest.mark.parametrize(
        ("size", "message"), [(1, "nothing was sent"), (100_000, "the old file is unchanged")], ids=["before", "after"]
    )
    def test_a_full_disk(self, size: int, message: str, path: Path) -> None:
        """There must be room for 64 kB before a request is sent."""
        with Server(lambda seen: Reply(b"x" * size)) as server:
            with use_cassette(path, "once"):
                ask("httpx", "GET", server.url)
            before = path.read_bytes()
            run = subprocess.run(
                [sys.executable, "-c", FULL_DISK, str(path), server.url, str(len(before) + 100)],
                cwd=ROOT / "tests",
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert f"{path}: cannot be written ([Errno 27] File too large" in run.stdout, run.stderr
        assert message in run.stdout
        assert path.read_bytes() == before
        assert [found.name for found in path.parent.iterdir()] == ["one.yaml"]
        assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0


FULL_DISK = """
import resource, signal, sys
from cassette_helpers import ask
from llm_tester.cassettes import use_cassette
from llm_tester.errors import CassetteError, SecretFoundError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with use_cassette(sys.argv[1]):
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    with use_cassette(sys.argv[1], "new_episodes"):
        ask("httpx", "POST", sys.argv[2], json={"a": "long " * 100})
except CassetteError as error:
    print(error)
"""


class TestPaths:
    @pytest.mark.parametrize(
        ("parts", "expected"),
        [
            (("products", "lamp", "openai", "gpt-4o-mini"), "products/lamp/openai/gpt-4o-mini.yaml"),
            (("a.b", "c_d"), "a.b/c_d.yaml"),
            (("meta/llama:free",), "meta%2Fllama%3Afree.yaml"),
        ],
    )
    def test_simple_names_can_be_guessed(self, parts: tuple[str, ...], expected: str) -> None:
        assert cassette_path("root", *parts) == Path("root", expected)

    @pytest.mark.parametrize(
        "part", ["", ".", "..", "...", "con", "NUL.txt", "com1", ".hidden", "end.", "A" * 300, "~"]
    )
    def test_what_file_systems_treat_specially(self, part: str) -> None:
        name = cassette_path("root", part).name
        assert name not in (".yaml", "..yaml")
        assert name.split(".")[0].lower() not in ("con", "nul", "com1")
        assert not name.startswith(".")
        assert not name.removesuffix(".yaml").endswith(".")

    @ANYTHING
    @given(st.lists(TEXTS, min_size=2, max_size=20))
    @example(["a", "A", "a~", "%61", "A~61", "É", "é", "E\u0301", "ß", "ẞ", "ss", "ı", "i", "I", "\ud800"])
    @example(["x" * 300, "x" * 301, "X" * 300])
    def test_no_two_names_share_a_file_on_any_file_system(self, parts: list[str]) -> None:
        names = [cassette_path("root", part).name for part in dict.fromkeys(parts)]
        assert len({name.casefold() for name in names}) == len(names)
        for name in names:
            assert len(name.encode()) <= 255
            assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-%~")
            assert cassette_path("root", name[: -len(".yaml")], "x").parent.parent == Path("root")


def test_every_reader_of_yaml_reads_it(path: Path) -> None:
    with Server() as server, use_cassette(path, "once"):
        ask("httpx", "POST", server.url, json={"date": "2026-01-01", "yes": "no", "text": "a\nb"})
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    body = data["interactions"][0]["request"]["body"]["json"]
    assert body == {"date": "2026-01-01", "yes": "no", "text": "a\nb"}


def test_a_file_written_by_hand_is_read(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(
        "format: 1\ninteractions:\n- request: {method: GET, uri: 'http://a.test/'}\n"
        "  response: {status: 200, headers: {content-type: text/plain}, body: {json: {date: 2026-01-01, v: =}}}\n"
        "  recorded: {at: 2020-01-01}\n",
        encoding="utf-8",
    )
    with use_cassette(path):
        assert json.loads(ask("requests", "GET", "http://a.test/")[1]) == {"date": "2026-01-01", "v": "="}


class TestReplacing:
    """A reply that takes the place of an old one is appended, and the file is put in order at the end."""

    def record(self, cassette: Cassette, number: int, reply: bytes) -> None:
        request = cassette.request("POST", "https://api.example.com/v1", {}, json.dumps({"n": number}).encode())
        assert cassette.play(request) is None
        cassette.record(request, {"status": 200, "headers": {}, "body": reply}, 0.1)

    def recorded(self, folder: Path) -> Path:
        """A cassette of 20 replies."""
        path = folder / "c.yaml"
        with use_cassette(path, "all") as cassette:
            for number in range(20):
                self.record(cassette, number, b"old")
        return path

    def replies(self, path: Path) -> list[str]:
        return [interaction.response["body"]["text"] for interaction in Cassette(path).interactions]

    def test_a_run_that_is_cut_off_has_the_newest_of_each_in_its_place(self, tmp_path: Path) -> None:
        path, killed = self.recorded(tmp_path), tmp_path / "killed.yaml"
        inode = path.stat().st_ino
        expected = ["new 0", "old", "new 2", *["old"] * 17, "new 30"]
        with use_cassette(path, "rewrite", shared=True) as cassette:
            for number in (2, 30, 0):
                self.record(cassette, number, f"new {number}".encode())
            assert path.stat().st_ino == inode
            killed.write_bytes(path.read_bytes())
        for file in (path, killed):
            assert self.replies(file) == expected
        assert "replaces" not in path.read_text()
        assert path.read_text().count("# end") == 21
        with use_cassette(killed, "rewrite", shared=True) as cassette:
            self.record(cassette, 30, b"newest")
        assert self.replies(killed) == [*expected[:-1], "newest"]
        assert "replaces" not in killed.read_text()

    def test_a_block_that_fails_puts_the_file_in_order(self, tmp_path: Path) -> None:
        path = self.recorded(tmp_path)
        with contextlib.suppress(ZeroDivisionError), use_cassette(path, "rewrite") as cassette:
            self.record(cassette, 5, b"new")
            raise ZeroDivisionError
        assert self.replies(path) == [*["old"] * 5, "new", *["old"] * 14]
        assert "replaces" not in path.read_text()

    def test_a_kill_at_any_byte_of_a_new_reply_leaves_the_old_or_the_new_one(self, tmp_path: Path) -> None:
        path, killed = self.recorded(tmp_path), tmp_path / "killed.yaml"
        size = path.stat().st_size
        with use_cassette(path, "rewrite", shared=True) as cassette:
            self.record(cassette, 5, b"new")
            data = path.read_bytes()
        assert data[size:].startswith(b"- replaces: 5\n")
        found = set()
        for end in range(size, len(data) + 1, 3):
            killed.write_bytes(data[:end])
            found.add(tuple(self.replies(killed)))
        killed.write_bytes(data)
        found.add(tuple(self.replies(killed)))
        assert found == {("old",) * 20, (*("old",) * 5, "new", *("old",) * 14)}

    def test_a_place_that_is_missing_is_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "c.yaml"
        with use_cassette(path, "all") as cassette:
            self.record(cassette, 1, b"old")
        path.write_text(path.read_text().replace("- request", "- replaces: 5\n  request"))
        with pytest.raises(CassetteError, match="replaces number 5, which is missing"):
            Cassette(path)
