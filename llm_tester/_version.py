"""The version, which pyproject.toml has; read when it is asked for."""

import importlib.metadata

__all__ = ["__version__"]

__version__ = importlib.metadata.version("llm_tester")
