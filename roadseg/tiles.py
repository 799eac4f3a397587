"""Training data on disk: which image goes with which mask, and what both look like together."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from roadseg.errors import SceneError, TrainingError
from roadseg.progress import Listener
from roadseg.raster.labels import VOID, Label, read_label
from roadseg.raster.scene import Scene, SceneSettings
from roadseg.training.dataset import Tile

_SUFFIXES = {".tif", ".tiff", ".vrt", ".jp2", ".png", ".jpg"}


def find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Match the files in ``images/`` and ``masks/`` by stem.

    Raises
    ------
    TrainingError
        If there is no such folder, no pair, or an image or mask without partner.
    """
    sides = []
    for name in ("images", "masks"):
        if not (folder / name).is_dir():
            raise TrainingError(
                f"{folder} has no folder {name}/; training data are images/ and masks/ with equal names"
            )
        sides.append({p.stem: p for p in sorted((folder / name).iterdir()) if p.suffix.lower() in _SUFFIXES})
    images, masks = sides
    alone = sorted(set(images) ^ set(masks))
    if alone:
        shown = ", ".join(alone[:3]) + (" …" if len(alone) > 3 else "")
        raise TrainingError(
            f"{len(alone)} file(s) in {folder} have no partner of the same name ({shown}); add or move them"
        )
    if not images:
        raise TrainingError(f"{folder}/images holds no image; GeoTIFFs are expected")
    return [(images[stem], masks[stem]) for stem in images]


def read_tile(image: Path, mask: Path, listener: Listener) -> Tile:
    """Read a training tile whole; pixels that are not known become void.

    Raises
    ------
    SceneError, TrainingError
        If a file cannot be read or the two do not lie on one grid.
    """
    label = read_label(str(mask))
    if label.note:
        listener.warn(label.note)
    with Scene(str(image), SceneSettings(any_gsd=True)) as scene:
        check_match(scene, label, image, mask)
        block = scene.read(scene.grid.window)
        sizes = scene.grid.pixel_size_m()
    values = block.values if block.values.dtype == np.uint8 else np.rint(block.values * 255).astype(np.uint8)
    known = np.where(block.valid, label.values, VOID).astype(np.uint8)
    return Tile(image.name, values, known, block.valid, float(np.mean(sizes)) if sizes else None)


def common_gsd(tiles: Sequence[Tile], given: float | None) -> float:
    """Return the ground resolution that all tiles share, in metres per pixel.

    Raises
    ------
    TrainingError
        If it is not known, or tiles differ by more than 15 %.
    """
    if given:
        return given
    sizes = [tile.pixel_m for tile in tiles if tile.pixel_m]
    if not sizes:
        raise TrainingError("no tile tells its pixel size; give it with --gsd, in metres")
    middle = float(np.median(sizes))
    odd = next((t for t in tiles if t.pixel_m and abs(t.pixel_m / middle - 1) > 0.15), None)
    if odd:
        raise TrainingError(
            f"{odd.name} has pixels of {odd.pixel_m:.3g} m, most tiles have {middle:.3g} m; resample it first"
        )
    return round(middle, 3)


def check_match(scene: Scene, label: Label, image: Path, mask: Path) -> None:
    """Check that an image and its mask lie on one grid.

    Raises
    ------
    SceneError, TrainingError
        If they do not.
    """
    if (scene.grid.height, scene.grid.width) != label.values.shape:
        sizes = f"{scene.grid.width} × {scene.grid.height} and {label.grid.width} × {label.grid.height} px"
        raise TrainingError(f"{image} and {mask} differ in size ({sizes}); cut both to the same ground")
    if scene.grid.crs and label.grid.crs and not scene.grid.transform.almost_equals(label.grid.transform, 1e-3):
        raise SceneError(f"{image} and {mask} lie in different places; give both the same georeference")
