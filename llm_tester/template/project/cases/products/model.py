"""A product offer, as a shop would describe it.

An extraction module is a folder: this file with one pydantic class, and three folders of tests next to it.
The case `desk_lamp` is tests/sources/desk_lamp.txt (what the model reads), tests/prompts/desk_lamp.txt (what it is
asked) and tests/expected/desk_lamp.json (what is true, written by a person from the source, never by a model).
"""

from typing import Literal

from pydantic import BaseModel, Field


class Product(BaseModel):
    """One product with its price; a field's description is part of the schema that the provider is sent."""

    name: str = Field(description="The product's name, without the maker")
    price: float = Field(ge=0, description="The price of one piece, as a number")
    currency: Literal["EUR", "GBP", "USD"] = Field(description="The currency of the price")
    in_stock: bool = Field(description="True if it can be delivered now")
    warranty_months: int | None = Field(default=None, description="The warranty in months, null if none is stated")
