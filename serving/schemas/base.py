"""What all shapes are made with: names from outside, probabilities, and a config that shows an example."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""An id from the outside world: 1 to 256 characters, no control characters."""
Probability = Annotated[float, Field(ge=0, le=1)]
Real = Annotated[float, Strict()]
"""A number of a question: as the document says, a text is none."""


def _no_text(value: object) -> object:
    """Refuse what pydantic would read as a whole number; strict it would refuse 5.0 as well, which is one in JSON."""
    if isinstance(value, str | bool):
        raise ValueError("Input should be a valid integer")
    return value


NO_TEXT: Final = BeforeValidator(_no_text)
"""Of whole numbers, likewise; it comes after their limits."""


class Finite(BaseModel):
    """A part of an answer: its numbers are numbers. NaN and infinity would be answered as null, which means unknown."""

    model_config = ConfigDict(allow_inf_nan=False)


def described(example: dict[str, Any], *, request: bool = False) -> ConfigDict:
    """The config of a shape whose description shows an example; requests refuse keys that nobody knows."""
    return ConfigDict(
        extra="forbid" if request else "ignore",
        frozen=True,
        json_schema_extra={"examples": [example]},
        allow_inf_nan=False,
    )
