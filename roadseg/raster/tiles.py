"""Many rasters of roads as one: a VRT of tiles on one grid, between which is nodata.

Where tiles overlap, the later one counts, except for its nodata, as in a VRT by ``gdalbuildvrt``.
"""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from affine import Affine
from rasterio.crs import CRS

from roadseg.errors import SceneError, counted
from roadseg.raster.encoding import ATTRIBUTION
from roadseg.raster.probability import positive_number
from roadseg.raster.road_raster import RoadRaster, TileFacts
from roadseg.windows import Window

_TYPES = {"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32"}
_TYPES |= {"int64": "Int64", "uint64": "UInt64", "float32": "Float32", "float64": "Float64"}
_OFF_PX = 0.01
_STORED = {
    "ROADSEG_GSD_M": "ground resolutions; give --gsd",
    "ROADSEG_THRESHOLD": "thresholds; give --threshold",
}
"""Tags that tiles must agree on, and how to do without."""

_ALIKE = 1.2
"""Ground resolutions so near agree: those of tiles in degrees differ with the latitude."""


def mosaic_name(paths: Sequence[str]) -> str:
    """Return the path of the only raster, or what to call the mosaic of several, in messages."""
    return paths[0] if len(paths) == 1 else f"the mosaic of {paths[0]} and {counted(len(paths) - 1, 'other')}"


def join_tiles(paths: Sequence[str], target: Path, *, given: Sequence[str] = ()) -> None:
    """Write a VRT of tiles.

    Parameters
    ----------
    paths
        Rasters of probabilities, or of masks; at least one.
    target
        The VRT.
    given
        Tags that need not agree and are left out: what they say is settled otherwise.

    Raises
    ------
    SceneError
        If a tile is no raster of roads, or does not fit the first one.
    """
    tiles = _of_one_gsd([_facts(path) for path in paths])
    first = tiles[0]
    for tile in tiles[1:]:
        _check_fits(tile, first)
    tags = {key: value for key, value in first.tags.items() if key in _STORED and key not in given}
    for key, cure in _STORED.items():
        odd = next((tile for tile in tiles if tile.tags.get(key) != first.tags.get(key)), None)
        if odd and key not in given:
            raise SceneError(f"{odd.path} and {first.path} store different {cure}")
    sources = dict.fromkeys(tile.tags[ATTRIBUTION] for tile in tiles if ATTRIBUTION in tile.tags)
    if sources:
        tags[ATTRIBUTION] = "; ".join(sources)
    target.write_text(_vrt(tiles, tags), encoding="utf-8")


def _facts(path: str) -> TileFacts:
    with RoadRaster(path) as raster:
        return raster.facts()


def _of_one_gsd(tiles: list[TileFacts]) -> list[TileFacts]:
    """Return tiles that all state the coarsest of their ground resolutions, where these differ but little."""
    gsds = [positive_number(tile.tags.get("ROADSEG_GSD_M")) for tile in tiles]
    known = [gsd for gsd in gsds if gsd]
    if len(known) < len(gsds) or max(known) > _ALIKE * min(known):
        return tiles
    coarsest = {"ROADSEG_GSD_M": f"{max(known):g}"}
    return [replace(tile, tags={**tile.tags, **coarsest}) for tile in tiles]


def _check_fits(tile: TileFacts, first: TileFacts) -> None:
    """Raise SceneError if a tile has another CRS or type, or lies on another grid."""
    crs, wanted = (CRS.from_wkt(one.grid.crs) if one.grid.crs else None for one in (tile, first))
    if crs != wanted:
        raise SceneError(f"{tile.path} has another CRS than {first.path}; reproject it first, with gdalwarp -t_srs")
    if tile.dtype not in _TYPES:
        raise SceneError(f"{tile.path} holds {tile.dtype}; convert it first, with gdal_translate -ot Float32")
    if (tile.dtype, tile.scale, tile.offset) != (first.dtype, first.scale, first.offset):
        raise SceneError(f"{tile.path} has another data type or scale than {first.path}; make them alike first")
    row, col = _place(tile, first)
    step = ~first.grid.transform @ tile.grid.transform
    size = max(tile.grid.height, tile.grid.width)
    bent = max(abs(step.a - 1), abs(step.e - 1), abs(step.b), abs(step.d)) * size
    if max(abs(row - round(row)), abs(col - round(col)), bent) > _OFF_PX:
        raise SceneError(
            f"{tile.path} does not lie on the pixels of {first.path}; resample it first, with gdalwarp -tap -tr"
        )


def _place(tile: TileFacts, first: TileFacts) -> tuple[float, float]:
    """Return the row and column of a tile's corner in pixels of the first one."""
    col, row = ~first.grid.transform @ (tile.grid.transform.c, tile.grid.transform.f)
    return row, col


def _vrt(tiles: Sequence[TileFacts], tags: dict[str, str]) -> str:
    first = tiles[0]
    corners = [(round(row), round(col)) for row, col in (_place(tile, first) for tile in tiles)]
    top, left = min(row for row, _ in corners), min(col for _, col in corners)
    placed = [
        (tile, Window(row - top, col - left, tile.grid.height, tile.grid.width))
        for tile, (row, col) in zip(tiles, corners, strict=True)
    ]
    height, width = max(place.row_stop for _, place in placed), max(place.col_stop for _, place in placed)
    t = first.grid.transform @ Affine.translation(left, top)
    srs = f"<SRS>{escape(first.grid.crs, quote=False)}</SRS>" if first.grid.crs else ""
    metadata = "".join(f'<MDI key="{key}">{escape(value, quote=False)}</MDI>' for key, value in tags.items())
    if first.nodata is not None and all(tile.nodata == first.nodata for tile in tiles):
        nodata, mask = f"<NoDataValue>{first.nodata}</NoDataValue>", ""
        known = f"<NODATA>{first.nodata}</NODATA>"
    else:
        masks = "".join(_source(tile, place, f"mask,{tile.band}", "<NODATA>0</NODATA>") for tile, place in placed)
        nodata, mask = "", f'<MaskBand><VRTRasterBand dataType="Byte">{masks}</VRTRasterBand></MaskBand>'
        known = "<UseMaskBand>true</UseMaskBand>"
    band = "".join(_source(tile, place, str(tile.band), known) for tile, place in placed)
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{srs}'
        f"<GeoTransform>{t.c!r},{t.a!r},{t.b!r},{t.f!r},{t.d!r},{t.e!r}</GeoTransform><Metadata>{metadata}</Metadata>"
        f'<VRTRasterBand dataType="{_TYPES[first.dtype]}" band="1">{nodata}'
        f"<Offset>{first.offset!r}</Offset><Scale>{first.scale!r}</Scale>{band}</VRTRasterBand>{mask}</VRTDataset>"
    )


def _source(tile: TileFacts, place: Window, band: str, known: str) -> str:
    """Return a band of a tile at its place in the mosaic; ``known`` is the element that tells its valid pixels."""
    size = f'xSize="{place.width}" ySize="{place.height}"'
    return (
        f'<ComplexSource><SourceFilename relativeToVRT="0">{escape(tile.name, quote=False)}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand>"
        f'<SourceProperties RasterXSize="{place.width}" RasterYSize="{place.height}" '
        f'DataType="{_TYPES[tile.dtype]}" BlockXSize="512" BlockYSize="512"/>'
        f'<SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{place.col}" yOff="{place.row}" {size}/>'
        f"{known}</ComplexSource>"
    )
