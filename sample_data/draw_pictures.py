"""Draws the pictures of the README: the sample scene, its roads and network, and another country before and after.

python sample_data/draw_pictures.py [PYTHON OF QGIS]            # by default /usr/bin/python3

Needs roadseg, and QGIS for the third picture.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import make_sample

HERE = Path(__file__).parent
ROWS, COLS = (0, 640), (40, 920)
"""The part of the scene that is shown, in pixels."""

SIZE = (440, 320)
"""Width and height of the pictures."""


def main(qgis_python: str = "/usr/bin/python3") -> None:
    """Predict the scene and draw the pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        roads, network = folder / "roads.tif", folder / "roads.gpkg"
        _roadseg("predict", HERE / "scene.tif", "-o", roads, "--vector", network, "--preview", folder / "roads.png")
        _save("scene", cv2.imread(str(HERE / "scene.tif")))
        _save("roads", cv2.imread(str(folder / "roads.png")))
        import rasterio

        with rasterio.open(roads) as file:
            left, top = file.transform @ (COLS[0], ROWS[0])
            right, bottom = file.transform @ (COLS[1], ROWS[1])
        layers = [f"{network}|layername=junctions", f"{network}|layername=roads"]
        picture = HERE / "readme_network.png"
        words = [qgis_python, HERE / "render_in_qgis.py", picture, *SIZE, f"{left},{bottom},{right},{top}", *layers]
        subprocess.run([*map(str, words)], check=True)
        cv2.imwrite(str(picture), cv2.imread(str(picture)), [cv2.IMWRITE_PNG_COMPRESSION, 9])
        _adapted(folder)


def _adapted(folder: Path) -> None:
    """Paint the same place as another country, and draw what is found there before and after adapting."""
    make_sample.main(folder, "laterite")
    scene, model = folder / "scene.tif", folder / "mine.safetensors"
    _roadseg("adapt", scene, "--labels", folder / "roads.gpkg", "--width-attribute", "width_m", "-o", model)
    for name, which in (("before", "compact"), ("after", model)):
        drawn = folder / f"{name}.png"
        _roadseg("predict", scene, "-o", folder / f"{name}.tif", "--preview", drawn, "--model", which)
        _roadseg("evaluate", folder / f"{name}.tif", folder / "mask.tif")
        _save(name, cv2.imread(str(drawn)))


def _roadseg(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "roadseg", *map(str, words)], check=True)


def _save(name: str, pixels: "cv2.typing.MatLike") -> None:
    part = pixels[slice(*ROWS), slice(*COLS)]
    small = cv2.resize(part, SIZE, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(HERE / f"readme_{name}.jpg"), small, [cv2.IMWRITE_JPEG_QUALITY, 82])


main(*sys.argv[1:])
