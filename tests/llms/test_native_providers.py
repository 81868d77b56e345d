"""The package's own openai, anthropic, mistral and google, replayed from recordings of each one's wire format."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from llm_tester import use_cassette
from llm_tester.llms.llm_registry import get_llm_provider

WIRES = sorted((ROOT / "tests" / "wires").glob("*.yaml"))
# What follows the address in each provider's URL.
ENDPOINTS = {
    "openai": "/chat/completions",
    "anthropic": "/v1/messages",
    "mistral": "/chat/completions",
    "google": "/models/",
}


@pytest.mark.parametrize("path", WIRES, ids=lambda path: path.stem)
def test_a_recording_of_each_wire_replays_with_its_origin(path: Path, tmp_path: Path) -> None:
    [recorded] = yaml.safe_load(path.read_text())["interactions"]
    assert recorded["recorded"]["origin"] == "stand-in: tests/standins.py"
    base = recorded["request"]["uri"].partition(ENDPOINTS[path.stem])[0]
    entry = {"providers": {path.stem: {"api_base": base, "env_key": ""}}}
    (tmp_path / "config.json").write_text(json.dumps(entry))
    provider = get_llm_provider(path.stem)
    with use_cassette(path):
        text, usage = provider.get_response("Extract the product.", "The Aurora Lamp.", recorded["recorded"]["model"])
    assert text == '{"name": "Aurora Lamp"}'
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (1000, 50, 300)
    assert usage.origin == "stand-in: tests/standins.py"
    assert usage.replayed
    assert usage.total_cost is not None
    assert usage.price.source.startswith("litellm ")


def test_all_four_are_there() -> None:
    assert [path.stem for path in WIRES] == ["anthropic", "google", "mistral", "openai"]
