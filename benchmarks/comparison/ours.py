"""Writes the cases for `llm-tester run`: python ours.py FOLDER [LAMPS]"""

import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])
tests = folder / "cases/products/tests"
for part in ("sources", "prompts", "expected"):
    (tests / part).mkdir(parents=True, exist_ok=True)
model = ["from pydantic import BaseModel", "", "class Product(BaseModel):"]
model += ["    name: str", "    price: float", "    currency: str"]
(folder / "cases/products/model.py").write_text("\n".join(model))
entry = {"api_base": "http://127.0.0.1:8399/v1", "models": ["gpt-4o-mini", "gpt-4o"]}
(folder / "config.json").write_text(json.dumps({"providers": {"openai": entry}}))
for n in range(1, int((sys.argv[2:] or [3])[0]) + 1):
    (tests / f"sources/lamp{n}.txt").write_text(f"Lamp {n} costs {n}.50 EUR.")
    (tests / f"prompts/lamp{n}.txt").write_text("Extract the product as JSON with name, price and currency.")
    expected = {"name": f"Lamp {n}", "price": n + 0.5, "currency": "EUR"}
    (tests / f"expected/lamp{n}.json").write_text(json.dumps(expected))
