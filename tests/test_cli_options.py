"""The help of every command: options in groups, the common ones first, readable in narrow and in wide terminals."""

import re

import pytest
import typer.main
from commands import run_python

from roadseg.cli import VERBS, app

TYPER_VERSION = tuple(map(int, typer.__version__.split(".")[:2]))

HEADINGS = {
    "predict": [
        "Arguments",
        "Output",
        "Model and device",
        "Input",
        "Area",
        "Tuning",
        "More than one machine",
        "Messages",
    ],
    "vectorize": ["Arguments", "Output", "Roads", "Cleaning and repair", "Tuning", "More than one machine", "Messages"],
    "train": [
        "Arguments",
        "Output",
        "Training data",
        "Validation",
        "Model and training",
        "Recipe and run",
        "Model card",
        "Messages",
    ],
    "evaluate": ["Arguments", "Output", "Rasters", "Networks", "Messages"],
    "compare": ["Arguments", "Output", "Input", "Matching", "Messages"],
    "info": ["Arguments", "Raster", "Architecture", "Messages"],
}


@pytest.fixture
def help_of(monkeypatch, say):
    """Return a function that returns the lines of a command's help in a terminal of some width."""

    def lines(verb, columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        return say(*verb.split(), "--help").stdout.splitlines()

    return lines


@pytest.mark.parametrize("verb", HEADINGS)
@pytest.mark.parametrize("columns", [80, 120])
def test_options_stand_in_groups_and_fit_the_terminal(help_of, verb, columns):
    lines = help_of(verb, columns)
    assert [line[:-1] for line in lines if re.fullmatch(r"\w[\w ]*:", line)] == HEADINGS[verb]
    options = lines[lines.index("Arguments:") :]
    assert max(map(len, options)) <= columns
    assert not [line for line in options if re.search(r"<[a-z]+", line)]  # no name of a Python type


def test_what_a_command_requires_is_marked(help_of):
    text = re.sub(r"\s+", " ", " ".join(help_of("predict", 100)))
    assert "Output: -o, --output PATH Probability raster" in text
    assert "for stdout. [required]" in text


@pytest.mark.parametrize(("start", "offered"), [("", ["uint8", "float32"]), ("f", ["float32"])])
def test_choices_are_offered_to_the_shell(start, offered):
    dtype = next(
        param for param in typer.main.get_command(app).get_command(None, "predict").params if param.name == "dtype"
    )
    assert [item.value for item in dtype.shell_complete(None, start)] == offered


@pytest.mark.parametrize(
    ("verb", "name", "start", "offered"),
    [
        ("predict", "model", "", ["compact", "standard"]),
        ("adapt", "model", "s", ["standard"]),
        ("adapt", "teacher", "s", ["standard"]),
        ("train", "from_", "c", ["compact"]),
        ("export", "model", "comp", ["compact"]),
        ("info", "target", "sta", ["standard"]),
        ("info", "target", "scene", []),  # so that the shell proposes files
        ("train", "device", "c", ["cpu", "cuda"]),
    ],
)
def test_names_of_models_and_devices_are_offered_to_the_shell(verb, name, start, offered):
    params = typer.main.get_command(app).get_command(None, verb).params
    param = next(param for param in params if param.name == name)
    assert [item.value for item in param.shell_complete(None, start)] == offered


@pytest.mark.parametrize("verb", [*VERBS, "qgis install"])
def test_every_placeholder_is_in_capitals_and_no_default_has_idle_decimals(help_of, verb):
    text = " ".join(help_of(verb, 120))
    assert not re.search(r"[{<][a-z]", text)
    assert not re.search(r"default: \d+\.0\]", text)


def outcome(convert, *given):
    """Return the value and its type, or that there is none."""
    try:
        value = convert(*given)
    except Exception:  # noqa: BLE001  (typer's own, another in each version)
        return "wrong"
    return repr(value), type(value)


@pytest.mark.skipif(TYPER_VERSION < (0, 29), reason="older typer makes lists of arguments, and paths of empty words")
@pytest.mark.parametrize("verb", VERBS)
def test_values_are_what_typer_makes_of_them(verb):
    command = typer.main.get_command(app).get_command(None, verb)
    context = command.make_context(verb, [], resilient_parsing=True)
    params = [param for param in command.get_params(context) if param.name != "help"]
    assert len(params) > 3
    for param in params:
        words = ["", "a.tif", "3", "-2.5", "1e3", "nan", " 7 ", "true", "x,y"]
        many = param.nargs != 1 or getattr(param, "multiple", False)
        for given in [None, param.default, *([(word, "b") for word in words] if many else words)]:
            by_typer = outcome(type(param).process_value, param, context, given)
            assert outcome(param.process_value, context, given) == by_typer, (param.name, given)


def test_a_command_does_without_the_other_commands_and_pydantic():
    code = (
        "import sys\n"
        "from roadseg.cli import main\n"
        "sys.argv = ['roadseg', 'evaluate', 'none.tif', 'none.tif', '--buffer', '4', '--report', 'a.html']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('roadseg.evaluate' in sys.modules, [name for name in sys.modules if name == 'pydantic' or "
        "name in ('roadseg.cli.train', 'roadseg.cli.predict')])"
    )
    assert run_python(code).splitlines()[-1] == "True []"


def test_a_misspelt_command_is_corrected(say):
    assert "Did you mean 'vectorize'?" in say("vectorise").stderr


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("predict", "a.tif", "-o", ""), "--output"),
        (("predict", "a.tif", "-o", "o.tif", "--model", ""), "--model"),
        (("vectorize", "a.tif", "-o", "o.gpkg", "--crs", ""), "--crs"),
        (("vectorize", "a.tif", "", "-o", "o.gpkg"), "RASTERS"),
        (("compare", "", "b.gpkg", "-o", "c.gpkg"), "ROADS"),
        (("evaluate", "a.tif", "b.tif", "--threshold", ""), "--threshold"),
        (("train", "data", "-o", "m", "--dev", ""), "--dev"),
        (("info", ""), "TARGET"),
    ],
)
def test_an_empty_value_is_named(say, tmp_path, words, name):
    refused = say(*words)
    assert (refused.status, refused.stderr) == (2, f"roadseg: {name} is empty; is a variable of the shell not set?\n")
    assert not list((tmp_path / "here").iterdir())


def test_texts_of_a_card_may_be_empty(say):
    assert "--print-config" not in say("train", "--print-config", "--description", "").stderr
