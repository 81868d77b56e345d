"""The command `llm-tester`, with all its parts; also `python -m llm_tester`."""

from . import cli_run, cli_tools
from .cli import main

__all__ = ["cli_run", "cli_tools", "main"]

if __name__ == "__main__":
    main()
