"""Every place that a key comes from, every place that we write, every encoding: no key is found anywhere."""

import base64
import contextlib
import gzip
import io
import json
import logging
import secrets
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter
from sample_cases import LAMP, openai_entry, write_case
from standins import Fault, StandIn

from llm_tester import BaseLLM, ProviderError, ProviderManager
from llm_tester.__main__ import main
from llm_tester.cassettes.scan import scan
from llm_tester.cassettes.secrets import Scrubber
from llm_tester.llms.llm_registry import reset_provider_cache
from llm_tester.llms.provider_factory import register_provider_class

MODES = ("off", "once", "none", "auto")
# By where it comes from; no name of a variable but those of the first three and the last says that it holds a key.
SOURCES = ("environment", "dotenv", "login", "header", "body", "query", "url_part", "vendor_jwt")
KEYS = {source: f"canary-{source[:3]}/{secrets.token_hex(10)}+{secrets.token_urlsafe(9)}=" for source in SOURCES}
VARIABLES = {
    "environment": "ACME_API_KEY",
    "dotenv": "DOTTED_API_KEY",
    "login": "AZURE_API_KEY",
    "header": "HEADER_WORD",
    "body": "BODY_WORD",
    "query": "QUERY_TOKEN",
    "url_part": "PART_TOKEN",
    "vendor_jwt": "SNOWFLAKE_JWT",
}


def encodings(key: str) -> dict[str, str]:
    """A key in every encoding that a reply may quote it in."""
    data = key.encode()
    return {
        "plain": key,
        "upper case": key.upper(),
        "lower case": key.lower(),
        "spaced": " ".join(key),
        "line break": f"{key[:11]}\n  {key[11:]}",
        "hex": data.hex(),
        "upper-case hex": data.hex().upper(),
        "base64": base64.b64encode(data).decode(),
        "base64 of a login": base64.b64encode(b"u:" + data).decode(),
        "base64 for URLs": base64.urlsafe_b64encode(data).decode(),
        "base64 in lines": base64.encodebytes(b"-" * 45 + data).decode(),
        "base32": base64.b32encode(data).decode(),
        "lower-case base32": base64.b32encode(b"u:" + data).decode().lower(),
        "gzip": base64.b64encode(gzip.compress(b"the key is " + data)).decode(),
        "percent": quote(key, safe=""),
        "every character percent": "".join(f"%{byte:02x}" for byte in data),
        "JSON": json.dumps({"a": json.dumps({"key": key}).replace("/", "\\/")}),
        "JSON escapes": "".join(f"\\u{ord(character):04x}" for character in key),
    }


def pieces(key: str) -> dict[str, str]:
    """What of each encoding must be in no output: without what it shares with its neighbours."""
    found = {name: text.strip("=\n") for name, text in encodings(key).items()}
    return {name: text[4:-4] if "base" in name else key if name == "JSON" else text for name, text in found.items()}


ALL = " ; ".join(text for key in KEYS.values() for text in encodings(key).values())


class Acme(BaseLLM):
    """A user's class that puts keys into the path, the query, a header and the body of its request."""

    def _call_llm_api(
        self, prompt: str, system_prompt: str, model_name: str, model_config: Any
    ) -> tuple[str, dict[str, Any]]:
        url = f"{self.config.api_base}/{quote(KEYS['url_part'], safe='')}/chat/completions"
        body = {"model": model_name, "messages": prompt, "password": KEYS["body"], "api_key": "unknown-to-anyone"}
        query = {"auth": KEYS["query"], "pwd": "unknown-to-anyone"}
        reply = httpx.post(url, params=query, json=body, headers={"x-api-key": KEYS["header"]}, trust_env=False)
        reply.raise_for_status()
        return reply.json()["choices"][0]["message"]["content"], {"answered_model": f"m of {KEYS['query']}"}


def answer(body: dict[str, Any]) -> str | Fault:
    if body["model"] == "refused":
        error = {"error": {"message": f"the key {ALL} is refused", "param": KEYS["environment"]}}
        return Fault(status=401, body=json.dumps(error).encode(), headers={"www-authenticate": KEYS["header"]})
    return json.dumps({**LAMP, "name": f"Aurora Lamp {ALL}"})


def providers(server: StandIn) -> dict[str, Any]:
    variables = {"extra_headers": {"Authorization": "Bearer ${HEADER_WORD}"}, "extra_body": {"user": "${BODY_WORD}"}}
    entry = openai_entry(server, max_attempts=1)
    model = entry["models"][0]
    names = {"models": [model, {**model, "name": "refused"}]}
    azure = {"provider_type": "azure", "params": {"api_version": "2024-02-01"}, **names, "max_attempts": 1}
    return {
        "acme": {**entry, **names, "env_key": "ACME_API_KEY"},
        "dotted": {**entry, **names, "env_key": "DOTTED_API_KEY", "params": variables},
        "azure": {**azure, "api_base": server.url},
        "own": {**entry, **names, "provider_type": "test_leak_matrix:Acme", "env_key": ""},
    }


def exceptions(error: BaseException | None) -> Iterator[str]:
    """All texts of an exception and of what led to it."""
    while error is not None:
        yield from (str(error), repr(error), repr(getattr(error, "body", "")), repr(getattr(error, "__notes__", "")))
        error = error.__cause__ or error.__context__


@contextlib.contextmanager
def logged() -> Iterator[io.StringIO]:
    """Every line of every log."""
    stream, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(stream), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What four providers' good and refused calls write, live, recorded, replayed and kept; by place."""
    root = tmp_path_factory.mktemp("leaks")
    found: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch, StandIn(answer) as server, logged() as log:
        patch.chdir(root)
        for source, variable in VARIABLES.items():
            if source == "dotenv":
                (root / ".env").write_text(f"{variable}='{KEYS[source]}'\n")
            else:
                patch.setenv(variable, KEYS[source])
        patch.delenv("CI", raising=False)
        write_case(root / "cases", prompts=f"Extract the product. The keys are {ALL}.")
        (root / "config.json").write_text(json.dumps({"providers": providers(server)}))
        reset_provider_cache()
        columns = [part for name in providers(server) for part in ("-p", f"{name}:*")]
        for mode in MODES:
            output = root / f"results of {mode}"
            options = ["--record", mode, "--output", str(output), "--junit", str(output / "junit.xml")]
            result = CliRunner().invoke(main, ["run", *columns, *options])
            assert not isinstance(result.exception, Exception), result.exception
            found[f"terminal of {mode}"] = result.output
        for name in providers(server):
            with pytest.raises(ProviderError) as caught:
                ProviderManager([name]).get_response(name, "Extract.", "A lamp.", "refused")
            found[f"traceback of {name}"] = "".join(traceback.format_exception(caught.value))
            found[f"exceptions of {name}"] = "\n".join(exceptions(caught.value))
        sent = "".join(f"{request.path} {request.headers} {request.body}" for request in server.requests)
        reset_provider_cache()
        found["log"] = log.getvalue()
    found |= {
        str(path.relative_to(root)): path.read_text("utf-8")
        for path in root.rglob("*")
        if path.is_file() and not path.is_relative_to(root / "cases") and path.name != ".env"
    }
    assert all(key in sent or quote(key, safe="") in sent for source, key in KEYS.items() if source != "vendor_jwt")
    return found


PLACES = ("terminal", "traceback", "exceptions", "log", "cassettes", ".kept.json", "results.json", "report.html")
PLACES += ("report.md", "costs.json", "costs.md", "junit.xml")


@pytest.mark.parametrize("place", PLACES)
def test_no_key_is_written_in_any_encoding(place: str, written: dict[str, str]) -> None:
    """No output has any piece of any encoding of any key."""
    texts = {name: text for name, text in written.items() if place in name}
    assert len(texts) >= {"log": 1, ".kept.json": 3, "cassettes": 7}.get(place, 3)
    for name, text in texts.items():
        if place not in ("costs.json", "costs.md", "log"):
            assert "REDACTED" in text, name
        leaks = [
            (source, encoding)
            for source, key in KEYS.items()
            for encoding, piece in pieces(key).items()
            if piece in text or json.dumps(piece)[1:-1] in text
        ]
        assert leaks == [], name
        assert Scrubber(KEYS.values()).find(text) == [], name
        assert "unknown-to-anyone" not in text, name


def test_the_recordings_pass_the_scan(written: dict[str, str], tmp_path: Path) -> None:
    """What was recorded has nothing that `cassettes scan` finds."""
    for number, (name, text) in enumerate(written.items()):
        if name.endswith((".yaml", ".kept.json")):
            (tmp_path / f"{number}.yaml").write_text(text, encoding="utf-8")
    assert scan([tmp_path], Scrubber(KEYS.values())) == []
    assert len(list(tmp_path.iterdir())) == 7


def test_a_live_reply_scores_as_its_replay(written: dict[str, str]) -> None:
    """A reply that quotes keys has the same text and the same scores live, recorded and replayed."""
    runs = [json.loads(written[f"results of {mode}/results.json"])["results"] for mode in MODES]
    names = ("model", "status", "reply", "actual", "fields", "accuracy")
    first, *others = ([{name: result[name] for name in names} for result in run] for run in runs)
    assert others == [first] * 3
    assert [result["status"] for result in runs[0]].count("ok") == 4


class Validating(BaseLLM):
    """A user's class whose library shows what it was given in its error."""

    def _call_llm_api(
        self, prompt: str, system_prompt: str, model_name: str, model_config: Any
    ) -> tuple[str, dict[str, Any]]:
        return TypeAdapter(int).validate_python(f"{KEYS['environment']}"), {}


def test_a_validation_error_below_ours_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of pydantic's errors is made when it is shown, so that it cannot be redacted in place."""
    monkeypatch.setenv("ACME_API_KEY", KEYS["environment"])
    register_provider_class("validating", Validating)
    with pytest.raises(ProviderError) as caught:
        ProviderManager(["validating"]).get_response("validating", "Extract.", "A lamp.")
    told = "".join(traceback.format_exception(caught.value))
    assert "ValidationError: 1 validation error" in told
    assert KEYS["environment"] not in told
