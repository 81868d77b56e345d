"""A request that is not what was recorded: one error with the difference, through every layer that would swallow it."""

# ruff: noqa: PT012 (a server around a cassette around a client reads better in steps)

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from cassette_helpers import Reply, Seen, Server, ask

from llm_tester.cassettes import use_cassette
from llm_tester.errors import CassetteMismatch

PROMPT = "Extract the invoice.\n\nSource Text:\nInvoice 17\nTotal 12.50 EUR\n"
CHAT = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(lambda seen: Reply(json.dumps(CHAT).encode())) as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.yaml"


def litellm_sync(url: str, prompt: str, **options: Any) -> str:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    message = {"role": "user", "content": prompt}
    reply = litellm.completion(
        model="openai/gpt-4o", messages=[message], api_base=url, api_key="none", max_retries=2, **options
    )
    return str(reply.choices[0].message.content)


def litellm_async(url: str, prompt: str, **options: Any) -> str:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    async def work() -> Any:
        message = {"role": "user", "content": prompt}
        return await litellm.acompletion(
            model="openai/gpt-4o", messages=[message], api_base=url, api_key="none", max_retries=2, **options
        )

    return str(asyncio.run(work()).choices[0].message.content)


def openai_sdk(url: str, prompt: str, **options: Any) -> str:
    with openai.OpenAI(api_key="none", base_url=url, max_retries=2) as client:
        message: Any = {"role": "user", "content": prompt}
        reply = client.chat.completions.create(model="gpt-4o", messages=[message], **options)
        return str(reply.choices[0].message.content)


def openai_async(url: str, prompt: str, **options: Any) -> str:
    async def work() -> Any:
        async with openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=2) as client:
            message: Any = {"role": "user", "content": prompt}
            return await client.chat.completions.create(model="gpt-4o", messages=[message], **options)

    return str(asyncio.run(work()).choices[0].message.content)


def pydantic_ai(url: str, prompt: str, **options: Any) -> str:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async def work() -> str:
        async with openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=2) as client:
            model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(openai_client=client))
            return str((await Agent(model, retries=2).run(prompt, model_settings=options or None)).output)

    return asyncio.run(work())


@pytest.mark.parametrize("route", [litellm_sync, litellm_async, openai_sdk, openai_async, pydantic_ai])
class TestThroughEveryLayer:
    def test_a_mismatch_is_raised_once_and_never_retried(
        self, route: Any, server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with use_cassette(path, "once", again="llm-tester run --record rewrite"):
            assert route(server.url, PROMPT) == "Yes."
        with use_cassette(path):
            assert route(server.url, PROMPT) == "Yes."
        with (
            pytest.raises(CassetteMismatch) as caught,
            use_cassette(path, again="llm-tester run --record rewrite") as cassette,
        ):
            route(server.url, PROMPT.replace("Total", "Sum"), temperature=0.5)
        message = str(caught.value)
        assert message.startswith(f"{path}: this request is not what was recorded.\n")
        assert f"asked: POST {server.url}/chat/completions" in message
        assert "-        Total 12.50 EUR" in message
        assert "+        Sum 12.50 EUR" in message
        assert "+    temperature: 0.5" in message
        assert message.endswith("to record again: llm-tester run --record rewrite")
        assert caught.value.path == str(path)
        assert len(server.seen) == 1
        # One lookup: nothing of the recording was used up, and no second request came.
        assert len(cassette.unused()) == 1

    def test_an_async_route_replays_in_tasks_of_one_loop(self, route: Any, server: Server, tmp_path: Path) -> None:
        for number in range(3):
            with use_cassette(tmp_path / f"{number}.yaml", "once"):
                assert route(server.url, f"prompt {number}") == "Yes."
        server.seen.clear()
        for number in range(3):
            with use_cassette(tmp_path / f"{number}.yaml"):
                assert route(server.url, f"prompt {number}") == "Yes."
        assert server.seen == []


def test_eight_tasks_of_litellm_each_have_their_own_cassette(tmp_path: Path) -> None:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    def answer(seen: Seen) -> Reply:
        said = json.loads(json.dumps(CHAT))
        said["choices"][0]["message"]["content"] = seen.headers["x-who"]
        return Reply(json.dumps(said).encode())

    async def one(number: int, mode: str) -> str:
        with use_cassette(tmp_path / f"{number}.yaml", mode):
            reply = await litellm.acompletion(
                model="openai/gpt-4o",
                messages=[{"role": "user", "content": "Who?"}],
                api_base=server.url,
                api_key="none",
                extra_headers={"x-who": str(number)},
            )
            return str(reply.choices[0].message.content)

    async def run(mode: str) -> list[str]:
        return list(await asyncio.gather(*(one(number, mode) for number in range(8))))

    with Server(answer) as server:
        expected = [str(number) for number in range(8)]
        assert asyncio.run(run("once")) == expected
        assert len(server.seen) == 8
        assert asyncio.run(run("none")) == expected
        assert len(server.seen) == 8


class TestWhatTheErrorSays:
    def mismatch(self, path: Path, method: str, url: str, **options: Any) -> str:
        with pytest.raises(CassetteMismatch) as caught, use_cassette(path):
            ask("httpx", method, url, **options)
        return str(caught.value)

    def recorded(self, path: Path, server: Server, *bodies: Any) -> None:
        with use_cassette(path, "once"):
            for number, body in enumerate(bodies):
                ask("httpx", "POST", f"{server.url}/{number}", json=body)

    def test_the_difference_is_a_diff_of_the_cassettes_own_text(self, server: Server, path: Path) -> None:
        self.recorded(path, server, {"a": 1, "b": [1, {"c": 2}], "gone": True})
        body = {"a": 1, "b": [1, {"c": 3}], "new": None}
        message = self.mismatch(path, "POST", f"{server.url}/0", json=body)
        assert message.splitlines() == [
            f"{path}: this request is not what was recorded.",
            f"  asked: POST {server.url}/0",
            "  --- recorded",
            "  +++ asked",
            "  @@ -7,4 +7,4 @@",
            "       b:",
            "       - 1",
            "  -    - c: 2",
            "  -    gone: true",
            "  +    - c: 3",
            "  +    new: null",
            f"  to record again: open {path} with record='rewrite'",
        ]

    def test_a_long_paragraph_differs_where_it_differs(self, server: Server, path: Path) -> None:
        words = [f"word{number}" for number in range(400)]
        self.recorded(path, server, {"text": " ".join(words)})
        words[250] = "another"
        message = self.mismatch(path, "POST", f"{server.url}/0", json={"text": " ".join(words)})
        assert "another word251" in message
        assert "word100" not in message
        assert "word399" not in message

    @pytest.mark.parametrize(
        ("was", "now", "line"),
        [("a\nb\n", "a\nb", "-    text: |\n  +    text: |-\n"), ("a\nb", "a\r\nb", 'text: "a\\r\\nb"')],
    )
    def test_ends_of_lines_are_seen(self, was: str, now: str, line: str, server: Server, path: Path) -> None:
        self.recorded(path, server, {"text": was})
        assert line in self.mismatch(path, "POST", f"{server.url}/0", json={"text": now})

    def test_a_long_diff_is_cut(self, server: Server, path: Path) -> None:
        self.recorded(path, server, {"text": "one\n" * 1000})
        message = self.mismatch(path, "POST", f"{server.url}/0", json={"text": "two\n" * 1000})
        assert "-      one\n" in message
        assert "and 1965 more lines" in message
        assert len(message) < 2000

    def test_the_nearest_recorded_request_is_compared(self, server: Server, path: Path) -> None:
        self.recorded(path, server, *({"text": f"{letter * 40}"} for letter in "abc"))
        message = self.mismatch(path, "POST", f"{server.url}/1", json={"text": "b" * 39})
        assert "-    text: " + "b" * 40 in message
        assert "+uri: http://elsewhere.test/" in self.mismatch(path, "GET", "http://elsewhere.test/")

    def test_numbers_and_the_order_of_keys_and_parameters_are_no_drift(self, server: Server, path: Path) -> None:
        with use_cassette(path, "once"):
            ask("httpx", "POST", f"{server.url}/?a=1&b=2", data=b'{"x": 0, "y": [1.0, {"z": 2.5}]}')
        with use_cassette(path):
            ask("httpx", "POST", f"{server.url}/?b=2&a=1", data=b'{"y": [1, {"z": 2.5}], "x": 0.0}')

    def test_the_body_need_not_match_with_match_body_false(self, server: Server, path: Path) -> None:
        self.recorded(path, server, {"a": 1})
        with use_cassette(path, match_body=False):
            ask("httpx", "POST", f"{server.url}/0", json={"a": 2})

    def test_a_key_that_became_known_later_is_in_no_message(
        self, server: Server, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.recorded(path, server, {"a": "became-known-later"})
        monkeypatch.setenv("ACME_API_KEY", "became-known-later")
        with use_cassette(path):
            ask("httpx", "POST", f"{server.url}/0", json={"a": "became-known-later"})
        assert "became-known-later" not in self.mismatch(path, "POST", f"{server.url}/0", json={"a": 1})

    def test_except_exception_does_not_catch_a_mismatch(self, path: Path) -> None:
        with pytest.raises(CassetteMismatch), use_cassette(path):
            try:
                httpx.get("http://127.0.0.1:9/", trust_env=False)
            except Exception:  # noqa: BLE001 (what a SDK does)
                pytest.fail("it was caught")
