"""Draw the sample scene: an invented place, photographed from the air at 1 m per pixel.

    python sample_data/make_sample.py [folder [country]]

The idea: paint from the ground up (soil, water, roads, buildings, cars, trees) with a colour and a height
for everything, then let one sun and one camera make the picture. The truth comes from the same plan as the
paint: centerlines, and the mask they make at the width of each road. The seed is fixed, so the same pixels come
out each time. plan.py says what lies where, objects.py what stands there, and paint.py how it looks.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import objects
import paint
import plan
import pyogrio
import rasterio
import shapely
from numpy.typing import NDArray
from paint import Array, Canvas, Floats, floats, fractal
from plan import Road
from rasterio.features import rasterize
from rasterio.transform import from_origin
from shapely import LineString
from shapely.ops import substring

SEED = 20090412
SHAPE = (plan.HEIGHT, plan.WIDTH)
CRS = "EPSG:26986"
WEST, NORTH = 171_000.0, 903_000.0
VOID = 255


@dataclass(frozen=True)
class Country:
    """Colours of a country: its litter and lawns and how much of them greenery takes away, its fields, its roads."""

    litter: tuple[float, float, float]
    litter_green: tuple[float, float, float]
    lawn: tuple[float, float, float]
    lawn_green: tuple[float, float, float]
    field_tint: tuple[float, float, float]
    road: tuple[float, float, float]
    verge: tuple[float, float, float]


COUNTRIES = {
    "spring": Country((114, 97, 83), (12, 2, 8), (122, 112, 92), (28, 6, 22), (1, 1, 1), (1, 1.01, 1.04),
                      (146, 136, 118)),
    "laterite": Country((176, 122, 84), (48, 4, 20), (168, 128, 84), (62, 6, 26), (1.3, 0.95, 0.75), (1.32, 0.92, 0.68),
                        (188, 132, 92)),
}  # fmt: skip
"""Colours that the same place can be painted in; the sample scene is ``spring``."""

FIELD_LOOK = {
    "ploughed": ((126, 108, 92), 5.7, 0.04), "meadow": ((98, 106, 76), 14.0, 0.02),
    "stubble": ((146, 134, 110), 6.0, 0.04), "brown": ((118, 103, 86), 9.0, 0.02),
}  # fmt: skip
"""For each kind of field: its colour, the spacing of its rows in metres and their contrast."""


def main(folder: Path, country: str = "spring") -> None:
    """Lay out the place, photograph it and write the files."""
    look = COUNTRIES[country]
    rng = np.random.default_rng(SEED)
    roads = plan.roads()
    paved = [road for road in roads if road.kind != "track"]
    from_road = distance_to([surface(road) for road in paved])
    canvas = Canvas(*(np.full(s, v, np.float32) for s, v in (((*SHAPE, 3), 90), (SHAPE, 0), (SHAPE, 1))))
    paint_ground(rng, canvas, from_road, look)
    paint_roads(rng, canvas, roads, look)
    paint_buildings(rng, canvas, paved, from_road)
    for road in paved:
        objects.drive(rng, canvas, road)
    paint_trees(rng, canvas, roads, from_road)
    write(folder, paint.photograph(rng, canvas), paved)


def rings(area: shapely.Geometry) -> list[Array]:
    """Return all outlines and holes of an area as (n, 2) arrays."""
    parts = [part for part in shapely.get_parts(area) if not part.is_empty]
    return [np.asarray(ring.coords) for part in parts for ring in (part.exterior, *part.interiors)]


def surface(road: Road, *, wider: float = 0.0) -> shapely.Geometry:
    """Return a road's paved area, ``wider`` metres more on either side, with its turning circle."""
    ends = {tuple(end) for end in road.xy[[0, -1]]}
    circles = [shapely.Point(p).buffer(10 + wider, quad_segs=16) for p in plan.TURNING_CIRCLES if p in ends]
    return shapely.union_all([LineString(road.xy).buffer(road.width_m / 2 + wider, quad_segs=16), *circles])


def river(half_width: float) -> shapely.Geometry:
    """Return the ground within ``half_width`` metres of the river's middle."""
    return LineString(plan.curve(plan.RIVER)[0]).buffer(half_width)


def distance_to(areas: Sequence[shapely.Geometry]) -> Floats:
    """Return each pixel's distance to areas in metres, 0 inside."""
    outside = 1 - rasterize(areas, out_shape=SHAPE, dtype=np.uint8)
    return floats(cv2.distanceTransform(outside, cv2.DIST_L2, 5))


def cover(outlines: Sequence[Sequence[plan.Point]]) -> Floats:
    """Rasterize polygons given by their corners into one (height, width) cover, 0–1."""
    whole = (slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    return floats(np.max([paint.polygon([np.array(outline, float)], whole) for outline in outlines], axis=0))


def paint_ground(rng: np.random.Generator, canvas: Canvas, from_road: Floats, look: Country) -> None:
    """Lay leaf litter everywhere, then lawns and verges, fields and the river."""
    clouds, patches = fractal(rng, SHAPE, 160, 4), fractal(rng, SHAPE, 24, 2, 1.2)
    green = 1 / (1 + np.exp(-1.5 * clouds - patches))[..., None]
    canvas.albedo[:] = floats(look.litter) - green * floats(look.litter_green)
    reach = np.where(cover(plan.SUBURBS) > 0.5, 42, 9) + 4 * patches
    lawn = floats(look.lawn) - green * floats(look.lawn_green)
    canvas.blend(np.clip((reach - from_road) / 6, 0, 1), lawn)
    for field in plan.FIELDS:
        paint_field(canvas, field, clouds, patches, look)
    away = distance_to([river(1)]) + 2.5 * clouds + 0.8 * patches
    for edge, softness, colour in ((30, 8, (118, 106, 84)), (21, 2, (84, 74, 60)), (19, 1, (34, 44, 40))):
        tone = (1 + 0.06 * patches)[..., None] * floats(colour)
        canvas.blend(np.clip((edge - away) / softness, 0, 1), tone)
    canvas.albedo *= (1 + 0.05 * patches + 0.06 * fractal(rng, SHAPE, 4, 1, 1.0))[..., None]


def paint_field(canvas: Canvas, field: plan.Field, clouds: Floats, patches: Floats, look: Country) -> None:
    """Cover a field with soil or grass in wavering rows, its edge a little ragged."""
    outline = [np.array(field.outline, float)]
    spot = paint.bounds(outline, SHAPE)
    (y, x), clouds, patches = floats(np.mgrid[spot]), clouds[spot], patches[spot]
    colour, spacing, contrast = FIELD_LOOK[field.kind]
    turn = np.radians(field.angle)
    across = np.cos(turn) * x + np.sin(turn) * y + 1.2 * clouds
    rows = contrast * (0.8 + clouds) * np.sin(2 * np.pi / spacing * across)
    tone = 0.96 + rows + 0.02 * np.sin(0.11 * across + clouds) + 0.06 * clouds + 0.05 * patches
    tint = floats(colour) * floats(look.field_tint) + clouds[..., None] * floats([6, 3, 3])
    ragged = cv2.GaussianBlur(paint.polygon(outline, spot), (0, 0), 5) + 0.1 * patches
    canvas.blend(np.clip(4 * ragged - 1.5, 0, 1), floats(tint * tone[..., None]), spot)


def paint_roads(rng: np.random.Generator, canvas: Canvas, roads: Sequence[Road], look: Country) -> None:
    """Pave car parks and roads, the lesser ones first; banks rise to the bridges."""
    for points in plan.DRIVES:
        canvas.fill(rings(LineString(points).buffer(3)), (124, 126, 131))
    for outline in plan.CAR_PARKS:
        canvas.fill([np.array(outline, float)], (124, 126, 131))
        objects.fill_car_park(rng, canvas, np.array(outline, float))
    below = [river(19), *(surface(road, wider=3) for road in roads if road.kind == "motorway")]
    for kind, gaps in (("track", []), ("residential", []), ("motorway", below[:1]), ("tertiary", below)):
        alike = [road for road in roads if road.kind == kind]
        if gaps:
            away, gap = distance_to([surface(road) for road in alike]), distance_to(gaps)
            bank = 5 * np.clip(1.2 - gap / 50, 0, 1) * np.clip(1.1 - away / 10, 0, 1)
            canvas.height = floats(np.maximum(canvas.height, bank * ((gap > 0) | (away < 1.2))))
        for road in alike:
            pave(rng, canvas, road, look)
            parapet = surface(road, wider=0.8).difference(surface(road))
            canvas.fill(rings(parapet.intersection(shapely.union_all(gaps))), (176, 174, 168), opacity=0.8)


def pave(rng: np.random.Generator, canvas: Canvas, road: Road, look: Country) -> None:
    """Draw one road: sandy edge, asphalt of its own age, mended patches, lane marks."""
    line = LineString(road.xy)
    if road.kind == "track":
        canvas.fill(rings(surface(road)), (164, 148, 124), opacity=0.85)
        canvas.fill(rings(surface(road, wider=-1.1)), (124, 118, 92), opacity=0.5)
        return
    grey = np.array(look.road) * rng.normal(146, 11)
    canvas.fill(rings(surface(road, wider=1.2)), look.verge, opacity=0.4)
    canvas.fill(rings(surface(road)), grey)
    for at in rng.uniform(0, line.length, int(line.length / 25)):
        piece = substring(line, at, at + rng.uniform(4, 50)).offset_curve(rng.uniform(-2.2, 2.2))
        canvas.fill(rings(piece.buffer(rng.uniform(0.5, 1.6))), grey * rng.normal(0.97, 0.07), opacity=0.6)
    if road.kind == "tertiary":
        canvas.fill(rings(line.buffer(0.15)), (200, 188, 140), opacity=0.4)
    if road.kind == "motorway":
        edges = [line.offset_curve(side).buffer(0.15) for side in (-3.7, 3.7)]
        dashes = [substring(line, at, at + 3).buffer(0.15) for at in np.arange(0, line.length, 12)]
        canvas.fill(rings(shapely.union_all([*edges, *dashes])), (222, 222, 218), opacity=0.5)


def paint_buildings(rng: np.random.Generator, canvas: Canvas, roads: Sequence[Road], from_road: Floats) -> None:
    """Build houses along the suburbs' streets, and the halls."""
    streets = [road for road in roads if road.kind != "motorway"]
    for lot in list(objects.lots(rng, streets, cover(plan.SUBURBS) > 0.5, from_road)):
        objects.build_lot(rng, canvas, *lot)
    for outline in plan.HALLS:
        objects.build_hall(rng, canvas, np.array(outline, float))


def paint_trees(rng: np.random.Generator, canvas: Canvas, roads: Sequence[Road], from_road: Floats) -> None:
    """Grow woods wherever nothing else is, and yard trees in the suburbs, some leaning over the streets."""
    clumps, stands = fractal(rng, SHAPE, 60, 6), fractal(rng, SHAPE, 110, 8)
    yards = (cover(plan.SUBURBS) > 0.5) & (from_road < 40 + 6 * clumps)
    woods = np.where(np.abs(stands + 0.4 * clumps) < 0.05, 0.2, 0.9 + 0.4 * np.minimum(clumps + 1, 0))
    street = np.where(from_road < 9, 0.16, 0.08)
    density = np.where(yards, np.clip(street + 0.008 * from_road + 0.18 * clumps, 0.04, 0.85), woods)
    density[cover([field.outline for field in plan.FIELDS]) > 0.5] = 0.002
    open_ground = (cover(plan.CAR_PARKS) > 0) | (cv2.dilate(canvas.height, np.ones((5, 5))) > 2.1)
    open_ground |= from_road < 3 + clumps
    for kind, margin in (("motorway", 9), ("track", 3.5)):
        open_ground |= distance_to([surface(road) for road in roads if road.kind == kind]) < margin
    density[open_ground | (distance_to([river(20)]) == 0)] = 0
    needles = np.clip(np.where(yards, 0.3, 0.012) + 0.4 * np.clip(stands - 1, 0, 2), 0, 0.85)
    tone = np.stack([1 + 0.07 * clumps + w * stands for w in (0.05, 0.01, -0.02)], axis=-1)
    objects.plant(rng, canvas, density, needles, floats(tone))


def write(folder: Path, pixels: NDArray[np.uint8], roads: Sequence[Road]) -> None:
    """Write scene.tif, mask.tif and roads.gpkg; what was not photographed is masked, 255 and clipped."""
    flown = rasterize([plan.LAND], out_shape=SHAPE, dtype=np.uint8)
    truth = rasterize([surface(road) for road in roads], out_shape=SHAPE, dtype=np.uint8)
    truth[flown == 0] = VOID
    profile = {"driver": "GTiff", "width": plan.WIDTH, "height": plan.HEIGHT, "dtype": "uint8", "crs": CRS,
               "transform": from_origin(WEST, NORTH, 1, 1), "tiled": True}  # fmt: skip
    jpeg = {"compress": "jpeg", "photometric": "ycbcr", "jpeg_quality": 90}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(folder / "scene.tif", "w", count=3, **profile, **jpeg) as scene,
        rasterio.open(folder / "mask.tif", "w", count=1, nodata=VOID, compress="deflate", **profile) as mask,
    ):
        scene.write((pixels * flown[..., None]).transpose(2, 0, 1))
        scene.write_mask(flown * 255)
        mask.write(truth, 1)
    write_lines(folder / "roads.gpkg", plan.split_at_junctions(roads))


def write_lines(path: Path, roads: Sequence[Road]) -> None:
    """Write the centerlines, clipped to the photograph."""
    pieces = [shapely.get_parts(LineString(road.xy).intersection(plan.LAND)) for road in roads]
    lines = [(part, road) for road, parts in zip(roads, pieces, strict=True) for part in parts]
    ground = shapely.transform([part for part, _ in lines], lambda xy: (WEST, NORTH) + xy * (1, -1))
    fields = {"class": np.array([road.kind for _, road in lines], object),
              "width_m": np.array([road.width_m for _, road in lines])}  # fmt: skip
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2026-01-01T00:00:00Z"})
    path.unlink(missing_ok=True)
    pyogrio.raw.write(path, shapely.to_wkb(ground), list(fields.values()), list(fields), layer="roads", driver="GPKG",
                      geometry_type="LineString", crs=CRS, dataset_options={"VERSION": "1.2"})  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent, *sys.argv[2:3])
