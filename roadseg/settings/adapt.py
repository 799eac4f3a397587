"""Options of ``roadseg adapt``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from roadseg.errors import UsageError
from roadseg.settings.data import DATA, LabelSettings, check_labels
from roadseg.settings.option import AnyPath, Option

LabelQuality = Literal["auto", "exact", "rough"]

INPUT, RUN = "Input", "Run"


@dataclass(frozen=True)
class AdaptSettings(LabelSettings):
    """What to adapt a model to, and how long it may take."""

    teacher: Annotated[
        str | None,
        Option(
            "--teacher",
            "Without labels: learn from what a model is sure of in the scenes, such as standard.",
            DATA,
            "MODEL",
        ),
    ] = None
    start: Annotated[
        str | None, Option("--model", "Model to adapt: a file, or name of a bundled model.", "Model", "MODEL")
    ] = None
    bands: Annotated[
        tuple[int, ...] | None, Option("--bands", "Band numbers in the model's order, such as 4,3,2.", INPUT, "N,N,…")
    ] = None
    pixel_m: Annotated[
        float | None, Option("--gsd", "Metres per pixel of images that do not say.", INPUT, "M", min=1e-4)
    ] = None
    model_gsd: Annotated[
        float | None,
        Option(
            "--model-gsd",
            "Metres per pixel that the model is to read at; by default as before, or finer where images are.",
            INPUT,
            "M",
            min=1e-4,
        ),
    ] = None
    aoi: Annotated[
        Path | None, Option("--aoi", "Learn only inside the polygons of this vector file, in any CRS.", INPUT)
    ] = None
    label_quality: Annotated[
        LabelQuality,
        Option(
            "--labels-are",
            "Rough labels may lie metres off, lack roads and have wrong widths; auto: --labels are, masks are not.",
            INPUT,
        ),
    ] = "auto"
    dev: Annotated[
        Path | None,
        Option("--dev", "Tiles of another place, like DATA, that are only scored: what the model forgets.", INPUT),
    ] = None
    minutes: Annotated[
        float, Option("--minutes", "Time from start to model, in minutes, about.", RUN, "MIN", min=0.1)
    ] = 3.0
    steps: Annotated[int, Option("--steps", "Most training steps.", RUN, "N", min=1)] = 600
    seed: Annotated[int, Option("--seed", "Seed of all random numbers.", RUN, "N", min=0)] = 0
    device: Annotated[
        str, Option("--device", "auto (CUDA, then MPS, then the CPU), cpu, cuda, cuda:N or mps.", RUN, "DEVICE")
    ] = "auto"
    anyway: Annotated[bool, Option("--anyway", "Write the model even if it is no better than before.", "Output")] = (
        False
    )
    overwrite: Annotated[
        bool, Option("--overwrite", "Replace the model, and a checkpoint made with other settings.", "Output")
    ] = False

    @property
    def names_scenes(self) -> bool:
        """Whether the data are scenes, on which labels are drawn or found by a teacher; else they have masks."""
        return self.labels is not None or self.teacher is not None

    @property
    def labels_are_rough(self) -> bool:
        """Whether labels may be wrong; masks are not unless said so."""
        return self.label_quality == "rough" or (self.label_quality == "auto" and self.labels is not None)


def check_label_source(settings: AdaptSettings) -> None:
    """Check that labels come from one source, and that their options belong to it.

    Raises
    ------
    UsageError
        If they do not.
    """
    check_labels(settings)
    if settings.teacher is None:
        return
    if settings.labels is not None:
        raise UsageError("--labels and --teacher both say where the roads are; leave --teacher out if there is a map")
    if settings.label_quality != "auto":
        raise UsageError("--labels-are says how good a map or masks are; leave it out with --teacher")


class AdaptOptions(TypedDict, total=False):
    """Keyword options of ``roadseg.adapt.adapt``; ``roadseg adapt --help`` says what each means."""

    labels: AnyPath | None
    label_layer: str | None
    road_width: float | None
    width_attribute: str | None
    width_table: AnyPath | None
    teacher: AnyPath | None
    model: AnyPath | None
    bands: Sequence[int] | None
    gsd: float | None
    model_gsd: float | None
    aoi: AnyPath | None
    labels_are: LabelQuality
    dev: AnyPath | None
    minutes: float
    steps: int
    seed: int
    device: str
    anyway: bool
    overwrite: bool
    name: str
    description: str
    training_data: str
    licence: str
    attribution: str
