"""A case to write into a test's directory, and an entry that calls a stand-in."""

import json
from pathlib import Path
from typing import Any

from standins import StandIn

__all__ = ["LAMP", "MODEL", "SMALL", "light_entry", "openai_entry", "write_case"]

MODEL = """
from pydantic import BaseModel

class Maker(BaseModel):
    country: str | None = None

class Product(BaseModel):
    name: str
    price: float
    maker: Maker | None = None
"""
# With max_tokens, little is set aside for a call: the bytes of the prompt, and 20 tokens.
SMALL = {"params": {"max_tokens": 20}}
CALLS = """
import httpx
from llm_tester import BaseLLM

class Calls(BaseLLM):
    '''OpenAI's API without LiteLLM, which takes seconds to import in each process.'''

    def _call_llm_api(self, prompt, system_prompt, model_name, model_config):
        body = {"model": model_name, "messages": [{"role": "user", "content": prompt}]}
        reply = httpx.post(self.config.api_base + "/chat/completions", json=body, timeout=60).raise_for_status().json()
        return reply["choices"][0]["message"]["content"], reply["usage"]
"""
LAMP = {"name": "Aurora Lamp", "price": 39.9}


def write_case(root: Path, module: str = "products", name: str = "lamp", model: str = MODEL, **files: Any) -> Path:
    directory = root / module
    (directory / "tests").mkdir(parents=True, exist_ok=True)
    (directory / "model.py").write_text(model)
    parts = {"prompts": "Extract the product.", "sources": "The Aurora Lamp costs 39.90.", "expected": json.dumps(LAMP)}
    for folder, text in {**parts, **files}.items():
        suffix = "json" if folder == "expected" else "txt"
        (directory / "tests" / folder).mkdir(exist_ok=True)
        if text is not None:
            path = directory / "tests" / folder / f"{name}.{suffix}"
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return directory


def openai_entry(server: StandIn, **more: Any) -> dict[str, Any]:
    priced = {"name": "small", "cost_input": 2, "cost_output": 8, "supports_schema": True, "max_output_tokens": 100}
    return {"provider_type": "openai", "api_base": server.url + "/v1", "models": [priced], **more}


def light_entry(server: StandIn, directory: Path, **more: Any) -> dict[str, Any]:
    """An entry with a class in a module next to the config."""
    (directory / "calls.py").write_text(CALLS)
    return {**openai_entry(server, **SMALL), "provider_type": "calls:Calls", "env_key": "", **more}
