"""Some customers' decisions as the table that `omni decide --all` writes."""

import pyarrow as pa

from features.online.many import LiveBatch
from serving.campaigns.crowd import Crowd
from serving.decider import Decider
from serving.runtime import Runtime
from serving.schemas import DecideRequest


def table_of_all(runtime: Runtime, *names: str) -> pa.Table:
    """The rows of those customers, by what the runtime knows now."""
    known = runtime.knowledge
    assert known.states is not None
    lives = [live for name in names if (live := known.states.get(name))]
    decider = Decider(known.bundle, known.catalogue, runtime.rules, known.population_hours)
    request = DecideRequest(customer_id="*", when="best")
    return Crowd(decider, request, runtime.clock.now()).decide(LiveBatch.of(lives)).table()
