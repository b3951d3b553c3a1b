"""The config of next-product: which moments are learned from, the network, the tables, the trees and the baselines."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from pydantic import Field, field_validator

from features.config import Config
from features.scoring.rerank import PARTS
from features.state.products import POPULARITY_DAYS
from training.models.next_product.item_tables import TablesConfig
from training.models.recommenders.lambdamart import RankerConfig

_BASELINES: Final[Mapping[str, dict[str, list[Any]]]] = {"popularity": {}, "personal_frequency": {}}
PRIMARY: Final = "ndcg@10"
"""The metric that a fit is stopped by, settings are searched by, and versions are compared by."""


class NextProductConfig(Config):
    """Which moments are learned from, the network's size, its fit, and the grids of the baselines."""

    RENAMED: ClassVar[Mapping[str, str]] = {
        "n_events": "max_length",
        "n_random": "n_negatives",
        "rule_window_days": "tables.rules.window_days",
    }

    horizon_days: float = Field(28, gt=0)
    """The next basket is the first one in this many days after the cutoff; also the length of validation and test."""
    step_days: float = Field(28, gt=0)
    """Days between the cutoffs that training examples are taken at."""
    warmup_days: float = Field(56, ge=0)
    """History that must lie before the first cutoff."""
    n_min_customers: int = Field(5, ge=1)
    """Only products that so many customers bought, up to the end of the data, can be named."""
    popularity_half_life_days: float = 14
    """How fast a purchase stops counting as recent popularity: one of the half-lives that product states hold."""
    n_spare: int = Field(512, ge=0)
    """Rows of the network for products that are first sold after the training."""
    max_length: int = Field(64, ge=1, le=128)
    """Newest events that the network looks at."""
    embedding_dim: int = Field(32, ge=4)
    """Size of a product's vector; a multiple of n_heads."""
    repeat_dim: int = Field(2, ge=1)
    """Size of what is learned about how a product is bought again."""
    hidden_dim: int = Field(24, ge=4)
    """Width of the network that scores habitual products."""
    n_heads: int = Field(4, ge=1)
    """Attention heads, each with its own forgetting."""
    n_blocks: int = Field(0, ge=0)
    """Transformer blocks beside the pooling; 0 only pools."""
    dropout: float = Field(0.4, ge=0, lt=1)
    """Share of the customer's vector, and of the blocks' activations, that is dropped while learning."""
    start_scale: float = Field(0.0, ge=0)
    """Length per dimension of the product vectors at the start, the singular vectors of smoothed rules; 0 starts at random."""
    sequence_weight: float = Field(0.0, ge=0)
    """Weight of the sequences' own next items beside the next baskets in what is learned; needs blocks."""
    batch_size: int = Field(256, ge=2)
    """Most examples per step."""
    batch_events: int = Field(1_000_000, ge=2)
    """Most events per step, padding counted: long histories learn in as small steps as short ones."""
    learning_rate: float = Field(3e-3, gt=0)
    """Highest rate of the one-cycle schedule."""
    weight_decay: float = Field(0.01, ge=0)
    """Pull of all weights towards zero (AdamW)."""
    max_epochs: int = Field(3, ge=1)
    """Most passes over the examples."""
    patience: int = Field(1, ge=1)
    """Passes without a better validation value before the fit stops."""
    n_popular: int = Field(1500, ge=1)
    """Most popular products that every customer's softmax contains."""
    n_negatives: int = Field(500, ge=0)
    """Other products drawn per step, which stand for all the rest."""
    n_threads: int = Field(1, ge=1)
    """Threads of torch; on cores shared with other work one is much faster than two."""
    n_tuning_customers: int = Field(800, ge=1)
    """Validation customers that the baselines are tuned on."""
    n_checked_customers: int = Field(1_000_000, ge=1)
    """Most validation customers by whom a fit is stopped and the final choice is made."""
    n_more_epochs: int = Field(4, ge=1)
    """Most passes of a network that goes on with newer moments, where the trees learned from these first."""
    tables: TablesConfig = TablesConfig()
    """How products point to each other."""
    parts: tuple[str, ...] = PARTS
    """What puts candidates forward and speaks for them; only benchmarks leave any out."""
    with_ranker: bool = True
    """Order the candidates by boosted trees, where that is better on the validation period than the network alone."""
    with_new: bool = True
    """Whether the trees also learn to rank only what a customer never bought."""
    n_ranker_moments: int = Field(3, ge=1)
    """Newest cutoffs before the validation period that the trees learn from."""
    ranker: RankerConfig = RankerConfig()
    """The boosted trees."""
    baselines: dict[str, dict[str, list[Any]]] = Field(default_factory=lambda: dict(_BASELINES))
    """Per baseline each setting's values to choose from on the validation period."""

    @field_validator("popularity_half_life_days")
    @classmethod
    def _held(cls, days: float) -> float:
        if days not in POPULARITY_DAYS:
            raise ValueError(f"product states hold the half-lives {', '.join(f'{day:g}' for day in POPULARITY_DAYS)}")
        return days

    @field_validator("parts")
    @classmethod
    def _known_parts(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        unknown = set(parts) - set(PARTS)
        if unknown or not parts:
            raise ValueError(f"{', '.join(sorted(unknown)) or 'nothing'} is no part; the parts are {', '.join(PARTS)}")
        return parts
