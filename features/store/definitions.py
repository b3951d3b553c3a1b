"""Feast objects from `views.py`: entities, views with their sources and lifetimes, and one FeatureService per task."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_source import DataSource
from feast.types import Array, Bytes, FeastType, Float32, Float64, Int32, Int64, String

from features.offline.files import ROW_TIME
from features.settings import Settings
from features.store.named_signals import OWNER, named_view
from features.views import (
    CUSTOMER_STATE,
    CUSTOMER_VIEWS,
    TASK_VIEWS,
    VIEWS,
    View,
    exact_name,
    feature_service_name,
    moments_name,
)
from features.vocabulary import Columns

_ONE_MOMENT: Final = timedelta(seconds=1)
"""How far back a view that is asked for exactly one moment looks: as little as Feast's Spark store allows. It counts whole
seconds, and takes 0 of them for no limit at all; the newest row wins, so the answer is the same."""
_TYPES: Final[dict[str, FeastType]] = {
    "int64": Int64,
    "float64": Float64,
    "string": String,
    "bytes": Bytes,
    "int32[]": Array(Int32),
    "int64[]": Array(Int64),
    "float32[]": Array(Float32),
    "float64[]": Array(Float64),
}


def define(settings: Settings) -> list[Any]:
    """Every entity, view and service that is registered with Feast, for the places that `settings` names."""
    entities = {
        view.entity: Entity(
            name=view.entity, join_keys=[view.join_key], value_type=ValueType.STRING, description=view.of, owner=OWNER
        )
        for view in VIEWS
    }
    views = {view.name: _feature_view(view, entities[view.entity], settings) for view in VIEWS}
    helpers = []
    if settings.offline_store == "spark":
        helpers = [view for wide in CUSTOMER_VIEWS for view in _training_views(wide, entities[wide.entity], settings)]
    services = [
        FeatureService(
            name=feature_service_name(task),
            features=[views[view.name] for view in task_views],
            description=f"What the {task.value} model sees.",
            owner=OWNER,
        )
        for task, task_views in TASK_VIEWS.items()
    ]
    return [*entities.values(), *views.values(), named_view(views[CUSTOMER_STATE.name]), *helpers, *services]


def _feature_view(view: View, entity: Entity, settings: Settings) -> FeatureView:
    source: DataSource = _source(view.name, view.path(settings), settings)
    if view in CUSTOMER_VIEWS:
        source = PushSource(name=f"{view.name}_push", batch_source=source)
    return _view(view.name, entity, view, view.fields, view.ttl, source, online=True)


def _training_views(view: View, entity: Entity, settings: Settings) -> list[FeatureView]:
    """The two offline views by which `history.py` finds a row first and reads it second."""
    narrow = _source(moments_name(view), view.moments_path(settings), settings)
    wide = _source(exact_name(view), view.path(settings), settings)
    return [
        _view(moments_name(view), entity, view, ((ROW_TIME, "int64"),), view.ttl, narrow, online=False),
        _view(exact_name(view), entity, view, view.fields, _ONE_MOMENT, wide, online=False),
    ]


def _view(
    name: str,
    entity: Entity,
    view: View,
    fields: tuple[tuple[str, str], ...],
    ttl: timedelta,
    source: DataSource,
    *,
    online: bool,
) -> FeatureView:
    schema = [Field(name=view.join_key, dtype=String)]
    schema += [Field(name=field, dtype=_TYPES[dtype]) for field, dtype in fields]
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=ttl,
        schema=schema,
        source=source,
        online=online,
        description=view.about,
        owner=OWNER,
        tags={"code": "features/state"},
    )


def _source(name: str, path: Path, settings: Settings) -> DataSource:
    if settings.offline_store != "spark":
        # A relative path would be taken from the repository when it is checked, and from wherever the process runs when
        # it is read (Feast 0.67.0 with DuckDB, findings/feast-relative-source.sh).
        return FileSource(name=f"{name}_file", path=str(path), timestamp_field=Columns.EVENT_TIMESTAMP)
    from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

    where = f"file://{path}"  # a bare path would be looked for in the cluster's default file system
    return SparkSource(name=f"{name}_spark", path=where, file_format="parquet", timestamp_field=Columns.EVENT_TIMESTAMP)
