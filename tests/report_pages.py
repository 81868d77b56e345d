"""Small runs for the HTML report, one of them hostile, and what is embedded in its page."""

import json
import re
from typing import Any

from llm_tester.runs.results import CaseRecord, CaseResult, RunResult
from llm_tester.runs.scoring import compare
from llm_tester.utils.cost_manager import UsageData

__all__ = ["HOSTILE", "embedded", "hostile_run", "one", "priced", "run_of", "without_data"]

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 1">',
    "<!--<script>",
    '"><svg onload=window.hacked=1>',
    "{{ 7 * 191 }}{% raw %}",
    "javascript:window.hacked=1//",
    "line\u2028separator\u2029and\x00zero",
)


def one(status: str = "ok", usage: UsageData | None = None, **values: Any) -> CaseResult:
    """A result of one case with one model."""
    place = {"module": "m", "name": "a", "provider": "p", "model": "x", "status": status, "usage": usage}
    return CaseResult(**(place | values))


def run_of(*results: CaseResult, **values: Any) -> RunResult:
    plain = {"run_id": "r1", "started_at": "2026-11-22T14:03:01+00:00", "versions": {}}
    return RunResult(**(plain | values), results=results)


def priced(usd: float | None, **values: Any) -> UsageData:
    return UsageData(provider="p", model="x", prompt_tokens=10, completion_tokens=5, total_cost=usd, **values)


def embedded(page: str, name: str) -> Any:
    [text] = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def without_data(page: str) -> str:
    return re.sub(r'(<script type="application/json".*?>).*?(</script>)', r"\1\2", page, flags=re.DOTALL)


def hostile_run() -> RunResult:
    """A run in which every text that comes from outside attacks the page."""
    results, cases = [], []
    for number, text in enumerate(HOSTILE):
        expected, actual = {text: text, "list": [text]}, {text: text + "!", "list": [{"x": text}]}
        place = {"module": text, "name": f"{number}{text}", "variant": text}
        cases.append(CaseRecord(**place, prompt=text, source=text, expected=expected, files=(text,)))
        usage = priced(0.01, origin=text, price_note=text, finish_reason=text, answered_model=text, recorded_at=text)
        comparison = compare(expected, actual)
        results.append(
            CaseResult(
                **place,
                provider=text,
                model=text,
                status="ok",
                accuracy=comparison.accuracy,
                fields=tuple(comparison.fields),
                problem=text,
                error=text,
                reply=text,
                actual=actual,
                usage=usage,
                cassette=text,
            )
        )
    named = {text: text for text in HOSTILE}
    schemas = {text: {"properties": {text: {"type": text, "description": text}}} for text in HOSTILE}
    values = {"versions": named, "problems": named, "schemas": schemas, "cases": tuple(cases)}
    return run_of(*results, run_id=HOSTILE[0], **values)
