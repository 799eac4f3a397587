"""Draws layers in their default styles with QGIS, whose Python must run this (on Debian that is /usr/bin/python3).

/usr/bin/python3 sample_data/render_in_qgis.py PICTURE WIDTH HEIGHT XMIN,YMIN,XMAX,YMAX LAYER…

A layer is a raster, or FILE|layername=NAME; the first one lies on top. Rasters take the .qml file beside them, layers
of a GeoPackage the style it holds. The extent is in the CRS of the last layer.
"""

import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("GDAL_PAM_ENABLED", "NO")  # or an .aux.xml with statistics stays beside each raster

from qgis.core import (
    QgsApplication,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def main(picture: str, width: str, height: str, extent: str, *names: str) -> None:
    """Render the layers and save the picture."""
    application = QgsApplication([], False)
    application.initQgis()
    layers = [_layer(name) for name in names]
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(layers[-1].crs())
    settings.setExtent(QgsRectangle(*map(float, extent.split(","))))
    settings.setOutputSize(QSize(int(width), int(height)))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    if not job.renderedImage().save(picture):
        raise SystemExit(f"cannot write {picture}")
    del job, settings, layers
    application.exitQgis()


def _layer(name: str) -> "QgsRasterLayer | QgsVectorLayer":
    """Open a layer; styles beside it, or in its GeoPackage, are loaded with it."""
    raster = name.endswith((".tif", ".vrt"))
    layer = QgsRasterLayer(name, name) if raster else QgsVectorLayer(name, name, "ogr")
    if not layer.isValid():
        raise SystemExit(f"QGIS cannot open {name}")
    return layer


main(*sys.argv[1:])
