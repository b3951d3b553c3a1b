"""A fitted network in, the same network with a place for products that nobody had bought while it learned out.

Such a product has no vector of its own; it gets the mean of those of its category (of all products, where it has none). What
it is worth beyond that its popularity says, and the trees beside the network, which know it by what it is and sells with.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.arrays import BoolArray
from training.models.next_product.network import NextProductNet


def place_unseen(net: NextProductNet, seen: BoolArray, category: NDArray[np.int32]) -> None:
    """Fill the rows (V + 1,) that are not `seen`, in place; `category` (V + 1,) is 0 where none is known."""
    unseen = torch.from_numpy(np.flatnonzero(~seen[1:]) + 1)
    if not len(unseen) or not seen[1:].any():
        return
    group = torch.from_numpy(category.astype(np.int64))
    learned = torch.from_numpy(seen.copy())
    learned[0] = False
    with torch.no_grad():
        for table in _tables(net):
            width = table.shape[1]
            total = torch.zeros(int(group.max()) + 1, width).index_add_(0, group[learned], table[learned])
            count = torch.bincount(group[learned], minlength=len(total)).unsqueeze(1)
            overall = table[learned].mean(dim=0)
            mean = torch.where(
                (count > 0) & (torch.arange(len(total)) > 0).unsqueeze(1), total / count.clamp(min=1), overall
            )
            table[unseen] = mean[group[unseen]]


def _tables(net: NextProductNet) -> Iterator[Tensor]:
    yield from (net.item.weight, net.item_bias.weight, net.repeat.weight)
