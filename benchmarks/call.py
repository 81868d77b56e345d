"""What one call costs in CPU: ours next to LiteLLM, PydanticAI, the OpenAI SDK, any-llm and httpx.

    python benchmarks/call.py                          # 300 calls, 5 rounds, all routes
    python benchmarks/call.py --small                  # to see that it runs
    python benchmarks/call.py --routes openai --kinds ours litellm --json call.json
    python benchmarks/call.py --threads 64 --delay 0.1 --calls 500   # seconds for 500 calls, 64 at once
    python benchmarks/call.py --profile openai         # the ten most expensive functions of our live call

One server on loopback answers at once and runs in its own process. Each figure is the CPU (user and system) of a
client process after a warm-up, in milliseconds per call; the kinds take turns, round by round, so that what else the
machine does hits all of them. Ratios are medians over the rounds, with the lowest and the highest. With `--threads`
the figures are seconds of wall time for all calls. Kinds that are not installed are left out.
"""

import argparse
import asyncio
import contextlib
import cProfile
import importlib.util
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PROMPT = "Extract the invoice as JSON with its number, supplier, dates and total."
SOURCE = "A line of an invoice. " * 40
TEXT = f"{PROMPT}\n\nSource Text:\n{SOURCE}"
MESSAGES: Any = [{"role": "user", "content": TEXT}]
ANSWER = json.dumps({"number": "2026-17", "total": 12.5, "note": "x" * 200})
MODELS = {
    "openai": "gpt-4o-mini",
    "anthropic": "claude-sonnet-4-5",
    "mistral": "mistral-small-latest",
    "gemini": "gemini-2.5-flash",
}
# Of each route, what goes behind the server's address.
BASES = {"openai": "/v1", "anthropic": "", "mistral": "/v1", "gemini": "/v1beta"}
Call = Callable[[], str]


# --- the server


def _answers() -> dict[str, bytes]:
    usage = {"prompt_tokens": 300, "completion_tokens": 40, "total_tokens": 340}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}}
    chat = {"id": "c-1", "object": "chat.completion", "created": 1767225600, "model": "m", "choices": [choice]}
    block = {"type": "text", "text": ANSWER}
    said = {"input_tokens": 300, "output_tokens": 40}
    message = {"id": "m-1", "type": "message", "role": "assistant", "model": "m", "content": [block], "usage": said}
    counts = {"promptTokenCount": 300, "candidatesTokenCount": 40, "totalTokenCount": 340}
    candidate = {"content": {"role": "model", "parts": [{"text": ANSWER}]}, "finishReason": "STOP", "index": 0}
    answers = {
        "/chat/completions": {**chat, "usage": usage},
        "/messages": {**message, "stop_reason": "end_turn", "stop_sequence": None},
        ":generateContent": {"candidates": [candidate], "usageMetadata": counts, "modelVersion": "m"},
    }
    return {path: json.dumps(answer).encode() for path, answer in answers.items()}


async def _serve(delay: float) -> None:
    answers = _answers()

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.split("\r\n")
                lengths = [line.partition(":")[2] for line in lines if line.lower().startswith("content-length")]
                await reader.readexactly(int(lengths[0]))
                path = first.split()[1].partition("?")[0]
                body = next(answer for end, answer in answers.items() if path.endswith(end))
                await asyncio.sleep(delay)
                start = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(start.encode() + body)
        writer.close()

    server = await asyncio.start_server(exchange, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


@contextlib.contextmanager
def serving(delay: float) -> Iterator[str]:
    command = [sys.executable, __file__, "--serve", str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


# --- what is measured


def _provider(route: str, url: str, *, pydantic: bool) -> Any:
    vendor = {"openai": "openai-chat", "gemini": "google"}.get(route, route)
    model = f"{vendor}:{MODELS[route]}" if pydantic else MODELS[route]
    base = url if pydantic and route in ("gemini", "mistral") else url + BASES[route]
    entry = {"provider_type": "pydantic_ai" if pydantic else route, "api_base": base, "models": [model]}
    path = Path(tempfile.mkdtemp()) / "config.json"
    path.write_text(json.dumps({"providers": {"bench": {**entry, "params": {"max_tokens": 256}}}}))
    os.environ |= {"LLM_TESTER_CONFIG": str(path), "BENCH_API_KEY": "no-key-at-all"}
    from llm_tester.llms.provider_factory import create_provider

    return create_provider("bench")


def ours(route: str, url: str) -> Call:
    provider = _provider(route, url, pydantic=False)
    return lambda: str(provider.get_response(PROMPT, SOURCE)[0])


def ours_schema(route: str, url: str) -> Call:
    from pydantic import BaseModel

    class Invoice(BaseModel):
        number: str
        total: float
        note: str | None = None

    provider = _provider(route, url, pydantic=False)
    return lambda: str(provider.get_response(PROMPT, SOURCE, model_class=Invoice)[0])


def own(route: str, url: str) -> Call:
    """Our call with LiteLLM's answer at hand: what `get_response` adds to a call of LiteLLM."""
    return _without_litellm(ours(route, url))


def own_schema(route: str, url: str) -> Call:
    return _without_litellm(ours_schema(route, url))


def _without_litellm(call: Call) -> Call:
    from llm_tester.llms.litellm_backend import LiteLLMProvider

    reply: Any = LiteLLMProvider._reply
    replies: list[Any] = []
    LiteLLMProvider._reply = lambda *args: replies.append(reply(*args)) or replies[0]  # type: ignore[assignment]
    call()
    LiteLLMProvider._reply = lambda *_: replies[0]  # type: ignore[assignment]
    return call


def ours_pydantic(route: str, url: str) -> Call:
    provider = _provider(route, url, pydantic=True)
    return lambda: str(provider.get_response(PROMPT, SOURCE)[0])


def plain_litellm(route: str, url: str) -> Call:
    os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True"}
    import litellm

    arguments = {"model": f"{route}/{MODELS[route]}", "api_base": url + BASES[route], "api_key": "no-key-at-all"}
    arguments |= {"messages": MESSAGES, "temperature": 0, "max_tokens": 256, "max_retries": 0, "timeout": 60}
    return lambda: str(litellm.completion(**arguments).choices[0].message.content)


def plain_pydantic(route: str, url: str) -> Call:
    from pydantic_ai.direct import model_request
    from pydantic_ai.messages import ModelRequest

    model = _provider(route, url, pydantic=True)._client(f"{_vendor(route)}:{MODELS[route]}")
    loop = asyncio.new_event_loop()
    settings: Any = {"temperature": 0, "max_tokens": 256}

    def call() -> str:
        work = model_request(model, [ModelRequest.user_text_prompt(TEXT)], model_settings=settings)
        return str(loop.run_until_complete(work).parts[0])

    return call


def _vendor(route: str) -> str:
    return {"openai": "openai-chat", "gemini": "google"}.get(route, route)


def openai_sdk(route: str, url: str) -> Call:
    import openai

    create = openai.OpenAI(api_key="no-key-at-all", base_url=url + "/v1", max_retries=0).chat.completions.create
    model = MODELS["openai"]
    return lambda: str(create(model=model, messages=MESSAGES, temperature=0, max_tokens=256).choices[0].message.content)


def any_llm(route: str, url: str) -> Call:
    import any_llm

    arguments: Any = {"model": MODELS["openai"], "provider": "openai", "api_base": url + "/v1", "api_key": "no-key"}
    arguments |= {"messages": MESSAGES, "temperature": 0, "max_tokens": 256}
    return lambda: str(any_llm.completion(**arguments).choices[0].message.content)


def plain_httpx(route: str, url: str) -> Call:
    import httpx

    client = httpx.Client(timeout=60)
    body = {"model": MODELS["openai"], "messages": MESSAGES, "temperature": 0, "max_tokens": 256}
    address = url + "/v1/chat/completions"
    return lambda: str(client.post(address, json=body).json()["choices"][0]["message"]["content"])


MAKERS: dict[str, tuple[Callable[[str, str], Call], str, tuple[str, ...]]] = {
    "ours": (ours, "litellm", tuple(MODELS)),
    "ours-schema": (ours_schema, "litellm", tuple(MODELS)),
    "own": (own, "litellm", tuple(MODELS)),
    "own-schema": (own_schema, "litellm", tuple(MODELS)),
    "litellm": (plain_litellm, "litellm", tuple(MODELS)),
    "ours-pydantic": (ours_pydantic, "pydantic_ai", tuple(MODELS)),
    "pydantic": (plain_pydantic, "pydantic_ai", tuple(MODELS)),
    "openai": (openai_sdk, "openai", ("openai",)),
    "any-llm": (any_llm, "any_llm", ("openai",)),
    "httpx": (plain_httpx, "httpx", ("openai",)),
}


def measure(kind: str, route: str, url: str, calls: int, threads: int) -> float:
    """Milliseconds of CPU per call; with threads, seconds of wall time for all calls."""
    call = MAKERS[kind][0](route, url)
    for _ in range(20):
        if "2026-17" not in call():
            raise AssertionError("not the server's answer")
    if not threads:
        started = time.process_time()
        for _ in range(calls):
            call()
        return (time.process_time() - started) / calls * 1000
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        list(pool.map(lambda _: call(), range(calls)))
        return time.perf_counter() - began


def profile(route: str, kind: str, calls: int) -> None:
    with serving(0.0) as url:
        call = MAKERS[kind][0](route, url)
        for _ in range(20):
            call()
        profiler = cProfile.Profile(time.process_time)
        profiler.enable()
        for _ in range(calls):
            call()
        profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(10)
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(40)


def _run(kind: str, route: str, url: str, options: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--worker", kind, route, url]
    command += ["--calls", str(options.calls), "--threads", str(options.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{kind}, {route}:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def compare(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """What each kind took in each round, by route."""
    found: dict[str, dict[str, list[float]]] = {route: {} for route in options.routes}
    with serving(options.delay) as url:
        for _ in range(options.rounds):
            for route in options.routes:
                for kind in options.kinds:
                    if route in MAKERS[kind][2] and importlib.util.find_spec(MAKERS[kind][1]):
                        found[route].setdefault(kind, []).append(_run(kind, route, url, options))
    return found


def show(found: dict[str, dict[str, list[float]]], unit: str) -> None:
    for route, kinds in found.items():
        base = kinds.get("litellm", next(iter(kinds.values())))
        print(f"\n{route:<16} {unit:>10}   x litellm (lowest-highest)")
        for kind, values in kinds.items():
            ratios = [value / other for value, other in zip(values, base, strict=True)]
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            print(f"  {kind:<14} {statistics.median(values):>10.3f}   {spread}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--routes", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--kinds", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", choices=MODELS)
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(_serve(options.serve))
    elif options.worker:
        print(measure(*options.worker, options.calls, options.threads), flush=True)
    elif options.profile:
        profile(options.profile, options.kinds[0], options.calls)
    else:
        if options.small:
            options.calls, options.rounds = 20, 1
        found = compare(options)
        show(found, "s" if options.threads else "ms CPU/call")
        if options.json:
            options.json.write_text(json.dumps({"options": vars(options), "found": found}, default=str, indent=1))


if __name__ == "__main__":
    main()
