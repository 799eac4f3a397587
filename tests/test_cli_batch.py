"""Several files in one command: one bad file stops no other."""

import pytest
import typer

from roadseg.cli.batch import fail_for, for_each_file
from roadseg.errors import SceneError
from roadseg.progress import Listener


def test_a_file_that_fails_stops_no_other_and_is_reported():
    def process(name, job):
        if job < 0:
            raise SceneError(f"{name} is bad")
        done.append(job * 2)

    warned, done = [], []
    failed = for_each_file([("a", 1), ("b", -1), ("c", 3)], process, listener=Listener(warn=warned.append))
    assert (done, warned) == ([2, 6], ["b is bad"])
    assert [name for name, _ in failed] == ["b"]
    alone = for_each_file([("b", -1)], process, listener=Listener(warn=warned.append))
    assert (len(alone), warned) == (1, ["b is bad"])


def test_numbers_of_many_scenes_are_written_alike(capsys):
    with pytest.raises(typer.Exit):
        fail_for([("a.tif", SceneError("no"))], 3000, "scenes", quiet=False)
    assert capsys.readouterr().err.endswith("1 of 3,000 scenes failed: a.tif\n")


def test_the_last_line_names_the_first_of_very_many_failures(capsys):
    failed = [(f"{index}.tif", SceneError("no")) for index in range(2000)]
    with pytest.raises(typer.Exit):
        fail_for(failed, 3000, "scenes", quiet=False)
    said = capsys.readouterr().err
    assert "2,000 of 3,000 scenes failed: 0.tif, 1.tif, " in said
    assert "19.tif" in said
    assert len(said) < 300
