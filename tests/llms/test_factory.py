"""How a provider comes to be: entries, classes, packages, and what is refused."""

import json
import logging
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from llm_tester.errors import ConfigError, UnknownModelError
from llm_tester.llms import llm_registry, provider_factory
from llm_tester.llms.base import BaseLLM, ModelConfig, ProviderConfig
from llm_tester.llms.provider_factory import (
    create_provider,
    discover_provider_classes,
    get_available_providers,
    load_external_providers,
    load_provider_config,
    register_external_provider,
    register_provider_class,
    validate_provider_implementation,
)
from llm_tester.utils.provider_manager import ProviderManager

Write = Callable[..., Path]
GROQ = {"groq": {"models": ["llama-3.3-70b-versatile"]}}


class Echo(BaseLLM):
    """A user's provider, with the four arguments and nothing else."""

    def _call_llm_api(
        self, prompt: str, system_prompt: str, model_name: str, model_config: ModelConfig
    ) -> tuple[str, dict[str, Any]]:
        return f"{model_name}: {prompt}", {"prompt_tokens": 3, "completion_tokens": 2, "unheard_of": 1}


def test_three_lines_are_a_provider(write_config: Write) -> None:
    write_config(GROQ)
    provider = create_provider("groq")
    assert isinstance(provider, BaseLLM)
    assert type(provider).__name__ == "GroqProvider"
    assert type(provider) is type(create_provider("groq"))
    assert provider.get_default_model() == "llama-3.3-70b-versatile"
    assert provider.key_variables() == ("GROQ_API_KEY",)
    assert repr(provider) == "<GroqProvider 'groq' type='groq' models: llama-3.3-70b-versatile>"


def test_a_model_that_is_not_listed_but_known_can_be_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    provider = create_provider("openai")
    known = provider.get_model_config("gpt-4o")
    assert (known.name, known.cost_input, known.max_output_tokens) == ("gpt-4o", 2.5, 16384)
    assert provider.get_model_config("gpt-4oo") is None
    assert "gpt-4o" in caplog.text
    with pytest.raises(UnknownModelError, match="did you mean") as caught:
        provider.get_response("a", "b", "gpt-4oo")
    assert (caught.value.provider, caught.value.model) == ("openai", "gpt-4oo")


def test_an_unknown_name_gives_none_and_logs_near_names(caplog: pytest.LogCaptureFixture) -> None:
    assert create_provider("opena") is None
    assert load_provider_config("opena") is None
    assert llm_registry.get_llm_provider("opena") is None
    assert "openai" in caplog.text


@pytest.mark.parametrize("name", ["mock", "openai", "pydantic_ai", "groq"])
def test_instances_are_picklable(name: str, write_config: Write) -> None:
    write_config(GROQ)
    provider = create_provider(name)
    copy = pickle.loads(pickle.dumps(provider))
    assert type(copy) is type(provider)
    assert copy.config == provider.config  # type: ignore[union-attr]


def test_an_instance_unpickles_in_another_process(write_config: Write, tmp_path: Path) -> None:
    write_config(GROQ)
    (tmp_path / "groq.pickle").write_bytes(pickle.dumps(create_provider("groq")))
    code = "import pickle, pathlib; print(pickle.loads(pathlib.Path('groq.pickle').read_bytes()))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert shown.stdout.startswith("<GroqProvider 'groq'")


@pytest.mark.parametrize(
    ("provider_type", "message"),
    [
        ("opanai", "did you mean 'openai'"),
        ("no.such.module:Thing", "cannot be imported"),
        ("llm_tester.llms.base:BaseLLMM", "did you mean 'BaseLLM'"),
        ("llm_tester.llms.base:ModelConfig", "is not a subclass"),
        ("llm_tester.llms.base:BaseLLM", "does not define _call_llm_api"),
    ],
)
def test_a_wrong_provider_type_says_why(provider_type: str, message: str, write_config: Write) -> None:
    write_config({"x": {"provider_type": provider_type, "models": ["m"]}})
    with pytest.raises(ConfigError, match=message):
        create_provider("x")


def test_a_provider_type_may_name_a_class(write_config: Write) -> None:
    write_config({"mine": {"provider_type": "test_factory:Echo", "models": ["m"], "env_key": ""}})
    provider = create_provider("mine")
    text, usage = provider.get_response("Say.", "This.")
    assert text == "m: Say.\n\nSource Text:\nThis."
    assert (usage.total_tokens, usage.total_cost, usage.price) == (5, None, None)


def test_a_class_can_be_registered_without_any_config() -> None:
    register_provider_class("echo", Echo)
    provider = llm_registry.get_llm_provider("echo")
    assert type(provider) is Echo
    assert provider.get_response("Say.", "This.", "any")[0].startswith("any: ")
    llm_registry.reset_provider_cache()
    assert llm_registry.get_llm_provider("echo") is None


def test_an_external_file_brings_classes_with_and_without_config(tmp_path: Path, write_config: Write) -> None:
    (tmp_path / "own.json").write_text('{"models": ["one", "two"], "env_key": ""}')
    external = {
        "with": {"module": "test_factory", "class": "Echo", "config_path": "own.json"},
        "without": {"module": "test_factory", "class": "Echo"},
    }
    write_config()
    (tmp_path / "external_providers.json").write_text(json.dumps(external))
    assert {"with", "without"} <= set(get_available_providers())
    with_config, without = create_provider("with"), create_provider("without")
    assert [model.name for model in with_config.config.models] == ["one", "two"]
    assert without.get_response("a", "b")[0].startswith("default: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": {"module": "test_factory"}}, "x.class: Field required"),
        ({"x": {"module": "test_factory", "class": "Echo", "klass": 1}}, "x.klass: an unknown field"),
        ({"x": {"module": "test_factory", "class": "Echo", "config_path": "gone.json"}}, "there is no file"),
        ({"x": "test_factory:Echo"}, "x.module: Field required"),
    ],
)
def test_a_bad_external_file_names_the_place(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "external_providers.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message) as caught:
        load_external_providers(path)
    assert str(path) in str(caught.value)


def test_an_external_class_is_imported_only_when_it_is_asked_for() -> None:
    register_external_provider("later", "no.such.module", "Thing")
    assert "later" in get_available_providers()
    with pytest.raises(ConfigError, match="cannot be imported"):
        create_provider("later")


def test_an_entry_point_brings_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "from_afar.py").write_text(
        textwrap.dedent("""
        from llm_tester.llms.base import BaseLLM
        class Afar(BaseLLM):
            def _call_llm_api(self, prompt, system_prompt, model_name, model_config):
                return "from afar", {}
        """)
    )
    info = tmp_path / "from_afar-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: from-afar\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[llm_tester.providers]\nafar = from_afar:Afar\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    provider = create_provider("afar")
    assert provider.get_response("a", "b")[0] == "from afar"


class NoCall(BaseLLM):
    pass


class LacksOne(Echo):
    def _call_llm_api(self, prompt: str, system_prompt: str, model_name: str) -> Any:  # type: ignore[override]
        return "", {}


class OtherOrder(Echo):
    def _call_llm_api(self, system_prompt, prompt, model_name, model_config):  # type: ignore[no-untyped-def]
        return "", {}


class OtherInit(Echo):
    def __init__(self, one: int, two: int) -> None:
        super().__init__()


class TakesAnything(Echo):
    def _call_llm_api(self, *args: Any, **kwargs: Any) -> Any:
        return str(sorted(kwargs)), {}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (NoCall, "does not define _call_llm_api"),
        (LacksOne, "expected ['prompt', 'system_prompt'"),
        (OtherOrder, "expected ['prompt', 'system_prompt'"),
        (OtherInit, "its __init__ must accept"),
        (dict, "is not a subclass"),
        ("Echo", "is not a subclass"),
    ],
)
def test_a_refused_class_says_why(kind: Any, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    assert validate_provider_implementation(kind) is False
    assert reason in caplog.text
    with pytest.raises(ConfigError):
        register_provider_class("x", kind)


@pytest.mark.parametrize("kind", [Echo, TakesAnything])
def test_a_good_class_is_accepted(kind: type[BaseLLM]) -> None:
    assert validate_provider_implementation(kind) is True


def test_optional_arguments_reach_only_classes_that_accept_them() -> None:
    register_provider_class("anything", TakesAnything)
    provider = create_provider("anything")
    assert provider.get_response("a", "b")[0] == "['files', 'model_class', 'timeout']"


def test_a_broken_provider_is_left_out_and_logged(write_config: Write, caplog: pytest.LogCaptureFixture) -> None:
    write_config({"bad": {"provider_type": "nonsense", "models": ["m"]}, **GROQ})
    classes = discover_provider_classes()
    assert "bad" not in classes
    assert "groq" in classes
    assert "providers.bad.provider_type" in caplog.text
    manager = ProviderManager(["bad", "groq", "nobody"])
    assert list(manager.provider_instances) == ["groq"]
    assert "nonsense" in manager.initialization_errors["bad"]
    assert "there is no provider 'nobody'" in manager.initialization_errors["nobody"]
    with pytest.raises(ConfigError, match="nonsense"):
        manager.get_response("bad", "a", "b")


def test_64_threads_get_one_class_and_one_instance_a_name(write_config: Write) -> None:
    names = ["groq", "openai", "mock", "pydantic_ai"]
    for _ in range(5):
        write_config(GROQ)
        barrier = Barrier(64)

        def ask(index: int, barrier: Barrier = barrier) -> tuple[str, BaseLLM | None, type[BaseLLM]]:
            name = names[index % len(names)]
            barrier.wait()
            return name, llm_registry.get_llm_provider(name), type(create_provider(name))  # type: ignore[arg-type]

        with ThreadPoolExecutor(64) as pool:
            found = list(pool.map(ask, range(64)))
        for name in names:
            assert len({id(instance) for asked, instance, _ in found if asked == name}) == 1
            assert len({kind for asked, _, kind in found if asked == name}) == 1


def test_get_provider_info(write_config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config({**GROQ, "bad": {"provider_type": "nonsense", "models": ["m"]}})
    info = llm_registry.get_provider_info("groq")
    assert info["available"] is True
    assert (info["key_variable"], info["key_set"]) == ("GROQ_API_KEY", False)
    assert "GROQ_API_KEY" in info["missing_key"]
    monkeypatch.setenv("GROQ_API_KEY", "something")
    assert llm_registry.get_provider_info("groq")["missing_key"] is None
    assert "nonsense" in llm_registry.get_provider_info("bad")["problem"]
    assert llm_registry.get_provider_info("nobody")["available"] is False
    assert "groq" in llm_registry.discover_providers()


def test_one_reset_clears_all_layers(write_config: Write) -> None:
    path = write_config(GROQ)
    before = llm_registry.get_llm_provider("groq")
    path.write_text('{"providers": {"groq": {"models": ["other"]}}}')
    assert llm_registry.get_llm_provider("groq") is before
    llm_registry.reset_provider_cache()
    after = llm_registry.get_llm_provider("groq")
    assert after.get_default_model() == "other"


@pytest.mark.parametrize(
    "count", [-1, 1.5, float("nan"), float("inf"), True, "12", 10**1000, None, {}], ids=lambda count: str(count)[:9]
)
def test_an_impossible_count_is_a_note_and_no_cost(count: Any) -> None:
    """Whatever number a provider reports, its paid reply is kept, and the cost is unknown instead of wrong."""

    class Odd(Echo):
        def _call_llm_api(self, *args: Any) -> Any:
            return "text", {"prompt_tokens": count, "completion_tokens": 5 if count is not None else None}

    models = ({"name": "m", "cost_input": 1, "cost_output": 1},)
    config = ProviderConfig.model_validate({"name": "x", "provider_type": "x", "models": models})
    text, usage = Odd(config).get_response("a", "b")
    assert (text, usage.total_cost) == ("text", None)
    assert usage.notes


def test_a_reply_that_is_no_text_is_unusable() -> None:
    """A class that returns None for a text says so."""
    from llm_tester.errors import UnusableReplyError

    class NoText(Echo):
        def _call_llm_api(self, *args: Any) -> Any:
            return None, {}

    with pytest.raises(UnusableReplyError, match="expected a text"):
        NoText(ProviderConfig(name="x", provider_type="x")).get_response("a", "b")


def test_logging_is_quiet_by_default(write_config: Write, caplog: pytest.LogCaptureFixture) -> None:
    write_config(GROQ)
    with caplog.at_level(logging.INFO):
        create_provider("groq")
    assert caplog.text == ""
    assert provider_factory.get_available_providers()


BROKEN = {
    "import": ("raise RuntimeError('no licence')\n", "RuntimeError: no licence", 1),
    "exit": ("import sys\n\nsys.exit('not on this machine')\n", "SystemExit: not on this machine", 3),
    "syntax": ("x = 1\ndef (:\n", "SyntaxError: invalid syntax", 2),
    "missing": ("import no_such_package_at_all\n", "ModuleNotFoundError: No module named 'no_such_package_at_all'", 1),
    "init": (
        "from llm_tester.llms.base import BaseLLM\n"
        "class Thing(BaseLLM):\n"
        "    def __init__(self, config=None):\n"
        "        raise ZeroDivisionError('1/0')\n"
        "    def _call_llm_api(self, prompt, system_prompt, model_name, model_config):\n"
        "        return '', {}\n",
        "ZeroDivisionError: 1/0",
        4,
    ),
}


@pytest.mark.parametrize("way", ["external_providers.json", "provider_type"])
@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_an_exception_in_a_providers_code_is_its_initialization_error(
    kind: str, way: str, tmp_path: Path, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the provider, the module, the place and the cause, and the other providers start."""
    code, cause, line = BROKEN[kind]
    name = f"broken_{kind}_{way[:8]}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    entries: dict[str, Any] = dict(GROQ)
    if way == "provider_type":
        entries["mine"] = {"provider_type": f"{name}:Thing", "models": ["m"]}
    else:
        (tmp_path / way).write_text(json.dumps({"mine": {"module": name, "class": "Thing"}}))
    write_config(entries)
    manager = ProviderManager(["mine", "groq"])
    assert list(manager.provider_instances) == ["groq"]
    message = manager.initialization_errors["mine"]
    assert message.startswith("mine: ")
    assert name in message
    assert f"{tmp_path / name}.py, line {line} raised {cause}" in message
    assert "Traceback" not in message
    assert "groq" in discover_provider_classes()
    assert llm_registry.get_provider_info("mine")["problem"] == message
    with pytest.raises(ConfigError, match="mine: "):
        create_provider("mine")


def test_an_init_that_forgets_the_config_says_so(write_config: Write) -> None:
    write_config({"x": {"provider_type": "test_factory:Forgetful", "models": ["m"]}})
    with pytest.raises(ConfigError, match=r"does not call super\(\).__init__\(config\)"):
        create_provider("x")


class Forgetful(Echo):
    def __init__(self, config: ProviderConfig | None = None) -> None:
        pass


def test_a_key_in_what_a_constructor_raises_is_redacted(write_config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUOTED_API_KEY", "canary-0123456789-canary")
    write_config({"x": {"provider_type": "test_factory:Quoting", "models": ["m"], "env_key": "QUOTED_API_KEY"}})
    with pytest.raises(ConfigError) as caught:
        create_provider("x")
    assert "canary-0123456789" not in str(caught.value)


class Quoting(Echo):
    def __init__(self, config: ProviderConfig | None = None) -> None:
        raise ValueError("the key canary-0123456789-canary is refused")


def test_prices_and_limits_come_from_litellms_data(write_config: Write) -> None:
    """Prices and limits that were not written are derived from LiteLLM's data, not None."""
    write_config({"openai": {"models": ["gpt-4o", {"name": "gpt-4o-mini", "cost_input": 9, "cost_output": 9}]}})
    provider = create_provider("openai")
    known = provider.get_model_config("gpt-4o")
    assert (known.cost_input, known.cost_output, known.cost_cached_input) == (2.5, 10.0, 1.25)
    assert (known.max_input_tokens, known.max_output_tokens) == (128000, 16384)
    written = provider.get_model_config("gpt-4o-mini")
    assert (written.cost_input, written.max_input_tokens) == (9.0, 128000)
