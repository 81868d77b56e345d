"""The command `llm-tester`; also `python -m llm_tester`."""

from .cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
