"""Canvas, noise, light and camera: how the invented place becomes a photograph.

Everything is painted twice: its colour in full sun (``albedo``) and its ``height`` above ground. One sun over
the height map then gives every slope its brightness and every object its shadow, crowns and roofs alike,
and a simple camera adds uneven light, blur, sharpening and noise. Nothing is taken from a real picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

Floats = NDArray[np.float32]
Array = NDArray[np.float64]
Colour = Sequence[float] | Array | Floats
Spot = tuple[slice, slice]

SUNWARD = np.array([-0.72, 0.69])
"""Horizontal direction to the sun (column, row): afternoon, so shadows fall to the upper right."""
SUN_SLOPE = 1.0
"""Tangent of the sun's elevation."""
SUBPIXEL_BITS = 4


@dataclass
class Canvas:
    """A scene in the making.

    Attributes
    ----------
    albedo
        (height, width, 3) float32, 0–255: colour of a flat sunlit surface.
    height
        (height, width) float32, metres above ground.
    sun
        (height, width) float32, 0–1: how much sun the bare twigs overhead let through.
    """

    albedo: Floats
    height: Floats
    sun: Floats

    def blend(self, cover: Floats, colour: Floats, spot: Spot = np.s_[:, :]) -> None:
        """Lay a (height, width, 3) colour over the scene, or a spot of it, as far as ``cover``, 0–1, goes."""
        self.albedo[spot] += cover[..., None] * (colour - self.albedo[spot])

    def fill(self, rings: Sequence[Array], colour: Colour, *, opacity: float = 1.0,
             rise: Callable[[Floats, Floats], Floats] | float | None = None) -> None:  # fmt: skip
        """Paint a polygon (outlines and holes, (n, 2) x, y each); set its height, maybe from (x, y)."""
        spot = bounds(rings, self.height.shape)
        cover = polygon(rings, spot)
        self.blend(cover * np.float32(opacity), floats(colour), spot)
        if rise is not None:
            y, x = floats(np.mgrid[spot] + 0.5)
            self.height[spot] = np.where(cover > 0.5, rise(x, y) if callable(rise) else rise, self.height[spot])


def floats(values: ArrayLike) -> Floats:
    """Return numbers as float32."""
    return np.asarray(values, np.float32)


def bounds(rings: Sequence[Array], shape: tuple[int, ...]) -> Spot:
    """Find the rows and columns a polygon can touch."""
    points = np.concatenate([np.zeros((0, 2)), *rings]) if rings else np.zeros((1, 2)) - 9
    left, top = np.clip(np.floor(points.min(0)).astype(int) - 2, 0, shape[1::-1])
    right, bottom = np.clip(np.ceil(points.max(0)).astype(int) + 2, (left, top), shape[1::-1])
    return slice(top, bottom), slice(left, right)


def polygon(rings: Sequence[Array], spot: Spot) -> Floats:
    """Rasterize a polygon smoothly: float32 in [0, 1] of the size of ``spot``."""
    rows, columns = spot
    cover = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    points = [(ring - (columns.start + 0.5, rows.start + 0.5)) * 2**SUBPIXEL_BITS for ring in rings]
    if cover.size and points:
        whole = [np.round(ring).astype(np.int32) for ring in points]
        cv2.fillPoly(cover, whole, 255, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS)
    return floats(cover / 255)


def box(centre: Array, length: float, breadth: float, angle: float) -> Array:
    """Return the (4, 2) corners of a rectangle; ``angle`` in radians turns its length from the x axis."""
    along = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    across = np.array([-np.sin(angle), np.cos(angle)]) * breadth / 2
    return np.stack([along + across, along - across, -along - across, across - along]) + centre


def fractal(rng: np.random.Generator, shape: tuple[int, int], coarse: float, fine: float,
            falloff: float = 1.5) -> Floats:  # fmt: skip
    """Make cloudy noise, mean 0 and deviation 1, with features from ``coarse`` down to ``fine`` pixels.

    White noise is filtered in the frequency domain, where amplitude falls as frequency to the ``falloff``.
    """
    waves = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    frequency = np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])).clip(1e-9)
    weight = np.maximum(frequency * coarse, 1) ** -falloff * np.exp(-((frequency * fine) ** 2))
    weight[0, 0] = 0
    noise = fft.irfft2(waves * weight.astype(np.float32), s=shape)
    return floats(noise / noise.std())


def sunlight(canvas: Canvas) -> Floats:
    """Light the height map: (height, width, 3) factors, 1 on flat open ground."""
    down, right = np.gradient(cv2.GaussianBlur(canvas.height, (0, 0), 0.5))
    slope = np.tanh(0.8 * (right * SUNWARD[0] + down * SUNWARD[1]).astype(np.float32))
    direct = np.clip(1 - 0.55 * slope, 0.2, 1.25) * (1 - cast_shadow(canvas.height)) * canvas.sun
    sky = floats([0.12, 0.14, 0.18])
    return floats((1 - sky) * direct[..., None] + sky)


def cast_shadow(height: Floats, reach: int = 20) -> Floats:
    """March towards the sun: 1 where something higher stands in its way, 0 in the open."""
    shade: Floats = np.zeros_like(height)
    for step in range(1, reach + 1):
        dx, dy = -SUNWARD * step
        moved = cv2.warpAffine(height, floats([[1, 0, dx], [0, 1, dy]]), height.shape[::-1])
        np.maximum(shade, np.clip(moved - step * SUN_SLOPE - height, 0, 1), out=shade)
    return shade


def photograph(rng: np.random.Generator, canvas: Canvas) -> NDArray[np.uint8]:
    """Expose the scene: sun, uneven illumination, lens blur, sharpening, haze and sensor noise.

    Returns
    -------
    (height, width, 3) uint8, nowhere 0.
    """
    shape = canvas.height.shape
    light: Floats = canvas.albedo * sunlight(canvas) * (1 + 0.04 * fractal(rng, shape, 700, 300))[..., None]
    light = floats(cv2.GaussianBlur(light, (0, 0), 0.6))
    light = 1.9 * light - 0.9 * floats(cv2.GaussianBlur(light, (0, 0), 1.1))
    light += 2.5 * rng.standard_normal((*shape, 1), dtype=np.float32)
    light += 1.5 * rng.standard_normal((*shape, 3), dtype=np.float32)
    return np.clip(np.round(light + 4), 1, 255).astype(np.uint8)
