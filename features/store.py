"""Feast's feature store: entity rows in, states as of their moments out; newest states in, online rows out.

The only module that calls `feast.FeatureStore`. Feast is imported on first use, because that takes ten seconds.
"""

import atexit
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features import spark, views
from features.checkpoint import Checkpoint
from features.clock import Clock
from features.errors import InputError, MissingError
from features.feast_folder import FeastFolder, close_ibis, quietly
from features.offline import ROW_TIME, newest_rows, refresh_moments
from features.settings import Settings
from features.state import PRODUCTS_SCHEMA, STATE_SCHEMA, StateBatch, decode
from features.views import CUSTOMER_PRODUCTS, CUSTOMER_STATE, CUSTOMER_VIEWS, PRODUCT_STATE, TASK_VIEWS, VIEWS, View
from features.vocabulary import Columns, Task

if TYPE_CHECKING:
    from feast import FeatureStore
    from feast.infra.provider import Provider

logger = logging.getLogger(__name__)

Progress = Callable[[str], None]

_ENTITY_ROW: Final = "entity_row"
_READ_ROWS: Final = 100_000
"""Wide rows that one point-in-time query may return: bounds the memory that Feast's join takes."""
_CUSTOMERS_PER_WRITE: Final = 500
"""Customers that are written to the online store in one go: they are half written for no longer than that takes."""
_CUSTOMERS_PER_REPORT: Final = 5_000
_PRODUCTS_PER_WRITE: Final = 20_000
_SCHEMAS: Final = {CUSTOMER_STATE.name: STATE_SCHEMA, CUSTOMER_PRODUCTS.name: PRODUCTS_SCHEMA}


class Store:
    """Feast's offline and online stores under `settings.home`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = Clock.from_settings(settings)

    def apply(self) -> bool:
        """Register the definitions and make the stores; returns whether anything had to be done.

        Quick, and without importing Feast, when neither the definitions nor the places have changed.
        """
        folder = FeastFolder(self._settings)
        if folder.is_applied():
            return False
        folder.write()
        with quietly():
            from features.definitions import define

            self._feast.apply(define(self._settings))
        folder.note_applied()
        return True

    def training_states(self, entities: pd.DataFrame, task: Task) -> StateBatch:
        """States from events strictly before each entity row's moment, by Feast's point-in-time retrieval.

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
        moments = self._row_moments(keys, wanted)
        if all((times < 0).all() for times in moments.values()):
            return StateBatch.empty(len(keys))
        tables = {view.name: self._rows_at(view, keys[Columns.CUSTOMER_ID], moments[view.name]) for view in wanted}
        return decode(tables.get(CUSTOMER_STATE.name), tables.get(CUSTOMER_PRODUCTS.name))

    def feature_service_name(self, task: Task) -> str:
        """The FeatureService that a task's model is trained on and served from, for example `churn_v1`."""
        return views.feature_service_name(task)

    def materialize(self, progress: Progress = logger.info) -> dict[str, int]:
        """Write every customer's and product's newest offline row to the online store; returns rows written per view.

        An online row that the stream has made newer meanwhile is set back, and so is the stream's checkpoint, so that the
        stream goes over those events again. Raises MissingError where the offline sources are not there yet.
        """
        self.apply()
        states, products = (
            newest_rows(view, view.path(self._settings)) for view in (CUSTOMER_STATE, CUSTOMER_PRODUCTS)
        )
        products = _beside(states, products)
        for start in range(0, states.num_rows, _CUSTOMERS_PER_WRITE):
            self.write_online(states.slice(start, _CUSTOMERS_PER_WRITE), products.slice(start, _CUSTOMERS_PER_WRITE))
            if start % _CUSTOMERS_PER_REPORT == 0:
                progress(f"online store: {start:,} of {states.num_rows:,} customers")
        Checkpoint(self._settings).write(max(states["last_seq"].to_pylist(), default=0))
        catalogue = newest_rows(PRODUCT_STATE, self._settings.product_state_path)
        for start in range(0, catalogue.num_rows, _PRODUCTS_PER_WRITE):
            self._write(PRODUCT_STATE, catalogue.slice(start, _PRODUCTS_PER_WRITE))
            progress(f"online store: {start:,} of {catalogue.num_rows:,} products")
        return {
            CUSTOMER_STATE.name: states.num_rows,
            CUSTOMER_PRODUCTS.name: products.num_rows,
            PRODUCT_STATE.name: catalogue.num_rows,
        }

    def write_online(self, states: pa.Table, products: pa.Table) -> None:
        """Write the same customers' rows of both views (as `state.encode` makes them), replacing what is there.

        Times are not compared: the caller passes states that are at least as new as the stored ones.
        """
        # The products first, with the same seq: by that `OnlineReader` tells a customer who is half written.
        self._write(CUSTOMER_PRODUCTS, products)
        self._write(CUSTOMER_STATE, states)

    def warm_up(self) -> None:
        """Import Feast and open its stores now rather than at the first write."""
        if self._online_views:
            self._provider  # noqa: B018 - for what it opens

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
        with quietly():
            from feast import FeatureStore

            atexit.register(close_ibis)
            return FeatureStore(repo_path=str(self._settings.feast_dir))

    @cached_property
    def _provider(self) -> "Provider":
        """What writes to the online store."""
        provider = self._feast._get_provider()
        if self._settings.online_store == "sqlite":
            # Nothing is lost when a process ends. A power cut may take the last rows; the log has them, answers take
            # them from there, and the stream, which looks back when it starts, writes them again.
            online_store: Any = provider.online_store
            connection = online_store._get_conn(self._feast.config)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA wal_autocheckpoint=10000")  # at 40 MB: a state is some 30 pages
        return provider

    @cached_property
    def _online_views(self) -> dict[str, Any]:
        with quietly():
            from features.definitions import feature_view

            return {view.name: feature_view(view, self._settings) for view in VIEWS}

    def _row_moments(self, keys: pd.DataFrame, wanted: Sequence[View]) -> dict[str, NDArray[np.int64]]:
        """For every entity row the time of the row of each view that was true, in microseconds; -1 for none."""
        from features.definitions import moments_name

        for view in wanted:
            refresh_moments(view, view.path(self._settings), view.moments_path(self._settings))
        # Feast's join is `row <= moment`; events of the very moment are not known yet, hence one microsecond less.
        before = keys[Columns.AS_OF] - pd.Timedelta(1, "us")
        found = self._historical(
            keys[Columns.CUSTOMER_ID], before, [f"{moments_name(view)}:{ROW_TIME}" for view in wanted]
        )
        return {
            view.name: found[f"{moments_name(view)}__{ROW_TIME}"].fill_null(-1).to_numpy().astype(np.int64)
            for view in wanted
        }

    def _rows_at(self, view: View, customers: pd.Series, times: NDArray[np.int64]) -> pa.Table:
        """The row of `view` for every (customer, time of a row); a null row where the time is -1."""
        from features.definitions import exact_name

        schema = pa.schema([_SCHEMAS[view.name].field(name) for name, _ in view.fields])
        wanted = pd.DataFrame({Columns.CUSTOMER_ID: customers.to_numpy(), "time": times})
        known = wanted[wanted["time"] >= 0]
        groups = known.groupby([Columns.CUSTOMER_ID, "time"], sort=True).ngroup()
        distinct = known.loc[~groups.duplicated()].iloc[np.argsort(groups[~groups.duplicated()].to_numpy())]
        pieces = [pa.Table.from_pylist([{}], schema=schema)]
        for start in range(0, len(distinct), _READ_ROWS):
            piece = distinct.iloc[start : start + _READ_ROWS]
            found = self._historical(
                piece[Columns.CUSTOMER_ID],
                pd.to_datetime(piece["time"], unit="us", utc=True),
                [f"{exact_name(view)}:{name}" for name in schema.names],
            )
            columns = [found[f"{exact_name(view)}__{field.name}"].cast(field.type) for field in schema]
            pieces.append(pa.Table.from_arrays(columns, schema=schema))
        position = np.zeros(len(wanted), dtype=np.int64)  # the null row comes first
        position[known.index] = groups.to_numpy() + 1
        return pa.concat_tables(pieces).combine_chunks().take(pa.array(position))

    def _historical(self, customers: pd.Series, moments: pd.Series, features: list[str]) -> pa.Table:
        """Feast's point-in-time join, one row per entity row and in their order; columns are `view__feature`."""
        entity_rows = pd.DataFrame(
            {
                Columns.CUSTOMER_ID: customers.to_numpy(),
                Columns.EVENT_TIMESTAMP: pd.DatetimeIndex(moments),
                _ENTITY_ROW: np.arange(len(customers)),
            }
        )
        with quietly():
            if self._settings.offline_store == "spark":
                spark.session(self._settings)  # Feast takes the running one
            table = self._feast.get_historical_features(entity_rows, features, full_feature_names=True).to_arrow()
        return table.sort_by(_ENTITY_ROW)

    def _write(self, view: View, table: pa.Table) -> None:
        from features.online_rows import to_online_rows

        rows = to_online_rows(view, table, self._clock.now())
        with self._saying_where():
            self._provider.online_write_batch(self._feast.config, self._online_views[view.name], rows, progress=None)

    def _saying_where(self) -> AbstractContextManager[None]:
        """Feast lets the errors of Redis' client through."""
        if self._settings.online_store != "redis":
            return nullcontext()
        from features.online_redis import saying_where

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
    return keys.assign(**{Columns.CUSTOMER_ID: keys[Columns.CUSTOMER_ID].astype(str), Columns.AS_OF: moments})


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
