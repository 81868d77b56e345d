"""The command line, and the exit codes of its commands."""

COMPLETE, INCOMPLETE, MISUSE, INTERRUPTED = 0, 1, 2, 130
