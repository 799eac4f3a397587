"""roadseg turns aerial imagery into roads.

How data flows, and where each step lives::

    Scene ──blocks──▶ Block        roadseg.raster.scene, roadseg.windows
          ──windows─▶ batch        roadseg.prediction.block
          ──ResUNet─▶ probability  roadseg.prediction.engines, roadseg.model
          ──blend───▶ Block core   roadseg.prediction.blend
          ──quantize▶ GeoTIFF      roadseg.raster.encoding, .partial, .cog
          ──clean───▶ road mask    roadseg.roads.mask
          ──trace───▶ PixelGraph   roadseg.roads.centerlines
          ──repair──▶ RoadNetwork  roadseg.roads.repair, .centerlines.geometry
          ──write───▶ vector file  roadseg.roads.files

Each command of the command line is one module with one function that shows the whole chain:
``roadseg.predict``, ``roadseg.vectorize``, ``roadseg.evaluate``, ``roadseg.train``. ``roadseg.cli``
is the only part that touches the terminal.
"""

__version__ = "0.1.0"
