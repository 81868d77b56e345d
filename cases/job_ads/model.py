"""A job advertisement: a nested object and a list."""

from pydantic import BaseModel, Field


class Salary(BaseModel):
    """What the job pays in a year."""

    amount: int = Field(ge=0, description="The yearly salary as a whole number")
    currency: str = Field(description="The currency as a three-letter code")


class JobAd(BaseModel):
    """One advertised job."""

    title: str = Field(description="The job's title")
    company: str = Field(description="The employer's name")
    location: str = Field(description="The city")
    salary: Salary
    skills: list[str] = Field(description="The skills that are asked for, in the order of the text")
