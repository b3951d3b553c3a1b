"""Feast's feature store: entity rows in, states as of their moments out; newest states in, online rows out.

The only module that calls `feast.FeatureStore`. Feast is imported on first use, because that takes seconds.
"""

import atexit
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features import databases, views
from features.databases import is_damaged
from features.errors import InputError, MissingError, StoreError
from features.ids import id_series
from features.log.event_log import EventLog
from features.offline.files import newest_rows
from features.offline.product_sales import product_states_as_of
from features.online.checkpoint import Checkpoint
from features.online.reach import Reach
from features.online.sqlite import ANEW, NAME
from features.online.writer import OnlineWriter
from features.settings import Settings
from features.state.batch import StateBatch
from features.state.encoding import PRODUCTS_SCHEMA, STATE_SCHEMA, decode
from features.state.products import ProductStates
from features.store.loading import load_feast
from features.store.repository import FeastFolder, close_ibis, left_over, quietly, saying_which_registry
from features.views import CUSTOMER_PRODUCTS, CUSTOMER_STATE, CUSTOMER_VIEWS, PRODUCT_SALES, TASK_VIEWS, View
from features.vocabulary import Columns, Task

if TYPE_CHECKING:
    from feast import FeatureStore

logger = logging.getLogger(__name__)

Progress = Callable[[str], None]

_CUSTOMERS_PER_WRITE: Final = 500
"""Customers that are written to the online store in one go: they are half written for no longer than that takes."""
_CUSTOMERS_PER_REPORT: Final = 5_000
_SCHEMAS: Final = {CUSTOMER_STATE.name: STATE_SCHEMA, CUSTOMER_PRODUCTS.name: PRODUCTS_SCHEMA}


class Store:
    """Feast's offline and online stores under `settings.home`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def online(self) -> OnlineWriter:
        """What writes to the online store."""
        return OnlineWriter(self._settings)

    def apply(self) -> bool:
        """Register the definitions and make the stores; returns whether anything had to be done.

        Quick, and without importing Feast, when neither the definitions nor the places have changed.
        """
        folder = FeastFolder(self._settings)
        if folder.is_applied():
            return False
        folder.write()
        with self._saying_where(), saying_which_registry(folder.registry_path), quietly():
            load_feast()
            from features.store.definitions import define

            objects = define(self._settings)
            try:
                self._register(objects)
            except Exception as error:
                if is_damaged(error):
                    raise StoreError(
                        f"The online store {self._settings.online_db_path} is damaged ({error}).",
                        repair="Stop the service, delete it and run `omni features build --force`.",
                    ) from error
                if type(error).__name__ != "DecodeError":  # protobuf's, which only Feast imports
                    raise
                logger.warning("Feast's registry is damaged (%s) and is made anew: it says what the code says", error)
                folder.discard_registry()
                self.__dict__.pop("_feast", None)
                self._register(objects)
        folder.note_applied()
        return True

    def _register(self, objects: list[Any]) -> None:
        self._feast.apply(objects, objects_to_delete=left_over(self._feast, objects), partial=False)

    def training_states(self, entities: pd.DataFrame, task: Task) -> StateBatch:
        """States from events strictly before each entity row's moment, by Feast's definitions.

        `entities` has customer_id (str) and as_of (aware UTC) in any order, duplicates allowed; state i belongs to row i.
        A customer without history by then, or whose last event is older than the view's ttl, has the empty state.
        Only the views that the task's feature service names are read. Raises InputError for entity rows that cannot be
        used and MissingError where there are no states yet.
        """
        keys = _entity_keys(entities)
        if len(keys) == 0:
            return StateBatch.empty(0)
        if self._is_there:
            self.apply()  # another engine may have been chosen since the build
        wanted = [view for view in TASK_VIEWS[task] if view in CUSTOMER_VIEWS]
        tables = self._rows_as_of(wanted, keys)
        return decode(tables.get(CUSTOMER_STATE.name), tables.get(CUSTOMER_PRODUCTS.name))

    def training_products(self, moments: Sequence[datetime]) -> list[ProductStates]:
        """How much every product had sold strictly before each of `moments` (aware, in any order).

        Raises MissingError where nothing was built yet.
        """
        return product_states_as_of(self._settings, moments)

    def feature_service_name(self, task: Task) -> str:
        """The FeatureService that a task's model is trained on and served from, for example `churn_v2`."""
        return views.feature_service_name(task)

    def materialize(
        self,
        progress: Progress = logger.info,
        regrouped: Mapping[str, int] | None = None,
        log: EventLog | None = None,
    ) -> dict[str, int]:
        """Write every customer's and product block's newest offline row to the online store; returns rows written per view.

        `regrouped` are customers whose states hold what the log knew of identities at a row (EventLog.regrouped_since).
        `log` is what the offline rows were folded from: a store of another one is emptied first, and rows that are of no
        known log do not count in answers.

        An online row that the stream has made newer meanwhile is set back, and so is the stream's checkpoint, so that the
        stream goes over those events again. Raises MissingError where the offline sources are not there yet.
        """
        self.apply()
        if log is not None:
            reach = Reach(self._settings)
            reach.make_of(log)
            reach.extend(log)
        states, products = (
            newest_rows(view, view.path(self._settings)) for view in (CUSTOMER_STATE, CUSTOMER_PRODUCTS)
        )
        states = _as_of_regrouping(states, regrouped or {})
        products = _beside(states, products)
        for start in range(0, states.num_rows, _CUSTOMERS_PER_WRITE):
            piece = slice(start, start + _CUSTOMERS_PER_WRITE)
            self.online.write_online(states[piece], products[piece])
            if start % _CUSTOMERS_PER_REPORT == 0:
                progress(f"online store: {start:,} of {states.num_rows:,} customers")
        Checkpoint(self._settings).write(max(states["last_seq"].to_pylist(), default=0))
        blocks = newest_rows(PRODUCT_SALES, self._settings.product_sales_path)
        self.online.write_products(blocks)
        Checkpoint(self._settings, of="products").write(max(blocks["last_seq"].to_pylist(), default=0))
        return {
            CUSTOMER_STATE.name: states.num_rows,
            CUSTOMER_PRODUCTS.name: products.num_rows,
            PRODUCT_SALES.name: blocks.num_rows,
        }

    def online_features(self, keys: Sequence[str], view: View) -> dict[str, list[Any]]:
        """Feast's own answer to an online read: slow, and the measure of what `OnlineReader` must return."""
        features = [f"{view.name}:{field}" for field, _ in view.fields]
        entity_rows = [{view.join_key: key} for key in keys]
        with quietly():
            return dict(self._feast.get_online_features(features=features, entity_rows=entity_rows).to_dict())

    @property
    def _is_there(self) -> bool:
        return (self._settings.feast_dir / "feature_store.yaml").exists()

    @cached_property
    def _feast(self) -> "FeatureStore":
        if not self._is_there:
            raise MissingError(
                f"There is no feature store in {self._settings.feast_dir}.", repair="Run `omni features build`."
            )
        with saying_which_registry(FeastFolder(self._settings).registry_path), quietly():
            load_feast()
            from feast import FeatureStore

            atexit.register(close_ibis)
            return FeatureStore(repo_path=str(self._settings.feast_dir))

    def _rows_as_of(self, views: Sequence[View], keys: pd.DataFrame) -> dict[str, pa.Table]:
        """For every entity row the row of each view that was true; a null row where there was none."""
        from features.offline.point_in_time import OfflineView, rows_as_of
        from features.store.history import FeastHistory

        customers = keys[Columns.CUSTOMER_ID]
        # A row of the very moment is not known yet, and both engines take what is not newer than the moment.
        moments = keys[Columns.AS_OF] - pd.Timedelta(1, "us")
        if self._settings.offline_store == "spark":
            history = FeastHistory(self._feast, self._settings)
            times = history.row_moments(customers, moments, views)
            return {view.name: history.rows_at(view, _schema(view), customers, times[view.name]) for view in views}
        registered = {view.name: self._feast.get_feature_view(view.name) for view in views}
        return {
            view.name: rows_as_of(OfflineView.from_feast(registered[view.name]), _schema(view), customers, moments)
            for view in views
        }

    def _saying_where(self) -> AbstractContextManager[None]:
        """Feast lets the errors of SQLite and of Redis' client through."""
        if self._settings.online_store != "redis":
            return databases.in_words(NAME, self._settings.online_db_path, ANEW)
        from features.online.redis import saying_where

        return saying_where(self._settings)


def _entity_keys(entities: pd.DataFrame) -> pd.DataFrame:
    """customer_id and as_of of the entity rows, checked, with a fresh index."""
    missing = {Columns.CUSTOMER_ID, Columns.AS_OF} - set(entities.columns)
    if missing:
        raise InputError(f"The entity rows lack {', '.join(sorted(missing))}.", repair="Name the columns so.")
    keys = entities[[Columns.CUSTOMER_ID, Columns.AS_OF]].reset_index(drop=True)
    if not isinstance(keys[Columns.AS_OF].dtype, pd.DatetimeTZDtype):
        raise InputError("as_of has no time zone.", repair="Localize it to UTC.")
    if keys.isna().any(axis=None):
        raise InputError("An entity row has no customer_id or no as_of.", repair="Drop such rows.")
    moments = keys[Columns.AS_OF].dt.tz_convert("UTC").dt.as_unit("us")
    return keys.assign(**{Columns.CUSTOMER_ID: id_series(keys[Columns.CUSTOMER_ID]), Columns.AS_OF: moments})


def _as_of_regrouping(states: pa.Table, regrouped: Mapping[str, int]) -> pa.Table:
    """State rows whose last_seq says that they know of the regrouping, though no event of the customer's came with it."""
    if not regrouped:
        return states
    names = states[Columns.CUSTOMER_ID].to_pylist()
    at_least = np.array([regrouped.get(name, 0) for name in names], dtype=np.int64)
    place = states.column_names.index("last_seq")
    last_seq = np.maximum(states["last_seq"].to_numpy(), at_least)
    return states.set_column(place, states.schema.field(place), pa.array(last_seq))


def _schema(view: View) -> pa.Schema:
    return pa.schema([_SCHEMAS[view.name].field(name) for name, _ in view.fields])


def _beside(states: pa.Table, products: pa.Table) -> pa.Table:
    """The products row of every state row, in that order and with its seq; empty for a customer without products."""
    row_of = {customer: row for row, customer in enumerate(products[Columns.CUSTOMER_ID].to_pylist())}
    rows = [row_of.get(customer) for customer in states[Columns.CUSTOMER_ID].to_pylist()]
    beside = products.combine_chunks().take(pa.array(rows, pa.int64()))
    moments = pc.coalesce(beside[Columns.EVENT_TIMESTAMP], states[Columns.EVENT_TIMESTAMP])
    known = {
        Columns.CUSTOMER_ID: states[Columns.CUSTOMER_ID],
        Columns.EVENT_TIMESTAMP: moments,
        "products_seq": states["last_seq"],
    }
    for name, column in known.items():
        beside = beside.set_column(beside.column_names.index(name), name, column)
    return beside
