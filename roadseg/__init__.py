"""roadseg turns aerial imagery into roads.

The way of the data, and where each step lives::

    Scene ──blocks──▶ Block        roadseg.raster.scene, roadseg.blocks
          ──windows─▶ batch        roadseg.inference.block
          ──ResUNet─▶ probability  roadseg.inference.engine, roadseg.model
          ──blend───▶ Block core   roadseg.inference.blend
          ──quantize▶ GeoTIFF      roadseg.raster.encoding, .partial, .output
          ──trace───▶ PixelGraph   roadseg.network.centrelines
          ──repair──▶ RoadNetwork  roadseg.network.repair, .geometry, .write

Each command of the command line is one module with one function that shows the whole chain:
``roadseg.predict``, ``roadseg.vectorize``, ``roadseg.evaluate``, ``roadseg.train``. ``roadseg.cli``
is the only part that touches the terminal.
"""

__version__ = "0.1.0"
