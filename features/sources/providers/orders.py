"""Orders and their lines come in, in two files or one inside the other; purchases go out, by a mapping made from their columns.

What the columns mean is told by their names and values, as `omni mapping suggest` tells it (`sources/suggesting`); what cannot
be told that way, a mapping says.
"""

import logging
import tomllib
from collections.abc import Iterator
from pathlib import Path

from features.errors import InputError
from features.sources.batch import SourceBatch
from features.sources.mapping import load_mapped
from features.sources.mapping_config import JoinSpec, MappingConfig
from features.sources.suggesting.suggestion import suggest

logger = logging.getLogger(__name__)


def load(path: str | None, sample: float | None, mapping: Path | None, join: JoinSpec | None) -> Iterator[SourceBatch]:
    """Batches of the lines at `path`; `join` names the file of their orders and the column that both have.

    Raises InputError where the columns do not say what was sold to whom.
    """
    place = path or ""
    if mapping is not None:
        return load_mapped(place, mapping, sample, join)
    found = suggest(place, join)
    config = MappingConfig.model_validate(tomllib.loads(found.text))
    missing = [name for name in ("product_id", "session_id") if name not in config.columns]
    if missing:
        raise InputError(
            f"No column of {place} says the {'product' if missing[0] == 'product_id' else 'order'} of a line.",
            repair="Write its mapping (omni mapping suggest begins one) and pass --mapping.",
        )
    logger.warning(
        "The columns of %s are taken as omni mapping suggest reads them; --dry-run shows what they become.", place
    )
    return load_mapped(place, config, sample, join)
