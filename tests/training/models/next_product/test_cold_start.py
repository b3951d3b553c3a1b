"""Products that the network never learned: a vector from their category, and nothing changes for the others."""

import numpy as np
import torch

from training.models.next_product.cold_start import place_unseen
from training.models.next_product.network import NetworkSize, NextProductNet


def test_an_unseen_product_is_like_its_category_or_like_everything() -> None:
    torch.manual_seed(1)
    net = NextProductNet(NetworkSize(5, 4, 3, embedding_dim=8), torch.zeros(6))
    before = net.item.weight.detach().clone()
    seen = np.array([False, True, True, True, False, False])
    category = np.array([0, 1, 1, 2, 1, 3], np.int32)
    place_unseen(net, seen, category)
    after = net.item.weight.detach()
    torch.testing.assert_close(after[:4], before[:4])
    torch.testing.assert_close(after[4], before[1:3].mean(dim=0))
    torch.testing.assert_close(after[5], before[1:4].mean(dim=0))  # nobody learned a product of category 3
    place_unseen(net, np.ones(6, bool), category)
    torch.testing.assert_close(net.item.weight.detach(), after)
