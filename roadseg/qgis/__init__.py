"""A QGIS plugin that offers roadseg in the Processing toolbox, the model designer and ``qgis_process``.

It starts the ``roadseg`` command, so QGIS's own Python needs none of its dependencies. ``roadseg qgis install`` copies
this folder into a QGIS profile. It imports QGIS and nothing else of the package.
"""

from typing import Any


def classFactory(interface: Any) -> Any:
    """Return the plugin; QGIS calls this when it loads it."""
    from .plugin import RoadsegPlugin

    return RoadsegPlugin()
