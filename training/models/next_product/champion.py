"""Another version's next-product files and a cutoff in, that version as it could have served at the cutoff out.

A version's files know what was popular, sold together and sold where at the end of its data. Where that lies after the
cutoff, as with a champion of yesterday that is measured over last month, these tables would tell it of the very purchases
that it is to foresee. They are then made again from the purchases before the cutoff; what it learned is left as it is.
"""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.arrays import IntArray
from features.errors import StoreError
from features.moments import utc
from features.scoring.model_files import read_metadata
from features.scoring.next_product import ProductFiles
from features.settings import Settings
from training.data.baskets import Purchases
from training.models.next_product.data import ProductVocabulary
from training.models.next_product.history import ProductHistory, ProductSource
from training.models.next_product.item_tables import CompanionBuilder, TableSettings, product_facts

_WHO = "The champion"


def champion_at(
    folder: Path, purchases: Purchases, cutoff: datetime, settings: Settings, store: ProductSource
) -> ProductFiles:
    """The files in `folder` as they would serve at `cutoff`. Raises StoreError for files that cannot be used, or not so.

    What is popular is of the cutoff, as for whoever serves. Neighbours are from the end of the version's data, so old are
    those that it would serve with, unless that lies after the cutoff.
    """
    files, metadata = ProductFiles.load(folder, _WHO), read_metadata(folder)
    now = cutoff.timestamp()
    ends_later = metadata.get("as_of_end") and utc(metadata["as_of_end"]) > cutoff
    if ends_later and files.popularity_days is None:
        raise StoreError(
            f"{_WHO}'s network brings along what sold after the test began, and cannot be told otherwise.",
            repair="Overrule the gates: omni promote next-product --force",
        )
    if ends_later and metadata.get("tables") and files.companions:
        lines = purchases.lines
        vocabulary = ProductVocabulary(
            files.product_ids, catalogue_rows(files.product_ids, purchases.product_ids), lines.n_items
        )
        history = ProductHistory.of_store(store, files.product_ids, [cutoff])
        builder = CompanionBuilder(lines, vocabulary, history, settings.products_path, settings.timeline_path)
        files = replace(files, companions=builder.at(now, TableSettings(**metadata["tables"])))
    (states,) = store.training_products([cutoff])
    return files.as_of(states, product_facts(settings.products_path), now)


def catalogue_rows(product_ids: tuple[str, ...], catalogue: NDArray[np.object_]) -> IntArray:
    """Rows of products in a catalogue (row i + 1 is `catalogue[i]`); 0 for those that it lacks."""
    row_of = {str(name): row for row, name in enumerate(catalogue, start=1)}
    return np.array([row_of.get(name, 0) for name in product_ids], dtype=np.int64)
