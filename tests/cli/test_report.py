"""`llm-tester report`: results that exist, rendered and compared."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from console import invoke
from report_pages import embedded
from sample_cases import LAMP, write_case

RENDERED = {"report.html", "report.md", "junit.xml"}


@pytest.fixture
def results(mock_run: Callable[..., Path]) -> None:
    """The results of a right run in `good`, and of a wrong one in `bad`; no config and no case is left."""
    mock_run()
    invoke("run", "--output", "good")
    mock_run({"name": "Another Lamp", "price": 1.0})
    invoke("run", "--output", "bad")
    Path("config.json").unlink()
    shutil.rmtree("cases")


def test_one_file_is_rendered_as_the_run_rendered_it(results: None) -> None:
    """Without a config and without cases; the reports are those of the run, but for the command to run again."""
    result = invoke("report", "good/results.json")
    assert result.exit_code == 0, result.output
    run_id = json.loads(Path("good/results.json").read_text())["run_id"]
    assert f"read good/results.json: run {run_id} of " in result.output
    assert ", 1 result\n" in result.output
    assert "m:m" in result.output
    assert "written: llm_tester_report/report.html, report.md and junit.xml\n" in result.output
    output = Path("llm_tester_report")
    assert {path.name for path in output.iterdir()} == RENDERED
    assert (output / "report.html").read_text() == Path("good/report.html").read_text()
    assert (output / "report.md").read_text() == Path("good/report.md").read_text()
    [suite] = ElementTree.parse(output / "junit.xml").getroot()
    assert (suite.get("name"), suite.get("tests")) == ("m:m", "1")


def test_the_first_of_two_files_is_the_baseline(results: None) -> None:
    """Each format says what changed from the first to the second; a directory stands for its results.json."""
    result = invoke("report", "good", "bad", "-o", "new")
    assert result.exit_code == 0
    assert "100.0 → " in result.output
    assert "against the baseline" in result.output
    assert "Another Lamp" in Path("new/report.md").read_text()
    page = Path("new/report.html").read_text()
    assert "100.0 → " in page
    # Both replies, for the view next to each other.
    assert {result["reply"] is not None for result in embedded(page, "report-details")["results"]} == {True}
    assert len(embedded(page, "report-details")["results"]) == 2
    assert "read bad/results.json" in result.output


def test_a_model_that_became_worse_is_a_failure_in_junit(mock_run: Callable[..., Path], tmp_path: Path) -> None:
    """As `run --fail-on-regression --junit` writes it."""
    for number in range(8):
        write_case(tmp_path / "cases", name=f"lamp{number}")
    for folder, reply in (("good", LAMP), ("bad", {"name": "x", "price": 1.0})):
        mock_run(reply)
        invoke("run", "--output", folder)
    invoke("report", "good", "bad")
    root = ElementTree.parse("llm_tester_report/junit.xml").getroot()
    assert [suite.get("failures") for suite in root if suite.get("name") == "baseline"] == ["1"]


def test_more_than_two_files_have_a_folder_each(results: None) -> None:
    """Each is compared with the first, and is in the folder of its place."""
    result = invoke("report", "good", "bad", "good")
    assert result.exit_code == 0
    assert {path.name for path in Path("llm_tester_report").iterdir()} == {"2", "3"}
    assert "100.0 → " in Path("llm_tester_report/2/report.md").read_text()
    assert "100.0 → " not in Path("llm_tester_report/3/report.md").read_text()
    assert "written: llm_tester_report/3/report.html" in result.output


def test_results_with_nothing_in_common_are_not_compared(results: None, mock_run: Callable[..., Path]) -> None:
    """It is rendered all the same, and the exit code says that the comparison is none."""
    write_case(Path("cases"))
    invoke("run", "-p", "mock", "--output", "other")
    result = invoke("report", "good", "other")
    assert result.exit_code == 1
    assert "nothing was compared" in result.output
    assert Path("llm_tester_report/report.html").is_file()


@pytest.mark.parametrize("name", sorted(RENDERED))
def test_a_file_of_another_program_is_left_and_nothing_is_written(name: str, results: None) -> None:
    """All three are checked before the first is written."""
    Path("llm_tester_report").mkdir()
    Path("llm_tester_report", name).write_text("mine")
    result = invoke("report", "good")
    assert result.exit_code == 2
    assert f"llm_tester_report/{name}: is not a file that llm_tester wrote" in result.output
    assert [path.read_text() for path in Path("llm_tester_report").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "Missing argument"), (("missing",), "missing: there is no such file"), (("good", "bad.json"), "not JSON")],
)
def test_a_file_that_is_no_results_is_a_message(arguments: tuple[str, ...], message: str, results: None) -> None:
    """It names the file; nothing is written."""
    Path("bad.json").write_text("{")
    result = invoke("report", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not Path("llm_tester_report").exists()
