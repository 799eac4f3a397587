"""What stands on the ground: houses with their lots, halls, cars and trees.

Everything solid writes its height to the canvas's height map; shadows come from there. Trees are stamps
made once and set down by the thousand: dense evergreens, and bare trees one sees through.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from paint import SUNWARD, Array, Canvas, Floats, Spot, box, floats
from plan import Road
from shapely import LineString

ROOFS = np.array([
    (222, 222, 225), (214, 215, 220), (200, 201, 206), (176, 178, 184), (172, 174, 184), (150, 152, 160),
    (140, 143, 152), (122, 125, 134), (112, 116, 124), (96, 98, 106), (84, 86, 94), (124, 110, 102),
    (106, 98, 94), (172, 160, 140), (130, 94, 82), (96, 108, 112),
])  # fmt: skip
CARS = np.array([
    (225, 225, 227), (222, 222, 222), (188, 190, 193), (150, 152, 156), (104, 106, 110), (62, 64, 68),
    (42, 44, 50), (48, 50, 56), (112, 50, 48), (60, 72, 98), (140, 130, 112), (196, 198, 200),
])  # fmt: skip
LAWNS = np.array([(84, 104, 64), (98, 106, 74), (112, 110, 82), (126, 116, 94), (66, 94, 52), (60, 88, 50)])
TWIGS = floats([(160, 144, 138), (168, 144, 132), (152, 142, 136), (164, 136, 112), (144, 126, 112)])
NEEDLES = floats([(50, 76, 50), (58, 82, 56), (46, 64, 48), (70, 86, 56)])
STAMPS, REACH = 40, 8
"""How many trees of each sort are made, and half their stamps' width in pixels."""


def lots(rng: np.random.Generator, roads: Iterable[Road], allowed: NDArray[np.bool_],
         from_road: Floats) -> Iterator[tuple[Array, Array, Array]]:  # fmt: skip
    """Walk along both sides of streets and find room for houses.

    Yields
    ------
    Kerb point, direction along the street and direction away from it.
    """
    taken = np.full((1, 2), -99.0)
    for line, half in ((LineString(road.xy), road.width_m / 2) for road in roads):
        for side in (-1, 1):
            for at in np.arange(rng.uniform(12, 20), line.length - 6, 21):
                here, there = (np.array(line.interpolate(at + d).coords[0]) for d in (0, 1))
                outward = (there - here)[::-1] * (-side, side)
                house = here + outward * 21
                column, row = np.clip(house.astype(int), 0, np.array(allowed.shape[::-1]) - 1)
                crowded = np.hypot(*(taken - house).T).min() < 19
                if allowed[row, column] and from_road[row, column] > 12 and not crowded:
                    taken = np.vstack([taken, house])
                    yield here + outward * (half - 0.5), there - here, outward


def build_lot(rng: np.random.Generator, canvas: Canvas, kerb: Array, along: Array, outward: Array) -> None:
    """Furnish one lot: lawn, driveway with perhaps a car, hedge, pool, shed, house with perhaps a wing."""

    def spot(out: float, aside: float = 0.0) -> Array:
        return kerb + outward * out + along * aside

    angle, back, left = float(np.arctan2(along[1], along[0])), rng.uniform(13, 21), rng.choice([-1.0, 1.0])
    canvas.fill([box(spot(19), 19, 36, angle)], rng.choice(LAWNS), opacity=rng.uniform(0.2, 0.75))
    drive = rng.choice([82.0, 96.0, 120.0, 146.0, 168.0]) * np.array([1, 1, 1.02])
    canvas.fill([box(spot(back / 2 + 1, 8 * left), 3.2, back + 2, angle)], drive, opacity=0.9)
    if rng.random() < 0.55:
        park(rng, canvas, spot(rng.uniform(6, back), 8 * left), angle + np.pi / 2)
    if rng.random() < 0.25:
        canvas.fill([box(spot(21, 10), 1.6, 30, angle)], (58, 70, 48), rise=2.0)
    if rng.random() < 0.12:
        canvas.fill([box(spot(back + 15, -4 * left), 10, 7, angle)], (190, 184, 172))
        canvas.fill([box(spot(back + 15, -4 * left), 7, 4, angle)], (72, 130, 150))
    roof = rng.choice(ROOFS) * rng.normal(1.05, 0.06)
    if rng.random() < 0.3:
        house(canvas, spot(back + 15, 6 * left), (4, 3), angle, 2.0, roof)
    if rng.random() < 0.5:
        wing = spot(back + rng.choice([-4.0, 4.0]), 4 * left)
        house(canvas, wing, (rng.uniform(7, 11), 6.5), angle + np.pi / 2, 3.4, roof)
    turned = angle + (np.pi / 2 if rng.random() < 0.25 else 0) + rng.normal(0, 0.06)
    size = (rng.uniform(10, 15), rng.uniform(7.5, 10))
    house(canvas, spot(back), size, turned, rng.uniform(4, 7), roof)


def house(canvas: Canvas, centre: Array, size: tuple[float, float], angle: float, eaves: float,
          roof: Array) -> None:  # fmt: skip
    """Put up a house, ``size`` long and broad, with a pitched roof."""

    def pitch(x: Floats, y: Floats) -> Floats:
        away = np.abs((y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle))
        return floats(eaves + 0.55 * np.maximum(size[1] / 2 - away, 0))

    canvas.fill([box(centre, size[0], size[1], angle)], roof, rise=pitch)


def build_hall(rng: np.random.Generator, canvas: Canvas, outline: Array) -> None:
    """Put up a large flat-roofed building with its roof machinery."""
    centre, reach = outline.mean(0), np.ptp(outline, axis=0) / 2 - 7
    canvas.fill([outline], (226, 226, 226), rise=8.0)
    canvas.fill([centre + 0.94 * (outline - centre)], (206, 207, 208))
    for _ in range(int(reach.prod() / 60)):
        canvas.fill([box(centre + rng.uniform(-reach, reach), 3.5, 2.5, 0.1)], (160, 162, 164), rise=9.5)


def park(rng: np.random.Generator, canvas: Canvas, centre: Array, angle: float) -> None:
    """Put down a car: body, glass all round, roof."""
    colour = rng.choice(CARS)
    canvas.fill([box(centre, 4.6, 2.0, angle)], colour, rise=1.5)
    canvas.fill([box(centre, 2.7, 1.6, angle)], (44, 50, 58), opacity=0.8)
    canvas.fill([box(centre, 1.5, 1.6, angle)], colour)


def fill_car_park(rng: np.random.Generator, canvas: Canvas, outline: Array) -> None:
    """Paint stall lines in double rows along a car park's first side and park cars in some."""
    length, depth = np.hypot(*(outline[1] - outline[0])), np.hypot(*(outline[3] - outline[0]))
    along, down = (outline[1] - outline[0]) / length, (outline[3] - outline[0]) / depth
    angle = float(np.arctan2(along[1], along[0]))
    for number, row in enumerate(np.arange(5.5, depth - 4, 8.2)):
        busy = rng.uniform(0.1, 0.7)
        for stall in np.arange(6, length - 6, 2.8):
            spot = outline[0] + along * stall + down * (row + 1.5 * (-1) ** number)
            canvas.fill([box(spot + along * 1.4, 0.3, 4.8, angle)], (205, 205, 205), opacity=0.5)
            if rng.random() < busy:
                park(rng, canvas, spot, angle + np.pi / 2 + rng.normal(0, 0.04))


def drive(rng: np.random.Generator, canvas: Canvas, road: Road) -> None:
    """Put traffic on a road, on the right-hand side, and some lorries on a motorway."""
    line, fast = LineString(road.xy), road.kind == "motorway"
    for at in rng.uniform(1, line.length - 2, int(line.length / (90 if fast else 170))):
        here, there = (np.array(line.interpolate(at + d).coords[0]) for d in (0, 1))
        way = (there - here) * (1 if fast else rng.choice([-1, 1]))
        spot = here + way[::-1] * (-1, 1) * (rng.choice([-1.8, 1.8]) if fast else 1.7)
        angle = float(np.arctan2(way[1], way[0]))
        if fast and rng.random() < 0.15:
            canvas.fill([box(spot, 14, 2.6, angle)], (222, 222, 222), rise=4.0)
        else:
            park(rng, canvas, spot, angle)


def crowns(rng: np.random.Generator, *, evergreen: bool) -> list[Floats]:
    """Make tree stamps: square maps, 0 where one sees past the tree.

    Evergreens hold their height in metres; bare trees hold how thick their twigs are, 0–1.
    """
    stamps = []
    for radius in rng.uniform(1.8, 4.8, STAMPS) if evergreen else rng.uniform(3.0, 7.4, STAMPS):
        y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1] / radius
        turn, rough = np.arctan2(y, x), rng.random((2 * REACH + 1, 2 * REACH + 1))
        lobes = sum(rng.normal(0, 0.1) * np.cos(k * turn + rng.uniform(0, 6.3)) for k in (2, 3, 5))
        away = np.hypot(x, y) * (1 + lobes)
        if evergreen:
            tree = (3.5 + 2.2 * radius) * np.clip(1.08 - away, 0, 1) ** 0.5 * (0.7 + 0.3 * rough)
        else:
            tree = np.clip(1.2 - away, 0, 0.6) / 0.6 * np.clip(1.5 * rough - 0.2, 0, 1)
        stamps.append(floats(tree))
    return stamps


def plant(rng: np.random.Generator, canvas: Canvas, density: Floats, needles: Floats, tone: Floats) -> None:
    """Plant trees on a loose grid of 4.5 m or so.

    ``density`` is the chance of a tree, ``needles`` of its being evergreen; ``tone`` (height, width, 3)
    tints it.
    """
    bare, green = (crowns(rng, evergreen=kind) for kind in (False, True))
    rows, columns = np.mgrid[2 : density.shape[0] - 2 : 5, 2 : density.shape[1] - 2 : 4].reshape(2, -1)
    rows, columns = np.array([rows, columns]) + rng.integers(-2, 3, (2, rows.size))
    grows, dense = rng.random((2, rows.size)) < (density[rows, columns], needles[rows, columns])
    which = rng.integers(STAMPS, size=rows.size)
    colours = np.where(dense[:, None], NEEDLES[which % len(NEEDLES)], TWIGS[which % len(TWIGS)])
    colours *= tone[rows, columns] * floats(rng.normal(1, 0.13, (rows.size, 1)))
    for k in np.flatnonzero(grows):
        if dense[k]:
            set_evergreen(canvas, green[which[k]], int(rows[k]), int(columns[k]), colours[k])
        else:
            set_bare(canvas, bare[which[k]], int(rows[k]), int(columns[k]), colours[k])


def centred(stamp: Floats, shape: tuple[int, ...], row: int, column: int) -> tuple[Spot, Floats]:
    """Centre a stamp on a pixel; return the part of the scene it covers and what of it shows there."""
    top, left = max(row - REACH, 0), max(column - REACH, 0)
    bottom, right = min(max(row + REACH + 1, 0), shape[0]), min(max(column + REACH + 1, 0), shape[1])
    shown = stamp[top - row + REACH : bottom - row + REACH, left - column + REACH : right - column + REACH]
    return (slice(top, bottom), slice(left, right)), shown


def set_evergreen(canvas: Canvas, stamp: Floats, row: int, column: int, colour: Floats) -> None:
    """Set down a dense tree where it rises above what is there."""
    spot, tree = centred(stamp, canvas.height.shape, row, column)
    seen = tree > canvas.height[spot]
    canvas.albedo[spot][seen] = colour
    canvas.height[spot][seen] = tree[seen]


def set_bare(canvas: Canvas, stamp: Floats, row: int, column: int, colour: Floats) -> None:
    """Set down a tree without leaves: twigs one sees through, and their lacy shadow beside it."""
    spot, twigs = centred(stamp, canvas.height.shape, row, column)
    canvas.blend(0.62 * twigs, colour, spot)
    right, down = (-SUNWARD * 6).astype(int).tolist()
    spot, twigs = centred(stamp, canvas.height.shape, row + down, column + right)
    canvas.sun[spot] *= 1 - 0.40 * twigs
