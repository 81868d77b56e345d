"""Keys stay with the host they are for, and no server holds a call or fills the memory."""

import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import WIRES, wire_entry
from hostile_server import FAULTS, REDIRECTS, redirect
from http_server import Reply, Server
from standins import StandIn

from llm_tester import use_cassette
from llm_tester.errors import ProviderError, ServerError, UnusableReplyError
from llm_tester.llms.base import BaseLLM
from llm_tester.llms.llm_registry import get_llm_provider

ROUTES = WIRES[:6]
LARGE = ("body without end", "chunks without end", "gzip bomb", "gzip bomb in gzip", "brotli bomb")
LARGE_ERRORS = ("gzip bomb as an error", "error of 5 MB")

ProviderOn = Callable[..., BaseLLM]


@pytest.fixture
def provider_on(write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> ProviderOn:
    monkeypatch.setenv("WIRE_API_KEY", "-".join(["guard", "canary", "0123456789"]))

    def make(route: str, url: str, **more: Any) -> BaseLLM:
        write_config({"wire": {**wire_entry(route, url), "max_reply_bytes": 1_000_000, **more}})
        provider = get_llm_provider("wire")
        assert provider is not None
        return provider

    return make


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("route", ROUTES)
def test_a_redirect_to_another_port_is_not_followed(route: str, status: int, provider_on: ProviderOn) -> None:
    with (
        StandIn("stolen") as other,
        Server(redirect(status, f"{other.url}/v1/taken?key=1")) as server,
        pytest.raises(UnusableReplyError) as caught,
    ):
        provider_on(route, server.url).get_response("Say yes.", "A source.")
    assert f"{other.url}/v1/taken;" in str(caught.value), "it says where, without the query"
    assert (len(server.seen), len(other.seen)) == (1, 0)
    assert (caught.value.attempts, caught.value.unanswered, caught.value.failed_cost) == (1, 0, 0.0)


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("route", ROUTES)
def test_a_redirect_to_itself_is_followed_once(route: str, status: int, provider_on: ProviderOn) -> None:
    with Server(redirect(status, "")) as server, pytest.raises(UnusableReplyError, match="redirects again"):
        provider_on(route, server.url).get_response("Say yes.", "A source.")
    assert len(server.seen) == 2


@pytest.mark.parametrize("to", ["//OTHER/v1", "http://user@OTHER/", "http:\\\\OTHER/", "https://SAME/", "http://[::1/"])
def test_no_spelling_of_another_host_is_followed(to: str, provider_on: ProviderOn) -> None:
    with StandIn("stolen") as other, Server(lambda _: Reply(b"{}", 307, {"location": location})) as server:
        location = to.replace("OTHER", f"127.0.0.1:{other.port}").replace("SAME", f"127.0.0.1:{server.port}")
        with pytest.raises(UnusableReplyError, match="it was not followed"):
            provider_on("anthropic", server.url).get_response("Say yes.", "A source.")
    assert (len(server.seen), len(other.seen)) == (1, 0)


@pytest.mark.parametrize("route", ROUTES)
def test_a_redirect_is_neither_recorded_nor_replayed(route: str, provider_on: ProviderOn, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    with StandIn("yes") as server:
        provider = provider_on(route, server.url)
        with use_cassette(path, "once", origin="stand-in: a test"):
            provider.get_response("Say yes.", "A source.")
        recording = yaml.safe_load(path.read_text(encoding="utf-8"))
        recording["interactions"][0]["response"] |= {"status": 307, "headers": {"location": ["http://elsewhere.test"]}}
        path.write_text(yaml.safe_dump(recording) + "# end\n", encoding="utf-8")
        with use_cassette(path), pytest.raises(UnusableReplyError, match=r"to http://elsewhere[.]test; it was not"):
            provider.get_response("Say yes.", "A source.")
        server.answer = redirect(307, "http://elsewhere.test/v1")
        with use_cassette(tmp_path / "none.yaml", "once"), pytest.raises(UnusableReplyError):
            provider.get_response("Say yes.", "A source.")
    assert not (tmp_path / "none.yaml").exists()


@pytest.mark.parametrize("fault", LARGE)
@pytest.mark.parametrize("route", ROUTES)
def test_a_reply_that_is_too_large_is_refused(route: str, fault: str, provider_on: ProviderOn) -> None:
    said = r"more than 1,000,000 bytes, unpacked.*raise max_reply_bytes"
    with Server(FAULTS[fault]) as server, pytest.raises(UnusableReplyError, match=said):
        provider_on(route, server.url).get_response("Say yes.", "A source.")
    assert len(server.seen) == 1


@pytest.mark.parametrize("fault", LARGE_ERRORS)
@pytest.mark.parametrize("route", ROUTES)
def test_a_large_error_keeps_its_status(route: str, fault: str, provider_on: ProviderOn) -> None:
    with Server(FAULTS[fault]) as server, pytest.raises(ServerError) as caught:
        provider_on(route, server.url, max_attempts=1).get_response("Say yes.", "A source.")
    assert caught.value.status_code == 500
    original = max(len(str(link)) for link in (caught.value, caught.value.__cause__))
    assert original < 70_000, "what LiteLLM redacts is cut"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
@pytest.mark.parametrize("route", ROUTES)
def test_nothing_stays_open_after_faults(route: str, provider_on: ProviderOn) -> None:
    def meet(*faults: str) -> tuple[int, list[str]]:
        for fault in faults:
            with Server(FAULTS[fault]) as server:
                provider = provider_on(route, server.url, timeout=0.2, max_attempts=1)
                with pytest.raises(ProviderError):
                    provider.get_response("Say yes.", "A source.")
        return len([*Path("/proc/self/fd").iterdir()]), sorted(thread.name for thread in threading.enumerate())

    faults = ("body drips", "body without end", "error of 5 MB", "headers drip")
    assert meet(*faults) == meet(*faults)


def test_a_same_origin_redirect_leads_to_the_reply(provider_on: ProviderOn) -> None:
    with StandIn("yes") as server:
        normal = server.answer
        server.answer = lambda seen: (
            normal(seen)
            if seen.path.endswith("?moved")
            else Reply(status=307, headers={"location": f"{seen.path}?moved"})
        )
        text, usage = provider_on("openai", server.url).get_response("Say yes.", "A source.")
    assert (text, usage.attempts) == ("yes", 1)


def test_a_packed_reply_is_read(provider_on: ProviderOn) -> None:
    with StandIn("yes") as server:
        normal = server.answer
        server.answer = lambda seen: Reply(
            gzip.compress(normal(seen).body), 200, {"content-type": "application/json", "content-encoding": "gzip"}
        )
        for route in ROUTES:
            assert provider_on(route, server.url).get_response("Say yes.", "A source.")[0] == "yes"


def test_an_sdk_that_tries_again_sends_nothing_more(provider_on: ProviderOn) -> None:
    import httpx

    class Again(BaseLLM):
        def _call_llm_api(self, prompt: str, *_: Any) -> tuple[str, dict[str, Any]]:
            for _ in range(3):
                try:
                    return httpx.post(f"{self.config.api_base}/v1", json=prompt, follow_redirects=True).text, {}
                except Exception:  # noqa: BLE001, S110 (what an SDK does)
                    pass
            raise RuntimeError("gave up")

    with StandIn("stolen") as other, Server(redirect(307, f"{other.url}/v1")) as server:
        config = provider_on("openai", server.url).config
        with pytest.raises(UnusableReplyError, match="it was not followed"):
            Again(config).get_response("Say yes.", "A source.", "gpt-4o")
    assert (len(server.seen), len(other.seen)) == (1, 0)
    assert json.loads(server.seen[0].body)
