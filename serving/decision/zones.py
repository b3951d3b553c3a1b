"""On whose clock hours are: states and rules in, the time zone of each customer out.

The customer's own `time_zone`, as a profile event told it, counts first, then that of the store they did something in last
(`store_time_zones`), then the rules'. It counts for who refused profiling, too: at night they are asleep like everybody.
"""

import math

import numpy as np

from features.arrays import IntArray
from features.attributes.declared import declared
from features.attributes.values import CODE, VALUE, zones
from features.state.batch import StateBatch
from serving.decision.rules import Rules


def rules_of(state: StateBatch, rules: Rules) -> Rules:
    """The rules by the clock of one customer (n = 1)."""
    said = state.attributes.values
    if len(said):
        code = declared().zone_code
        for row in said.tolist():
            if row[CODE] == code and not math.isnan(row[VALUE]):
                return rules.in_zone(zones().get(row[VALUE], rules.time_zone))
    if rules.store_time_zones:
        return rules.in_zone(rules.zone_of_store.get(float(state.scalar("last_store")[0]), rules.time_zone))
    return rules


def by_zone(states: StateBatch, rules: Rules) -> list[tuple[Rules, IntArray]] | None:
    """`rules_of` of n customers: the rules of each zone, and whose they are (m,); None where all have the rules' own."""
    if not rules.store_time_zones and not len(states.attributes.values):
        return None
    names = np.full(len(states), rules.time_zone, object)
    if rules.store_time_zones:
        of_store = states.scalar("last_store").tolist()
        names[:] = [rules.zone_of_store.get(store, rules.time_zone) for store in of_store]
    said = states.attributes
    own = (said.values[:, CODE] == declared().zone_code) & ~np.isnan(said.values[:, VALUE])
    for row, value in zip(said.rows()[own].tolist(), said.values[own, VALUE].tolist(), strict=True):
        names[row] = zones().get(value, rules.time_zone)
    distinct = sorted(set(names.tolist()))
    if distinct == [rules.time_zone]:
        return None
    return [(rules.in_zone(name), np.flatnonzero(names == name)) for name in distinct]
