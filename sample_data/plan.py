"""The plan of the invented place: which roads, fields, houses and waters lie where.

All coordinates are metres east and south of the scene's upper-left corner, which at 1 m per pixel are
columns and rows too. Roads are smooth curves through control points. Two roads meet where they name the same
control point; ``split_at_junctions`` then cuts both there, so that lines share that vertex exactly. Where
roads only cross on the plan (the motorway's bridges), no point is shared and nothing is cut.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from shapely import Polygon

Array = NDArray[np.float64]
Point = tuple[float, float]

WIDTH, HEIGHT = 1500, 1100
LAND = Polygon([(0, 0), (1263, 0), (WIDTH, 236), (WIDTH, HEIGHT), (0, HEIGHT)])
"""Where the photograph shows something; the upper-right corner beyond it was not flown."""

WIDTH_M = {"motorway": 10.5, "tertiary": 7.5, "residential": 7.0, "track": 3.0}


@dataclass(frozen=True)
class Road:
    """The centerline of a road: ``xy`` is (n, 2); ``knots`` are the rows of its control points."""

    kind: str
    xy: Array
    knots: tuple[int, ...]

    @property
    def width_m(self) -> float:
        """Paved width."""
        return WIDTH_M[self.kind]


@dataclass(frozen=True)
class Field:
    """Open land: ``kind`` names its texture, ``angle`` the direction of its rows in degrees."""

    kind: str
    outline: Sequence[Point]
    angle: float


def curve(points: Sequence[Point], *, step: float = 4.0) -> tuple[Array, tuple[int, ...]]:
    """Draw a smooth line through points; return its (n, 2) vertices and the rows of the points."""
    xy = np.asarray(points, dtype=np.float64)
    length = np.hypot(*np.diff(xy, axis=0).T)
    at = np.concatenate([[0.0], np.cumsum(length)])
    counts = np.maximum(1, np.round(length / step)).astype(int)
    pieces = [np.linspace(a, b, n, endpoint=False) for (a, b), n in zip(pairwise(at), counts, strict=True)]
    line = CubicSpline(at, xy, bc_type="natural")(np.concatenate([*pieces, at[-1:]]))
    return np.round(line, 2), (0, *(int(n) for n in np.cumsum(counts)))


def offset(xy: Array, distance: float) -> Array:
    """Shift a smooth (n, 2) line to its right (seen from above, rows downwards) by ``distance``."""
    along = np.gradient(xy, axis=0)
    along /= np.hypot(*along.T)[:, None]
    return np.asarray(xy + distance * along[:, ::-1] * (-1, 1))


def split_at_junctions(roads: Sequence[Road]) -> list[Road]:
    """Cut roads at every control point that more than one of them names."""
    named = Counter(tuple(road.xy[k]) for road in roads for k in road.knots)
    parts = []
    for road in roads:
        ends = {0, len(road.xy) - 1}
        cuts = sorted(ends | {k for k in road.knots if named[tuple(road.xy[k])] > 1})
        parts += [Road(road.kind, road.xy[a : b + 1], ()) for a, b in pairwise(cuts)]
    return parts


def roads() -> list[Road]:
    """Return every paved road and every track, uncut."""
    middle, _ = curve(MOTORWAY)
    west, east = np.round(offset(middle, -11.5), 2)[::-1], np.round(offset(middle, 11.5), 2)
    motorway = [Road("motorway", xy, (0, len(xy) - 1)) for xy in (west, east)]
    lines = [("residential", points) for points in (*_grid_streets(), *CURVED_STREETS)]
    lines += [("tertiary", points) for points in COUNTRY_ROADS] + [("track", points) for points in TRACKS]
    return motorway + [Road(kind, *curve(points)) for kind, points in lines]


def _grid_streets() -> Iterator[list[Point]]:
    """Lay the straight suburb: four avenues crossed by six streets, slightly turned."""

    def node(i: int, j: int) -> Point:
        return (70.0 + 104 * i + 11 * j, 85.0 - 10 * i + 84 * j)

    heads = {0: [(-40.0, 96.0)], 2: [(-40.0, 266.0)]}
    tails = {1: [(672.0, 120.0)], 3: [(690.0, 250.0)]}
    for j in range(4):
        yield [*heads.get(j, []), *(node(i, j) for i in range(6)), *tails.get(j, [])]
    for i, (first, last) in enumerate([(0, 3), (0, 2), (0, 3), (1, 3), (0, 3), (0, 2)]):
        above = [(268.0, -40.0)] if i == 2 else []
        yield [*above, *(node(i, j) for j in range(first, last + 1))]


MOTORWAY: list[Point] = [
    (-60, 432), (200, 425), (450, 398), (700, 385), (900, 395), (1100, 425), (1300, 480), (1560, 575),
]  # fmt: skip
COUNTRY_ROADS: list[list[Point]] = [
    [(664, -40), (672, 120), (690, 250), (700, 385), (712, 500), (724, 600), (780, 690), (880, 732),
     (1040, 745), (1200, 760), (1350, 735), (1540, 742)],
    [(1540, 322), (1400, 300), (1270, 326), (1165, 285), (1128, 180), (1150, 60), (1156, -40)],
    [(1200, 760), (1190, 860), (1226, 980), (1222, 1140)],
]  # fmt: skip
CURVED_STREETS: list[list[Point]] = [
    [(724, 600), (600, 640), (470, 615), (330, 560), (180, 572), (60, 640), (-40, 662)],
    [(600, 640), (632, 740), (600, 850), (500, 905), (392, 865), (352, 765), (346, 660), (330, 560)],
    [(470, 615), (486, 700), (482, 800), (500, 905)],
    [(180, 572), (166, 680), (196, 780), (280, 842), (392, 865)],
    [(632, 740), (706, 722), (780, 690)],
    [(500, 905), (512, 1000), (506, 1140)],
    [(392, 865), (350, 948), (250, 998), (140, 1000), (-40, 976)],
    [(250, 998), (262, 1060), (256, 1140)],
    [(196, 780), (122, 822), (84, 905)],
    [(600, 850), (690, 866), (756, 925), (762, 1000)],
    [(1226, 980), (1320, 962), (1412, 1004)],
]
TURNING_CIRCLES: list[Point] = [(84, 905), (762, 1000), (1412, 1004)]
TRACKS: list[list[Point]] = [
    [(1270, 326), (1274, 392), (1350, 425), (1440, 408), (1540, 420)],
    [(1350, 735), (1372, 850), (1450, 892), (1540, 900)],
    [(1190, 860), (1110, 850), (1062, 884), (1032, 892)],
    [(690, 250), (760, 285), (850, 270), (930, 310)],
]
DRIVES: list[list[Point]] = [[(676, 170), (712, 168)], [(770, 205), (780, 206)], [(714, 545), (746, 542)]]
RIVER: list[Point] = [
    (1012, -40), (985, 150), (1050, 320), (1022, 520), (930, 680), (940, 850), (1062, 985), (1110, 1140),
]  # fmt: skip

FIELDS = [
    Field("ploughed", [(1190, 30), (1245, 20), (1370, 140), (1385, 275), (1270, 300), (1180, 262)], 72),
    Field("meadow", [(1400, 170), (1500, 262), (1500, 300), (1402, 278)], 20),
    Field("stubble", [(1150, 312), (1262, 345), (1252, 402), (1290, 440), (1130, 400), (1085, 330)], 15),
    Field("meadow", [(1290, 340), (1400, 318), (1500, 336), (1500, 500), (1440, 484), (1335, 440)], 100),
    Field("ploughed", [(1150, 530), (1290, 560), (1330, 715), (1200, 738), (1085, 725), (1060, 600)], 12),
    Field("meadow", [(1310, 560), (1420, 600), (1500, 640), (1500, 722), (1352, 716)], 75),
    Field("stubble", [(1215, 780), (1340, 756), (1358, 850), (1340, 930), (1250, 950), (1212, 870)], 80),
    Field("brown", [(1378, 760), (1500, 758), (1500, 880), (1455, 872), (1390, 836)], 40),
    Field("brown", [(780, 830), (830, 770), (900, 770), (905, 860), (965, 960), (880, 1030), (800, 960)], 9),
    Field("meadow", [(738, 490), (870, 470), (930, 500), (900, 620), (830, 650), (765, 610)], 60),
]  # fmt: skip
SUBURBS: list[list[Point]] = [
    [(-10, -10), (668, -10), (690, 300), (600, 330), (120, 372), (-10, 365)],
    [(-10, 590), (180, 515), (340, 505), (480, 560), (600, 585), (712, 540), (752, 640), (800, 720),
     (690, 790), (660, 830), (760, 880), (805, 960), (790, 1060), (690, 1040), (600, 920), (560, 960),
     (560, 1110), (-10, 1110)],
    [(1195, 850), (1250, 955), (1330, 925), (1440, 950), (1465, 1040), (1400, 1060), (1280, 1000),
     (1260, 1110), (1190, 1110)],
]  # fmt: skip
CAR_PARKS: list[list[Point]] = [
    [(705, 100), (768, 96), (774, 214), (708, 218)],
    [(774, 193), (890, 185), (894, 232), (776, 240)],
    [(742, 520), (806, 512), (812, 566), (746, 574)],
]
HALLS: list[list[Point]] = [
    [(780, 112), (862, 106), (867, 182), (785, 188)],
    [(818, 520), (862, 516), (865, 562), (821, 566)],
    [(1318, 292), (1348, 289), (1350, 303), (1320, 306)],
]
