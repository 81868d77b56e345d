"""Every test starts with no keys, no config, an empty directory and empty caches."""

import compileall
import gc
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from sample_cases import LAMP, write_case
from standins import StandIn

from llm_tester.llms.llm_registry import reset_provider_cache

Write = Callable[..., Path]

ROOT = Path(__file__).parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Compiles the package once, and collects garbage less often.

    Hundreds of processes import the package, and keep nothing where PYTHONDONTWRITEBYTECODE is set, as in many images.
    Walking the heap of two SDKs took a tenth of the suite's time.
    """
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(ROOT / "llm_tester", rx=re.compile("template"), quiet=2)
    gc.set_threshold(20_000, 50, 100)


@pytest.fixture(scope="session", autouse=True)
def few_certificates(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Trusts one certificate only: every new client reads all of them, and no test uses one."""
    path = tmp_path_factory.mktemp("certificates") / "one.pem"
    path.write_text("".join(certifi.contents().partition("-----END CERTIFICATE-----\n")[:2]), encoding="utf-8")
    os.environ["SSL_CERT_FILE"] = str(path)


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.endswith(("_KEY", "_TOKEN", "_SECRET")) or name in ("CI", "COLUMNS") or name.startswith("LLM_TESTER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    reset_provider_cache()
    yield
    reset_provider_cache()


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """Writes config.json into the working directory."""

    def write(providers: dict[str, Any] | None = None, **rest: Any) -> Path:
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"providers": providers or {}, **rest}), encoding="utf-8")
        reset_provider_cache()
        return path

    return write


WIRES = ["openai", "anthropic", "mistral", "gemini", "pydantic-openai", "pydantic-anthropic", "pydantic-mistral"]
WIRES += ["pydantic-google"]


def wire_entry(wire: str, url: str) -> dict[str, Any]:
    """A config entry that speaks one of the wire formats to a stand-in."""
    price = {"cost_input": 2.0, "cost_output": 8.0, "cost_cached_input": 0.5}
    paths = {"openai": "/v1", "mistral": "/mistral/v1", "gemini": "/v1beta", "pydantic-openai": "/v1"}
    paths |= {"pydantic-mistral": "/mistral"}
    names = {"openai": "gpt-4o", "anthropic": "claude-haiku-4-5", "mistral": "mistral-small-latest"}
    names |= {"gemini": "gemini-2.5-flash", "pydantic-openai": "openai-chat:gpt-4o"}
    names |= {"pydantic-anthropic": "anthropic:claude-haiku-4-5", "pydantic-mistral": "mistral:mistral-small-latest"}
    names |= {"pydantic-google": "google-gla:gemini-2.5-flash"}
    return {
        "provider_type": "pydantic_ai" if wire.startswith("pydantic") else wire,
        "api_base": url + paths.get(wire, ""),
        "env_key": "WIRE_API_KEY",
        "models": [{"name": names[wire], "supports_schema": wire != "pydantic-mistral", **price}],
    }


@pytest.fixture
def standin() -> Iterator[Callable[..., StandIn]]:
    """Starts stand-ins that end with the test."""
    open_ones: list[StandIn] = []

    def start(*args: Any, **kwargs: Any) -> StandIn:
        open_ones.append(StandIn(*args, **kwargs).__enter__())
        return open_ones[-1]

    yield start
    for server in open_ones:
        server.__exit__(None, None, None)


@pytest.fixture
def mock_run(tmp_path: Path, write_config: Write) -> Callable[..., Path]:
    """A config with a scripted mock, and one case."""

    def make(reply: Any = LAMP, **mock: Any) -> Path:
        write_case(tmp_path / "cases")
        script = {"replies": {"*": reply}, **mock}
        return write_config({"m": {"provider_type": "mock", "models": ["m"], "max_attempts": 1, "mock": script}})

    return make
