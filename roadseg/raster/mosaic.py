"""Mosaics: VRT files, in which GDAL sees the rasters of blocks as one."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from roadseg.raster.encoding import Product
from roadseg.raster.grid import Grid
from roadseg.windows import Window

_UNWRITABLE = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ud800-\\udfff\\ufffe\\uffff]")
"""Characters that XML cannot hold but file names can."""

_GDAL_TYPES = {"uint8": "Byte", "float32": "Float32"}


def mosaic_vrt(
    product: Product,
    blocks: Iterable[tuple[Path, Window]],
    grid: Grid,
    area: Window,
    tags: Mapping[str, str],
    *,
    overview: int = 0,
) -> str:
    """Return a VRT of blocks that lie in the same folder.

    Parameters
    ----------
    product
        What the blocks hold.
    blocks
        Their files, and where each lies.
    grid
        Grid of ``area``.
    area
        The pixels that the blocks cover.
    tags
        Metadata of the raster.
    overview
        Which overview of the blocks to show, the first one with 1; 0 is their full resolution. ``grid`` is as much
        smaller, ``area`` and the places of blocks are not.
    """
    kind = _GDAL_TYPES[product.dtype]
    t = grid.transform
    metadata = "".join(f'<MDI key="{key}">{_escaped(value)}</MDI>' for key, value in tags.items())
    level = f'<OpenOptions><OOI key="OVERVIEW_LEVEL">{overview - 1}</OOI></OpenOptions>' if overview else ""
    places = ((path, [n >> overview for n in _place(w, area)]) for path, w in blocks)
    sources = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="1">{path.name}</SourceFilename>{level}<SourceBand>1</SourceBand>'
        f'<SourceProperties RasterXSize="{width}" RasterYSize="{height}" DataType="{kind}" '
        f'BlockXSize="512" BlockYSize="512"/>'
        f'<SrcRect xOff="0" yOff="0" xSize="{width}" ySize="{height}"/>'
        f'<DstRect xOff="{col}" yOff="{row}" xSize="{width}" ySize="{height}"/>'
        "</SimpleSource>"
        for path, (row, col, height, width) in places
    )
    scale = f"<Offset>0</Offset><Scale>{product.scale!r}</Scale>" if product.scale != 1 else ""
    return (
        f'<VRTDataset rasterXSize="{grid.width}" rasterYSize="{grid.height}">'
        + (f"<SRS>{_escaped(grid.crs)}</SRS>" if grid.crs else "")
        + ("" if t.is_identity else f"<GeoTransform>{t.c!r},{t.a!r},{t.b!r},{t.f!r},{t.d!r},{t.e!r}</GeoTransform>")
        + f"<Metadata>{metadata}</Metadata>"
        f'<VRTRasterBand dataType="{kind}" band="1"><Description>{product.description}</Description>'
        f"<NoDataValue>{product.nodata}</NoDataValue>{_colours(product)}{scale}{sources}"
        "</VRTRasterBand></VRTDataset>"
    )


def _place(window: Window, area: Window) -> tuple[int, int, int, int]:
    """Return row, col, height and width of a window in an area."""
    return window.row - area.row, window.col - area.col, window.height, window.width


def _escaped(text: str) -> str:
    """Return a text as XML holds it."""
    return escape(_UNWRITABLE.sub("?", text), quote=False)


def _colours(product: Product) -> str:
    """Return how the values are shown: in grey, or by a table of 256 colours."""
    if not product.colours:
        return "<ColorInterp>Gray</ColorInterp>"
    opaque = "".join(f'<Entry c1="{red}" c2="{green}" c3="{blue}" c4="255"/>' for red, green, blue in product.colours)
    clear = '<Entry c1="0" c2="0" c3="0" c4="0"/>' * (256 - len(product.colours))
    return f"<ColorInterp>Palette</ColorInterp><ColorTable>{opaque}{clear}</ColorTable>"
