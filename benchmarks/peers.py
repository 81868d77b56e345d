"""What others need for the calls of a run: the same requests to the same server, each library in its own way.

`scale.py` runs each one in a fresh process, next to our runs. A library that is not installed is left out:
`pip install any-llm-sdk pydantic-evals inspect_ai` brings those that this package does not.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

__all__ = ["PEERS", "Peer", "Work"]

KEY = "no-key-at-all"
EXPECTED = "Aurora Lamp"


class Work(NamedTuple):
    """The calls to make.

    Attributes:
        url: the server's address, with `/v1`.
        calls: how many.
        at_once: how many of them at once.
    """

    url: str
    calls: int
    at_once: int


class Peer(NamedTuple):
    """A library, and how it makes the calls.

    Attributes:
        module: what must be installed.
        run: makes the calls; gives the seconds that they took, without the imports.
    """

    module: str
    run: Callable[[Work], float]


def messages(number: int) -> list[dict[str, str]]:
    """The prompt of one call; each is another one."""
    return [{"role": "user", "content": f"Extract.\n\nLamp {number}."}]


def in_threads(work: Work, call: Callable[[int], str]) -> float:
    """Makes the calls in threads; one before them makes the client, which LiteLLM may close under other threads."""
    call(0)
    started = time.perf_counter()
    with ThreadPoolExecutor(work.at_once) as pool:
        replies = list(pool.map(call, range(work.calls)))
    return since(started, replies)


def on_a_loop(work: Work, call: Callable[[int], Awaitable[str]]) -> float:
    """Makes the calls on one event loop."""

    async def every() -> list[str]:
        free = asyncio.Semaphore(work.at_once)

        async def one(number: int) -> str:
            async with free:
                return await call(number)

        return await asyncio.gather(*map(one, range(work.calls)))

    started = time.perf_counter()
    return since(started, asyncio.run(every()))


def since(started: float, replies: list[str]) -> float:
    seconds = time.perf_counter() - started
    assert all(EXPECTED in reply for reply in replies)
    return seconds


def httpx_threads(work: Work) -> float:
    import httpx

    client = httpx.Client(limits=httpx.Limits(max_connections=work.at_once), timeout=60)

    def call(number: int) -> str:
        body = {"model": "small", "messages": messages(number), "temperature": 0}
        return str(client.post(f"{work.url}/chat/completions", json=body).json()["choices"][0]["message"]["content"])

    return in_threads(work, call)


def openai_async(work: Work) -> float:
    import openai

    async def call(number: int) -> str:
        made = await client.chat.completions.create(model="small", messages=messages(number), temperature=0)
        return str(made.choices[0].message.content)

    client: Any = openai.AsyncOpenAI(api_key=KEY, base_url=work.url, max_retries=0)
    return on_a_loop(work, call)


def _litellm_call(work: Work, number: int) -> dict[str, Any]:
    call: dict[str, Any] = {"model": "openai/small", "api_base": work.url, "api_key": KEY, "temperature": 0}
    return {**call, "messages": messages(number), "max_retries": 0}


def litellm_threads(work: Work) -> float:
    import litellm

    return in_threads(
        work, lambda number: str(litellm.completion(**_litellm_call(work, number)).choices[0].message.content)
    )


def litellm_async(work: Work) -> float:
    import litellm

    async def call(number: int) -> str:
        return str((await litellm.acompletion(**_litellm_call(work, number))).choices[0].message.content)

    return on_a_loop(work, call)


def any_llm_async(work: Work) -> float:
    import any_llm

    async def call(number: int) -> str:
        asked: dict[str, Any] = {"model": "small", "provider": "openai", "api_base": work.url, "api_key": KEY}
        made: Any = await any_llm.acompletion(**asked, messages=messages(number), temperature=0)
        return str(made.choices[0].message.content)

    return on_a_loop(work, call)


def pydantic_evals_openai(work: Work) -> float:
    import openai
    from pydantic_evals import Case, Dataset
    from pydantic_evals.evaluators import EqualsExpected

    client: Any = openai.AsyncOpenAI(api_key=KEY, base_url=work.url, max_retries=0)

    async def ask(number: int) -> str:
        made = await client.chat.completions.create(model="small", messages=messages(number), temperature=0)
        return str(made.choices[0].message.content)

    cases = [Case(name=str(number), inputs=number, expected_output="") for number in range(work.calls)]
    dataset: Any = Dataset(name="lamps", cases=cases, evaluators=[EqualsExpected()])
    started = time.perf_counter()
    report = dataset.evaluate_sync(ask, max_concurrency=work.at_once, progress=False)
    return since(started, [case.output for case in report.cases])


def inspect_ai_eval(work: Work) -> float:
    from inspect_ai import Task, eval
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.scorer import includes

    os.environ |= {"BENCH_API_KEY": KEY, "BENCH_BASE_URL": work.url, "INSPECT_DISPLAY": "none"}
    samples = [Sample(input=messages(number)[0]["content"], target=EXPECTED) for number in range(work.calls)]
    task = Task(dataset=MemoryDataset(samples), scorer=includes())
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as logs:
        limits: Any = {"max_connections": work.at_once, "max_samples": work.at_once}
        [log] = eval(task, model="openai-api/bench/small", log_dir=logs, **limits)
        return since(started, [sample.output.completion for sample in log.samples or []])


PEERS = {
    "httpx, threads": Peer("httpx", httpx_threads),
    "openai, async": Peer("openai", openai_async),
    "any-llm, async": Peer("any_llm", any_llm_async),
    "litellm, threads": Peer("litellm", litellm_threads),
    "litellm, async": Peer("litellm", litellm_async),
    "pydantic-evals and openai": Peer("pydantic_evals", pydantic_evals_openai),
    "inspect_ai": Peer("inspect_ai", inspect_ai_eval),
}
