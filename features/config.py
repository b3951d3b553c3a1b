"""A TOML file of somebody's own comes in; a checked pydantic model goes out, or one line that says what is wrong with it."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from features.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def load_toml(model: type[Model], own: Path, given: Path | None = None) -> Model:
    """What `given` says, else what `own` says if it is there, else the defaults. Raises InputError for a bad file."""
    file = given or own
    if given is None and not file.exists():
        return model()
    try:
        return model.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file}: {error}.", repair="Give a readable TOML file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(model.model_fields)
        raise InputError(f"{file}: {name}: {first['msg']}.", repair=f"Known keys: {known}.") from error
