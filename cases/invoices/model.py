"""An invoice: dates, of which one may be missing."""

from datetime import date

from pydantic import BaseModel, Field


class Invoice(BaseModel):
    """The head of one invoice."""

    number: str = Field(description="The invoice number")
    supplier: str = Field(description="The company that sent the invoice")
    issued: date = Field(description="The date of the invoice, YYYY-MM-DD")
    due: date | None = Field(default=None, description="The date it must be paid by, YYYY-MM-DD; null if not stated")
    total: float = Field(ge=0, description="The total to pay, as a number")
    currency: str = Field(description="The currency as a three-letter code")
