"""Another version's next-product files and a cutoff in, that version as it could have served at the cutoff out.

A version's files know what was popular, sold together and sold where at the end of its data. Where that lies after the
cutoff, as with a champion of yesterday that is measured over last month, these tables would tell it of the very purchases
that it is to foresee. They are then made again from the purchases before the cutoff; what it learned is left as it is.
"""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from features.arrays import Float32Array, IntArray
from features.moments import utc
from features.scoring.model_files import find_file, read_metadata
from features.scoring.next_product import ProductFiles, open_session
from features.settings import Settings
from training.data.baskets import Purchases
from training.models.next_product.data import ProductVocabulary, log_popularity
from training.models.next_product.item_tables import CompanionBuilder, TableSettings

_WHO = "The champion"


def champion_at(folder: Path, purchases: Purchases, cutoff: datetime, settings: Settings) -> ProductFiles:
    """The files in `folder`, with nothing later than `cutoff` in their tables. Raises StoreError for unusable files.

    A version whose data ended before the cutoff stays as it is: so old is what it would serve with. So does one from
    before tables could be made again, which does not say how its own were made.
    """
    files, told = ProductFiles.load(folder, _WHO), read_metadata(folder)
    if not told.get("as_of_end") or utc(told["as_of_end"]) <= cutoff or not told.get("tables"):
        return files
    lines, now = purchases.lines, cutoff.timestamp()
    vocabulary = ProductVocabulary(
        files.product_ids, catalogue_rows(files.product_ids, purchases.product_ids), lines.n_items
    )
    builder = CompanionBuilder(lines, vocabulary, settings.products_path, settings.timeline_path)
    popularity = log_popularity(lines, vocabulary, now, told["config"]["popularity_half_life_days"])
    graph = with_popularity(find_file(folder, "*.onnx", _WHO), popularity.numpy())
    return replace(
        files,
        session=open_session(graph),
        companions=None if files.companions is None else builder.at(now, TableSettings(**told["tables"])),
    )


def catalogue_rows(product_ids: tuple[str, ...], catalogue: NDArray[np.object_]) -> IntArray:
    """Rows of products in a catalogue (row i + 1 is `catalogue[i]`); 0 for those that it lacks."""
    row_of = {str(name): row for row, name in enumerate(catalogue, start=1)}
    return np.array([row_of.get(name, 0) for name in product_ids], dtype=np.int64)


def with_popularity(graph: Path, log_popularity: Float32Array) -> bytes:
    """The network's graph with another log-popularity (V + 1,); as it is where an older export merged it into others."""
    model = onnx.load(graph)
    constants = {constant.name: constant for constant in model.graph.initializer}
    if {"log_popularity", "popularity_weight"} <= constants.keys():
        constants["log_popularity"].CopyFrom(onnx.numpy_helper.from_array(log_popularity, "log_popularity"))
    return model.SerializeToString()
