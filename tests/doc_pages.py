"""The pages of the documentation, and the blocks in them."""

import re

from conftest import ROOT

__all__ = ["FENCE", "PAGES"]

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
