"""What a run keeps of each case is small."""

from pathlib import Path

from pydantic import BaseModel
from sample_cases import write_case

from llm_tester import LLMTester, RunResult


def test_what_a_run_keeps_has_its_sets_of_names_in_common(tmp_path: Path) -> None:
    """pydantic's set of the names of the set fields exists once for a class, not once for an instance."""
    for number in range(3):
        write_case(tmp_path / "cases", name=f"case{number}")
    run = LLMTester(["mock"], tmp_path / "cases").run_tests()
    kept: list[BaseModel] = [*run.results, *run.cases]
    kept += [result.usage for result in run.results if result.usage]
    kept += [field for result in run.results for field in result.fields]
    assert len({id(item.model_fields_set) for item in kept}) == len({type(item) for item in kept}) == 4
    run.save(tmp_path / "results.json")
    assert RunResult.load(tmp_path / "results.json") == run
