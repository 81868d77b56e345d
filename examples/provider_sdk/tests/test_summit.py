"""Summit keeps the contract of llm_tester, offline and without a key: a model with a price, and one without."""

from typing import ClassVar

from llm_tester.testing import ProviderContract


class TestSummit(ProviderContract):
    provider = "summit"
    reply: ClassVar = {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 1767225600,
        "model": "k2-large",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Blue."}, "finish_reason": "stop"},
        ],
        "usage": {
            "prompt_tokens": 31,
            "completion_tokens": 12,
            "total_tokens": 43,
            "prompt_tokens_details": {"cached_tokens": 20},
            "completion_tokens_details": {"reasoning_tokens": 10},
        },
    }
    text = "Blue."
    usage: ClassVar = {"prompt_tokens": 31, "cached_tokens": 20, "completion_tokens": 12, "reasoning_tokens": 10}


class TestSummitPreview(TestSummit):
    model = "k2-preview"
