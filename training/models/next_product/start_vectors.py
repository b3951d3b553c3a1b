"""Where product vectors start: purchases in, vectors whose products follow the smoothed rules between products out."""

import math

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits
from torch import Tensor

from training.data.interactions import Interactions
from training.models.next_product.data import ProductVocabulary
from training.models.recommenders.baselines import SequenceRules


def start_vectors(lines: Interactions, vocabulary: ProductVocabulary, embedding_dim: int, seed: int) -> Tensor:
    """One vector of length sqrt(embedding_dim) per product (V, embedding_dim); what follows each other often lies near."""
    now = float(lines.time.max(initial=0.0)) + 1.0
    rules = SequenceRules.fit(lines, now, max_distance=10, distance_decay=0.8, shrinkage=10.0, backward=1.0).rules
    rows = vocabulary.catalogue_rows
    # Sums in another order would be another start: one seed, one result on any number of cores.
    with threadpool_limits(1):
        left, values, _ = randomized_svd(rules[rows][:, rows], embedding_dim, n_iter=4, random_state=seed)
    vectors = left * np.sqrt(values)
    vectors *= math.sqrt(embedding_dim) / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6)
    # Turned at random, so that every dimension carries as much as any other.
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(embedding_dim, embedding_dim)))[0]
    return torch.from_numpy((vectors @ turn).astype(np.float32))
