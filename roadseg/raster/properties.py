"""What a raster is, for people who want to know before they use it: size, type, place, nodata, overviews, tags."""

from typing import Any

from roadseg.raster.files import open_input
from roadseg.raster.grid import grid_of
from roadseg.raster.validity import validity_of


def raster_properties(path: str) -> dict[str, Any]:
    """Return what a raster is, ready for JSON; pixel sizes are metres across and down, None without a CRS.

    Raises
    ------
    SceneError
        If it is missing, no raster, or damaged.
    """
    with open_input(path) as file:
        grid = grid_of(file)
        pixel = grid.pixel_size_m()
        return {
            "raster": path,
            "driver": file.driver,
            "width": file.width,
            "height": file.height,
            "bands": file.count,
            "dtype": file.dtypes[0],
            "crs": file.crs.to_string() if file.crs else None,
            "pixel_m": [pixel[1], pixel[0]] if pixel else None,
            "pixel_assumed": grid.lacks_geotransform,
            "nodata": validity_of(file, (1,)).description(file),
            "overviews": list(file.overviews(1)),
            "tags": {key: value for key, value in file.tags().items() if key.startswith("ROADSEG")},
        }
