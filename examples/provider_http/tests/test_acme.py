"""Acme keeps the contract of llm_tester, offline and without a key."""

from typing import ClassVar

from llm_tester.testing import ProviderContract


class TestAcme(ProviderContract):
    provider = "acme"
    reply: ClassVar = {
        "model": "anvil-2-0611",
        "output": "Blue.",
        "stopped": "end",
        "tokens": {"in": 11, "cached": 20, "out": 2},
    }
    text = "Blue."
    usage: ClassVar = {"prompt_tokens": 31, "cached_tokens": 20, "completion_tokens": 2}
