"""TIFF files as directories and compressed tiles, which are copied from file to file without looking into them.

    | header | structure | directory 1: tags, values | directory 2 … | tiles of the last one … | tiles of the first

That is the order of a cloud-optimized GeoTIFF: readers find all directories at the beginning, and small overviews
before the full resolution. ``structure`` is a text in which GDAL promises this order, and that each tile is preceded by
its length and followed by its last four bytes once more, so that one request for a tile tells where the next one lies.

Sources: TIFF Revision 6.0 (Adobe 1992); the BigTIFF design; GDAL's description of its COG driver.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

NEW_SUBFILE_TYPE, WIDTH, HEIGHT, COMPRESSION, PREDICTOR = 254, 256, 257, 259, 317
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_LENGTHS = 322, 323, 324, 325
GDAL_METADATA = 42112

_FORMATS = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q", 17: "q"}
_SIZES = {kind: struct.calcsize("<" + form) for kind, form in _FORMATS.items()}
_LONG, _LONG8 = 4, 16
_STRUCTURE = b"GDAL_STRUCTURAL_METADATA_SIZE="
_MOST_BYTES = (1 << 32) - (1 << 16)
"""Larger files are BigTIFFs, whose offsets have eight bytes."""


@dataclass(frozen=True)
class Tag:
    """Values of a tag: their TIFF type, their number, and their bytes, little-endian."""

    kind: int
    count: int
    data: bytes


@dataclass(frozen=True)
class Directory:
    """A directory of a TIFF file: its tags by number."""

    tags: dict[int, Tag]

    def numbers(self, number: int) -> Ints:
        """Return the whole numbers of a tag; empty without it."""
        tag = self.tags.get(number)
        if tag is None:
            return np.zeros(0, np.int64)
        return np.frombuffer(tag.data, "<" + _FORMATS[tag.kind], tag.count).astype(np.int64)

    def number(self, number: int, default: int = 0) -> int:
        """Return the first number of a tag."""
        found = self.numbers(number)
        return int(found[0]) if len(found) else default

    def resized(self, height: int, width: int) -> "Directory":
        """Return a directory for a raster of another size."""
        size = {WIDTH: width, HEIGHT: height}
        return Directory(self.tags | {tag: Tag(_LONG, 1, struct.pack("<I", side)) for tag, side in size.items()})


@dataclass(frozen=True)
class Tiles:
    """Where the compressed tiles of a directory are, row by row.

    Parameters
    ----------
    file
        (tiles,) number of the file.
    offset, length
        (tiles,) place in it and length in bytes; tiles of length 0 hold nothing but nodata.
    """

    file: Ints
    offset: Ints
    length: Ints


def tiles_of(directory: Directory, file: int = 0) -> Tiles:
    """Return the tiles of a directory that was read from a file."""
    length = directory.numbers(TILE_LENGTHS)
    return Tiles(np.full(len(length), file), directory.numbers(TILE_OFFSETS), length)


def read_directories(file: BinaryIO) -> tuple[bytes, list[Directory]]:
    """Read the promise of GDAL about the structure of a file, empty without one, and all directories.

    Raises
    ------
    ValueError
        If it is no TIFF, or a big-endian or damaged one.
    """
    try:
        return _read_directories(file)
    except (struct.error, KeyError) as error:
        raise ValueError("a damaged TIFF") from error


def _read_directories(file: BinaryIO) -> tuple[bytes, list[Directory]]:
    head = file.read(16)
    if head[:4] not in {b"II\x2a\0", b"II\x2b\0"}:
        raise ValueError("not a little-endian TIFF")
    big = head[2] == 43
    start, place = (16, struct.unpack("<Q", head[8:16])[0]) if big else (8, struct.unpack("<I", head[4:8])[0])
    file.seek(start)
    structure = file.read(max(0, place - start))
    structure = structure if structure.startswith(_STRUCTURE) else b""
    directories = []
    while place:
        directory, place = _read_directory(file, place, big=big)
        directories.append(directory)
    return structure, directories


def _read_directory(file: BinaryIO, place: int, *, big: bool) -> tuple[Directory, int]:
    """Return a directory, and where the next one is."""
    entry, inline = (20, 8) if big else (12, 4)
    file.seek(place)
    count = struct.unpack("<Q" if big else "<H", file.read(8 if big else 2))[0]
    body = file.read(count * entry + inline)
    tags = {}
    for number, kind, values, where in struct.iter_unpack("<HHQ8s" if big else "<HHI4s", body[:-inline]):
        size = _SIZES[kind] * values
        data = where[:size]
        if size > inline:
            file.seek(int.from_bytes(where, "little"))
            data = file.read(size)
        tags[number] = Tag(kind, values, data)
    return Directory(tags), int.from_bytes(body[-inline:], "little")


def compose(
    write: Callable[[bytes], object],
    levels: Sequence[tuple[Directory, Tiles]],
    read: Callable[[int, int, int], bytes],
    *,
    structure: bytes = b"",
) -> None:
    """Write a TIFF file of tiles that exist.

    Parameters
    ----------
    write
        Called with the bytes of the file, part by part.
    levels
        Directories and their tiles: the full resolution, then overviews from large to small.
    read
        Returns bytes of a file: its number, an offset, a length.
    structure
        GDAL's promise about the structure, which this function keeps.
    """
    margin = 4 if structure else 0  # before and after each tile
    taken = [np.where(tiles.length > 0, tiles.length + 2 * margin, 0) for _, tiles in levels]
    whole = 16 + len(structure) + _headers_length(levels, big=True) + sum(int(size.sum()) for size in taken)
    big = whole > _MOST_BYTES
    begin = (16 if big else 8) + len(structure)
    place, offsets = begin + _headers_length(levels, big=big), []
    for (_, tiles), size in zip(reversed(levels), reversed(taken), strict=True):
        starts = place + np.cumsum(size) - size
        offsets.append(np.where(tiles.length > 0, starts + margin, 0))
        place += int(size.sum())
    write(struct.pack("<4sHHQ", b"II\x2b\0", 8, 0, begin) if big else struct.pack("<4sI", b"II\x2a\0", begin))
    for part in (structure, *_headers(levels, offsets[::-1], big=big, begin=begin)):
        write(part)
    for _, tiles in reversed(levels):
        for file, offset, length in zip(tiles.file.tolist(), tiles.offset.tolist(), tiles.length.tolist(), strict=True):
            if length:
                tile = read(file, offset, length)
                for part in (struct.pack("<I", length), tile, tile[-4:]) if structure else (tile,):
                    write(part)


def _headers_length(levels: Sequence[tuple[Directory, Tiles]], *, big: bool) -> int:
    """Return how many bytes all directories take, which does not depend on where the tiles are."""
    nowhere = [np.zeros_like(tiles.length) for _, tiles in levels]
    return sum(map(len, _headers(levels, nowhere, big=big)))


def _headers(
    levels: Sequence[tuple[Directory, Tiles]], offsets: Sequence[Ints], *, big: bool, begin: int = 0
) -> list[bytes]:
    """Return the directories as bytes, the first of which lies at ``begin``."""
    headers: list[bytes] = []
    for index, ((directory, tiles), offset) in enumerate(zip(levels, offsets, strict=True)):
        kind, form = (_LONG8, "<u8") if big else (_LONG, "<u4")
        tags = directory.tags | {
            TILE_OFFSETS: Tag(kind, len(offset), offset.astype(form).tobytes()),
            TILE_LENGTHS: Tag(_LONG, len(offset), tiles.length.astype("<u4").tobytes()),
        }
        is_last = index == len(levels) - 1
        headers.append(_header(tags, begin + sum(map(len, headers)), big=big, is_last=is_last))
    return headers


def _header(tags: dict[int, Tag], place: int, *, big: bool, is_last: bool) -> bytes:
    """Return a directory as bytes: the entries, the place of the next one, which follows, and long values."""
    inline = 8 if big else 4
    number = "<Q" if big else "<I"
    entries, values = b"", b""
    after = place + (8 + 20 * len(tags) + 8 if big else 2 + 12 * len(tags) + 4)
    for name, tag in sorted(tags.items()):
        where = tag.data
        if len(where) > inline:
            where = struct.pack(number, after + len(values))
            values += tag.data + bytes(-len(tag.data) % 16)
        entries += struct.pack("<HH", name, tag.kind) + struct.pack(number, tag.count) + where.ljust(inline, b"\0")
    values += bytes(-(after - place + len(values)) % 16)  # tiles and directories begin at even places
    following = 0 if is_last else after + len(values)
    return struct.pack("<Q" if big else "<H", len(tags)) + entries + struct.pack(number, following) + values
