"""Seeded mutations of files: half of them know the format (tags, headers, cells, leaves), half only know bytes."""

import json
import re
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

_TEXTS = (
    "", "nan", "-nan", "inf", "-1", "0", "1e308", "1e-300", "99999999999999999999", "0x10", "true", "null",
    "../../x", "\x1b[31mred\x1b[0m", "a\x00b", "ü" * 40, "x" * 3000, "\u2028", "EPSG:999999", "+proj=nonsense", "%s%n",
    "1,5", "'", '"', "<a>", "line\nline", "\udcff",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 0.5, 1e308, "\udcff", 1e-320, float("nan"),
    float("inf"), [], {}, [[]], [None], {"a": 1}, "1", [[[[[[[[1]]]]]]]], [1e308, float("nan")],
    *(text for text in _TEXTS if text != "\udcff"),
)  # fmt: skip
_NUMBERS = (0, 1, 2, 3, 7, 8, 127, 255, 256, 1000, 32767, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def mutate(path: Path, kind: str, random: Random) -> str:
    """Damage a file in place and return what was done."""
    aware = _AWARE.get(kind)
    before = path.read_bytes()
    for _ in range(20):
        try:
            done = aware(path, random) if aware and random.random() < 0.6 else _mutate_bytes(path, random)
        except (sqlite3.Error, ValueError, IndexError, struct.error):
            path.write_bytes(before)
            continue
        if not path.exists() or path.read_bytes() != before:
            return done
    path.write_bytes(b"")
    return "emptied"


def _mutate_bytes(path: Path, random: Random) -> str:  # noqa: C901
    data = bytearray(path.read_bytes())
    at = random.randrange(len(data) + 1)
    if random.random() < 0.5:
        at = min(at, random.randrange(1024))  # headers matter more
    length = random.choice((1, 1, 2, 4, 16, 200))
    match random.randrange(9):
        case 0:
            for _ in range(length):
                data[random.randrange(len(data))] = random.randrange(256)
            done = f"{length} random bytes changed"
        case 1:
            del data[at:]
            done = f"cut at {at}"
        case 2:
            data[at : at + length] = bytes(len(data[at : at + length]))
            done = f"{length} zeros at {at}"
        case 3:
            del data[at : at + length]
            done = f"{length} bytes removed at {at}"
        case 4:
            data[at:at] = random.randbytes(length)
            done = f"{length} bytes inserted at {at}"
        case 5:
            data[at : at + 4] = struct.pack(random.choice("<>") + "I", random.choice(_NUMBERS))
            done = f"a number at {at}"
        case 6:
            data += data[at : at + 4096]
            done = f"bytes from {at} on repeated at the end"
        case 7:
            data[at : at + length] = b"\xff" * len(data[at : at + length])
            done = f"{length} × 255 at {at}"
        case _:
            data = bytearray(random.choice((b"", b"words\n", b"\x00" * 100, b"<html></html>", random.randbytes(500))))
            done = f"replaced by {bytes(data[:8])!r}"
    path.write_bytes(data)
    return done


def _mutate_tiff(path: Path, random: Random) -> str:
    """Change the number, type, count or value of an entry of the first directory."""
    data = bytearray(path.read_bytes())
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    at = start + 2 + 12 * random.randrange(count)
    tag, kind, number, value = struct.unpack_from(order + "HHII", data, at)
    match random.randrange(5):
        case 0:
            kind = random.randrange(20)
        case 1:
            number = random.choice(_NUMBERS)
        case 2:
            tag = random.choice((256, 257, 258, 259, 262, 273, 277, 324, 325, 339, 33550, 33922, 34735, 42112, 42113))
        case 3 if kind == 12 and value < len(data) - 8:  # doubles: geotransform and limits
            double = random.choice((0.0, float("nan"), float("inf"), -1.0, 1e300, 1e-300))
            struct.pack_into(order + "d", data, value + 8 * random.randrange(number), double)
        case _:
            value = random.choice(_NUMBERS)
    struct.pack_into(order + "HHII", data, at, tag, kind, number, value)
    path.write_bytes(data)
    return f"tag {tag} is of type {kind}, {number} of them, {value}"


_MARKUP = re.compile(r'(?<==")[^"]*(?=")|(?<=>)[^<>]+(?=</)')
_SIZE = re.compile(r'.*(raster|block)?[xy]size="$', re.IGNORECASE)


def _mutate_vrt(path: Path, random: Random) -> str:
    """Change an attribute or a text of the XML, or remove or repeat a line; sizes stay small."""
    text = path.read_text("utf-8")
    if random.random() < 0.25:
        lines = text.splitlines()
        at = random.randrange(len(lines))
        again = random.random() < 0.5
        lines[at : at + 1] = [lines[at]] * 2 if again else []
        path.write_text("\n".join(lines), "utf-8")
        return f"line {at + 1} {'twice' if again else 'removed'}"
    place = random.choice(list(_MARKUP.finditer(text)))
    new = random.choice((*_TEXTS, "2", "7.5", "-40", "1e9, 0, 0, 1e9, 0, 0", "0, 0, 0, 0, 0, 0", path.name))
    if _SIZE.match(text[: place.start()]) and new == "99999999999999999999":
        new = "300"
    if place[0].count(",") == 5 and random.random() < 0.8:
        terms = place[0].split(",")
        terms[random.randrange(6)] = random.choice(("nan", "0", "inf", "1e308", "-1", "1e-300", "x"))
        new = ",".join(terms)
    changed = text[: place.start()] + new + text[place.end() :]
    path.write_bytes(changed.encode("utf-8", "surrogateescape"))
    return f"{place[0][:40]!r} becomes {new[:40]!r}"


def _leaves(value: Any, keys: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of each value in nested JSON, of those that hold others too."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([keys] if keys else []), *(place for key, item in inside for place in _leaves(item, (*keys, key)))]


def _mutate_json_value(value: Any, random: Random) -> str:
    """Replace, remove or rename a value somewhere in nested JSON, in place."""
    keys = random.choice(_leaves(value))
    for key in keys[:-1]:
        value = value[key]
    match random.randrange(6):
        case 0:
            del value[keys[-1]]
            return f"{keys} removed"
        case 1 if isinstance(value, dict):
            value[random.choice(_TEXTS[:-1])] = value.pop(keys[-1])
            return f"{keys} renamed"
        case _:
            new = random.choice(_VALUES)
            old = value[keys[-1]]
            if isinstance(old, int | float) and random.random() < 0.5:
                new = random.choice((0, -1, old * 1000, old / 1000, -old, float("nan"), 1e308, str(old), [old]))
            value[keys[-1]] = new
            return f"{keys} becomes {str(new)[:40]!r}"


def _mutate_safetensors(path: Path, random: Random) -> str:
    """Change a value of the header, of the card or state within it, or the weights."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    where = random.random()
    if where < 0.7:
        inner = json.loads(header["__metadata__"]["roadseg"])
        done = "card: " + _mutate_json_value(inner, random)
        header["__metadata__"]["roadseg"] = json.dumps(inner)
    elif where < 0.9:
        done = "header: " + _mutate_json_value(header, random)
    else:
        at = random.randrange(0, len(body) - 4)
        body[at : at + 4] = struct.pack("<f", float("nan"))
        done = f"weights: NaN at {at}"
    new = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(new)) + new + body)
    return done


def _mutate_geojson(path: Path, random: Random) -> str:
    value = json.loads(path.read_text("utf-8"))
    done = _mutate_json_value(value, random)
    path.write_text(json.dumps(value), "utf-8")
    return done


def _mutate_gpkg(path: Path, random: Random) -> str:
    """Change a cell, bytes of a geometry, a table, or a column of the database."""
    with closing(sqlite3.connect(path)) as base, base:
        base.create_function("ST_IsEmpty", 1, lambda _: 0)
        for name in ("ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
            base.create_function(name, 1, lambda _: 0.0)
        names = (
            "select name from sqlite_master where type='table' and name not like 'sqlite%' and name not like 'rtree%'"
        )
        table = random.choice(sorted(row[0] for row in base.execute(names)))
        if random.random() < 0.1:
            base.execute(f'drop table "{table}"')
            done = f"table {table} dropped"
        else:
            rows = base.execute(f'select rowid, * from "{table}"')
            columns = [column[0] for column in rows.description]
            row = random.choice(rows.fetchall())
            at = random.randrange(1, len(columns))
            new: Any = random.choice((None, 0, -1, 2**40, 1e308, b"", b"\xff\xfe", *_TEXTS[:-1]))
            if isinstance(row[at], bytes) and random.random() < 0.8:
                blob = bytearray(row[at])
                where = random.randrange(len(blob))
                blob[where : where + 8] = random.choice((struct.pack("<d", float("nan")), random.randbytes(8), b""))
                new = bytes(blob)
            base.execute(f'update "{table}" set "{columns[at]}" = ? where rowid = ?', (new, row[0]))
            done = f"{table}.{columns[at]} becomes {str(new)[:40]!r}"
    return done


def _mutate_shapefile(path: Path, random: Random) -> str:
    """Change a part as text, a number in the header, or remove the part."""
    if random.random() < 0.1:
        path.unlink()
        return "removed"
    if path.suffix in {".prj", ".cpg"}:
        path.write_bytes(
            random.choice((*_TEXTS, "PROJCS[", "ISO-8859-1", "LDID/87")).encode("utf-8", "surrogateescape")
        )
        return "text replaced"
    data = bytearray(path.read_bytes())
    at = random.randrange(0, min(len(data) - 8, 200), 2)
    new = random.choice(
        (struct.pack(">i", random.choice((-1, *_NUMBERS[:-2]))), struct.pack("<i", random.choice((-1, 0, 3, 5, 31))))
    )
    if path.suffix != ".dbf" and random.random() < 0.4:
        new = struct.pack("<d", random.choice((float("nan"), float("inf"), 1e300, 0.0)))
    data[at : at + len(new)] = new
    path.write_bytes(data)
    return f"{new!r} at {at}"


def _mutate_csv(path: Path, random: Random) -> str:
    lines = path.read_text("utf-8").splitlines()
    at = random.randrange(len(lines))
    cells = lines[at].split(",")
    match random.randrange(4):
        case 0:
            lines.insert(at, lines[random.randrange(len(lines))])
        case 1:
            del cells[random.randrange(len(cells))]
            lines[at] = ",".join(cells)
        case _:
            cells[random.randrange(len(cells))] = random.choice(
                (*_TEXTS, "scene.tif", "dev", "test", "/", ".", "images")
            )
            lines[at] = random.choice((",", ",", ",", ";", "\t")).join(cells)
    encoding = random.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig"))
    path.write_bytes("\n".join(lines).encode(encoding, "surrogatepass" if encoding == "utf-16" else "surrogateescape"))
    return f"line {at + 1} becomes {lines[at][:60]!r} ({encoding})"


def _mutate_toml(path: Path, random: Random) -> str:
    """Change a name or a value; what only takes longer, as it should, stays small."""
    lines = path.read_text("utf-8").splitlines()
    at = random.choice([number for number, line in enumerate(lines) if "=" in line])
    name, _, value = lines[at].partition(" = ")
    values = (
        "nan", "inf", "-1", "0", "1e300", "1e-300", "true", '""', '"x"', "[]", "[1, 2, 3]", "{}", "{a = 1}", "''",
        "0.5", "18446744073709551616", "1979-05-27", "[nan]", "5", "{", '"\\u001b[31m"', '"nearest"', '"m.safetensors"',
    )  # fmt: skip
    if random.random() < 0.2:
        name = random.choice(
            ("", "x", "augment", "start", "teacher", "calibration", "balance", '"a b"', "clip_norm", "momentum")
        )
    new = random.choice(values)
    if name in {"steps", "width", "batch", "crop"} and new == "1e300":
        new = "2"
    lines[at] = f"{name} = {new if random.random() < 0.9 else value}"
    path.write_text("\n".join(lines), "utf-8")
    return lines[at]


def _mutate_list(path: Path, random: Random) -> str:
    """Change a list of scenes: a cell, a line, or a value of the STAC items."""
    if path.suffix == ".json":
        return _mutate_geojson(path, random)
    return _mutate_csv(path, random)


def _mutate_onnx(path: Path, random: Random) -> str:
    """Change the card, a name, an operator, a number of a node, or the shape or values of a weight."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    match random.randrange(7):
        case 0 | 1:
            entry = random.choice(model.metadata_props)
            value = json.loads(entry.value)
            inner = isinstance(value, dict | list) and bool(value)
            done = f"{entry.key}: " + (_mutate_json_value(value, random) if inner else "replaced")
            entry.value = json.dumps(value) if inner else random.choice(_TEXTS[:-1])
        case 2:
            node = random.choice(graph.node)
            node.op_type = random.choice(("Relu", "Conv", "Sigmoid", "Reshape", "Nothing", "", "Loop", "Concat"))
            done = f"an operator becomes {node.op_type}"
        case 3:
            node = random.choice(graph.node)
            names = random.choice((node.input, node.output))
            names[random.randrange(len(names))] = random.choice(("", "nothing", *(n.name for n in graph.initializer)))
            done = f"a name of {node.op_type} becomes {list(names)}"
        case 4:
            weight = random.choice(graph.initializer)
            if weight.dims:
                weight.dims[random.randrange(len(weight.dims))] = random.choice((0, 1, 3, -1, 2**31, 2**62))
            done = f"{weight.name} has the shape {list(weight.dims)}"
        case 5:
            weight = random.choice(graph.initializer)
            weight.data_type = random.choice((0, 1, 2, 7, 8, 10, 11, 99))
            done = f"{weight.name} has the type {weight.data_type}"
        case _:
            value = random.choice((*graph.input, *graph.output))
            size = random.choice(value.type.tensor_type.shape.dim)
            size.dim_value = random.choice((0, 1, 2, 3, 7, 225, 2**31))
            done = f"{value.name} has a side of {size.dim_value}"
    path.write_bytes(model.SerializeToString())
    return done


_AWARE: dict[str, Callable[[Path, Random], str]] = {
    "GeoTIFF": _mutate_tiff,
    "VRT": _mutate_vrt,
    "safetensors": _mutate_safetensors,
    "checkpoint": _mutate_safetensors,
    "ONNX": _mutate_onnx,
    "scene list": _mutate_list,
    "GPKG": _mutate_gpkg,
    "GeoJSON": _mutate_geojson,
    "Shapefile": _mutate_shapefile,
    "CSV": _mutate_csv,
    "TOML": _mutate_toml,
}
