"""How wide a road is: by attribute, by one width for all, by class; and what is no road at all."""

from pathlib import Path

import numpy as np
import pytest

from roadseg.errors import TrainingError
from roadseg.training.data.widths import WIDTHS_M, Widths, metres, read_width_table

CLASSES = ["motorway", "residential", "footway", "residential"]


@pytest.mark.parametrize(
    ("text", "length"),
    [(7, 7), (7.5, 7.5), ("7", 7), ("7,5", 7.5), ("7.5 m", 7.5), ("23 ft", 7.0104), ("10'", 3.048), ("650 cm", 6.5)],
)
def test_lengths_as_people_write_them(text: object, length: float) -> None:
    assert metres(text) == pytest.approx(length)


@pytest.mark.parametrize("text", [None, "", "wide", "-3", "6-8", "7 miles", float("nan"), 1e4])
def test_what_is_no_width_is_nan(text: object) -> None:
    assert np.isnan(metres(text))


def test_classes_have_their_widths_and_foot_paths_none() -> None:
    notes: list[str] = []
    found = Widths().of(4, CLASSES, None, notes)
    assert found.tolist() == [WIDTHS_M["motorway"], WIDTHS_M["residential"], 0, WIDTHS_M["residential"]]
    assert notes == ["left out, as they are not roads: 1 footway"]


def test_one_width_for_all_makes_no_road_of_a_foot_path() -> None:
    assert Widths(given_m=8).of(5, [*CLASSES, "odd"], None, []).tolist() == [8, 8, 0, 8, 8]
    assert Widths(given_m=8).of(3, None, None, []).tolist() == [8, 8, 8]


def test_an_attribute_wins_where_it_says_something() -> None:
    notes: list[str] = []
    widths = Widths(attribute="w", given_m=6)
    assert widths.of(4, CLASSES, [9.5, None, 4, "7 m"], notes).tolist() == [9.5, 6, 0, 7]
    assert any("1 road without w:" in note for note in notes)
    assert widths.of(2, None, [None, "7 to 9"], notes).tolist() == [6, 6]
    assert any("2 roads without w that can be read (such as 7 to 9): their width" in note for note in notes)


def test_a_class_that_is_not_in_the_table_may_have_a_width() -> None:
    notes: list[str] = []
    found = Widths(attribute="w").of(4, ["Hauptstraße", "Gasse", "footway", "residential"], [8, None, 3, 0], notes)
    assert found.tolist() == [8, 0, 0, 0]
    assert "left out, as their class is not in the table of widths: 1 Gasse (--width-table)" in notes
    assert "1 road with a width of 0 left out" in notes


def test_roads_without_a_class_are_left_out_and_counted() -> None:
    notes: list[str] = []
    assert Widths().of(4, ["residential", None, None, "escalator"], None, notes).tolist() == [7, 0, 0, 0]
    assert notes == [
        "left out, as their class is not in the table of widths: 1 escalator (--width-table)",
        "2 roads without a class left out (--road-width gives all one width)",
    ]


def test_unlisted_classes_are_left_out_and_named() -> None:
    notes: list[str] = []
    assert Widths().of(2, ["residential", "escalator"], None, notes)[1] == 0
    assert "1 escalator" in notes[0]
    assert "--width-table" in notes[0]


@pytest.mark.parametrize(
    ("widths", "values", "message"),
    [
        (Widths(), None, "give one width with --road-width"),
        (Widths(attribute="w"), [7, None], "1 road without a width in w; give"),
        (Widths(attribute="w"), [None, "7 to 9"], r"2 roads without a width in w that can be read \(such as 7 to 9\);"),
        (Widths(attribute="w"), [np.array(["7", "8"]), "nan"], r"2 roads without a width in w that can be read"),
    ],
)
def test_nothing_to_tell_a_width_by(widths: Widths, values: list[object] | None, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        widths.of(2, None, values, [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("w.toml", "residential = 6.5\ntrack = 3\n"),
        ("w.csv", "class,width\nresidential, 6.5\ntrack,3\n"),
        ("x.csv", "residential,6.5 m\ntrack,3\n"),
    ],
)
def test_a_table_lies_over_the_built_in_one(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    table = read_width_table(tmp_path / name)
    assert (table["residential"], table["track"], table["motorway"]) == (6.5, 3, WIDTHS_M["motorway"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("w.toml", "residential = 'wide'", "gives residential a width of 'wide'"),
        ("w.toml", "residential 6", "no table of widths"),
        ("w.csv", "residential", "no table of widths"),
        ("none.csv", None, "no table of widths"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(TrainingError, match=message):
        read_width_table(tmp_path / name)
