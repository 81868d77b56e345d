"""What to extract: replace this class with yours, or import it here (`from mypackage import Invoice as Model`).

The case `example` is tests/sources/example.txt (what the model reads), tests/prompts/example.txt (what it is asked) and
tests/expected/example.json (what is true). Add a case by adding three files with another name.
"""

from datetime import date

from pydantic import BaseModel, Field


class Appointment(BaseModel):
    """A field's description is part of the schema that the provider is sent."""

    person: str = Field(description="Who is to be met, without a title")
    day: date = Field(description="The date, as YYYY-MM-DD")
    minutes: int | None = Field(default=None, description="How long it takes, null if that is not said")
