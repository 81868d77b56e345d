"""Injected faults: what each client and SDK raises for them, how often, and in which calls."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3
from conftest import wire_entry
from standins import Fault, Reply, StandIn

from llm_tester import use_cassette
from llm_tester.cassettes.context import injected_faults
from llm_tester.errors import MissingKeyError, RateLimitError, ServerError
from llm_tester.llms.llm_registry import get_llm_provider
from llm_tester.testing import faults

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")

NOWHERE = "https://api.nowhere.example"
PATH = "/v1/chat/completions"
PATIENCE = 30.0  # seconds that a client waits for what comes
SHORT = 0.2  # seconds that it waits for what never comes
MESSAGES: list[Any] = [{"role": "user", "content": "Say yes."}]

Answer = tuple[int, Any, bytes]


def _sync(library: Any) -> Callable[..., Answer]:
    def ask(url: str, patience: float = PATIENCE) -> Answer:
        with library.Client(timeout=library.Timeout(30, read=patience)) as client:
            answer = client.post(url + PATH, json={})
        return answer.status_code, answer.headers, answer.content

    return ask


def _async(library: Any) -> Callable[..., Answer]:
    async def ask(url: str, patience: float = PATIENCE) -> Answer:
        async with library.AsyncClient(timeout=library.Timeout(30, read=patience)) as client:
            answer = await client.post(url + PATH, json={})
        return answer.status_code, answer.headers, answer.content

    return lambda *arguments: asyncio.run(ask(*arguments))


def _aiohttp(url: str, patience: float = PATIENCE) -> Answer:
    async def ask() -> Answer:
        limits = aiohttp.ClientTimeout(total=30, sock_read=patience)
        async with aiohttp.ClientSession(timeout=limits) as session, session.post(url + PATH, json={}) as answer:
            return answer.status, answer.headers, await answer.read()

    return asyncio.run(ask())


def _requests(url: str, patience: float = PATIENCE) -> Answer:
    answer = requests.post(url + PATH, json={}, timeout=(30, patience))
    return answer.status_code, answer.headers, answer.content


def _urllib3(url: str, patience: float = PATIENCE) -> Answer:
    with urllib3.PoolManager(timeout=urllib3.Timeout(connect=30, read=patience), retries=False) as pool:
        answer = pool.request("POST", url + PATH, json={})
    return answer.status, answer.headers, answer.data


CLIENTS: dict[str, Callable[..., Answer]] = {
    "httpx": _sync(httpx),
    "httpx async": _async(httpx),
    "httpx2": _sync(httpx2),
    "httpx2 async": _async(httpx2),
    "aiohttp": _aiohttp,
    "requests": _requests,
    "urllib3": _urllib3,
}

BROKEN: dict[str, tuple[Callable[[], faults.Injection], Callable[[], Fault]]] = {
    "timeout": (faults.timeout, lambda: Fault(hold=threading.Event())),
    "reset": (faults.connection_reset, lambda: Fault(reset=True)),
    "cut": (faults.cut_body, lambda: Fault(cut=True)),
}

STATUSES: dict[int, Callable[[], faults.Injection]] = {
    400: lambda: faults.status(400),
    401: faults.unauthorized,
    403: faults.forbidden,
    404: faults.not_found,
    429: faults.rate_limit,
    500: faults.server_error,
    529: faults.overloaded,
}


def _raised_by(ask: Callable[..., Answer], url: str, patience: float) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is, is the question
        ask(url, patience)
    return caught.value


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", BROKEN)
def test_a_client_raises_what_it_raises_on_a_socket(name: str, client: str, standin: Callable[..., StandIn]) -> None:
    inject, on_a_socket = BROKEN[name]
    patience = SHORT if name == "timeout" else PATIENCE
    real = _raised_by(CLIENTS[client], standin("yes", faults=[on_a_socket()]).url, patience)
    with inject() as fault:
        injected = _raised_by(CLIENTS[client], NOWHERE, patience)
    assert fault.count == 1
    if (client, name) == ("requests", "cut"):
        # On a socket the head arrives before the body breaks, and requests tells the two moments apart.
        assert isinstance(real, requests.exceptions.ChunkedEncodingError)
        assert isinstance(injected, requests.exceptions.RequestException)
    else:
        assert type(injected) is type(real)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("status", STATUSES)
def test_a_client_gets_the_status_and_an_error_as_json(status: int, client: str) -> None:
    with STATUSES[status]() as fault:
        code, headers, body = CLIENTS[client](NOWHERE)
    assert (code, fault.count) == (status, 1)
    assert headers["content-type"] == "application/json"
    assert "retry-after" not in headers
    assert json.loads(body)["error"]["message"] == "injected by llm_tester.testing.faults"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("seconds", "text"), [(0, "0"), (2.5, "2.5")])
def test_a_client_gets_retry_after_and_the_message(seconds: float, text: str, client: str) -> None:
    with faults.status(429, message="slow down", retry_after=seconds):
        _, headers, body = CLIENTS[client](NOWHERE)
    assert headers["retry-after"] == text
    assert json.loads(body)["message"] == "slow down"


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_gets_invalid_json_and_an_empty_reply(client: str) -> None:
    with faults.invalid_json():
        code, _, body = CLIENTS[client](NOWHERE)
    assert code == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    with faults.empty_reply():
        assert CLIENTS[client](NOWHERE)[::2] == (200, b"")


def _openai() -> None:
    import openai

    with openai.OpenAI(api_key="none", base_url=NOWHERE, max_retries=0) as client:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)


def _openai_async() -> None:
    import openai

    async def ask() -> None:
        async with openai.AsyncOpenAI(api_key="none", base_url=NOWHERE, max_retries=0) as client:
            await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    asyncio.run(ask())


def _anthropic() -> None:
    import anthropic

    with anthropic.Anthropic(api_key="none", base_url=NOWHERE, max_retries=0) as client:
        client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=MESSAGES)


def _anthropic_async() -> None:
    import anthropic

    async def ask() -> None:
        async with anthropic.AsyncAnthropic(api_key="none", base_url=NOWHERE, max_retries=0) as client:
            await client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=MESSAGES)

    asyncio.run(ask())


def _mistral() -> None:
    from mistralai.client import Mistral

    with Mistral(api_key="none", server_url=NOWHERE) as client:
        client.chat.complete(model="mistral-small-latest", messages=MESSAGES)


def _google() -> None:
    from google import genai

    client = genai.Client(api_key="none", http_options={"base_url": NOWHERE})
    client.models.generate_content(model="gemini-2.5-flash", contents="Say yes.")


def _google_async() -> None:
    from google import genai

    async def ask() -> None:
        client = genai.Client(api_key="none", http_options={"base_url": NOWHERE})
        await client.aio.models.generate_content(model="gemini-2.5-flash", contents="Say yes.")

    asyncio.run(ask())


def _litellm() -> None:
    import litellm

    litellm.completion(model="openai/gpt-4o", messages=MESSAGES, api_key="none", api_base=NOWHERE, max_retries=0)


def _litellm_async(model: str = "openai/gpt-4o") -> None:
    import litellm

    async def ask() -> None:
        await litellm.acompletion(model=model, messages=MESSAGES, api_key="none", api_base=NOWHERE, max_retries=0)

    asyncio.run(ask())


def _litellm_async_anthropic() -> None:
    _litellm_async("anthropic/claude-haiku-4-5")


VENDOR = {400: "BadRequestError", 401: "AuthenticationError", 403: "PermissionDeniedError", 404: "NotFoundError"}
VENDOR |= {429: "RateLimitError", 500: "InternalServerError", 529: "InternalServerError"}
GOOGLE = {status: "ClientError" if status < 500 else "ServerError" for status in STATUSES}
LITELLM = {**VENDOR, 403: None, 529: None}  # by the route, some are an APIError
SDKS: list[tuple[Callable[[], None], dict[int, Any]]] = [
    (_openai, VENDOR),
    (_openai_async, VENDOR),
    (_anthropic, VENDOR | {529: "OverloadedError"}),
    (_anthropic_async, VENDOR | {529: "OverloadedError"}),
    (_mistral, dict.fromkeys(STATUSES, "SDKError")),
    (_google, GOOGLE),
    (_google_async, GOOGLE),
    (_litellm, LITELLM),
    (_litellm_async, LITELLM),
    (_litellm_async_anthropic, LITELLM),
]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize(("ask", "names"), SDKS, ids=[ask.__name__[1:] for ask, _ in SDKS])
def test_an_sdk_raises_its_own_error(ask: Callable[[], None], names: dict[int, Any], status: int) -> None:
    with STATUSES[status]() as fault, pytest.raises(Exception) as caught:  # noqa: PT011
        ask()
    assert fault.count == 1
    error = caught.value
    assert names[status] in (None, type(error).__name__), repr(error)
    assert "injected by llm_tester.testing.faults" in str(error)


def _ask_nowhere() -> int:
    return httpx.post(NOWHERE + PATH, json={}).status_code


def test_some_calls_meet_it_and_the_others_go_on_to_the_address(standin: Callable[..., StandIn]) -> None:
    server = standin("yes")
    with httpx.Client() as client, faults.server_error(times=2) as fault:
        codes = [client.post(server.url + PATH, json={}).status_code for _ in range(4)]
    assert codes == [500, 500, 200, 200]
    assert fault.count == 2
    assert len(server.requests) == 2


def test_no_call_meets_a_fault_of_no_times(standin: Callable[..., StandIn]) -> None:
    with faults.timeout(times=0) as fault:
        assert httpx.post(standin("yes").url + PATH, json={}).status_code == 200
    assert fault.count == 0


def test_a_fault_without_end_sends_nothing(standin: Callable[..., StandIn]) -> None:
    server = standin("yes")
    with httpx.Client() as client, faults.overloaded() as fault:
        assert {client.post(server.url + PATH, json={}).status_code for _ in range(20)} == {529}
    assert fault.count == 20
    assert server.requests == []


@pytest.mark.parametrize("inside", [True, False])
def test_after_the_fault_the_cassette_answers(inside: bool, standin: Callable[..., StandIn], tmp_path: Path) -> None:
    server, path = standin("yes"), tmp_path / "one.yaml"
    with use_cassette(path, "once"):
        httpx.post(server.url + PATH, json={})
    first, second = use_cassette(path), faults.rate_limit(times=1)
    with contextlib.ExitStack() as stack:
        for manager in (first, second) if inside else (second, first):
            stack.enter_context(manager)
        codes = [httpx.post(server.url + PATH, json={}).status_code for _ in range(2)]
    assert codes == [429, 200]
    assert len(server.requests) == 1


@pytest.mark.parametrize("inject", [faults.server_error, faults.timeout, faults.cut_body])
def test_a_fault_is_not_recorded(
    inject: Callable[..., faults.Injection], standin: Callable[..., StandIn], tmp_path: Path
) -> None:
    server = standin("yes")
    with use_cassette(tmp_path / "one.yaml", "once") as cassette, inject(times=2):
        for _ in range(3):
            with contextlib.suppress(httpx.HTTPError):
                httpx.post(server.url + PATH, json={})
    assert [item.response["status"] for item in cassette.interactions] == [200]
    assert "attempts" not in cassette.interactions[0].recorded


def test_a_fault_that_may_end_does_not_hide_that_the_key_is_missing(
    standin: Callable[..., StandIn], write_config: Callable[..., Path]
) -> None:
    write_config({"wire": wire_entry("openai", standin(Reply("yes")).url)})
    provider = get_llm_provider("wire")
    with faults.rate_limit(times=1), pytest.raises(MissingKeyError):
        provider.get_response("Say yes.", "A source.")
    with faults.rate_limit(), pytest.raises(RateLimitError):
        provider.get_response("Say yes.", "A source.")


def test_the_innermost_fault_comes_first() -> None:
    with faults.server_error(times=2) as outer, faults.unauthorized(times=1) as inner, faults.not_found(times=1):
        assert [_ask_nowhere() for _ in range(4)] == [404, 401, 500, 500]
    assert (outer.count, inner.count) == (2, 1)


def test_a_fault_of_one_host_spares_others(standin: Callable[..., StandIn]) -> None:
    server = standin("yes")
    with faults.overloaded(host="api.nowhere.example") as fault:
        assert [_ask_nowhere(), _ask_nowhere()] == [529, 529]
        assert httpx.post(server.url + PATH, json={}).status_code == 200
    assert fault.count == 2


def test_only_a_fault_without_end_blocks_all_requests() -> None:
    with faults.timeout() as always, faults.timeout(times=1) as once, faults.timeout(host="one.example") as one:
        assert (always.endless, once.endless, one.endless) == (True, False, False)


def test_a_fault_holds_in_its_own_context(standin: Callable[..., StandIn]) -> None:
    server = standin("yes")
    codes: list[int] = []

    def ask() -> None:
        codes.append(httpx.post(server.url + PATH, json={}).status_code)

    with faults.unauthorized():
        bare, carried = (
            threading.Thread(target=ask),
            threading.Thread(target=contextvars.copy_context().run, args=[ask]),
        )
        for thread in (bare, carried):
            thread.start()
            thread.join()
    assert codes == [200, 401]


def test_threads_share_the_count(standin: Callable[..., StandIn]) -> None:
    server = standin("yes")
    with httpx.Client() as client, faults.forbidden(times=20) as fault:
        contexts = [contextvars.copy_context() for _ in range(64)]

        def ask(context: contextvars.Context) -> int:
            return context.run(client.post, server.url + PATH, json={}).status_code

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            codes = list(pool.map(ask, contexts))
    assert (codes.count(403), codes.count(200), fault.count) == (20, 44, 20)
    assert len(server.requests) == 44


def test_tasks_each_meet_their_own_and_share_an_outer_one() -> None:
    async def ask(client: httpx.AsyncClient, code: int) -> list[int]:
        with faults.status(code, times=2):
            return [(await client.post(NOWHERE + PATH, json={})).status_code for _ in range(3)]

    async def everyone() -> list[list[int]]:
        async with httpx.AsyncClient() as client:
            return list(await asyncio.gather(*(ask(client, 410 + number) for number in range(16))))

    with faults.server_error() as outer:
        found = asyncio.run(everyone())
    assert found == [[410 + number, 410 + number, 500] for number in range(16)]
    assert outer.count == 16


@pytest.mark.parametrize("inject", [faults.timeout, faults.unauthorized, faults.cut_body])
def test_an_interrupt_ends_the_fault(inject: Callable[[], faults.Injection]) -> None:
    def interrupted() -> None:
        with inject():
            assert injected_faults()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not injected_faults()


def test_a_second_provider_can_answer_if_the_first_fails(
    standin: Callable[..., StandIn], write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIRE_API_KEY", "wire-0123456789")
    server = standin(Reply("yes"))
    first = {**wire_entry("anthropic", NOWHERE), "max_attempts": 1}
    write_config({"first": first, "second": wire_entry("openai", server.url)})

    def answer() -> str:
        for name in ("first", "second"):
            chosen = get_llm_provider(name)
            with contextlib.suppress(ServerError, RateLimitError):
                return chosen.get_response("Say yes.", "A source.")[0]
        raise AssertionError("neither answered")

    with faults.overloaded(host="api.nowhere.example") as fault:
        assert answer() == "yes"
    assert fault.count == 1


def test_a_provider_without_http_meets_no_fault() -> None:
    mock = get_llm_provider("mock")
    with faults.server_error() as fault:
        assert mock.get_response("Say yes.", "A source.")[0] == "mock reply"
    assert fault.count == 0


def test_all_lists_every_fault() -> None:
    made_here = {name for name, value in vars(faults).items() if getattr(value, "__module__", "") == faults.__name__}
    assert {name for name in made_here if not name.startswith("_")} == set(faults.__all__)
