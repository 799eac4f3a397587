"""Many scenes from a list: where they lie, what they are called, and what is skipped."""

import json
import os
from pathlib import Path

import pytest
from worlds import NORTH_UP, names_in

import roadseg.predict
from roadseg.errors import SceneError
from roadseg.files.lock import locked
from roadseg.prediction.scene_list import read_scene_list
from roadseg.raster.partial import Partial


def image(href, **more):
    return {"href": href, "type": "image/tiff; application=geotiff; profile=cloud-optimized", **more}


def item(name, **assets):
    return {"type": "Feature", "id": name, "assets": assets}


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_texts_and_tables_list_scenes_by_any_of_their_columns(tmp_path):
    expected = [("a/x.tif", f"{tmp_path}/a/x.tif"), ("https://h/y.tif", "https://h/y.tif?k=1")]
    for mark in ("", "\ufeff"):  # which editors on Windows put before a text
        text = write(tmp_path, "list.txt", f"{mark}a/x.tif\n\nhttps://h/y.tif?k=1\n")
        assert read_scene_list(text) == expected
    for column in ("href", "scene", "path", "url"):
        table = write(tmp_path, "list.csv", f"\ufeffdate,{column}\n2020,a/x.tif\n2021,https://h/y.tif?k=1\n")
        assert read_scene_list(table) == expected
    named = write(tmp_path, "list.csv", "id,href\nfirst,/data/x.tif\n,/data/y.tif\n")
    assert read_scene_list(named) == [("first.tif", "/data/x.tif"), ("/data/y.tif", "/data/y.tif")]


def test_stac_items_give_their_image_or_the_asset_asked_for(tmp_path):
    thumbnail = {"href": "t.png", "type": "image/png", "roles": ["thumbnail"]}
    items = [item("A", visual=image("./a.tif"), thumb=thumbnail), item("B", visual=image("s3://b/b.tif"))]
    path = write(tmp_path, "items.json", "\ufeff" + json.dumps({"type": "FeatureCollection", "features": items}))
    assert read_scene_list(path) == [("A.tif", f"{tmp_path}/a.tif"), ("B.tif", "s3://b/b.tif")]
    assert read_scene_list(write(tmp_path, "one.json", json.dumps({"features": items[:1]})), "thumb")[0][1].endswith(
        "t.png"
    )
    two = json.dumps({"features": [item("C", red=image("r.tif"), nir=image("n.tif"))]})
    path = write(tmp_path, "two.json", two)
    with pytest.raises(
        SceneError, match=r"the item C in .*two.json has the assets red, nir; name the image with --asset"
    ):
        read_scene_list(path)
    assert read_scene_list(path, "nir") == [("C.tif", f"{tmp_path}/n.tif")]
    with pytest.raises(SceneError, match="name the image with --asset"):
        read_scene_list(path, "visual")


def test_tables_in_parquet_list_scenes_or_stac_items(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"href": ["a.tif"], "geometry": [b"x"]}), tmp_path / "l.parquet")
    assert read_scene_list(tmp_path / "l.parquet") == [("a.tif", f"{tmp_path}/a.tif")]
    rows = [item("A", visual=image("a.tif", roles=["visual"]))]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "s.parquet")
    assert read_scene_list(tmp_path / "s.parquet") == [("A.tif", f"{tmp_path}/a.tif")]
    (tmp_path / "no.parquet").write_text("no", "utf-8")
    with pytest.raises(SceneError, match=r"no.parquet cannot be read"):
        read_scene_list(tmp_path / "no.parquet")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "a,b\n1,2\n", "has a row without a scene; name the column href, scene, path or url"),
        ("l.csv", "href\n", "lists no scene"),
        ("l.txt", "\n", "lists no scene"),
        ("l.txt", "a\0b.tif\n", "holds NUL bytes"),
        ("l.csv", "href\na\0b.tif\n", "holds NUL bytes|cannot be read"),
        (
            "l.json",
            '{"features": [{"assets": {"a": {"href": "a", "type": "image/tiff", "roles": [[]]}}}]}',
            "cannot be read",
        ),
        ("l.json", "{}", "lists no scene"),
        ("l.json", "[1]", "cannot be read as a list of scenes"),
        ("l.json", "{", "cannot be read as a list of scenes"),
        ("l.json", '{"features": [{"id": "A"}]}', "the item A in .* has no assets"),
    ],
)
def test_what_is_no_list_is_one_sentence(tmp_path, name, text, message):
    with pytest.raises(SceneError, match=message):
        read_scene_list(write(tmp_path, name, text))
    with pytest.raises(SceneError, match=r"none\.csv does not exist; check the path"):
        read_scene_list(tmp_path / "none.csv")


def test_an_asset_is_one_of_stac_items(tmp_path, say):
    with pytest.raises(SceneError, match=r"--asset is one of STAC items, and .*list.txt lists none"):
        read_scene_list(write(tmp_path, "list.txt", "a.tif"), "visual")
    refused = say("predict", "a.tif", "-o", "o.tif", "--asset", "visual")
    assert (refused.status, refused.stderr) == (
        2,
        "roadseg: --asset is one of the STAC items of --scenes; give both, or neither\n",
    )


def test_scenes_of_a_run_that_was_killed_before_it_cleared_up_are_not_skipped(
    say, draw, tmp_path, model_file, monkeypatch
):
    draw(70, 90, name="a.tif", transform=NORTH_UP)
    command = ["predict", "--scenes", write(tmp_path, "one.txt", "a.tif"), "-o", "roads", "--model", model_file]
    with monkeypatch.context() as killed:
        killed.setattr(Partial, "discard", lambda _: None)
        assert say(*command).status == 0
    assert names_in("roads") == ["a.tif", "a.tif.partial"]
    assert "was done before" not in say(*command).stderr
    assert names_in("roads") == ["a.tif"]
    assert "was done before" in say(*command).stderr


def test_the_command_skips_what_is_finished_and_sums_up(say, draw, tmp_path, model_file):
    for name in "abc":
        draw(70, 90, name=f"{name}.tif", transform=NORTH_UP)
    table = write(tmp_path, "list.csv", "href\n" + "".join(f"{name}.tif\n" for name in "abcd"))
    options = ["--model", model_file, "--device", "cpu", "-o", "roads", "--summary", "s.json"]
    said = say("predict", "--scenes", table, *options, "--part", "1/2")
    assert said.status == 0, said.stderr
    assert names_in("roads") == [f"{name}.tif.partial" for name in "abc"]
    first = say("predict", tmp_path / "a.tif", "-o", "roads/", "--model", model_file, "--device", "cpu")
    assert first.status == 0, first.stderr
    before = Path("roads/a.tif").stat().st_mtime_ns
    said = say("predict", "--scenes", table, *options)
    assert said.status == 1
    assert "3 of 4 scenes done, 1 of them before" in said.stderr
    assert "d.tif does not exist" in said.stderr
    assert Path("roads/a.tif").stat().st_mtime_ns == before
    summary = json.loads(Path("s.json").read_text("utf-8"))
    assert (summary["done"], summary["skipped"], summary["failed"]) == (2, 1, 1)
    assert summary["megapixels"] == pytest.approx(2 * 70 * 90 / 1e6, abs=1e-3)
    assert [scene["status"] for scene in summary["scenes"]] == ["done", "done", "skipped", "failed"]
    assert summary["scenes"][-1]["error"].endswith("d.tif does not exist; check the path")
    other = say("predict", "--scenes", table, *options[2:], "--model", "compact", "--engine", "torch")
    assert other.status == 1
    assert "roads/a.tif exists; choose another name or add --overwrite" in other.stderr
    assert names_in("roads") == ["a.tif", "b.tif", "c.tif"]
    said = say("predict", "--scenes", write(tmp_path, "one.txt", "a.tif"), *options)
    assert (said.status, said.stderr.splitlines()[-1]) == (
        0,
        f"roadseg: {tmp_path / 'a.tif'} was done before; --overwrite predicts it again",
    )


@pytest.mark.parametrize("scenes", ["a.tif", "a.tif\nb.tif\nc.tif"], ids=["one", "three"])
def test_a_scene_that_another_run_works_on_is_left_to_it(say, draw, tmp_path, model_file, scenes):
    for number, name in enumerate(names := scenes.split()):
        draw(70, 90 + number, name=name, transform=NORTH_UP)
    options = ["--model", model_file, "--device", "cpu", "-o", "roads", "--scenes", write(tmp_path, "l.txt", scenes)]
    Path("roads").mkdir()
    with locked([Path("roads/a.tif")]):
        said = say("predict", *options, "--summary", "s.json")
        refused = say("predict", *options, "--overwrite")
    assert said.status == 0, said.stderr
    assert f"{tmp_path / 'a.tif'} is left to the other run that works on it\n" in said.stderr
    assert names_in("roads") == names[1:]
    summary = json.loads(Path("s.json").read_text("utf-8"))
    assert [summary[key] for key in ("done", "left", "failed")] == [len(names) - 1, 1, 0]
    assert summary["scenes"][-1] == {"status": "left", "scene": str(tmp_path / "a.tif")}
    if len(names) > 1:
        assert said.stderr.splitlines()[-1] == "roadseg: 2 of 3 scenes done, 1 left to other runs"
    assert refused.status == 1
    assert "roads/a.tif is being written by process" in refused.stderr


def test_a_scene_that_another_run_finishes_at_the_last_moment_is_skipped(say, draw, tmp_path, model_file, monkeypatch):
    draw(70, 90, name="a.tif", transform=NORTH_UP)
    listed = write(tmp_path, "l.txt", "a.tif")
    options = ["--model", model_file, "--device", "cpu", "-o", "roads", "--scenes", listed]
    assert say("predict", *options).status == 0
    first, look = iter([False]), roadseg.predict.is_finished
    monkeypatch.setattr("roadseg.predict.is_finished", lambda *of: next(first, None) is None and look(*of))
    said = say("predict", *options)
    assert (said.status, "was done before" in said.stderr) == (0, True), said.stderr


def test_a_scene_that_was_replaced_since_is_skipped_with_a_warning(say, draw, tmp_path, model_file):
    scene = draw(70, 90, name="a.tif", transform=NORTH_UP)
    listed = write(tmp_path, "list.txt", "a.tif")
    options = ["--model", model_file, "--device", "cpu", "-o", "roads", "--scenes", listed]
    assert say("predict", *options).status == 0
    assert "newer" not in say("predict", *options).stderr
    later = Path("roads/a.tif").stat().st_mtime + 5
    os.utime(scene, (later, later))
    said = say("predict", *options)
    assert said.status == 0
    assert "a.tif is newer than roads/a.tif, which was made of it before; if its pixels" in said.stderr


@pytest.mark.parametrize(
    "asked",
    [
        ("--tta",),
        ("--aoi", "area.geojson"),
        ("--bbox", "236800,901180,236840,901210"),
        ("--grid", "model"),
        ("--style",),
    ],
)
def test_what_was_made_with_other_settings_is_not_finished(say, draw, tmp_path, model_file, asked):
    draw(70, 90, name="a.tif", transform=NORTH_UP)
    write_area(236_800)
    listed = write(tmp_path, "list.txt", "a.tif")
    command = ["predict", "--model", model_file, "--device", "cpu", "-o", "roads", "--scenes", listed]
    for made_with, other in (((), asked), (asked, ())):
        assert say(*command, *made_with, "--overwrite").status == 0
        assert "was done before" in say(*command, *made_with, "--block", "224").stderr
        said = say(*command, *other)
        if made_with == ("--style",):  # the style is not asked for any more, and stays
            assert said.status == 0
        else:
            assert said.status == 1
            assert said.error.endswith("exists; choose another name or add --overwrite")
    if "--aoi" in asked:
        write_area(236_810)
        assert say(*command, *asked).status == 1


def write_area(west):
    ring = [[west, 901_180], [west + 30, 901_180], [west + 30, 901_210], [west, 901_180]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::26986"}}
    place = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    Path("area.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [place]}), "utf-8")


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        ("list.csv", "list.csv is also the input; choose another output"),
        ("a.tif", "a.tif is also the input"),
        ("m.safetensors", "m.safetensors is also the input"),
        ("notes.json", "notes.json exists; choose another name or add --overwrite"),
        ("roads/a.tif", "roads/a.tif is named twice"),
        ("none/s.json", "the folder none does not exist; create it first"),
        ("roads", "roads is a folder; name a file in it"),
    ],
)
def test_where_no_summary_may_be_is_said_before_any_work(say, draw, model_file, summary, message):
    Path("a.tif").write_bytes(Path(draw(70, 90, transform=NORTH_UP)).read_bytes())
    Path("list.csv").write_text("href\na.tif\n", "utf-8")
    Path("notes.json").write_text('{"scenes": 3}', "utf-8")
    Path("m.safetensors").write_bytes(Path(model_file).read_bytes())
    options = ["--model", "m.safetensors", "--device", "cpu", "-o", "roads", "--summary", summary]
    if "exists" not in message:
        options.append("--overwrite")
    said = say("predict", "--scenes", "list.csv", *options)
    assert said.status == 1
    assert message in said.error
    assert not Path("roads").exists()
    assert Path("list.csv").read_text("utf-8") == "href\na.tif\n"


def test_scenes_or_a_list_of_them(say):
    for arguments in (["-o", "r.tif"], ["a.tif", "--scenes", "l.csv", "-o", "r/"]):
        said = say("predict", *arguments)
        assert said.status == 2
        assert "name scenes, or a list of them with --scenes" in said.stderr
    assert say("predict", "--scenes", "l.csv", "-o", "-").status == 2


def test_a_list_on_stdin_is_no_file_and_the_message_says_how_it_is_read(say):
    said = say("predict", "--scenes", "-", "-o", "roads/")
    assert (said.status, said.stderr.endswith("name - as the scene: roadseg predict - -o roads/\n")) == (2, True)
    assert not Path("roads").exists()
