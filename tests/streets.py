"""Streets to score: crooked grids with known gaps and shifts."""

import numpy as np


def city(seed, side=5, *, spread=9.0, keep=1.0, shift=0.0):
    """Crooked streets around a grid, some of them missing."""
    rng = np.random.default_rng(seed)
    corner = np.stack(np.meshgrid(np.arange(side), np.arange(side + 2)), axis=-1) * 90.0
    corner += rng.normal(0, spread, corner.shape)
    pairs = [((r, c), (r, c + 1)) for r in range(side + 2) for c in range(side - 1)]
    pairs += [((r, c), (r + 1, c)) for r in range(side + 1) for c in range(side)]
    kept = np.random.default_rng(seed + 1).random(len(pairs)) < keep
    streets = []
    for (a, b), keep_it in zip(pairs, kept, strict=True):
        bend = (corner[a] + corner[b]) / 2 + rng.normal(0, 4, 2)
        if keep_it:
            streets.append(np.array([corner[a], bend, corner[b]]) + shift)
    return streets
