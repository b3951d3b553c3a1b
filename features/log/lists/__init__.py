"""What a retailer keeps beside the events, in the same database: offers, experiments, and whom nothing is sent to."""

from features.log.lists.experiment_table import CREATE as _CREATE_EXPERIMENTS
from features.log.lists.offer_table import CREATE as _CREATE_OFFERS
from features.log.lists.suppression_table import CREATE as _CREATE_SUPPRESSIONS

CREATE = (*_CREATE_OFFERS, *_CREATE_SUPPRESSIONS, *_CREATE_EXPERIMENTS)
"""The tables, for both engines: `{text}` and `{bytes}` are the engine's."""
NEWEST = "experiments"
"""The table that was added last: a log that has it has them all."""
