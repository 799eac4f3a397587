"""The folder of finished blocks beside an output, from which a stopped run resumes.

    roads.tif.partial/
        fingerprint.json              inputs and settings of the run             1  made first
        probability_0_0_512_512.tif   a block: product, row, col, height, width  2  one by one, in any order
        mask_0_0_512_512.tif          (.npz of road networks, and …_joined.npz)
        raised_probability_0_…        the same, recalibrated, where that changes them
        complete                      there if parts have made all blocks
    probability.vrt  *.cog.tif    the blocks joined, and finished outputs    3  when all blocks are there
        published.json                the paths that outputs are moved to        4  just before they are moved
                                      then the folder is removed                 5

Every file appears whole or not at all, so the run can be killed at any moment and repeated.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from roadseg.errors import OutputError
from roadseg.files.outputs import NEW, SCRATCH, behind_links, patiently, publish_together, write_atomically
from roadseg.files.targets import PARTIAL
from roadseg.raster.block_file import block_data, block_name, write_block
from roadseg.raster.cog import MAKE_ROOM
from roadseg.raster.encoding import Product, dequantize
from roadseg.raster.files import open_raster
from roadseg.raster.grid import Grid
from roadseg.raster.mosaic import mosaic_vrt
from roadseg.windows import Block, Window

_FINGERPRINT = "fingerprint.json"

_PUBLISHED = "published.json"

_COMPLETE = "complete"


class Partial:
    """The folder ``<output>.partial/`` of a scene; on exit it is removed if it holds no finished block.

    Parameters
    ----------
    output
        The output that the blocks are for.
    fingerprint
        Everything the blocks depend on, ready for JSON.
    start_over
        Remove blocks of other inputs or settings instead of refusing them.
    check_lock
        Called before anything in the folder is changed; raises OutputError if another run works on the output.

    Raises
    ------
    OutputError
        If the folder holds blocks of other inputs or settings or foreign files, or cannot be made.
    """

    def __init__(
        self,
        output: Path,
        fingerprint: Mapping[str, object],
        *,
        start_over: bool = False,
        check_lock: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self._check_lock = partial_folder(output), check_lock
        wanted = json.loads(json.dumps(fingerprint))
        marker = self.folder / _FINGERPRINT
        is_folder = self.folder.is_dir() and not self.folder.is_symlink()
        if is_folder and not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise OutputError(
                f"{self.folder} is not writable; have its owner change that (chmod a+rwx), or choose another output"
            )
        foreign = next(_foreign(self.folder), None) if is_folder or not os.path.lexists(self.folder) else self.folder
        if foreign:
            raise OutputError(f"{foreign} is in the way and was not left by roadseg; move it")
        if marker.exists():
            differing = _differing(marker, wanted)
            if not differing:
                return
            if self.block_count() and not start_over:
                raise OutputError(
                    f"{self.folder} was left by a run that differs in its {', '.join(differing)}; "
                    "repeat that command to finish it, or add --overwrite to start again"
                )
            self.discard()
        try:
            self.folder.mkdir(exist_ok=True)
            if any(path.suffix != NEW and path.name != _PUBLISHED for path in self.folder.iterdir()):
                raise OutputError(f"{self.folder} is in the way and was not left by roadseg; move it")
            write_atomically(marker, json.dumps(wanted, indent=1).encode())
        except OSError as error:
            with suppress(OSError):
                self.folder.rmdir()
            raise OutputError(f"cannot write beside {output} ({error.strerror}); choose another place") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OutputError):
            if not self.block_count():
                self.discard()

    def block_count(self) -> int:
        """Return the number of files of finished blocks."""
        return sum(1 for path in self.folder.glob("*_*_*_*_*.*") if _BLOCK.fullmatch(path.name))

    def has(self, products: Iterable[Product], window: Window) -> bool:
        """Return whether all products of a block are finished."""
        return all(self._path(product, window).exists() for product in products)

    def has_file(self, name: str) -> bool:
        """Return whether a file of this name is finished."""
        return (self.folder / name).exists()

    def put(
        self, product: Product, window: Window, values: NDArray[Any], counts: Mapping[str, int] | None = None
    ) -> None:
        """Store a finished block, (height, width), with counts that ``totals`` adds up.

        Raises
        ------
        OutputError
            If the disk is full or gone, or another run works on the output.
        """
        self.put_file(block_name(product, window), *block_data(product, window, values, counts or {}))

    def put_file(self, name: str, *data: bytes) -> None:
        """Store the file of a finished block, in parts, or what came of many; see ``put``."""
        self._check_lock()
        write_block(self.folder, name, *data)

    @contextmanager
    def token(self, name: str) -> Iterator[str]:
        """Context manager that keeps a file in the folder, by which other machines know that they see the same one."""
        self._check_lock()
        (self.folder / name).touch()
        try:
            yield name
        finally:
            (self.folder / name).unlink(missing_ok=True)

    def mark_complete(self) -> None:
        """Store that all blocks are finished, for ``is_complete``."""
        self._check_lock()
        (self.folder / _COMPLETE).touch()

    def read(self, product: Product, window: Window) -> Block:
        """Return a finished block as it is stored.

        Raises
        ------
        OutputError
            If it is missing or damaged.
        """
        (path,) = self._paths(product, [window])
        with _damaged(path), open_raster(path) as file:
            values = file.read(1)
        return Block(window, values, dequantize(values)[1])

    def files(self, product: Product, blocks: Sequence[Window]) -> list[tuple[Path, Window]]:
        """Return the files of all planned blocks of a product, and where they lie.

        Raises
        ------
        OutputError
            If one is missing: the raster would have a hole.
        """
        return list(zip(self._paths(product, blocks), blocks, strict=True))

    def mosaic(
        self, product: Product, blocks: Sequence[Window], grid: Grid, area: Window, tags: Mapping[str, str]
    ) -> Path:
        """Join the blocks of a product to one raster.

        Parameters
        ----------
        product
            The product to join.
        blocks
            All blocks of the raster, as planned.
        grid
            Grid of ``area``.
        area
            The pixels that the blocks cover.
        tags
            Metadata of the raster.

        Returns
        -------
        Path of a VRT that refers to the blocks.

        Raises
        ------
        OutputError
            If a block is missing: the raster would have a hole.
        """
        files = self.files(product, blocks)
        path = self.folder / f"{product.name}.vrt"
        write_atomically(path, mosaic_vrt(product, files, grid, area, tags).encode())
        return path

    def counts(self, product: Product, blocks: Sequence[Window], *keys: str) -> list[tuple[int, ...]]:
        """Return counts that are stored with each block of a product.

        Raises
        ------
        OutputError
            If a block is missing or damaged.
        """
        counts = []
        for path in self._paths(product, blocks):
            with _damaged(path), open_raster(path) as file:
                tags = file.tags()
                counts.append(tuple(int(tags[key]) for key in keys))
        return counts

    def totals(self, product: Product, blocks: Sequence[Window], *keys: str) -> list[int]:
        """Add up counts that are stored with each block of a product; errors as of ``counts``."""
        return [sum(column) for column in zip(*self.counts(product, blocks, *keys), strict=True)]

    def publish(self, finished: Sequence[tuple[Path, Path]]) -> None:
        """Move finished files to their paths and remove the folder.

        The paths are stored first: a run that is killed in between may replace what it has moved already when it is
        repeated (``interrupted_targets``).

        Parameters
        ----------
        finished
            Files in this folder, and the paths to move them to.

        Raises
        ------
        OutputError
            If a path cannot be written, or another run works on the output.
        """
        self._check_lock()
        targets = [str(behind_links(target)) for _, target in finished]
        try:
            write_atomically(self.folder / _PUBLISHED, json.dumps(targets).encode())
        except OSError as error:
            raise OutputError(f"cannot write to {self.folder} ({error.strerror}); {MAKE_ROOM}") from error
        publish_together(finished, MAKE_ROOM)
        self.discard()

    def discard(self) -> None:
        """Remove the folder: first the blocks, then the fingerprint, which says whose they are, at last what was moved.

        Raises
        ------
        OutputError
            If another run works on the output: its blocks stay.
        """
        self._check_lock()
        foreign = set(_foreign(self.folder))
        for path in set(self.folder.glob("*")) - foreign:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in {_FINGERPRINT, _PUBLISHED}:
                patiently(partial(path.unlink, missing_ok=True))
        if not foreign:
            (self.folder / _FINGERPRINT).unlink(missing_ok=True)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, product: Product, window: Window) -> Path:
        return self.folder / block_name(product, window)

    def _paths(self, product: Product, blocks: Sequence[Window]) -> list[Path]:
        """Return the files of all planned blocks; raise OutputError if one is missing."""
        paths = [self._path(product, window) for window in blocks]
        missing = sum(not path.exists() for path in paths)
        if missing:
            raise OutputError(
                f"{missing} of {len(paths)} finished blocks have vanished from {self.folder}; repeat the command"
            )
        return paths


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Context manager that says which block cannot be read."""
    try:
        yield
    except (RasterioError, CPLE_BaseError, KeyError, ValueError) as error:
        raise OutputError(f"{path} is damaged; remove it and repeat the command") from error


_BLOCK = re.compile(r"\w+_\d+_\d+_\d+_\d+\.(tif|npz)")
_JOINED = re.compile(r"\w+\.cog\.tif|\w+_joined\.npz")
_SUFFIXES = {"", ".json", ".new", ".lock", ".vrt", ".bits", ".bin", ".png", ".qml", ".ovr", ".tmp", ".xml", ".msk"}


def _foreign(folder: Path) -> Iterator[Path]:
    """Yield what lies in the folder of blocks and cannot be of a run: links, folders, pictures, texts."""
    for path in sorted(folder.glob("*")):
        if not _may_be_of_a_run(path):
            yield path


def _may_be_of_a_run(path: Path) -> bool:
    if path.is_symlink():
        return False
    if path.name.startswith(SCRATCH):
        return True
    is_named_so = _BLOCK.fullmatch(path.name) or _JOINED.fullmatch(path.name) or path.suffix.lower() in _SUFFIXES
    return bool(is_named_so) and not path.is_dir()


def partial_folder(output: Path) -> Path:
    """Return the folder of an output's finished blocks."""
    return output.with_name(output.name + PARTIAL)


def is_complete(output: Path) -> bool:
    """Return whether a process has seen that all blocks of an output are finished."""
    return (partial_folder(output) / _COMPLETE).exists()


def interrupted_targets(output: Path) -> set[Path]:
    """Return the paths that a killed run for ``output`` was moving its finished files to."""
    try:
        return {Path(place) for place in json.loads((partial_folder(output) / _PUBLISHED).read_text("utf-8"))}
    except (OSError, ValueError, TypeError, RecursionError):
        return set()


def _differing(marker: Path, wanted: Mapping[str, object]) -> list[str]:
    """Return the keys by which a fingerprint on disk differs from the wanted one."""
    try:
        found = dict(json.loads(marker.read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return ["fingerprint (it is damaged)"]
    return sorted(key for key in {**found, **wanted} if found.get(key) != wanted.get(key))
