"""Canary keys, built at run time, in every place and encoding: none in a file, a log, an error or a traceback."""

# ruff: noqa: PT017, SIM117 (a server around a cassette around a client reads better in steps)

import base64
import contextlib
import gzip
import json
import logging
import os
import secrets
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import openai
import pytest
from cassette_helpers import CLIENTS, Reply, Seen, Server, ask
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from llm_tester import cassettes
from llm_tester.cassettes import Cassette, use_cassette
from llm_tester.cassettes.scan import scan, unused_files
from llm_tester.cassettes.secrets import _KEY_SHAPES, Scrubber, environment_secrets
from llm_tester.errors import CassetteMismatch, SecretFoundError
from llm_tester.llms.llm_registry import reset_provider_cache
from llm_tester.llms.provider_factory import create_provider, register_external_provider
from llm_tester.settings import settings as read_settings

# No part of it is its own beginning, so that repeated text holds it only where it is meant to.
PLAIN = f"canary{secrets.token_hex(11)}00"
HARD = f'ca/na+ry="{secrets.token_hex(6)}\\é'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "one.yaml"


@pytest.fixture(params=[PLAIN, HARD], ids=["plain", "hard"])
def canary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ACME_API_KEY", request.param)
    return str(request.param)


def inside_base64(secret: str) -> Iterator[str]:
    """What of a longer base64 text does not depend on the secret's neighbours, at each alignment."""
    for shift in range(3):
        one, two = (base64.b64encode(byte * shift + secret.encode() + byte * 5).decode() for byte in (b"\x00", b"\xff"))
        same = "".join(left if left == right else " " for left, right in zip(one, two, strict=True))
        yield max(same.split(), key=len)


def forms(secret: str) -> set[str]:
    """A secret in every encoding that an API or an SDK may use."""
    found = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    found |= {form.replace("%2F", "%2f").replace("%2B", "%2b").replace("%22", "%22") for form in set(found)}
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    found |= escaped | {form.replace("/", "\\/") for form in escaped}
    found |= {json.dumps(form)[1:-1] for form in escaped}
    units = secret.encode("utf-16-be").hex()
    found.add("".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)))
    for inner in inside_base64(secret):
        found |= {inner, inner.translate(str.maketrans("+/", "-_")), quote(inner, safe="")}
    return found


def check_is_out(secret: str, *texts: str) -> None:
    for text in texts:
        for form in forms(secret):
            assert form not in text, f"{form!r} in {text!r}"


def everywhere(secret: str) -> dict[str, str]:
    return {f"form {number}": f"before {form} after" for number, form in enumerate(sorted(forms(secret)))}


@pytest.mark.parametrize("client", CLIENTS)
class TestEveryPlace:
    @pytest.fixture(autouse=True)
    def logs(self, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
        with caplog.at_level(logging.DEBUG):
            for name in ("vcr", "httpx", "httpx2", "urllib3", "requests", "aiohttp", "asyncio", "llm_tester"):
                caplog.set_level(logging.DEBUG, name)
            yield caplog

    def test_both_directions(
        self, client: str, canary: str, path: Path, logs: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain, quoted = PLAIN, quote(canary, safe="")
        basic = base64.b64encode(f"user:{canary}".encode()).decode()

        def answer(seen: Seen) -> Reply:
            headers = {"content-type": "application/json", "x-key": plain, "set-cookie": f"k={quoted}"}
            if "/from" in seen.path:
                return Reply(b"", 307, {**headers, "location": f"/to/{quoted}?a={quoted}&sig=secret-of-theirs"})
            said = {"said": canary, canary: 1, "all": everywhere(canary), "sent": seen.headers}
            return Reply(json.dumps(said).encode(), 401, headers)

        monkeypatch.setenv("OTHER_API_KEY", plain)
        headers = {"authorization": f"Basic {basic}", "x-api-key": plain, "accept": f"text/{plain}"}
        body = json.dumps({"key": canary, "all": everywhere(canary)}).encode()
        with Server(answer) as server:
            url = f"{server.url}/from/{quoted}?key=another-secret&token={quoted}&page_token=2&x={quoted}"

            def work() -> None:
                status, _ = ask(client, "POST", url, data=body, headers=headers)
                assert status == 401

            with use_cassette(path, "once", record_errors=True):
                work()
            sent = server.seen[-1]
            assert plain in sent.headers["x-api-key"]
            assert sent.body == body
            with use_cassette(path):
                work()
            with pytest.raises(CassetteMismatch) as caught, use_cassette(path):
                ask(client, "POST", f"{server.url}/{quoted}?token={quoted}", data=body + b" " + canary.encode())
            assert len(server.seen) == 2
        text = path.read_text()
        told = "".join(traceback.format_exception(caught.value))
        check_is_out(canary, text, logs.text, told)
        check_is_out(plain, text, logs.text, told)
        for other in ("another-secret", "secret-of-theirs"):
            assert other not in text + logs.text + told
        assert "page_token=2" in text
        assert "REDACTED" in text

    def test_forms_texts_and_bytes(self, client: str, canary: str, path: Path, logs: pytest.LogCaptureFixture) -> None:
        lines = "\n".join(f"data: {form}" for form in sorted(forms(canary)))
        multipart = f'--b0und\r\nContent-Disposition: form-data; name="key"\r\n\r\n{canary}\r\n--b0und--\r\n'
        bodies = {
            "application/x-www-form-urlencoded": f"api_key=unknown-secret&a={quote_plus(canary)}".encode(),
            "multipart/form-data; boundary=b0und": multipart.encode(),
            "text/event-stream": lines.encode(),
            "application/octet-stream": b"\xff\xfe" + lines.encode() + b"\x00",
        }
        replies = iter(bodies.items())

        def answer(seen: Seen) -> Reply:
            kind, body = next(replies)
            return Reply(body, headers={"content-type": kind})

        with Server(answer) as server, use_cassette(path, "once"):
            for kind, body in bodies.items():
                assert ask(client, "POST", server.url, data=body, headers={"content-type": kind}) == (200, body)
        with use_cassette(path, fail_on_unused=True):
            for kind, body in bodies.items():
                ask(client, "POST", server.url, data=body, headers={"content-type": kind})
        decoded = [
            base64.b64decode(part["base64"]).decode("latin-1")
            for interaction in Cassette(path).interactions
            for part in (interaction.request["body"], interaction.response["body"])
            if "base64" in part
        ]
        assert len(decoded) == 2
        check_is_out(canary, path.read_text(), logs.text, *decoded)
        assert "unknown-secret" not in path.read_text()
        assert scan([path.parent]) == []

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "gzip"])
    def test_encoded_request_bodies(self, client: str, encoding: str, canary: str, path: Path) -> None:
        """Known keys and the fields of credentials are redacted in UTF-16 and gzip, too, and the request replays."""
        text = json.dumps({"said": PLAIN, "login": {"api_key": "unknown-1", "password": "unknown-2"}})
        body = gzip.compress(text.encode()) if encoding == "gzip" else text.encode(encoding)
        headers = {"content-type": "application/json"} | ({"content-encoding": "gzip"} if encoding == "gzip" else {})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OTHER_API_KEY", PLAIN)
            with Server() as server, use_cassette(path, "once"):
                ask(client, "POST", server.url, data=body, headers=headers)
                assert server.seen[0].body == body
            with use_cassette(path, fail_on_unused=True):
                ask(client, "POST", server.url, data=body, headers=headers)
            assert scan([path]) == []
        written = path.read_text()
        for part in Cassette(path).interactions[0].request["body"].values():
            with contextlib.suppress(ValueError, AttributeError):
                raw = base64.b64decode(part, validate=True)
                written += (gzip.decompress(raw) if encoding == "gzip" else raw).decode("latin-1").replace("\0", "")
        check_is_out(PLAIN, written.replace("\0", "").replace("\\0", ""))
        assert "unknown-" not in written.replace("\0", "").replace("\\0", "")
        assert "REDACTED" in written.replace("\0", "").replace("\\0", "")


SHAPES = [
    f"sk-{secrets.token_hex(24)}",
    f"sk-proj-{secrets.token_urlsafe(40)}",
    f"sk-ant-api03-{secrets.token_urlsafe(70)}AA",
    f"sk-or-v1-{secrets.token_hex(32)}",
    "sk-lf-" + "-".join(secrets.token_hex(size) for size in (4, 2, 2, 2, 6)),
    f"sk_live_{secrets.token_hex(12)}",
    f"AIza{secrets.token_hex(18)}"[:39],
    f"ya29.{secrets.token_hex(20)}",
    f"gsk_{secrets.token_hex(26)}",
    f"xai-{secrets.token_hex(40)}",
    f"pplx-{secrets.token_hex(24)}",
    f"hf_{secrets.token_hex(17)}",
    f"r8_{secrets.token_hex(18)}",
    f"nvapi-{secrets.token_hex(30)}",
    f"csk-{secrets.token_hex(24)}",
    f"fw_{secrets.token_hex(12)}",
    f"tgp_v1_{secrets.token_hex(20)}",
    f"jina_{secrets.token_hex(20)}",
    f"tvly-{secrets.token_hex(16)}",
    f"lsv2_pt_{secrets.token_hex(16)}_{secrets.token_hex(5)}",
    f"pcsk_{secrets.token_hex(20)}",
    f"npm_{secrets.token_hex(18)}",
    f"dapi{secrets.token_hex(16)}",
    f"AKIA{secrets.token_hex(8).upper()}",
    f"ghp_{secrets.token_hex(18)}",
    f"github_pat_{secrets.token_hex(20)}",
    f"glpat-{secrets.token_hex(10)}",
    f"xoxb-{secrets.token_hex(12)}",
    f"Bearer {secrets.token_hex(16)}",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ." + secrets.token_hex(16),
    f"-----BEGIN RSA PRIVATE KEY-----\n{secrets.token_hex(30)}\n-----END RSA PRIVATE KEY-----",
    f"-----BEGIN PRIVATE KEY-----\\n{secrets.token_hex(30)}",
]
NO_KEYS = [
    "sk-learn-based-pipelines-are-fine",
    "a risk-averse, task-oriented co-founder-and-chief-executive-officer",
    "Use bearer authentication; the bearer certificates",
    "hf_hub_download_the_whole_model",
    "pages 12-14, ISBN 978-3-16-148410-0",
]


class TestShapes:
    @pytest.mark.parametrize("key", SHAPES, ids=map(str, range(len(SHAPES))))
    def test_what_looks_like_a_key_is_redacted(self, key: str, path: Path) -> None:
        with Server(lambda seen: Reply(json.dumps({"said": f"It is {key}."}).encode())) as server:
            with use_cassette(path, "once"):
                ask("httpx", "POST", f"{server.url}/v1", json={"prompt": f"My key is {key}."})
            with use_cassette(path):
                ask("httpx", "POST", f"{server.url}/v1", json={"prompt": f"My key is {key}."})
        secret = max(key.replace("\\n", "\n").split(), key=len)
        assert secret not in path.read_text()
        assert scan([path]) == []

    @pytest.mark.parametrize("around", ["", "é 😀", "half of a pair: \ud800"])
    def test_what_is_around_a_key_does_not_hide_it(self, around: str) -> None:
        """Also in a text that has no UTF-8, such as JSON with half of a surrogate pair."""
        for key in SHAPES:
            found = Scrubber().text(f"{around} {key} {around}")
            assert found.startswith(f"{around} REDACTED"), key
        assert Scrubber().fields(f'{{"a": "{around}", "Api_Key" : "unknown"}}') == (
            f'{{"a": "{around}", "Api_Key" : "REDACTED"}}'
        )

    @pytest.mark.parametrize("key", SHAPES, ids=map(str, range(len(SHAPES))))
    def test_the_fast_search_passes_by_no_key(self, key: str) -> None:
        """It is another engine's, for which other characters are letters, digits and white space."""
        for before in [*map(chr, range(0x250)), "\u0301", "\u200d", "\u0660", "\u2028", "日", "😀"]:
            for text in (f"{before}{key}", key.replace(" ", f" {before}", 1)):
                assert Scrubber().text(text) == _KEY_SHAPES.sub("REDACTED", text)

    @pytest.mark.parametrize("letter", "iI\u0130\u0131")
    def test_a_field_is_found_in_every_case_of_its_letters(self, letter: str) -> None:
        text = f'{{"author{letter}zation": "unknown", "{letter}d_to\u212aen": "unknown", "\u017fecret": 1}}'
        assert Scrubber().fields(text).count("REDACTED") == 3

    @pytest.mark.parametrize("text", NO_KEYS)
    def test_what_does_not_look_like_a_key_is_kept(self, text: str) -> None:
        assert Scrubber().text(text) == text


class TestWhereKeysAreFrom:
    def known(self, tmp_path: Path, **providers: dict[str, Any]) -> frozenset[str]:
        (tmp_path / "config.json").write_text(json.dumps({"providers": providers}))
        reset_provider_cache()
        read_settings()
        return environment_secrets()

    def test_variables_that_are_called_keys_or_are_configured_as_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("ACME_KEY", "ACME_API_TOKEN_2", "acme_password", "ACME_PASSPHRASE", "ACME_MOOD"):
            monkeypatch.setenv(name, f"value-of-{name}")
        monkeypatch.setenv("SHORT_KEY", "short")
        monkeypatch.setenv("KEY_FILE_PATH", "not-a-key")
        known = self.known(tmp_path, acme={"provider_type": "openai", "env_key": "ACME_PASSPHRASE"})
        expected = ("ACME_KEY", "ACME_API_TOKEN_2", "acme_password", "ACME_PASSPHRASE")
        assert known >= {f"value-of-{name}" for name in expected}
        assert not known & {"value-of-ACME_MOOD", "short", "not-a-key"}

    @pytest.mark.parametrize("name", ["SNOWFLAKE_JWT", "WATSONX_ZENAPIKEY", "AWS_SECRET_ACCESS_KEY", "DB_PWD"])
    def test_the_parts_of_logins(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, PLAIN)
        assert PLAIN in environment_secrets()
        assert os.environ["PWD"] not in environment_secrets()

    def test_variables_that_params_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ACME_MOOD", PLAIN)
        assert PLAIN not in self.known(tmp_path)
        entry: dict[str, Any] = {"params": {"extra_headers": [{"x": "Token ${ACME_MOOD}"}]}}
        assert PLAIN in self.known(tmp_path, acme=entry)

    def test_a_variable_that_only_an_external_provider_names(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACME_PASSPHRASE", PLAIN)
        (tmp_path / "acme.json").write_text(json.dumps({"models": ["one"], "env_key": "ACME_PASSPHRASE"}))
        assert PLAIN not in self.known(tmp_path)
        (tmp_path / "acme_llm.py").write_text(ACME)
        register_external_provider("acme", "acme_llm", "Acme", str(tmp_path / "acme.json"))
        assert create_provider("acme") is not None
        assert PLAIN in environment_secrets()

    def test_the_dotenv_file(self, tmp_path: Path) -> None:
        lines = [
            "WHATEVER=value-1",
            "OPENAI_BASE_URL=http://localhost/v1",
            "DEFAULT_MODEL=gpt-4o-mini",
            "A_KEY=value-2",
        ]
        (tmp_path / ".env").write_text("\n".join(lines))
        assert self.known(tmp_path) >= {"value-1", "value-2"}
        assert not self.known(tmp_path) & {"http://localhost/v1", "gpt-4o-mini"}

    def test_a_config_file_of_another_program_is_ignored(
        self, tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "config.json").write_text('{"this": "belongs to another program"}')
        monkeypatch.setenv("ACME_API_KEY", PLAIN)
        with Server(lambda seen: Reply(json.dumps(PLAIN).encode())) as server, use_cassette(path, "once"):
            ask("httpx", "GET", server.url)
        assert PLAIN not in path.read_text()

    def test_a_replay_needs_no_key_or_another_one(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with Server() as server:
            for key, mode in ((PLAIN, "once"), ("another-key", "none")):
                monkeypatch.setenv("GEMINI_API_KEY", key)
                with use_cassette(path, mode):
                    ask("httpx", "POST", f"{server.url}/v1?key={key}", json={"key": key}, headers={"x-key": key})
            monkeypatch.delenv("GEMINI_API_KEY")
            with use_cassette(path):
                ask("httpx", "POST", f"{server.url}/v1?key=no-key", json={"key": "REDACTED"})


class TestFields:
    def test_credentials_by_the_name_of_their_field_or_parameter(self, path: Path) -> None:
        """What no one knows as a key is redacted by its name, in requests and replies, but not in a model's output."""
        fields = {"api_key": "unknown-1", "password": "unknown-2", "Client-Secret": 7654321, "login": [{"pwd": "un-3"}]}
        output = {"input": {"password": "extracted"}, "token": "a word", "max_tokens": 5, "api_key": None}
        stream = f"data: {json.dumps(fields)}\n\n".encode()
        large = json.dumps({**fields, "a": "x" * 200_000}).encode()
        bodies = (json.dumps({**fields, **output}).encode(), stream, large)
        replies = iter(zip(bodies, ("application/json", "text/event-stream", "application/json"), strict=True))

        def answer(seen: Seen) -> Reply:
            body, kind = next(replies)
            return Reply(body, headers={"content-type": kind})

        with Server(answer) as server, use_cassette(path, "once"):
            for _ in range(3):
                ask("httpx", "POST", f"{server.url}/?auth=unknown-4&pwd=unknown-5&author=me", json={**fields, **output})
        text = path.read_text()
        for secret in ("unknown", "7654321", "un-3"):
            assert secret not in text
        first = Cassette(path).interactions[0]
        assert first.request["uri"].endswith("/?auth=REDACTED&pwd=REDACTED&author=me")
        for body in (first.request["body"]["json"], first.response["body"]["json"]):
            assert {name: body[name] for name in output} == output
            assert body["login"] == [{"pwd": "REDACTED"}]
        assert scan([path]) == []

    def test_a_value_of_a_thousand_beginnings_takes_no_longer_than_its_length(self) -> None:
        """Long texts that begin like a key, a field or a compressed text over and over are done in linear time."""
        scrubber = Scrubber([PLAIN])
        for beginning in ('"api_key":"', "H4sI", PLAIN[:-1], " ".join(PLAIN[:-1]), '"' + "a_" * 9, "\\" * 9):
            text = beginning * (300_000 // len(beginning))
            assert scrubber.fields(scrubber.text(text)).startswith(beginning[:4])


class TestWhatCannotBeTakenOut:
    DIGITS = str(10**15 + secrets.randbelow(10**15))

    def test_a_secret_number_raises_with_its_place_and_nothing_is_written(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACME_API_KEY", self.DIGITS)
        with Server(lambda seen: Reply(b'{"a": [{"b": %s}]}' % self.DIGITS.encode())) as server:
            with pytest.raises(SecretFoundError) as caught, use_cassette(path, "once"):
                ask("httpx", "GET", server.url)
        told = "".join(traceback.format_exception(caught.value))
        assert "interactions[0].response.body.json.a[0].b would hold a known key" in told
        assert self.DIGITS not in told
        assert not path.exists()
        assert list(path.parent.glob("*")) == []

    def test_the_old_file_stays_and_the_next_reply_is_kept(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ACME_API_KEY", self.DIGITS)
        replies = iter([b"[1]", b"[%s]" % self.DIGITS.encode(), b"[3]"])
        with Server(lambda seen: Reply(next(replies))) as server:
            with use_cassette(path, "once"):
                ask("httpx", "GET", server.url)
            before = path.read_bytes()
            with pytest.raises(SecretFoundError), use_cassette(path, "all"):
                ask("httpx", "GET", f"{server.url}/2")
            assert path.read_bytes() == before
            with use_cassette(path, "all"):
                ask("httpx", "GET", f"{server.url}/3")
        assert [item.response["body"]["json"] for item in Cassette(path).interactions] == [[1], [3]]

    @pytest.mark.parametrize("retries", [0, 2])
    def test_a_secret_raises_through_an_sdk(self, retries: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ACME_API_KEY", self.DIGITS)
        with Server(lambda seen: Reply(b'{"created": %s}' % self.DIGITS.encode())) as server:
            client = openai.OpenAI(api_key="none", base_url=server.url, max_retries=retries)
            with pytest.raises(SecretFoundError) as caught, use_cassette(path, "once"), client:
                client.chat.completions.create(model="m", messages=[])
        assert self.DIGITS not in "".join(traceback.format_exception(caught.value))
        assert not path.exists()

    def test_secrets_are_redacted_from_origins_and_notes(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ACME_API_KEY", PLAIN)
        with Server() as server, use_cassette(path, "once", origin=f"stand-in: {PLAIN}"), cassettes.call() as call:
            ask("httpx", "GET", server.url)
            call.annotate(model=PLAIN)
        assert PLAIN not in path.read_text()

    def test_a_key_of_a_body_is_a_place_too(self) -> None:
        assert list(Scrubber(["secret-key"]).places({"a": {"secret-key": 1}}, "body")) == [
            ("a key of body.a", "a known key")
        ]

    def test_a_log_line_that_cannot_be_formatted_is_left_to_the_handlers(
        self, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ACME_API_KEY", PLAIN)
        monkeypatch.setattr(logging, "raiseExceptions", False)
        with caplog.at_level(logging.INFO), use_cassette(path):
            logging.getLogger("a").info("%d", "no number")
            logging.getLogger("a").info("a key: %s", PLAIN)
            logging.getLogger("a").info("no key: %s", "value")
        assert [record.args for record in caplog.records[1:]] == [(), ("value",)]
        assert caplog.records[1].getMessage() == "a key: REDACTED"


ACME = """
from llm_tester.llms.base import BaseLLM

class Acme(BaseLLM):
    def _call_llm_api(self, *arguments, **options):
        raise NotImplementedError
"""

WORDS = "format metadata versions llm_tester litellm pydantic-ai vcrpy interactions request method POST uri headers "
WORDS += "http://a.test/ content-type application/json body json texts in json response status recorded origin seconds"
secret_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=6, max_size=40)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=secret_texts, before=st.text(max_size=5), data=st.data())
@example(secret="\\\\\\\\\\\\", before="", data=None)
@example(secret='ab\\"/+ é😀', before="\\", data=None)
def test_no_encoding_of_any_secret_is_ever_in_a_file(
    secret: str, before: str, data: st.DataObject | None, tmp_path: Path
) -> None:
    chosen = sorted(forms(secret))
    if data is not None:
        chosen = data.draw(st.lists(st.sampled_from(chosen), min_size=1))
    body = json.dumps({"texts": [before + form for form in chosen], "in json": json.dumps({"a": chosen})}).encode()
    # A secret that is one of the file's own words, such as "method", stands in every file.
    assume(not any(form in WORDS for form in forms(secret)))
    path = tmp_path / "one.yaml"
    path.unlink(missing_ok=True)
    cassette = Cassette(path, "once", scrubber=Scrubber([secret]))
    asked = cassette.request("POST", "http://a.test/", {"content-type": ["application/json"]}, body)
    try:
        cassette.record(asked, {"status": 200, "headers": {}, "body": body}, 0.1)
    except SecretFoundError as error:
        # What replaces it ("REDACTED") makes it anew with its neighbours.
        assert secret not in str(error).removeprefix(str(path))
        assert not path.exists()
        return
    check_is_out(secret, path.read_text())
    again = Cassette(path, scrubber=Scrubber([secret]))
    for text in again.interactions[0].response["body"]["json"]["texts"]:
        check_is_out(secret, text)


class TestScan:
    def test_it_finds_keys_in_texts_in_base64_and_in_what_is_escaped(self, tmp_path: Path) -> None:
        key = SHAPES[0]
        escaped = "".join(f"\\u{ord(character):04x}" for character in key)
        (tmp_path / "a.yaml").write_text(f'a: |\n  text\n  {key}\nb: "{escaped}"\n')
        (tmp_path / "sub").mkdir()
        binary = base64.b64encode(b"\xff" + PLAIN.encode()).decode()
        (tmp_path / "sub" / "b.yml").write_text(f"base64: {binary}\nc: !!binary {binary}\nd: [&x {PLAIN}, *x]\n")
        (tmp_path / "c.txt").write_text(key)
        finds = scan([tmp_path], Scrubber([PLAIN]))
        assert [(find.path.name, find.line) for find in finds] == [
            *(("a.yaml", 3), ("a.yaml", 4)),
            *(("b.yml", 1), ("b.yml", 2), ("b.yml", 3)),
        ]
        assert finds[0].what == f"what looks like a key, {key[:7]}…"
        assert finds[-1].what == "a known key"

    def test_it_finds_what_other_recorders_left(self, tmp_path: Path) -> None:
        lines = ["headers:", "  Authorization: [Token 1234]", "  X-Api-Key: [REDACTED]", "  Cookie: ['']"]
        lines += ["uri: http://a.test/?api_key=1234&page_token=5", "location: http://a.test/?key=REDACTED"]
        (tmp_path / "a.yaml").write_text("\n".join(lines))
        assert [(find.line, find.what) for find in scan([str(tmp_path / "a.yaml")])] == [
            (2, "the header authorization with a value"),
            (5, "a URL with the value of a secret parameter"),
        ]

    def test_it_finds_the_fields_and_parameters_of_credentials(self, tmp_path: Path) -> None:
        body = json.dumps({"password": "1234"})
        encoded = [base64.b64encode(data).decode() for data in (body.encode("utf-16"), gzip.compress(body.encode()))]
        lines = ["api_key: 1234", "password: REDACTED", "password: {type: string}", f"string: '{body}'", "pwd: [a]"]
        lines += [f"base64: {one}" for one in encoded] + ["uri: http://a.test/?auth=1", "uri: http://a.test/?pwd=1&b=2"]
        lines += ["input: {password: extracted}", "api_key: null", f"text: '{body}'"]
        (tmp_path / "a.yaml").write_text("\n".join(f"- {line}" for line in lines))
        assert [(find.line, find.what) for find in scan([tmp_path])] == [
            (1, "the field api_key with a value"),
            (4, "a field for a credential with a value"),
            (5, "the field pwd with a value"),
            *((line, "a field for a credential with a value") for line in (6, 7)),
            *((line, "a URL with the value of a secret parameter") for line in (8, 9)),
        ]

    def test_what_it_cannot_decode_is_a_find(self, tmp_path: Path) -> None:
        (tmp_path / "cut.yaml").write_text('a: "\n')
        (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
        (tmp_path / "wrong.yaml").write_text("base64: x\n")
        (tmp_path / "empty.yaml").write_text("")
        (tmp_path / "gone.yaml").symlink_to(tmp_path / "nothing")
        assert [(find.path.name, find.line, find.what) for find in scan([tmp_path])] == [
            ("cut.yaml", 2, "cannot be decoded, so it cannot be checked"),
            ("gone.yaml", 1, "cannot be read: No such file or directory"),
            ("latin.yaml", 1, "cannot be decoded, so it cannot be checked"),
            ("wrong.yaml", 1, "base64 that cannot be decoded"),
        ]

    def test_files_that_nothing_uses(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("a.yaml", "b.yaml", "sub/c.yaml"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("")
        monkeypatch.chdir(tmp_path)
        assert unused_files(tmp_path, {"a.yaml", tmp_path / "sub" / "c.yaml"}) == [tmp_path / "b.yaml"]
        assert unused_files(tmp_path / "nothing", set()) == []


def test_a_redirect_to_what_is_no_address_is_recorded_as_it_is(path: Path) -> None:
    with Server(lambda seen: Reply(b"", 302, {"location": "http://[no?key=secret"})) as server:
        with use_cassette(path, "once"):
            httpx.get(server.url, trust_env=False)
    assert Cassette(path).interactions[0].response["headers"]["location"] == ["http://[no?key=REDACTED"]
