"""131 real replies and errors of 18 providers, each through a class that is made of a config entry.

A stand-in says what its author believes of a provider; these recordings say what the provider did. What a reply must
come to (text, tokens, error) was computed from its payload alone, so this is where it shows whether LiteLLM and this
package's reading of it count right. The entries are in corpus_routes.py. The corpus is test data outside of the
project, at ../shared/corpus; without it these tests are skipped.
"""

import importlib.util
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest
from corpus_routes import PROVIDERS, route_of

from llm_tester import use_cassette
from llm_tester.cassettes import Cassette, Interaction
from llm_tester.errors import (
    AuthenticationError,
    BadRequestError,
    CassetteMismatch,
    ProviderError,
    RateLimitError,
    UnknownModelError,
)
from llm_tester.llms.llm_registry import reset_provider_cache
from llm_tester.llms.provider_factory import create_provider
from llm_tester.utils.cost_manager import UsageData

Case = dict[str, Any]
Replay = Callable[[Case], tuple[str, UsageData]]

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
INDEX = CORPUS / "index.json"
CASES: list[Case] = json.loads(INDEX.read_text(encoding="utf-8")) if INDEX.is_file() else []
pytestmark = pytest.mark.skipif(not CASES, reason=f"the corpus of recorded traffic is not at {CORPUS}")

HAS_MCP = importlib.util.find_spec("mcp") is not None

# What the recorded clients (Anthropic's and Google's SDKs) put behind the address, and LiteLLM does not; the corpus is
# to be matched without the query.
QUERIES_OF_OTHERS = ("beta=true", "%24alt=json%3Benum-encoding%3Dint")

ASKED_ABOUT = {"as-it-is": {**PROVIDERS["ollama"], "models": ["qwen3.6:latest"]}}

ERRORS: dict[int, type[ProviderError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    404: UnknownModelError,
    429: RateLimitError,
}


# Where the index is in doubt: file -> why, and the counts that differ. Nothing else in the reply does.
# https://docs.claude.com/en/docs/build-with-claude/compaction: the top level of `usage` leaves the compacting request
# out, and all `iterations` are billed.
DOUBTFUL: dict[str, tuple[str, set[str]]] = {
    "anthropic/test_anthropic_test_anthropic_compaction_usage_with_cache_0_05ade3.yaml": (
        "the index has the top level only, which by Anthropic's documentation leaves billed tokens out",
        {"prompt_tokens", "completion_tokens", "total_tokens", "cache_write_tokens"},
    )
}

# The index has no text for a refusal; this package gives the refusal's own.
REFUSED = {
    "openai/test_chat_parse_test_async_parsed_refused_completion_with_events_with_content_2_2332ab.yaml": (
        "I'm very sorry, but I can't assist with that request."
    )
}

needs_mcp = pytest.mark.skipif(not HAS_MCP, reason="LiteLLM's Responses route: pip install 'llm_tester[responses]'")


def marked(case: Case, *, expect_failure: bool = True) -> Any:
    marks = [needs_mcp] if case["api"] == "responses" else []
    if expect_failure and case["file"] in DOUBTFUL:
        marks.append(pytest.mark.xfail(strict=True, raises=AssertionError, reason=DOUBTFUL[case["file"]][0]))
    return pytest.param(case, id=case["file"].removesuffix(".yaml"), marks=marks)


REPLIES = [marked(case) for case in CASES if case["status"] == 200]
REFUSALS = [marked(case) for case in CASES if case["status"] != 200]
IN_DOUBT = [marked(case, expect_failure=False) for case in CASES if case["file"] in DOUBTFUL]
ITERATED = [marked(case, expect_failure=False) for case in CASES if "iterations" in (case.get("payload_usage") or {})]


def cassette_of(case: Case, directory: Path) -> Path:
    """The recording; a copy without the query where that is another client's."""
    path, query = CORPUS / str(case["file"]), urlsplit(str(case["url"])).query
    if query not in QUERIES_OF_OTHERS:
        return path
    copy = directory / "corpus.yaml"
    copy.write_text(path.read_text(encoding="utf-8").replace(f"?{query}", "", 1), encoding="utf-8")
    return copy


@pytest.fixture(scope="module", autouse=True)
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Replaces conftest's, once for all tests: reading LiteLLM's price map again takes longer than a replay."""
    path = tmp_path_factory.mktemp("corpus") / "config.json"
    entries = {name: {**entry, "max_attempts": 1} for name, entry in {**PROVIDERS, **ASKED_ABOUT}.items()}
    path.write_text(json.dumps({"providers": entries}), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.endswith(("_KEY", "_TOKEN", "_SECRET"))]:
            patch.delenv(name)
        patch.setenv("LLM_TESTER_CONFIG", str(path))
        reset_provider_cache()
        yield
    reset_provider_cache()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every attempt to reach the network, which fails; a library may swallow that, the list does not."""
    attempts: list[object] = []

    def refuse(*args: object, **_: object) -> NoReturn:
        attempts.append(args)
        raise OSError("a replay went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


@pytest.fixture
def replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[object]) -> Replay:
    """Replays a case as a user's config makes it happen: one request, from the thread of the call, without any key."""
    threads: list[int] = []
    play = Cassette.play

    def noting(self: Cassette, request: dict[str, Any]) -> Interaction | None:
        threads.append(threading.get_ident())
        return play(self, request)

    monkeypatch.setattr(Cassette, "play", noting)

    def run(case: Case) -> tuple[str, UsageData]:
        name, model = route_of(case["provider"], case["litellm_model"].partition("/")[2])
        provider = create_provider(name)
        try:
            with use_cassette(cassette_of(case, tmp_path), match_body=False):
                text, usage = provider.get_response("Answer.", "A source.", model)
        finally:
            assert (threads, no_network) == ([threading.get_ident()], [])
        assert usage.replayed
        assert (usage.provider, usage.model) == (name, model)
        return text, usage

    return run


def expected_of(case: Case) -> dict[str, object]:
    """What the reply must come to, in this package's sense: all input, all output; None is not compared."""
    said = case["expected_usage"]
    prompt = said.get("prompt_tokens_inclusive", said["prompt_tokens"])
    completion = said.get("completion_tokens_inclusive", said["completion_tokens"])
    if prompt is not None:
        prompt += said.get("tool_use_prompt_tokens") or 0  # Gemini's, in its total but not its prompt
    return {
        "text": REFUSED.get(case["file"]) or case["expected_text"] or "",
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": None if prompt is None or completion is None else prompt + completion,
        "cached_tokens": said["cached_tokens"] or 0,
        "cache_write_tokens": said["cache_write_tokens"] or 0,
        "reasoning_tokens": said["reasoning_tokens"],
    }


def differences(case: Case, text: str, usage: UsageData) -> dict[str, tuple[object, object]]:
    """What is not as expected: expected and found by name."""
    found = {**usage.model_dump(), "text": text}
    return {
        name: (value, found[name])
        for name, value in expected_of(case).items()
        if value is not None and found[name] != value
    }


@pytest.mark.parametrize("case", REPLIES)
def test_a_recorded_reply(case: Case, replay: Replay) -> None:
    assert differences(case, *replay(case)) == {}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_recorded_error(case: Case, replay: Replay) -> None:
    with pytest.raises(ProviderError) as caught:
        replay(case)
    error = caught.value
    assert type(error) is ERRORS[case["status"]]
    assert error.status_code == case["status"]
    # The index has no message for Ollama, whose error is a plain string.
    assert (
        case["expected_error_message"] or "model 'nonexistent-model:latest' not found"
    ) in f"{error} {error.__cause__}"


@pytest.mark.parametrize("case", IN_DOUBT)
def test_only_the_counts_in_doubt_differ(case: Case, replay: Replay) -> None:
    assert differences(case, *replay(case)).keys() == DOUBTFUL[case["file"]][1]


@pytest.mark.parametrize("case", ITERATED)
def test_all_iterations_of_the_called_model_are_counted(case: Case, replay: Replay) -> None:
    """Compaction is a request of its own inside the call, and is billed; an advisor's tokens have another price."""
    iterations = case["payload_usage"]["iterations"]
    own = [iteration for iteration in iterations if "model" not in iteration]
    sums = {
        name: sum(iteration[name] for iteration in own)
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    }
    written, read = sums["cache_creation_input_tokens"], sums["cache_read_input_tokens"]
    _, usage = replay(case)
    assert len(iterations) > 1
    assert usage.prompt_tokens == sums["input_tokens"] + written + read
    assert usage.completion_tokens == sums["output_tokens"]
    assert (usage.cache_write_tokens, usage.cached_tokens) == (written, read)
    advisors = [iteration for iteration in iterations if "model" in iteration]
    notes = [note for note in usage.notes if "took part" in note]
    assert all(advisor["model"] in note for advisor, note in zip(advisors, notes, strict=True))


def test_litellm_asks_ollama_about_a_model_that_it_does_not_know(no_network: list[object]) -> None:
    """Why corpus_routes.py calls these by another name; when it stops asking, that can go."""
    provider = create_provider("as-it-is")
    case = next(case for case in CASES if case["litellm_model"] == "ollama_chat/qwen3.6:latest")
    with (
        use_cassette(CORPUS / case["file"], match_body=False),
        pytest.raises(CassetteMismatch, match="POST http://localhost:11434/api/show"),
    ):
        provider.get_response("Answer.", "A source.")
    assert no_network == []


def test_each_case_is_counted_as_the_readme_says() -> None:
    assert {case["file"] for case in CASES} >= DOUBTFUL.keys()
    assert (len(REPLIES), len(REFUSALS)) == (118, 13)
    assert {case["status"] for case in CASES} == {200, *ERRORS}
    row = f"{len(CASES) - len(DOUBTFUL)} of {len(CASES)} recordings"
    assert row in (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
