"""Layer styles for QGIS: roads at their width with a dark casing, bridged gaps dashed, junctions as dots.

Lines are as wide as on the ground, but at least 0.3 mm, so that a network shows at any scale. Symbol levels draw all
casings before all fills, so that roads run into each other. Format: QGIS layer style (QML) of QGIS 3.28, stored in the
GeoPackage's table ``layer_styles``, where QGIS looks for it.
"""

from collections.abc import Mapping
from xml.etree import ElementTree as ET

from roadseg.roads.files.layers import GeometryKind

_ROAD, _INFERRED, _EDGE = "255,210,0,255", "230,90,0,255", "60,50,0,255"
_GEOMETRY = {"Point": "0", "LineString": "1", "Polygon": "2"}
_WIDTH_MM = 'max(0.3, coalesce("width_m", 0) * 1000 / @map_scale)'
_CASING_MM = f"{_WIDTH_MM} + 0.3"


def qml(kind: GeometryKind, colour: str = "") -> str:
    """Return the style of a layer of roads (lines), junctions (points) or road areas (polygons).

    Lines may have a colour instead (``"red,green,blue,opacity"``); they are then 0.7 mm wide whatever their attributes.
    """
    root = ET.Element("qgis", version="3.28.0", styleCategories="Symbology")
    rules = {
        "LineString": [
            ("road", 'not "inferred"', _symbol("line", _line(_EDGE, _CASING_MM), _line(_ROAD, _WIDTH_MM, level=1))),
            ("bridged gap", '"inferred"', _symbol("line", _line(_INFERRED, _WIDTH_MM, level=1, dashed=True))),
        ],
        "Point": [("junction", '"degree" >= 3', _dot())],
        "Polygon": [("road area", "", _fill())],
    }[kind]
    if colour:
        rules = [("road", "", _symbol("line", _line(colour, "0.7")))]
    renderer = ET.SubElement(root, "renderer-v2", type="RuleRenderer", symbollevels="1", forceraster="0")
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


def _line(colour: str, width: str, *, level: int = 0, dashed: bool = False) -> ET.Element:
    """Return a line whose width is a QGIS expression; lines of lower symbol levels are drawn first."""
    options = {
        "line_color": colour,
        "line_style": "dash" if dashed else "solid",
        "line_width": "0.5",
        "line_width_unit": "MM",
        "capstyle": "flat" if dashed else "round",
        "joinstyle": "round",
    }
    part = _part("SimpleLine", options, level=level)
    own = ET.SubElement(ET.SubElement(part, "data_defined_properties"), "Option", type="Map")
    ET.SubElement(own, "Option", name="name", type="QString", value="")
    properties = ET.SubElement(own, "Option", name="properties", type="Map")
    by_width = ET.SubElement(properties, "Option", name="outlineWidth", type="Map")
    ET.SubElement(by_width, "Option", name="active", type="bool", value="true")
    ET.SubElement(by_width, "Option", name="expression", type="QString", value=width)
    ET.SubElement(by_width, "Option", name="type", type="int", value="3")
    ET.SubElement(own, "Option", name="type", type="QString", value="collection")
    return part


def _dot() -> ET.Element:
    options = {"name": "circle", "color": "255,255,255,255", "outline_color": _EDGE, "size": "1.2", "size_unit": "MM"}
    return _symbol("marker", _part("SimpleMarker", options))


def _fill() -> ET.Element:
    options = {"color": _ROAD, "style": "solid", "outline_color": _EDGE, "outline_width": "0.1"}
    return _symbol("fill", _part("SimpleFill", options))


def _symbol(kind: str, *parts: ET.Element) -> ET.Element:
    symbol = ET.Element("symbol", type=kind, alpha="1", clip_to_extent="1", force_rhr="0")
    symbol.extend(parts)
    return symbol


def _part(name: str, options: Mapping[str, str], *, level: int = 0) -> ET.Element:
    part = ET.Element("layer", {"class": name, "enabled": "1", "locked": "0", "pass": str(level)})
    _map(part, options)
    return part


def _map(parent: ET.Element, options: Mapping[str, str]) -> None:
    listed = ET.SubElement(parent, "Option", type="Map")
    for name, value in options.items():
        ET.SubElement(listed, "Option", name=name, type="QString", value=value)
