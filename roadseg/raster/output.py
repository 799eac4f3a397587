"""Outputs that are either finished or not there.

While a scene is worked on, finished blocks lie as small GeoTIFFs in ``<output>.partial/`` beside a
fingerprint of inputs and settings; a block's file appears whole or not at all, so a run can be killed at
any moment and picked up. At the end a VRT joins the blocks, GDAL makes cloud-optimized GeoTIFFs (COG)
of it inside the same folder, and only then are they moved to where they were asked for.
"""

import errno
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.sax.saxutils import escape

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from roadseg.blocks import Window
from roadseg.errors import OutputError
from roadseg.raster.files import open_raster
from roadseg.raster.grid import Grid

LEVELS = 254
"""Probability p is stored as round(p × 254); 255 is nodata."""

NODATA = 255

_STRIP_PX = 1 << 16
_FINGERPRINT = "fingerprint.json"
_PUBLISHED = "published.json"
_NEW = ".new"
_MAKE_ROOM = "make room and repeat the command, the finished blocks are kept"
_UNWRITABLE = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""What XML cannot hold; file names can."""

_GDAL_TYPES = {"uint8": "Byte", "float32": "Float32"}


@dataclass(frozen=True)
class Product:
    """A raster to be made.

    Parameters
    ----------
    name
        Prefix of its block files.
    dtype
        uint8 or float32; the nodata value is 255 or NaN.
    description
        Of its band.
    scale
        Value × scale is what it means.
    """

    name: str
    dtype: str
    description: str
    scale: float = 1.0

    @property
    def nodata(self) -> float:
        """The value of pixels that are not known."""
        return NODATA if self.dtype == "uint8" else float("nan")


def probability_product(dtype: str) -> Product:
    """Return the probability raster: uint8 with scale 1/254, or float32 as it is."""
    return Product("probability", dtype, "road probability", 1 / LEVELS if dtype == "uint8" else 1.0)


MASK = Product("mask", "uint8", "road mask: 1 road, 0 not road")


def quantize(probability: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Store probabilities in 255 grey levels.

    Parameters
    ----------
    probability
        (height, width) float32 in [0, 1]; values outside are clipped, NaN counts as not known.
    valid
        (height, width) bool.

    Returns
    -------
    (height, width) uint8: round(p × 254), and 255 where not known.
    """
    levels = np.empty(probability.shape, dtype=np.uint8)
    for rows in _strips(probability.shape):
        scaled = probability[rows] * np.float32(LEVELS)
        unknown = np.isnan(scaled) | ~valid[rows]
        np.clip(np.rint(scaled, out=scaled), 0, LEVELS, out=scaled)
        scaled[unknown] = NODATA
        levels[rows] = scaled
    return levels


def encode(probability: NDArray[np.float32], valid: NDArray[np.bool_], dtype: str) -> NDArray[Any]:
    """Return probabilities as they are stored: ``quantize``d for uint8, else float32 with NaN where not known."""
    if dtype == "uint8":
        return quantize(probability, valid)
    return np.where(valid, probability, np.float32(np.nan))


def dequantize(values: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return probabilities and validity of stored values, uint8 or float32."""
    if values.dtype == np.uint8:
        valid = values != NODATA
        return np.where(valid, values, 0).astype(np.float32) / np.float32(LEVELS), valid
    valid = ~np.isnan(values)
    return np.where(valid, values, 0).astype(np.float32), valid


def threshold_mask(values: NDArray[Any], threshold: float) -> NDArray[np.uint8]:
    """Return 1 where stored probabilities reach the threshold, 0 where not, 255 where not known.

    uint8 values are compared at their own precision, so that the mask is what anyone gets who
    thresholds the probability raster.
    """
    if values.dtype == np.uint8:
        reaching = dequantize(np.arange(LEVELS + 1, dtype=np.uint8))[0] >= np.float32(threshold)
        mask = (values >= LEVELS + 1 - np.count_nonzero(reaching)).view(np.uint8)
        np.copyto(mask, np.uint8(NODATA), where=values == NODATA)
        return mask
    mask = (values >= np.float32(threshold)).view(np.uint8)
    np.copyto(mask, np.uint8(NODATA), where=np.isnan(values))
    return mask


class Partial:
    """The folder ``<output>.partial/`` with the finished blocks of a scene.

    Parameters
    ----------
    output
        What it is to become.
    fingerprint
        Everything the blocks depend on; JSON-ready.
    anew
        Throw away what a run with other inputs or settings left.

    Raises
    ------
    OutputError
        If the folder holds blocks of other inputs or settings, or something else, or cannot be made.
    """

    def __init__(self, output: Path, fingerprint: Mapping[str, object], *, anew: bool = False) -> None:
        self.folder = _partial_folder(output)
        wanted = json.loads(json.dumps(fingerprint))
        marker = self.folder / _FINGERPRINT
        if marker.exists():
            differing = _differing(marker, wanted)
            if not differing:
                return
            if self.kept() and not anew:
                raise OutputError(
                    f"{self.folder} was left by a run with another {', '.join(differing)}; "
                    "repeat that command to finish it, or add --overwrite to start anew"
                )
            self.discard()
        try:
            self.folder.mkdir(exist_ok=True)
            if any(path.suffix != _NEW for path in self.folder.iterdir()):
                raise OutputError(f"{self.folder} is in the way and was not left by roadseg; move it")
            write_whole(marker, json.dumps(wanted, indent=1).encode())
        except OSError as error:
            raise OutputError(f"cannot write beside {output} ({error.strerror}); choose another place") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.kept():
            self.discard()

    def kept(self) -> int:
        """Return how many files of finished blocks there are."""
        return sum(1 for _ in self.folder.glob("*_*_*_*_*.tif"))

    def has(self, products: Iterable[Product], window: Window) -> bool:
        """Tell whether a block is finished."""
        return all(self._path(product, window).exists() for product in products)

    def put(
        self, product: Product, window: Window, values: NDArray[Any], counts: Mapping[str, int] | None = None
    ) -> None:
        """Keep a finished block, (height, width), with numbers that ``total`` adds up.

        Raises
        ------
        OutputError
            If the disk is full or gone.
        """
        with MemoryFile() as memory:
            profile = _profile(product, window)
            with rasterio.Env(GDAL_NUM_THREADS="1"), memory.open(**profile) as file:
                file.write(values, 1)
                file.update_tags(**(counts or {}))
            try:
                write_whole(self._path(product, window), memory.getbuffer())
            except OSError as error:
                raise OutputError(f"cannot write to {self.folder} ({error.strerror}); {_MAKE_ROOM}") from error

    def mosaic(self, product: Product, grid: Grid, area: Window, tags: Mapping[str, str]) -> Path:
        """Join the blocks of a product to one raster.

        Parameters
        ----------
        product
            Whose blocks.
        grid
            Of ``area``.
        area
            The part of the whole that the blocks cover.
        tags
            Metadata to write.

        Returns
        -------
        Path of a VRT.
        """
        kind = _GDAL_TYPES[product.dtype]
        t = grid.transform
        metadata = "".join(
            f'<MDI key="{key}">{escape(_UNWRITABLE.sub("?", value))}</MDI>' for key, value in tags.items()
        )
        sources = "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{path.name}</SourceFilename><SourceBand>1</SourceBand>'
            f'<SourceProperties RasterXSize="{w.width}" RasterYSize="{w.height}" DataType="{kind}" '
            f'BlockXSize="512" BlockYSize="512"/>'
            f'<SrcRect xOff="0" yOff="0" xSize="{w.width}" ySize="{w.height}"/>'
            f'<DstRect xOff="{w.col - area.col}" yOff="{w.row - area.row}" xSize="{w.width}" ySize="{w.height}"/>'
            "</SimpleSource>"
            for path, w in self._blocks(product)
        )
        scale = f"<Offset>0</Offset><Scale>{product.scale!r}</Scale>" if product.scale != 1 else ""
        xml = (
            f'<VRTDataset rasterXSize="{grid.width}" rasterYSize="{grid.height}">'
            + (f"<SRS>{escape(grid.crs)}</SRS>" if grid.crs else "")
            + ("" if t.is_identity else f"<GeoTransform>{t.c!r},{t.a!r},{t.b!r},{t.f!r},{t.d!r},{t.e!r}</GeoTransform>")
            + f"<Metadata>{metadata}</Metadata>"
            f'<VRTRasterBand dataType="{kind}" band="1"><Description>{product.description}</Description>'
            f"<NoDataValue>{product.nodata}</NoDataValue><ColorInterp>Gray</ColorInterp>{scale}{sources}"
            "</VRTRasterBand></VRTDataset>"
        )
        path = self.folder / f"{product.name}.vrt"
        write_whole(path, xml.encode())
        return path

    def total(self, product: Product, key: str) -> int:
        """Add up a number that was kept with each block of a product."""
        total = 0
        for path, _ in self._blocks(product):
            with open_raster(path) as file:
                total += int(file.tags()[key])
        return total

    def publish(self, made: Sequence[tuple[Path, Path]]) -> None:
        """Move finished files to their places and remove the folder.

        Where they go is noted first, so that a run killed in between may be repeated (``published``).

        Raises
        ------
        OutputError
            If a place cannot be written to.
        """
        places = [str(target.resolve()) for _, target in made]
        try:
            write_whole(self.folder / _PUBLISHED, json.dumps(places).encode())
        except OSError as error:
            raise OutputError(f"cannot write to {self.folder} ({error.strerror}); {_MAKE_ROOM}") from error
        for finished, target in made:
            publish(finished, target)
        self.discard()

    def discard(self) -> None:
        """Remove the folder, and what tells whose it is last."""
        for path in self.folder.glob("*"):
            if path.name not in {_FINGERPRINT, _PUBLISHED}:
                path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, product: Product, window: Window) -> Path:
        place = f"{window.row}_{window.col}_{window.height}_{window.width}"
        return self.folder / f"{product.name}_{place}.tif"

    def _blocks(self, product: Product) -> list[tuple[Path, Window]]:
        paths = self.folder.glob(f"{product.name}_*.tif")
        pairs = [(path, Window(*map(int, path.stem.rsplit("_", 4)[1:]))) for path in paths]
        return sorted(pairs, key=lambda pair: (pair[1].row, pair[1].col))


def published(output: Path) -> set[Path]:
    """Return where a run for ``output`` was moving its finished files when it was killed."""
    try:
        return {Path(place) for place in json.loads((_partial_folder(output) / _PUBLISHED).read_text())}
    except (OSError, ValueError):
        return set()


def _partial_folder(output: Path) -> Path:
    return output.with_name(output.name + ".partial")


def _differing(marker: Path, wanted: Mapping[str, object]) -> list[str]:
    """Return in what a fingerprint on disk differs from the wanted one."""
    try:
        found = dict(json.loads(marker.read_text()))
    except (OSError, ValueError, TypeError):
        return ["fingerprint (it is damaged)"]
    return sorted(key for key in {**found, **wanted} if found.get(key) != wanted.get(key))


def write_cog(source: Path, target: Path, *, overviews: str = "AVERAGE") -> None:
    """Make a cloud-optimized GeoTIFF with overviews of a raster.

    GDAL keeps the overviews in a file of their own on the way; to compress that one would double the time.

    Raises
    ------
    OutputError
        If the disk is full or the source is gone.
    """
    options = {
        "driver": "COG",
        "compress": "DEFLATE",
        "level": 1,
        "blocksize": 512,
        "overview_resampling": overviews,
        "bigtiff": "IF_SAFER",
        "sparse_ok": "TRUE",
        "num_threads": "ALL_CPUS",
    }
    try:
        env = {"GDAL_NUM_THREADS": "ALL_CPUS", "CHECK_DISK_FREE_SPACE": "TRUE", "COG_TMP_COMPRESSION": "NONE"}
        with rasterio.Env(**env):
            rasterio.shutil.copy(source, target, **options)
        _check_complete(target)
    except (CPLE_BaseError, RasterioError, OSError) as error:
        target.unlink(missing_ok=True)
        raise OutputError(f"cannot write {target} ({error.__cause__ or error}); {_MAKE_ROOM}") from error


def _check_complete(path: Path) -> None:
    """Raise OSError unless all tiles lie inside the file: GDAL is silent when the disk fills up as it closes one."""
    size = path.stat().st_size
    with open_raster(path) as file:
        rows, cols = (-(-n // 512) for n in file.shape)
        for row, col in itertools.product(range(rows), range(cols)):
            offset = file.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1)
            length = file.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1)
            if offset and int(offset) + int(length or 0) > size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def check_target(target: Path, *, overwrite: bool, inputs: Iterable[Path]) -> None:
    """Find out before any work whether an output may be written.

    Raises
    ------
    OutputError
        If its folder is missing or read-only, it is an input, or it exists and may not be replaced.
    """
    if not target.parent.is_dir():
        raise OutputError(f"the folder {target.parent} does not exist; create it first")
    if target.is_dir():
        raise OutputError(f"{target} is a folder; name a file in it")
    if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
        raise OutputError(f"{target} is also the input; choose another output")
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists; choose another name or add --overwrite")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"the folder {target.parent} is not writable; choose another place")


def publish(made: Path, target: Path) -> None:
    """Move a finished file to its place, across file systems too."""
    try:
        try:
            made.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            beside = target.with_name(f".{target.name}{_NEW}")
            try:
                shutil.copyfile(made, beside)
                beside.replace(target)
            finally:
                beside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {target} ({error.strerror}); the result lies in {made}") from error


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield rows that fit in a processor's cache together; passing over memory costs more than the arithmetic."""
    step = max(1, _STRIP_PX // max(1, shape[1]))
    return (slice(row, row + step) for row in range(0, shape[0], step))


@cache
def _quick_compression() -> dict[str, Any]:
    """Return the fastest compression this GDAL has for blocks that live until the end of a run only."""
    quick: dict[str, Any] = {"compress": "ZSTD", "zstd_level": 1}
    size = {"height": 16, "width": 16, "count": 1, "dtype": "uint8", "transform": rasterio.Affine(1, 0, 1, 0, -1, 1)}
    try:
        with MemoryFile() as memory, memory.open(driver="GTiff", **size, **quick) as file:
            file.write(np.zeros((16, 16), dtype=np.uint8), 1)
    except (RasterioError, CPLE_BaseError):
        return {"compress": "DEFLATE", "zlevel": 1}
    return quick


def _profile(product: Product, window: Window) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "height": window.height,
        "width": window.width,
        "count": 1,
        "dtype": product.dtype,
        "nodata": product.nodata,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        **_quick_compression(),
        "transform": rasterio.Affine(1, 0, window.col, 0, -1, -1 - window.row),  # GDAL warns at the origin
    }


def write_whole(path: Path, data: "bytes | memoryview[int]") -> None:
    """Write a file beside its place, flush it to the disk, then rename it."""
    beside = path.with_name(path.name + _NEW)
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
