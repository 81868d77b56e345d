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
        "BaseLLM": "llms.base",
        "Case": "runs.cases",
        "CaseResult": "runs.results",
        "CassetteMismatch": "errors",
        "Close": "runs.rules",
        "Compare": "runs.rules",
        "CostTracker": "utils.cost_manager",
        "Exact": "runs.rules",
        "Ignore": "runs.rules",
        "Key": "runs.rules",
        "LLMTester": "llm_tester",
        "LLMTesterError": "errors",
        "ModelConfig": "llms.base",
        "Ordered": "runs.rules",
        "ProviderConfig": "llms.base",
        "ProviderError": "errors",
        "ProviderManager": "utils.provider_manager",
        "RunResult": "runs.results",
        "Tolerance": "runs.rules",
        "UsageData": "utils.cost_manager",
        "Weight": "runs.rules",
        "__version__": "_version",
        "notebook_matrix": "reports.notebook",
        "register_mock_response": "llms.mock.provider",
        "use_cassette": "cassettes",
    },
)


def __dir__() -> list[str]:
    return __all__
