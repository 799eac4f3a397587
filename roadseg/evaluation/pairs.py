"""Which prediction is compared with which truth: two files, or the files with equal stems in two folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roadseg.errors import SceneError, no_such_file, shortened
from roadseg.files.inputs import RASTERS, VECTORS, archive_kind, files_by_stem, match_stems
from roadseg.raster.files import local_files
from roadseg.roads.files.geopackage import holds_rasters_only
from roadseg.roads.files.read import geometry_layers
from roadseg.settings import EvaluateSettings
from roadseg.settings.option import changed_flags


@dataclass(frozen=True)
class ScoredPair:
    """A prediction and its truth, the name they are reported under, and imagery to show in the report."""

    name: str
    prediction: Path
    truth: Path
    image: Path | None = None


def find_scored_pairs(prediction: Path, truth: Path, images: Path | None = None) -> tuple[list[ScoredPair], list[str]]:
    """Pair two files, or the files of two folders by stem.

    Returns
    -------
    The pairs sorted by name, and notes that list the files without a partner.

    Raises
    ------
    SceneError
        If a path does not exist, only one of the two is a folder, or the folders share no stem.
    """
    for path in (prediction, truth, images):
        if path and not path.exists():
            raise no_such_file(path)
    image_of_stem = files_by_stem(images, RASTERS + VECTORS) if images and images.is_dir() else {}
    if not _are_folders(prediction, truth):
        image = images if images and images.is_file() else image_of_stem.get(prediction.stem)
        return [ScoredPair(prediction.stem, prediction, truth, image)], []
    matched = match_stems(prediction, truth, RASTERS + VECTORS)
    if not matched.pairs:
        names = " against ".join(shortened(alone) or "none" for alone in matched.alone)
        raise SceneError(f"no file in {prediction} has the stem of one in {truth} ({names}); rename them alike")
    notes = [
        f"{len(alone)} of {folder} without a partner, not scored: {shortened(alone)}"
        for folder, alone in zip((prediction, truth), matched.alone, strict=True)
        if alone
    ]
    return [ScoredPair(stem, *files, image_of_stem.get(stem)) for stem, files in matched.pairs.items()], notes


def _are_folders(prediction: Path, truth: Path) -> bool:
    """Return whether both are folders; raise SceneError if only one is."""
    is_folder = {path: path.is_dir() and not _is_geodatabase(path) for path in (prediction, truth)}
    if is_folder[prediction] != is_folder[truth]:
        folder, file = (prediction, truth) if is_folder[prediction] else (truth, prediction)
        raise SceneError(f"{folder} is a folder and {file} is not; give two files or two folders")
    return is_folder[prediction]


def files_of_pairs(pairs: Sequence[ScoredPair]) -> list[Path]:
    """Return all files that pairs are read from, the sources of mosaics included."""
    named = [path for pair in pairs for path in (pair.prediction, pair.truth, pair.image) if path]
    return local_files(map(str, named))


def is_vector_file(path: Path) -> bool:
    """Return whether a path is a vector file: by its suffix, or else by its content (CSV with WKT, MapInfo, DXF …).

    GeoPackages hold rasters, too.

    Raises
    ------
    SceneError
        If it is an archive that GDAL does not look into by itself.
    """
    suffix = path.suffix.lower()
    if suffix == ".gpkg" and path.exists():
        return not holds_rasters_only(path)
    if suffix in VECTORS or suffix in RASTERS or not path.exists():
        return suffix in VECTORS
    try:
        return bool(geometry_layers(path))
    except SceneError:
        if archive_kind(path):
            raise
        return False


def _is_geodatabase(path: Path) -> bool:
    return path.suffix.lower() == ".gdb"


def crs_cure(path: Path) -> str:
    """Return how to give a file the CRS that it lacks, for messages."""
    if is_vector_file(path):
        return "assign it, with ogr2ogr -a_srs"
    return "assign it, with gdal_edit.py -a_srs, or with gdalwarp if it has ground control points"


def are_networks(pairs: Sequence[ScoredPair], prediction: Path, truth: Path) -> bool:
    """Return whether all files are vector files.

    Raises
    ------
    SceneError
        If some of them are rasters.
    """
    kinds = {is_vector_file(path) for pair in pairs for path in (pair.prediction, pair.truth)}
    if len(kinds) > 1:
        raise SceneError(
            f"{prediction} and {truth} are a raster and a vector file; give two of one kind, or add --network"
        )
    return kinds == {True}


_OF_RASTERS = ("slack", "neighbourhood", "resample", "cldice")
_OF_NETWORKS = ("buffer_m", "junction_m")


def unused_options(
    pairs: Sequence[ScoredPair], settings: EvaluateSettings, images: Path | None, *, networks: bool
) -> list[str]:
    """Return warnings of options that change nothing in scores of networks, or of rasters."""
    return _unused_for_networks(pairs, settings, images) if networks else _unused_for_rasters(pairs, settings, images)


def _unused_for_networks(pairs: Sequence[ScoredPair], settings: EvaluateSettings, images: Path | None) -> list[str]:
    found = []
    flags = changed_flags(settings, *_OF_RASTERS)
    if images:
        flags.append("--images")
    if flags:
        found.append(f"{' and '.join(flags)} changed nothing: networks are scored, not rasters")
    if settings.threshold is not None and all(is_vector_file(pair.prediction) for pair in pairs):
        found.append("--threshold changed nothing: lines have no probability to compare with it")
    return found


def _unused_for_rasters(pairs: Sequence[ScoredPair], settings: EvaluateSettings, images: Path | None) -> list[str]:
    found = []
    flags = changed_flags(settings, *_OF_NETWORKS)
    if flags:
        why = "rasters are scored; --network scores their networks"
        found.append(f"{' and '.join(flags)} changed nothing: {why}")
    if images and not any(pair.image for pair in pairs):
        if images.is_dir():
            found.append(f"--images changed nothing: no file in {images} has the stem of a prediction")
        else:
            found.append(f"--images changed nothing: several are scored, and {images} is no folder")
    return found
