"""A scene: an image anywhere GDAL can read, seen as a model wants to see it.

Opening settles everything that holds for the whole scene, once: the bands, the ground resolution,
the stretch to 0–1, what marks an unknown pixel. After that ``read`` gives the same pixels for the same
place, whichever window they are read through. Unknown means nodata, alpha 0, masked out, a hole
in a VRT, NaN or infinite; such pixels hold the model's mean colour and are never counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterWindow

from roadseg.blocks import Block, Window, reflected
from roadseg.errors import SceneError
from roadseg.progress import counted
from roadseg.raster.files import open_input, open_raster, reason
from roadseg.raster.grid import Grid, model_grid
from roadseg.raster.resample import resample, taps

COARSEST = 4.0
"""Scenes with pixels this many times larger than the model's are refused."""

_SAMPLE_PX = 1024
_STRIP_PX = 1 << 22
_PROBES, _PROBE_PX = 4, 256


@dataclass(frozen=True)
class SceneSettings:
    """How a scene is to be read.

    Parameters
    ----------
    bands
        Band numbers from 1; None takes red, green and blue where the file names them, else the first.
    band_count
        How many bands the model wants.
    gsd_m
        Metres per pixel the model wants.
    pixel_m
        Metres per pixel of the scene, where its own georeference is missing or wrong.
    value_range
        What to stretch to 0–1; None takes percentiles 2 and 98 of the scene (uint8: 0–255).
    stretch
        (low, high) per band, where an earlier look at the same scene settled it.
    any_gsd
        Take the scene's grid as it is, whatever its pixels measure.
    trains
        A model is yet to be made of it, so another number of bands would do; only messages heed this.
    fill
        Per band, on the 0–1 scale: what unknown pixels hold.
    """

    bands: tuple[int, ...] | None = None
    band_count: int = 3
    gsd_m: float = 1.0
    pixel_m: float | None = None
    value_range: tuple[float, float] | None = None
    stretch: tuple[tuple[float, float], ...] | None = None
    any_gsd: bool = False
    trains: bool = False
    fill: tuple[float, ...] = (0.0, 0.0, 0.0)


class Scene:
    """An open scene; use it as a context manager, from one thread at a time.

    Parameters
    ----------
    path
        A file, or anything else GDAL opens (``/vsicurl/…``, ``s3://…``).
    settings
        How to read it.

    Attributes
    ----------
    grid
        Of the file.
    grid_model
        On which ``read`` works: the same ground at the model's resolution.
    bands
        Band numbers that are read.
    stretch
        (low, high) per band, or None where uint8 is used as it is.
    dtype
        Of the values that ``read`` returns: uint8 as they are, or float32 on a 0–1 scale.

    Raises
    ------
    SceneError
        If the file is missing, no raster, has no usable georeference, or lacks the bands.
    """

    def __init__(self, path: str, settings: SceneSettings) -> None:
        self.path, self.settings = path, settings
        self._file = open_input(path)
        try:
            self._prepare()
        except (RasterioError, SceneError) as error:
            self._file.close()
            if isinstance(error, SceneError):
                raise
            raise SceneError(f"{path} cannot be read ({reason(error)}); the file is damaged or out of reach") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._source is not self._file:
            self._source.close()

    @property
    def gsd_factors(self) -> tuple[float, float]:
        """Model pixels per scene pixel, down and across; 1 where the scene is used as it is."""
        return self.grid_model.height / self.grid.height, self.grid_model.width / self.grid.width

    @property
    def band_total(self) -> int:
        """How many bands the file has besides an alpha band."""
        return sum(meaning is not ColorInterp.alpha for meaning in self._file.colorinterp)

    def local_files(self) -> list[Path]:
        """Return the files it is made of, a mosaic's sources among them, as far as they lie on this machine."""
        return [path for path in map(Path, dict.fromkeys([self.path, *self._file.files])) if path.exists()]

    def facts(self) -> list[tuple[str, str]]:
        """Return what there is to know about the file as labelled lines."""
        file, pixel = self._file, self.grid.pixel_size_m()
        flags = {flag.name for flag in file.mask_flag_enums[0]}
        marks = {"alpha": "alpha band", "per_dataset": "mask band", "nodata": f"nodata {file.nodata}"}
        unknown = next((text for flag, text in marks.items() if flag in flags), "none marked")
        if self._holes is not None:
            unknown = "holes between the sources"
        return [
            ("raster", self.path),
            ("driver", file.driver),
            ("size", f"{file.width} × {file.height} px, {file.count} band(s) of {file.dtypes[0]}"),
            ("CRS", file.crs.to_string() if file.crs else "none"),
            (
                "pixel",
                f"{pixel[1]:.4g} m across, {pixel[0]:.4g} m down" if pixel else "unknown without a CRS",
            ),
            ("unknown pixels", unknown),
            ("overviews", ", ".join(map(str, file.overviews(1))) or "none"),
        ] + [(f"tag {key}", value) for key, value in file.tags().items() if key.startswith("ROADSEG")]

    def read(self, window: Window) -> Block:
        """Read a window of the model's grid; beyond the border the scene is mirrored.

        Returns
        -------
        A block of (bands, height, width) values of ``dtype``.

        Raises
        ------
        SceneError
            If the file is damaged there.
        """
        rows = reflected(window.row, window.row_stop, self.grid_model.height)
        cols = reflected(window.col, window.col_stop, self.grid_model.width)
        inside = Window(int(rows.min()), int(cols.min()), int(np.ptp(rows)) + 1, int(np.ptp(cols)) + 1)
        values, valid = self._read_inside(inside)
        if inside != window:
            values, valid = _mirrored(values, valid, rows - inside.row, cols - inside.col)
        return Block(window, values, valid)

    def sample(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
        """Return pixels of some windows all over the model's grid, on the 0–1 scale; None if no pixel is known there.

        Returns
        -------
        (bands, n, side) float32, and which of them are known, (n, side).
        """
        side = min(_PROBE_PX, self.grid_model.height, self.grid_model.width)
        corners = [
            (round(row), round(col))
            for row in np.linspace(0, self.grid_model.height - side, _PROBES)
            for col in np.linspace(0, self.grid_model.width - side, _PROBES)
        ]
        blocks = [self.read(Window(row, col, side, side)) for row, col in dict.fromkeys(corners)]
        valid = np.concatenate([block.valid for block in blocks])
        if not valid.any():
            return None
        values = np.concatenate([block.values for block in blocks], axis=1).astype(np.float32)
        return values / np.float32(255 if self.dtype == np.uint8 else 1), valid

    def read_valid(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window of the file's own grid are known, (height, width) bool."""
        return self._read_raw(self._file, window)[1]

    def picture(self, window: Window, height: int, width: int) -> NDArray[np.uint8]:
        """Return a window of the file's grid as (3, height, width) uint8 for people, unknown pixels white."""
        place = RasterWindow(window.col, window.row, window.width, window.height)
        size = (len(self.bands), height, width)
        try:
            raw = self._file.read(self.bands, window=place, out_shape=size, resampling=Resampling.average)
            valid = self._validity(self._file, raw, window, (height, width))
        except RasterioError as error:
            raise SceneError(
                f"{self.path} cannot be read ({reason(error)}); the file is damaged or out of reach"
            ) from error
        shown = self._to_unit(raw) if self.stretch else raw.astype(np.float32) / 255
        rgb = shown[[0, 1, 2]] if len(shown) >= 3 else shown[[0, 0, 0]]
        return np.where(valid, np.rint(rgb.clip(0, 1) * 255), 255).astype(np.uint8)

    def _prepare(self) -> None:
        file = self._file
        self._source = file
        if file.width == 0 or file.height == 0 or file.count == 0:
            raise SceneError(f"{self.path} holds no raster band; name one of its subdatasets")
        self.bands = self._choose_bands()
        kinds = {file.dtypes[band - 1] for band in self.bands}
        if any(kind.startswith("complex") for kind in kinds):
            raise SceneError(
                f"{self.path} holds complex numbers; make amplitudes of them first, "
                "for example with gdal_translate -ot Float32 DERIVED_SUBDATASET:AMPLITUDE:…"
            )
        if file.transform.is_identity and (file.gcps[0] or file.rpcs):
            raise SceneError(
                f"{self.path} has ground control points but no geotransform; "
                "rectify it first, for example with gdalwarp"
            )
        self.grid = Grid(file.crs.to_wkt() if file.crs else None, file.transform, file.height, file.width)
        self.grid_model = self._choose_grid()
        self._holes = _vrt_rectangles(file)
        self._open_overview()
        plain = kinds == {"uint8"} and self.settings.value_range is None
        self.stretch = None if plain else self._choose_stretch()
        self.dtype = np.dtype(np.uint8 if plain else np.float32)

    def _choose_bands(self) -> tuple[int, ...]:
        file, wanted = self._file, self.settings.band_count
        bands, meaning = self.settings.bands, list(file.colorinterp)
        if ColorInterp.palette in meaning:
            raise SceneError(
                f"{self.path} holds colour numbers (a palette); expand it first, with gdal_translate -expand rgb"
            )
        if bands is None:
            rgb = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
            colours = [i + 1 for i, c in enumerate(meaning) if c is not ColorInterp.alpha]
            named = tuple(meaning.index(c) + 1 for c in rgb if c in meaning)
            bands = named if len(named) == wanted == 3 else tuple(colours[:wanted])
        missing = [band for band in bands if not 1 <= band <= file.count]
        if missing:
            raise SceneError(f"{self.path} has no band {missing[0]}: it has {file.count}; choose with --bands")
        if len(bands) != wanted:
            if self.settings.trains:
                own = ",".join(map(str, bands))
                cure = f"--bands {own} trains a model for {counted(len(bands), 'band')}"
                grey = ", --bands 1,1,1 one for 3" if len(bands) == 1 else ""
                raise SceneError(
                    f"{self.path} has {counted(len(bands), 'band')} where {wanted} are taken unless told; {cure}{grey}"
                )
            grey = " (for a grey image: --bands 1,1,1)" if file.count < wanted == 3 else ""
            raise SceneError(
                f"the model wants {counted(wanted, 'band')} and {self.path} offers {len(bands)}; "
                f"choose {wanted} with --bands{grey}"
            )
        return bands

    def _choose_grid(self) -> Grid:
        gsd = self.settings.gsd_m
        given = self.settings.pixel_m
        pixel = (given, given) if given else self.grid.pixel_size_m()
        if pixel is None or self.settings.any_gsd:
            return self.grid
        if max(pixel) > COARSEST * gsd:
            raise SceneError(
                f"{self.path} has pixels of {max(pixel):.3g} m, too coarse for roads seen at {gsd:g} m; "
                "use finer imagery, or give the true pixel size with --gsd if the georeference is wrong"
            )
        if min(pixel) < gsd / 1000:
            raise SceneError(
                f"{self.path} has pixels of {min(pixel):.3g} m, which cannot be right; "
                "give the true pixel size with --gsd"
            )
        return model_grid(self.grid, gsd_m=gsd, pixel_m=pixel)

    def _open_overview(self) -> None:
        """Read from the coarsest overview that is still at least as fine as the model's grid."""
        shrink = min(1 / factor for factor in self.gsd_factors)
        levels = self._file.overviews(self.bands[0])
        usable = [index for index, level in enumerate(levels) if level <= shrink]
        if usable:
            self._source = open_raster(self.path, overview_level=usable[-1])

    def _choose_stretch(self) -> tuple[tuple[float, float], ...]:
        if self.settings.stretch:
            return self.settings.stretch
        if self.settings.value_range:
            return (self.settings.value_range,) * len(self.bands)
        scale = max(1.0, max(self._file.shape) / _SAMPLE_PX)
        shape = tuple(max(1, round(n / scale)) for n in self._file.shape)
        raw = self._file.read(self.bands, out_shape=(len(self.bands), *shape))
        valid = self._validity(self._file, raw, None, shape)
        if not valid.any():
            return ((0.0, 1.0),) * len(self.bands)
        limits = [np.percentile(band[valid].astype(np.float64), (2, 98)) for band in raw]
        return tuple((float(low), float(high)) for low, high in limits)

    def _read_inside(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        values = np.empty((len(self.bands), window.height, window.width), dtype=self.dtype)
        known = np.empty((window.height, window.width), dtype=np.bool_)
        source_width = window.width * self._source.width / self.grid_model.width
        rows = max(1, int(_STRIP_PX / source_width * self.grid_model.height / self._source.height))
        for row in range(window.row, window.row_stop, rows):
            strip = Window(row, window.col, min(rows, window.row_stop - row), window.width)
            place = slice(row - window.row, row - window.row + strip.height)
            values[:, place], known[place] = self._read_strip(strip)
        return values, known

    def _read_strip(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        source, grid = self._source, self.grid_model
        if self.gsd_factors == (1.0, 1.0):
            raw, valid = self._read_raw(source, window)
            return self._finish(raw, valid), valid
        rows = taps(window.row, window.row_stop, size_in=source.height, size_out=grid.height)
        cols = taps(window.col, window.col_stop, size_in=source.width, size_out=grid.width)
        raw, valid = self._read_raw(
            source, Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
        )
        values, valid = resample(raw, valid, rows, cols)
        return self._finish(values, valid), valid

    def _finish(self, raw: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
        """Bring raw values to ``dtype`` and give unknown pixels the fill colour."""
        if self.stretch is None:
            values = raw if raw.dtype == np.uint8 else np.rint(raw).astype(np.uint8)
            fill = np.rint(np.array(self.settings.fill) * 255).astype(np.uint8)
        else:
            values, fill = self._to_unit(raw), np.array(self.settings.fill, dtype=np.float32)
        if not valid.all():
            np.copyto(values, fill[:, None, None], where=~valid)
        return values

    def _to_unit(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        values = np.empty(raw.shape, dtype=np.float32)
        for band, (low, high) in enumerate(self.stretch or ()):
            span = high - low if high > low else 1.0
            with np.errstate(invalid="ignore", over="ignore"):
                values[band] = (raw[band].astype(np.float32) - np.float32(low)) / np.float32(span)
        return np.nan_to_num(values, nan=0.0).clip(0, 1)

    def _read_raw(self, source: DatasetReader, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        place = RasterWindow(window.col, window.row, window.width, window.height)
        try:
            raw = source.read(self.bands, window=place)
            return raw, self._validity(source, raw, window, (window.height, window.width))
        except RasterioError as error:
            raise SceneError(
                f"{self.path} cannot be read at row {window.row}, column {window.col} "
                f"({reason(error)}); the file is damaged or out of reach"
            ) from error

    def _validity(
        self, source: DatasetReader, raw: NDArray[Any], window: Window | None, shape: tuple[int, ...]
    ) -> NDArray[np.bool_]:
        """Tell which pixels are known, from the values read and the file's masks."""
        valid = np.ones(shape, dtype=np.bool_)
        for band in raw:
            if np.issubdtype(band.dtype, np.floating):
                valid &= np.isfinite(band)
        flags = source.mask_flag_enums[self.bands[0] - 1]
        place = RasterWindow(window.col, window.row, window.width, window.height) if window else None
        if MaskFlags.per_dataset in flags or MaskFlags.alpha in flags:
            valid &= source.read_masks(self.bands[0], window=place, out_shape=shape) > 0
        elif MaskFlags.nodata in flags:
            valid &= np.any(
                [value != source.nodatavals[b - 1] for b, value in zip(self.bands, raw, strict=True)], axis=0
            )
            if ColorInterp.alpha in source.colorinterp:  # which GDAL does not ask where it finds a nodata value
                alpha = source.colorinterp.index(ColorInterp.alpha) + 1
                valid &= source.read(alpha, window=place, out_shape=shape) > 0
        if self._holes is not None:
            valid &= _covered(self._holes, window or Window(0, 0, *source.shape), source.shape, self.grid, shape)
        return valid


def _mirrored(
    values: NDArray[Any], valid: NDArray[np.bool_], rows: NDArray[np.intp], cols: NDArray[np.intp]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Pick rows and columns; only those that do not simply follow each other cost an indexed copy."""
    tall = [array[..., rows, :] for array in (values, valid)]
    follow = int(np.argmax(np.append(cols, -1) != cols[0] + np.arange(len(cols) + 1)))
    wide = [np.empty((*array.shape[:-1], len(cols)), array.dtype) for array in tall]
    for picked, array in zip(wide, tall, strict=True):
        picked[..., :follow] = array[..., cols[0] : cols[0] + follow]
        picked[..., follow:] = array[..., cols[follow:]]
    return wide[0], wide[1]


def _vrt_rectangles(file: DatasetReader) -> NDArray[np.float64] | None:
    """Return (n, 4) row, col, row_stop, col_stop of a VRT's sources, where nothing else marks its holes."""
    if file.driver != "VRT" or MaskFlags.all_valid not in file.mask_flag_enums[0]:
        return None
    tree = ET.fromstring(file.tags(ns="xml:VRT")["xml:VRT"])  # noqa: S314
    places = [rect.attrib for rect in tree.iterfind("./VRTRasterBand/*/DstRect")]
    if not places:
        return None
    corner = [[float(p["yOff"]), float(p["xOff"]), float(p["ySize"]), float(p["xSize"])] for p in places]
    table = np.array(sorted({tuple(c) for c in corner}))
    table[:, 2:] += table[:, :2]
    return table


def _covered(
    rectangles: NDArray[np.float64],
    window: Window,
    size: Sequence[int],
    grid: Grid,
    shape: tuple[int, ...],
) -> NDArray[np.bool_]:
    """Tell which of ``shape`` pixels over ``window`` of a raster of ``size`` lie in a source rectangle."""
    covered = np.zeros(shape, dtype=np.bool_)
    scale = np.array([size[0] / grid.height, size[1] / grid.width] * 2)
    step = np.array([shape[0] / window.height, shape[1] / window.width] * 2)
    corner = np.array([window.row, window.col] * 2)
    edges = np.floor((rectangles * scale - corner) * step + 0.5).clip(0, [*shape, *shape]).astype(np.intp)
    here = (edges[:, 0] < edges[:, 2]) & (edges[:, 1] < edges[:, 3])
    for top, left, bottom, right in edges[here]:
        covered[top:bottom, left:right] = True
    return covered
