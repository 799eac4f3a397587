"""The run folder beside a model in the making: settings, checkpoint, history, and pictures to look at."""

import csv
import io
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from roadseg.errors import OutputError
from roadseg.raster.files import ready_folder
from roadseg.raster.picture import write_picture
from roadseg.settings import TrainSettings
from roadseg.training.checkpoint import remove_checkpoints
from roadseg.training.figures import TileSample, draw_curves, draw_samples
from roadseg.training.recipes import as_toml
from roadseg.training.record import Row
from roadseg.whole import write_whole

_COLUMNS = ("step", "loss", "learning_rate", "crops_per_s", "break_even", "relaxed_f1", "best_iou", "threshold")


def run_folder(output: Path) -> Path:
    """Return where a run for a model file keeps its things."""
    return output.with_name(output.name.removesuffix(".safetensors") + ".run")


class RunFolder:
    """The folder, and what is written there; a context manager that leaves no empty folder behind.

    Parameters
    ----------
    output
        The model file it belongs to.
    writes
        Whether this process may write; of several only one does.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """

    def __init__(self, output: Path, *, writes: bool = True) -> None:
        self.path, self._writes = run_folder(output), writes
        self._ready = ready_folder(self.path, "choose another place") if writes else nullcontext(self.path)
        self._board: Any = None
        self._told = -1.0

    def __enter__(self) -> Self:
        self._ready.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board:
            self._board.close()
        self._ready.__exit__(kind, error, trace)

    def forget(self) -> None:
        """Remove the checkpoint of an earlier run."""
        if self._writes:
            remove_checkpoints(self.path)

    def begin(self, settings: TrainSettings) -> None:
        """Write ``config.toml``; before, what an earlier run left is untouched."""
        if self._writes:
            self._write("config.toml", as_toml(settings).encode())
            self._board = _board(self.path)

    def follow(self, history: Sequence[Row]) -> None:
        """Write the history so far as a table, as curves, and to TensorBoard if that is installed."""
        if not self._writes or not history:
            return
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, _COLUMNS, restval="", extrasaction="ignore")
        table.writeheader()
        table.writerows({k: f"{v:.7g}" if k != "step" else int(v) for k, v in row.items()} for row in history)
        self._write("history.csv", text.getvalue().encode())
        self._draw("curves.png", draw_curves(history))
        if self._board:
            for row in history:
                if row["step"] > self._told:
                    for name, value in row.items():
                        self._board.add_scalar(name, value, int(row["step"]))
            self._told = history[-1]["step"]
            self._board.flush()

    def finish(self, history: Sequence[Row], samples: Sequence[TileSample]) -> None:
        """Write what there is to see at the end; the checkpoint has done its work."""
        self.follow(history)
        if samples:
            self._draw("samples.png", draw_samples(samples))
        remove_checkpoints(self.path)

    def shown(self) -> str:
        """Return what there is to look at."""
        pictures = [name for name in ("curves.png", "samples.png") if (self.path / name).exists()]
        return ", ".join(str(self.path / name) for name in pictures) or str(self.path)

    def _draw(self, name: str, rgb: np.typing.NDArray[np.uint8]) -> None:
        write_picture(self.path / name, np.moveaxis(rgb, 2, 0))

    def _write(self, name: str, data: bytes) -> None:
        try:
            write_whole(self.path / name, data)
        except OSError as error:
            raise OutputError(f"cannot write {self.path / name} ({error.strerror}); make room") from error


def _board(folder: Path) -> Any:
    """Return a TensorBoard writer, None if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
