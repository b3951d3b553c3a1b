"""A fitted network in, the same network with places for products that nobody had bought while it learned out.

Such a product has no vector of its own; it gets the mean of those of its category (of all products, where it has none). What
it is worth beyond that its popularity says, and the trees beside the network, which know it by what it is and sells with.
"""

from collections.abc import Iterator
from dataclasses import replace

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


def with_spare(net: NextProductNet, n_spare: int) -> NextProductNet:
    """The network with `n_spare` more rows, each the mean of all products: places for what is first sold later."""
    size = replace(net.size, n_items=net.size.n_items + n_spare)
    more = torch.zeros(n_spare)
    wider = NextProductNet(size, torch.cat((net.log_popularity, more)))
    weights = net.state_dict()
    known = net.size.n_items + 1
    with torch.no_grad():
        for name, table in wider.state_dict().items():
            table[(slice(len(weights[name])),) if table.dim() else ...] = weights[name]
    rows = np.arange(known + n_spare)
    place_unseen(wider, (rows > 0) & (rows < known), np.zeros(len(rows), np.int32))
    return wider


def _tables(net: NextProductNet) -> Iterator[Tensor]:
    yield from (net.item.weight, net.item_bias.weight, net.repeat.weight)
