"""What an engine is: anything that maps batches of windows to road probabilities."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from roadseg.model.card import ModelCard
from roadseg.prediction.prepared_block import PreparedBlock
from roadseg.progress import Listener
from roadseg.raster.partial import Partial
from roadseg.settings import PixelType, Precision, PredictOutputs, PredictSettings
from roadseg.windows import Block, Plan


class Engine(Protocol):
    """A model on a device, with the library that runs it."""

    batch_size: int
    """Preferred number of windows per batch."""
    description: str
    """The device, number format and batch size in use, and why, for messages."""
    library: str
    """The library that runs the model: torch, onnx or openvino."""
    device: str
    """The device it runs on, such as cpu or cuda:0."""
    precision: Precision
    """The number format of the convolutions."""
    numerics: str
    """What the probabilities depend on beyond rounding: device type, number format, test-time augmentation."""

    def __call__(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        """Map (n, bands, h, w) uint8, or float32 on a 0–1 scale, to (n, h, w) float32 in [0, 1]."""


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """An engine whose device cuts windows out of blocks and blends them, so that only pixels and bytes are copied."""

    def predict_blocks(
        self, blocks: Iterable[PreparedBlock], layout: Plan, dtype: PixelType, on_rows: Callable[[int], None]
    ) -> Iterator[Block]:
        """Yield the cores of a plan's blocks as ``predict_block`` does; at most two windows overlap on each axis."""


class BlockMap(Protocol):
    """Predicts the blocks of a scene elsewhere; see ``cluster``."""

    def predict_blocks(
        self,
        scene: str,
        outputs: PredictOutputs,
        settings: PredictSettings,
        prepared: Any,
        partial: Partial,
        listener: Listener,
    ) -> int:
        """Predict the blocks of a prepared scene that are not finished; return how many were finished before."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to predict: its engine, the card that says how to read a scene for it, and its file.

    The engine of a model on a cluster only says what the workers have; ``cluster`` predicts blocks there.
    """

    engine: Engine
    card: ModelCard
    path: Path | None = None
    cluster: "BlockMap | None" = None
