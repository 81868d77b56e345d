"""Replies that are kept next to a cassette: used if everything that made them is the same, else replayed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from console import invoke, run_python
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sample_cases import LAMP, openai_entry, write_case
from standins import StandIn

from llm_tester import LLMTester, use_cassette
from llm_tester.cassettes import Interaction, hooks
from llm_tester.llms.llm_registry import reset_provider_cache
from llm_tester.runs.kept import Kept
from llm_tester.runs.results import CaseResult, RunResult

Write = Callable[..., Path]

MODEL = {"name": "small", "cost_input": 2, "cost_output": 8, "supports_schema": True, "max_output_tokens": 100}
OWN_CLASS = """
from llm_tester.llms.litellm_backend import LiteLLMProvider

class Own(LiteLLMProvider):
    pass
"""


@pytest.fixture
def cassette(tmp_path: Path, write_config: Write, standin: Callable[..., StandIn]) -> Path:
    """A case with a recording and what its replay was turned into."""
    server = standin(json.dumps(LAMP))
    write_case(tmp_path / "cases")
    write_config({"x": openai_entry(server)})
    assert not only(run()).usage.replayed
    assert not only(run()).kept
    server.__exit__(None, None, None)
    assert kept_file(tmp_path).is_file()
    return tmp_path / "cassettes" / "products" / "lamp" / "x" / "small.yaml"


def run(**options: Any) -> RunResult:
    reset_provider_cache()
    return LLMTester(["x"]).run_tests(**options)


def only(results: RunResult) -> CaseResult:
    [result] = results.results
    assert result.usage is not None, result.problem
    return result


def kept_file(root: Path) -> Path:
    return root / "cassettes" / "products" / "lamp" / "x" / "small.kept.json"


def without_its_way(result: CaseResult) -> dict[str, Any]:
    return result.model_dump(exclude={"kept", "run_id", "age_days"})


def test_a_kept_reply_gives_the_result_of_the_replay(cassette: Path) -> None:
    kept, replayed = only(run()), only(run(through_the_wire=True))
    assert (kept.kept, replayed.kept) == (True, False)
    assert without_its_way(kept) == without_its_way(replayed)
    assert (kept.source_of_reply[:12], replayed.source_of_reply[:9]) == ("kept replay:", "replayed:")
    assert kept.age_days is not None


def test_a_run_with_kept_replies_imports_neither_backend_nor_http_client(cassette: Path) -> None:
    code = "import sys; from llm_tester import LLMTester; [result] = LLMTester(['x']).run_tests().results; "
    code += "print(result.kept, [name for name in ('litellm', 'pydantic_ai', 'openai', 'httpx', 'vcr') "
    code += "if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "True []\n"


def test_a_test_that_changes_replies_neither_uses_nor_writes_what_is_kept(cassette: Path, tmp_path: Path) -> None:
    """What the fixtures of a test make of a reply is the test's alone."""

    def later(interaction: Interaction) -> Interaction:
        message = interaction.response["body"]["json"]["choices"][0]["message"]
        message["content"] = message["content"].replace("Lamp", "Desk")
        return interaction

    before = kept_file(tmp_path).read_bytes()
    with hooks.using(hooks.Hooks(before_replay=later)):
        changed = only(run())
    assert (changed.kept, "Desk" in str(changed.reply)) == (False, True)
    assert kept_file(tmp_path).read_bytes() == before
    assert "Desk" not in str(only(run()).reply)


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _config(**more: Any) -> None:
    path = Path("config.json")
    config = json.loads(path.read_text())
    entry = {**config["providers"]["x"], **more.pop("entry", {})}
    path.write_text(json.dumps({**config, **more, "providers": {"x": entry}}))


HARMLESS: dict[str, Callable[[Path], object]] = {
    "a comment in the cassette": lambda cassette: cassette.write_text(cassette.read_text() + "# looked at\n"),
    "a limit of time": lambda _: _config(entry={"timeout": 7}),
    "another price": lambda _: _config(entry={"models": [{**MODEL, "cost_input": 3}]}),
    "a field that is not matched on": lambda _: _config(ignore=["$.user"]),
}
DRIFT: dict[str, Callable[[Path], object]] = {
    "the prompt": lambda _: _edit(Path("cases/products/tests/prompts/lamp.txt"), "Extract", "Find"),
    "the source": lambda _: _edit(Path("cases/products/tests/sources/lamp.txt"), "39.90", "40"),
    "the class": lambda _: _edit(Path("cases/products/model.py"), "price: float", "price: float\n    size: str = ''"),
    "a parameter": lambda _: _config(entry={"params": {"max_tokens": 7}}),
    "the system prompt": lambda _: _config(entry={"system_prompt": "Be brief."}),
    "the address": lambda _: _config(entry={"api_base": "http://127.0.0.1:9/v1"}),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_after_a_change_that_still_matches_the_recording_is_replayed_and_kept_again(
    change: str, cassette: Path
) -> None:
    before = only(run())
    HARMLESS[change](cassette)
    replayed = only(run())
    assert (replayed.kept, replayed.reply) == (False, before.reply)
    assert only(run()).kept
    assert without_its_way(only(run())) == without_its_way(replayed)


@pytest.mark.parametrize("change", DRIFT)
def test_a_changed_request_is_a_mismatch_although_a_reply_is_kept(change: str, cassette: Path) -> None:
    DRIFT[change](cassette)
    [result] = run(record="none").results
    assert (result.status, result.error) == ("failed", "CassetteMismatch")


def test_another_reply_in_the_cassette_is_the_reply(cassette: Path) -> None:
    _edit(cassette, '"Aurora Lamp', '"Borealis Lamp')
    assert "Borealis Lamp" in str(only(run(record="none")).reply)


def test_a_variable_that_moves_a_route_is_part_of_what_made_a_reply(
    cassette: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORGANIZATION", "another")
    assert not only(run(record="none")).kept
    monkeypatch.delenv("OPENAI_ORGANIZATION")
    monkeypatch.setenv("OPENAI_API_KEY", "made-up-" + "here")
    assert only(run(record="none")).kept


def test_another_version_of_a_library_replays_through_the_wire(cassette: Path, tmp_path: Path) -> None:
    newer = tmp_path / "site" / "openai-999.0.dist-info"
    newer.mkdir(parents=True)
    (newer / "METADATA").write_text("Metadata-Version: 2.1\nName: openai\nVersion: 999.0\n")
    code = "from llm_tester import LLMTester; [result] = LLMTester(['x']).run_tests(record='none').results; "
    code += "print(result.kept, result.status)"
    environment = {**os.environ, "PYTHONPATH": f"{newer.parent}{os.pathsep}{ROOT}"}
    done = run_python(code, cwd=tmp_path, env=environment)
    assert done.stdout == "False ok\n", done.stderr


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_edit_of_the_kept_file_gives_another_reply(data: st.DataObject, cassette: Path, tmp_path: Path) -> None:
    path = kept_file(tmp_path)
    whole = path.read_bytes()
    right = without_its_way(only(run(record="none")))
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 80)))
    put = data.draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"9", b"Lamp", b'"', b"null", whole])))
    path.write_bytes(whole[:start] + put + whole[end:])
    try:
        assert without_its_way(only(run(record="none"))) == right
    finally:
        path.write_bytes(whole)


def _values(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _values(item, (*place, key))
    else:
        yield place


def test_no_changed_value_in_the_kept_file_is_believed(cassette: Path, tmp_path: Path) -> None:
    path = kept_file(tmp_path)
    whole = json.loads(path.read_text())
    right = without_its_way(only(run(record="none")))
    for place in _values(whole):
        changed = json.loads(json.dumps(whole))
        holder = changed
        for key in place[:-1]:
            holder = holder[key]
        old = holder[place[-1]]
        holder[place[-1]] = old + 1 if isinstance(old, int | float) and not isinstance(old, bool) else "2001-01-01"
        path.write_text(json.dumps(changed))
        assert without_its_way(only(run(record="none"))) == right, place


def test_nothing_is_kept_by_a_run_that_only_replays_or_under_ci(
    cassette: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_file(tmp_path).unlink()
    assert not only(run(record="none")).kept
    monkeypatch.setenv("CI", "true")
    assert not only(run()).kept
    assert not kept_file(tmp_path).exists()
    monkeypatch.delenv("CI")
    run()
    monkeypatch.setenv("CI", "true")
    assert only(run()).kept


def test_replies_are_kept_for_as_many_repeats_as_were_replayed(
    tmp_path: Path, write_config: Write, standin: Callable[..., StandIn]
) -> None:
    replies = [json.dumps({**LAMP, "price": price}) for price in (39.9, 40.0)]
    write_case(tmp_path / "cases")
    write_config({"x": openai_entry(standin(replies))})
    run(repeats=2)
    assert not only(run()).kept
    assert [result.kept for result in run(repeats=2).results] == [False, False]
    both = run(repeats=2).results
    assert [(result.kept, result.reply) for result in both] == [(True, reply) for reply in replies]
    assert (only(run()).kept, only(run()).reply) == (True, replies[0])
    assert only(run(through_the_wire=True)).reply == replies[0]
    assert len(Kept.model_validate_json(kept_file(tmp_path).read_bytes()).replies) == 2


@pytest.mark.parametrize("record", ["off", "all", "rewrite"])
def test_a_run_that_calls_every_time_uses_no_kept_reply(record: str, cassette: Path) -> None:
    _config(entry={"max_attempts": 1})
    run(record="none")
    [result] = run(record=record).results
    assert (result.status, result.error, result.kept) == ("failed", "ConnectionError", False)


def test_a_failed_call_is_never_kept(tmp_path: Path, cassette: Path) -> None:
    kept_file(tmp_path).unlink()
    _edit(Path("cases/products/tests/prompts/lamp.txt"), "Extract", "Find")
    [result] = run().results
    assert result.status == "failed"
    assert not kept_file(tmp_path).exists()


def test_a_users_class_always_goes_through_the_wire(cassette: Path, tmp_path: Path) -> None:
    (tmp_path / "own_wire.py").write_text(OWN_CLASS)
    _config(entry={"provider_type": "own_wire:Own"})
    before = kept_file(tmp_path).read_bytes()
    [result] = run(record="none").results
    assert not result.kept
    assert kept_file(tmp_path).read_bytes() == before


def test_inside_an_open_cassette_the_wire_is_tested(cassette: Path, tmp_path: Path) -> None:
    with use_cassette(tmp_path / "other.yaml", "new_episodes"):
        assert not only(run()).kept


def test_a_folder_that_cannot_be_written_costs_the_speed_only(
    cassette: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept_file(tmp_path).write_text("{}")
    assert not only(run()).kept
    assert "is not a file that llm_tester wrote" in caplog.text
    assert kept_file(tmp_path).read_text() == "{}"


def test_a_key_in_a_kept_reply_is_found_by_the_scan(cassette: Path, tmp_path: Path) -> None:
    key = "sk-" + "live0" * 9
    _edit(kept_file(tmp_path), "Aurora Lamp", key)
    found = invoke("cassettes", "scan", "cassettes")
    assert (found.exit_code, key in found.output) == (1, False)
    assert "small.kept.json:8: " in found.output.replace("\n", "")


def test_the_command_line_says_how_a_reply_came(cassette: Path, tmp_path: Path) -> None:
    invoke("run")
    assert "kept replay: 127.0.0.1" in (tmp_path / "llm_tester_results" / "report.html").read_text()
    invoke("run", "--through-the-wire")
    assert "kept replay" not in (tmp_path / "llm_tester_results" / "report.html").read_text()


def test_the_shipped_kept_replies_are_what_the_recordings_give(tmp_path: Path) -> None:
    for name in ("cases", "cassettes"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "config.json", tmp_path)
    assert len(list(tmp_path.glob("cassettes/**/*.kept.json"))) == len(list(tmp_path.glob("cassettes/**/*.yaml")))
    names = json.loads((tmp_path / "config.json").read_text())["providers"]
    shipped = {path: json.loads(path.read_text())["replies"] for path in tmp_path.glob("cassettes/**/*.kept.json")}
    replayed = LLMTester(names).run_tests(through_the_wire=True)
    for result in replayed.results:
        [kept] = shipped[Path(str(result.cassette)).with_suffix(".kept.json")]
        assert result.usage is not None
        assert (kept["text"], kept["usage"]) == (result.reply, result.usage.model_dump(mode="json"))
