"""Cases without a file each: made in Python, in tables, and with one prompt for all."""

import json
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from conftest import ROOT
from console import invoke
from pydantic import BaseModel, ValidationError
from sample_cases import LAMP, MODEL, openai_entry, write_case
from standins import StandIn

from llm_tester import Case, LLMTester, register_mock_response
from llm_tester.errors import CaseError, ConfigError
from llm_tester.runs.cases import discover

ROW = {"name": "lamp", "prompt": "Extract.", "source": "The Aurora Lamp.", "expected": LAMP}


class Product(BaseModel):
    name: str
    price: float


class Dated(BaseModel):
    day: date


def case(name: str = "lamp", **more: Any) -> Case:
    return Case(**{**ROW, "name": name, "model_class": Product, **more})


def module(root: Path, **tables: str) -> Path:
    directory = root / "cases/products"
    directory.mkdir(parents=True)
    (directory / "model.py").write_text(MODEL)
    for kind, text in tables.items():
        (directory / f"cases.{kind}").write_text(text, encoding="utf-8")
    return directory


class TestGivenCases:
    """Cases that are made in Python."""

    def test_they_run_without_any_directory(self, tmp_path: Path) -> None:
        register_mock_response("*", LAMP)
        run = LLMTester(["mock"]).run_tests(cases=[case(), case(variant="short"), case("shelf", module="goods")])
        assert [(item.title, item.accuracy) for item in run.results] == [
            ("product/lamp", 100.0),
            ("product/lamp.short", 100.0),
            ("goods/shelf", 100.0),
        ]
        assert [record.expected for record in run.cases] == [LAMP] * 3
        assert list(tmp_path.iterdir()) == []

    def test_they_are_recorded_replayed_and_chosen_by_name(
        self, tmp_path: Path, write_config: Any, standin: Any
    ) -> None:
        server: StandIn = standin(json.dumps(LAMP))
        write_config({"x": openai_entry(server)})
        tester, cases = LLMTester(["x"]), [case(), case("shelf")]
        skipped = tester.run_tests(cases=cases, record="none").results[0]
        assert "run_tests(cases=[...]) with the record mode once" in str(skipped.explanation)
        for record in ("once", "none"):
            run = tester.run_tests(["product/shelf"], cases=cases, record=record)
            assert [(item.name, item.accuracy) for item in run.results] == [("shelf", 100.0)]
        assert len(server.requests) == 1
        assert (tmp_path / "cassettes/product/shelf/x/small.yaml").is_file()

    def test_what_is_expected_may_be_an_instance(self) -> None:
        register_mock_response("*", {"day": "2026-11-29"})
        given = case(expected=Dated(day=date(2026, 11, 29)), model_class=Dated)
        assert given.expected == {"day": "2026-11-29"}
        assert LLMTester(["mock"]).run_tests(cases=[given]).results[0].accuracy == 100.0

    def test_threads_run_them_and_other_processes_are_refused(self) -> None:
        register_mock_response("*", LAMP)
        tester, cases = LLMTester(["mock"]), [case(str(number)) for number in range(4)]
        assert len(tester.run_tests(cases=cases, concurrency=4).results) == 4
        with ThreadPoolExecutor(2) as pool:
            assert len(tester.run_tests(cases=cases, executor=pool).results) == 4
        with pytest.raises(ConfigError, match=r"run in threads.*leave out workers.*cases\.jsonl"):
            tester.run_tests(cases=cases, workers=2)
        assert pickle.loads(pickle.dumps(cases)) == cases

    @pytest.mark.parametrize(
        ("cases", "message"),
        [
            ([], "the list is empty"),
            ([case(), case()], "'product/lamp' is there twice"),
            ([case(expected={"nam": "x"})], "product/lamp: expected: nam: unknown key 'nam'; did you mean 'name'?"),
            ([case(files=[Path("no.png")])], "no.png: there is no such file; case 'lamp' sends it"),
        ],
    )
    def test_a_wrong_one_is_named_before_any_call(self, cases: list[Case], message: str) -> None:
        with pytest.raises(CaseError) as caught:
            LLMTester(["mock"]).run_tests(cases=cases)
        assert message in str(caught.value)

    @pytest.mark.parametrize("missing", [*ROW, "model_class"])
    def test_a_case_says_what_it_lacks(self, missing: str) -> None:
        values = {**ROW, "model_class": Product}
        del values[missing]
        with pytest.raises(ValidationError, match=missing):
            Case(**values)


CSV = """name,prompt,source,expected,expected.name,expected.price,variant
lamp,Extract.,"The Aurora
Lamp, 39.90","{""name"": ""Aurora Lamp""}",,,

shelf,Extract.,The shelf.,,Shelf,12.5,short
"""


class TestTables:
    """Cases in cases.jsonl and cases.csv."""

    def test_a_row_is_a_case(self, tmp_path: Path) -> None:
        lines = [ROW, {**ROW, "name": "lamp\u2028two", "variant": "short", "files": ["lamp.png"]}]
        directory = module(tmp_path, jsonl="\ufeff" + "\n\n".join(json.dumps(row, ensure_ascii=False) for row in lines))
        (directory / "lamp.png").write_bytes(b"png")
        found = discover(tmp_path / "cases")
        assert [(item.title, item.expected, len(item.files)) for item in found] == [
            ("lamp", LAMP, 0),
            ("lamp\u2028two.short", LAMP, 1),
        ]

    def test_csv_has_json_or_a_column_for_each_field(self, tmp_path: Path) -> None:
        module(tmp_path, csv=CSV)
        lamp, shelf = discover(tmp_path / "cases")
        assert (lamp.title, lamp.source, lamp.expected) == ("lamp", "The Aurora\nLamp, 39.90", {"name": "Aurora Lamp"})
        assert (shelf.title, shelf.expected) == ("shelf.short", {"name": "Shelf", "price": "12.5"})
        register_mock_response("*", {"name": "Shelf", "price": 12.5})
        assert LLMTester(["mock"]).run_tests(["products/shelf"]).results[0].accuracy == 100.0

    def test_the_documented_tables_are_read(self, tmp_path: Path) -> None:
        page = (ROOT / "docs/running.md").read_text(encoding="utf-8").partition("### Cases in a table")[2]
        lines, cells = (dedent(block) for block in re.findall(r"(?:^    .+\n)+", page, re.MULTILINE)[:2])
        for number, tables in enumerate(({"jsonl": lines}, {"csv": cells})):
            directory = module(tmp_path / str(number), **tables)
            (directory / "tests/prompts").mkdir(parents=True)
            (directory / "tests/prompts/_default.txt").write_text("Extract.")
            [found] = discover(directory.parent)
            assert (found.name, found.source) == ("desk_lamp", "The Aurora Lamp costs 39.90 EUR.")
            assert {name: str(value) for name, value in found.expected.items()} == {
                "name": "Aurora Lamp",
                "price": "39.9",
            }

    def test_files_and_tables_go_together_and_are_listed(self, tmp_path: Path, mock_run: Any) -> None:
        mock_run()
        (tmp_path / "cases/products/cases.jsonl").write_text(json.dumps({**ROW, "name": "second"}))
        for option in ((), ("--no-import",)):
            output = invoke("list", *option).output
            assert "products/lamp" in output
            assert "products/second" in output
        assert "2 of 2" in invoke("run").output

    @pytest.mark.parametrize(
        ("tables", "message"),
        [
            ({"jsonl": f"{json.dumps(ROW)}\n{{\n"}, "cases.jsonl, line 2, column 2: not JSON"),
            ({"jsonl": "[1]"}, "cases.jsonl, line 1: found [1], expected an object with a name"),
            ({"jsonl": json.dumps({**ROW, "prmpt": "x"})}, "cases.jsonl, line 1: prmpt: an unknown field"),
            ({"jsonl": json.dumps({**ROW, "name": 3})}, "cases.jsonl, line 1: name: found 3"),
            ({"jsonl": json.dumps({**ROW, "model_class": "X"})}, "cases.jsonl, line 1: case 'lamp' has the class 'X'"),
            ({"jsonl": '{"name": "a", "name": "b"}'}, "cases.jsonl, line 1: duplicate key 'name'; remove one"),
            (
                {"jsonl": json.dumps({**ROW, "expected": {"nam": 1}})},
                "cases.jsonl, line 1: case 'lamp': expected: nam: unknown key 'nam'",
            ),
            (
                {"jsonl": f"{json.dumps(ROW)}\n\n{json.dumps(ROW)}"},
                "cases.jsonl, line 3: the case 'lamp' is there twice",
            ),
            ({"jsonl": json.dumps(ROW), "csv": CSV}, "cases.csv, line 2: the case 'lamp' is there twice; "),
            (
                {"jsonl": json.dumps({"name": "a", "prompt": "p", "expected": {}})},
                "line 1: case 'a' has neither source",
            ),
            ({"jsonl": json.dumps({"name": "a", "source": "s", "expected": {}})}, "line 1: case 'a' has no prompt"),
            ({"csv": "name,name\na,b\n"}, "cases.csv, line 1: two columns have the same name"),
            ({"csv": "name,source\na,b\nc\n"}, "cases.csv, line 3: expected 2 cells, as in the first line"),
            ({"csv": "name,source\na,b,c\n"}, "cases.csv, line 2: expected 2 cells, as in the first line"),
            ({"csv": 'name,source\na,"b'}, "cases.csv, line 2: not CSV"),
            ({"csv": "name,sorce\na,b\n"}, "cases.csv, line 2: sorce: an unknown field"),
            ({"csv": 'name,prompt,source,expected\na,p,s,"{"\n'}, "cases.csv, line 2, column 2: not JSON"),
            (
                {"csv": "name,prompt,source,expected,expected.name\na,p,s,{},x\n"},
                "cases.csv, line 2: has expected and expected.name; leave one empty",
            ),
            ({"jsonl": ""}, "has no case; a case is prompts/<case>.txt"),
        ],
    )
    def test_what_is_wrong_names_the_file_and_the_line(
        self, tables: dict[str, str], message: str, tmp_path: Path
    ) -> None:
        module(tmp_path, **tables)
        with pytest.raises(CaseError) as caught:
            discover(tmp_path / "cases")
        assert message in str(caught.value)

    def test_a_table_that_leads_out_of_the_cases_is_refused(self, tmp_path: Path) -> None:
        directory = module(tmp_path)
        (tmp_path / "outside.jsonl").write_text(json.dumps(ROW))
        (directory / "cases.jsonl").symlink_to(tmp_path / "outside.jsonl")
        with pytest.raises(CaseError, match="outside of"):
            discover(tmp_path / "cases")


class TestTheSharedPrompt:
    """tests/prompts/_default.txt."""

    def test_a_case_without_a_prompt_of_its_own_takes_it(self, tmp_path: Path) -> None:
        directory = write_case(tmp_path / "cases", name="own")
        write_case(tmp_path / "cases", name="shared", prompts=None)
        (directory / "tests/prompts/_default.txt").write_text("For all.\n")
        (directory / "tests/prompts/short.brief.txt").write_text("Brief.")
        (directory / "tests/sources/short.txt").write_text("The lamp.")
        (directory / "tests/expected/short.json").write_text("{}")
        row = {"name": "row", "source": "The lamp.", "expected": {}}
        (directory / "cases.jsonl").write_text(json.dumps(row))
        (directory / "cases.csv").write_text("name,prompt,source,expected\ncell,,The lamp.,{}\n")
        assert {item.title: item.prompt for item in discover(tmp_path / "cases")} == {
            "own": "Extract the product.",
            "shared": "For all.",
            "short.brief": "Brief.",
            "row": "For all.",
            "cell": "For all.",
        }

    def test_without_it_the_error_names_both_places(self, tmp_path: Path) -> None:
        write_case(tmp_path / "cases", prompts=None)
        with pytest.raises(CaseError) as caught:
            discover(tmp_path / "cases")
        prompts = tmp_path / "cases/products/tests/prompts"
        assert str(prompts / "lamp.txt") in str(caught.value)
        assert str(prompts / "_default.txt") in str(caught.value)
