"""The command `llm-tester`, with all its parts; also `python -m llm_tester`."""

from .cli import baseline as cli_baseline
from .cli import migrate
from .cli import run as cli_run
from .cli import tools as cli_tools
from .cli.app import main

__all__ = ["cli_baseline", "cli_run", "cli_tools", "main", "migrate"]

if __name__ == "__main__":
    main()
