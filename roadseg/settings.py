"""What can be set, and the only place where defaults stand; the command line reads them here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16", "float16"]
PixelType = Literal["uint8", "float32"]
GridChoice = Literal["scene", "model"]
Neighbourhood = Literal["square", "disk"]
Upsampling = Literal["bilinear", "nearest"]
SplitUnit = Literal["blocks", "files"]


@dataclass(frozen=True)
class EngineSettings:
    """Where and how to compute.

    Parameters
    ----------
    device
        ``"auto"`` takes CUDA, then MPS, then the CPU; ``"cuda:1"`` names one of several.
    precision
        ``"auto"``: bfloat16 on CUDA devices that have it, float16 on older ones, else float32.
    batch_size
        Windows at a time; None lets the engine choose.
    tta
        Test-time augmentation: average the answers to all eight symmetries of each window, in eight times the time.
    """

    device: str = "auto"
    precision: Precision = "auto"
    batch_size: int | None = None
    tta: bool = False


@dataclass(frozen=True)
class PredictSettings:
    """How to predict; the command line reads its defaults here.

    Parameters
    ----------
    bands, pixel_m, value_range
        See ``SceneSettings``.
    overlap_px
        How far neighbouring windows overlap.
    block_px
        Side of a block; larger ones need more memory and less repeated work.
    threshold
        Probability from which a pixel is road in the mask; None takes the model card's.
    dtype
        Of the probability raster: uint8 with 255 grey levels, or float32.
    grid
        ``"scene"`` writes the scene's own pixels, ``"model"`` those the model saw.
    bbox
        Wanted part (xmin, ymin, xmax, ymax) in the scene's CRS.
    aoi
        Vector file with polygons, in any CRS; only pixels inside are wanted.
    overwrite
        Replace existing outputs, and throw away partial ones of other settings.
    """

    bands: tuple[int, ...] | None = None
    pixel_m: float | None = None
    value_range: tuple[float, float] | None = None
    overlap_px: int = 32
    block_px: int = 6144
    threshold: float | None = None
    dtype: PixelType = "uint8"
    grid: GridChoice = "scene"
    bbox: tuple[float, float, float, float] | None = None
    aoi: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Outputs:
    """Where results go: the probability raster, and on demand a 0/1/255 mask and a PNG to look at."""

    raster: Path
    mask: Path | None = None
    preview: Path | None = None

    def paths(self) -> list[Path]:
        """Return those asked for."""
        return [path for path in (self.raster, self.mask, self.preview) if path]


@dataclass(frozen=True)
class EvaluateSettings:
    """How to score roads.

    Parameters
    ----------
    threshold
        Probability from which a pixel is road; None takes the one noted in the predictions, else 0.5.
    slack
        How far a road pixel may lie off in the relaxed measures.
    slack_in_metres
        Whether ``slack`` is in metres on the ground; in pixels of the truth otherwise.
    neighbourhood
        Shape of the slack: ``"square"`` as in published figures, or ``"disk"``.
    resample
        Bring predictions on another grid to the truth's instead of refusing them.
    cldice
        Whether to compute clDice, which takes longer than the rest together.
    buffer_m, junction_m
        Of completeness and correctness, and how far apart matched junctions may be.
    block_px
        Side of the blocks that rasters are read in.
    worst
        How many of the worst images the report shows.
    overwrite
        Replace existing outputs.
    """

    threshold: float | None = None
    slack: float = 3.0
    slack_in_metres: bool = False
    neighbourhood: Neighbourhood = "square"
    resample: bool = False
    cldice: bool = True
    buffer_m: float = 3.0
    junction_m: float = 10.0
    block_px: int = 2048
    worst: int = 4
    overwrite: bool = False


@dataclass(frozen=True)
class EvaluateOutputs:
    """Where scores go besides the terminal: a page, a JSON file, a map of the errors."""

    report: Path | None = None
    json: Path | None = None
    errors: Path | None = None

    def paths(self) -> list[Path]:
        """Return those asked for."""
        return [path for path in (self.report, self.json, self.errors) if path]


@dataclass(frozen=True)
class VectorizeSettings:
    """How to make a road network, or road areas, of a raster; metres on the ground, pixels without a CRS.

    Parameters
    ----------
    threshold
        Probability a road has somewhere along it; None takes the one noted in the raster, else 0.5.
    low_threshold
        Probability it has everywhere (hysteresis); None takes a share of ``threshold``.
    min_area_m2, max_hole_m2
        Smaller patches of road are dropped, smaller holes in it filled.
    min_length_m
        A piece of network shorter than this altogether is dropped.
    spur_m
        Dead ends shorter than this are pruned, beside what the local road width explains; None leaves it to the width.
    bridge_m
        Longest gap that is bridged; 0 bridges none.
    simplify_m
        How far a line may be moved to save vertices; None takes 0.75 px.
    pixel_m
        Metres per pixel to extract at; None takes that of the model which made the raster, else the raster's own.
    areas
        Make polygons of the road area instead of middle lines.
    crs
        Of the result, anything PROJ understands; None keeps the raster's.
    block_px, workers
        Side of the blocks, and how many processes share them; the result depends on neither.
    overwrite
        Replace existing outputs.
    """

    threshold: float | None = None
    low_threshold: float | None = None
    min_area_m2: float = 60.0
    max_hole_m2: float = 60.0
    min_length_m: float = 20.0
    spur_m: float | None = None
    bridge_m: float = 25.0
    simplify_m: float | None = None
    pixel_m: float | None = None
    areas: bool = False
    crs: str | None = None
    block_px: int = 2048
    workers: int = 1
    overwrite: bool = False


@dataclass(frozen=True)
class DataSettings:
    """Where training data come from; the command line reads its defaults here.

    Parameters
    ----------
    data
        Folder with ``images/`` and ``masks/``, or a CSV file with columns image, mask and perhaps split.
    images
        Scenes (files or folders of them) to draw ``labels`` on, instead of ``data``.
    labels, label_layer
        Vector file with roads in any CRS, and its layer if there are several.
    road_width_m, width_attribute, width_table
        Whole width of roads in metres: one for all, or by an attribute, or by class from a TOML or CSV file
        laid over the built-in table.
    bands
        Band numbers from 1; None takes red, green and blue where the file names them, else the first three.
    dev
        Folder or CSV file like ``data``, for validation.
    dev_fraction, dev_split, dev_block_m
        Share of the data to keep for validation instead, by ``blocks`` of ground or whole ``files``; side of a block.
    cache
        Folder for masks made of vectors; None takes one beside the output.
    skip_unreadable
        Go on without files that cannot be used, instead of stopping.
    memory_gb
        What tiles may take of the memory before they are read from files crop by crop; None takes half of what is free.
    road_share
        Share of the crops that is drawn in proportion to the road in them.
    """

    data: Path | None = None
    images: tuple[Path, ...] = ()
    labels: Path | None = None
    label_layer: str | None = None
    road_width_m: float | None = None
    width_attribute: str | None = None
    width_table: Path | None = None
    bands: tuple[int, ...] | None = None
    dev: Path | None = None
    dev_fraction: float = 0.0
    dev_split: SplitUnit = "blocks"
    dev_block_m: float = 512.0
    cache: Path | None = None
    skip_unreadable: bool = False
    memory_gb: float | None = None
    road_share: float = 0.0


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Parameters
    ----------
    pixel_m
        Metres per pixel to train at; tiles of another size are resampled, those that do not know theirs have it.
    width, upsample
        Of the ResUNet.
    start
        Model to go on from, by file or bundled name, instead of random weights; it must be of the same form.
    steps, batch, crop
        Number of steps, crops per step, side of a crop in pixels (a multiple of 8).
    learning_rate, warmup_steps, weight_decay, clip_norm
        AdamW with a linear warm-up, then a cosine to zero; gradients are clipped to a norm.
    average_decay
        Of the moving average of the weights, which is what is kept.
    dice_weight
        Weight of the Dice term beside the cross-entropy.
    seed
        Of everything random.
    evaluations
        How often the dev tiles are scored on the way, the end included.
    checkpoint_minutes
        Time between checkpoints.
    compile
        Let torch.compile speed up the steps; needs a C++ compiler on a CPU.
    """

    pixel_m: float | None = None
    width: int = 64
    upsample: Upsampling = "bilinear"
    start: str | None = None
    steps: int = 4600
    batch: int = 8
    crop: int = 224
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    average_decay: float = 0.998
    dice_weight: float = 1.0
    seed: int = 0
    evaluations: int = 4
    checkpoint_minutes: float = 2.0
    compile: bool = False
