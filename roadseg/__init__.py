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

Each command is a module of the same name whose function of the same name is the public Python call:
``roadseg.predict.predict``, ``roadseg.vectorize.vectorize`` and so on. ``roadseg.settings`` declares their options.
``roadseg.cli`` is the only part that touches the terminal.
"""

__version__ = "0.2.0"
