"""The lines of an order come in with a discount of the whole order; what each line is worth goes out, to the cent."""

from collections.abc import Sequence
from typing import Final

CENT: Final = 0.01
_ROUND: Final = 2


def net_values(lines: Sequence[float], order_discount: float = 0.0) -> list[float]:
    """The values (n,) of lines after their own discounts, less their shares of the order's discount, by value.

    Shares are rounded to cents, and the last line takes the rest, so that the lines add up to the order's total. A
    discount of more than all lines leaves nothing.
    """
    total = sum(lines)
    off = min(max(order_discount, 0.0), total)
    if off <= 0.0 or total <= 0.0:
        return [round(line, _ROUND) for line in lines]
    shares = [round(off * line / total, _ROUND) for line in lines]
    last = max(place for place, line in enumerate(lines) if line > 0.0)
    shares[last] = round(off - sum(share for place, share in enumerate(shares) if place != last), _ROUND)
    return [round(line - share, _ROUND) for line, share in zip(lines, shares, strict=True)]


def order_discount(lines: Sequence[float], stated: float, total: float | None) -> float:
    """What is still to be taken off `lines` (n,), so that they add up to the `total` that the order itself names.

    Tools do not agree whether prices are before or after the `stated` discount, and whether it holds shipping: the total of
    the goods settles it. Without one, or with one that is higher than the lines, the stated discount counts.
    """
    if total is None:
        return stated
    missing = round(sum(lines) - total, _ROUND)
    if missing >= -CENT:
        return max(missing, 0.0)
    return stated
