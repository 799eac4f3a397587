"""An image and its road mask, read together on the model's grid.

The mask is resampled by coverage: a pixel is road where at least half of its valid area is road. Labels are 1 for road,
0 for not road and 255 for void; nodata pixels of the image are void whatever the mask says.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from roadseg.errors import SceneError, as_typed, shortened
from roadseg.raster.encoding import NODATA
from roadseg.raster.files import OpenFile
from roadseg.raster.grid import Grid
from roadseg.raster.kind import RasterKind, ValueScan, mask_kind
from roadseg.raster.resample import resample, taps
from roadseg.raster.road_raster import RoadRaster
from roadseg.raster.scene import Scene, as_bytes
from roadseg.raster.scene_settings import SceneSettings
from roadseg.windows import Window

VOID = NODATA
"""Label of a pixel that neither the loss nor a metric counts."""

_SAME_PX = 0.5
_NAMED, _GREYS = 4, 32


class LabelledPixels(NamedTuple):
    """Pixels with their labels.

    Parameters
    ----------
    image
        (bands, height, width) uint8.
    label
        (height, width) uint8: 1 road, 0 not road, 255 void.
    valid
        (height, width) bool: valid pixels of the image.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    valid: NDArray[np.bool_]


class LabelledScene(OpenFile):
    """An open image with its mask; use it as a context manager, from one thread at a time.

    Parameters
    ----------
    image, mask
        Files on one grid, or the mask in another CRS over the same ground.
    settings
        Settings for reading the image.
    kind
        Meaning of the mask's values, see ``scan_mask``.

    Attributes
    ----------
    scene
        The image.
    grid
        The grid that both are read on.

    Raises
    ------
    SceneError
        If a file cannot be used or the two do not lie on the same ground.
    """

    def __init__(self, image: Path, mask: Path, settings: SceneSettings, kind: RasterKind = "mask 0/1") -> None:
        self.scene = Scene(str(image), settings)
        try:
            self._mask = RoadRaster(mask)
        except SceneError:
            self.scene.close()
            raise
        try:
            self._mask.interpret_as(kind)
            if _needs_reprojection(self.scene, self._mask):
                self._mask.reproject_to(self.scene.grid)
        except SceneError:
            self.close()
            raise
        self.grid = self.scene.grid_model

    def close(self) -> None:
        """Close both files."""
        self.scene.close()
        self._mask.close()

    def read(self, window: Window) -> LabelledPixels:
        """Return a window inside the grid.

        Raises
        ------
        SceneError
            If a file is damaged there, or the mask holds other values than 0, 1 and 255.
        """
        block = self.scene.read(window)
        label = np.where(block.valid, self.read_label(window), np.uint8(VOID))
        return LabelledPixels(as_bytes(block.values), label, block.valid.copy())

    def picture(self, window: Window, height: int, width: int) -> NDArray[np.uint8]:
        """Return a window of the grid for display, (3, height, width) uint8, nodata white."""
        down, across = self.scene.gsd_factors
        fine = Window(
            round(window.row / down),
            round(window.col / across),
            round(window.height / down),
            round(window.width / across),
        ).intersection(self.scene.grid.window)
        return self.scene.picture(fine, height, width)

    def read_label(self, window: Window) -> NDArray[np.uint8]:
        """Return the mask in a window inside the grid, also where the image has nodata: (height, width) uint8."""
        if self.scene.gsd_factors == (1.0, 1.0):
            return self._mask.read(window)
        fine, grid = self.scene.grid, self.grid
        rows = taps(window.row, window.row_stop, size_in=fine.height, size_out=grid.height)
        cols = taps(window.col, window.col_stop, size_in=fine.width, size_out=grid.width)
        label = self._mask.read(Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start))
        share, valid = resample((label == 1)[None], label != VOID, rows, cols)
        return np.where(valid, (share[0] >= 0.5).astype(np.uint8), np.uint8(VOID))


def scan_mask(path: Path) -> ValueScan:
    """Return the values that a mask holds.

    Raises
    ------
    SceneError
        If it cannot be read, has several bands, or is no mask by its type or values.
    """
    with RoadRaster(path) as mask:
        if mask.is_scaled:
            raise SceneError(_no_mask(path, *_scaled_and_cure(mask)))
        values = mask.values()
    if mask_kind(values) is None:
        found = np.flatnonzero(values.present).tolist()
        raise SceneError(_no_mask(path, _listed(found), _command_for(path, found)))
    return values


def location_text(grid: Grid) -> str:
    """Return where a grid lies, for messages: in degrees if its CRS is known, else in its own coordinates."""
    lonlat = grid.lonlat_bounds()
    if lonlat is None:
        xmin, ymin, xmax, ymax = grid.bounds()
        return f"x {xmin:.10g} to {xmax:.10g}, y {ymin:.10g} to {ymax:.10g} in its own coordinates"
    west, south, east, north = lonlat
    return f"{west:.4f} to {east:.4f}° E, {south:.4f} to {north:.4f}° N"


def _no_mask(path: Path, found: str, cure: str) -> str:
    return (
        f"{path} holds {found}, no road mask; it needs 1 for road, 0 for not road, 255 for unknown, "
        f"for example by {cure}"
    )


def _scaled_and_cure(mask: RoadRaster) -> tuple[str, str]:
    """Return what a float or scaled file holds, and how to make a mask of it."""
    values, has_nodata = mask.sample_values(_NAMED)
    if not np.issubdtype(mask.dtype, np.floating):
        return f"{_listed(values)} with a scale tag, as probabilities have", "roadseg predict --mask"
    cure = _command_for(mask.path, values)
    if set(values) <= {0, 1, VOID}:
        make = "gdalwarp -ot Byte -dstnodata 255" if has_nodata else "gdal_translate -ot Byte"
        cure = f"{make} {as_typed([str(mask.path)])} new.tif"
    return f"{_listed(values)} as {mask.dtype}", cure


def _listed(values: Sequence[float]) -> str:
    return shortened([f"{v:g}" for v in values]) if len(values) <= _NAMED else f"{min(values):g} to {max(values):g}"


def _command_for(path: Path | str, values: Sequence[float]) -> str:
    """Return a command that makes a mask of a file with other values."""
    classes = [value for value in values if value not in {0, VOID}]
    meaning = ""
    if len(values) > _GREYS and max(values) == VOID:  # as lossy compression makes of 0 and 255
        formula = f"A>={VOID // 2 + 1}"
    elif not all(float(value).is_integer() for value in classes):
        formula = "A>=0.5"
    elif len(classes) == 1:
        formula = f"A=={classes[0]:g}"
    else:
        formula, meaning = "A==N", ", N the class of road"
    return f'gdal_calc.py -A {as_typed([str(path)])} --calc "{formula}" --type Byte --outfile new.tif{meaning}'


def _needs_reprojection(scene: Scene, mask: RoadRaster) -> bool:
    """Return whether a mask has to be reprojected to its image.

    Raises
    ------
    SceneError
        If both do not lie on the same ground.
    """
    image, other = scene.grid, mask.grid
    where = f"{scene.path} at {location_text(image)}; {mask.path} at {location_text(other)}"
    if image.crs and other.crs and CRS.from_wkt(image.crs) != CRS.from_wkt(other.crs):
        if _are_apart(image, other):
            raise SceneError(f"image and mask lie in different places ({where}); give both their true georeference")
        return True
    are_placed = mask.is_georeferenced and not image.transform.is_identity
    off_px = image.offset_px(other.scaled(image.height, image.width))
    if (image.height, image.width) != (other.height, other.width):
        sizes = f"{image.width} × {image.height} and {other.width} × {other.height} px"
        cure = "cut both to the same ground"
        if are_placed and off_px <= 1:
            cure = f"resample the mask, with gdal_translate -r near -outsize {image.width} {image.height}"
        raise SceneError(f"{scene.path} and {mask.path} differ in size ({sizes}); {cure}")
    if not are_placed:
        return False
    if image.is_turned(other):
        turned = scene.path if image.transform.e > 0 or image.transform.a < 0 else mask.path
        raise SceneError(
            f"{scene.path} and {mask.path} cover the same ground, but one is mirrored or south-up; turn it, "
            f"with gdalwarp {as_typed([str(turned)])} new.tif"
        )
    if off_px > _SAME_PX:
        raise SceneError(f"image and mask lie in different places ({where}); give both the same georeference")
    return False


def _are_apart(first: Grid, second: Grid) -> bool:
    """Return whether two grids are known to share no ground."""
    a, b = first.lonlat_bounds(), second.lonlat_bounds()
    if a is None or b is None:
        return False
    (west_a, south_a, east_a, north_a), (west_b, south_b, east_b, north_b) = a, b
    return west_a > east_b or west_b > east_a or south_a > north_b or south_b > north_a
