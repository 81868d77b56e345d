"""inspect eval inspect_task.py --model openai/gpt-4o-mini,openai/gpt-4o -T lamps=3"""

import json

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import TaskState


@scorer(metrics={"*": [mean(), stderr()]})
def fields() -> Scorer:
    """Each field of the product, right or wrong."""

    async def score(state: TaskState, target: Target) -> Score:
        expected, found = json.loads(target.text), json.loads(state.output.completion)
        return Score(value={name: float(found.get(name) == value) for name, value in expected.items()})

    return score


@task
def extraction(lamps: int = 3) -> Task:
    """Extract lamps."""
    samples = [
        Sample(
            input=f"Extract the product as JSON with name, price and currency: Lamp {n} costs {n}.50 EUR.",
            target=json.dumps({"name": f"Lamp {n}", "price": n + 0.5, "currency": "EUR"}),
        )
        for n in range(1, lamps + 1)
    ]
    return Task(dataset=samples, scorer=fields())
