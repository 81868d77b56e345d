"""How a model is asked for the wanted class: natively, in the prompt or not at all, and what really goes out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import WIRES, wire_entry
from console import litellm_environment, run_python
from pydantic import BaseModel, RootModel
from pydantic_ai.providers import infer_provider_class
from standins import Reply, StandIn

from llm_tester import LLMTester, catalog
from llm_tester.errors import BadRequestError
from llm_tester.llms import litellm_backend, pydantic_ai_backend
from llm_tester.llms.base import BaseLLM, ModelConfig
from llm_tester.llms.llm_registry import get_llm_provider, get_provider_info
from llm_tester.llms.provider_factory import register_provider_class

Write = Callable[..., Path]
ANSWER = '{"name": "Lamp", "zeta_price": 39.9}'


class Product(BaseModel):
    name: str
    zeta_price: float


class Products(RootModel[list[Product]]):
    pass


class Parrot(BaseLLM):
    """A user's own class, which takes the four arguments only."""

    def _call_llm_api(
        self, prompt: str, system_prompt: str, model_name: str, model_config: ModelConfig
    ) -> tuple[str, dict[str, Any]]:
        return prompt, {}


class Native(Parrot):
    """A user's own class that sends the schema itself."""

    def _call_llm_api(  # type: ignore[override]
        self,
        prompt: str,
        system_prompt: str,
        model_name: str,
        model_config: ModelConfig,
        *,
        model_class: type[BaseModel] | None = None,
    ) -> tuple[str, dict[str, Any]]:
        return f"{model_class and model_class.__name__}: {prompt}", {}


class OldStyle(Parrot):
    """A user's own class that overrides the whole interface, which has no class in it."""

    def get_response(self, prompt: str, source: str, model_name: str | None = None) -> Any:  # type: ignore[override]
        return super().get_response(prompt, source, model_name)


@pytest.fixture
def sent(standin: Callable[..., StandIn], write_config: Write, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Asks for a class over a wire; the provider, and the body of each request."""
    monkeypatch.setenv("WIRE_API_KEY", "a-key-of-no-one")

    def run(wire: str, wanted: type[BaseModel] = Product, **more: Any) -> tuple[BaseLLM, list[dict[str, Any]]]:
        server = standin(Reply(ANSWER))
        write_config({"wire": {**wire_entry(wire, server.url), **more}})
        provider = get_llm_provider("wire")
        provider.get_response("Extract.", "A lamp.", model_class=wanted)
        return provider, [request.body for request in server.requests]

    return run


def in_prompt(body: dict[str, Any]) -> bool:
    """Whether the schema is in the messages."""
    messages = {name: body[name] for name in ("messages", "contents", "system") if name in body}
    return "zeta_price" in json.dumps(messages)


def anywhere_else(body: dict[str, Any]) -> bool:
    rest = {name: value for name, value in body.items() if name not in ("messages", "contents", "system")}
    return "zeta_price" in json.dumps(rest)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("wish", ["auto", "native", "prompt", "off"])
def test_each_mode_sends_the_schema_where_it_says(wire: str, wish: str, sent: Callable[..., Any]) -> None:
    if wire == "pydantic-mistral" and wish == "native":
        with pytest.raises(
            BadRequestError, match=r"PydanticAI sends mistral no response schema.*\"auto\" or \"prompt\""
        ):
            sent(wire, structured_output=wish)
        return
    provider, [body] = sent(wire, structured_output=wish)
    mode = provider.schema_mode(None, Product)
    assert (mode == wish) or (wish == "auto" and mode == ("prompt" if wire == "pydantic-mistral" else "native"))
    assert (in_prompt(body), anywhere_else(body)) == (mode == "prompt", mode == "native")


def test_the_schema_in_the_prompt_is_whole_and_says_what_to_do(sent: Callable[..., Any]) -> None:
    _, [body] = sent("openai", structured_output="prompt")
    text = body["messages"][-1]["content"]
    assert text.startswith("Extract.\n\nSource Text:\nA lamp.\n\nReply with JSON only")
    assert json.loads(text.rpartition("JSON Schema:\n")[2]) == Product.model_json_schema()


def test_a_model_that_takes_no_schema_gets_it_in_the_prompt(sent: Callable[..., Any]) -> None:
    models = [{"name": "gpt-4o", "supports_schema": False}]
    provider, [body] = sent("openai", models=models)
    assert provider.schema_mode() == "prompt"
    assert in_prompt(body)


def test_the_schema_of_a_list_goes_into_the_prompt(sent: Callable[..., Any]) -> None:
    """No API takes a response schema that is not an object."""
    provider, [body] = sent("openai", Products)
    assert (provider.schema_mode(), provider.schema_mode(None, Products)) == ("native", "prompt")
    assert in_prompt(body)


def test_a_class_of_the_users_own_gets_it_in_the_prompt_unless_it_takes_the_class(write_config: Write) -> None:
    models = [{"name": "m", "supports_schema": True}]
    write_config(
        {
            name: {"provider_type": f"test_schema:{kind}", "models": models, "env_key": "", **more}
            for name, kind, more in (
                ("parrot", "Parrot", {}),
                ("native", "Native", {}),
                ("old", "OldStyle", {}),
                ("forced", "Parrot", {"structured_output": "native"}),
            )
        }
    )
    replies, modes = {}, {}
    for name in ("parrot", "native", "old"):
        provider = get_llm_provider(name)
        modes[name] = provider.schema_mode(None, Product)
        more: dict[str, Any] = {} if name == "old" else {"model_class": Product}
        replies[name] = provider.get_response("Say.", "This.", **more)[0]
    assert modes == {"parrot": "prompt", "native": "native", "old": "off"}
    assert "zeta_price" in replies["parrot"]
    assert replies["native"] == "Product: Say.\n\nSource Text:\nThis."
    assert "zeta_price" not in replies["old"]
    forced = get_llm_provider("forced")
    with pytest.raises(BadRequestError, match="does not take model_class"):
        forced.get_response("Say.", "This.", model_class=Product)


def test_drop_params_does_not_drop_the_schema_silently(sent: Callable[..., Any]) -> None:
    """LiteLLM leaves it out without a word for a model that it thinks takes none."""
    models = [{"name": "morph-v3-fast", "supports_schema": True}]
    entry = {"provider_type": "morph", "models": models, "params": {"drop_params": True}}
    with pytest.raises(BadRequestError, match='write "structured_output": "prompt"'):
        sent("openai", **entry)
    _, [body] = sent("openai", **entry, structured_output="prompt")
    assert in_prompt(body)


def test_a_route_that_refuses_schemas_gets_it_in_the_prompt(write_config: Write) -> None:
    """LiteLLM's data says that the model takes one; its Cohere route refuses it all the same."""
    model = "command-a-plus-05-2026"
    write_config({"cohere": {"models": [model]}, "forced": {"provider_type": "cohere", "models": [model]}})
    provider = get_llm_provider("cohere")
    assert (catalog.model_entry("cohere", model) or {})["supports_response_schema"]
    assert provider.schema_mode() == "prompt"


ASK_LITELLM = """
import json, logging, sys
import litellm
litellm.suppress_debug_info = True
logging.disable(logging.CRITICAL)
answer = {}
for slug, model in json.load(sys.stdin):
    supported = litellm.get_supported_openai_params(model=model, custom_llm_provider=slug)
    if supported is None:  # as LiteLLM itself does for such routes
        supported = litellm.get_supported_openai_params(model=model, custom_llm_provider="openai")
    answer.setdefault(slug, []).append("response_format" in supported)
print(json.dumps(answer))
"""


def test_the_routes_without_a_schema_are_those_of_litellm() -> None:
    """Of all routes that have a model of which LiteLLM's data says that it takes a response schema."""
    models = [
        (slug, model)
        for slug in sorted(catalog.known_slugs() - {"chatgpt", "github_copilot"})
        for model in catalog.model_names(slug)
        if (catalog.model_entry(slug, model) or {}).get("supports_response_schema")
    ]
    run = run_python(ASK_LITELLM, env=litellm_environment(), stdin=json.dumps(models))
    assert run.returncode == 0, run.stderr
    taken: dict[str, list[bool]] = json.loads(run.stdout.splitlines()[-1])
    # The two routes for text completion take the parameter, and then fail at it.
    refusing = {slug for slug, each in taken.items() if not any(each)} | {"azure_text", "text-completion-openai"}
    assert len(taken) > 50
    assert refusing == set(litellm_backend._WITHOUT_SCHEMA.split()) & taken.keys()


@pytest.mark.parametrize("vendor", pydantic_ai_backend._TAKE_SCHEMA)
def test_pydantic_ai_sends_these_vendors_a_schema_for_any_model(vendor: str) -> None:
    """llm_tester does not import PydanticAI to say so."""
    models = catalog.model_names(pydantic_ai_backend._SLUGS.get(vendor, vendor))
    profile = infer_provider_class(vendor).model_profile
    assert len(models) > 20
    assert not [name for name in [*models, "a-new-one"] if not (profile(name) or {}).get("supports_json_schema_output")]


def test_the_mode_is_in_the_results_and_among_the_providers(write_config: Write, tmp_path: Path) -> None:
    register_provider_class("unused", Parrot)
    write_config(
        {
            "m": {"provider_type": "mock", "models": ["m"], "env_key": ""},
            "p": {"provider_type": "mock", "models": ["m"], "env_key": "", "structured_output": "off"},
            "c": {"provider_type": "cohere", "models": ["command-r-08-2024"], "structured_output": "native"},
        }
    )
    module = tmp_path / "cases" / "products"
    for folder in ("sources", "prompts", "expected"):
        (module / "tests" / folder).mkdir(parents=True)
    (module / "model.py").write_text("from pydantic import BaseModel\nclass Model(BaseModel):\n    name: str\n")
    (module / "tests" / "sources" / "lamp.txt").write_text("A lamp.")
    (module / "tests" / "prompts" / "lamp.txt").write_text("Extract.")
    (module / "tests" / "expected" / "lamp.json").write_text('{"name": "Lamp"}')
    results = LLMTester(["m", "p"]).run_tests().results
    assert [(result.provider, result.schema_mode) for result in results] == [("m", "native"), ("p", "off")]
    info = get_provider_info("c")
    assert info["schema_mode"] is None
    assert "takes no response schema" in info["schema_problem"]


def test_an_unknown_schema_mode_names_its_place(write_config: Write) -> None:
    from llm_tester.errors import ConfigError

    write_config({"m": {"provider_type": "mock", "models": ["m"], "structured_output": "sometimes"}})
    with pytest.raises(ConfigError, match=r"providers\.m\.structured_output: found 'sometimes'"):
        get_llm_provider("m")
