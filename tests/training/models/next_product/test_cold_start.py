"""Products that the network never learned: a vector from their category, and nothing changes for the others."""

import numpy as np
import torch

from training.models.next_product.cold_start import place_unseen, with_spare
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


def test_spare_rows_are_the_mean_and_change_no_score() -> None:
    torch.manual_seed(1)
    net = NextProductNet(NetworkSize(5, 4, 3, embedding_dim=8, dropout=0.0), torch.linspace(0.0, 1.0, 6)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    item, kind, channel = (torch.tensor([[0, 2, 3]]), torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1, 1]]))
    habits = (torch.tensor([[0, 3, 5]]), *(torch.tensor([[0.0, 1.0, 2.0]]) for _ in range(4)))
    asked = (item, kind, channel, torch.tensor([[9.0, 5.0, 1.0]]), *habits)

    wide = with_spare(net, 2).eval()

    assert wide.size.n_items == 7
    popularity = torch.cat((net.log_popularity, torch.tensor([4.0, 5.0])))
    with torch.no_grad():
        torch.testing.assert_close(wide(*asked, popularity)[:, :6], net(*asked))
    torch.testing.assert_close(wide.item.weight[6:], net.item.weight[1:].mean(dim=0).expand(2, -1))
    torch.testing.assert_close(wide.repeat.weight[7], net.repeat.weight[1:].mean(dim=0))
    scores = wide(*asked, popularity)[0]
    torch.testing.assert_close(scores[7] - scores[6], net.popularity_weight)
