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
LossName = Literal["bce", "focal", "mse"]
OptimizerName = Literal["adamw", "muon", "sgd"]
ScheduleName = Literal["cosine", "steps", "flat"]
CalibrationGoal = Literal["threshold", "probability", "none"]
WeightType = Literal["float16", "float32"]
VectorFormat = Literal["GeoPackage", "FlatGeobuf", "GeoJSON", "GeoJSONSeq", "GeoParquet", "Shapefile"]


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
    """Where results go: the probability raster, and on demand a 0/1/255 mask, a PNG to look at, a road network."""

    raster: Path
    mask: Path | None = None
    preview: Path | None = None
    vector: Path | None = None

    def paths(self) -> list[Path]:
        """Return those asked for."""
        return [path for path in (self.raster, self.mask, self.preview, self.vector) if path]


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
    network
        Make networks of rasters, as ``roadseg vectorize`` does, and score those.
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
    network: bool = False
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
        A piece of network shorter than this altogether is dropped; 0 keeps all.
    spur_m
        Dead ends shorter than this are pruned, beside what the local road width explains; None leaves it to the
        width, 0 prunes none.
    bridge_m
        Longest gap that is bridged; 0 bridges none.
    merge_junctions
        Make one junction of those that lie inside each other's width.
    simplify_m
        How far a line may be moved to save vertices; None takes 0.75 px, 0 keeps all.
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
    min_length_m: float = 40.0
    spur_m: float | None = None
    bridge_m: float = 40.0
    merge_junctions: bool = True
    simplify_m: float | None = None
    pixel_m: float | None = None
    areas: bool = False
    crs: str | None = None
    block_px: int = 2048
    workers: int = 1
    overwrite: bool = False


@dataclass(frozen=True)
class VectorOutputs:
    """Where a road network goes.

    Parameters
    ----------
    vector
        The file of roads.
    format
        Of the files; None takes that of their ending.
    layer
        Name of the roads' layer; None calls it ``roads``. A name given allows to add it to a GeoPackage that is there.
    junctions
        File of their own for the junctions, which a GeoPackage holds as a layer otherwise.
    preview
        PNG with the roads drawn over the raster.
    image
        Draw them over this instead.
    """

    vector: Path
    format: VectorFormat | None = None
    layer: str | None = None
    junctions: Path | None = None
    preview: Path | None = None
    image: Path | None = None

    def paths(self) -> list[Path]:
        """Return those asked for."""
        return [path for path in (self.vector, self.junctions, self.preview) if path]


@dataclass(frozen=True)
class DevFolder:
    """A folder or CSV file of tiles, and metres per pixel of those without a CRS."""

    path: Path
    pixel_m: float | None = None


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
    more
        Further folders or CSV files like ``data``.
    domains
        Other places, sensors or seasons: each counts in the calibration as much as ``dev``, and in nothing else.
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
    more: tuple[Path, ...] = ()
    domains: tuple[DevFolder, ...] = ()


@dataclass(frozen=True)
class AugmentSettings:
    """How much crops are changed before the network sees them; 0 (or false) leaves a thing alone.

    Parameters
    ----------
    flips, quarter_turns
        Mirror, and turn by multiples of 90°; both cost no sharpness.
    rotate_deg
        Turn by any angle up to this one, either way.
    zoom
        Enlarge or shrink by up to this share: 0.25 is from 1/1.25 to 1.25.
    gamma, contrast, brightness, balance
        Largest change of each as a logarithm; balance is the brightness of single bands.
    hue_deg
        Turn colours around grey by up to this angle; three-band images only.
    blur_px
        Largest standard deviation of a Gaussian blur.
    compression
        How coarsely 8 × 8 blocks are rounded at most, as JPEG does: 1 is a quality of about 50.
    exposure, white_balance
        Largest gain of all bands together and of each band, as a logarithm; unlike brightness and balance, which
        shift a band and keep its contrast, a gain scales both.
    mixing
        Largest share of every other band that is mixed into a band.
    saturation, grey
        Largest change of the saturation as a logarithm, and the share of crops without any colour.
    haze
        Largest share of a crop's light that is exchanged for that of a bright veil; half of the crops have one.
    tone
        Largest bend of the tone curve into an S, or against it; 1 makes middle tones half as steep again.
    shadow
        Largest share of the light that a shadow with a straight soft edge takes; half of the crops have one.
    noise
        Largest standard deviation of Gaussian noise on the 0–1 scale; half of the crops have any.
    sharpen
        Largest strength of an unsharp mask, on half of the crops that are not blurred.
    plain
        Share of the crops whose light and colours stay as they are.
    """

    flips: bool = True
    quarter_turns: bool = True
    rotate_deg: float = 0.0
    zoom: float = 0.0
    gamma: float = 0.3
    contrast: float = 0.25
    brightness: float = 0.2
    balance: float = 0.06
    hue_deg: float = 0.0
    blur_px: float = 0.0
    compression: float = 0.0
    exposure: float = 0.0
    white_balance: float = 0.0
    mixing: float = 0.0
    saturation: float = 0.0
    grey: float = 0.0
    haze: float = 0.0
    tone: float = 0.0
    shadow: float = 0.0
    noise: float = 0.0
    sharpen: float = 0.0
    plain: float = 0.0


@dataclass(frozen=True)
class TrainSettings:
    """How to train; these defaults are the recipe called ``default``.

    Parameters
    ----------
    pixel_m
        Metres per pixel to train at; tiles of another size are resampled, those that do not know theirs have it.
    width, upsample
        Of the ResUNet.
    start
        Model to go on from, by file or bundled name, instead of random weights; it must be of the same form.
    steps, batch, crop
        Number of steps, crops per step and process, side of a crop in pixels (a multiple of 8).
    pool
        How many different crops there are, gone through again and again in another order; 0: always new ones.
    augment
        What is done to them.
    loss
        Of a pixel: ``bce`` (cross-entropy), ``focal``, or ``mse`` (squared error of the probability).
    focal_gamma
        How much the focal loss plays down what is easy.
    teacher, teacher_weight
        Model to learn from besides the labels, by file or bundled name, and its share of what each pixel ought to
        be; Dice terms look at the labels alone.
    dice_weight, cldice_weight
        Weight of a soft Dice and of a soft clDice term beside it.
    optimizer, learning_rate, momentum, weight_decay
        ``adamw``, ``muon`` or ``sgd`` (``momentum`` is of this alone).
    warmup_steps, schedule
        Linear warm-up (a tenth of the run at most), then a ``cosine`` to zero, or ``steps``, or ``flat`` until the
        last quarter, which cools down to zero in a line: what was trained before serves a longer run as well.
    drop_at, drop_factor
        Where ``steps`` multiplies the learning rate, as shares of the run, and by how much.
    clip_norm
        Gradients are clipped to this norm; 0 does not.
    average_decay
        Of the moving average of the weights, which is what is kept; 0 keeps the last weights.
    patience
        Stop after so many dev scores without a better one and keep the best weights; 0 never stops early.
    seed
        Of everything random.
    evaluations, dev_tiles
        How often dev tiles are scored, the end included, and how many of them on the way (all at the end).
    calibration
        What probabilities are made to mean on the dev tiles: ``threshold`` puts the working threshold at 0.5,
        ``probability`` makes them shares of road, ``none`` leaves them.
    precision
        Number format: ``auto`` is bfloat16 on CUDA devices that have it, float16 on older ones, else float32.
    tf32
        Let CUDA multiply float32 numbers with 10 bits after the point.
    compile
        Let torch.compile speed up the steps; needs a C++ compiler on a CPU.
    shift_tiles
        How many dev tiles are scored in other colours, too, once the model is done; 0 scores none.
    dtype
        Of the convolution weights in the model file.
    checkpoint_minutes
        Time between checkpoints.
    checkpoint_part_mib
        Largest file of a checkpoint, in MiB; 0 writes one file.
    checkpoint_half
        16-bit numbers in checkpoints: half the size, but going on is no longer exact.
    minutes
        Leave off with a checkpoint after so many minutes, to go on another time; 0 trains to the end.
    """

    pixel_m: float | None = None
    width: int = 64
    upsample: Upsampling = "bilinear"
    start: str | None = None
    steps: int = 4600
    batch: int = 8
    crop: int = 224
    pool: int = 0
    augment: AugmentSettings = AugmentSettings()
    loss: LossName = "bce"
    focal_gamma: float = 2.0
    teacher: str | None = None
    teacher_weight: float = 0.5
    dice_weight: float = 1.0
    cldice_weight: float = 0.0
    optimizer: OptimizerName = "muon"
    learning_rate: float = 2e-3
    momentum: float = 0.9
    weight_decay: float = 1e-2
    warmup_steps: int = 200
    schedule: ScheduleName = "cosine"
    drop_at: tuple[float, ...] = (0.4, 0.8)
    drop_factor: float = 0.1
    clip_norm: float = 1.0
    average_decay: float = 0.998
    patience: int = 0
    seed: int = 0
    evaluations: int = 4
    dev_tiles: int = 16
    calibration: CalibrationGoal = "threshold"
    shift_tiles: int = 2
    precision: Precision = "auto"
    tf32: bool = True
    compile: bool = False
    dtype: WeightType = "float16"
    checkpoint_minutes: float = 2.0
    checkpoint_part_mib: float = 0.0
    checkpoint_half: bool = False
    minutes: float = 0.0
