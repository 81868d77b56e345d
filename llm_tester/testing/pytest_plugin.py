"""The pytest plugin: tests inside cassettes of their own, and cases as tests. docs/pytest.md shows how it is used.

Whoever has the package installed has the plugin loaded, so the rest of the package is imported where it is used.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import shlex
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..cassettes.network import network

if TYPE_CHECKING:
    from ..cassettes import Cassette, Interaction
    from ..llm_tester import LLMTester
    from ..llms.base import BaseLLM
    from ..runs.results import CaseResult
    from ..runs.units import Unit
    from ..utils.provider_manager import ProviderManager

__all__ = ["CaseFile", "CaseItem", "llm_cassette", "llm_manager", "llm_provider", "llm_tester"]

_MARKS = frozenset({"record", "origin", "fail_on_unused", "record_errors", "ignore"})
_MODES = ("none", "once", "new_episodes", "all", "rewrite")
_LEAST_ACCURACY = 80.0
_LONGEST_SHOWN = 200


@dataclass
class _Open:
    """A test's open cassette.

    Attributes:
        cassette: the cassette.
        mode: the record mode that was asked for.
        held: what its file held when it was opened.
        passed: whether the test itself came to its end.
    """

    cassette: Cassette
    mode: str
    held: list[Interaction]
    passed: bool = False

    def counts(self) -> Counter[str]:
        """How many interactions were replayed and how many recorded."""
        known = {id(interaction) for interaction in self.held}
        new = sum(id(interaction) not in known for interaction in self.cassette.interactions)
        asked = len(self.held) - len(self.cassette.unused())
        if self.mode in ("all", "rewrite"):
            # What is on file already was asked for again, and the reply was the same.
            return Counter(recorded=new + asked)
        return Counter(replayed=asked, recorded=new)


@dataclass
class _Tally:
    """What the session did.

    Attributes:
        replies: how many were `replayed` and `recorded`.
        refused: connections refused, by host.
        old: cassettes that are too old, with their days.
        opened: the cassettes of the tests that ran.
        places: the directories they stand in.
    """

    replies: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    old: dict[str, float] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)

    def count(self, replies: Mapping[str, int], path: str, age: float | None, limit: float | None) -> None:
        """Counts what one cassette gave."""
        self.replies.update(replies)
        if replies.get("replayed") and age is not None and limit is not None and age > limit:
            self.old[path] = age

    def plain(self) -> dict[str, Any]:
        """All of it as data that pytest-xdist can send."""
        return {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()}

    def add(self, plain: Mapping[str, Any]) -> None:
        """Adds what another process counted."""
        for name, value in plain.items():
            getattr(self, name).update(value)

    def unused_files(self) -> list[Path]:
        """The cassettes of ours that stand beside those of the tests that ran, and that none of them opened."""
        found = {path for place in self.places for path in Path(place).rglob("*.y*ml") if str(path) not in self.opened}
        return sorted(path for path in found if path.read_bytes().startswith(b"format:"))


_OPEN = pytest.StashKey[_Open]()
_TALLY = pytest.StashKey[_Tally]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options, all with `--llm-` before them, and the settings, all with `llm_`."""
    add = parser.getgroup("llm_tester", "llm_tester: cassettes and cases").addoption
    add("--llm-record", choices=_MODES, help="Record mode of all cassettes; a marker's, else none, where not given.")
    add(
        "--llm-providers", metavar="NAME[:MODEL],...", help="Run cases with these; else with the config's enabled ones."
    )
    add("--llm-block-network", action="store_true", help="Refuse to connect to other machines, except to record.")
    add("--llm-fail-on-unused", action="store_true", help="Fail where nothing asks for an interaction of a cassette.")
    add("--llm-unused-files", action="store_true", help="List cassettes beside the tests that ran which none opened.")
    add("--llm-max-age", type=float, metavar="DAYS", help="List replayed cassettes that are older; else the config's.")
    parser.addini("llm_cases", "Directories of cases to collect as tests.", type="paths", default=[])
    parser.addini("llm_min_accuracy", "What a case must reach, 0 to 100, or MODULE=NUMBER.", type="args", default=[])
    parser.addini("llm_cassette_dir", "One directory for the cassettes of all tests.", type="string", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers and starts the session's tally."""
    config.addinivalue_line(
        "markers",
        f"llm_cassette(name, *, {', '.join(sorted(_MARKS))}): run the test inside a cassette of its own, named after "
        "the test if no name is given.",
    )
    config.addinivalue_line("markers", "llm_case(module, case, provider, model): set on cases collected as tests.")
    config.stash[_TALLY] = _Tally()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Checks the settings, and adds the directories of cases to what is collected where nothing was named."""
    config = session.config
    _least_accuracy(config)
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS and config.invocation_params.dir == config.rootpath
    collected = [(config.rootpath / argument).resolve() for argument in config.args]
    for directory in config.getini("llm_cases"):
        if not directory.is_dir():
            raise pytest.UsageError(f"llm_cases: {directory}: there is no such directory")
        if whole and not any(directory.resolve().is_relative_to(path) for path in collected):
            config.args.append(str(directory))


def _least_accuracy(config: pytest.Config) -> dict[str, float]:
    """The accuracy that cases must reach, by module; "" stands for all others."""
    found = {"": _LEAST_ACCURACY}
    for entry in config.getini("llm_min_accuracy"):
        module, _, number = entry.rpartition("=")
        try:
            found[module] = float(number)
        except ValueError:
            found[module] = -1
        if not 0 <= found[module] <= 100:
            raise pytest.UsageError(f"llm_min_accuracy: found {entry!r}, expected 0 to 100, or MODULE=NUMBER")
    return found


def _failure(message: object) -> BaseException:
    """A failure that pytest shows as this message, without a traceback of ours."""
    return pytest.fail.Exception(str(message), pytrace=False)


def _again(item: pytest.Item, mode: str) -> str:
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    name = item.nodeid.partition("::")[2]
    return f"pytest {shlex.quote(f'{path}::{name}')} --llm-record {mode}"


def _place(item: pytest.Item) -> tuple[Path, Path]:
    """The directory of a test module's cassettes, and the cassette that is named after a test of it."""
    from ..cassettes import cassette_path

    root, parts = item.path.parent / "cassettes", [item.path.stem]
    if central := item.config.getini("llm_cassette_dir"):
        root = item.config.rootpath / central
        parts = list(Path(item.nodeid.partition("::")[0]).with_suffix("").parts)
    names = [node.name for node in item.listchain() if node.path == item.path and not isinstance(node, pytest.File)]
    plain = getattr(item, "originalname", None)
    if plain and item.name.startswith(f"{plain}["):
        # A directory for the function, and in it a file for each set of parameters.
        names[-1:] = [plain, item.name[len(plain) + 1 : -1]]
    return cassette_path(root, *parts, "any").parent, cassette_path(root, *parts, *names)


def _marked(item: pytest.Item) -> dict[str, Any]:
    """What the markers of a test say together, the nearest of them last."""
    said: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers("llm_cassette"))):
        unknown = mark.kwargs.keys() - _MARKS
        if unknown or len(mark.args) > 1 or not all(isinstance(name, str) and name for name in mark.args):
            found = ", ".join([*map(repr, mark.args), *(f"{name}={value!r}" for name, value in mark.kwargs.items())])
            expected = f"at most one file name, and {', '.join(f'{name}=' for name in sorted(_MARKS))}"
            raise _failure(f"llm_cassette({found}): expected {expected}")
        said |= {**mark.kwargs, **({"name": mark.args[0]} if mark.args else {})}
    return said


def _file(item: pytest.Item, name: str | None) -> Path:
    directory, own = _place(item)
    if name is None:
        return own
    path = directory / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    if not path.resolve().is_relative_to(directory.resolve()):
        raise _failure(f"llm_cassette({name!r}): leaves {directory}, where the cassettes of this test module stand")
    return path


def _max_age(config: pytest.Config) -> float | None:
    from ..settings import settings

    given: float | None = config.getoption("llm_max_age")
    return settings().config.max_age if given is None else given


@pytest.fixture
def llm_cassette(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """The test's own cassette, open from here to the end of the test."""
    from ..cassettes import use_cassette
    from ..errors import LLMTesterError

    item, config, tally = request.node, request.config, request.config.stash[_TALLY]
    marked = _marked(item)
    mode = config.getoption("llm_record") or marked.get("record") or "none"
    path = _file(item, marked.get("name"))
    again = functools.partial(_again, item)
    try:
        with (
            _guarded(config, may_record=mode != "none"),
            use_cassette(
                path,
                mode,
                origin=marked.get("origin"),
                again=again,
                record_errors=marked.get("record_errors", False),
                ignore=marked.get("ignore", ()),
                # A file that is named may be another test's too.
                shared="name" in marked,
                max_age=_max_age(config),
            ) as cassette,
        ):
            opened = item.stash[_OPEN] = _Open(cassette, mode, cassette.unused())
            yield cassette
            del item.stash[_OPEN]
        tally.count(opened.counts(), str(cassette.path), cassette.age_days(), _max_age(config))
    except LLMTesterError as error:
        raise _failure(error) from None
    tally.opened.add(str(cassette.path))
    tally.places.add(str(_place(item)[0]))
    strict = config.getoption("llm_fail_on_unused") or marked.get("fail_on_unused")
    if strict and opened.passed and mode not in ("all", "rewrite"):
        _fail_on_unused(cassette.path, cassette.unused(), again("rewrite"))


def _fail_on_unused(path: Path, unused: list[Interaction], again: str) -> None:
    if unused:
        lines = [f"{path}: nothing asked for {len(unused)} of its interactions:"]
        lines += [f"  {item.request['method']} {item.request['uri']}" for item in unused]
        raise _failure("\n".join([*lines, f"to record again: {again}"]))


@pytest.fixture(autouse=True)
def _llm_cassette_of_marker(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("llm_cassette"):
        request.getfixturevalue("llm_cassette")


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

    mode = request.node.stash[_OPEN].mode

    class Tester(LLMTester):
        def _unit(self, *args: Any, **kwargs: Any) -> Unit:
            unit = super()._unit(*args, **kwargs)
            return unit.model_copy(update={"record": mode}) if unit.record == "auto" else unit

    def make(*providers: str, test_dir: str | Path | None = None) -> LLMTester:
        cases = None if test_dir is None else request.config.rootpath / test_dir
        return Tester(providers or _providers(request.config), cases, cassettes=llm_cassette.path.with_suffix(""))

    return make


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Lets the test function enter its cassette by itself, in whichever task or thread another plugin runs it.

    What a fixture sets in its context, a coroutine test need not see: anyio runs it in a task that may be older than
    the test, and unittest in a context that it copied before.
    """
    opened = item.stash.get(_OPEN, None)
    if opened is None:
        return (yield)
    from unittest import IsolatedAsyncioTestCase

    with pytest.MonkeyPatch.context() as patch:
        if isinstance(item, pytest.Function):
            function = _entering(item.obj, opened, str(item.path))
            patch.setattr(item, "obj", function)
            if isinstance(item.instance, IsolatedAsyncioTestCase):
                # The one that looks its method up by itself.
                patch.setattr(item.instance, item.name, function)
        result = yield
    opened.passed = True
    return result


def _entering(function: Callable[..., Any], opened: _Open, path: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def entering_async(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            with _inside(opened, path):
                return await function(*args, **kwargs)

        return entering_async

    @functools.wraps(function)
    def entering(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        with _inside(opened, path):
            return function(*args, **kwargs)

    return entering


@contextlib.contextmanager
def _inside(opened: _Open, path: str) -> Iterator[None]:
    from ..cassettes import entered
    from ..errors import CassetteMismatch

    try:
        with entered(opened.cassette):
            yield
    except CassetteMismatch as error:
        # Becomes one of pytest's own outcomes, which every runner lets through, and tells the line instead of a
        # traceback through an SDK.
        steps = traceback.walk_tb(error.__traceback__)
        places = [f"{path}:{line}: " for frame, line in steps if frame.f_code.co_filename == path]
        raise _failure(f"{''.join(places[-1:])}{error}") from None


def _providers(config: pytest.Config) -> list[str]:
    from ..settings import settings

    named: str | None = config.getoption("llm_providers")
    if named is None:
        return settings().enabled_names()
    return [name.strip() for name in named.split(",") if name.strip()]


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Generator[None, object, object]:
    """Collects the `model.py` of each module in `llm_cases` as its cases, and not as a test module as well."""
    found = yield
    roots = parent.config.getini("llm_cases") if file_path.name == "model.py" else []
    if file_path.parent.parent.resolve() in [root.resolve() for root in roots]:
        return [CaseFile.from_parent(parent, path=file_path)]
    return found


class CaseFile(pytest.File):
    """The `model.py` of a module of cases."""

    def collect(self) -> Iterator[CaseItem]:
        """One item a case, provider and model."""
        from ..errors import LLMTesterError
        from ..llm_tester import LLMTester

        directory = self.path.parent
        try:
            tester = LLMTester(_providers(self.config), directory.parent)
            units = tester.units([directory.name], record=self.config.getoption("llm_record") or "none")
        except LLMTesterError as error:
            raise self.CollectError(str(error)) from None
        if problems := tester.manager.initialization_errors:
            raise self.CollectError("\n".join(problems.values()))
        for unit in units:
            name = f"{unit.case.title}[{unit.provider}:{unit.model}]"
            # pytest 9.2 would take what stands in the brackets for a part of a function's name.
            place = {"name": name, "nodeid": f"{self.nodeid}::{name}"}
            yield CaseItem.from_parent(self, **place, unit=unit, provider=tester.manager.instance(unit.provider))


class CaseItem(pytest.Item):
    """A case with one provider and model; passes where the reply is a valid instance and accurate enough."""

    def __init__(self, *, unit: Unit, provider: BaseLLM, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.unit = unit
        self.provider = provider
        told = {"module": unit.case.module, "case": unit.case.title, "provider": unit.provider, "model": unit.model}
        self.add_marker(pytest.mark.llm_case(**told))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it stands, and the headline of its failure."""
        return self.path, 0, f"{self.unit.case.module}/{self.name}"

    def runtest(self) -> None:
        """Runs the case, and fails where it does not reach the accuracy that is wanted."""
        from ..runs.units import run_unit, unused_interactions

        mode, again = self._mode(), _again(self, "rewrite")
        with _guarded(self.config, may_record=mode != "none"):
            result = run_unit(self.unit.model_copy(update={"record": mode}))[-1]
        self._tell(result)
        least = _least_accuracy(self.config)
        wanted = least.get(self.unit.case.module, least[""])
        if result.status != "ok" or result.accuracy is None or result.accuracy < wanted:
            raise _failure(f"{_explained(result, wanted)}\nto record again: {again}")
        if self.config.getoption("llm_fail_on_unused") and result.usage and result.usage.replayed:
            _fail_on_unused(self.unit.path, unused_interactions(self.unit), again)

    def _mode(self) -> str:
        """The record mode; fails where only a recording would do and there is none, skips where a key is missing."""
        from ..errors import UnknownModelError

        mode, recorded = self.unit.record, self.unit.path.is_file()
        try:
            self.provider.resolve(self.unit.model)
        except UnknownModelError as error:
            raise _failure(error) from None
        if not self.provider.uses_http:
            return mode
        if mode == "none":
            if not recorded:
                raise _failure(f"not recorded: there is no {self.unit.path}\nto record it: {_again(self, 'once')}")
            return mode
        missing = self.provider.missing_key(self.unit.model)
        if missing and not (recorded and mode in ("once", "new_episodes")):
            pytest.skip(f"cannot be recorded without a key: {missing}")
        return "none" if missing else mode

    def _tell(self, result: CaseResult) -> None:
        usage = result.usage
        if usage is None:
            return
        cost = "unknown" if usage.total_cost is None else usage.total_cost
        facts = {"accuracy": result.accuracy, "tokens": usage.total_tokens, "cost": cost}
        self.user_properties += [*facts.items(), ("origin", result.source_of_reply)]
        if result.cassette:
            how = Counter({"replayed" if usage.replayed else "recorded": 1})
            self.config.stash[_TALLY].count(how, result.cassette, result.age_days, _max_age(self.config))


def _explained(result: CaseResult, wanted: float) -> str:
    """Why a case failed: the score, what is wrong, each field that differs, and where the reply came from."""
    score = "no reply" if result.accuracy is None else f"accuracy {result.accuracy:.1f}, wanted {wanted:g}"
    lines = [f"{result.title}, {result.column}: {score}, {result.status}"]
    lines += [result.problem] if result.problem else []
    lines += [str(result.counts)] if result.fields else []
    for item in result.fields:
        if item.score < 1:
            values = f"expected {_shown(item.expected)}, found {_shown(item.actual)}"
            lines.append(f"  {item.path}: {values}, score {item.score:.2f} ({item.note}; rule: {item.rule})")
    if result.usage:
        lines.append(f"reply: {result.source_of_reply}" + (f", {result.cassette}" if result.cassette else ""))
    return "\n".join(lines)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}… ({len(text)} characters)"


def _guarded(config: pytest.Config, *, may_record: bool = False) -> contextlib.AbstractContextManager[None]:
    block = config.getoption("llm_block_network") and not may_record
    return network.refusing(config.stash[_TALLY].refused if block else None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Guards the network while test modules are imported."""
    with _guarded(session.config):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Guards the network while a test runs; not between tests, where pytest-xdist talks to its workers."""
    with _guarded(item.config):
        return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Sends a worker's tally to the controller of pytest-xdist."""
    output: dict[str, Any] = getattr(session.config, "workeroutput", {})
    output["llm_tester"] = session.config.stash[_TALLY].plain()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes a worker's tally in; one that crashed left none."""
    node.config.stash[_TALLY].add(getattr(node, "workeroutput", {}).get("llm_tester", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says what was replayed and recorded, and what is old, refused or unused."""
    tally = config.stash[_TALLY]
    lines = []
    if tally.replies.total():
        lines.append(", ".join(f"{tally.replies[how]} {how}" for how in ("replayed", "recorded")))
    lines += [f"old: {path}, {days:.0f} days" for path, days in sorted(tally.old.items())]
    lines += [f"refused: {host}, {times} times" for host, times in sorted(tally.refused.items())]
    if config.getoption("llm_unused_files"):
        lines += [f"unused: {path}" for path in tally.unused_files()]
    if lines:
        terminalreporter.section("llm_tester")
        terminalreporter.write_line("\n".join(lines))
