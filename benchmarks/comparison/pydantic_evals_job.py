"""python pydantic_evals_job.py [LAMPS]"""

import sys
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic_ai import Agent, PromptedOutput
from pydantic_evals import Case, Dataset
from pydantic_evals.evaluators import Evaluator, EvaluatorContext


class Product(BaseModel):
    name: str
    price: float
    currency: str


@dataclass
class Fields(Evaluator[str, Product]):
    """Each field of the product, right or wrong."""

    def evaluate(self, ctx: EvaluatorContext[str, Product]) -> dict[str, float]:
        expected = ctx.expected_output or Product(name="", price=0, currency="")
        return {name: float(getattr(ctx.output, name) == value) for name, value in expected}


lamps = range(1, int((sys.argv[1:] or [3])[0]) + 1)
cases = [
    Case(
        name=f"lamp{n}",
        inputs=f"Lamp {n} costs {n}.50 EUR.",
        expected_output=Product(name=f"Lamp {n}", price=n + 0.5, currency="EUR"),
    )
    for n in lamps
]
dataset = Dataset(name="lamps", cases=cases, evaluators=[Fields()])
for model in ("openai-chat:gpt-4o-mini", "openai-chat:gpt-4o"):
    agent = Agent(model, output_type=PromptedOutput(Product), instructions="Extract the product.")

    async def extract(source: str, agent: Agent[None, Product] = agent) -> Product:
        return (await agent.run(source)).output

    dataset.evaluate_sync(extract, name=model, progress=False).print(include_input=False)
