"""How a scene is read, and the choices that follow for the whole scene: its bands and its grid."""

from dataclasses import dataclass, replace

from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from roadseg.errors import SceneError, counted
from roadseg.raster.grid import Grid, model_grid

COARSEST = 4.0
"""Scenes with pixels this many times larger than the model's are refused."""

_FINER = 0.85
"""A scene is read at finer pixels than the model's from this share of them down; less is not worth the time."""

_RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@dataclass(frozen=True)
class SceneSettings:
    """Settings for reading a scene.

    Parameters
    ----------
    bands
        Band numbers from 1; None takes red, green and blue where the file names them, by colour interpretation or
        description, else the first bands.
    band_count
        Number of bands of the model.
    gsd_m
        Metres per pixel of the model.
    finest_gsd_m
        Metres per pixel down to which scenes much finer than the model's pixels are read finer, see ``gsd_to_read_at``.
    pixel_m
        Metres per pixel of the scene, where its georeference is missing or wrong.
    value_range
        Values that become 0 and 1; None takes percentiles 2 and 98 of the scene (uint8: 0 and 255).
    stretch
        (low, high) per band, where they are known from an earlier read of the same scene.
    any_gsd
        Use the scene's grid whatever its resolution.
    fill
        Value of nodata pixels per band, on the 0–1 scale.
    """

    bands: tuple[int, ...] | None = None
    band_count: int = 3
    gsd_m: float = 1.0
    finest_gsd_m: float | None = None
    pixel_m: float | None = None
    value_range: tuple[float, float] | None = None
    stretch: tuple[tuple[float, float], ...] | None = None
    any_gsd: bool = False
    fill: tuple[float, ...] = (0.0, 0.0, 0.0)


def choose_bands(file: DatasetReader, path: str, settings: SceneSettings) -> tuple[int, ...]:
    """Return the numbers of the bands to read.

    Raises
    ------
    SceneError
        If the file lacks them, has a palette, or has another number of bands than the model.
    """
    if ColorInterp.palette in file.colorinterp:
        raise SceneError(f"{path} holds colour numbers (a palette); expand it first, with gdal_translate -expand rgb")
    bands = _bands_by_default(file, settings.band_count) if settings.bands is None else settings.bands
    missing = [band for band in bands if not 1 <= band <= file.count]
    if missing:
        raise SceneError(f"{path} has no band {missing[0]}: it has {file.count}; choose with --bands")
    if len(bands) != settings.band_count:
        raise SceneError(_wrong_count(path, bands, file.count, settings.band_count))
    return bands


def _bands_by_default(file: DatasetReader, count: int) -> tuple[int, ...]:
    """Return red, green and blue if three bands are wanted and known to be those; else the first that are not alpha."""
    by_colour = [list(file.colorinterp).index(colour) + 1 for colour in _RGB if colour in file.colorinterp]
    descriptions = [(text or "").strip().lower() for text in file.descriptions]
    by_description = [descriptions.index(colour.name) + 1 for colour in _RGB if colour.name in descriptions]
    for bands in (by_colour, by_description):
        if len(bands) == count == len(_RGB):
            return tuple(bands)
    colours = [band for band, colour in zip(file.indexes, file.colorinterp, strict=True) if colour != ColorInterp.alpha]
    return tuple(colours[:count])


def _wrong_count(path: str, bands: tuple[int, ...], count: int, wanted: int) -> str:
    """Return the message for a file with too few bands, or for too many or too few that were named."""
    grey = " (for a grey image: --bands 1,1,1)" if count < wanted == 3 else ""
    return (
        f"the model wants {counted(wanted, 'band')} and {path} offers {len(bands)}; choose {wanted} with "
        f"--bands{grey}, or train a model for {counted(len(bands), 'band')} with --bands {','.join(map(str, bands))}"
    )


def pixel_size(grid: Grid, settings: SceneSettings) -> tuple[float, float] | None:
    """Return the height and width of a scene's pixels in metres, as given or by its georeference; None if unknown."""
    given = settings.pixel_m
    return (given, given) if given else grid.pixel_size_m()


def gsd_to_read_at(pixel_m: float | None, gsd_m: float, finest_gsd_m: float | None) -> float:
    """Return the metres per pixel at which a model reads a scene.

    Parameters
    ----------
    pixel_m
        Metres per pixel of the scene, if known.
    gsd_m
        Metres per pixel of the model.
    finest_gsd_m
        Metres per pixel down to which it reads scenes much finer than that at twice their pixels; None reads all of
        them at ``gsd_m``.
    """
    if pixel_m is None or finest_gsd_m is None:
        return gsd_m
    finer = max(finest_gsd_m, round(2 * pixel_m, 2))
    return finer if finer < _FINER * gsd_m else gsd_m


def settled(settings: SceneSettings, grid: Grid) -> SceneSettings:
    """Return settings that name the resolution at which a scene of this grid is read."""
    gsd_m = gsd_to_read_at(settings.pixel_m or grid.mean_pixel_m(), settings.gsd_m, settings.finest_gsd_m)
    return replace(settings, gsd_m=gsd_m, finest_gsd_m=None)


def choose_grid(grid: Grid, path: str, settings: SceneSettings) -> Grid:
    """Return the grid on which a model sees a scene.

    Raises
    ------
    SceneError
        If the scene is too coarse for the model, or its pixels are impossibly small.
    """
    gsd, pixel = settings.gsd_m, pixel_size(grid, settings)
    if pixel is None or settings.any_gsd:
        return grid
    if max(pixel) > COARSEST * gsd:
        raise SceneError(
            f"{path} has pixels of {max(pixel):.3g} m, too coarse for roads seen at {gsd:g} m; "
            "use finer imagery, or give the true pixel size with --gsd if the georeference is wrong"
        )
    if min(pixel) < gsd / 1000:
        raise SceneError(
            f"{path} has pixels of {min(pixel):.3g} m, which cannot be right; give the true pixel size with --gsd"
        )
    return model_grid(grid, gsd_m=gsd, pixel_m=pixel)
