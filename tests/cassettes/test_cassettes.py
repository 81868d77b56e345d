"""Record modes, and what is in a cassette: over every client library, against a server on 127.0.0.1."""

# ruff: noqa: PT012 (what is raised at the end of a context is what several statements in it led to)

import contextvars
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml
from cassette_helpers import CLIENTS, Reply, Seen, Server, ask, echo, left_open

from llm_tester import cassettes
from llm_tester.cassettes import Cassette, current, use, use_cassette
from llm_tester.errors import CassetteError, CassetteMismatch


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "one.yaml"


def counting() -> Callable[[Seen], Reply]:
    """Answers with how often it was asked."""
    count = iter(range(1, 1000))
    return lambda seen: Reply(json.dumps({"count": next(count)}).encode())


def asked(server: Server, **body: Any) -> int:
    """Asks, and gives the count in the answer."""
    count: int = json.loads(ask("httpx", "POST", f"{server.url}/v1", json=body)[1])["count"]
    return count


@pytest.mark.parametrize("client", CLIENTS)
class TestEveryClient:
    def test_records_and_replays(self, client: str, server: Server, path: Path) -> None:
        with use_cassette(path, "once") as cassette:
            first = ask(client, "POST", f"{server.url}/v1?a=1", json={"prompt": "Say héllo"}, headers={"x-who": "me"})
            assert [item.response["status"] for item in cassette.interactions] == [200]
        assert len(server.seen) == 1
        with use_cassette(path) as cassette:
            again = ask(client, "POST", f"{server.url}/v1?a=1", json={"prompt": "Say héllo"})
            assert cassette.unused() == []
        assert (again[0], json.loads(again[1])) == (first[0], json.loads(first[1]))
        assert json.loads(json.loads(first[1])["asked"]) == {"prompt": "Say héllo"}
        assert len(server.seen) == 1
        assert left_open() == []

    def test_a_miss_never_reaches_the_network(self, client: str, server: Server, path: Path) -> None:
        with pytest.raises(CassetteMismatch, match="the file does not exist"), use_cassette(path):
            ask(client, "GET", f"{server.url}/v1")
        assert server.seen == []
        assert not path.exists()
        assert left_open() == []

    def test_requests_outside_a_cassette_use_the_network(self, client: str, server: Server, path: Path) -> None:
        with use_cassette(path, "once"):
            ask(client, "GET", f"{server.url}/in")
        assert ask(client, "GET", f"{server.url}/out")[0] == 200
        assert [seen.path for seen in server.seen] == ["/in", "/out"]

    def test_requests_of_other_contexts_pass(self, client: str, server: Server, path: Path) -> None:
        with use_cassette(path, allow=["127.0.0.1"]):
            assert contextvars.Context().run(ask, client, "GET", f"{server.url}/out", headers={"x-who": "me"})[0] == 200
        with use.inject(Struck(times=0)):
            assert ask(client, "POST", f"{server.url}/on", data=b"a")[0] == 200
        assert [seen.path for seen in server.seen] == ["/out", "/on"]

    def test_a_fault_answers_before_the_cassette(self, client: str, server: Server, path: Path) -> None:
        with use_cassette(path, "once") as cassette:
            with use.inject(Struck(times=2)) as fault:
                assert fault is None
                assert [ask(client, "GET", server.url)[0] for _ in range(3)] == [599, 599, 200]
            assert len(cassette.interactions) == 1
        assert len(server.seen) == 1

    def test_an_error_is_recorded_and_repeats(self, client: str, path: Path) -> None:
        with Server(lambda seen: Reply(b'{"error": "no"}', 401)) as server:
            with use_cassette(path, "once", record_errors=True):
                assert ask(client, "GET", server.url + "/v1") == (401, b'{"error": "no"}')
            with use_cassette(path):
                for _ in range(3):
                    assert ask(client, "GET", server.url + "/v1")[0] == 401
            assert len(server.seen) == 1


class Struck:
    """Answers so many times with a status that has no name."""

    def __init__(self, times: int | None = None) -> None:
        self.endless = times is None
        self.left = times or 0

    def meet(self, client: str, request: Any) -> dict[str, Any] | None:
        if not self.endless and self.left == 0:
            return None
        self.left -= 1
        return {"status": 599, "headers": {"content-type": ["text/plain"]}, "body": b"struck"}


def test_whether_the_context_is_offline(path: Path, server: Server) -> None:
    assert not cassettes.is_offline()
    with use.inject(Struck(times=1)):
        assert not cassettes.is_offline()
    with use.inject(Struck()):
        assert cassettes.is_offline()
    with use_cassette(path, "once"):
        assert not cassettes.is_offline()
        ask("httpx", "GET", server.url)
    for mode in ("none", "once"):
        with use_cassette(path, mode):
            assert cassettes.is_offline()


class TestModes:
    @pytest.fixture
    def counter(self) -> Iterator[Server]:
        with Server(counting()) as running:
            yield running

    def test_once_records_where_there_is_no_file_and_replays_where_there_is(self, counter: Server, path: Path) -> None:
        with use_cassette(path, "once"):
            assert [asked(counter, n=1), asked(counter, n=1)] == [1, 2]
        with use_cassette(path, "once"):
            assert [asked(counter, n=1), asked(counter, n=1)] == [1, 2]
        with (
            pytest.raises(CassetteMismatch, match="a repeat is missing"),
            use_cassette(path, "once"),
        ):
            [asked(counter, n=1) for _ in range(3)]

    def test_new_episodes_replays_what_is_there_and_records_the_rest(self, counter: Server, path: Path) -> None:
        with use_cassette(path, "new_episodes"):
            asked(counter, n=1)
        with use_cassette(path, "new_episodes"):
            assert [asked(counter, n=2), asked(counter, n=1), asked(counter, n=1)] == [2, 1, 3]
        with use_cassette(path):
            assert [asked(counter, n=1), asked(counter, n=1), asked(counter, n=2)] == [1, 3, 2]

    def test_all_records_again_and_keeps_unused_interactions(self, counter: Server, path: Path) -> None:
        with use_cassette(path, "all"):
            [asked(counter, n=n) for n in (1, 2, 2, 3)]
        with use_cassette(path, "all") as cassette:
            assert [asked(counter, n=n) for n in (2, 4)] == [5, 6]
            assert [item.request["body"]["json"]["n"] for item in cassette.unused()] == [1, 2, 3]
        counts = [item.response["body"]["json"]["count"] for item in Cassette(path).interactions]
        assert counts == [1, 5, 3, 4, 6]

    def test_rewrite_drops_unused_interactions_at_the_end(self, counter: Server, path: Path) -> None:
        with use_cassette(path, "rewrite"):
            [asked(counter, n=n) for n in (1, 2)]
        with use_cassette(path, "rewrite"):
            asked(counter, n=2)
            # A kill at this moment would leave both.
            assert len(Cassette(path).interactions) == 2
        assert [item.response["body"]["json"]["count"] for item in Cassette(path).interactions] == [3]

    def test_a_rewrite_that_fails_or_records_nothing_drops_nothing(self, counter: Server, path: Path) -> None:
        with use_cassette(path, "once"):
            [asked(counter, n=n) for n in (1, 2)]
        before = path.read_bytes()
        with use_cassette(path, "rewrite"):
            pass
        assert path.read_bytes() == before
        with pytest.raises(ZeroDivisionError), use_cassette(path, "rewrite"):
            asked(counter, n=2)
            raise ZeroDivisionError
        assert [item.response["body"]["json"]["count"] for item in Cassette(path).interactions] == [1, 3]

    def test_a_refused_request_does_not_use_up_a_reply(self, path: Path) -> None:
        statuses = iter([200, 503, 200])
        with Server(lambda seen: Reply(b"{}", next(statuses))) as server:
            with use_cassette(path, "once"):
                ask("httpx", "GET", server.url)
            with use_cassette(path, "rewrite"), cassettes.call():
                assert [ask("httpx", "GET", server.url)[0] for _ in range(2)] == [503, 200]
        assert [item.response["status"] for item in Cassette(path).interactions] == [200]

    def test_an_unknown_mode_is_refused(self, path: Path) -> None:
        with (
            pytest.raises(CassetteError, match="'often' is unknown; expected one of none, once"),
            use_cassette(path, "often"),
        ):
            raise AssertionError

    def test_nested_cassettes_take_turns(self, counter: Server, tmp_path: Path) -> None:
        with use_cassette(tmp_path / "outer.yaml", "once") as outer:
            asked(counter, n=1)
            with use_cassette(tmp_path / "inner.yaml", "once") as inner:
                assert current() is inner
                asked(counter, n=2)
            assert current() is outer
            asked(counter, n=3)
            assert (len(outer.interactions), len(inner.interactions)) == (2, 1)
        assert current() is None

    def test_a_sequence_that_ends_well_does_not_go_back_to_its_error(self, path: Path) -> None:
        statuses = iter([503, 200])
        with Server(lambda seen: Reply(b"{}", next(statuses))) as server:
            with use_cassette(path, "once"):
                assert [ask("httpx", "GET", server.url)[0] for _ in range(2)] == [503, 200]
            with pytest.raises(CassetteMismatch), use_cassette(path):
                assert [ask("httpx", "GET", server.url)[0] for _ in range(2)] == [503, 200]
                ask("httpx", "GET", server.url)

    def test_a_file_that_changed_meanwhile_is_left_as_it_is(self, counter: Server, path: Path) -> None:
        with use_cassette(path, "once"):
            asked(counter, n=1)
        text = path.read_text() + "# edited\n"
        with pytest.raises(CassetteError, match="changed it since it was opened"), use_cassette(path, "new_episodes"):
            path.write_text(text)
            asked(counter, n=2)
        assert path.read_text() == text

    def test_a_file_that_vanished_meanwhile_is_written_again(self, counter: Server, path: Path) -> None:
        with use_cassette(path, "once"):
            asked(counter, n=1)
        with use_cassette(path, "new_episodes"):
            path.unlink()
            asked(counter, n=2)
        assert len(Cassette(path).interactions) == 2


class TestUnused:
    def test_an_unused_interaction_is_reported(self, server: Server, path: Path) -> None:
        with use_cassette(path, "once"):
            ask("httpx", "GET", f"{server.url}/a")
            ask("httpx", "GET", f"{server.url}/b")
        with use_cassette(path) as cassette:
            ask("httpx", "GET", f"{server.url}/b")
            assert [item.request["uri"] for item in cassette.unused()] == [f"{server.url}/a"]
        with (
            pytest.raises(
                CassetteError, match=rf"1 of its interactions were not used, the first is GET {server.url}/a"
            ),
            use_cassette(path, fail_on_unused=True),
        ):
            ask("httpx", "GET", f"{server.url}/b")
        with use_cassette(path, fail_on_unused=True):
            ask("httpx", "GET", f"{server.url}/b")
            ask("httpx", "GET", f"{server.url}/a")

    def test_recording_again_reports_no_unused_interaction(self, server: Server, path: Path) -> None:
        with use_cassette(path, "once"):
            ask("httpx", "GET", f"{server.url}/a")
        with use_cassette(path, "all", fail_on_unused=True):
            ask("httpx", "GET", f"{server.url}/b")


class TestMetadata:
    def test_it_says_when_where_and_with_what(self, server: Server, path: Path) -> None:
        with use_cassette(path, "once"):
            ask("httpx", "GET", f"{server.url}/a")
        data = yaml.safe_load(path.read_text())
        assert data["format"] == 1
        assert set(data["metadata"]["versions"]) == {"llm_tester", "litellm", "pydantic-ai", "vcrpy"}
        recorded = data["interactions"][0]["recorded"]
        assert recorded["origin"] == f"127.0.0.1:{server.port}"
        assert recorded["seconds"] >= 0
        assert Cassette(path).age_days() == pytest.approx(0, abs=0.1)

    def test_the_origin_names_a_stand_in(self, server: Server, path: Path) -> None:
        with use_cassette(path, "once", origin="stand-in: a test"):
            ask("httpx", "GET", f"{server.url}/a")
        assert Cassette(path).interactions[0].recorded["origin"] == "stand-in: a test"

    @pytest.mark.parametrize(
        ("at", "days"),
        [("2020-01-01T00:00:00+00:00", True), ("2020-01-01", True), ("once upon a time", False), ("", False)],
    )
    def test_the_age_is_that_of_the_oldest(self, at: str, days: bool, server: Server, path: Path) -> None:
        with use_cassette(path, "once"):
            ask("httpx", "GET", f"{server.url}/a")
        data = yaml.safe_load(path.read_text())
        data["interactions"][0]["recorded"]["at"] = at
        path.write_text(yaml.safe_dump(data))
        age = Cassette(path).age_days()
        assert (age is not None and age > 2000) == days

    def test_a_call_collects_what_it_used_and_notes_what_it_cost(self, server: Server, path: Path) -> None:
        with use_cassette(path, "once"), cassettes.call() as call:
            assert call.metadata("origin") is None
            ask("httpx", "GET", f"{server.url}/a")
            call.annotate(model="m", cost_usd=None)
            assert not call.is_replay
            assert call.metadata("model") == "m"
        with use_cassette(path), cassettes.call() as call:
            ask("httpx", "GET", f"{server.url}/a")
            call.annotate(model="other")
            assert call.is_replay
            assert call.seconds == call.metadata("seconds")
            assert (call.metadata("model"), call.metadata("cost_usd")) == ("m", None)
        with cassettes.call() as call:
            assert call.seconds is None

    def test_a_failure_is_not_recorded(self, path: Path) -> None:
        """Two refusals and the reply that follows are one interaction: the reply."""
        replies = iter([Reply(b"{}", 429), Reply(b"[]", 503), Reply(b"{}")])
        with Server(lambda seen: next(replies)) as server, use_cassette(path, "once") as cassette:
            with cassettes.call() as call:
                assert [ask("httpx", "GET", server.url)[0] for _ in range(3)] == [429, 503, 200]
                assert [item.response["status"] for item in call.recorded] == [200]
                assert [item.status for item in call.exchanges] == [429, 503, 200]
            assert [item.response["status"] for item in cassette.interactions] == [200]

    @pytest.mark.parametrize("mode", ["once", "new_episodes", "all", "rewrite"])
    def test_a_wrong_key_writes_no_file(self, mode: str, path: Path) -> None:
        """A 401 leaves nothing that the next run, with the right key, could replay."""
        with Server(lambda seen: Reply(b"{}", 401)) as server, use_cassette(path, mode):
            ask("httpx", "POST", server.url, json={})
        assert not path.exists()

    @pytest.mark.parametrize("mode", ["all", "rewrite"])
    def test_a_failure_never_takes_the_place_of_a_reply(self, mode: str, path: Path) -> None:
        """Re-recording with an expired key leaves the file as it is."""
        statuses = iter([200, 200, 401, 401])
        with Server(lambda seen: Reply(b'{"n": 1}', next(statuses))) as server:
            with use_cassette(path, "once"):
                ask("httpx", "POST", server.url, json={"a": 1})
                ask("httpx", "POST", server.url, json={"a": 2})
            before = path.read_bytes()
            with use_cassette(path, mode):
                assert ask("httpx", "POST", server.url, json={"a": 1})[0] == 401
                assert ask("httpx", "POST", server.url, json={"a": 2})[0] == 401
        assert path.read_bytes() == before

    def test_a_proxys_login_page_is_not_recorded(self, path: Path) -> None:
        """HTML with status 200 in reply to JSON is no reply of the API's."""
        page = Reply(b"<html>Log in</html>", 200, {"content-type": "text/html; charset=utf-8"})
        with Server(lambda seen: page) as server, use_cassette(path, "once"):
            assert ask("httpx", "POST", server.url, json={})[0] == 200
        assert not path.exists()

    def test_a_test_about_errors_records_them_in_order(self, path: Path) -> None:
        """With record_errors the refusals are interactions, and replay in the order in which they came."""
        statuses = iter([500, 200])
        with (
            Server(lambda seen: Reply(b"{}", next(statuses))) as server,
            use_cassette(path, "once", record_errors=True) as cassette,
        ):
            assert [ask("httpx", "GET", server.url)[0] for _ in range(2)] == [500, 200]
            assert [item.response["status"] for item in cassette.interactions] == [500, 200]
        with use_cassette(path):
            assert [ask("httpx", "GET", server.url)[0] for _ in range(2)] == [500, 200]

    def test_a_recorded_failure_is_called_again_and_replaced(self, path: Path) -> None:
        """new_episodes does not replay a recorded error; the reply takes its place."""
        statuses = iter([500, 200])
        with Server(lambda seen: Reply(b"{}", next(statuses))) as server:
            with use_cassette(path, "once", record_errors=True):
                ask("httpx", "GET", server.url)
            with use_cassette(path, "new_episodes") as cassette:
                assert ask("httpx", "GET", server.url)[0] == 200
                assert [item.response["status"] for item in cassette.interactions] == [200]

    def test_interactions_are_in_the_order_in_which_they_were_asked(self, path: Path) -> None:
        """The first request is answered last; at the end of the block, the file has it first."""
        second_is_answered = threading.Event()

        def answer(seen: Seen) -> Reply:
            if seen.path == "/first":
                second_is_answered.wait(30)
            else:
                second_is_answered.set()
            return Reply(b"{}")

        with Server(answer) as server, use_cassette(path, "once") as cassette:
            first = threading.Thread(
                target=contextvars.copy_context().run, args=(ask, "httpx", "GET", f"{server.url}/first")
            )
            first.start()
            while not server.seen:
                first.join(0.001)
            ask("httpx", "GET", f"{server.url}/second")
            first.join()
        uris = [item.request["uri"] for item in Cassette(path).interactions]
        assert uris == [item.request["uri"] for item in cassette.interactions]
        assert [uri.rpartition("/")[2] for uri in uris] == ["first", "second"]

    def test_what_changes_every_time_may_be_ignored(self, path: Path) -> None:
        """A random id is neither matched on nor in the file, wherever the path says that it is."""
        paths = ["$.user", "$.metadata.request_id", "$.messages[*].id"]

        def work(mode: str) -> tuple[int, str]:
            token = secrets.token_hex(8)
            body = {"user": token, "metadata": {"request_id": token}, "messages": [{"id": token, "text": "Hi."}]}
            with use_cassette(path, mode, ignore=paths):
                return ask("httpx", "POST", server.url, json=body)[0], token

        with Server(lambda seen: Reply(b"{}")) as server:
            status, token = work("once")
            assert token in json.dumps(server.seen[0].body.decode())
            assert (status, work("none")[0], len(server.seen)) == (200, 200, 1)
        assert token not in path.read_text()
        assert "Hi." in path.read_text()
        with pytest.raises(CassetteError, match="no path"), use_cassette(path, ignore=["user"]):
            pass

    def test_a_shared_file_keeps_what_another_test_asked_for(self, path: Path) -> None:
        """Two tests that record one named file again do not delete each other's replies."""
        with Server(lambda seen: Reply(b"{}")) as server:
            for mode in ("new_episodes", "rewrite"):
                for number in (1, 2):
                    with use_cassette(path, mode, shared=True) as cassette:
                        ask("httpx", "POST", server.url, json={"test": number})
                        count = len(cassette.interactions)
        assert count == 2


CHAT = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}],
    }
).encode()


class TestErrorsThatSomethingSwallowed:
    """A user's code between the request and the cassette must not make a drift or an unsaved reply pass unseen."""

    def swallowing(self, url: str) -> None:
        # Compiled under another name, as a library's code is.
        library: dict[str, Any] = {"__name__": "a_library"}
        exec("def swallow(ask, *args):\n  try:\n    ask(*args)\n  except BaseException:\n    pass", library)
        library["swallow"](ask, "httpx", "GET", url)

    def test_mismatch_is_raised_at_the_end_of_the_cassette(self, server: Server, path: Path) -> None:
        with pytest.raises(CassetteMismatch), use_cassette(path):
            self.swallowing(server.url)
        assert left_open() == []

    def test_mismatch_replaces_the_users_exception(self, server: Server, path: Path) -> None:
        with pytest.raises(CassetteMismatch) as caught, use_cassette(path):
            self.swallowing(server.url)
            raise ZeroDivisionError
        assert isinstance(caught.value.__cause__, ZeroDivisionError)

    def test_mismatch_is_raised_at_the_end_of_a_call(self, server: Server, path: Path) -> None:
        with use_cassette(path), pytest.raises(CassetteMismatch), cassettes.call():
            self.swallowing(server.url)

    def test_mismatch_replaces_the_exception_of_a_call(self, server: Server, path: Path) -> None:
        with use_cassette(path), pytest.raises(CassetteMismatch), cassettes.call():
            self.swallowing(server.url)
            raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError), cassettes.call():
            raise ZeroDivisionError

    def test_a_reply_that_cannot_be_saved_raises_through_an_sdk(self, path: Path) -> None:
        def answer(seen: Seen) -> Reply:
            path.mkdir(exist_ok=True)
            return Reply(CHAT)

        with Server(answer) as server:
            client = openai.OpenAI(api_key="none", base_url=server.url, max_retries=2)
            with pytest.raises(CassetteError, match="the old file"), client, use_cassette(path, "once"):
                client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Say yes."}])
        assert list(path.parent.iterdir()) == [path]


class TestNeighbours:
    """Plain vcrpy, in the same process."""

    vcr = pytest.importorskip("vcr")

    @pytest.mark.parametrize("client", ["httpx", "httpx2", "aiohttp"])
    def test_a_cassette_inside_one_of_vcrpy_gets_the_requests(self, client: str, server: Server, path: Path) -> None:
        theirs = str(path.parent / "theirs.yaml")
        with self.vcr.use_cassette(theirs, record_mode="once") as outer:
            with use_cassette(path, "once"):
                ask(client, "GET", f"{server.url}/a")
            assert len(outer) == 0
            ask(client, "GET", f"{server.url}/b")
            assert len(outer) == 1
        assert left_open() == []

    @pytest.mark.parametrize("client", CLIENTS)
    def test_one_of_vcrpy_inside_a_cassette_gets_the_requests(self, client: str, server: Server, path: Path) -> None:
        theirs = str(path.parent / "theirs.yaml")
        with use_cassette(path, "once") as outer:
            with self.vcr.use_cassette(theirs, record_mode="once") as inner:
                ask(client, "GET", f"{server.url}/a")
                assert len(inner) == 1
            ask(client, "GET", f"{server.url}/b")
            assert f"{server.url}/b" in [item.request["uri"] for item in outer.interactions]
        assert left_open() == []

    def test_a_cassette_goes_on_if_one_of_vcrpy_ends_first(self, server: Server, path: Path) -> None:
        theirs = self.vcr.use_cassette(str(path.parent / "theirs.yaml"), record_mode="once")
        theirs.__enter__()
        with use_cassette(path, "once"):
            ask("httpx", "GET", f"{server.url}/a")
            theirs.__exit__(None, None, None)
            with use_cassette(path.parent / "two.yaml", "once") as second:
                # Opening a cassette restores our patch, which vcrpy removed with its own.
                ask("httpx", "GET", f"{server.url}/b")
            assert [item.request["uri"] for item in second.interactions] == [f"{server.url}/b"]
        assert left_open() == []

    def test_a_cassette_of_vcrpy_that_ends_last_leaves_requests_unpatched(self, server: Server, path: Path) -> None:
        theirs = self.vcr.use_cassette(str(path.parent / "theirs.yaml"), record_mode="once")
        with use_cassette(path, "once"):
            theirs.__enter__()
        theirs.__exit__(None, None, None)
        assert ask("httpx", "GET", f"{server.url}/a")[0] == 200
        with use_cassette(path, "once"):
            ask("httpx", "GET", f"{server.url}/a")
        assert left_open() == []


def test_a_users_client_may_be_older_than_the_cassette(server: Server, path: Path) -> None:
    with httpx.Client(trust_env=False, verify=False) as client:
        client.get(f"{server.url}/before")
        with use_cassette(path, "once"):
            client.get(f"{server.url}/in")
        with use_cassette(path):
            assert client.get(f"{server.url}/in").json()["path"] == "/in"
    assert [seen.path for seen in server.seen] == ["/before", "/in"]
    assert echo(server.seen[0]).status == 200
