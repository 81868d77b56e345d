"""Writes docs/results.schema.json, the published schema of results.json, from the classes that write it."""

import json
from pathlib import Path

from llm_tester.runs.results import RunResult


def schema() -> str:
    """The JSON schema of a results file, as text."""
    return json.dumps(RunResult.model_json_schema(mode="serialization"), indent=1) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent.parent / "docs" / "results.schema.json").write_text(schema(), encoding="utf-8")
