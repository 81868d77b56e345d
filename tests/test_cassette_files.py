"""The cassette file: what goes in comes out, what is broken is told, and what stands there is never lost."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from standins import Reply, StandIn

from llm_tester import use_cassette
from llm_tester.cassettes import Cassette, bodies, cassette_path
from llm_tester.errors import CassetteError, CassetteMismatch

Start = Callable[..., StandIn]

PLAIN_VCRPY = """
version: 1
interactions:
- request: {method: POST, uri: "http://127.0.0.1:9/v1/x", body: '{"a": 1}', headers: {}}
  response: {status: {code: 200, message: OK}, headers: {content-type: [text/plain]}, body: {string: hello}}
"""


def ask(server: StandIn | str, number: int = 0, **more: Any) -> httpx.Response:
    url = server if isinstance(server, str) else f"{server.url}/v1/chat/completions"
    body = {"model": "m", "messages": [{"role": "user", "content": f"number {number}"}], **more}
    return httpx.post(url, json=body)


BROKEN: list[tuple[str | bytes, str]] = [
    ("interactions: [", "not YAML"),
    ("- request: {}\n", "vcrpy before 1.0"),
    ("hello", "holds no list of interactions"),
    ("version: 2\ninteractions: []\n", "vcrpy's format 2"),
    ("format: 99\ninteractions: []\n", "format 99"),
    ("format: 1\ninteractions:\n- request: {}\n  response: {}\n", "not whole"),
    (b"\xff\xfe\x00\x01", "UTF-8"),
    ("a: !!python/object/apply:os.system [ls]\n", "not YAML"),
]


@pytest.mark.parametrize("record", ["none", "once", "new_episodes", "all"])
@pytest.mark.parametrize(("content", "message"), BROKEN)
def test_what_cannot_be_decoded_is_told_and_kept(
    content: str | bytes, message: str, record: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(data)
    with pytest.raises(CassetteError, match=message) as caught, use_cassette(path, record):
        pass
    assert str(path) in str(caught.value)
    assert path.read_bytes() == data


def test_a_directory_a_climb_and_an_unknown_mode_are_told(tmp_path: Path) -> None:
    with pytest.raises(CassetteError, match="is a directory"), use_cassette(tmp_path):
        pass
    with pytest.raises(CassetteError, match="climb"), use_cassette("cassettes/../../x.yaml"):
        pass
    with pytest.raises(CassetteError, match="'sometimes' is unknown"), use_cassette(tmp_path / "c.yaml", "sometimes"):
        pass


def test_where_nothing_can_be_written_is_told(tmp_path: Path, standin: Start) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CassetteError, match="cannot be"), use_cassette(tmp_path / "file" / "c.yaml", "once"):
        ask(standin("yes"))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, standin: Start) -> None:
    server = standin([Reply("yes"), Reply("no " * 20_000)])
    path = tmp_path / "c.yaml"
    with use_cassette(path, "once"):
        ask(server, 1)
    before = path.read_bytes()
    code = (
        "import resource, signal, sys, httpx\n"
        "from llm_tester import use_cassette\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 100}, {resource.RLIM_INFINITY}))\n"
        "with use_cassette(sys.argv[1], 'new_episodes'):\n"
        "    httpx.post(sys.argv[2], json={'model': 'm', 'messages': []})\n"
    )
    command = [sys.executable, "-c", code, str(path), f"{server.url}/v1/chat/completions"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "CassetteError" in run.stderr
    assert "cannot be written" in run.stderr
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_plain_vcrpy_file_replays(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(PLAIN_VCRPY)
    with use_cassette(path):
        assert httpx.post("http://127.0.0.1:9/v1/x", json={"a": 1}).text == "hello"


def test_a_recording_can_be_reviewed(tmp_path: Path, standin: Start) -> None:
    path = tmp_path / "c.yaml"
    with use_cassette(path, "once", origin="stand-in: a test"):
        ask(standin("Grüße, 世界 🎉"), system="line one\nline two")
    text = path.read_text(encoding="utf-8")
    assert "line one\n" in text
    assert "世界" in text
    data = yaml.safe_load(text)
    [interaction] = data["interactions"]
    assert list(interaction) == ["request", "response", "recorded"]
    assert interaction["request"]["body"]["json"]["messages"][0]["content"] == "number 0"
    assert interaction["recorded"]["origin"] == "stand-in: a test"
    assert set(interaction["response"]["headers"]) <= {"content-type"}
    assert {"llm_tester", "litellm", "pydantic-ai", "vcrpy"} <= set(data["metadata"]["versions"])


@pytest.mark.parametrize("record", ["all", "rewrite"])
def test_the_same_reply_recorded_again_changes_no_byte(record: str, tmp_path: Path, standin: Start) -> None:
    server, path = standin("yes"), tmp_path / "c.yaml"
    with use_cassette(path, "once"):
        ask(server, 1)
        ask(server, 2)
    before = path.read_bytes()
    with use_cassette(path, record):
        ask(server, 1)
        ask(server, 2)
    assert path.read_bytes() == before
    assert len(server.requests) == 4


def test_each_record_mode_does_what_it_says(tmp_path: Path, standin: Start) -> None:
    server, path = standin(["one", "two", "three", "four", "five"]), tmp_path / "c.yaml"
    with pytest.raises(CassetteMismatch), use_cassette(path):
        ask(server, 1)
    with use_cassette(path, "once"):
        assert "one" in ask(server, 1).text
    with use_cassette(path, "once"), pytest.raises(CassetteMismatch):
        ask(server, 2)
    with use_cassette(path, "new_episodes"):
        assert "one" in ask(server, 1).text
        assert "two" in ask(server, 2).text
    with use_cassette(path, "all"):
        assert "three" in ask(server, 2).text
    with use_cassette(path) as cassette:
        assert "three" in ask(server, 2).text
        assert len(cassette.unused()) == 1
        assert "one" in ask(server, 1).text
        assert not cassette.unused()
    with use_cassette(path, "rewrite"):
        ask(server, 9)
    assert len(Cassette(path).interactions) == 1
    assert len(server.requests) == 4


def test_a_repeat_is_answered_in_order_and_then_no_more(tmp_path: Path, standin: Start) -> None:
    server, path = standin(["one", "two"]), tmp_path / "c.yaml"
    with use_cassette(path, "once"):
        ask(server)
        ask(server)
    with use_cassette(path):
        assert "one" in ask(server).text
        assert "two" in ask(server).text
        with pytest.raises(CassetteMismatch, match="already replayed"):
            ask(server)


def test_what_nothing_asked_for_can_fail(tmp_path: Path, standin: Start) -> None:
    path = tmp_path / "c.yaml"
    with use_cassette(path, "once"):
        ask(standin("yes"))
    with pytest.raises(CassetteError, match="nothing asked for 1"), use_cassette(path, fail_on_unused=True):
        pass


def test_age_is_told(tmp_path: Path, standin: Start) -> None:
    path = tmp_path / "c.yaml"
    with use_cassette(path, "once"):
        ask(standin("yes"))
    age = Cassette(path).age_days()
    assert age is not None
    assert age < 1
    old = path.read_text().replace(
        str(yaml.safe_load(path.read_text())["interactions"][0]["recorded"]["at"])[:4], "2001"
    )
    path.write_text(old)
    later = Cassette(path).age_days()
    assert later is not None
    assert later > 365


# Imports once and forks for each attempt: a child records over and over, says what is finished, and is killed.
KILLER = """
import json, os, random, signal, sys
import httpx
from llm_tester import use_cassette
from llm_tester.cassettes import Cassette

def record(folder, url, out):
    for number in range(1000):
        with use_cassette(f"{folder}/{number % 7}.yaml", "new_episodes"):
            client.post(url, json={"model": "m", "messages": [{"role": "user", "content": f"number {number}"}]})
        os.write(out, f"{number}\\n".encode())

root, url = sys.argv[1:]
client = httpx.Client()
moments = random.Random(7)
for attempt in range(50):
    folder = f"{root}/{attempt}"
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            record(folder, url, writer)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as lines:
        done = [lines.readline() for _ in range(moments.randrange(1, 12))]
        # Somewhere within the next recording: so many turns of a loop, not so many seconds.
        for _ in range(moments.randrange(0, 100_000)):
            pass
        os.kill(child, signal.SIGKILL)
        done += lines.readlines()
    os.waitpid(child, 0)
    print(json.dumps([folder, [int(line) for line in done if line.endswith("\\n")]]), flush=True)
"""


def test_a_kill_at_any_moment_loses_no_finished_reply(tmp_path: Path, standin: Start) -> None:
    command = [sys.executable, "-c", KILLER, str(tmp_path), f"{standin('yes').url}/v1/chat/completions"]
    attempts = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(attempts) == 50
    for folder, finished in map(json.loads, attempts):
        recorded = {
            interaction.request["body"]["json"]["messages"][0]["content"]
            for path in Path(folder).glob("*.yaml")
            for interaction in Cassette(path).interactions
        }
        assert finished
        assert {f"number {number}" for number in finished} <= recorded


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.one_of(JSON.map(lambda value: json.dumps(value).encode()), st.text().map(str.encode), st.binary()))
def test_any_body_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.mktemp("c") / "c.yaml"
    recording = Cassette(path, "once")
    request = recording.asked("POST", "http://127.0.0.1:9/", {}, b"")
    recording.record(request, {"status": 200, "headers": {}, "body": body}, 0.1)
    [interaction] = Cassette(path).interactions
    back = bodies.decode(interaction.response["body"])
    try:
        assert json.loads(back) == json.loads(body)
    except ValueError:
        assert back == body


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_paths_are_safe_and_never_shared(one: list[str], two: list[str]) -> None:
    first, second = cassette_path("root", *one), cassette_path("root", *two)
    assert (str(first).lower() == str(second).lower()) == (one == two)
    for part in first.parts[1:]:
        assert len(part.encode()) <= 255
        assert part.isascii()
        assert not set(part) & set('<>:"/\\|?* ')
        assert part not in (".", "..")


def test_a_simple_name_is_its_own_path() -> None:
    path = cassette_path("cassettes", "products", "lamp", "openai", "gpt-4.1-mini")
    assert path == Path("cassettes/products/lamp/openai/gpt-4.1-mini.yaml")
