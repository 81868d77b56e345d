"""Recording and opening many interactions: each is written once and parsed once, and none is lost by a cut.

What is counted are writes, syncs and function calls: each must grow with what is new, not with what is there.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from counting import calls_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_tester import cassettes
from llm_tester.cassettes import Cassette
from llm_tester.cassettes._recent import reset
from llm_tester.cassettes.secrets import Scrubber
from llm_tester.cassettes.storage import reply_of

HEADERS = {"content-type": ["application/json"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.yaml"


def opened(path: Path, record: str = "new_episodes") -> Cassette:
    return Cassette(path, record, scrubber=Scrubber())


def record(cassette: Cassette, number: int, content: str = "yes") -> None:
    asked = cassette.request("POST", "http://a.test/v1", HEADERS, json.dumps({"n": number}).encode())
    body = json.dumps({"number": number, "content": content}).encode()
    cassette.record(asked, {"status": 200, "headers": HEADERS, "body": body}, 0.1)


def numbers(path: Path) -> list[int]:
    return [interaction.request["body"]["json"]["n"] for interaction in opened(path, "none").interactions]


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inode of each file that was synced."""
    found: list[int] = []
    real = os.fsync

    def fsync(number: int) -> None:
        found.append(os.fstat(number).st_ino)
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


class TestAppending:
    def test_each_reply_is_synced_once_into_the_same_file(self, path: Path, syncs: list[int]) -> None:
        """Only the first reply makes a file; the others are appended, so the bytes written are those of the file."""
        cassette = opened(path)
        for number in range(20):
            with cassettes.call() as call:
                record(cassette, number)
                call.annotate(provider="p", model="m")
        assert len(syncs) == 20
        assert set(syncs) == {path.stat().st_ino}
        assert numbers(path) == list(range(20))
        assert {item.recorded["provider"] for item in opened(path).interactions} == {"p"}

    def test_a_file_of_an_older_version_is_written_once_in_full(self, path: Path, syncs: list[int]) -> None:
        record(opened(path), 0)
        old = path.read_text().replace("# end\n", "")
        path.write_text(old)
        cassette = opened(path)
        for number in range(1, 4):
            record(cassette, number)
        assert len(set(syncs[1:])) == 1
        assert numbers(path) == [0, 1, 2, 3]
        assert path.read_text().count("\n# end\n") == 4

    def test_the_versions_at_the_top_are_those_of_the_last_recording(self, path: Path) -> None:
        record(opened(path), 0)
        path.write_text(path.read_text().replace("litellm: ", "litellm: 0."))
        record(opened(path), 1)
        assert "litellm: 0." not in path.read_text()
        assert numbers(path) == [0, 1]

    @pytest.mark.parametrize("below", ["other: 1\n", "...\n", "# a note\n"])
    def test_a_file_with_something_below_its_list_is_written_in_full(self, below: str, path: Path) -> None:
        record(opened(path), 0)
        path.write_text(path.read_text() + below)
        before = path.stat().st_ino
        record(opened(path), 1)
        assert path.stat().st_ino != before
        assert numbers(path)[-1] == 1

    def test_a_reply_is_kept_if_its_call_fails(self, path: Path) -> None:
        def fail() -> None:
            record(opened(path), 0)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), cassettes.call():
            fail()
        assert numbers(path) == [0]

    def test_the_first_of_two_replies_of_a_call_is_written_when_the_second_comes(self, path: Path) -> None:
        cassette = opened(path)
        with cassettes.call() as call:
            record(cassette, 0)
            record(cassette, 1)
            assert numbers(path) == [0]
            call.annotate(provider="p")
        assert ["provider" in item.recorded for item in opened(path).interactions] == [False, True]

    def test_calls_at_the_same_time_write_each_their_own_reply(self, path: Path, syncs: list[int]) -> None:
        cassette = opened(path)
        with cassettes.call() as outer:
            record(cassette, 0)
            with cassettes.call() as inner:
                record(cassette, 1)
                inner.annotate(provider="inner")
            outer.annotate(provider="outer")
        assert [item.recorded["provider"] for item in opened(path).interactions] == ["inner", "outer"]
        assert len(syncs) == 2
        cassette.finish()
        assert numbers(path) == [0, 1]


class TestCuts:
    @settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.text(max_size=12), min_size=2, max_size=3))
    def test_a_file_cut_at_any_byte_of_the_last_append_opens_with_the_others(
        self, path: Path, contents: list[str]
    ) -> None:
        path.unlink(missing_ok=True)
        cassette, size = opened(path), 0
        for number, content in enumerate(contents):
            size = path.stat().st_size if path.exists() else 0
            record(cassette, number, content)
        whole, before = path.read_bytes(), list(range(len(contents) - 1))
        for cut in range(size, len(whole)):
            path.write_bytes(whole[:cut])
            # The very last byte is the line end of the line that says that it is whole.
            assert numbers(path) == (before if cut < len(whole) - 1 else [*before, len(before)])
        path.write_bytes(whole[: (size + len(whole)) // 2])
        record(opened(path), 99)
        assert numbers(path) == [*before, 99]

    def test_it_says_what_is_left_out(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        for number in range(2):
            record(opened(path), number)
        path.write_bytes(path.read_bytes()[:-40])
        line = path.read_text().split("# end\n")[0].count("\n") + 2
        assert numbers(path) == [0]
        assert f"{path}, line {line}: the writing of the last interaction was cut off" in caplog.text


class TestOpening:
    def test_what_was_read_before_is_not_parsed_again(self, path: Path) -> None:
        """Tests that share a file open it once each: reading it for each of them would be quadratic."""
        for number in range(200):
            record(opened(path), number)
        reset()
        first = calls_of(lambda: opened(path))
        second = calls_of(lambda: opened(path))
        assert second < first / 4
        record(opened(path), 200)
        assert calls_of(lambda: opened(path)) < second * 1.2
        assert numbers(path) == list(range(201))

    def test_the_work_grows_with_the_interactions(self, tmp_path: Path) -> None:
        work: list[int] = []
        for count in (100, 200):
            cassette = opened(tmp_path / f"{count}.yaml")
            for number in range(count):
                record(cassette, number)
            reset()
            work.append(calls_of(lambda path=cassette.path: opened(path)))  # type: ignore[misc]
        assert work[1] < work[0] * 2.1

    @pytest.mark.parametrize("change", [("number: 1", "number: 9"), ("'n': 1", "'n': 9")])
    def test_an_edit_is_seen_even_if_size_and_time_stay(self, change: tuple[str, str], path: Path) -> None:
        for number in range(3):
            record(opened(path), number)
        assert numbers(path) == [0, 1, 2]
        before = path.stat()
        path.write_text(path.read_text().replace(*change))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        one = opened(path).interactions[1]
        body: dict[str, Any] = {**one.request["body"]["json"], **one.response["body"]["json"]}
        assert 9 in body.values()

    def test_what_one_cassette_changes_no_other_sees(self, path: Path) -> None:
        record(opened(path), 0)
        first, second = opened(path), opened(path)
        first.interactions[0].request["body"] = None
        first.interactions[0].recorded["provider"] = "p"
        assert second.interactions[0].request["body"] == {"json": {"n": 0}}
        assert "provider" not in opened(path).interactions[0].recorded


LARGE: dict[str, Any] = {
    "items": [{"n": n, "x": 1 / (n + 1), "text": f'é 😀 \u2028 {n}\n"', "none": None} for n in range(3000)]
}


class TestLargeReplies:
    def through(self, path: Path, body: bytes) -> bytes:
        cassette = opened(path)
        asked = cassette.request("GET", "http://a.test/v1", {}, b"")
        cassette.record(asked, {"status": 200, "headers": HEADERS, "body": body}, 0.1)
        again = opened(path, "none")
        found = again.play(again.request("GET", "http://a.test/v1", {}, b""))
        assert found is not None
        return reply_of(found)[2]

    def test_large_json_is_replayed_as_the_same_value(self, path: Path) -> None:
        assert json.loads(self.through(path, json.dumps(LARGE).encode())) == LARGE

    def test_large_json_reads_as_lines(self, path: Path) -> None:
        value = {"items": [{"n": n, "text": "x" * 20} for n in range(5000)]}
        self.through(path, json.dumps(value).encode())
        assert path.read_text().count('\n           "n": ') == 5000

    @pytest.mark.parametrize("odd", ['"a": 1, "a": 2', '"a": NaN', '"a": 1e999', '"a": "\\ud800"', '"a": 1.0e5'])
    def test_what_json_libraries_would_change_is_kept_as_it_came(self, odd: str, path: Path) -> None:
        body = f'{{{odd}, "long": "{"x" * 100_000}"}}'.encode()
        assert json.loads(self.through(path, body), object_pairs_hook=repr) == json.loads(body, object_pairs_hook=repr)

    def test_a_key_in_large_json_is_redacted(self, path: Path) -> None:
        key = "sk-" + "abcd1234" * 4
        value = {**LARGE, "said": f'"{key}"', "task-force": "risk-based, disk-like; a bright light"}
        body = self.through(path, json.dumps(value).encode())
        assert key not in path.read_text()
        assert json.loads(body) == {**value, "said": '"REDACTED"'}

    def test_opening_works_as_for_small_replies(self, path: Path) -> None:
        """The reply is one text for YAML, however many values it has."""
        self.through(path, json.dumps(LARGE).encode())
        reset()
        assert calls_of(lambda: opened(path)) < 3000


@pytest.mark.parametrize("start", ['"a": 1, "a": 2', '"a" : 1, "a":2', r'"\u003a": 1, "b": 1, "b": 2'])
def test_a_large_reply_with_duplicate_keys_is_kept_as_it_is(path: Path, start: str) -> None:
    body = f'{{{start}, "rest": {json.dumps("x" * 200_000)}}}'.encode()
    cassette = opened(path)
    asked = cassette.request("POST", "http://a.test/v1", HEADERS, b"{}")
    cassette.record(asked, {"status": 200, "headers": HEADERS, "body": body}, 0.1)
    assert reply_of(opened(path, "none").interactions[0])[2] == body
