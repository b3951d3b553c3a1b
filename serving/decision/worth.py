"""What an offer's response counts for beside money, as `[value]` of rules.toml says it."""

from pydantic import Field

from features.config import Config


class ValueRules(Config):
    """How the value of an offer is weighed; see serving/offers/value.py."""

    retention: float = Field(0.0, ge=0, le=10)
    """How much more a response counts of a customer who will surely leave than of one who surely stays; 0: alike."""
    fatigue: float = Field(0.0, ge=0)
    """What one more contact loses of later responses, in money."""
