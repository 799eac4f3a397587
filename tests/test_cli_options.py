"""The help of every command: options in groups, the common ones first, readable in narrow and in wide terminals."""

import re

import pytest
import typer.main

from roadseg.cli import app

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
        return say(verb, "--help").stdout.splitlines()

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
    dtype = next(param for param in typer.main.get_command(app).commands["predict"].params if param.name == "dtype")
    assert [item.value for item in dtype.shell_complete(None, start)] == offered
