"""What the body of a reply says, read without the library that made the call.

LiteLLM and PydanticAI disagree about replies that are not what an API promises: one raises, the other takes them for a
reply. Here the body decides, so that each has one outcome on every route; docs/errors.md lists them. Read are the
formats of OpenAI's chat completions (and all that speak it), of Anthropic's messages and of Gemini.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..cassettes import running
from ..errors import UnusableReplyError
from ..usage import is_count
from ._billing import read_usage
from .error_mapping import error_in_reply

__all__ = ["corrected"]

_FINISH: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    **dict.fromkeys(
        ("safety", "recitation", "blocklist", "prohibited_content", "spii", "image_safety"), "content_filter"
    ),
}


class _Said(NamedTuple):
    """A reply's body, in the words of this package.

    Attributes:
        text: what the model wrote; a refusal, if it wrote nothing else.
        finish_reason: in OpenAI's words, and `refusal`; None if it does not say.
        counts: the token counts by their names in `UsageData`, as they were reported.
        answered_model: the model, as the provider names it.
        is_text: whether it holds a text and nothing else that a library might read.
    """

    text: str
    finish_reason: str | None
    counts: Mapping[str, object]
    answered_model: object
    is_text: bool = False

    @property
    def usage(self) -> dict[str, Any]:
        return {**self.counts, "answered_model": self.answered_model}

    @property
    def is_plain(self) -> bool:
        """Whether a library would read the same text; LiteLLM takes thoughts in tags out of it."""
        return self.is_text and bool(self.text) and not self.text.lstrip().startswith("<")


Reply = tuple[str, dict[str, Any]]
Body = Mapping[str, Any]


def corrected(provider: str, model: str, vendor: str, read: Callable[[], Reply], *, is_sent: bool = False) -> Reply:
    """What a library makes of a reply, where the reply's body does not say otherwise.

    Args:
        provider: the provider's name in the config.
        model: the model that was asked for.
        vendor: the vendor, as LiteLLM calls it.
        read: gives the reply's text and its usage, as the library reads them.
        is_sent: whether the call is made, so that the library need not read a plain reply; else `read` makes it.

    Returns:
        The text and the usage, with what was billed. If the library cannot read a reply that has a text, they are those
        of the body; if one of its counts is none, the counts are those of the body.

    Raises:
        ProviderError: the body holds an error, or no reply.
        Exception: what `read` raises, if the body is no reply that can be read here.
    """
    body = _body() if is_sent else {}
    said = _said(body, provider, model)
    # If a reply names no model, LiteLLM says which one was asked for.
    if said and said.is_plain and isinstance(said.answered_model, str):
        text, usage = said.text, said.usage
    else:
        try:
            text, usage = read()
        except Exception:
            said = _said(body := _body(), provider, model)
            if said is None:
                raise
            text, usage = said.text, said.usage
        else:
            said = _said(body := _body(), provider, model)
            # Of several parts, LiteLLM's Mistral route keeps the last.
            if said and (said.is_plain or said.finish_reason == "refusal" or not text):
                text = said.text
            if said and not all(map(is_count, said.counts.values())):
                usage = {**usage, **said.counts}
    if said and not (said.finish_reason == "tool_calls" and text):
        usage["finish_reason"] = said.finish_reason
    return text, {**usage, **read_usage(vendor, body)}


def _body() -> Body:
    """The JSON object that the running call was answered with; empty if there is none."""
    call = running.get()
    if call is None or call.error is not None or not call.exchanges or (call.exchanges[-1].status or 400) >= 400:
        return {}
    try:
        body = json.loads(call.body, parse_int=_int)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _said(payload: Body, provider: str, model: str) -> _Said | None:
    """What a body says; None if it has another format."""
    # OpenRouter writes what its upstream said into the choice, next to half a reply.
    if error := payload.get("error") or _first(payload.get("choices")).get("error"):
        raise error_in_reply(error, provider, model)
    read = next((read for names, read in _FORMATS if not names.isdisjoint(payload)), None)
    said = read(payload) if read else None
    if said is None and read:
        raise UnusableReplyError(f"{provider}, {model}: the reply holds no choices", provider=provider, model=model)
    return said


def _int(digits: str) -> int:
    # Python refuses to read more than 4,300 digits; this is still larger than any count.
    return int(digits[:40])


def _chat(payload: Body) -> _Said | None:
    choice = _first(payload.get("choices"))
    message = _object(choice, "message")
    if not message:
        return None
    usage = _object(payload, "usage")
    sent, written = _object(usage, "prompt_tokens_details"), _object(usage, "completion_tokens_details")
    text, finish = _text(message.get("content")), _finish(choice.get("finish_reason"))
    refusal = _text(message.get("refusal"))
    counts = _counts(
        usage,
        text,
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        cached_tokens=sent.get("cached_tokens"),
        cache_write_tokens=sent.get("cache_write_tokens"),
        reasoning_tokens=written.get("reasoning_tokens"),
    )
    is_text = _is_text(message.get("content")) and not refusal and finish != "tool_calls"
    return _Said(text or refusal, "refusal" if refusal else finish, counts, payload.get("model"), is_text)


def _anthropic(payload: Body) -> _Said | None:
    finish = _finish(payload.get("stop_reason"))
    content = payload.get("content")
    blocks = [block for block in content if _object({"": block}, "").get("type")] if isinstance(content, list) else []
    if not blocks and finish != "refusal":
        return None
    usage = _object(payload, "usage")
    plain: Any = usage.get("input_tokens")
    parts = [usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0]
    counts = _counts(
        usage,
        text := _text(blocks),
        prompt_tokens=plain + sum(parts) if all(map(is_count, [plain, *parts])) else plain,
        completion_tokens=usage.get("output_tokens"),
        cached_tokens=parts[0],
        cache_write_tokens=parts[1],
        reasoning_tokens=_object(usage, "output_tokens_details").get("thinking_tokens"),
    )
    is_text = finish != "refusal" and _is_text(blocks)
    return _Said(text, finish, counts, payload.get("model"), is_text)


def _gemini(payload: Body) -> _Said | None:
    candidate = _first(payload.get("candidates"))
    blocked = _object(payload, "promptFeedback").get("blockReason")
    if not candidate and not blocked:
        return None
    found = _object(candidate, "content").get("parts")
    content: list[Any] = found if isinstance(found, list) else []
    thoughts = [part for part in content if isinstance(part, dict) and part.get("thought")]
    text = _text([part for part in content if part not in thoughts])
    usage = _object(payload, "usageMetadata")
    reasoning, written = usage.get("thoughtsTokenCount"), usage.get("candidatesTokenCount")
    read = usage.get("toolUsePromptTokenCount") or 0
    sent = usage.get("promptTokenCount")
    # Some models count their thoughts among the candidates' tokens, as their total shows.
    parts: list[Any] = [sent, written, read]
    more = 0 if all(map(is_count, parts)) and sum(parts) == usage.get("totalTokenCount") else reasoning or 0
    counts = _counts(
        usage,
        text,
        prompt_tokens=sent + read if is_count(sent) and is_count(read) else sent,
        completion_tokens=written + more if is_count(written) and is_count(more) else written,
        cached_tokens=usage.get("cachedContentTokenCount"),
        reasoning_tokens=reasoning,
    )
    calls = any(isinstance(part, dict) and "functionCall" in part for part in content)
    finish = "content_filter" if blocked else "tool_calls" if calls else _finish(candidate.get("finishReason"))
    of_text = [isinstance(part, dict) and set(part) <= _OF_A_TEXT for part in content if part not in thoughts]
    is_text = not blocked and all(of_text)
    return _Said(text, finish, counts, payload.get("modelVersion"), is_text)


# The fields of a part of Gemini's that is a text.
_OF_A_TEXT = {"text", "thought", "thoughtSignature"}
# The fields that only a reply of a format has.
_FORMATS: tuple[tuple[frozenset[str], Callable[[Body], _Said | None]], ...] = (
    (frozenset({"choices"}), _chat),
    (frozenset({"stop_reason", "stop_sequence"}), _anthropic),
    (frozenset({"candidates", "promptFeedback"}), _gemini),
)


def _counts(usage: Mapping[str, object], text: str, **counts: object) -> dict[str, object]:
    """The counts that were reported, and None for a missing total; nothing without usage."""
    if not usage:
        return {}
    totals = ["prompt_tokens", *(["completion_tokens"] if text else [])]
    return {name: count for name, count in counts.items() if count is not None or name in totals}


def _finish(reason: object) -> str | None:
    return _FINISH.get(reason.lower(), reason.lower()) if isinstance(reason, str) else None


def _first(value: object) -> Mapping[str, Any]:
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _is_text(content: object) -> bool:
    """Whether it is a text, or a list of parts that all are."""
    if isinstance(content, list):
        return all(isinstance(part, dict) and part.get("type") == "text" for part in content)
    return isinstance(content, str)


def _text(content: object) -> str:
    """A text, or the texts of a list of parts."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
