"""For tests of providers: the contract kit, faults without a server, and the pytest plugin.

from llm_tester.testing import ProviderContract, faults
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import faults
    from .contract import ProviderContract

__all__ = ["ProviderContract", "faults"]


def __getattr__(name: str) -> Any:
    # pytest imports this package for its plugin in every session; the kit is imported when it is asked for.
    if name == "ProviderContract":
        return importlib.import_module(".contract", __name__).ProviderContract
    if name == "faults":
        return importlib.import_module(".faults", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
