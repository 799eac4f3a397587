"""The run folder beside the model file: settings, checkpoint, history and pictures of a run."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from roadseg.errors import OutputError
from roadseg.files.outputs import as_utf8, write_atomically
from roadseg.files.targets import writable_folder
from roadseg.raster.picture import as_png
from roadseg.settings import TrainSettings
from roadseg.training.checkpoint import is_resumable, remove_checkpoints
from roadseg.training.figures import TileSample, draw_curves, draw_samples
from roadseg.training.history import HistoryRow
from roadseg.training.recipes import to_toml

_COLUMNS = ("step", "loss", "learning_rate", "crops_per_s", "break_even", "relaxed_f1", "best_iou", "threshold")


def run_folder(output: Path) -> Path:
    """Return the run folder of a model file."""
    return output.with_name(output.name.removesuffix(".safetensors") + ".run")


class RunFolder:
    """The run folder and the files in it; a context manager that leaves no empty folder behind.

    Parameters
    ----------
    output
        The model file it belongs to.
    writes
        Whether this process writes; of several processes only one does.
    warn
        Called once for each table or picture that cannot be written; the run continues without it.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """

    def __init__(self, output: Path, *, writes: bool = True, warn: Callable[[str], None] = lambda _: None) -> None:
        self.path, self._writes = run_folder(output), writes
        self._ready = writable_folder(self.path, "choose another place") if writes else nullcontext(self.path)
        self._writer: Any = None
        self._logged_step = -1.0
        self._warn = warn
        self._failed: set[str] = set()

    def __enter__(self) -> Self:
        self._ready.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._writer:
                self._writer.close()
        except OSError as failure:
            self._report_failure("tensorboard", failure)
        self._ready.__exit__(kind, error, trace)

    def remove_checkpoints(self, *, unless: Mapping[str, Any] | None = None) -> None:
        """Remove the checkpoint of an earlier run; not one from which a run with the facts in ``unless`` resumes.

        Raises
        ------
        OutputError
            If it cannot be removed.
        """
        if self._writes and not (unless and is_resumable(self.path, unless)):
            try:
                remove_checkpoints(self.path)
            except OSError as error:
                raise OutputError(f"cannot remove {error.filename} ({error.strerror}); move it away") from error

    def write_config(self, settings: TrainSettings) -> None:
        """Write ``config.toml``; until then the files of an earlier run stay as they are.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        if not self._writes:
            return
        try:
            write_atomically(self.path / "config.toml", as_utf8(to_toml(settings)))
        except OSError as error:
            raise OutputError(f"cannot write {self.path / 'config.toml'} ({error.strerror}); make room") from error
        try:
            self._writer = _tensorboard_writer(self.path)
        except OSError as error:
            self._report_failure("tensorboard", error)

    def write_history(self, history: Sequence[HistoryRow]) -> None:
        """Write the history as a table, as curves, and to TensorBoard if that is installed."""
        if not self._writes or not history:
            return
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, _COLUMNS, restval="", extrasaction="ignore")
        table.writeheader()
        table.writerows({k: f"{v:.7g}" if k != "step" else int(v) for k, v in row.items()} for row in history)
        self._write("history.csv", text.getvalue().encode())
        self._draw("curves.png", draw_curves(history))
        try:
            self._update_tensorboard(history)
        except OSError as error:
            self._writer = None
            self._report_failure("tensorboard", error)

    def finish(self, history: Sequence[HistoryRow], samples: Sequence[TileSample]) -> None:
        """Write the last history and the sample pictures, and remove the checkpoint."""
        self.write_history(history)
        if samples:
            self._draw("samples.png", draw_samples(samples))
        try:
            remove_checkpoints(self.path)
        except OSError as error:
            self._warn(f"cannot remove the checkpoint in {self.path} ({error.strerror}); the model does not need it")

    def draw(self, name: str, rgb: np.typing.NDArray[np.uint8]) -> Path | None:
        """Write a picture, (height, width, 3) uint8, and return its path; None if it cannot be written."""
        self._draw(name, rgb)
        return self.path / name if self._drawn(name) else None

    def pictures(self) -> str:
        """Return the paths of the pictures, as text; that of the folder if there are none."""
        pictures = [name for name in ("curves.png", "samples.png") if self._drawn(name)]
        return ", ".join(str(self.path / name) for name in pictures) or str(self.path)

    def _drawn(self, name: str) -> bool:
        return name not in self._failed and (self.path / name).exists()

    def _update_tensorboard(self, history: Sequence[HistoryRow]) -> None:
        if not self._writer:
            return
        for row in history:
            if row["step"] > self._logged_step:
                for name, value in row.items():
                    self._writer.add_scalar(name, value, int(row["step"]))
        self._logged_step = history[-1]["step"]
        self._writer.flush()

    def _draw(self, name: str, rgb: np.typing.NDArray[np.uint8]) -> None:
        self._write(name, as_png(np.moveaxis(rgb, 2, 0)))

    def _write(self, name: str, data: bytes) -> None:
        try:
            write_atomically(self.path / name, data)
        except OSError as error:
            self._report_failure(name, error)

    def _report_failure(self, name: str, error: OSError) -> None:
        if name not in self._failed:
            self._failed.add(name)
            self._warn(f"cannot write {self.path / name} ({error.strerror or error}); the run continues without it")


def _tensorboard_writer(folder: Path) -> Any:
    """Return a TensorBoard writer, None if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
