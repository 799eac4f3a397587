"""Synthetic road probability of any size: curvy roads of known middle line, noise, gaps and speckle."""

import cv2
import numpy as np
from numpy.typing import NDArray

DENSE, RURAL = 54.0, 4.5
"""Roads per megapixel: 9 % and under 1 % road."""

_STEP_PX = 12.0
_TILE_PX = 1000


def road_probability(height: int, width: int, *, per_mpx: float, seed: int = 1) -> NDArray[np.uint8]:
    """Draw roads 6 to 12 px wide and some 200 px long; (height, width) uint8, probability × 254.

    One road in five has a gap of 20 px. Edges are soft, everything is grainy, and there are weak patches beside the
    roads.
    """
    rng = np.random.default_rng(seed)
    levels = np.zeros((height, width), np.uint8)
    for line, thickness in _roads(rng, height, width, round(per_mpx * height * width / 1e6)):
        cv2.polylines(levels, [line], isClosed=False, color=225, thickness=thickness)
        if rng.random() < 0.2:
            cv2.circle(levels, line[len(line) // 2].tolist(), 10, 0, -1)
    for row in range(0, height, _TILE_PX):
        strip = levels[row : row + _TILE_PX]
        soft = cv2.GaussianBlur(strip, (0, 0), 1.3).astype(np.float32)
        weak = rng.standard_normal((strip.shape[0] // 40 + 2, width // 40 + 2), dtype=np.float32)
        soft += 14 * cv2.resize(weak, (width, strip.shape[0])).clip(0)
        soft += 14 * rng.standard_normal(strip.shape, dtype=np.float32)
        strip[:] = soft.clip(0, 254)
    return levels


def _roads(rng: np.random.Generator, height: int, width: int, count: int) -> list[tuple[NDArray[np.int32], int]]:
    """Return the middle lines of roads, (points, 2) int32 column and row, and how wide they are."""
    roads = []
    for _ in range(count):
        steps = max(3, int(rng.exponential(200 / _STEP_PX)))
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.12, steps))
        way = _STEP_PX * np.cumsum(np.column_stack([np.cos(heading), np.sin(heading)]), axis=0)
        line = (rng.uniform(0, [width, height]) + way).round().astype(np.int32)
        roads.append((line, int(rng.integers(6, 13))))
    return roads
