"""What a broken or hostile project gets: a message, never a traceback, a crash, or a control character."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from sample_cases import LAMP, MODEL, write_case

from llm_tester.__main__ import main
from llm_tester.cassettes import reading
from llm_tester.cli.console import printable
from llm_tester.config import GlobalConfig, ProviderConfig, read_json, validate
from llm_tester.errors import CassetteError, ConfigError
from llm_tester.llms.llm_registry import reset_provider_cache

Write = Callable[..., Path]

DEEP = "[" * 5000 + "]" * 5000
DIGITS = "9" * 5000
CLEAR = "\x1b[2J"
ATTACK = f"{CLEAR}\x1b]0;title\x07\x1b]52;c;Y2F0\x07\x9b2J"
CASE = {"name": "a", "prompt": "p", "source": "s", "expected": {}}


def invoke(*arguments: str) -> Result:
    """Runs a command; whatever it raises but its exit fails the test, and so does a raw control character."""
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert not re.search(r"[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f-\x9f]", result.output), ascii(result.output)
    return result


def write(path: str, content: str | bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def project(tmp_path: Path, write_config: Write) -> Path:
    """A case and the mock, whose reply is right."""
    write_case(tmp_path / "cases")
    write_config({"mock": {"mock": {"replies": {"*": LAMP}}}})
    return tmp_path


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("config.json", f'{{"providers": {DEEP}}}', "config.json: nested too deeply"),
        ("config.json", f'{{"max_age": {DIGITS}}}', "config.json: nested too deeply, or a number is too long"),
        ("config.json", '{"\\u001b[2J": 1}', r"\x1b[2J: an unknown field"),
        ("config.json", '{"cassettes": "a\\u0000b"}', "cassettes: 'a\\x00b' is no path"),
        ("config.json", f'{{"cassettes": "{"a" * 300}"}}', "the recordings cannot be there"),
        ("config.json", '{"cassettes": "config.json"}', "it is no directory"),
        ("config.json", '{"cassettes": "../elsewhere"}', "config.json: cassettes: leads to"),
        ("config.json", '{"cases": "/etc"}', "llm-tester run --cases /etc"),
        ("external_providers.json", f'{{"a": {DEEP}}}', "external_providers.json: nested too deeply"),
        (".env", b"KEY=\xe9\xff", ".env: cannot be read as UTF-8"),
        (".env", "KEY=a".encode("utf-16"), ".env: cannot be read as UTF-8"),
        ("cases/products/model.py", "import sys\nsys.exit(1)", "model.py, line 2: cannot be imported: SystemExit"),
        ("cases/products/model.py", f"raise ValueError({CLEAR!r})", r"ValueError: \x1b[2J"),
        (
            "cases/products/model.py",
            "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
            "cannot be imported: Odd: <exception str() failed>",
        ),
        ("cases/products/tests/expected/lamp.json", DEEP, "nested too deeply"),
        ("cases/products/tests/expected/lamp.json", f'{{"price": {DIGITS}}}', "a number too long"),
        (f"cases/products/tests/sources/{CLEAR}.txt", "x", r"the name '\x1b[2J.txt' has a control character"),
        ("llm_tester_results/costs.json", DEEP, "costs.json: is not a file that llm_tester wrote"),
        ("baseline.json", DEEP, "baseline.json: nested too deeply"),
        ("baseline.json", DIGITS, "baseline.json: nested too deeply, or a number is too long"),
    ],
    ids=range(20),
)
def test_a_broken_file_is_a_message(path: str, content: str | bytes, message: str, project: Path) -> None:
    write(path, content)
    result = invoke("run", "-p", "mock")
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('x')", "get_test_cases() failed: ValueError: x"),
        ("return None", "get_test_cases() returned None, expected a list"),
        ("import sys; sys.exit(2)", "get_test_cases() failed: SystemExit: 2"),
        ("yield 3", "get_test_cases() returned 3, expected an object"),
        ("return type('L', (list,), {'__iter__': lambda self: 1 / 0})()", "ZeroDivisionError"),
        ("return [type('O', (), {'__repr__': lambda self: 1 / 0})()]", "expected an object"),
        (f"return [{CASE | {'name': f'a{CLEAR}'}!r}]", "get_test_cases()[0].name"),
        (f"return [{CASE | {'source': None, 'source_path': '/etc/passwd'}!r}]", "which is outside of"),
        (f"return [{CASE | {'source': None, 'source_path': '../../../x' + 'a' * 300}!r}]", "cannot be read"),
        (f"return [{CASE | {'source': None, 'source_path': 'a' + chr(0)}!r}]", "cannot be read"),
        (f"return [{CASE | {'files': ['a' * 300]}!r}]", "there is no such file"),
        (f"return [{{**{CASE!r}, 'expected': {{'price': 10**5000}}}}]", "a number too long"),
        (f"return [{CASE | {'expected': {1: 2}}!r}]", "found the key 1, which is no text"),
    ],
)
def test_get_test_cases_that_fails_is_a_message(body: str, message: str, project: Path) -> None:
    own = f"{MODEL}\n    @classmethod\n    def get_test_cases(cls):\n        {body}\n"
    write("cases/products/model.py", own)
    result = invoke("run")
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys\nsys.exit(3)", "raised SystemExit: 3"),
        ("class Odd(BaseException): pass\nraise Odd('x')", "raised Odd: x"),
        ("from llm_tester.llms.base import BaseLLM\nclass Own(BaseLLM): _call_llm_api = 3", "_call_llm_api is 3"),
    ],
)
def test_a_provider_that_fails_is_a_message(code: str, message: str, project: Path, write_config: Write) -> None:
    write("own_provider.py", code)
    write_config({"own": {"provider_type": "own_provider:Own"}})
    for command in ("run", "providers"):
        assert message in invoke(command).output
        reset_provider_cache()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.symlink_to("/etc/hostname"),
        lambda file: file.symlink_to(file.name),
        os.mkfifo,
        lambda file: file.symlink_to("/dev/zero"),
        Path.mkdir,
    ],
    ids=["outside", "loop", "pipe", "device", "directory"],
)
@pytest.mark.parametrize("part", ["sources/lamp.txt", "prompts/lamp.txt", "expected/lamp.json"])
def test_only_files_below_the_cases_are_read(part: str, spoil: Callable[[Path], None], project: Path) -> None:
    file = project / "cases/products/tests" / part
    file.unlink()
    spoil(file)
    result = invoke("run")
    assert result.exit_code == 2
    assert str(file) in result.output


def test_a_linked_folder_of_sources_is_refused_and_one_inside_is_not(project: Path, tmp_path: Path) -> None:
    sources, shared = project / "cases/products/tests/sources", project / "cases/products/shared"
    sources.rename(shared)
    sources.symlink_to(shared)
    assert invoke("run").exit_code == 0
    sources.unlink()
    shared.rename(tmp_path / "outside")
    sources.symlink_to(tmp_path / "outside")
    assert "which is outside of" in invoke("run").output
    # The directory that the user names is the boundary.
    shutil.copytree(project / "cases", tmp_path / "both/cases", symlinks=True)
    assert invoke("run", "--cases", str(tmp_path / "both/cases")).exit_code == 2


def test_the_command_line_may_name_folders_outside_the_project(project: Path, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("outside")
    shutil.move(project / "cases", outside / "cases")
    assert invoke("run", "--cases", f"{outside}/cases", "--cassettes", f"{outside}/cassettes").exit_code == 0


@pytest.mark.parametrize("command", [("run", "--failed"), ("baseline", "save"), ("merge", "llm_tester_results")])
@pytest.mark.parametrize("content", [DEEP, DIGITS, "[]", "", b"\xff"])
def test_broken_results_are_a_message(command: tuple[str, ...], content: str | bytes, project: Path) -> None:
    write("llm_tester_results/results.json", content)
    result = invoke(*command)
    assert result.exit_code == 2
    assert "results.json" in result.output


@pytest.mark.parametrize("place", ["file", "a" * 300, "/proc/new"])
def test_init_where_nothing_can_be_written_is_a_message(place: str, tmp_path: Path) -> None:
    write("file", "")
    result = invoke("init", place)
    assert result.exit_code == 2
    assert "cannot be written" in result.output


def test_a_env_file_for_everyone_is_said(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(".env", "SOME=value")
    Path(".env").chmod(0o644)
    invoke("run")
    assert "chmod 600" in caplog.text
    caplog.clear()
    Path(".env").chmod(0o600)
    reset_provider_cache()
    invoke("run")
    assert "chmod" not in caplog.text


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "- " * 100_000, "? " * 100_000, "format: 1\nmetadata: {}\ninteractions:\n- " + "{a: " * 100_000],
)
def test_a_deep_recording_does_not_crash_the_interpreter(text: str, tmp_path: Path) -> None:
    write("cassettes/deep.yaml", text)
    with pytest.raises(CassetteError, match=r"deep\.yaml"):
        reading.load(Path("cassettes/deep.yaml"))
    assert invoke("cassettes", "scan", "cassettes").exit_code == 1


def test_the_bound_counts_depth_and_not_nodes() -> None:
    text = "\n".join(f"- a: [[{number}]]" for number in range(reading.MOST_DEEP * 2))
    assert yaml.load(text, Loader=reading.SafeLoader)[-1] == {"a": [[reading.MOST_DEEP * 2 - 1]]}


def test_control_characters_of_a_reply_and_of_an_error_reach_no_terminal(project: Path, write_config: Write) -> None:
    replies = {"mock": LAMP | {"name": ATTACK}, "mock_text": ATTACK}
    write_config({name: {"mock": {"replies": {"*": reply}}} for name, reply in replies.items()})
    write_case(project / "cases", expected=json.dumps({"name": "x"}), model=MODEL)
    assert invoke("run", "--repeat", "2").exit_code in (0, 1)
    assert invoke("baseline", "save").exit_code == 0
    assert invoke("-v", "run").exit_code in (0, 1)


@given(st.text())
def test_printable_text_has_no_control_character_but_tabs_and_line_ends(text: str) -> None:
    shown = printable(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
    shown.encode()


def test_a_reply_makes_no_link_image_mention_or_html_in_the_markdown_report(project: Path, write_config: Write) -> None:
    reply = (
        "![x](http://a.test/i.png) [y](//a.test) <img src=//a.test> https://a.test www.a.test @user #12 **b** a@b.test"
    )
    write_config({"mock": {"mock": {"replies": {"*": {"name": reply, "price": reply}}}}})
    write_case(project / "cases", model=MODEL + "    colour: int\n")
    invoke("run")
    report = Path("llm_tester_results/report.md").read_text()
    html = MarkdownIt("commonmark").enable("table").render(report)
    assert "a.test" in html
    assert not re.search(r"<(img|a|strong)\b", html)
    for found in ("://", "@user", "#12", "www.a", "a@b"):
        assert found not in html


HOSTILE = "from pathlib import Path\nPath('ran').touch()\n"


def test_a_list_without_imports_shows_what_there_is_and_runs_nothing(project: Path, write_config: Write) -> None:
    write_case(project / "cases", model=HOSTILE + MODEL)
    write("cases/others/model.py", HOSTILE)
    write("evil.py", HOSTILE)
    write("external_providers.json", '{"ext": {"module": "evil", "class": "Ext"}}')
    own = {"provider_type": "evil:Own", "models": ["m"]}
    entry = {"provider_type": "openai", "api_base": "https://llm.example", "models": ["m"]}
    write_config({"mock": True, "own": own, "my-server": entry, "ext": True})
    shown = invoke("list", "--no-import").output
    assert not Path("ran").exists()
    for line in ("products/lamp", "others, no case in its files", "mock:mock-model", "own:m", "my-server:m"):
        assert line in shown
    assert f"runs code: {project}/cases/products/model.py" in shown
    assert "runs code: evil:Own, the provider own" in shown
    assert "runs code: evil:Ext, the provider ext" in shown
    assert "the key MY_SERVER_API_KEY to https://llm.example" in shown
    assert invoke("providers").exit_code == 0
    assert Path("ran").exists()


def test_a_list_says_what_is_recorded_and_what_cannot_start(project: Path, write_config: Write) -> None:
    entry = {"provider_type": "openai", "models": ["m"]}
    write_config({"a": entry, "b": entry, "c": {"provider_type": "evil:Own"}})
    write("cassettes/products/lamp/a/m.yaml", "")
    shown = invoke("list").output
    assert re.search(r"products/lamp +a:m +yes", shown)
    assert re.search(r"products/lamp +b:m +no", shown)
    assert "'evil'" in shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from([*ProviderConfig.model_fields, "base_url"]) | st.text(max_size=3), JSON, max_size=4
)


CONFIG = {**dict.fromkeys(GlobalConfig.model_fields, JSON), "providers": st.dictionaries(st.text(max_size=9), FIELDS)}


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text(max_size=60) | st.fixed_dictionaries({}, optional=CONFIG))
def test_any_config_is_read_or_a_config_error(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    text = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(ConfigError):
        for name, entry in validate(GlobalConfig, read_json(path), path).providers.items():
            with contextlib.suppress(ConfigError):
                if isinstance(entry, dict):
                    assert validate(ProviderConfig, {**entry, "name": name}, path).name == name
