"""How QGIS shows the layers: roads as wide as they are, bridged gaps dashed, junctions as dots.

Lines are as wide as on the ground and never thinner than a hair, so that a network can be seen at any
scale. The text is QGIS's layer style (QML); it is stored in the GeoPackage, where QGIS looks for it.
"""

from collections.abc import Mapping
from xml.etree import ElementTree as ET

from roadseg.network.layers import Kind

_ROAD, _INFERRED, _EDGE = "255,210,0,255", "230,90,0,255", "60,50,0,255"
_GEOMETRY = {"Point": "0", "LineString": "1", "Polygon": "2"}
_WIDTH_MM = 'max(0.3, coalesce("width_m", 0) * 1000 / @map_scale)'


def qml(kind: Kind) -> str:
    """Return the style of a layer of roads (lines), junctions (points) or road areas (polygons)."""
    root = ET.Element("qgis", version="3.28.0", styleCategories="Symbology")
    rules = {
        "LineString": [
            ("road", 'not "inferred"', _line(_ROAD, dashed=False)),
            ("bridged gap", '"inferred"', _line(_INFERRED, dashed=True)),
        ],
        "Point": [("junction", '"degree" >= 3', _dot())],
        "Polygon": [("road area", "", _fill())],
    }[kind]
    renderer = ET.SubElement(root, "renderer-v2", type="RuleRenderer", symbollevels="0", forceraster="0")
    listed = ET.SubElement(renderer, "rules", key="{roads}")
    symbols = ET.SubElement(renderer, "symbols")
    for index, (label, condition, symbol) in enumerate(rules):
        named = {"key": f"{{rule{index}}}", "label": label, "symbol": str(index)}
        ET.SubElement(listed, "rule", {**named, **({"filter": condition} if condition else {})})
        symbol.set("name", str(index))
        symbols.append(symbol)
    ET.SubElement(root, "layerGeometryType").text = _GEOMETRY[kind]
    ET.indent(root, " ")
    return "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + ET.tostring(root, encoding="unicode")


def _line(colour: str, *, dashed: bool) -> ET.Element:
    options = {
        "line_color": colour,
        "line_style": "dash" if dashed else "solid",
        "line_width": "0.5",
        "line_width_unit": "MM",
        "capstyle": "flat" if dashed else "round",
        "joinstyle": "round",
    }
    return _symbol("line", "SimpleLine", options, width=_WIDTH_MM)


def _dot() -> ET.Element:
    options = {"name": "circle", "color": "255,255,255,255", "outline_color": _EDGE, "size": "1.2", "size_unit": "MM"}
    return _symbol("marker", "SimpleMarker", options)


def _fill() -> ET.Element:
    options = {"color": _ROAD, "style": "solid", "outline_color": _EDGE, "outline_width": "0.1"}
    return _symbol("fill", "SimpleFill", options)


def _symbol(kind: str, layer: str, options: Mapping[str, str], *, width: str = "") -> ET.Element:
    symbol = ET.Element("symbol", type=kind, alpha="0.9", clip_to_extent="1", force_rhr="0")
    part = ET.SubElement(symbol, "layer", {"class": layer, "enabled": "1", "locked": "0", "pass": "0"})
    _map(part, options)
    if width:
        own = ET.SubElement(ET.SubElement(part, "data_defined_properties"), "Option", type="Map")
        ET.SubElement(own, "Option", name="name", type="QString", value="")
        properties = ET.SubElement(own, "Option", name="properties", type="Map")
        by_width = ET.SubElement(properties, "Option", name="outlineWidth", type="Map")
        ET.SubElement(by_width, "Option", name="active", type="bool", value="true")
        ET.SubElement(by_width, "Option", name="expression", type="QString", value=width)
        ET.SubElement(by_width, "Option", name="type", type="int", value="3")
        ET.SubElement(own, "Option", name="type", type="QString", value="collection")
    return symbol


def _map(parent: ET.Element, options: Mapping[str, str]) -> None:
    listed = ET.SubElement(parent, "Option", type="Map")
    for name, value in options.items():
        ET.SubElement(listed, "Option", name=name, type="QString", value=value)
