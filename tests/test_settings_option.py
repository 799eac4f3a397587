"""Options are declared once: their keywords, and the checks of the values that users give."""

import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest

from roadseg import settings
from roadseg.errors import RoadsegError, UsageError
from roadseg.settings import DataSettings
from roadseg.settings.option import Option, as_options, check_keywords, from_options, offered

EVEN = ("an even number", lambda number: number % 2 == 0)


@dataclass(frozen=True)
class Example:
    """Settings with an option of each type."""

    raster: Path
    length_m: Annotated[float, Option("--min-length", "…", min=0)] = 1.0
    share: Annotated[float | None, Option("--share", "…", min=0, max=1)] = None
    count: Annotated[int, Option("--count", "…", min=2, rule=EVEN)] = 2
    flag: Annotated[bool, Option("--flag/--no-flag", "…")] = True
    kind: Annotated[Literal["a", "b"] | None, Option("--as", "…")] = None
    bands: Annotated[tuple[int, ...] | None, Option("--bands", "…")] = None
    pair: Annotated[tuple[float, float] | None, Option("--range", "…")] = None
    slack: Annotated[float | str, Option("--slack", "…")] = 3.0
    files: Annotated[tuple[Path, ...], Option("--files", "…")] = ()
    place: Annotated[Path | None, Option("--place", "…")] = None
    hidden: Annotated[int, Option(None, "…")] = 5
    block_px: int = 7


def test_keywords_follow_from_flags():
    names = ["min_length", "share", "count", "flag", "as_", "bands", "range", "slack", "files", "place"]
    assert list(offered(Example)) == names


@pytest.mark.parametrize(
    ("keyword", "value", "field", "taken"),
    [
        ("min_length", 3, "length_m", 3.0),
        ("share", None, "share", None),
        ("count", 4, "count", 4),
        ("flag", False, "flag", False),
        ("as_", "b", "kind", "b"),
        ("bands", [4, 3, 2], "bands", (4, 3, 2)),
        ("bands", "4,3,2", "bands", (4, 3, 2)),
        ("range", "1,2.5", "pair", (1.0, 2.5)),
        ("slack", 2, "slack", 2.0),
        ("slack", "2.5m", "slack", "2.5m"),
        ("slack", "3", "slack", 3.0),
        ("files", "a.tif", "files", (Path("a.tif"),)),
        ("files", [Path("a.tif"), "b.tif"], "files", (Path("a.tif"), Path("b.tif"))),
        ("place", "a/b", "place", Path("a/b")),
    ],
)
def test_values_are_taken_in_the_type_of_their_field(keyword, value, field, taken):
    settings = from_options(Example, {keyword: value, "other": 1}, raster=Path("r.tif"))
    assert getattr(settings, field) == taken
    assert type(getattr(settings, field)) is type(taken)
    assert settings.raster == Path("r.tif")
    assert from_options(Example, as_options(settings), raster=settings.raster) == settings


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("min_length", -1, "--min-length must be at least 0, not -1"),
        ("min_length", float("nan"), "--min-length must be a number, not nan"),
        ("min_length", float("inf"), "--min-length must be a number, not inf"),
        ("min_length", "3", "--min-length must be a number, not '3'"),
        ("min_length", None, "--min-length must be a number, not None"),
        ("min_length", 10**400, "--min-length must be a number, not 10{400}"),
        ("share", 10**400, "--share must be a number, not 10{400}"),
        ("count", -(10**400), "--count must be at least 2, not -inf"),
        ("share", 1.5, "--share must be from 0 to 1, not 1.5"),
        ("count", True, "--count must be a whole number, not True"),
        ("count", 0, "--count must be at least 2, not 0"),
        ("count", 3, "--count must be an even number, not 3"),
        ("flag", 1, "--flag must be true or false, not 1"),
        ("as_", "c", "--as must be a or b, not 'c'"),
        ("bands", "4,x", "--bands must be a list of numbers, not '4,x'"),
        ("bands", [1.5], r"--bands must be a list of numbers, not \[1.5\]"),
        ("range", (1, 2, 3), r"--range must be 2 numbers separated by commas, not \(1, 2, 3\)"),
        ("range", "1,nan", "--range must be 2 numbers separated by commas, not '1,nan'"),
        ("slack", [1], r"--slack must be a number or a text, not \[1\]"),
        ("files", [3], r"--files must be a list of paths, not \[3\]"),
        ("place", 3, "--place must be a path, not 3"),
        ("count", Path("a"), "--count must be a whole number, not 'a'"),
        ("count", [Path("a"), Path("b")], "--count must be a whole number, not 'a', 'b'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(keyword, value, message):
    with pytest.raises(UsageError, match=f"^{message}$") as caught:
        from_options(Example, {keyword: value}, raster=Path("r.tif"))
    assert isinstance(caught.value, RoadsegError)
    assert isinstance(caught.value, ValueError)


def test_the_first_dev_folder_has_no_pixel_size_of_its_own():
    message = r"the first one without @METRES \(its pixel size is --gsd\), not 'a@1@2'$"
    with pytest.raises(UsageError, match=message):
        from_options(DataSettings, {"dev": [Path("a@1@2")]})


def test_unknown_keywords_are_refused_as_python_does():
    def function(*, known=None):
        return known

    with pytest.raises(TypeError) as ours:
        check_keywords("function", {"knwon": 1}, Known)
    with pytest.raises(TypeError) as pythons:
        function(knwon=1)
    assert str(pythons.value).partition(". Did you mean")[0].endswith(str(ours.value))


class Known:
    """The keywords of a function, as a ``TypedDict`` has them."""

    known: int


def test_each_name_is_in_its_module_and_others_are_refused():
    for name, module in settings._MODULE_OF.items():
        assert getattr(settings, name) is getattr(import_module(f"roadseg.settings.{module}"), name)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        settings.Nothing  # noqa: B018


def test_a_command_starts_without_the_settings_of_others():
    code = (
        "import sys, roadseg.vectorize\nprint({'predict', 'train'} & {name.rpartition('.')[2] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_numbers_of_numpy_are_numbers():
    given = {
        "min_length": np.float32(2.5),
        "count": np.int64(4),
        "flag": np.bool_(False),
        "bands": [np.uint8(3), np.int64(1)],
        "range": np.array([1.5, 2.0]),
        "slack": np.int64(2),
    }
    made = from_options(Example, given, raster=Path("a"))
    assert (made.length_m, made.count, made.flag, made.bands, made.pair) == (2.5, 4, False, (3, 1), (1.5, 2.0))
    assert [type(made.count), type(made.bands[0]), made.slack] == [int, int, 2.0]
    for wrong in (np.array([1.0, 2.0, 3.0]), np.zeros((2, 2))):
        with pytest.raises(UsageError, match="--range must be 2 numbers separated by commas"):
            from_options(Example, {"range": wrong}, raster=Path("a"))


def test_an_empty_value_is_not_a_default():
    with pytest.raises(UsageError, match="--place is empty; give it a value, or leave it out"):
        from_options(Example, {"place": ""}, raster=Path("a"))
