"""Lists of scenes: a text file, a CSV or (Geo)Parquet table, or a STAC ItemCollection.

    .txt             a path or URL on each line
    .csv .parquet    a column href, scene, path or url; with a column id or name, outputs are called by that
    .json .geojson   the items' ids, and of each item its only image, or the asset that is asked for

Paths are relative to the list, as in STAC.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from roadseg.errors import SceneError, no_such_file, shortened

_PLACES = ("href", "scene", "path", "url")
_NAMES = ("id", "name")
_IMAGES = ("image/", "application/x-geotiff")
_SIDE_ROLES = {"thumbnail", "overview", "metadata", "data-mask"}

Listed = list[tuple[str, str]]
"""Names for outputs, and the scenes: paths or URLs."""


def read_scene_list(path: Path, asset: str | None = None) -> Listed:
    """Read a list of scenes.

    Parameters
    ----------
    path
        The list.
    asset
        Which asset of STAC items is the scene.

    Raises
    ------
    SceneError
        If the list cannot be read, or does not say where its scenes are.
    """
    kind = path.suffix.lower()
    if asset is not None and kind not in {".json", ".geojson", ".parquet", ".geoparquet"}:
        raise SceneError(f"--asset is one of STAC items, and {path} lists none; leave it out")
    try:
        if kind in {".json", ".geojson"}:
            found = _items(json.loads(path.read_text(encoding="utf-8-sig")).get("features", ()), path, asset)
        elif kind in {".parquet", ".geoparquet"}:
            from roadseg.roads.files.geoparquet import read_rows

            found = _rows(read_rows(path), path, asset)
        elif kind == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                found = _rows(csv.DictReader(file), path, asset)
        else:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
            found = [(line.partition("?")[0], line) for line in lines if line]
    except FileNotFoundError as error:
        raise no_such_file(path) from error
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, csv.Error) as error:
        raise SceneError(f"{path} cannot be read as a list of scenes ({error}); check the file") from error
    if not found:
        raise SceneError(f"{path} lists no scene; is it a table, a STAC ItemCollection or a text with one per line?")
    if any("\0" in name + scene for name, scene in found):
        raise SceneError(f"{path} holds NUL bytes, which no path has; is it a text in UTF-8?")
    return [(name, _place(scene, path)) for name, scene in found]


def _rows(rows: Iterable[Mapping[str, Any]], path: Path, asset: str | None) -> Listed:
    found: Listed = []
    for row in rows:
        if isinstance(row.get("assets"), Mapping):  # a STAC table
            found += _items([row], path, asset)
            continue
        key = next((key for key in _PLACES if row.get(key)), None)
        if key is None:
            raise SceneError(f"{path} has a row without a scene; name the column {', '.join(_PLACES[:-1])} or url")
        name = next((f"{row[key]}.tif" for key in _NAMES if row.get(key)), str(row[key]).partition("?")[0])
        found.append((name, str(row[key])))
    return found


def _items(items: Iterable[Mapping[str, Any]], path: Path, asset: str | None) -> Listed:
    """Return the images of STAC items."""
    found: Listed = []
    for item in items:
        assets = {name: one for name, one in item.get("assets", {}).items() if one and one.get("href")}
        images = [name for name, one in assets.items() if _is_image(one)]
        chosen = asset or (images[0] if len(images) == 1 else None)
        if chosen is None or chosen not in assets:
            has = f"the assets {shortened(list(assets))}" if assets else "no assets"
            raise SceneError(f"the item {item.get('id')} in {path} has {has}; name the image with --asset")
        found.append((f"{item.get('id')}.tif", str(assets[chosen]["href"])))
    return found


def _is_image(asset: Mapping[str, Any]) -> bool:
    roles = asset.get("roles")
    return str(asset.get("type") or "").startswith(_IMAGES) and not _SIDE_ROLES & set([] if roles is None else roles)


def _place(scene: str, path: Path) -> str:
    """Return a scene's path, which may be relative to the list, or its URL."""
    if "://" in scene or scene.startswith("/vsi"):
        return scene
    return str(path.parent / scene)
