"""What a run shows while it runs and after it, in a terminal and in a pipe, and as JSON."""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from console import SCRIPTS, invoke, reader_environment, run_script
from sample_cases import LAMP, light_entry, write_case
from standins import Fault, StandIn

Write = Callable[..., Path]

WRONG = '{"name": "Aurora Lamp", "price": 1, "maker": {"country": "FI"}}'


def mocks(**replies: Any) -> dict[str, Any]:
    """Scripted providers, each with one model of its own name."""
    return {
        name: {"provider_type": "mock", "models": [name], "max_attempts": 1, "mock": {"replies": {"*": reply}}}
        for name, reply in replies.items()
    }


@pytest.fixture
def two_models(tmp_path: Path, write_config: Write) -> Path:
    """Two cases, and two models of which one is wrong in two fields of each."""
    write_case(tmp_path / "cases")
    write_case(tmp_path / "cases", name="desk_lamp")
    write_config(mocks(right=LAMP, wrong=WRONG))
    return tmp_path


def test_a_wrong_result_shows_its_fields_with_expected_and_found(two_models: Path) -> None:
    shown = invoke("run").stdout
    wrong = shown.partition("wrong fields")[2]
    assert re.search(r"^2  wrong:wrong \(", shown, re.MULTILINE)
    for case in ("desk_lamp", "lamp"):
        fields = wrong.partition(f"products/{case}\n")[2].splitlines()[:2]
        assert fields == ["  2: price: expected 39.9, found 1.0", '  2: maker.country: expected nothing, found "FI"']


def test_wrong_fields_take_at_most_a_screen_unless_all_are_asked_for(two_models: Path) -> None:
    for number in range(20):
        write_case(two_models / "cases", name=f"lamp{number}")
    shown = invoke("run").stdout
    assert shown.count("price: expected 39.9, found 1") < 10
    assert "more; --show all and the reports have them all" in shown
    whole = invoke("run", "--show", "all").stdout
    assert whole.count("price: expected 39.9, found 1") == 22
    assert "precision" in whole
    invoke("run", "--shard", "1/1", "--output", "part")
    for command in ("report", "merge"):
        shown = invoke(command, "part", "--output", command, "--show", "all").stdout
        assert shown.count("price: expected 39.9, found 1") == 22


def test_the_cells_have_the_colours_of_the_html_report(two_models: Path) -> None:
    """Each step is that of the report's light theme; a reply that is mostly wrong is orange, one that is right blue."""
    css = (ROOT / "llm_tester/reports/templates/report.css").read_text()
    light = dict(re.findall(r"--(s\d|on\d): light-dark\(#(\w+)", css))
    shown = run_script("llm-tester", "run", cwd=two_models, FORCE_COLOR="1", COLORTERM="truecolor", COLUMNS="80")
    # Two of the three values are wrong: 33.3 is below the first step.
    for step, text in ((0, "33.3"), (6, "100")):
        ink, paper = (";".join(str(part) for part in bytes.fromhex(light[f"{name}{step}"])) for name in ("on", "s"))
        assert f"\x1b[38;2;{ink};48;2;{paper}m{text:>5}" in shown.stdout


def test_quiet_prints_what_failed_and_what_was_spent(two_models: Path, write_config: Write) -> None:
    providers = mocks(right=LAMP, broken=LAMP)
    providers["broken"]["mock"] = {"error": 400}
    write_config(providers)
    result = invoke("run", "-q")
    assert result.exit_code == 1
    assert result.stderr == ""
    assert "the provider refused the request" in result.stdout
    assert "right" not in result.stdout
    assert result.stdout.splitlines()[-1].startswith("spent: ")
    assert invoke("run", "-q", "-p", "right").stdout == "spent: unknown\n"


def test_verbose_lists_each_result_on_standard_error(two_models: Path) -> None:
    result = invoke("run", "-v")
    # The next case may have begun.
    first = r"^\[1/4\] products/desk_lamp right:right: ok 100\.0; unknown, [01] in flight, 0 failed, 0:00:0"
    assert re.search(first, result.stderr, re.MULTILINE)
    assert result.stderr.splitlines()[-1] == "[4/4] products/lamp wrong:wrong: ok 33.3; unknown, 0 in flight, 0 failed"
    assert "[1/4]" not in result.stdout


def test_without_a_terminal_a_run_of_many_prints_ten_lines(two_models: Path) -> None:
    for number in range(48):
        write_case(two_models / "cases", name=f"lamp{number}")
    lines = invoke("run").stderr.splitlines()
    assert [line.partition(" ")[0] for line in lines] == [f"[{done}/100]" for done in range(10, 101, 10)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize("options", [(), ("-v",), ("--workers", "2")])
def test_a_terminal_shows_a_bar_with_costs_calls_in_flight_and_failures(
    options: tuple[str, ...], tmp_path: Path, write_config: Write, standin: Callable[..., StandIn]
) -> None:
    """Of four cases, one is answered, one refused, and two are held until the bar has said so."""
    for name in ("a", "b", "c", "d"):
        write_case(tmp_path / "cases", name=name)
    held = threading.Event()
    server = standin(json.dumps(LAMP), faults=[None, Fault(400), Fault(hold=held), Fault(hold=held)])
    write_config({"x": light_entry(server, tmp_path, max_attempts=1)})
    ours, theirs = os.openpty()
    environment = reader_environment(TERM="xterm-256color", COLUMNS="80")
    command = [str(SCRIPTS / "llm-tester"), "run", "--concurrency", "2", *options]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = ""
    while not re.search(r"2/4 \$0\.00036, (at most )?2 in flight, 1 failed, 0:00:\d\d left", seen):
        seen += plain(os.read(ours, 10_000).decode())
    held.set()
    printed, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 1
    assert b"spent: $0.00" in printed
    assert "\x1b[" not in printed.decode()
    assert (": ok 100.0" in seen) is ("-v" in options)
    assert ("at most 2 in flight" in seen) is ("--workers" in options)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (
            "run",
            lambda document: (
                [result["accuracy"] for result in document["results"]] == [100.0, pytest.approx(33.33, abs=0.01)] * 2
            ),
        ),
        ("run -q", lambda document: document["kind"] == "llm_tester results"),
        ("run --dry-run", lambda document: [item["live"] for item in document] == [2, 2]),
        ("providers", lambda document: {item["name"] for item in document if item["in_run"]} == {"right", "wrong"}),
        ("prices right", lambda document: document[0]["chosen"] is None),
        ("prices anthropic:claude-sonnet-4-5", lambda document: document[0]["chosen"]["input"] == 3.0),
        ("cassettes scan .", lambda document: document == []),
    ],
)
def test_json_is_one_document_on_standard_output(command: str, found: Callable[[Any], bool], two_models: Path) -> None:
    result = invoke(*command.split(), "--json")
    assert found(json.loads(result.stdout))


def test_json_of_a_scan_has_each_key_and_exits_with_1(tmp_path: Path) -> None:
    key = "-".join(("sk", "proj", "a1B2" * 8))
    (tmp_path / "one.yaml").write_text(f"a: 1\nb: {key}\n")
    result = invoke("cassettes", "scan", "one.yaml", "--json")
    assert result.exit_code == 1
    [find] = json.loads(result.stdout)
    assert (find["path"], find["line"]) == ("one.yaml", 2)
    assert key not in result.output


def test_json_has_control_characters_as_escapes(tmp_path: Path, write_config: Write) -> None:
    write_case(tmp_path / "cases")
    name = "\x1b[2J\x9b2J\u202e\x7f"
    write_config(mocks(m=LAMP | {"name": name}))
    printed = invoke("run", "--json").stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", printed)
    assert json.loads(printed)["results"][0]["actual"]["name"] == name


def test_an_option_may_come_from_the_environment(two_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line leads."""
    monkeypatch.setenv("LLM_TESTER_RUN_PROVIDERS", "wrong")
    monkeypatch.setenv("LLM_TESTER_RUN_QUIET", "1")
    monkeypatch.setenv("LLM_TESTER_RUN_FAIL_UNDER", "50")
    result = invoke("run")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout == "spent: unknown\nbelow 50: wrong:wrong has 33.3\n"
    assert invoke("run", "-p", "right").stdout == "spent: unknown\n"


@pytest.mark.parametrize(
    ("modules", "cases"),
    [
        ("prod*", ["products/desk_lamp", "products/lamp"]),
        ("'products/desk*'", ["products/desk_lamp"]),
        ("'*/l[a]mp'", ["products/lamp", "tools/lamp"]),
        ("'?ools' -m products/lamp", ["products/lamp", "tools/lamp"]),
    ],
)
def test_modules_and_cases_are_chosen_by_globs(modules: str, cases: list[str], two_models: Path) -> None:
    write_case(two_models / "cases", module="tools")
    result = invoke("run", "-p", "right", "--json", *shlex.split(f"-m {modules}"))
    assert [f"{item['module']}/{item['name']}" for item in json.loads(result.stdout)["results"]] == cases


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("x*", "has no module 'x*'; known are products"),
        ("products/x*", "has no case 'products/x*'; did you mean"),
        ("productz", "has no module 'productz'; did you mean 'products'?"),
        ("products/lmap", "has no case 'products/lmap'; did you mean 'products/lamp' or"),
    ],
)
def test_a_name_or_glob_without_a_match_is_misuse(module: str, message: str, two_models: Path) -> None:
    result = invoke("run", "-m", module)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_name_with_the_characters_of_a_glob_is_found(two_models: Path) -> None:
    write_case(two_models / "cases", name="lamp[1]")
    result = invoke("run", "-p", "right", "--json", "-m", "products/lamp[1]")
    assert [item["name"] for item in json.loads(result.stdout)["results"]] == ["lamp[1]"]


def test_a_single_model_that_failed_is_not_ranked(tmp_path: Path, write_config: Write) -> None:
    write_case(tmp_path / "cases")
    providers = mocks(broken=LAMP)
    providers["broken"]["mock"] = {"error": 400}
    write_config(providers)
    assert "ranked over" not in invoke("run").stdout
    assert "Ranked over" not in (tmp_path / "llm_tester_results" / "report.md").read_text("utf-8")


def test_wrong_fields_fit_the_terminal_whatever_is_in_them(
    two_models: Path, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(mocks(right=LAMP, wrong=WRONG.replace("FI", "\x9b" * 20)))
    shown = run_script("llm-tester", "run", cwd=two_models, COLUMNS="80").stdout
    wrong = shown.partition("wrong fields")[2].partition("all together")[0]
    assert "\\x9b" in wrong
    assert all(len(line) <= 80 for line in wrong.splitlines())
