"""The command `llm-tester`, with all its parts; also `python -m llm_tester`."""

from . import cli_baseline, cli_run, cli_tools, migrate
from .cli import main

__all__ = ["cli_baseline", "cli_run", "cli_tools", "main", "migrate"]

if __name__ == "__main__":
    main()
