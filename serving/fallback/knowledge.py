"""What answers rest on beside a customer and a question: models, products, habits of everybody; swapped whole."""

from dataclasses import dataclass, field
from functools import cached_property

from features.arrays import FloatArray
from features.online.live import LiveStates
from serving.decision.send_time import uniform_hours
from serving.fallback.choice import Fallback
from serving.fallback.population import Population
from serving.products.catalogue import Catalogue
from serving.scorers.bundle import Bundle


@dataclass(frozen=True)
class Knowledge:
    """What is loaded from outside and swapped whole: models, products, habits of the population."""

    bundle: Bundle = field(default_factory=Bundle)
    catalogue: Catalogue = field(default_factory=Catalogue)
    population_hours: FloatArray = field(default_factory=uniform_hours)
    states: LiveStates | None = None
    store_problem: str = ""
    counted: Fallback | None = None
    """What answers without models, once everybody was counted."""

    @cached_property
    def fallback(self) -> Fallback:
        """What answers without models: before anybody was counted it knows the range of products and nothing more."""
        return self.counted or Fallback.of(Population(), self.catalogue)
