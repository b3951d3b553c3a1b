"""The signals by their names, as Feast's on-demand view `customer_signals`: states in, a column per signal out.

States are stored and signals are computed from them, as of the moment that is asked about: the row's own `event_timestamp` in
historical retrieval, now (`OMNI_CLOCK_START` counts) online. Feast takes rows up to that moment and including it; training
takes what is strictly before (`Store.training_states`).
"""

import os
from inspect import cleandoc
from typing import Any, Final

import numpy as np
import pandas as pd
from feast import FeatureView, Field, OnDemandFeatureView
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import Float32

from features.clock import Clock
from features.settings import Settings
from features.signals import GROUPS, signal_words, signals_frame
from features.state.encoding import STATE_FIELDS, decode_many
from features.vocabulary import Columns

NAME: Final = "customer_signals"
OWNER: Final = "omni"
_UDF: Final = cleandoc(
    f'''
    def {NAME}(rows):
        """Feast keeps this text in its registry and runs it wherever the view is asked."""
        from features.store.named_signals import named_signals

        return named_signals(rows)
    '''
)


class _StatedView(OnDemandFeatureView):
    """An on-demand view whose schema is stated.

    Feast 0.67.0 would try it on bytes that are no state and refuse words of fields (findings/feast-on-demand-descriptions.sh).
    """

    def infer_features(self) -> None:
        """Nothing to be found out."""


def named_view(states: FeatureView) -> OnDemandFeatureView:
    """The view on `states`, with each signal's words as its description and its group as a tag."""
    groups = {name: group.title for group in GROUPS for name in group.words}
    schema = [
        Field(name=name, dtype=Float32, description=words, tags={"group": groups.get(name, "attribute")})
        for name, words in signal_words().items()
    ]
    scope: dict[str, Any] = {}
    exec(_UDF, scope)
    return _StatedView(
        name=NAME,
        sources=[states],
        schema=schema,
        feature_transformation=PandasTransformation(udf=scope[NAME], udf_string=_UDF),
        mode="pandas",
        description="Every signal of a customer by name, computed from the stored state as of the moment asked about.",
        owner=OWNER,
        tags={"computed": "on demand", "code": "features/signals.py"},
    )


def named_signals(rows: pd.DataFrame) -> pd.DataFrame:
    """Signals (n, F) by name of n rows that hold states as Feast hands them over; a row without one is of nobody known."""
    fields = [name for name, _ in STATE_FIELDS]
    stored = [
        {name: value for name, value in zip(fields, row, strict=True) if not _is_missing(value)}
        for row in rows[fields].itertuples(index=False)
    ]
    states = decode_many(stored)
    return signals_frame(states, _seconds(rows)).set_axis(rows.index)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _seconds(rows: pd.DataFrame) -> np.ndarray:
    """The moment (n,) of each row in seconds since the epoch."""
    if Columns.EVENT_TIMESTAMP not in rows:
        return np.full(len(rows), Clock.from_settings(Settings.from_env(os.environ)).now().timestamp())
    moments = pd.to_datetime(rows[Columns.EVENT_TIMESTAMP], utc=True)
    return moments.astype("datetime64[us, UTC]").astype("int64").to_numpy() / 1e6
