"""Small data on which packages give different figures of the same name; numpy alone, so that any environment can read it."""

import numpy as np

SHOWN = list(range(1, 11))
"""Ten products, best first."""
BOUGHT = [2, 5, 99]
"""What the customer took: the second and the fifth of them, and one that was not shown."""

ONE_POSITIVE = np.array([1] + [0] * 19)
SAME_SCORE = np.full(20, 0.3)

TREATED = np.tile([0, 1], 50)
RESPONDED = np.where(TREATED == 1, np.repeat(np.arange(50), 2) < 20, np.repeat(np.arange(50), 2) < 10).astype(float)
"""Of fifty who were contacted twenty bought, of fifty who were not ten; the buyers come first."""
FIRST_HALF = np.repeat([1.0, 0.0], 50)
"""An uplift that puts the first fifty before the others."""

CHANCES = np.concatenate([np.linspace(0.01, 0.09, 90), np.linspace(0.52, 0.70, 10)])
HAPPENED = np.concatenate([np.arange(90) % 30 == 0, np.arange(10) < 5]).astype(int)

CHURNED = np.repeat([1, 0], [100, 900])
CONSTANT = np.full(1000, 0.3)

RATES = {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}
"""BG/NBD as published for CDNOW (Fader, Hardie and Lee 2005)."""
AGE = 38.86

PURCHASES = [(1, "a"), (1, "b"), (2, "a"), (3, "a"), (4, "a"), (1, "c")]
"""Customer and product: `b` is one of six purchases, by one of four customers."""

LAST_BASKET = [("x", "2024-01-01"), ("y", "2024-01-02"), ("z", "2024-01-03"), ("w", "2024-01-03")]
"""One customer's products and days: the last basket holds two."""
