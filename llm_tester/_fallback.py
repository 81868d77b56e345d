"""The form of an entry's `fallback`."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from . import errors

__all__ = ["Fallback"]


def _known_error(name: str) -> str:
    kinds = (kind for kind in vars(errors).values() if isinstance(kind, type))
    known = [kind.__name__ for kind in kinds if issubclass(kind, errors.ProviderError)]
    if name not in known:
        raise ValueError(f"found {name!r}, expected the name of an error of a call; {errors.suggest(name, known)}")
    return name


class Fallback(BaseModel):
    """Another provider to ask if the entry's own does not answer. In a config, `to` alone may be written as a text.

    Attributes:
        to: the provider's name, or `<provider>:<model>`; without a model it is the provider's default one.
        on: the errors after which it is asked, by the names of their classes; subclasses count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    to: str = Field(min_length=1)
    on: tuple[Annotated[str, AfterValidator(_known_error)], ...] = Field(
        default=("RateLimitError", "ServerError", "TimeoutError", "ConnectionError"), min_length=1
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        return {"to": given} if isinstance(given, str) else given
