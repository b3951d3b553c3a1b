"""Signals by name through Feast's own calls, of the past and of now: the numbers that models are trained on and asked with."""

import json

import numpy as np
import pytest

from features.signals import SIGNAL_NAMES, WORDS, compute_signals
from features.state.encoding import decode_many
from features.store import named_signals
from features.views import CUSTOMER_STATE
from features.vocabulary import Task

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Feast's ibis calls an old name of DuckDB's
NAMES = [f"{named_signals.NAME}:{name}" for name in SIGNAL_NAMES]


def test_of_the_past_they_are_those_of_training(world, entity_rows):
    store, _ = world
    rows = entity_rows(("anna", 2.5), ("bert", 9), ("nobody", 9), ("r1", 20.3), ("anna", 9))
    asked = rows.rename(columns={"as_of": "event_timestamp"})

    table = store._feast.get_historical_features(asked, NAMES).to_df()

    as_of = rows["as_of"].astype("datetime64[us, UTC]").astype("int64").to_numpy() / 1e6
    expected = compute_signals(store.training_states(rows, Task.CHURN), as_of)
    table = asked.merge(table, on=["customer_id", "event_timestamp"], how="left", validate="1:1")
    np.testing.assert_array_equal(table[list(SIGNAL_NAMES)].to_numpy(np.float32), expected)
    assert np.isfinite(table["tenure_days"]).tolist() == [True, True, False, True, True]


def test_of_now_they_are_those_of_an_answer(world, kit, monkeypatch):
    store, _ = world
    now = kit.at(40)
    monkeypatch.setenv("OMNI_CLOCK_START", now.isoformat())
    customers = ["anna", "nobody", "r2"]

    asked = [{"customer_id": customer} for customer in customers]
    table = store._feast.get_online_features(NAMES, asked).to_df()

    stored = store.online_features(customers, CUSTOMER_STATE)["state"]
    states = decode_many([{"state": state} for state in stored])
    expected = compute_signals(states, np.full(3, now.timestamp()))
    assert table["customer_id"].tolist() == customers
    np.testing.assert_allclose(table[list(SIGNAL_NAMES)].to_numpy(np.float32), expected, atol=1e-3)
    assert np.isfinite(table["tenure_days"]).tolist() == [True, False, True]


def test_feast_says_what_they_mean_and_whose_they_are(world):
    store, _ = world
    view = store._feast.get_on_demand_feature_view(named_signals.NAME)
    # Feast 0.67.0 keeps what is said of an on-demand view's fields, and leaves it out of what it answers
    (kept,) = store._feast.registry.proto().on_demand_feature_views
    told = {field.name: (field.description, field.tags["group"]) for field in kept.spec.features}

    assert {name: words for name, (words, _) in told.items()} == WORDS
    assert told["consent_email"][1] == "channels"
    assert view.owner == store._feast.get_feature_view(CUSTOMER_STATE.name).owner == "omni"
    assert store._feast.get_feature_service(store.feature_service_name(Task.CHURN)).owner == "omni"


def test_feasts_own_files_are_named_from_its_folder(world):
    _, settings = world
    configuration = json.loads((settings.feast_dir / "feature_store.yaml").read_text())

    assert configuration["registry"]["path"] == "registry.db"
    assert configuration["online_store"]["path"] == "online.db"
