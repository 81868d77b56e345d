"""Records tests/wires/: one reply in the wire format of each native provider, over a real socket from a stand-in.

    python scripts/record_wires.py

The recordings say in their metadata that a stand-in answered. With a key, `llm-tester run -p openai --record once`
records the real thing.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from standins import Reply, StandIn

from llm_tester import use_cassette
from llm_tester.llms.llm_registry import get_llm_provider

TARGET = ROOT / "tests" / "wires"
PATHS = {"openai": "/v1", "anthropic": "", "mistral": "/mistral/v1", "google": "/v1beta"}
MODELS = {
    "openai": "gpt-4.1-mini",
    "anthropic": "claude-haiku-4-5",
    "mistral": "mistral-small-latest",
    "google": "gemini-2.5-flash",
}
REPLY = Reply('{"name": "Aurora Lamp"}', input_tokens=1000, output_tokens=50, cached_tokens=300, reasoning_tokens=30)


def main() -> None:
    """Records the four providers anew."""
    shutil.rmtree(TARGET, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder, StandIn(REPLY) as server:
        os.chdir(folder)
        entries = {name: {"api_base": f"{server.url}{path}", "env_key": ""} for name, path in PATHS.items()}
        Path("config.json").write_text(json.dumps({"providers": entries}))
        for name, model in MODELS.items():
            provider = get_llm_provider(name)
            if provider is None:
                raise SystemExit(f"no provider {name}")
            with use_cassette(TARGET / f"{name}.yaml", "rewrite", origin="stand-in: tests/standins.py"):
                provider.get_response("Extract the product.", "The Aurora Lamp.", model)
            print(f"recorded {TARGET / name}.yaml")


if __name__ == "__main__":
    main()
