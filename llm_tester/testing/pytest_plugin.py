"""The pytest plugin: tests inside their own cassettes, and cases as tests. docs/pytest.md shows how it is used.

Every pytest session on the machine loads the plugin, so the rest of the package is imported inside its functions.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..cassettes.network import network
from ..errors import CassetteMismatch, LLMTesterError
from . import _overridable
from ._cases import CaseFile
from ._screen import on_one_screen
from ._session import TALLY, Tally, again, case_providers, check_used, failure, guarded, least_accuracy, max_age

if TYPE_CHECKING:
    from ..cassettes import Cassette
    from ..llm_tester import LLMTester
    from ..llms.base import BaseLLM
    from ..runs.results import CaseResult
    from ..runs.units import Unit
    from ..utils.provider_manager import ProviderManager

__all__ = ["Drift", "llm_cassette", "llm_manager", "llm_provider", "llm_tester"]

_MARKS = frozenset({"record", "origin", "fail_on_unused", "record_errors", "ignore"})
_MODES = ("none", "once", "new_episodes", "all", "rewrite")


_CASSETTE = pytest.StashKey["Cassette"]()
_PASSED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options, all with `--llm-` before them, and the settings, all with `llm_`."""
    add = parser.getgroup("llm_tester", "llm_tester: cassettes and cases").addoption
    add("--llm-record", choices=_MODES, help="Record mode for all cassettes (default: the marker's, or none).")
    add(
        "--llm-providers", metavar="NAME[:MODEL],...", help="Run cases with these (default: the config's enabled ones)."
    )
    add("--llm-block-network", action="store_true", help="Refuse to connect to other machines, except to record.")
    add("--llm-fail-on-unused", action="store_true", help="Fail if an interaction of a cassette is not used.")
    add(
        "--llm-unused-files",
        action="store_true",
        help="List cassettes next to the tests that ran which none opened.",
    )
    add("--llm-min-mean-accuracy", metavar="NUMBER", help="Fail if the mean accuracy of all cases is lower, 0 to 100.")
    add(
        "--llm-max-age",
        type=float,
        metavar="DAYS",
        help="List replayed cassettes that are older (default: the config's).",
    )
    parser.addini("llm_cases", "Directories of cases to collect as tests.", type="paths", default=[])
    parser.addini("llm_min_accuracy", "What a case must reach, 0 to 100, or MODULE=NUMBER.", type="args", default=[])
    parser.addini("llm_min_mean_accuracy", "What all cases together must reach, 0 to 100.", type="string", default="")
    parser.addini("llm_cassette_dir", "One directory for the cassettes of all tests.", type="string", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers and starts the session's tally."""
    config.addinivalue_line(
        "markers",
        f"llm_cassette(name, *, {', '.join(sorted(_MARKS))}): run the test inside its own cassette, named after "
        "the test if no name is given.",
    )
    config.addinivalue_line("markers", "llm_case(module, case, provider, model): set on cases collected as tests.")
    config.stash[TALLY] = Tally()
    config.pluginmanager.register(_overridable)
    network.inherit()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Checks the settings, and adds the directories of cases to what is collected if no path was given."""
    config = session.config
    least_accuracy(config)
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS and config.invocation_params.dir == config.rootpath
    collected = [(config.rootpath / argument).resolve() for argument in config.args]
    for directory in config.getini("llm_cases"):
        if not directory.is_dir():
            raise pytest.UsageError(f"llm_cases: {directory}: there is no such directory")
        if whole and not any(directory.resolve().is_relative_to(path) for path in collected):
            config.args.append(str(directory))


def _marked(item: pytest.Item) -> dict[str, Any]:
    """The arguments of a test's markers; the closest marker wins."""
    merged: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers("llm_cassette"))):
        unknown = mark.kwargs.keys() - _MARKS
        if unknown or len(mark.args) > 1 or not all(isinstance(name, str) and name for name in mark.args):
            found = ", ".join([*map(repr, mark.args), *(f"{name}={value!r}" for name, value in mark.kwargs.items())])
            expected = f"at most one file name, and {', '.join(f'{name}=' for name in sorted(_MARKS))}"
            raise failure(f"llm_cassette({found}): expected {expected}")
        merged |= {**mark.kwargs, **({"name": mark.args[0]} if mark.args else {})}
    return merged


class Drift(CassetteMismatch, pytest.fail.Exception):  # type: ignore[name-defined,misc]
    """A mismatch in a test: also one of pytest's outcomes, which every runner of coroutines lets through."""

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message, path)
        self.pytrace = False


@pytest.fixture
def llm_cassette(
    request: pytest.FixtureRequest, llm_cassette_dir: str | Path, _llm_customs: None
) -> Iterator[Cassette]:
    """The test's own cassette, open for the whole process until the test ends."""
    from ..cassettes import Cassette, opened
    from ..settings import settings

    item, config, tally = request.node, request.config, request.config.stash[TALLY]
    marked = _marked(item)
    mode = config.getoption("llm_record") or marked.get("record") or "none"
    command, directory = functools.partial(again, item), config.rootpath / llm_cassette_dir
    try:
        given = settings().config
        cassette = item.stash[_CASSETTE] = Cassette(
            _overridable.cassette_of(item, directory, marked.get("name")),
            mode,
            origin=marked.get("origin"),
            again=command,
            record_errors=marked.get("record_errors", False),
            ignore=(*given.ignore, *marked.get("ignore", ())),
            # A file that is named may be another test's too.
            shared="name" in marked,
            mismatch=Drift,
        )
        with guarded(config, may_record=mode != "none"), opened(cassette, for_process=True, allow=given.allow):
            yield cassette
    except LLMTesterError as error:
        raise failure(error) from None
    tally.add_cassette(cassette, max_age(config))
    tally.opened.add(str(cassette.path))
    tally.places.add(str(directory))
    strict = config.getoption("llm_fail_on_unused") or marked.get("fail_on_unused")
    if strict and item.stash.get(_PASSED, False) and mode not in ("all", "rewrite"):
        check_used(cassette.path, cassette.unused(), command("rewrite"))


@pytest.fixture(autouse=True)
def _llm_cassette_of_marker(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("llm_cassette"):
        request.getfixturevalue("llm_cassette")
    elif hasattr(request.cls, "kit_directory"):
        request.getfixturevalue("_llm_customs")
        request.instance.kit_directory = request.config.rootpath / request.getfixturevalue("llm_cassette_dir")


@pytest.fixture
def llm_manager(llm_cassette: Cassette) -> Callable[..., ProviderManager]:
    """Makes a manager, inside the test's cassette: `llm_manager("openai", "mistral")`."""
    from ..utils.provider_manager import ProviderManager

    return lambda *providers: ProviderManager(providers)


@pytest.fixture
def llm_provider(llm_manager: Callable[..., ProviderManager]) -> Callable[[str], BaseLLM]:
    """Gives a provider, inside the test's cassette: `llm_provider("openai")`."""
    return llm_manager().instance


@pytest.fixture
def llm_tester(request: pytest.FixtureRequest, llm_cassette: Cassette) -> Callable[..., LLMTester]:
    """Makes a tester: `llm_tester("openai:gpt-4o", test_dir="cases")`; without names, of those that cases run with.

    What it runs has its cassettes in a directory named after the test, and the record mode of the test. `test_dir` is
    taken from pytest's rootdir.
    """
    from ..llm_tester import LLMTester

    mode, tally, limit = llm_cassette.mode, request.config.stash[TALLY], max_age(request.config)

    class Tester(LLMTester):
        def _unit(self, *args: Any, **kwargs: Any) -> Unit:
            unit = super()._unit(*args, **kwargs)
            record = mode if unit.record == "auto" else unit.record
            return unit.model_copy(update={"record": record, "through_the_wire": True})

        def _count(self, run_id: str, result: CaseResult) -> None:
            super()._count(run_id, result)
            tally.add_result(result, limit)

    def make(*providers: str, test_dir: str | Path | None = None) -> LLMTester:
        cases = None if test_dir is None else request.config.rootpath / test_dir
        return Tester(providers or case_providers(request.config), cases, cassettes=llm_cassette.path.with_suffix(""))

    return make


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fails a test at the line of its request if its cassette does not answer, also if the test swallowed the error."""
    try:
        result = yield
    except CassetteMismatch as error:
        raise _drifted(item, error) from None
    if (cassette := item.stash.get(_CASSETTE, None)) and cassette.error:
        raise _drifted(item, cassette.error) from None
    item.stash[_PASSED] = True
    return result


def _drifted(item: pytest.Item, error: BaseException) -> BaseException:
    if _CASSETTE in item.stash:
        item.stash[_CASSETTE].error = None
    steps = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in steps if frame.f_code.co_filename == str(item.path)]
    return failure(f"{item.path}:{lines[-1]}: {error}" if lines else error)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Generator[None, object, object]:
    """Collects the `model.py` of each module in `llm_cases` as its cases, and not as a test module as well."""
    found = yield
    roots = parent.config.getini("llm_cases") if file_path.name == "model.py" else []
    if file_path.parent.parent.resolve() in [root.resolve() for root in roots]:
        return [CaseFile.from_parent(parent, path=file_path)]
    return found


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Guards the network while test modules are imported."""
    with guarded(session.config):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Guards the network while a test runs; not between tests, where pytest-xdist talks to its workers."""
    with guarded(item.config):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Shows an error of this package on one screen, unless the whole traceback is asked for."""
    option = item.config.getoption
    if call.excinfo is None or option("fulltrace") or option("tbstyle") not in ("auto", "short"):
        return (yield)
    with on_one_screen(call.excinfo, item.config.rootpath) as is_shortened:
        report = yield
    if is_shortened:
        report.sections.append(("llm_tester", "--tb=long shows the whole traceback"))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Sends a worker's tally to the controller of pytest-xdist; there, fails a session that is not accurate enough."""
    config, tally = session.config, session.config.stash[TALLY]
    if hasattr(config, "workeroutput"):
        config.workeroutput["llm_tester"] = tally.plain()
    elif session.exitstatus == pytest.ExitCode.OK and tally.shortfall(config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes a worker's tally in; one that crashed left none."""
    node.config.stash[TALLY].add(getattr(node, "workeroutput", {}).get("llm_tester", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says what was replayed and recorded, and what is old, refused or unused."""
    tally = config.stash[TALLY]
    lines = []
    if tally.replies.total():
        lines.append(", ".join(f"{tally.replies[how]} {how}" for how in ("replayed", "recorded")))
    lines += tally.cost_lines()
    lines += [f"old: {path}, {days:.0f} days" for path, days in sorted(tally.old.items())]
    lines += [f"refused: {host}, {times} times" for host, times in sorted(tally.refused.items())]
    if config.getoption("llm_unused_files"):
        lines += [f"unused: {path}" for path in tally.unused_files()]
    short = tally.shortfall(config)
    if lines or short:
        terminalreporter.section("llm_tester")
    for line in [*lines, *([short] if short else [])]:
        terminalreporter.write_line(line, red=line == short)
