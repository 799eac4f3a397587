"""Rasters on servers: how GDAL asks for them, and opening them so that Ctrl-C works meanwhile.

Beside a GeoTIFF GDAL looks for some 40 other files, most of them metadata of satellites, each of which costs a
request. Only those are asked for that can change pixels: mask, overviews and georeference.
"""

import ctypes
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import rasterio
from rasterio._path import _parse_path, _vsi_path
from rasterio.env import ensure_env_with_credentials
from rasterio.errors import RasterioIOError

_HTTP = {
    "GDAL_HTTP_MAX_RETRY": 3,
    "GDAL_HTTP_RETRY_DELAY": 1,
    "GDAL_HTTP_CONNECTTIMEOUT": 30,
    "GDAL_HTTP_LOW_SPEED_TIME": 30,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 100,
}
"""Seconds between tries and for a connection, and how long fewer bytes per second may come; GDAL waits for ever."""

_SERVERS = "curl|s3|gs|az|adls|oss|swift|webhdfs|hdfs"
_REMOTE = re.compile(rf"[a-z0-9+]{{2,}}://|.*/vsi({_SERVERS})(_streaming)?[/?]", re.IGNORECASE)
_LOCAL = ("file://", "zip://", "tar://", "gzip://")
_GEOTIFF = (".tif", ".tiff")
_BESIDE_A_GEOTIFF = (".msk", ".ovr", ".aux.xml", ".tfw", ".tifw", ".wld")
_RASTER, _VERBOSE_ERROR = 0x02, 0x40


def is_remote(path: str) -> bool:
    """Return whether a raster is read from a server."""
    return bool(_REMOTE.match(path)) and not path.lower().startswith(_LOCAL)


def server_options() -> dict[str, Any]:
    """Return GDAL's options for servers: those above, and the S3 server that AWS's own tools would ask.

    They take its address from ``AWS_ENDPOINT_URL``, which GDAL does not know, and name its buckets in the path.
    """
    address = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    if not address or "AWS_S3_ENDPOINT" in os.environ:
        return dict(_HTTP)
    scheme, _, server = address.rstrip("/").rpartition("://")
    https = "NO" if scheme.lower() == "http" else "YES"
    return {**_HTTP, "AWS_S3_ENDPOINT": server, "AWS_HTTPS": https, "AWS_VIRTUAL_HOSTING": "FALSE"}


def asking_little(path: str) -> rasterio.Env:
    """Context manager in which a raster on a server is opened with few requests; the environment wins.

    A server that says nothing is given up. A folder is not listed, which takes long where it holds thousands of files.
    """
    suffix = PurePosixPath(path.partition("?")[0]).suffix.lower()
    options: dict[str, Any] = {**server_options(), "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"}
    if suffix in _GEOTIFF and "/vsizip/" not in path and not path.startswith("zip+"):
        options["CPL_VSIL_CURL_ALLOWED_EXTENSIONS"] = ",".join((suffix, *_BESIDE_A_GEOTIFF))
    return rasterio.Env(**{name: value for name, value in options.items() if name not in os.environ})


@ensure_env_with_credentials  # type: ignore[untyped-decorator]
def fetch_header(path: str) -> None:
    """Have GDAL open a raster on a server and close it again: what it received stays in its memory.

    Other than rasterio's, this call lets Python's other threads run, of which one ends a command on Ctrl-C.
    Does nothing where GDAL's library cannot be called, as on Windows.

    Raises
    ------
    RasterioIOError
        If GDAL cannot open it.
    """
    gdal = _gdal()
    if gdal is None:
        return
    gdal.CPLErrorReset()
    name = os.fsencode(_vsi_path(_parse_path(path)))
    dataset = gdal.GDALOpenEx(name, _RASTER | _VERBOSE_ERROR, None, None, None)
    if not dataset:
        raise RasterioIOError(gdal.CPLGetLastErrorMsg().decode(errors="replace"))
    gdal.GDALClose(dataset)


def remote_sizes(names: Iterable[str]) -> dict[str, int]:
    """Return the bytes of those files that are on servers, by GDAL's names for them, without another request.

    Empty where GDAL's library cannot be called, as on Windows.
    """
    gdal, found = _gdal(), {}
    for name in filter(is_remote, names if gdal else ()):
        file = gdal.VSIFOpenL(os.fsencode(name), b"rb")
        if file:
            gdal.VSIFSeekL(file, 0, os.SEEK_END)
            found[name] = int(gdal.VSIFTellL(file))
            gdal.VSIFCloseL(file)
    return found


@cache
def _gdal() -> Any:
    """Return GDAL's library; None where it cannot be called."""
    gdal = ctypes.CDLL(rasterio._base.__file__)
    handle, text = ctypes.c_void_p, ctypes.c_char_p
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "CPLErrorReset": (None, ()),
        "CPLGetLastErrorMsg": (text, ()),
        "GDALOpenEx": (handle, (text, ctypes.c_uint, handle, handle, handle)),
        "GDALClose": (ctypes.c_int, (handle,)),
        "VSIFOpenL": (handle, (text, text)),
        "VSIFSeekL": (ctypes.c_int, (handle, ctypes.c_uint64, ctypes.c_int)),
        "VSIFTellL": (ctypes.c_uint64, (handle,)),
        "VSIFCloseL": (ctypes.c_int, (handle,)),
    }
    try:
        for name, (result, arguments) in signatures.items():
            function = getattr(gdal, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError:
        return None
    return gdal
