"""The parameters of a small next-product network by the names that its graph has; their values are random."""

import numpy as np

from features.arrays import Float32Array

N_KINDS, N_CHANNELS = 30, 20


def network_shapes(n_rows: int) -> dict[str, tuple[int, ...]]:
    """Four numbers a product, two heads, two traces, six hidden."""
    return {
        "popularity_weight": (),
        "habit_level": (),
        "habit_frequency": (),
        "trace_rate": (2,),
        "trace_score": (2,),
        "pool.forgetting": (2,),
        "item.weight": (n_rows, 4),
        "item_bias.weight": (n_rows, 1),
        "repeat.weight": (n_rows, 3),
        "kind.weight": (N_KINDS, 4),
        "channel.weight": (N_CHANNELS, 4),
        "trace_kind.weight": (N_KINDS, 2),
        "trace_channel.weight": (N_CHANNELS, 2),
        "context.weight": (6, 4),
        "time.weight": (4, 2),
        "time.bias": (4,),
        "pool.relevance.weight": (2, 4),
        "pool.relevance.bias": (2,),
        "pool.mix.weight": (4, 8),
        "pool.mix.bias": (4,),
        "summary.2.weight": (4, 4),
        "summary.2.bias": (4,),
        "habit_in.weight": (6, 17),
        "habit_in.bias": (6,),
        "habit_out.1.weight": (6, 6),
        "habit_out.1.bias": (6,),
        "habit_out.3.weight": (1, 6),
        "habit_out.3.bias": (1,),
    }


def network_arrays(n_rows: int) -> dict[str, Float32Array]:
    """A network of `n_rows` products, padding counted."""
    rng = np.random.default_rng(0)
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in network_shapes(n_rows).items()}
