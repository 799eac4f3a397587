"""Where training data come from: tiles with masks, or scenes and vector roads to draw on them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from roadseg.errors import UsageError
from roadseg.settings.option import Option

SplitUnit = Literal["blocks", "files"]

DATA, DEV = "Training data", "Validation"


@dataclass(frozen=True)
class DevFolder:
    """A folder or CSV file of tiles, metres per pixel of those without a CRS, and the option that gives these."""

    path: Path
    pixel_m: float | None = None
    gsd_option: str = "--dev FOLDER@METRES"


def _place(path: Path) -> DevFolder:
    """Read ``FOLDER`` or ``FOLDER@0.3``."""
    name, _, metres = str(path).rpartition("@")
    try:
        pixel_m = float(metres) if name and not path.exists() else 0.0
    except ValueError:
        pixel_m = 0.0
    return DevFolder(Path(name), pixel_m) if 0 < pixel_m < math.inf else DevFolder(path)


def _first_is_plain(dev: Sequence[Path]) -> bool:
    return not dev or _place(dev[0]).pixel_m is None


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """Vector roads to draw as labels, and how wide they are."""

    labels: Annotated[
        Path | None, Option("--labels", "Vector file of roads in any CRS, drawn on the scenes.", DATA)
    ] = None
    label_layer: Annotated[
        str | None, Option("--label-layer", "Layer of --labels, if it has several.", DATA, "NAME")
    ] = None
    road_width_m: Annotated[
        float | None,
        Option(
            "--road-width", "Width of all roads, in metres; by default by highway class.", DATA, "M", min=0.1, max=200
        ),
    ] = None
    width_attribute: Annotated[
        str | None, Option("--width-attribute", "Column with the width of each road, in metres.", DATA, "NAME")
    ] = None
    width_table: Annotated[
        Path | None, Option("--width-table", "TOML or CSV file of widths by class; overrides built-in ones.", DATA)
    ] = None


def check_labels(settings: LabelSettings) -> None:
    """Check that options of labels come with labels.

    Raises
    ------
    UsageError
        If they do not.
    """
    given = {
        "--label-layer": settings.label_layer,
        "--road-width": settings.road_width_m,
        "--width-attribute": settings.width_attribute,
        "--width-table": settings.width_table,
    }
    alone = next((name for name, value in given.items() if value is not None), None)
    if alone and settings.labels is None:
        raise UsageError(f"{alone} belongs to --labels; give both")


@dataclass(frozen=True)
class DataSettings(LabelSettings):
    """Where training data come from: a folder or CSV file of image and mask pairs, or scenes and vector roads."""

    data: tuple[Path, ...] = ()
    images: Annotated[
        tuple[Path, ...], Option("--images", "Scenes to draw --labels on; more may follow as arguments.", DATA)
    ] = ()
    bands: Annotated[
        tuple[int, ...] | None,
        Option("--bands", "Bands to use, from 1, such as 4,3,2; by default red, green and blue.", DATA, "N,N,…"),
    ] = None
    dev: Annotated[
        tuple[Path, ...],
        Option(
            "--dev",
            "Dev tiles, like DATA: for threshold, calibration and scores; never trained on. Again for other places, "
            "which count as much in the calibration; FOLDER@0.3 gives metres per pixel where files do not.",
            DEV,
            rule=(
                "folders or CSV files, the first one without @METRES (its pixel size is --gsd)",
                _first_is_plain,
            ),
        ),
    ] = ()
    dev_fraction: Annotated[
        float, Option("--dev-fraction", "Fraction of the data to hold out as dev tiles instead.", DEV, min=0, max=0.9)
    ] = 0.0
    dev_split: Annotated[SplitUnit, Option("--dev-split", "Hold out blocks of ground or whole files.", DEV)] = "blocks"
    dev_block_m: Annotated[
        float, Option("--dev-block", "Side of such a block, in metres.", DEV, "M", min=1, max=1e7)
    ] = 512.0
    cache: Annotated[
        Path | None, Option("--cache", "Folder for masks drawn from --labels; by default OUTPUT.masks/.", DATA)
    ] = None
    skip_unreadable: Annotated[
        bool, Option("--skip-unreadable", "Leave out files that cannot be used instead of stopping.", DATA)
    ] = False
    memory_gb: Annotated[
        float | None,
        Option(
            "--memory", "GB of tiles to keep in memory; by default half of what is free.", DATA, "GB", min=0, max=1e6
        ),
    ] = None
    road_share: Annotated[
        float, Option("--road-share", "Share of crops sampled in proportion to their road.", DATA, min=0, max=1)
    ] = 0.0

    @property
    def home(self) -> Path | None:
        """The first place with dev tiles, which gives the scores."""
        return self.dev[0] if self.dev else None

    @property
    def domains(self) -> tuple[DevFolder, ...]:
        """Other places with dev tiles: each counts in the calibration as much as the first, and in nothing else."""
        return tuple(_place(path) for path in self.dev[1:])
