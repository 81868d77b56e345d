"""The command line as a user meets it: output, files, exit codes."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from conftest import ROOT
from console import invoke, started_script
from sample_cases import LAMP, light_entry, openai_entry, write_case
from standins import Fault, Reply, StandIn

from llm_tester import RunResult
from llm_tester.utils.cost_manager import CostReport

Write = Callable[..., Path]


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
@pytest.mark.parametrize("folder", ["cases", "another"])
def test_run_without_cases_exits_with_2_and_names_init(folder: str, dry_run: tuple[str, ...]) -> None:
    """Both without a folder of cases and with an empty one."""
    Path(folder).mkdir()
    result = invoke("run", *dry_run)
    assert result.exit_code == 2
    assert "llm-tester init" in result.output


def test_run_writes_its_results_and_reports(mock_run: Callable[..., Path], tmp_path: Path) -> None:
    mock_run()
    result = invoke("run", "--output", "out")
    assert result.exit_code == 0
    assert re.search(r"^ products/lamp +100 *$", result.stdout, re.MULTILINE)
    assert "unknown" in result.stdout
    assert "products/lamp" in (tmp_path / "out/report.md").read_text()
    assert "products" in (tmp_path / "out/report.html").read_text()
    schema = json.loads((ROOT / "docs/results.schema.json").read_text())
    jsonschema.validate(json.loads((tmp_path / "out/results.json").read_text()), schema)


def test_the_published_schema_is_the_one_of_the_code() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "import write_schema; print(write_schema.schema(), end='')"],
        cwd=ROOT / "scripts",
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == (ROOT / "docs/results.schema.json").read_text(), "run python scripts/write_schema.py"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "--config", "broken.json"], 2, "broken.json, line 2"),
        (["run", "-p", "nobody"], 2, "there is no provider 'nobody'"),
        (["run", "-m", "nothing"], 2, "has no module 'nothing'"),
        (["run", "-m", "products/lmap"], 2, "has no case 'products/lmap'; did you mean 'products/lamp'?"),
        (["run", "--record", "sometimes"], 2, "is not one of"),
        (["run", "--max-cost", "0"], 2, "unusable"),
        (["run", "--max-cost", "-1"], 2, "unusable"),
        (["run", "--max-cost", "nan"], 2, "unusable"),
        (["run", "--fail-on-regression"], 2, "needs a baseline: `llm-tester baseline save`"),
        (["run", "--baseline", "gone.json"], 2, "there is no such file"),
        (["run", "--config", "gone.json"], 2, "there is no such file"),
        (["run", "--cases", "gone"], 2, "no such directory of cases"),
        (["run", "--fail-under", "101"], 2, "101"),
        (["prices", "nobody"], 2, "there is no provider"),
        (["prices", "openai:gtp-4o"], 2, "did you mean"),
        (["cassettes", "scan", "gone"], 2, "there is no such file or directory"),
    ],
)
def test_misuse_exits_with_2_and_says_what_is_wrong(
    arguments: list[str], code: int, message: str, mock_run: Callable[..., Path]
) -> None:
    mock_run()
    Path("broken.json").write_text('{"providers": {\n  "house": {"models": ["house-1"],}\n}}')
    result = invoke(*arguments)
    assert result.exit_code == code
    assert message in " ".join(result.output.split())


def test_a_failed_call_exits_with_1(mock_run: Callable[..., Path]) -> None:
    mock_run(error=400)
    result = invoke("run")
    assert result.exit_code == 1
    assert "BadRequestError" not in result.output
    assert "the provider refused the request" in result.output


def test_a_wrong_reply_exits_with_0_unless_below_fail_under(mock_run: Callable[..., Path]) -> None:
    mock_run({"name": "Aurora Lamp", "price": 1})
    assert invoke("run").exit_code == 0
    result = invoke("run", "--fail-under", "60", "--junit", "junit.xml")
    assert result.exit_code == 1
    assert "below 60: m:m has 50.0" in result.output
    root = ElementTree.parse("junit.xml").getroot()
    [failure] = root.iter("failure")
    assert "price: expected 39.9, found 1" in str(failure.text)
    assert invoke("run", "--fail-under", "50").exit_code == 0


def test_files_of_other_programs_are_not_overwritten(mock_run: Callable[..., Path], tmp_path: Path) -> None:
    mock_run()
    for name in ("results.json", "report.md", "report.html", "costs.json", "costs.md"):
        path = tmp_path / "out" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
        result = invoke("run", "--output", "out")
        assert result.exit_code == 2
        assert f"out/{name}: is not a file that llm_tester wrote" in result.output
        assert "[1/1]" not in result.output
        assert path.read_text() == "precious"
        path.unlink()


@pytest.mark.parametrize("arguments", [("--output", "taken/out"), ("--junit", "taken/junit.xml")])
def test_outputs_that_cannot_be_written_are_reported_before_any_call(
    arguments: tuple[str, str], mock_run: Callable[..., Path], tmp_path: Path
) -> None:
    mock_run()
    (tmp_path / "taken").write_text("a file, no directory")
    result = invoke("run", *arguments)
    assert result.exit_code == 2
    assert "cannot be written" in result.output
    assert "[1/1]" not in result.output


def test_costs_of_another_format_are_reported_before_any_call(mock_run: Callable[..., Path], tmp_path: Path) -> None:
    mock_run()
    invoke("run", "--output", "out")
    costs = tmp_path / "out/costs.json"
    costs.write_text(costs.read_text().replace('"format": 2', '"format": 99'))
    result = invoke("run", "--output", "out")
    assert result.exit_code == 2
    assert "format 99" in result.output
    assert "[1/1]" not in result.output


def test_repeats_show_mean_spread_and_what_changed(
    tmp_path: Path, write_config: Write, standin: Callable[..., StandIn]
) -> None:
    write_case(tmp_path / "cases")
    prices = iter((39.9, 40.0, 39.9))
    server = standin(lambda body: json.dumps({**LAMP, "price": next(prices)}))
    write_config({"x": openai_entry(server)})
    result = invoke("run", "--repeat", "3")
    assert "83.3 ±28.9" in result.output
    assert "price" in result.output
    assert "2 of 2" in result.output


def test_a_dry_run_calls_nothing_and_estimates(
    tmp_path: Path, write_config: Write, standin: Callable[..., StandIn]
) -> None:
    write_case(tmp_path / "cases")
    server = standin(Reply(json.dumps(LAMP), input_tokens=1000, output_tokens=50))
    write_config({"x": openai_entry(server), "unknown": {**openai_entry(server), "models": ["own"]}})
    counted = invoke("run", "--dry-run")
    assert counted.exit_code == 0
    assert "≈" in counted.output
    assert "estimated cost at least $" in counted.output
    assert not server.requests
    missing = invoke("run", "-p", "x", "--record", "none", "--dry-run", "--json")
    assert [(item["replayed"], item["skipped"]) for item in json.loads(missing.stdout)] == [(0, 1)]
    invoke("run", "-p", "x")
    recorded = invoke("run", "-p", "x", "--record", "all", "--dry-run")
    assert "1000" in recorded.output
    assert "estimated cost $0.0024" in recorded.output
    assert "1" in recorded.output
    replayed = invoke("run", "-p", "x", "--dry-run")
    assert "0 live calls" in replayed.output
    assert len(server.requests) == 1


def test_prices_show_source_second_source_and_disagreement(write_config: Write) -> None:
    write_config({"own": {"provider_type": "openai", "models": [{"name": "x", "cost_input": 1.5, "cost_output": 0}]}})
    own = invoke("prices", "own")
    assert "config" in own.output
    assert "1.5" in own.output
    both = invoke("prices", "anthropic:claude-sonnet-4-5")
    assert "litellm 1." in both.output
    assert "next to it: genai-prices" in both.output
    assert "disagree: anthropic:claude-sonnet-4-5" in both.output
    write_config({"own": {"provider_type": "openai", "models": ["nobody-knows-this"]}})
    assert "unknown" in invoke("prices", "own").output


def test_providers_lists_keys_and_what_is_wrong(write_config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "made-up-for-this-test")
    write_config({"bad": {"provider_type": "opnai", "models": ["m"]}})
    result = invoke("providers")
    assert result.exit_code == 0
    assert "MISTRAL_API_KEY is set" in result.output
    assert "OPENAI_API_KEY is not set" in result.output
    assert "bad cannot start" in result.output
    assert "did you mean 'openai'" in result.output
    assert "made-up-for-this-test" not in result.output


def test_a_provider_that_cannot_start_does_not_stop_the_others(mock_run: Callable[..., Path]) -> None:
    mock_run()
    config = json.loads(Path("config.json").read_text())
    config["providers"]["bad"] = {"provider_type": "opnai", "models": ["m"]}
    Path("config.json").write_text(json.dumps(config))
    result = invoke("run", "-v")
    assert result.exit_code == 1
    assert "m:m: ok 100.0" in result.output
    assert "bad could not start" in result.output


def test_scan_finds_a_key_and_unused_finds_unused_recordings(
    tmp_path: Path, write_config: Write, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_case(tmp_path / "cases")
    server = standin(json.dumps(LAMP))
    write_config({"x": openai_entry(server)})
    invoke("run", "--repeat", "2")
    assert invoke("cassettes", "scan").exit_code == 0
    assert invoke("cassettes", "unused").exit_code == 0
    file = tmp_path / "cassettes/products/lamp/x/small.yaml"
    key = "-".join(("sk", "proj", "a1B2" * 8))
    file.write_text(file.read_text().replace("Aurora Lamp", key, 1))
    found = invoke("cassettes", "scan")
    assert found.exit_code == 1
    assert str(file) in found.output
    assert key not in found.output
    (tmp_path / "cases/products/tests/prompts/lamp.txt").write_text("Another prompt.")
    (file.parent / "left.yaml").write_text(file.read_text())
    unused = invoke("cassettes", "unused")
    assert unused.exit_code == 1
    assert "nothing asks for it" in unused.output
    assert "left.yaml: no case uses it" in unused.output


# Prints what gitleaks 8.30.1 prints of a find in each directory that it is asked to scan.
GITLEAKS = """#!{python}
import json, sys
path = sys.argv[-1]
leak = {{"RuleID": "acme-token", "StartLine": 3, "Secret": "REDACTED", "File": path + "/lamp.yaml"}}
print(json.dumps([leak] if sys.argv[1] == "dir" and "--redact" in sys.argv else []))
sys.exit("bad" in path and 1)
"""


def test_scan_adds_what_gitleaks_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each of several directories, of which gitleaks itself reads only the first."""
    for folder in ("one", "two", "bad"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = invoke("cassettes", "scan", "--gitleaks", "one")
    assert (missing.exit_code, "gitleaks is not on the PATH" in missing.output) == (2, True)
    program = tmp_path / "gitleaks"
    program.write_text(GITLEAKS.format(python=sys.executable))
    program.chmod(0o755)
    found = invoke("cassettes", "scan", "--gitleaks", "one", "two")
    assert found.exit_code == 1
    assert found.output.splitlines()[:2] == ["one/lamp.yaml:3: acme-token", "two/lamp.yaml:3: acme-token"]
    assert invoke("cassettes", "scan", "one", "two").exit_code == 0
    refused = invoke("cassettes", "scan", "--gitleaks", "bad")
    assert (refused.exit_code, "gitleaks cannot scan bad" in refused.output) == (2, True)


@pytest.mark.skipif(shutil.which("gitleaks") is None, reason="gitleaks is not installed")
def test_scan_finds_with_gitleaks_what_only_its_rules_know(tmp_path: Path) -> None:
    token = "".join(("dop_v1_", "0a1b2c3d4e5f6a7b" * 4))
    (tmp_path / "cassettes").mkdir()
    (tmp_path / "cassettes/lamp.yaml").write_text(f"body: {token}\n")
    assert invoke("cassettes", "scan").exit_code == 0
    found = invoke("cassettes", "scan", "--gitleaks")
    assert found.exit_code == 1
    assert "cassettes/lamp.yaml:1: digitalocean-pat" in found.output
    assert token not in found.output


@pytest.mark.parametrize(
    ("number", "options", "drops"),
    [
        (signal.SIGINT, (), False),
        (signal.SIGTERM, ("--json",), True),
        (signal.SIGHUP, (), False),
        (signal.SIGINT, ("--workers", "2"), True),
        (signal.SIGTERM, ("--workers", "2"), False),
    ],
)
def test_an_interrupted_run_keeps_what_is_paid_for(
    number: signal.Signals,
    options: tuple[str, ...],
    drops: bool,
    tmp_path: Path,
    write_config: Write,
    standin: Callable[..., StandIn],
) -> None:
    """The first signal waits for the calls in flight; the second drops them, and they may be billed.

    With `--json` the results so far are printed.
    """
    for name in ("a", "b", "c"):
        write_case(tmp_path / "cases", name=name)
    held = threading.Event()
    server = standin(json.dumps(LAMP), faults=[None, Fault(hold=held), Fault(hold=held)])
    write_config({"x": light_entry(server, tmp_path)})
    in_flight = 2 if "--workers" in options else 1
    arguments = ("llm-tester", "run", "--output", "out", *options)
    with started_script(*arguments, cwd=tmp_path, PYTHONUNBUFFERED="1") as (process, output):
        assert "[1/3]" in output.readline()
        while len(server.requests) < 1 + in_flight:
            threading.Event().wait(0.01)
        process.send_signal(number)
        assert "waiting for" in output.readline()
        if drops:
            process.send_signal(number)
        else:
            held.set()
        rest = output.read()
        # Nothing is left if both workers had the last two calls.
        assert ("llm-tester run --resume --output out" in rest) == (drops or in_flight < 2)
        assert process.wait(20) == 130
    if "--json" in options:
        assert json.loads(rest[rest.index("\n{") :]) == json.loads((tmp_path / "out/results.json").read_text())
    saved = RunResult.load(tmp_path / "out/results.json")
    statuses = Counter(item.status for item in saved.results)
    assert statuses == Counter(ok=1 if drops else 1 + in_flight, failed=in_flight * drops, skipped=2 - in_flight)
    assert saved.unanswered == in_flight * drops
    [row] = CostReport.load(tmp_path / "out/costs.json").by("run_id").values()
    assert (row.spent_usd, row.at_most_usd) == (saved.spent_usd, saved.at_most_usd)
    assert not list(tmp_path.rglob("*.journal"))


def test_a_closed_pipe_interrupts_the_run(tmp_path: Path, write_config: Write, standin: Callable[..., StandIn]) -> None:
    for name in ("a", "b", "c"):
        write_case(tmp_path / "cases", name=name)
    held = threading.Event()
    server = standin(json.dumps(LAMP), faults=[None, Fault(hold=held)])
    write_config({"x": light_entry(server, tmp_path)})
    with started_script("llm-tester", "run", cwd=tmp_path, PYTHONUNBUFFERED="1") as (process, output):
        assert "[1/3]" in output.readline()
        output.close()
        held.set()
        assert process.wait(20) == 130
    saved = RunResult.load(tmp_path / "llm_tester_results/results.json")
    assert {item.status for item in saved.results} <= {"ok", "skipped"}
    assert saved.spent_usd == pytest.approx(len(server.requests) * 0.00036)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_log_on_a_full_disk_is_an_error_in_one_line(mock_run: Callable[..., Path], options: tuple[str, ...]) -> None:
    mock_run()
    script = str(Path(sys.executable).with_name("llm-tester"))
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [script, "list", *options], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert ended.returncode == 1
    assert re.fullmatch(r"error: the output: cannot be written \(.*No space left on device\)\n", ended.stderr)


HEAVY = """
import sys, llm_tester, llm_tester.__main__, llm_tester.llm_tester, llm_tester.testing.faults
from llm_tester import catalog
catalog.litellm_version(), catalog.known_slugs(), catalog.env_keys("groq"), catalog.model_names("groq")
assert catalog.model_entry("openai", "gpt-4o")
print({"litellm", "pydantic_ai", "pytest"} & set(sys.modules))
"""


def test_importing_the_package_and_its_catalog_imports_neither_library_nor_pytest() -> None:
    shown = subprocess.run([sys.executable, "-c", HEAVY], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


def test_all_lists_the_public_names() -> None:
    import llm_tester

    assert llm_tester.__all__ == sorted(llm_tester.__all__)
    for name in llm_tester.__all__:
        assert getattr(llm_tester, name) is not None
    assert dir(llm_tester) == llm_tester.__all__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = llm_tester.nonsense


def test_a_long_table_shows_the_least_accurate(mock_run: Callable[..., Path], tmp_path: Path) -> None:
    mock_run()
    for number in range(60):
        expected = {"name": "Aurora Lamp", "price": 39.9 if number else 1.0}
        write_case(tmp_path / "cases", name=f"case{number:02}", expected=json.dumps(expected))
    output = invoke("run").output
    assert "the 50 least accurate of 61" in output
    assert re.search(r"products/case00 +50 ", output)
    assert "products/lamp" not in output
    assert "products/lamp" in invoke("run", "--show", "all").output
