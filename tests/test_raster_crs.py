"""Coordinates carried between reference systems."""

import numpy as np
import pytest

from roadseg.errors import SceneError
from roadseg.raster.crs import DEGREES, crs_wkt, projjson, reproject, same_crs
from roadseg.raster.metric_crs import choose_metric_crs, to_metres

UTM = "EPSG:32632"


def test_coordinates_come_back():
    xy = np.random.default_rng(0).uniform([4e5, 5.2e6], [6e5, 5.4e6], (1000, 2))
    there = reproject(xy, UTM, DEGREES)
    assert ((there[:, 0] > 7) & (there[:, 0] < 11) & (there[:, 1] > 46) & (there[:, 1] < 49)).all()
    np.testing.assert_allclose(reproject(there, DEGREES, UTM), xy, atol=1e-6)
    assert reproject(np.zeros((0, 2)), UTM, DEGREES).shape == (0, 2)


def test_x_is_longitude_whatever_the_axis_order_of_the_crs():
    np.testing.assert_allclose(reproject(np.array([[500_000.0, 0.0]]), UTM, DEGREES), [[9, 0]], atol=1e-9)


def test_a_crs_that_leads_nowhere_is_named_in_a_sentence():
    with pytest.raises(SceneError, match=r"cannot be reprojected to EPSG:4326 \([^{]{0,80}\); choose another CRS$"):
        reproject(np.zeros((1, 2)), 'LOCAL_CS["site",UNIT["metre",1]]', DEGREES)


def test_equal_points_stay_equal_however_many_are_carried(monkeypatch):
    xy = np.random.default_rng(1).uniform([4e5, 5.2e6], [6e5, 5.4e6], (100, 2))
    whole = reproject(xy, UTM, DEGREES)
    monkeypatch.setattr("roadseg.raster.crs._CHUNK", 7)
    np.testing.assert_array_equal(reproject(xy, UTM, DEGREES), whole)
    np.testing.assert_array_equal(reproject(xy[::-1], UTM, DEGREES)[::-1], whole)


def test_names_of_one_crs_are_the_same():
    assert same_crs(UTM, crs_wkt(UTM))
    assert same_crs("+proj=longlat +datum=WGS84", "OGC:CRS84")
    assert not same_crs(UTM, "EPSG:32633")
    assert projjson(UTM)["type"] == "ProjectedCRS"
    assert projjson(UTM)["id"] == {"authority": "EPSG", "code": 32632}


@pytest.mark.parametrize("name", ["EPSG:99", "words", ""])
def test_an_unknown_crs_is_refused_quietly(name, capfd):
    with pytest.raises(SceneError, match="is not known; name one such as EPSG:25832"):
        crs_wkt(name)
    assert capfd.readouterr() == ("", "")


def test_points_beyond_a_crs_are_refused():
    with pytest.raises(SceneError, match=r"proj=gnom.*choose another CRS"):
        reproject(np.array([[10.0, 0.0], [170.0, 0.0]]), DEGREES, "+proj=gnom +lat_0=0 +lon_0=0 +datum=WGS84")


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_roads_on_both_sides_of_the_antimeridian_are_measured_where_they_are(crs):
    """Two roads of 0.001° on either side, and one that crosses; their middle is not on the other side of the Earth."""
    degrees = [[(179.998, 10), (179.999, 10)], [(-179.998, 10), (-179.999, 10)], [(179.9995, 10), (-179.9995, 10)]]
    lines = [reproject(np.array(line, float), "EPSG:4326", crs) for line in degrees]
    metric = choose_metric_crs(lines, crs)
    lengths = [np.hypot(*np.diff(line, axis=0)[0]) for line in to_metres(lines, crs, metric)]
    assert lengths == pytest.approx([109.64] * 3, abs=0.05)
    assert metric.description.endswith(("around 10.0000, 180.0000", "around 10.0000, -180.0000"))
