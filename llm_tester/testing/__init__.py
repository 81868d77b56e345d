"""For tests of providers: the contract kit, faults without a server, and the pytest plugin.

from llm_tester.testing import ProviderContract, faults
"""

from typing import TYPE_CHECKING

from ..cassettes.importing import lazy

if TYPE_CHECKING:
    from . import faults
    from .contract import ProviderContract

__all__ = ["ProviderContract", "faults"]

# pytest imports this package for its plugin in every session; the kit is imported when it is used.
__getattr__ = lazy(globals(), {"contract": "ProviderContract", "faults": "faults"})
