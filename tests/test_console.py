"""The machinery that starts processes for the tests keeps them apart."""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT
from console import litellm_environment, run_python, started


def test_a_test_that_fails_leaves_no_process_to_the_next_one() -> None:
    """Its process runs on, and nobody has read how it ends; the next one gets its own exit code all the same."""
    command = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    with tempfile.TemporaryFile() as output, Path(os.devnull).open("rb") as nothing:
        with (
            pytest.raises(ZeroDivisionError),
            started(command, ROOT, litellm_environment(), nothing, output, output) as process,
        ):
            _ = 1 / 0
        assert process.wait() != 0
    assert run_python("import sys; sys.exit(3)", env=litellm_environment()).returncode == 3
