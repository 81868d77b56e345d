"""Finding the cases and their class, importing what the user wrote, and taking over another project's folders."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from console import run_script
from counting import calls_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_cases import LAMP, openai_entry, write_case
from standins import StandIn

from llm_tester import LLMTester, register_mock_response
from llm_tester.__main__ import main
from llm_tester.errors import CaseError, ConfigError
from llm_tester.llms.llm_registry import get_llm_provider, reset_provider_cache
from llm_tester.runs.cases import discover, load_model_class

Write = Callable[..., Path]

KEY = "made-up-" + "0123456789"

PARTS = """
from pydantic import BaseModel

class Product(BaseModel):
    name: str
    price: float
"""
PROVIDER = """
from llm_tester.llms.base import BaseLLM
import shared

class Own(BaseLLM):
    uses_http = False
    product = shared.Product

    def _call_llm_api(self, prompt, system_prompt, model_name, model_config):
        return '{"name": "Aurora Lamp", "price": 39.9}', {"prompt_tokens": 1, "completion_tokens": 1}
"""


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert "Traceback" not in result.output
    return result


def problem_of(root: Path, *modules: str) -> str:
    with pytest.raises(CaseError) as caught:
        discover(root, modules)
    return str(caught.value)


def class_of(root: Path, model: str, **siblings: str) -> type:
    directory = write_case(root / "cases", model=dedent(model))
    for name, text in siblings.items():
        (directory / f"{name}.py").write_text(dedent(text))
    return load_model_class(directory)


def test_the_work_of_finding_cases_grows_with_the_cases(tmp_path: Path) -> None:
    work: list[int] = []
    for count in (40, 80):
        root = tmp_path / str(count)
        for number in range(count):
            write_case(root, name=f"case{number}", files="x")
        discover(root)
        work.append(calls_of(lambda root=root: discover(root)))  # type: ignore[misc]
    assert work[1] < work[0] * 2.1


class TestTheClass:
    """Which class of a model.py is the one."""

    @pytest.mark.parametrize("line", ["from shared import Product as Model", "import shared\nModel = shared.Product"])
    def test_model_may_be_a_class_of_the_users_package(self, line: str, tmp_path: Path, write_config: Write) -> None:
        (tmp_path / "shared.py").write_text(PARTS)
        write_config()
        kind = class_of(tmp_path, line)
        assert (kind.__module__, kind.__name__) == ("shared", "Product")
        register_mock_response("*", LAMP)
        [result] = LLMTester(["mock"]).run_tests().results
        assert result.accuracy == 100.0

    def test_the_name_model_leads_over_what_the_file_defines(self, tmp_path: Path) -> None:
        assert class_of(tmp_path, PARTS + "class Other(BaseModel):\n    x: int\nModel = Product").__name__ == "Product"

    @pytest.mark.parametrize(
        "code",
        [
            "class Maker(BaseModel): x: int\nclass Product(BaseModel): maker: Maker",
            "class Product(BaseModel): maker: 'list[Maker]'\nclass Maker(BaseModel): x: int",
            "class Maker(BaseModel): x: int\nclass Product(BaseModel): makers: dict[str, Annotated[Maker | None, 'a']]",
            "class Base(BaseModel): x: int\nclass Product(Base): y: int",
            "class _Base(BaseModel): x: int\nclass Part(_Base): y: int\nclass Product(_Base): parts: list[Part]",
            "class Product(BaseModel): children: 'list[Product]' = []",
            "class Item(BaseModel): x: int\nclass Product(RootModel[list[Item]]): pass",
            "class Item(BaseModel): x: int\nclass Page(BaseModel, Generic[T]): items: list[T]\n"
            "class Product(BaseModel): page: Page[Item]",
            "class Item(BaseModel): x: int\nItems = TypeAliasType('Items', list[Item])\n"
            "class Product(BaseModel): items: Items",
            "class Product(BaseModel): x: int\nAlias = Product",
        ],
        ids=["nested", "later", "deep", "base", "both", "itself", "root", "generic", "alias", "two names"],
    )
    def test_a_class_that_others_need_is_not_the_one(self, code: str, tmp_path: Path) -> None:
        imports = "from typing import *\nfrom pydantic import *\nfrom typing_extensions import TypeAliasType\n"
        assert class_of(tmp_path, f"{imports}T = TypeVar('T')\n{code}").__name__ == "Product"

    def test_deferred_annotations_count_as_well(self, tmp_path: Path) -> None:
        code = (
            "from __future__ import annotations\n" + PARTS + "class Shop(BaseModel):\n    best: Product | None = None"
        )
        assert class_of(tmp_path, code).__name__ == "Shop"

    @pytest.mark.parametrize(
        ("code", "found"),
        [
            (PARTS + "class Offer(BaseModel):\n    x: int", "Product, Offer could each be the class"),
            (
                "from pydantic import BaseModel\nclass A(BaseModel):\n    b: 'B | None'\n"
                "class B(BaseModel):\n    a: A | None",
                "A, B could each be the class",
            ),
            ("from pydantic import BaseModel", "must define a subclass of pydantic.BaseModel, found none"),
            ("from llm_tester.runs.results import CaseResult", "it only imports CaseResult"),
        ],
    )
    def test_without_one_candidate_the_error_names_them_and_what_to_write(
        self, code: str, found: str, tmp_path: Path
    ) -> None:
        write_case(tmp_path / "cases", model=code)
        problem = problem_of(tmp_path / "cases")
        assert found in problem
        assert "`Model = Product`" in problem
        assert str(tmp_path / "cases/products/model.py") in problem

    def test_a_model_that_is_no_pydantic_class_is_an_error(self, tmp_path: Path) -> None:
        write_case(tmp_path / "cases", model=PARTS + "Model = dict")
        assert "Model is <class 'dict'>, expected a subclass of pydantic.BaseModel" in problem_of(tmp_path / "cases")

    def test_what_a_root_model_of_a_list_expects_is_a_list(self, tmp_path: Path) -> None:
        model = PARTS + "from pydantic import RootModel\nclass Products(RootModel[list[Product]]): pass"
        write_case(tmp_path / "cases", model=model, expected=json.dumps([LAMP]))
        [case] = discover(tmp_path / "cases")
        assert case.expected == [LAMP]


class TestImports:
    """What a model.py and a provider may import."""

    def test_siblings_of_the_same_name_do_not_mix(self, tmp_path: Path) -> None:
        for module in ("one", "two"):
            model = "from .parts import Part\nfrom pydantic import BaseModel\nclass Product(BaseModel):\n    part: Part"
            directory = write_case(tmp_path / "cases", module, model=model)
            part = f"from pydantic import BaseModel\nclass Part(BaseModel):\n    {module}: int"
            (directory / "parts.py").write_text(part)
        one, two = (load_model_class(tmp_path / "cases" / module) for module in ("one", "two"))
        assert set(one.model_fields["part"].annotation.model_fields) == {"one"}  # type: ignore[union-attr]
        assert set(two.model_fields["part"].annotation.model_fields) == {"two"}  # type: ignore[union-attr]

    @pytest.mark.parametrize("where", ["cases", "elsewhere/cases", "json", "v1.2"])
    def test_relative_imports_work_wherever_the_cases_are(
        self, where: str, tmp_path: Path, write_config: Write
    ) -> None:
        """Also if the folder's name belongs to another module or cannot be one, or lies outside of the project."""
        write_config()
        root = tmp_path.parent / f"{tmp_path.name}-out" / "cases" if where.startswith("else") else tmp_path / where
        for module in ("products", "pro.ducts"):
            directory = write_case(root, module, model="from .parts import Product as Model\nfrom ..shop import NAME")
            (directory / "parts.py").write_text(PARTS)
        (root / "shop.py").write_text("NAME = 'shop'")
        assert [case.model_class().__name__ for case in discover(root)] == ["Product", "Product"]

    def test_an_init_of_the_module_runs_as_that_of_its_package(self, tmp_path: Path) -> None:
        directory = write_case(tmp_path / "cases", "goods", model="from . import Product as Model")
        (directory / "__init__.py").write_text(PARTS)
        assert load_model_class(directory).__module__ == "cases.goods"

    def test_a_provider_and_a_case_share_the_classes_of_a_module_next_to_the_config(
        self, tmp_path: Path, write_config: Write
    ) -> None:
        (tmp_path / "shared.py").write_text(PARTS)
        (tmp_path / "own.py").write_text(PROVIDER)
        (tmp_path / "external_providers.json").write_text('{"other": {"module": "own", "class": "Own"}}')
        write_case(tmp_path / "cases", model="from shared import Product as Model")
        write_config({"own": {"provider_type": "own:Own", "models": ["m"]}})
        entry: Any = get_llm_provider("own")
        external: Any = get_llm_provider("other")
        assert entry.product is external.product is load_model_class(tmp_path / "cases/products")

    def test_a_model_imported_by_its_name_has_the_same_class(self, tmp_path: Path, write_config: Write) -> None:
        write_config()
        kind = load_model_class(write_case(tmp_path / "cases", "goods", model=PARTS))
        (tmp_path / "user.py").write_text("from cases.goods.model import Product")
        write_case(tmp_path / "cases", "again", model="from user import Product as Model")
        assert load_model_class(tmp_path / "cases/again") is kind

    def test_a_module_that_a_program_made_does_not_hide_the_cases(
        self, tmp_path: Path, write_config: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_config()
        monkeypatch.setitem(sys.modules, "cases", ModuleType("cases"))
        assert load_model_class(write_case(tmp_path / "cases", "goods", model=PARTS)).__name__ == "Product"

    def test_an_installed_module_leads_over_one_next_to_the_config(self, tmp_path: Path, write_config: Write) -> None:
        write_config()
        (tmp_path / "colorsys.py").write_text("raise RuntimeError")
        sys.modules.pop("colorsys", None)
        assert class_of(tmp_path, "import colorsys\n" + PARTS).__name__ == "Product"

    def test_another_project_and_a_reset_read_their_own_files(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "config.json").write_text("{}")
            (tmp_path / name / "shared.py").write_text(PARTS.replace("Product", name.title()))
            write_case(tmp_path / name / "cases", model=f"from shared import {name.title()} as Model")
        for name in ("one", "two", "one"):
            [case] = LLMTester(["mock"], config_path=tmp_path / name / "config.json").discover_test_cases()
            assert case.model_class().__name__ == name.title()
            assert str(tmp_path / name) in sys.path
        assert str(tmp_path / "two") not in sys.path
        write_case(tmp_path / "one/cases", model=PARTS.replace("Product", "Changed"))
        assert case.model_class().__name__ == "One"
        reset_provider_cache()
        assert not [name for name in sys.modules if name.startswith("cases.")]
        assert case.model_class().__name__ == "Changed"

    @pytest.mark.parametrize(
        ("code", "line", "what"),
        [
            ("x = 1\n1/0", 2, "ZeroDivisionError"),
            ("import sys\n\nsys.exit(3)", 3, "SystemExit: 3"),
            ("import pytest\npytest.skip('no', allow_module_level=True)", 2, "Skipped"),
            ("class X(:", 1, "SyntaxError"),
            ("from .parts import Part", 2, "NameError"),
            ("import parts", 1, "write `from .parts import ...`"),
            ("import no_such_module", 1, "must be installed or lie next to config.json"),
        ],
        ids=["error", "exit", "skip", "syntax", "sibling", "plain sibling", "missing"],
    )
    def test_whatever_it_raises_is_an_error_with_file_and_line(
        self, code: str, line: int, what: str, tmp_path: Path
    ) -> None:
        directory = write_case(tmp_path / "cases", model=code)
        (directory / "parts.py").write_text("import os\nnowhere")
        problem = problem_of(tmp_path / "cases")
        assert f".py, line {line}: cannot be imported" in problem
        assert what in problem
        assert str(directory / "model.py") in problem

    def test_a_key_in_what_it_raises_is_redacted(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A settings class that checks the environment quotes the value that it refuses."""
        monkeypatch.setenv("ACME_API_KEY", KEY)
        write_case(tmp_path / "cases", model="import os\nint(os.environ['ACME_API_KEY'])")
        assert problem_of(tmp_path / "cases").endswith("with base 10: 'REDACTED'")

    def test_the_commands_import_them_too(self, tmp_path: Path, write_config: Write) -> None:
        """`llm-tester` and `pytest` as a user starts them, in their own processes."""
        write_config({"own": {"provider_type": "own:Own", "models": ["m"]}})
        (tmp_path / "shared.py").write_text(PARTS)
        (tmp_path / "own.py").write_text(PROVIDER)
        (tmp_path / "pytest.ini").write_text("[pytest]\nllm_cases = cases\n")
        write_case(tmp_path / "cases", model="from shared import Product as Model")
        for command in (("llm-tester", "run"), ("pytest", "-p", "no:cacheprovider")):
            done = run_script(*command, cwd=tmp_path)
            assert done.returncode == 0, done.stdout


class TestOwnCases:
    """What get_test_cases may give."""

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("@classmethod\n    def get_test_cases(cls): 1/0", "line 9: get_test_cases() failed: ZeroDivisionError"),
            ("@classmethod\n    def get_test_cases(cls): yield 1/0", "line 9: get_test_cases() failed"),
            ("@classmethod\n    def get_test_cases(cls): raise SystemExit(2)", "line 9: get_test_cases() failed"),
            ("@classmethod\n    def get_test_cases(cls): return None", "returned None, expected a list of objects"),
            ("@classmethod\n    def get_test_cases(cls): return {'name': 'a'}", "expected a list of objects"),
            ("@classmethod\n    def get_test_cases(cls): return ['a']", "returned 'a', expected an object with a name"),
            ("@classmethod\n    def get_test_cases(cls): return []", "get_test_cases() of Product returned no case"),
            ("@classmethod\n    def get_test_cases(cls): return [{}]", "get_test_cases()[0].name: Field required"),
            (
                "@classmethod\n    def get_test_cases(cls): return [{'name': 'a', 'varient': 'b'}]",
                "get_test_cases()[0].varient: an unknown field; did you mean 'variant'?",
            ),
            (
                "@classmethod\n    def get_test_cases(cls): return [{'name': 'a', 'prompt': 'p', 'source': 's'}]",
                "case 'a' has neither expected nor expected_path",
            ),
            (
                "@classmethod\n    def get_test_cases(cls):\n"
                "        case = {'name': 'a', 'prompt': 'p', 'source': 's'}\n"
                "        return [{**case, 'expected': {}}, {**case, 'expected': {}}]",
                "get_test_cases()[1]: the case 'a' is there twice",
            ),
            (
                "@classmethod\n    def get_test_cases(cls):\n"
                "        return [{'name': 'a', 'prompt': 'p', 'source': 's', 'expected': {'x': object}}]",
                "case 'a': expected: x: found a type, expected a JSON value",
            ),
            (
                "@classmethod\n    def get_test_cases(cls):\n"
                "        return [{'name': 'a', 'prompt': 'p', 'source': 's', 'expected': {}, 'files': ['no.png']}]",
                "no.png: there is no such file; case 'a' sends it",
            ),
            ("def get_test_cases(cls): return []", "get_test_cases is not a classmethod; write @classmethod above it"),
            ("@property\n    def get_test_cases(self): return []", "get_test_cases is not a classmethod"),
        ],
    )
    def test_what_is_wrong_with_it_names_the_file_and_the_cause(self, body: str, message: str, tmp_path: Path) -> None:
        directory = write_case(tmp_path / "cases", model=f"{PARTS}\n    {body}\n")
        problem = problem_of(tmp_path / "cases")
        assert message in problem
        assert str(directory) in problem

    def test_one_that_a_production_class_brings_along_is_named_where_it_fails(
        self, tmp_path: Path, write_config: Write
    ) -> None:
        write_config()
        (tmp_path / "shared.py").write_text(PARTS + "    @classmethod\n    def get_test_cases(cls): 1/0\n")
        directory = write_case(tmp_path / "cases", model="from shared import Product as Model")
        problem = problem_of(tmp_path / "cases")
        assert f"{tmp_path / 'shared.py'}, line 8: get_test_cases() failed (for {directory / 'model.py'})" in problem


class TestNothingToRun:
    """Nothing to run is an error, and exit code 2."""

    @pytest.mark.parametrize(
        ("prepare", "arguments", "message"),
        [
            (lambda cases: None, (), "there is no such directory of cases; `llm-tester init` makes one"),
            (lambda cases: cases.mkdir(), (), "has no module; a module is a folder with a model.py"),
            (lambda cases: cases.write_text(""), (), "cannot be read as a directory"),
            (lambda cases: write_case(cases, prompts=None, sources=None, expected=None), (), "has no case"),
            (write_case, ("-m", "nothing"), "has no module 'nothing'; known are products"),
            (write_case, ("-m", "products/lam"), "has no case 'products/lam'; did you mean 'products/lamp'?"),
            (write_case, ("-m", ""), "has no module ''"),
            (write_case, ("-m", "products/"), "has no case 'products/'"),
            (write_case, ("--cases", "x" * 300), "cannot be read"),
            (write_case, ("-p", "bare:*"), "nothing to run: bare:*: its entry lists no enabled model"),
        ],
    )
    def test_the_command_exits_with_2_and_says_what_was_looked_for(
        self, prepare: Any, arguments: tuple[str, ...], message: str, tmp_path: Path, write_config: Write
    ) -> None:
        write_config({"mock": True, "bare": {"provider_type": "mock"}})
        prepare(tmp_path / "cases")
        for dry in ((), ("--dry-run",)):
            result = invoke("run", *arguments, *dry)
            assert result.exit_code == 2
            assert message in result.output
        assert not (tmp_path / "llm_tester_results/results.json").exists()

    def test_from_python_it_is_an_exception(self, tmp_path: Path) -> None:
        with pytest.raises(CaseError, match="no such directory of cases"):
            LLMTester(["mock"]).run_tests()
        write_case(tmp_path / "cases")
        with pytest.raises(CaseError, match="has no module 'nothing'"):
            LLMTester(["mock"]).run_tests(["nothing"])
        with pytest.raises(ConfigError, match=r"nothing to run: .*config.json: there is no such file, and no provider"):
            LLMTester([]).run_tests()

    @pytest.mark.parametrize("folder", ["", "products", "products/tests/prompts"])
    def test_a_folder_that_may_not_be_read_is_named(self, folder: str, tmp_path: Path) -> None:
        write_case(tmp_path / "cases")
        load_model_class(tmp_path / "cases/products")
        (tmp_path / "cases" / folder).chmod(0)
        for parent in list(tmp_path.parents)[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
        tmp_path.chmod(0o755)
        user = os.geteuid()
        try:
            if user == 0:  # who may read everything
                os.seteuid(65534)
            problem = problem_of(tmp_path / "cases")
        finally:
            os.seteuid(user)
            (tmp_path / "cases" / folder).chmod(0o755)
        assert "cannot be read" in problem
        assert str(tmp_path / "cases" / folder) in problem


class TestFiles:
    """How the files of a case find each other."""

    def test_files_go_to_the_case_with_the_longest_name(self, tmp_path: Path) -> None:
        directory = write_case(tmp_path / "cases", files=None)
        write_case(tmp_path / "cases", name="lamp.big", files=None)
        (directory / "tests/prompts/lamp.short.txt").write_text("Product?")
        for name in ("lamp.png", "lamp.2.png", "lamp.big.png", ".lamp.png", "other.png"):
            (directory / "tests/files" / name).write_bytes(b"")
        found = {case.title: [path.name for path in case.files] for case in discover(tmp_path / "cases")}
        lamp = ["lamp.2.png", "lamp.png"]
        assert found == {"lamp": lamp, "lamp.short": lamp, "lamp.big": ["lamp.big.png"]}

    def test_hidden_files_are_no_cases(self, tmp_path: Path) -> None:
        directory = write_case(tmp_path / "cases")
        (directory / "tests/prompts/._lamp.txt").write_bytes(b"\xff")
        assert [case.title for case in discover(tmp_path / "cases")] == ["lamp"]

    @settings(max_examples=30, deadline=None)
    @given(
        st.dictionaries(
            st.from_regex(r"[a-z\[\]*]{1,4}", fullmatch=True), st.sets(st.sampled_from(["a", "b"])), min_size=1
        )
    )
    def test_each_prompt_is_one_case_or_variant(
        self, tmp_path_factory: pytest.TempPathFactory, variants: dict[str, set[str]]
    ) -> None:
        root = tmp_path_factory.mktemp("cases")
        expected = set()
        for name, ways in variants.items():
            directory = write_case(root, name=name)
            expected |= {name, *(f"{name}.{way}" for way in ways)}
            for way in ways:
                (directory / "tests/prompts" / f"{name}.{way}.txt").write_text("p")
        assert {case.title for case in discover(root)} == expected

    def test_each_folder_is_read_once(self, tmp_path: Path) -> None:
        """However many cases there are, discovery lists the same number of folders."""

        def steps(number: int) -> int:
            root = tmp_path / str(number)
            for case in range(number):
                write_case(root, name=f"case{case}")
            load_model_class(root / "products")
            count = 0

            def watch(frame: Any, event: str, argument: Any) -> None:
                nonlocal count
                count += event == "c_call" and argument.__name__ in ("listdir", "scandir")

            sys.setprofile(watch)
            try:
                assert len(discover(root)) == number
            finally:
                sys.setprofile(None)
            return count

        assert steps(5) == steps(50)


ORIGINAL = """
import os
from typing import Any, ClassVar
from pydantic import BaseModel

class Maker(BaseModel):
    country: str | None = None

class Lamp(BaseModel):
    MODULE_NAME: ClassVar[str] = "lamps"
    TEST_DIR: ClassVar[str] = os.path.join(os.path.dirname(__file__), "tests")
    name: str
    price: float
    maker: Maker | None = None

    @classmethod
    def get_test_cases(cls{argument}) -> list[dict[str, Any]]:
        folder = {folder}
        return [
            {{
                "module": cls.MODULE_NAME,
                "name": "lamp",
                "model_class": cls,
                "source_path": os.path.join(folder, "sources", "lamp.txt"),
                "prompt_path": os.path.join(folder, "prompts", "lamp.txt"),
                "expected_path": os.path.join(folder, "expected", "lamp.json"),
                "file_paths": [],
            }}
        ]
"""
DERIVED = """
from typing import ClassVar
from pydantic_llm_tester.py_models.base import BasePyModel

class Shade(BasePyModel):
    MODULE_NAME: ClassVar[str] = "shades"
    name: str
    price: float
"""


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A project in the layout of pydantic-llm-tester."""
    project = tmp_path / "project"
    models = project / "py_models"
    own = ORIGINAL.format(argument="", folder="cls.TEST_DIR")
    asks = ORIGINAL.format(argument=", module_dir", folder='os.path.join(module_dir, "tests")')
    for name, model in (("lamps", own), ("asking", asks), ("shades", DERIVED)):
        directory = write_case(models, name, model=model)
        (directory / "__init__.py").write_text("from .model import *\n")
        (directory / "reports").mkdir()
    optimized = models / "lamps/tests/prompts/optimized"
    optimized.mkdir()
    (optimized / "lamp.txt").write_text("Extract it well.")
    config = {
        "providers": {
            "mock": {"enabled": True, "default_model": "mock:mock-model", "api_key": None},
            "openai": {"enabled": False, "default_model": "gpt-4.1-mini", "api_key": "a-key-made-up-here"},
            "mistral": {"default_model": "mistral-large-latest"},
        },
        "test_settings": {"output_dir": "out", "save_optimized_prompts": True, "py_models_path": "./py_models"},
        "py_models": {"lamps": {"enabled": True}, "shades": {"enabled": False, "llm_models": ["openai:gpt-4"]}},
        "bridge": {"default_provider": "openai"},
    }
    (project / "pyllm_config.json").write_text(json.dumps(config))
    return project


class TestMigrate:
    """A project of pydantic-llm-tester."""

    def test_its_case_folders_run_as_they_are(self, original: Path, caplog: pytest.LogCaptureFixture) -> None:
        register_mock_response("*", LAMP)
        results = LLMTester(["mock"], original / "py_models").run_tests(["lamps", "asking"]).results
        assert [(result.module, result.accuracy) for result in results] == [("asking", 100.0), ("lamps", 100.0)]
        assert "module 'lamps' is ignored" in caplog.text

    def test_what_it_writes_runs_and_what_means_nothing_is_named(
        self, original: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        result = invoke("migrate", str(original))
        assert result.exit_code == 0, result.output
        for place in (
            "providers.openai.api_key means nothing here; set the provider's variable in the environment",
            "test_settings.output_dir means nothing here; use `llm-tester run --output`",
            "test_settings.save_optimized_prompts means nothing here",
            "py_models.shades.enabled means nothing here",
            "py_models.shades.llm_models means nothing here; use `llm-tester run -p PROVIDER:MODEL`",
            "bridge.default_provider means nothing here",
            "optimized: is not run",
        ):
            assert place in result.output
        for kept in ("a-key-made-up", "providers.mock.api_key", "py_models_path", "py_models.lamps"):
            assert kept not in result.output
        monkeypatch.chdir(original / "llm-tester")
        assert not Path("py_models/lamps/reports").exists()
        reset_provider_cache()
        done = invoke("run")
        assert done.exit_code == 0, done.output
        results = json.loads(Path("llm_tester_results/results.json").read_text())["results"]
        assert {(entry["provider"], entry["model"], entry["module"]) for entry in results} == {
            ("mock", "mock-model", name) for name in ("asking", "lamps", "shades")
        }
        assert invoke("providers").exit_code == 0

    def test_a_providers_file_is_laid_below_its_entry(
        self, original: Path, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = standin(json.dumps(LAMP))
        entry = {**openai_entry(server), "env_key": "", "env_key_secret": "", "system_prompt": "Be exact."}
        priced = {"cost_input": 2, "cost_output": 8, "cost_category": "cheap", "preferred": True}
        models = [{"name": "local:one", "default": True, **priced}, {"name": "local:two", "default": False, **priced}]
        entry |= {"name": "local", "supports_file_upload": True, "llm_models": models}
        del entry["models"]
        (original / "src/llms/local").mkdir(parents=True)
        (original / "src/llms/local/config.json").write_text(json.dumps(entry))
        config = json.loads((original / "pyllm_config.json").read_text())
        config["providers"] = {"local": {"enabled": True, "default_model": "local:two"}}
        (original / "pyllm_config.json").write_text(json.dumps(config))
        result = invoke("migrate", str(original), "--to", "new")
        assert result.exit_code == 0, result.output
        assert "models[0].cost_category means nothing here; costs are computed from prices" in result.output
        assert "env_key_secret" not in result.output
        assert "supports_file_upload means nothing here" in result.output
        monkeypatch.chdir("new")
        reset_provider_cache()
        [*_, last] = LLMTester(["local"]).run_tests(["lamps"]).results
        assert last.usage is not None
        assert (last.model, last.accuracy, last.usage.price is not None) == ("two", 100.0, True)
        assert server.requests[0].body["messages"][0]["content"] == "Be exact."

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("project", "--to", "full"), "config.json: already exists; nothing was written"),
            (("project", "--to", "project/py_models/new"), "lies inside"),
            (("nowhere",), "holds none of pyllm_config.json"),
            (("full",), "no folder of cases found in"),
        ],
    )
    def test_what_cannot_be_taken_over_leaves_everything_as_it_is(
        self, arguments: tuple[str, ...], message: str, original: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full/config.json").write_text("{}")
        before = sorted(tmp_path.rglob("*"))
        result = invoke("migrate", *arguments)
        assert (result.exit_code, message in result.output) == (2, True), result.output
        assert sorted(tmp_path.rglob("*")) == before

    def test_its_config_as_it_is_names_the_command(self, original: Path) -> None:
        result = invoke("run", "--config", str(original / "pyllm_config.json"))
        assert result.exit_code == 2
        assert (
            "test_settings: a field of pydantic-llm-tester; `llm-tester migrate` takes its files over" in result.output
        )
