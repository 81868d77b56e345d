"""Each test runs its own pytest session, with the plugins of asyncio, anyio, xdist and pytest-recording."""

import gc
import importlib
import importlib.metadata
import importlib.util
import itertools
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from conftest import ROOT
from doc_pages import FENCE
from http_server import Server
from standins import Fault, StandIn

from llm_tester.cassettes import RecordMode
from llm_tester.llms.llm_registry import reset_provider_cache

pytest_plugins = ["pytester"]

Run = Callable[..., pytest.RunResult]

PLUGIN = "llm_tester.testing.pytest_plugin"
INSTALLED = any(point.value == PLUGIN for point in importlib.metadata.entry_points(group="pytest11"))

NEEDS_TRIO = pytest.mark.skipif(importlib.util.find_spec("trio") is None, reason="trio is not installed")

# Hypothesis takes seconds to import, and does so at the end of each session.
QUICK = ("-p", "no:hypothesispytest", "-o", "asyncio_default_fixture_loop_scope=function", "-o", "pythonpath=.")

# A provider that calls HTTP itself, because LiteLLM is not the point here and takes seconds to import.
OWN = """
import httpx
from llm_tester.llms.base import BaseLLM

class Own(BaseLLM):
    def _call_llm_api(self, prompt, system_prompt, model_name, model_config):
        sent = {"model": model_name, "messages": [{"role": "user", "content": prompt}]}
        reply = httpx.post(f"{self.config.api_base}/chat/completions", json=sent).raise_for_status().json()
        usage = reply["usage"]
        counted = {"prompt_tokens": usage["prompt_tokens"], "completion_tokens": usage["completion_tokens"]}
        return reply["choices"][0]["message"]["content"], counted

def ask(url, prompt):
    sent = {"model": "one", "messages": [{"role": "user", "content": prompt}]}
    return httpx.post(f"{url}/v1/chat/completions", json=sent).json()["choices"][0]["message"]["content"]

async def ask_async(url, prompt):
    sent = {"model": "one", "messages": [{"role": "user", "content": prompt}]}
    async with httpx.AsyncClient() as client:
        reply = await client.post(f"{url}/v1/chat/completions", json=sent)
    return reply.json()["choices"][0]["message"]["content"]
"""


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """A session in this process forgets what it imported, and keeps what was imported before it."""
    for name in ("httpcore", "h2.connection", "vcr.stubs.httpx_stubs", "vcr.stubs.aiohttp_stubs", "urllib3", "httpx2"):
        importlib.import_module(name)
    # Of these there must not be two copies, of which one is patched and the other one is open.
    for name in ("llm_tester.cassettes.clients", "llm_tester.cassettes.use", "llm_tester.llm_tester"):
        importlib.import_module(name)


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs pytest in this process, with the plugin imported again."""
    pytester.makepyfile(own=OWN)

    def run(*arguments: str, subprocess: bool = False) -> pytest.RunResult:
        monkeypatch.delitem(sys.modules, PLUGIN, raising=False)
        reset_provider_cache()
        load = () if INSTALLED else ("-p", PLUGIN)
        start = pytester.runpytest_subprocess if subprocess else pytester.runpytest_inprocess
        # A session collects garbage five times when it ends; all that was there before need not be walked.
        gc.freeze()
        try:
            return start(*load, *QUICK, *arguments)
        finally:
            gc.unfreeze()

    return run


@pytest.fixture
def server(
    standin: Callable[..., StandIn], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., StandIn]:
    """Starts a stand-in that a session finds under `URL`, and as the provider `own` in its config."""

    def start(reply: Any = "hello", **rest: Any) -> StandIn:
        stand_in = standin(reply)
        monkeypatch.setenv("URL", stand_in.url)
        own = {"provider_type": "own:Own", "api_base": f"{stand_in.url}/v1", "env_key": "", "models": ["one", "two"]}
        write_config(pytester, {"own": own}, **rest)
        return stand_in

    return start


def write_config(pytester: pytest.Pytester, providers: dict[str, Any], **rest: Any) -> None:
    (pytester.path / "config.json").write_text(json.dumps({"providers": providers, **rest}), encoding="utf-8")


def write_case(root: Path, case: str = "lamp", module: str = "products", **expected: Any) -> None:
    tests = root / "cases" / module / "tests"
    for name in ("sources", "prompts", "expected"):
        (tests / name).mkdir(parents=True, exist_ok=True)
    model = "import pydantic\n\nclass Product(pydantic.BaseModel):\n    name: str\n    price: float\n"
    (tests.parent / "model.py").write_text(model, encoding="utf-8")
    (tests / "sources" / f"{case}.txt").write_text(f"A {case} for 20.", encoding="utf-8")
    (tests / "prompts" / f"{case}.txt").write_text("Extract the product.", encoding="utf-8")
    (tests / "expected" / f"{case}.json").write_text(json.dumps(expected or {"name": "Lamp", "price": 20.0}))


@pytest.fixture
def cases(pytester: pytest.Pytester) -> pytest.Pytester:
    """A directory of cases, collected, and a mock that gets the lamp right and the desk wrong."""
    write_case(pytester.path)
    write_case(pytester.path, "desk", name="Desk", price=20.0)
    right, wrong = {"name": "Lamp", "price": 20.0}, {"name": "Chair", "price": 99.0}
    mock = {"provider_type": "mock", "env_key": "", "models": ["m1", "m2"]}
    write_config(pytester, {"fake": {**mock, "mock": {"replies": {"lamp": right, "desk": wrong}}}})
    pytester.makeini("[pytest]\nllm_cases = cases\n")
    return pytester


def recorded(pytester: pytest.Pytester) -> list[str]:
    return sorted(path.relative_to(pytester.path).as_posix() for path in pytester.path.rglob("*.yaml"))


def shown(result: pytest.RunResult) -> str:
    return result.stdout.str() + result.stderr.str()


ASKS = """
            import os, pytest
            from own import ask
            URL = os.environ["URL"]
"""


class TestCassettesOfTests:
    def test_nothing_is_called_unless_asked_for_then_recorded_then_replayed(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        stand_in = server()
        pytester.makepyfile(
            test_greet="""
            import pytest

            @pytest.mark.llm_cassette
            def test_greets(llm_provider):
                reply, usage = llm_provider("own").get_response("Say hello.", "")
                assert reply == "hello"
            """
        )
        result = run()
        result.assert_outcomes(failed=1)
        assert stand_in.requests == []
        result.stdout.fnmatch_lines(
            [
                "*test_greet.py:5: *cassettes/test_greet/test_greets.yaml: this request is not recorded*",
                "*asked: *POST http://127.0.0.1:*/v1/chat/completions",
                "*to record: pytest test_greet.py::test_greets --llm-record once",
            ]
        )
        assert "httpx" not in result.stdout.str(), "a traceback of ours"
        run("--llm-record", "once").assert_outcomes(passed=1)
        assert recorded(pytester) == ["cassettes/test_greet/test_greets.yaml"]
        result = run()
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["*= llm_tester =*", "1 replayed, 0 recorded"])
        assert len(stand_in.requests) == 1

    @pytest.mark.parametrize(
        ("mode", "line"),
        [
            ("once", "1 replayed, 0 recorded"),
            ("new_episodes", "1 replayed, 0 recorded"),
            ("all", "0 replayed, 1 recorded"),
            ("rewrite", "0 replayed, 1 recorded"),
        ],
    )
    def test_each_mode_counts_what_it_did(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn], mode: str, line: str
    ) -> None:
        server()
        pytester.makepyfile(
            f"{ASKS}\n            def test_asks(llm_cassette):\n                assert ask(URL, 'hi') == 'hello'\n"
        )
        run("--llm-record", mode).stdout.fnmatch_lines(["0 replayed, 1 recorded"])
        run("--llm-record", mode).stdout.fnmatch_lines([line])

    def test_a_cassette_is_named_after_its_test(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        server()
        tests = """
            pytestmark = pytest.mark.llm_cassette

            def test_plain():
                ask(URL, "1")

            @pytest.mark.parametrize("model", ["gpt-4o", "meta/llama", "../up"])
            def test_models(model):
                ask(URL, model)

            class TestGreeting:
                def test_plain(self):
                    ask(URL, "2")

                class TestDeep:
                    @pytest.mark.parametrize("n", [1])
                    def test_deep(self, n):
                        ask(URL, "3")
            """
        pytester.makepyfile(**{"sub/test_names": ASKS + tests})
        run("--llm-record", "once").assert_outcomes(passed=6)
        files = [re.sub("~[0-9a-f]+", "~", path) for path in recorded(pytester)]
        assert files == [
            "sub/cassettes/test_names/TestGreeting~/TestDeep~/test_deep/1.yaml",
            "sub/cassettes/test_names/TestGreeting~/test_plain.yaml",
            "sub/cassettes/test_names/test_models/%2Fup~.yaml",
            "sub/cassettes/test_names/test_models/gpt-4o.yaml",
            "sub/cassettes/test_names/test_models/meta%2Fllama.yaml",
            "sub/cassettes/test_names/test_plain.yaml",
        ]
        run().assert_outcomes(passed=6)
        pytester.makeini("[pytest]\nllm_cassette_dir = recordings\n")
        run("--llm-record", "once", "-k", "TestGreeting and test_plain").assert_outcomes(passed=1, deselected=5)
        assert re.sub("~[0-9a-f]+", "~", recorded(pytester)[0]) == (
            "recordings/sub/test_names/TestGreeting~/test_plain.yaml"
        )

    def test_what_markers_say(self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]) -> None:
        stand_in = server()
        pytester.makepyfile(
            test_marks=ASKS
            + """
            @pytest.mark.llm_cassette("shared.yaml", origin="stand-in: the class")
            class TestShared:
                def test_class(self, llm_cassette):
                    ask(URL, "a")
                    assert llm_cassette.origin == "stand-in: the class"

                @pytest.mark.llm_cassette("deep/own", origin="stand-in: the function")
                def test_function(self, llm_cassette):
                    ask(URL, "b")

            @pytest.mark.llm_cassette(record="once")
            def test_mode(llm_cassette):
                ask(URL, "c")
            """
        )
        run("--llm-record", "none").assert_outcomes(failed=3)
        assert stand_in.requests == []
        run("-k", "mode").assert_outcomes(passed=1, deselected=2)
        run("--llm-record", "once").assert_outcomes(passed=3)
        root = "cassettes/test_marks"
        assert recorded(pytester) == [f"{root}/deep/own.yaml", f"{root}/shared.yaml", f"{root}/test_mode.yaml"]
        data = yaml.safe_load((pytester.path / root / "deep/own.yaml").read_text(encoding="utf-8"))
        assert data["interactions"][0]["recorded"]["origin"] == "stand-in: the function"
        run().assert_outcomes(passed=3)
        assert len(stand_in.requests) == 3

    @pytest.mark.parametrize(
        ("marker", "message"),
        [
            ('"a.yaml", "b.yaml"', "llm_cassette('a.yaml', 'b.yaml'): expected at most one file name"),
            ("1", "llm_cassette(1): expected at most one file name"),
            ('""', "llm_cassette(''): expected at most one file name"),
            ('mode="once"', "llm_cassette(mode='once'): expected at most one file name, and fail_on_unused=, "),
            ('record="often"', "record mode 'often' is unknown; expected one of none, once"),
            ('"cut"', "cut.yaml, line 2: not YAML"),
        ],
    )
    def test_a_wrong_marker_says_what_is_wrong(
        self, pytester: pytest.Pytester, run: Run, marker: str, message: str
    ) -> None:
        pytester.makepyfile(test_wrong=f"import pytest\n@pytest.mark.llm_cassette({marker})\ndef test_it(): pass\n")
        (pytester.path / "cassettes/test_wrong").mkdir(parents=True)
        (pytester.path / "cassettes/test_wrong/cut.yaml").write_text('format: 1\nmetadata: {"', encoding="utf-8")
        result = run()
        result.assert_outcomes(errors=1)
        assert message in result.stdout.str()
        assert "pytest_plugin.py" not in result.stdout.str(), "a traceback of ours"

    def test_a_manager_and_a_tester(
        self, cases: pytest.Pytester, run: Run, server: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-real-key-0123456789")
        stand_in = server(json.dumps({"name": "Lamp", "price": 20.0}))
        cases.makepyfile(
            """
            from pathlib import Path

            def test_manager(llm_manager):
                manager = llm_manager("own", "mock")
                assert sorted(manager.provider_instances) == ["mock", "own"]
                assert manager.get_response("own", "Extract.", "A lamp.", "two")[1].model == "two"

            def test_tester(llm_tester):
                results = llm_tester("own:two").run_tests(concurrency=2)
                assert [result.column for result in results.results] == ["own:two"] * 2
                wanted = "ok" if Path("may_record").exists() else "failed"
                assert {result.status for result in results.results} == {wanted}

            def test_default(llm_tester):
                tester = llm_tester(test_dir="cases")
                assert tester.targets() == [("own", "one")]
                case = tester.discover_test_cases()[0]
                assert tester.run_test(case, "own", record="none").error == "CassetteMismatch"
            """
        )
        run("test_a_manager_and_a_tester.py", "-k", "test_tester or test_default").assert_outcomes(
            passed=2, deselected=1
        )
        assert stand_in.requests == [], "the tester of a test in the mode none went out"
        (cases.path / "may_record").touch()
        run("test_a_manager_and_a_tester.py", "--llm-record", "once").assert_outcomes(passed=3)
        root = "cassettes/test_a_manager_and_a_tester"
        tested = [f"{root}/test_tester/products/{case}/own/two.yaml" for case in ("desk", "lamp")]
        assert recorded(cases) == [f"{root}/test_manager.yaml", *tested]
        run("test_a_manager_and_a_tester.py").assert_outcomes(passed=3)
        assert len(stand_in.requests) == 3

    def test_higher_fixtures_are_outside_and_doctests_inside(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        server()
        pytester.makepyfile(
            test_scopes=ASKS
            + """
            from llm_tester.cassettes import current

            @pytest.fixture(scope="class")
            def outer():
                assert current() is None

            @pytest.fixture(autouse=True)
            def inner():
                assert current() is not None
                yield
                assert ask(URL, "tear down") == "hello"

            @pytest.mark.llm_cassette(fail_on_unused=True)
            class TestScopes:
                def test_late(self, outer, request):
                    assert request.getfixturevalue("llm_cassette") is current()
            """
        )
        run("--llm-record", "once").assert_outcomes(passed=1)
        run().assert_outcomes(passed=1)

    def test_doctests(self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]) -> None:
        server()
        pytester.makeconftest("import pytest\n@pytest.fixture(autouse=True)\ndef inside(llm_cassette): pass\n")
        pytester.makepyfile(test_doc='"""\n>>> import own, os\n>>> own.ask(os.environ["URL"], "a")\n\'hello\'\n"""\n')
        run("--doctest-modules", "test_doc.py", "--llm-record", "once").assert_outcomes(passed=1)
        run("--doctest-modules", "test_doc.py", "--llm-fail-on-unused").assert_outcomes(passed=1)
        assert recorded(pytester) == ["cassettes/test_doc/test_doc.yaml"]

    def test_a_test_from_another_file(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        server()
        pytester.makepyfile(
            base=f"""{ASKS}
            class Base:
                def test_inherited(self, llm_cassette):
                    ask(URL, "a")
        """
        )
        pytester.makepyfile(test_child="from base import Base\nclass TestChild(Base): pass\n")
        result = run()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["/*cassettes/test_child/*/test_inherited.yaml: this request is not recorded: *"])


ASYNC = """
            import asyncio, os, unittest, pytest, pytest_asyncio
            from own import ask, ask_async
            URL = os.environ["URL"]
            pytestmark = pytest.mark.llm_cassette
"""


class TestAsync:
    def twice(self, run: Run, stand_in: StandIn, count: int, *arguments: str) -> None:
        """Records, and replays without a request."""
        run("--llm-record", "once", *arguments).assert_outcomes(passed=count)
        asked = len(stand_in.requests)
        assert asked >= count
        run("--llm-block-network", *arguments).assert_outcomes(passed=count)
        assert len(stand_in.requests) == asked

    @pytest.mark.parametrize("mode", ["strict", "auto"])
    def test_asyncio(self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn], mode: str) -> None:
        mark = "@pytest.mark.asyncio" if mode == "strict" else ""
        pytester.makepyfile(
            ASYNC
            + f"""
            @pytest_asyncio.fixture
            async def asked():
                return await ask_async(URL, "in a fixture")

            @pytest_asyncio.fixture(scope="module", loop_scope="module")
            async def old_loop():
                yield asyncio.get_running_loop()

            {mark}
            async def test_function(asked):
                assert await ask_async(URL, "1") == asked == "hello"

            {mark}
            @pytest.mark.parametrize("n", [1, 2])
            async def test_many(n, llm_cassette):
                replies = await asyncio.gather(*(ask_async(URL, f"{{n}}{{i}}") for i in range(3)))
                assert replies == ["hello"] * 3 and len(llm_cassette.interactions) == 3

            @pytest.mark.asyncio(loop_scope="module")
            async def test_in_an_older_loop(old_loop):
                assert asyncio.get_running_loop() is old_loop
                assert await ask_async(URL, "2") == "hello"

            @pytest.mark.asyncio(loop_scope="class")
            class TestClass:
                async def test_method(self):
                    assert await ask_async(URL, "3") == "hello"

                async def test_thread(self):
                    assert await asyncio.to_thread(ask, URL, "4") == "hello"
            """
        )
        self.twice(run, server(), 6, "--asyncio-mode", mode)
        assert len(recorded(pytester)) == 6

    @pytest.mark.parametrize("backend", ["asyncio", pytest.param("trio", marks=NEEDS_TRIO)])
    def test_anyio_in_a_task_that_is_older_than_the_test(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn], backend: str
    ) -> None:
        pytester.makepyfile(
            ASYNC
            + f"""
            import anyio
            pytestmark = [pytest.mark.llm_cassette, pytest.mark.anyio]

            @pytest.fixture(scope="module", params=["{backend}"])
            def anyio_backend(request):
                return request.param

            @pytest.fixture(scope="module")
            async def older(anyio_backend):
                yield anyio.get_current_task().id

            async def test_same_task(older):
                assert anyio.get_current_task().id == older
                assert await ask_async(URL, "1") == "hello"

            class TestClass:
                async def test_method(self):
                    assert await ask_async(URL, "2") == "hello"
            """
        )
        self.twice(run, server(), 2)
        assert [Path(path).name for path in recorded(pytester)] == [f"{backend}.yaml"] * 2

    def test_unittest(self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]) -> None:
        pytester.makepyfile(
            ASYNC
            + """
            class TestPlain(unittest.TestCase):
                def test_sync(self):
                    self.assertEqual(ask(URL, "1"), "hello")

            class TestIsolated(unittest.IsolatedAsyncioTestCase):
                async def test_async(self):
                    self.assertEqual(await ask_async(URL, "2"), "hello")

                async def test_other(self):
                    self.assertEqual(await ask_async(URL, "3"), "hello")
            """
        )
        self.twice(run, server(), 3)
        assert len(recorded(pytester)) == 3

    def test_a_mismatch_fails_one_test_and_no_other(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        tests = """
            @pytest.fixture(scope="module")
            def anyio_backend():
                return "asyncio"

            @pytest.fixture(scope="module")
            async def older(anyio_backend):
                yield

            @pytest.mark.anyio
            async def test_anyio(older):
                assert await ask_async(URL, "PROMPT") == "hello"

            @pytest.mark.anyio
            async def test_anyio_after(older):
                assert await ask_async(URL, "same") == "hello"

            @pytest.mark.asyncio
            async def test_asyncio():
                assert await ask_async(URL, "PROMPT") == "hello"

            @pytest.mark.asyncio
            async def test_asyncio_after():
                assert await ask_async(URL, "same") == "hello"
            """
        server()
        pytester.makepyfile(test_drift=ASYNC + tests.replace("PROMPT", "before"))
        run("--llm-record", "once").assert_outcomes(passed=4)
        pytester.makepyfile(test_drift=ASYNC + tests.replace("PROMPT", "after"))
        result = run()
        result.assert_outcomes(passed=2, failed=2)
        result.stdout.fnmatch_lines(
            [
                "*test_drift.py:16: *test_anyio.yaml: this request is not what was recorded.",
                "*-      content: before",
                "*+      content: after",
                "*to record again: pytest test_drift.py::test_anyio --llm-record rewrite",
                "*test_drift.py:24: *test_asyncio.yaml: this request is not what was recorded.",
            ]
        )


class TestWholeProcess:
    def test_threads_of_the_test_use_its_cassette(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        """A thread without the test's context is covered too, and one that swallows a mismatch still fails the test."""
        stand_in = server()
        tests = """
            import threading

            @pytest.mark.llm_cassette
            def test_thread():
                replies = []

                def work():
                    try:
                        replies.append(ask(URL, "PROMPT"))
                    except BaseException:
                        pass

                thread = threading.Thread(target=work)
                thread.start()
                thread.join()
                assert replies in (["hello"], [])
            """
        pytester.makepyfile(test_thread=ASKS + tests.replace("PROMPT", "before"))
        run("--llm-record", "once").assert_outcomes(passed=1)
        run().assert_outcomes(passed=1)
        assert len(stand_in.requests) == 1
        pytester.makepyfile(test_thread=ASKS + tests.replace("PROMPT", "after"))
        result = run()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*test_thread.yaml: this request is not what was recorded.", "*+      content: after"]
        )
        assert len(stand_in.requests) == 1


class TestBesideOthers:
    def test_pytest_recording(self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]) -> None:
        stand_in = server()
        pytester.makepyfile(
            test_both=ASKS
            + """
            import socket

            @pytest.mark.vcr
            def test_theirs():
                assert ask(URL, "theirs") == "hello"

            @pytest.mark.llm_cassette
            def test_ours(llm_cassette):
                assert ask(URL, "ours") == "hello"

            @pytest.mark.block_network
            def test_their_guard():
                with pytest.raises(RuntimeError, match="Network is disabled"):
                    socket.create_connection(("127.0.0.1", 9))

            def test_our_guard(request):
                if request.config.getoption("--llm-block-network"):
                    with pytest.raises(OSError, match="--llm-block-network"):
                        socket.create_connection(("192.0.2.1", 9))

            @pytest.mark.vcr
            @pytest.mark.llm_cassette("beside.yaml")
            def test_one_in_the_other(llm_cassette):
                assert ask(URL, "both") == "hello"
            """
        )
        run("--llm-record", "once", "--record-mode", "once").assert_outcomes(passed=5)
        assert len(stand_in.requests) == 3
        root = "cassettes/test_both"
        assert {f"{root}/test_theirs.yaml", f"{root}/test_ours.yaml"} <= set(recorded(pytester))
        assert (pytester.path / root / "test_theirs.yaml").read_text(encoding="utf-8").startswith("interactions:")
        result = run("--llm-block-network", "--llm-unused-files", "-p", "no:cacheprovider")
        result.assert_outcomes(passed=5)
        assert "unused:" not in result.stdout.str(), "their files are none of ours"
        assert len(stand_in.requests) == 3

    def test_a_cassette_of_theirs_is_replayed(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        stand_in = server()
        for mark in ("vcr", "llm_cassette"):
            pytester.makepyfile(
                test_moved=f"""{ASKS}
            @pytest.mark.{mark}
            def test_it():
                assert ask(URL, "a") == "hello"
            """
            )
            run("--record-mode", "once").assert_outcomes(passed=1)
            assert recorded(pytester) == ["cassettes/test_moved/test_it.yaml"]
        assert len(stand_in.requests) == 1

    def test_xdist_gives_each_test_its_file(
        self, cases: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        stand_in = server(json.dumps({"name": "Lamp", "price": 20.0}))
        cases.makepyfile(
            test_many=ASKS
            + """
            @pytest.mark.llm_cassette
            @pytest.mark.parametrize("n", range(6))
            def test_asks(n, llm_cassette):
                assert "Lamp" in ask(URL, f"{n}")
            """
        )
        arguments = ("--llm-providers", "own", "--llm-block-network", "--llm-unused-files")
        record = ("--llm-record", "once")
        run(*arguments, *record, "-k", "lamp or 0 or 1 or 2").assert_outcomes(passed=4, deselected=4)
        result = run(*arguments, *record, "-n", "2", "--llm-max-age", "-1")
        result.assert_outcomes(passed=7, failed=1)
        result.stdout.fnmatch_lines(["4 replayed, 4 recorded", "old: *cassettes/*lamp/own/one.yaml, 0 days"])
        assert result.stdout.str().count("old: ") == 4
        assert "unused: " not in result.stdout.str()
        assert len(recorded(cases)) == 8
        run(*arguments).assert_outcomes(passed=7, failed=1)
        assert len(stand_in.requests) == 8

    def test_the_package_works_without_pytest(self) -> None:
        code = "import sys; sys.modules['pytest'] = None; import llm_tester.cli.app, llm_tester.llm_tester"
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_the_option_names_the_record_modes(self, run: Run) -> None:
        result = run("--llm-record", "often")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert all(mode in result.stderr.str() for mode in get_args(RecordMode))
        run("--help").stdout.fnmatch_lines(["llm_tester: cassettes and cases:", "*--llm-record*", "*llm_min_accuracy*"])


class TestUnused:
    def test_fails_a_test_that_passed_where_it_is_asked_for(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        """Cassettes of two interactions each, of which their tests ask for one later."""
        server()
        test = f"""{ASKS}
            MORE = True

            def ask_both():
                ask(URL, "a")
                if MORE:
                    ask(URL, "b")

            @pytest.mark.llm_cassette()
            def test_it():
                ask_both()

            @pytest.mark.llm_cassette(fail_on_unused=True)
            def test_marked():
                ask_both()

            @pytest.mark.llm_cassette()
            def test_failing():
                ask_both()
                assert MORE
        """
        pytester.makepyfile(test_two=test)
        run("--llm-record", "once").assert_outcomes(passed=3)
        pytester.makepyfile(test_two=test.replace("MORE = True", "MORE = False"))
        run().assert_outcomes(passed=2, failed=1, errors=1)
        result = run("--llm-fail-on-unused")
        result.assert_outcomes(passed=2, failed=1, errors=2)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(
            [
                "*test_it.yaml: 1 of its interactions were not used:",
                "*  POST http://127.0.0.1:*/v1/chat/completions",
                "*to record again: pytest test_two.py::test_it --llm-record rewrite",
            ]
        )
        chosen = ("--llm-fail-on-unused", "-k", "it or marked")
        run(*chosen, "--llm-record", "rewrite").assert_outcomes(passed=2, deselected=1)
        run(*chosen).assert_outcomes(passed=2, deselected=1)

    def test_files_are_listed_where_asked(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        server()
        pytester.makepyfile(test_two=f"{ASKS}\n            def test_it(llm_cassette):\n                ask(URL, 'a')\n")
        run("--llm-record", "once").assert_outcomes(passed=1)
        root = pytester.path / "cassettes/test_two"
        (root / "renamed.yaml").write_bytes((root / "test_it.yaml").read_bytes())
        (root / "theirs.yaml").write_text("interactions: []\nversion: 1\n", encoding="utf-8")
        assert "unused" not in shown(run())
        result = run("--llm-unused-files")
        result.assert_outcomes(passed=1)
        assert re.findall("unused: .*/(.*)", result.stdout.str()) == ["renamed.yaml"]

    def test_interactions_of_cases(self, cases: pytest.Pytester, run: Run, server: Callable[..., StandIn]) -> None:
        server(json.dumps({"name": "Lamp", "price": 20.0}))
        run("-k", "lamp", "--llm-record", "once").assert_outcomes(passed=1, deselected=1)
        run("-k", "lamp", "--llm-fail-on-unused").assert_outcomes(passed=1, deselected=1)
        prompt = cases.path / "cases/products/tests/prompts/lamp.txt"
        prompt.write_text("Extract it all.", encoding="utf-8")
        run("-k", "lamp", "--llm-record", "new_episodes").assert_outcomes(passed=1, deselected=1)
        result = run("-k", "lamp", "--llm-fail-on-unused")
        result.assert_outcomes(failed=1, deselected=1)
        result.stdout.fnmatch_lines(["*one.yaml: 1 of its interactions were not used:"])


class TestMaxAge:
    @pytest.mark.parametrize(
        ("option", "configured", "old"),
        [(None, None, False), ("30", None, True), (None, 30, True), ("100000", 30, False)],
    )
    def test_old_cassettes_are_named(
        self,
        cases: pytest.Pytester,
        run: Run,
        server: Callable[..., StandIn],
        option: str | None,
        configured: int | None,
        old: bool,
    ) -> None:
        server(json.dumps({"name": "Lamp", "price": 20.0}), **({"max_age": configured} if configured else {}))
        cases.makepyfile(test_age=f"{ASKS}\n            def test_it(llm_cassette):\n                ask(URL, 'a')\n")
        run("-k", "lamp or test_it", "--llm-record", "once").assert_outcomes(passed=2, deselected=1)
        for path in recorded(cases):
            text = (cases.path / path).read_text(encoding="utf-8")
            (cases.path / path).write_text(re.sub(r"at: '?20\d\d-\d\d-\d\d", "at: '2020-01-01", text))
        result = run("-k", "lamp or test_it", *(["--llm-max-age", option] if option else []))
        result.assert_outcomes(passed=2, deselected=1)
        assert len(re.findall(r"old: .*\.yaml, \d{4} days", result.stdout.str())) == (2 if old else 0)


class TestNetwork:
    def test_what_leaves_is_refused_before_it_is_sent(self, pytester: pytest.Pytester, run: Run) -> None:
        pytester.makepyfile(
            """
            import asyncio, socket, pytest
            import httpx

            def tcp(host, family=socket.AF_INET):
                return socket.socket(family, socket.SOCK_STREAM).connect((host, 443))

            def udp(host):
                return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

            async def open_connection():
                await asyncio.open_connection("192.0.2.1", 443)

            @pytest.mark.parametrize("leave", [
                lambda: tcp("192.0.2.1"),
                lambda: tcp("2001:db8::1", socket.AF_INET6),
                lambda: socket.socket().connect_ex(("192.0.2.1", 443)),
                lambda: udp("192.0.2.1").sendto(b"x", ("192.0.2.1", 53)),
                lambda: udp("192.0.2.1").sendmsg([b"x"], [], 0, ("192.0.2.1", 53)),
                lambda: socket.getaddrinfo("api.openai.com", 443),
                lambda: socket.getaddrinfo(b"api.openai.com", 443),
                lambda: socket.gethostbyname("api.openai.com"),
                lambda: asyncio.run(open_connection()),
                lambda: httpx.get("https://api.openai.com"),
            ])
            def test_refused(leave):
                with pytest.raises((OSError, httpx.ConnectError), match="--llm-block-network refused '.*llm_cassette"):
                    leave()
            """
        )
        result = run("--llm-block-network")
        result.assert_outcomes(passed=10)
        result.stdout.fnmatch_lines(
            ["refused: 192.0.2.1, 5 times", "refused: 2001:db8::1, 1 times", "refused: api.openai.com, 4 times"]
        )

    def test_what_stays_is_let_through(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        server()
        pytester.makepyfile(
            ASKS
            + """
            import asyncio, os, socket, threading

            def test_loopback():
                assert ask(URL, "1") == "hello"
                assert ask(URL.replace("127.0.0.1", "localhost"), "2") == "hello"

            def test_pairs():
                for one in socket.socketpair():
                    one.close()
                asyncio.run(asyncio.sleep(0))

            @pytest.mark.parametrize("address", ["127.0.0.2", "0.0.0.0"])
            def test_addresses(address):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                    one.connect((address, 9))
                    one.sendmsg([b"x"])

            def test_mapped():
                with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
                    one.connect(("::ffff:127.0.0.1", 9))

            def test_unix(tmp_path, monkeypatch):
                monkeypatch.chdir(tmp_path)
                with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as one:
                    listening.bind("here")
                    listening.listen()
                    one.connect("here")

            def test_names():
                assert socket.getaddrinfo(None, 80)
                assert socket.getaddrinfo("192.0.2.1", 80)
                for name in ("localhost", "LOCALHOST.", socket.gethostname()):
                    try:
                        socket.getaddrinfo(name, 80)
                    except socket.gaierror:
                        pass
            """
        )
        run("--llm-block-network").assert_outcomes(passed=7)

    def test_a_test_that_may_record_may_connect(self, cases: pytest.Pytester, run: Run) -> None:
        # Connecting a datagram socket sends nothing.
        cases.makepyfile(
            test_connects="""
            import socket, pytest

            def leaves():
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                    try:
                        one.connect(("192.0.2.1", 9))
                    except ConnectionRefusedError as error:
                        return "nothing was sent" not in str(error)
                return True

            @pytest.mark.llm_cassette(record="once")
            def test_recording():
                assert leaves()

            @pytest.mark.llm_cassette
            def test_replaying():
                assert not leaves()

            def test_neither():
                assert not leaves()
            """
        )
        run("test_connects.py", "--llm-block-network").assert_outcomes(passed=3)
        # A test that only replays may connect to nothing, with and without the option.
        run("test_connects.py").assert_outcomes(passed=2, failed=1)

    def test_a_test_that_replays_reaches_nothing(
        self, pytester: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By default, also no server on this machine, and the processes that it starts know it."""
        pytester.makepyfile(
            """
            import os, urllib.request, pytest

            @pytest.mark.llm_cassette
            def test_replaying():
                assert "LLM_TESTER_OFFLINE" in os.environ
                with pytest.raises(OSError, match="nothing was sent"):
                    urllib.request.urlopen(os.environ["URL"])

            @pytest.mark.llm_cassette(record="once")
            def test_recording():
                assert "LLM_TESTER_OFFLINE" not in os.environ
                urllib.request.urlopen(os.environ["URL"]).close()

            def test_neither():
                assert "LLM_TESTER_OFFLINE" not in os.environ
                urllib.request.urlopen(os.environ["URL"]).close()
            """
        )
        with Server() as server:
            monkeypatch.setenv("URL", server.url)
            result = run()
            result.assert_outcomes(passed=3)
            result.stdout.fnmatch_lines(["refused: 127.0.0.1, 1 times"])
            assert len(server.seen) == 2
            write_config(pytester, {}, allow=["localhost"])
            run("-k", "replaying").assert_outcomes(failed=1)
            assert len(server.seen) == 3

    def test_importing_is_guarded_and_the_next_session_is_not(self, pytester: pytest.Pytester, run: Run) -> None:
        pytester.makepyfile("import socket\nsocket.getaddrinfo('api.openai.com', 443)\ndef test_it(): pass\n")
        result = run("--llm-block-network")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*ConnectionRefusedError: --llm-block-network refused 'api.openai.com'*"])
        pytester.makepyfile("import socket\ndef test_it(): assert socket.getaddrinfo('127.0.0.1', 443)\n")
        run().assert_outcomes(passed=1)


class TestCases:
    def test_each_case_and_model_is_a_test(self, cases: pytest.Pytester, run: Run) -> None:
        result = run("--llm-providers", "fake:*, mock,", "--collect-only", "-q")
        nodes = [line for line in result.outlines if "::" in line]
        columns = ["fake:m1", "fake:m2", "mock:mock-model"]
        assert nodes == [
            f"cases/products/model.py::{case}[{column}]"
            for case, column in itertools.product(["desk", "lamp"], columns)
        ]

    def test_a_failing_case_shows_what_differs(self, cases: pytest.Pytester, run: Run) -> None:
        result = run("-v")
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(
            [
                "cases/products/model.py::desk?fake:m1? FAILED*",
                "cases/products/model.py::lamp?fake:m1? PASSED*",
                "*_ products/desk?fake:m1? _*",
                "products/desk, fake:m1: accuracy 0.0, wanted 80, ok",
                '  name: expected "Desk", found "Chair", score 0.00 (*)',
                "  price: expected 20.0, found 99.0, score 0.00 (*)",
                "reply: live: in process",
                "to record again: pytest 'cases/products/model.py::desk?fake:m1?' --llm-record rewrite",
            ]
        )
        assert "pytest_plugin.py" not in result.stdout.str(), "a traceback of ours"

    def test_an_invalid_reply_and_a_failed_call(self, cases: pytest.Pytester, run: Run) -> None:
        mock = {"provider_type": "mock", "env_key": "", "models": ["m"], "max_attempts": 1}
        invalid = {**mock, "mock": {"replies": {"*": {"name": "x" * 500}}}}
        failing = {**mock, "mock": {"error": 500}}
        write_config(cases, {"invalid": invalid, "failing": failing})
        result = run("-k", "lamp", "-o", "llm_min_accuracy=0")
        result.assert_outcomes(failed=2, deselected=2)
        result.stdout.fnmatch_lines(
            [
                "products/lamp, invalid:m: accuracy 0.0, wanted 0, invalid",
                "*price*",
                '  name: expected "Lamp", found "xxx*… (502 characters), score *',
                "products/lamp, failing:m: no reply, failed",
                "*500*",
            ]
        )

    def test_chosen_by_keyword_marker_node_and_last_failure(self, cases: pytest.Pytester, run: Run) -> None:
        run("-k", "lamp and m1").assert_outcomes(passed=1, deselected=1)
        run("-m", "llm_case(provider='fake', case='lamp')").assert_outcomes(passed=1, deselected=1)
        run("-m", "not llm_case").assert_outcomes(deselected=2)
        run("cases/products/model.py::lamp[fake:m1]").assert_outcomes(passed=1)
        run("cases/products/model.py::lamp").assert_outcomes(passed=1)
        run("cases/products/model.py").assert_outcomes(passed=1, failed=1)
        result = run("--lf", "-v")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["cases/products/model.py::desk?fake:m1? FAILED*"])

    def test_junit(self, cases: pytest.Pytester, run: Run) -> None:
        priced = {"name": "priced", "cost_input": 1e6, "cost_output": 0}
        mock = {"replies": {"lamp": {"name": "Lamp", "price": 20}}}
        counted = {**mock, "usage": {"prompt_tokens": 3}}
        entry = {"provider_type": "mock", "env_key": ""}
        providers = {"fake": {**entry, "models": ["m1"], "mock": mock}}
        write_config(cases, {**providers, "sold": {**entry, "models": [priced], "mock": counted}})
        run("-k", "lamp", "--junitxml", "junit.xml", "--strict-markers").assert_outcomes(passed=2, deselected=2)
        first, second = ElementTree.parse(cases.path / "junit.xml").getroot().iter("testcase")
        assert (first.get("classname"), first.get("name")) == ("cases.products.model", "lamp[fake:m1]")
        told, known = (
            {item.get("name"): item.get("value") for item in case.iter("property")} for case in (first, second)
        )
        assert told.keys() == {"accuracy", "tokens", "cost", "origin"}
        assert told["accuracy"] == "100.0"
        assert int(told["tokens"] or 0) > 0
        assert (told["cost"], told["origin"]) == ("unknown", "live: in process")
        assert known["cost"] == "3.0"

    @pytest.mark.parametrize(
        ("wanted", "passed"),
        [("50", False), ("75 products=50", True), ("50 products=75", False), ("other=10", False), ("0 other=90", True)],
    )
    def test_the_accuracy_that_is_wanted(self, cases: pytest.Pytester, run: Run, wanted: str, passed: bool) -> None:
        half = {"provider_type": "mock", "env_key": "", "models": ["m"]}
        accuracy = 50 if passed else 49
        keys = {f"k{number}": 1 for number in range(100)}
        reply = {**keys, **{f"k{number}": 0 for number in range(accuracy, 100)}}
        write_case(cases.path, **keys)
        model = "import pydantic\nProduct = pydantic.create_model('Product', __module__=__name__, "
        model += "**{f'k{n}': (int, ...) for n in range(100)})\n"
        (cases.path / "cases/products/model.py").write_text(model, encoding="utf-8")
        (cases.path / "cases/products/tests/expected/desk.json").write_text("{}", encoding="utf-8")
        write_config(cases, {"half": {**half, "mock": {"replies": {"lamp": reply}}}})
        result = run("-k", "lamp", "-o", f"llm_min_accuracy={wanted}")
        result.assert_outcomes(**{"passed" if passed else "failed": 1}, deselected=1)

    @pytest.mark.parametrize("wanted", ["most", "101", "-1", "nan", "products=", "=80x"])
    def test_a_wrong_accuracy(self, cases: pytest.Pytester, run: Run, wanted: str) -> None:
        result = run("-o", f"llm_min_accuracy={wanted}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert f"llm_min_accuracy: found '{wanted}', expected 0 to 100" in shown(result)

    def test_a_directory_that_is_not_there(self, cases: pytest.Pytester, run: Run) -> None:
        cases.makeini("[pytest]\nllm_cases = cases kases\n")
        result = run()
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: llm_cases: */kases: there is no such directory"])

    def test_cases_are_collected_next_to_testpaths(
        self, cases: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cases.makepyfile(**{"tests/test_one": "def test_one(): pass"})
        cases.makeini("[pytest]\ntestpaths = tests\nllm_cases = cases\n")
        run().assert_outcomes(passed=2, failed=1)
        run("tests").assert_outcomes(passed=1)
        run("cases").assert_outcomes(passed=1, failed=1)
        cases.makeini("[pytest]\ntestpaths = tests cases\nllm_cases = cases\npython_files = *.py\n")
        run().assert_outcomes(passed=2, failed=1)
        monkeypatch.chdir(cases.path / "tests")
        run().assert_outcomes(passed=1)

    def test_two_modules_named_at_once(self, cases: pytest.Pytester, run: Run) -> None:
        # Both files are called model.py, which pytest would refuse to import as test modules.
        write_case(cases.path, module="others")
        result = run("cases/products/model.py", "cases/others/model.py::lamp[fake:m1]")
        result.assert_outcomes(passed=2, failed=1)

    def test_other_files_of_that_name_are_left_alone(self, cases: pytest.Pytester, run: Run) -> None:
        cases.makepyfile(**{"other/model": "def test_one(): pass"})
        run("other/model.py").assert_outcomes(passed=1)

    @pytest.mark.parametrize(
        ("path", "text", "message"),
        [
            ("products/tests/expected/lamp.json", "{", "lamp.json, line 1, column 2: not JSON"),
            ("products/model.py", "import nothing_of_that_name", "model.py, line 1: cannot be imported"),
            ("../config.json", "{}", "no provider is enabled or named"),
            ("../config.json", "{", "config.json, line 1, column 2: not JSON"),
            ("../config.json", '{"providers": {"fale": {"models": ["m"]}}}', "fale"),
        ],
    )
    def test_what_cannot_be_collected(
        self, cases: pytest.Pytester, run: Run, path: str, text: str, message: str
    ) -> None:
        (cases.path / "cases" / path).write_text(text, encoding="utf-8")
        result = run()
        result.assert_outcomes(errors=1)
        assert message in result.stdout.str()
        assert "pytest_plugin.py" not in result.stdout.str(), "a traceback of ours"

    def test_an_unknown_model_fails_its_own_items(self, cases: pytest.Pytester, run: Run) -> None:
        """A mistyped model fails where it is used, and says which names are near."""
        config = '{"providers": {"mistral": {"default_model": "x-y-z"}}}'
        (cases.path / "config.json").write_text(config, encoding="utf-8")
        result = run()
        result.assert_outcomes(failed=2)
        assert "the model 'x-y-z' is unknown" in result.stdout.str()

    def test_recorded_and_replayed(self, cases: pytest.Pytester, run: Run, server: Callable[..., StandIn]) -> None:
        stand_in = server(json.dumps({"name": "Lamp", "price": 20.0}))
        result = run("-k", "lamp")
        result.assert_outcomes(failed=1, deselected=1)
        result.stdout.fnmatch_lines(
            [
                "not recorded: there is no *cassettes/products/lamp/own/one.yaml",
                "to record it: pytest 'cases/products/model.py::lamp?own:one?' --llm-record once",
            ]
        )
        assert stand_in.requests == []
        result = run("-k", "lamp", "--llm-record", "once")
        result.assert_outcomes(passed=1, deselected=1)
        result.stdout.fnmatch_lines(["0 replayed, 1 recorded"])
        result = run("-k", "lamp", "--junitxml", "junit.xml")
        result.assert_outcomes(passed=1, deselected=1)
        result.stdout.fnmatch_lines(["1 replayed, 0 recorded"])
        assert 'value="replayed: 127.0.0.1:' in (cases.path / "junit.xml").read_text(encoding="utf-8")
        assert len(stand_in.requests) == 1

    def test_a_changed_prompt(self, cases: pytest.Pytester, run: Run, server: Callable[..., StandIn]) -> None:
        stand_in = server(json.dumps({"name": "Lamp", "price": 20.0}))
        run("-k", "lamp", "--llm-record", "once").assert_outcomes(passed=1, deselected=1)
        (cases.path / "cases/products/tests/prompts/lamp.txt").write_text("Get the product.", encoding="utf-8")
        result = run("-k", "lamp")
        result.assert_outcomes(failed=1, deselected=1)
        result.stdout.fnmatch_lines(["*-        Extract the product.", "*+        Get the product."])
        run("-k", "lamp", "--llm-record", "rewrite").assert_outcomes(passed=1, deselected=1)
        run("-k", "lamp").assert_outcomes(passed=1, deselected=1)
        assert len(stand_in.requests) == 2

    def test_without_a_key(
        self, cases: pytest.Pytester, run: Run, server: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stand_in = server(json.dumps({"name": "Lamp", "price": 20.0}))
        data = json.loads((cases.path / "config.json").read_text(encoding="utf-8"))
        data["providers"]["own"]["env_key"] = "OWN_API_KEY"
        write_config(cases, data["providers"])
        for mode in ("once", "new_episodes", "all", "rewrite"):
            result = run("-k", "lamp", "--llm-record", mode, "-rs")
            result.assert_outcomes(skipped=1, deselected=1)
            result.stdout.fnmatch_lines(["SKIPPED * cannot be recorded without a key: own: * set OWN_API_KEY in *"])
        assert stand_in.requests == []
        monkeypatch.setenv("OWN_API_KEY", "own-key-0123456789")
        run("-k", "lamp", "--llm-record", "once").assert_outcomes(passed=1, deselected=1)
        monkeypatch.delenv("OWN_API_KEY")
        for mode in ("none", "once", "new_episodes"):
            run("-k", "lamp", "--llm-record", mode).assert_outcomes(passed=1, deselected=1)
        run("-k", "lamp", "--llm-record", "rewrite").assert_outcomes(skipped=1, deselected=1)
        assert len(stand_in.requests) == 1

    def test_a_call_that_fails_while_it_is_recorded(
        self, cases: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        server().faults.append(Fault(status=401))
        result = run("-k", "lamp", "--llm-record", "once")
        result.assert_outcomes(failed=1, deselected=1)
        result.stdout.fnmatch_lines(["products/lamp, own:one: no reply, failed", "*401*"])


class TestOverriddenFixtures:
    def test_the_directory_of_cassettes_in_each_scope(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        """A conftest.py, a module and a class say where their cassettes are, and the closest one wins."""
        stand_in = server()
        directory = "@pytest.fixture(scope='{}')\ndef llm_cassette_dir({}):\n    return '{}'\n"
        pytester.makeconftest("import pytest\n" + directory.format("session", "", "of_session"))
        test = "@pytest.mark.llm_cassette({})\ndef test_{}({}):\n    ask(URL, 'a')\n"
        start = "import os, pytest\nfrom own import ask\nURL = os.environ['URL']\n"
        own = "class TestOwn:\n" + "".join(
            f"    {line}\n"
            for line in (directory.format("class", "self", "of_class") + test.format("", "c", "self")).splitlines()
        )
        pytester.makepyfile(
            test_plain=start + test.format("", "a", "") + test.format("'named'", "b", ""),
            test_module=start + directory.format("module", "", "of_module") + test.format("", "m", "") + own,
        )
        run("--llm-record", "once").assert_outcomes(passed=4)
        files = ["of_class/TestOwn~/test_c.yaml", "of_module/test_m.yaml"]
        files += ["of_session/named.yaml", "of_session/test_a.yaml"]
        assert [re.sub("~[0-9a-f]+", "~", path) for path in recorded(pytester)] == files
        run("--llm-fail-on-unused").assert_outcomes(passed=4)
        assert len(stand_in.requests) == 4

    def test_ignored_paths_and_redacted_values(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        """Both are added to what the config says, and the requests of another day match."""
        server("To Ada Lovelace.", ignore=["$.day"])
        pytester.makeconftest(
            """
            import pytest

            @pytest.fixture
            def llm_ignore():
                return ["$.run"]

            @pytest.fixture
            def llm_redact():
                return ["Ada Lovelace"]
            """
        )
        test = (
            ASKS
            + """
            import httpx

            @pytest.mark.llm_cassette
            def test_it():
                sent = {"run": RUN, "day": RUN, "model": "one", "messages": ["Ada Lovelace"]}
                assert httpx.post(f"{URL}/v1/chat/completions", json=sent).status_code == 200
            """
        )
        pytester.makepyfile(test_day=test.replace("RUN", "1"))
        run("--llm-record", "once").assert_outcomes(passed=1)
        text = (pytester.path / recorded(pytester)[0]).read_text(encoding="utf-8")
        assert (text.count("Lovelace"), text.count("REDACTED"), text.count("IGNORED")) == (0, 2, 2)
        pytester.makepyfile(test_day=test.replace("RUN", "2"))
        run().assert_outcomes(passed=1)

    def test_the_example_of_the_docs(self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]) -> None:
        """The conftest.py of docs/pytest.md does what the page says."""
        server("To ada@example.com.")
        page = (ROOT / "docs/pytest.md").read_text(encoding="utf-8")
        [example] = [text for _, text in FENCE.findall(page) if text.startswith("# conftest.py")]
        pytester.makeconftest(example)
        test = (
            f"{ASKS}\n            def test_it(llm_cassette):\n                ask(URL, 'Write to ada@example.com.')\n"
        )
        pytester.makepyfile(test_example=test)
        run("--llm-record", "once").assert_outcomes(passed=1)
        [file] = recorded(pytester)
        text = (pytester.path / file).read_text(encoding="utf-8")
        assert (text.count("REDACTED"), "ada@" in text, "chatcmpl" in text) == (2, False, False)
        run().assert_outcomes(passed=1)

    def test_a_value_that_is_too_short_to_redact(self, pytester: pytest.Pytester, run: Run) -> None:
        """It is refused, because ordinary text would be redacted with it, and it is not shown."""
        pytester.makepyfile(
            "import pytest\n@pytest.fixture\ndef llm_redact(): return ['Bobby']\ndef test_it(llm_cassette): pass\n"
        )
        result = run("--tb=short")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["llm_redact: a value has fewer than 6 characters*"])
        assert "Bobby" not in result.stdout.str()

    HOOKS = """
            import pytest

            def before_record(interaction):
                sent = interaction.request["body"]["json"]
                if "drop" in str(sent):
                    return None
                sent["messages"][0]["content"] = sent["messages"][0]["content"].replace("Ada", "NAME")
                body = interaction.response["body"]["json"]
                body["choices"][0]["message"]["content"] += " sk-not-a-real-key-0123456789"
                body.pop("id", None)
                return interaction

            @pytest.fixture
            def llm_before_record():
                return before_record
            """

    def test_what_a_function_changes_before_recording_replays(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        """It may change the request as well, is redacted afterwards, and what it drops is not recorded."""
        stand_in = server(lambda body: body["messages"][0]["content"].upper())
        pytester.makeconftest(self.HOOKS)
        test = (
            ASKS
            + """
            @pytest.mark.llm_cassette
            def test_it():
                for words, reply in [("Ada, one", "ADA, ONE"), ("Ada, two", "ADA, TWO")]:
                    assert ask(URL, words).startswith(reply)

            @pytest.mark.llm_cassette
            def test_dropped():
                assert ask(URL, "drop this") == "DROP THIS"
            """
        )
        pytester.makepyfile(test_names=test)
        result = run("--llm-record", "once")
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(["0 replayed, 2 recorded"])
        assert recorded(pytester) == ["cassettes/test_names/test_it.yaml"]
        text = (pytester.path / "cassettes/test_names/test_it.yaml").read_text(encoding="utf-8")
        assert (text.count("NAME, "), text.count("Ada"), text.count("sk-not"), text.count("REDACTED")) == (2, 0, 0, 2)
        result = run("--llm-fail-on-unused")
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["*test_dropped.yaml: this request is not recorded*"])
        pytester.makepyfile(test_names=test.replace("Ada, two", "Ada, three"))
        result = run("-k", "test_it")
        result.assert_outcomes(failed=1, deselected=1)
        result.stdout.fnmatch_lines(["*-*content: NAME, one", "*+*content: NAME, three"])
        assert len(stand_in.requests) == 3

    def test_before_replay_changes_a_copy(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        """The test sees the changed reply, and the file stays as it was recorded."""
        server()
        pytester.makepyfile(
            test_later=ASKS
            + """
            @pytest.fixture
            def llm_before_replay():
                def later(interaction):
                    interaction.response["body"]["json"]["choices"][0]["message"]["content"] += ", later"
                    return interaction
                return later

            @pytest.mark.llm_cassette
            def test_it(llm_cassette):
                assert ask(URL, "a") == ("hello" if llm_cassette.mode == "once" else "hello, later")
            """
        )
        run("--llm-record", "once").assert_outcomes(passed=1)
        before = (pytester.path / recorded(pytester)[0]).read_bytes()
        run().assert_outcomes(passed=1)
        assert (pytester.path / recorded(pytester)[0]).read_bytes() == before

    @pytest.mark.parametrize(
        ("mode", "hook", "body", "message"),
        [
            ("once", "record", "1 / 0", "ZeroDivisionError"),
            ("once", "record", "True", "AttributeError: 'bool'"),
            ("none", "replay", "None", "AttributeError: 'NoneType'"),
        ],
    )
    def test_a_function_that_fails(
        self,
        pytester: pytest.Pytester,
        run: Run,
        server: Callable[..., StandIn],
        mode: str,
        hook: str,
        body: str,
        message: str,
    ) -> None:
        """The test fails with its name and its error, also if the client swallows that."""
        server()
        test = (
            ASKS
            + """
            @pytest.mark.llm_cassette
            def test_it():
                try:
                    ask(URL, "a")
                except Exception:
                    pass
            """
        )
        pytester.makepyfile(test_wrong=test)
        if mode == "none":
            run("--llm-record", "once").assert_outcomes(passed=1)
        pytester.makeconftest(
            f"import pytest\n@pytest.fixture\ndef llm_before_{hook}():\n    return lambda interaction: {body}\n"
        )
        result = run("--llm-record", mode)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        assert f"llm_before_{hook} failed or gave no interaction: {message}" in result.stdout.str()

    def test_cases_have_them(self, cases: pytest.Pytester, run: Run, server: Callable[..., StandIn]) -> None:
        """A case records into the overridden directory, and through the functions."""
        stand_in = server(json.dumps({"name": "Lamp", "price": 99.0}))
        cases.makeconftest(
            """
            import pytest

            @pytest.fixture(scope="module")
            def llm_cassette_dir():
                return "of_cases"

            @pytest.fixture
            def llm_redact():
                return ["Extract the product"]

            @pytest.fixture
            def llm_before_replay():
                def cheaper(interaction):
                    message = interaction.response["body"]["json"]["choices"][0]["message"]
                    message["content"] = message["content"].replace("99", "20")
                    return interaction
                return cheaper
            """
        )
        assert run("-k", "lamp", "--llm-record", "once").ret == pytest.ExitCode.TESTS_FAILED
        assert recorded(cases) == ["of_cases/products/lamp/own/one.yaml"]
        assert "REDACTED." in (cases.path / recorded(cases)[0]).read_text(encoding="utf-8")
        for mode in ("none", "once"):
            run("-k", "lamp", "--llm-record", mode).assert_outcomes(passed=1, deselected=1)
        assert len(stand_in.requests) == 1

    def test_the_contract_kit_has_them(
        self, pytester: pytest.Pytester, run: Run, server: Callable[..., StandIn]
    ) -> None:
        """The kit looks for its recording in the overridden directory, and its calls are redacted and changed."""
        stand_in = server("Blue.")
        pytester.makeconftest(
            """
            import pytest

            @pytest.fixture
            def llm_cassette_dir():
                return "of_kit"

            @pytest.fixture
            def llm_redact():
                return ["one word"]
            """
        )
        pytester.makepyfile(
            test_kit="""
            from llm_tester.testing import ProviderContract

            class TestOwn(ProviderContract):
                provider = "own"
                cassette = "contract.yaml"
                text = "Blue."
            """
        )
        chosen = "test_a_reply_has_text_usage_and_an_honest_cost"
        assert run("-k", chosen, "--llm-record", "once").parseoutcomes()["passed"] == 1
        assert recorded(pytester) == ["of_kit/contract.yaml"]
        assert "REDACTED: what" in (pytester.path / "of_kit/contract.yaml").read_text(encoding="utf-8")
        assert run("-k", chosen).parseoutcomes()["passed"] == 1
        assert len(stand_in.requests) == 1


class TestMeanAccuracy:
    @pytest.fixture
    def half(self, cases: pytest.Pytester) -> pytest.Pytester:
        """Two cases with a mean of 50, which pass each by itself."""
        cases.makeini("[pytest]\nllm_cases = cases\nllm_min_accuracy = 0\n")
        return cases

    @pytest.mark.parametrize("workers", [(), ("-n", "2")])
    def test_a_session_that_is_below_fails(self, half: pytest.Pytester, run: Run, workers: tuple[str, ...]) -> None:
        """Each case passes, and the exit status and the summary say that all together do not; with workers as well."""
        result = run("--llm-min-mean-accuracy", "72.5", *workers)
        result.assert_outcomes(passed=2)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["FAIL: the mean accuracy of 2 cases is 50.00, 22.5 below the wanted 72.5"])

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (("--llm-min-mean-accuracy", "50"), pytest.ExitCode.OK),
            (("-o", "llm_min_mean_accuracy=50.1"), pytest.ExitCode.TESTS_FAILED),
            (("-o", "llm_min_mean_accuracy=90", "--llm-min-mean-accuracy", "0"), pytest.ExitCode.OK),
            (("-o", "llm_min_mean_accuracy=90", "-k", "lamp"), pytest.ExitCode.OK),
            (("-o", "llm_min_mean_accuracy=90", "-m", "not llm_case"), pytest.ExitCode.NO_TESTS_COLLECTED),
        ],
    )
    def test_which_number_counts(
        self, half: pytest.Pytester, run: Run, arguments: tuple[str, ...], code: pytest.ExitCode
    ) -> None:
        """The option overrides the setting, and only the cases that ran count."""
        result = run(*arguments)
        assert result.ret == code
        assert ("FAIL: " in result.stdout.str()) == (code == pytest.ExitCode.TESTS_FAILED)

    @pytest.mark.parametrize("wanted", ["most", "101", "nan", "a=5"])
    def test_what_is_no_accuracy(self, half: pytest.Pytester, run: Run, wanted: str) -> None:
        """A mistyped gate is no gate, so the session does not start."""
        result = run("--llm-min-mean-accuracy", wanted)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert f"llm_min_mean_accuracy: found '{wanted}', expected 0 to 100\n" in shown(result)


class TestCosts:
    @pytest.fixture
    def priced(self, cases: pytest.Pytester, server: Callable[..., StandIn]) -> pytest.Pytester:
        """A priced provider over HTTP, and a mock without a price; a case and a test."""
        server(json.dumps({"name": "Lamp", "price": 20.0}))
        providers = json.loads((cases.path / "config.json").read_text(encoding="utf-8"))["providers"]
        providers["own"]["models"] = [{"name": "one", "cost_input": 1000, "cost_output": 1000}]
        mock = {"provider_type": "mock", "env_key": "", "models": ["m1"], "mock": {"replies": {"*": "{}"}}}
        write_config(cases, {**providers, "fake": mock})
        cases.makepyfile(
            test_calls="""
            def test_calls(llm_provider):
                assert llm_provider("own").get_response("Extract.", "A lamp.")[1].total_tokens == 120

            def test_tester(llm_tester):
                assert len(llm_tester("own").run_tests(["products/lamp"]).results) == 1
            """
        )
        return cases

    @pytest.mark.parametrize("workers", [(), ("-n", "2")])
    def test_what_the_session_cost(self, priced: pytest.Pytester, run: Run, workers: tuple[str, ...]) -> None:
        """By provider: how it replied, the tokens, what was spent, and what the recordings cost that replayed."""
        chosen = ("-k", "lamp or test_calls or test_tester", *workers)
        result = run(*chosen, "--llm-record", "once")
        result.stdout.fnmatch_lines(["0 replayed, 3 recorded", "fake: 1 live; * tokens; spent unknown"])
        result.stdout.fnmatch_lines(["own: 3 recorded; 360 tokens; spent $0.3600"])
        result = run(*chosen)
        result.stdout.fnmatch_lines(["own: 3 replayed; 360 tokens; spent $0; the recordings cost $0.3600"])

    def test_nothing_is_said_if_nothing_ran(self, pytester: pytest.Pytester, run: Run) -> None:
        """A session without calls has no section of ours."""
        pytester.makepyfile("def test_it(): pass")
        assert "= llm_tester =" not in run().stdout.str()


class TestOneScreen:
    SCREEN = 50

    @pytest.fixture
    def failing(self, pytester: pytest.Pytester, server: Callable[..., StandIn]) -> pytest.Pytester:
        """Tests that meet a 401 in each way, through a helper of theirs and a provider's class."""
        server().faults += [Fault(status=401)] * 99
        pytester.makepyfile(
            test_error="""
            import asyncio, pytest
            from llm_tester.errors import ProviderError

            def helper(llm_provider):
                return llm_provider("own").get_response("Greet.", "")

            def test_direct(llm_provider):
                assert helper(llm_provider)

            def test_followed(llm_provider):
                try:
                    helper(llm_provider)
                except ProviderError as error:
                    raise AssertionError("of the test") from error

            def test_grouped(llm_provider):
                async def ask():
                    helper(llm_provider)

                async def main():
                    async with asyncio.TaskGroup() as group:
                        group.create_task(ask())

                asyncio.run(main())

            @pytest.fixture
            def reply(llm_provider):
                return helper(llm_provider)

            def test_set_up(reply):
                pass
            """
        )
        return pytester

    @pytest.mark.parametrize("name", ["direct", "followed", "grouped", "set_up"])
    @pytest.mark.parametrize("style", [(), ("--tb=short",)])
    def test_a_provider_error(self, failing: pytest.Pytester, run: Run, name: str, style: tuple[str, ...]) -> None:
        """The report shows the test's own lines and the message, and nothing of what lies below them."""
        result = run("--llm-record", "once", "-k", name, *style)
        text = result.stdout.str().partition("= FAILURES =" if name != "set_up" else "= ERRORS =")[2]
        text = text.partition("short test summary")[0]
        assert text.count("\n") <= self.SCREEN
        assert "own, one: the key was refused" in text
        assert 'llm_provider("own").get_response("Greet.", "")' in text
        assert "--tb=long shows the whole traceback" in text
        assert not re.search("attempts.py|httpx|own.py", text)

    @pytest.mark.parametrize("style", ["--tb=long", "--tb=native", "--full-trace"])
    def test_the_whole_traceback(self, failing: pytest.Pytester, run: Run, style: str) -> None:
        """What is asked for is shown: the package, the provider's class and the HTTP client."""
        text = run("--llm-record", "once", "-k", "direct", style).stdout.str()
        assert all(part in text for part in ("attempts.py", "own.py", "httpx"))

    def test_a_plugin_finds_the_whole_error(self, failing: pytest.Pytester, run: Run) -> None:
        """A debugger or another plugin, which looks after the report, gets the cause and each frame."""
        failing.makeconftest(
            """
            def pytest_exception_interact(call):
                frames = [entry.path.name for entry in call.excinfo.traceback]
                cause = call.excinfo.value.__cause__
                print("FOUND", type(cause).__name__, "attempts.py" in str(frames))
            """
        )
        run("--llm-record", "once", "-k", "direct", "-s").stdout.fnmatch_lines(["*FOUND HTTPStatusError True"])
