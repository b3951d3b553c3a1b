"""What a simulated world is like, and the named worlds that proofs are made on."""

from dataclasses import dataclass, replace

from features.errors import InputError


@dataclass(frozen=True)
class WorldConfig:
    """What a world is like; the defaults are the strong world."""

    n_customers: int = 2_000
    n_days: int = 120
    seed: int = 0
    heterogeneity: float = 1.0
    """Spread (log-odds) of the customers' own effects per channel; 0: every channel does the same to everybody."""
    predictability: float = 0.8
    """Share of that spread, and of what a contact does to leaving, that behaviour tells about."""
    contact_effect: float = 1.0
    """Multiplies the channels' mean effects; 0 with heterogeneity 0: contacts do nothing."""
    timing: float = 0.6
    """Log-odds between the best and a middling hour."""
    fatigue: float = 0.25
    """Log-odds lost per recent contact."""
    price_sensitivity: float = 1.0
    """How much promotions sell more and high prices sell less."""
    stock_level: float = 60.0
    """Units per category and place when the shelves are full; few make products run out."""
    churn_per_day: float = 1 / 250
    """Middle hazard of leaving for good."""
    contact_hazard: float = 0.7
    """Spread (log of the hazard) of what a contact does to leaving."""
    consent_share: float | None = None
    """Share that consents to e-mail, SMS and push; None: 0.8, 0.55 and 0.65."""
    costs: float = 1.0
    """Multiplies the costs of contacts and of losing a consent."""
    decision_every_days: float = 7.0
    """Mean days between two decisions about a customer."""
    warmup_days: int = 28
    """Days before the first decision."""
    exploration: float = 0.5
    """Share of decisions that are uniform over all arms; the rest go to the channel that the customer opened most."""
    anonymous_share: float = 0.3
    """Share of the web visits without a login, which carry a cookie only; 0: every event names its customer."""
    named_products: bool = False
    """Products with the names, brands and prices of catalogue.csv, instead of numbers and drawn prices."""

    def __post_init__(self) -> None:
        bad = [
            name
            for name, fine in {
                "n_customers": self.n_customers >= 1,
                "n_days": self.n_days >= 1,
                "predictability": 0 <= self.predictability <= 1,
                "exploration": 0 < self.exploration <= 1,
                "anonymous_share": 0 <= self.anonymous_share <= 1,
                "consent_share": self.consent_share is None or 0 <= self.consent_share <= 1,
                "decision_every_days": self.decision_every_days >= 1,
            }.items()
            if not fine
        ]
        if bad:
            raise InputError(f"{bad[0]} is {getattr(self, bad[0])}.", repair="See WorldConfig for what it may be.")


def world_config(name: str, **changes: object) -> WorldConfig:
    """The named worlds: `strong`, `weak` (a third of the differences), `null` (none: one arm is best for everybody), and
    `retention` (customers leave fast, contacts are four weeks apart and move the hazard of leaving strongly).

    In the null world everybody consents, nobody tires and contacts cost nothing, so that nothing but the arm matters.
    """
    worlds = {
        "strong": WorldConfig(),
        "weak": WorldConfig(heterogeneity=0.35, timing=0.2),
        "retention": WorldConfig(
            churn_per_day=1 / 100, contact_hazard=1.5, decision_every_days=28.0, exploration=1.0, consent_share=1.0
        ),
        "null": WorldConfig(heterogeneity=0.0, timing=0.0, fatigue=0.0, consent_share=1.0, costs=0.0),
    }
    if name not in worlds:
        raise InputError(f"There is no world {name!r}.", repair=f"Use one of {', '.join(worlds)}.")
    return replace(worlds[name], **changes)  # type: ignore[arg-type]
