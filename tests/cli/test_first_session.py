"""A new user's first session: the console scripts in a new folder, with the mistakes that people make."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from console import run_script
from sample_cases import LAMP, write_case
from standins import Fault, Reply, StandIn

KEY = "HOUSE_API_KEY"
WRONG, RIGHT = "wrong" * 4, "right" * 4


def house(url: str, **more: Any) -> dict[str, Any]:
    """A provider at an address; it needs a key."""
    model = {"name": "house-1", "cost_input": 2, "cost_output": 8, "supports_schema": True}
    entry = {"provider_type": "openai", "api_base": url + "/v1", "env_key": KEY, "models": [model], "max_attempts": 1}
    return {"providers": {"house": entry | more}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A new folder with one case and no config."""
    write_case(tmp_path / "cases")
    return tmp_path


def configure(folder: Path, url: str, **more: Any) -> None:
    (folder / "config.json").write_text(json.dumps(house(url, **more)))


def answer(**more: Any) -> Reply:
    return Reply(json.dumps(LAMP), input_tokens=1000, output_tokens=50, **more)


def saved(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "llm_tester_results/results.json").read_text())


def recordings(folder: Path) -> list[Path]:
    return sorted((folder / "cassettes").rglob("*.yaml"))


def test_init_writes_a_sample_that_runs_and_tests_at_once(tmp_path: Path) -> None:
    """No key, no network: `llm-tester init`, `llm-tester run`, `init` again, and the same cases with pytest."""
    first = run_script("llm-tester", "init", cwd=tmp_path)
    assert first.returncode == 0, first.stdout
    run = run_script("llm-tester", "run", cwd=tmp_path)
    assert run.returncode == 0, run.stdout
    # With other versions than those that the sample's reply was kept with, the recording is replayed.
    assert re.search("(replayed|kept replay): SmolLM2", run.stdout)
    assert "spent: $0\n" in run.stdout
    written = {path.name for path in (tmp_path / "llm_tester_results").iterdir()}
    # Some versions of filelock remove the files of their locks.
    locks = {".costs.lock", ".run.lock"}
    assert written - locks == {"results.json", "report.md", "report.html", "costs.json", "costs.md"}
    config = (tmp_path / "config.json").read_bytes()
    again = run_script("llm-tester", "init", cwd=tmp_path)
    assert again.returncode == 2
    assert "nothing was written" in again.stdout
    assert (tmp_path / "config.json").read_bytes() == config
    (tmp_path / "pytest.ini").write_text("[pytest]\nllm_cases = cases\nllm_min_accuracy = 50\n")
    tests = run_script("pytest", "-q", "--llm-block-network", cwd=tmp_path)
    assert tests.returncode == 0, tests.stdout
    assert "1 passed" in tests.stdout


def test_a_wrong_key_is_not_recorded_and_the_right_one_calls(folder: Path, standin: Callable[..., StandIn]) -> None:
    """No key, a wrong one, the right one, none again, and a wrong one that may not destroy the recording."""
    server = standin(answer(), faults=[Fault(401)])
    configure(folder, server.url)
    without = run_script("llm-tester", "run", cwd=folder)
    assert (without.returncode, server.requests) == (1, [])
    assert KEY in without.stdout

    refused = run_script("llm-tester", "run", cwd=folder, **{KEY: WRONG})
    assert refused.returncode == 1, refused.stdout
    assert "401" in refused.stdout
    assert "spent: $0\n" in refused.stdout
    assert WRONG not in refused.stdout + (folder / "llm_tester_results/results.json").read_text()
    assert recordings(folder) == []

    right = run_script("llm-tester", "run", cwd=folder, **{KEY: RIGHT})
    assert right.returncode == 0, right.stdout
    assert "spent: $0.0024\n" in right.stdout  # 1,000 at $2 and 50 at $8 per million
    [recording] = recordings(folder)
    assert RIGHT not in recording.read_text()
    assert [item.headers["authorization"] for item in server.requests] == [f"Bearer {WRONG}", f"Bearer {RIGHT}"]

    replay = run_script("llm-tester", "run", cwd=folder)
    assert (replay.returncode, len(server.requests)) == (0, 2), replay.stdout
    assert "spent: $0\n" in replay.stdout

    before = recording.read_bytes()
    server.faults.append(Fault(401))
    again = run_script("llm-tester", "run", "--record", "rewrite", cwd=folder, **{KEY: WRONG})
    assert (again.returncode, len(server.requests)) == (1, 3), again.stdout
    assert recording.read_bytes() == before


def test_without_a_network_nothing_is_spent_and_nothing_recorded(folder: Path) -> None:
    configure(folder, "http://127.0.0.1:9")
    run = run_script("llm-tester", "run", cwd=folder, **{KEY: RIGHT})
    assert run.returncode == 1, run.stdout
    assert "spent: $0\n" in run.stdout
    assert "at most" not in run.stdout
    assert (saved(folder)["spent_usd"], saved(folder)["at_most_usd"]) == (0, 0)
    assert recordings(folder) == []
