"""Test LLM providers the way you test code.

A provider is a config entry, a reply is a cassette, a cost is a number that can be audited.
"""

from typing import TYPE_CHECKING

from .cassettes.importing import lazy

if TYPE_CHECKING:
    from ._version import __version__
    from .cassettes import use_cassette
    from .errors import CassetteMismatch, LLMTesterError, ProviderError
    from .llm_tester import LLMTester
    from .llms.base import BaseLLM, ModelConfig, ProviderConfig
    from .llms.mock.provider import register_mock_response
    from .runs.cases import Case
    from .runs.results import CaseResult, RunResult
    from .runs.rules import Close, Compare, Exact, Ignore, Key, Ordered, Tolerance, Weight
    from .utils.cost_manager import CostTracker, UsageData
    from .utils.provider_manager import ProviderManager

__all__ = [
    "BaseLLM",
    "Case",
    "CaseResult",
    "CassetteMismatch",
    "Close",
    "Compare",
    "CostTracker",
    "Exact",
    "Ignore",
    "Key",
    "LLMTester",
    "LLMTesterError",
    "ModelConfig",
    "Ordered",
    "ProviderConfig",
    "ProviderError",
    "ProviderManager",
    "RunResult",
    "Tolerance",
    "UsageData",
    "Weight",
    "__version__",
    "register_mock_response",
    "use_cassette",
]

__getattr__ = lazy(
    globals(),
    {
        "_version": "__version__",
        "cassettes": "use_cassette",
        "errors": "CassetteMismatch LLMTesterError ProviderError",
        "llm_tester": "LLMTester",
        "llms.base": "BaseLLM ModelConfig ProviderConfig",
        "llms.mock.provider": "register_mock_response",
        "reports.notebook": "notebook_matrix",
        "runs.cases": "Case",
        "runs.results": "CaseResult RunResult",
        "runs.rules": "Close Compare Exact Ignore Key Ordered Tolerance Weight",
        "utils.cost_manager": "CostTracker UsageData",
        "utils.provider_manager": "ProviderManager",
    },
)


def __dir__() -> list[str]:
    return __all__
