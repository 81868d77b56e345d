"""What each command imports. A second spent on imports is spent at every start, so nothing comes that is not used."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from console import invoke, reader_environment
from report_sample import sample_run

CODE = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from llm_tester.__main__ import main
main(prog_name="llm-tester")
"""
CLICK = "import click, json, sys; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"

CALLS = {"litellm", "pydantic_ai", "openai", "anthropic", "httpx", "httpx2", "aiohttp", "requests", "urllib3", "vcr"}
UNLESS_CALLED = CALLS | {"asyncio", "dotenv", "genai_prices", "tiktoken", "numpy", "xml.etree"}
UNLESS_RUN = UNLESS_CALLED | {"filelock", "jinja2", "rapidfuzz", "ssl"}
ANYTHING = UNLESS_RUN | {"pydantic", "pydantic_core", "rich", "yaml", "difflib"}


def modules(code: str, *arguments: str, cwd: Path, **environment: str) -> set[str]:
    """The modules that an interpreter without anything imported has at its end."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=reader_environment(**environment),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    ("command", "forbidden", "most"),
    [
        ("--help", ANYTHING | {"importlib.metadata"}, 45),
        ("run --help", ANYTHING | {"importlib.metadata"}, 45),
        ("cassettes scan --help", ANYTHING | {"importlib.metadata"}, 45),
        ("--version", ANYTHING, 100),
        ("init new", ANYTHING | {"importlib.metadata"}, 45),
        ("new-module invoices", UNLESS_RUN | {"rich", "yaml", "llm_tester.llms"}, 190),
        ("cassettes scan .", UNLESS_RUN | {"rich", "llm_tester.llms"}, 200),
        ("providers", UNLESS_RUN | {"yaml"}, 260),
        ("list --no-import", UNLESS_CALLED - {"asyncio"}, 460),
        ("report results", UNLESS_CALLED - {"xml.etree"} | {"llm_tester.llms", "llm_tester.llm_tester"}, 360),
        ("prices mock", UNLESS_RUN | {"yaml"}, 260),
        # The lowest filelock imports asyncio.
        ("run -p mock", UNLESS_CALLED - {"asyncio"} | {"llm_tester.estimate"}, 480),
    ],
)
def test_a_command_imports_what_it_uses(
    command: str, forbidden: set[str], most: int, project: Path, of_click: set[str]
) -> None:
    """The ceilings count what comes on top of click's own modules; they have room for another Python, not for more."""
    found = modules(CODE, *command.split(), cwd=project)
    assert not forbidden & found
    assert len(found - of_click) <= most


@pytest.mark.parametrize("words", ["run --re", "run -p smollm", "run -m products", "prices m"])
def test_completion_imports_only_click(words: str, project: Path, of_click: set[str]) -> None:
    asked = {"COMP_WORDS": f"llm-tester {words}", "COMP_CWORD": str(len(words.split()))}
    found = modules(CODE, cwd=project, _LLM_TESTER_COMPLETE="bash_complete", **asked)
    # click itself imports difflib for an option like -p.
    assert not (ANYTHING - {"difflib"} | {"importlib.metadata"}) & found
    assert len(found - of_click) <= 45


def test_importing_the_package_imports_none_of_its_wings(tmp_path: Path) -> None:
    code = "import llm_tester, llm_tester.testing, llm_tester.cassettes, json, sys\n"
    code += "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    ours = {name for name in modules(code, cwd=tmp_path) if name.startswith("llm_tester")}
    ours -= {"llm_tester.cassettes.importing", "llm_tester.cassettes.forks"}
    assert ours == {"llm_tester", "llm_tester.testing", "llm_tester.cassettes"}


def test_the_interpreter_ends_without_looking_for_garbage(tmp_path: Path) -> None:
    """Whatever a run made is in the generation that the collection at the end leaves alone."""
    code = "import atexit, gc, sys\natexit.register(lambda: print(gc.get_freeze_count() > 1000))\n"
    code += "from llm_tester.__main__ import main; main(['providers'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=reader_environment(), capture_output=True)
    assert done.stdout.splitlines()[-1] == b"True"


@pytest.fixture(scope="module")
def of_click(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return modules(CLICK, cwd=tmp_path_factory.mktemp("click"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with a config and a case, as `llm-tester init` writes them, and results."""
    invoke("init")
    (tmp_path / "results").mkdir()
    sample_run(1).save(tmp_path / "results/results.json")
    return tmp_path
