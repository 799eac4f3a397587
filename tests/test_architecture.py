"""Imports point downwards only, heavy ones wait until they are needed, and one module talks to the terminal."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import run_python

import roadseg

ROOT = Path(roadseg.__file__).parent
MODULES = {
    ".".join(("roadseg", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

ROWS = [
    {"cli"},
    {"predict", "vectorize", "evaluate", "compare", "train", "info"},
    {"training"},
    {"prediction", "evaluation"},
    {"roads"},
    {"raster"},
    {"model", "metrics", "files"},
    {"windows", "ragged", "thinning", "settings", "progress", "qgis"},
    {"errors"},
]
"""From the top down; a module may import from rows below its own."""

ONLY_IN = {
    "rasterio": ("roadseg.raster.",),
    "typer": ("roadseg.cli",),
    "tqdm": ("roadseg.cli.",),
    "pyogrio": ("roadseg.roads.files.",),
    "click": (),
    "pickle": (),
}

TORCH = ("roadseg.model.resunet", "roadseg.model.weights", "roadseg.prediction.engines.torch", "roadseg.training.")

VERBS = ("roadseg.predict", "roadseg.train")


def part(module: str) -> str:
    """Return the file or folder directly in the package that a module belongs to; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def row(module: str) -> int:
    """Return a module's row; every module must have one."""
    return next(index for index, names in enumerate([*ROWS, {part(module)}]) if part(module) in names)


def is_for_type_checkers(node: ast.stmt) -> bool:
    """Return whether a statement is an ``if TYPE_CHECKING``, whose imports are never run."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full names a tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else str(node.module)


def imports(module: str, *, everywhere: bool = True) -> set[str]:
    """Return what a module imports; without ``everywhere`` only what it imports when it is imported itself."""
    tree = ast.parse(MODULES[module].read_text())
    if not everywhere:
        inner = (ast.FunctionDef, ast.AsyncFunctionDef)
        tree.body = [node for node in tree.body if not isinstance(node, inner) and not is_for_type_checkers(node)]
    return set(imported(tree))


def may_use(module: str, other: str) -> bool:
    here, there = part(module), part(other)
    if not there or here == there:
        return True
    return row(module) < row(other)


@pytest.mark.parametrize("module", [name for name in MODULES if part(name) not in {"", "__main__"}])
def test_imports_point_downwards(module):
    assert row(module) < len(ROWS), f"{module} has no place in ROWS"
    wrong = {other for other in imports(module) if other.split(".")[0] == "roadseg" and not may_use(module, other)}
    assert not wrong, f"{module} must not import {', '.join(sorted(wrong))}"


def test_the_law_can_be_broken():
    assert not may_use("roadseg.raster.scene", "roadseg.roads.files.read")
    assert not may_use("roadseg.windows", "roadseg.raster.grid")
    assert not may_use("roadseg.predict", "roadseg.train")
    assert not may_use("roadseg.model.card", "roadseg.prediction.engines.torch")
    assert may_use("roadseg.prediction.engines.torch", "roadseg.model.resunet")
    assert may_use("roadseg.predict", "roadseg.prediction.pipeline")


@pytest.mark.parametrize("package", ONLY_IN)
def test_packages_are_used_where_they_belong(package):
    users = {module for module in MODULES if package in {name.split(".")[0] for name in imports(module)}}
    assert not {user for user in users if not user.startswith(ONLY_IN[package] or "nowhere")}
    assert bool(users) == bool(ONLY_IN[package])


def test_torch_is_imported_where_it_is_needed():
    users = {m for m in MODULES if "torch" in {name.split(".")[0] for name in imports(m, everywhere=False)}}
    assert not {user for user in users if not user.startswith((*TORCH, *VERBS))}
    assert users


def test_only_the_command_line_prints():
    talkers = set()
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                talkers.add(module)
            if isinstance(node, ast.Attribute) and node.attr in {"stdout", "stderr", "stdin"}:
                talkers.add(module)
    assert talkers
    assert not {module for module in talkers if part(module) not in {"cli", "qgis"}}


def test_no_module_is_imported_relatively():
    for module, path in MODULES.items():
        if part(module) == "qgis":
            continue  # it runs as a plugin, under another name
        levels = [node.level for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        assert not any(levels), path


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["predict", "--help"], ["info"], ["info", "none.tif"], ["predict"]]
)
def test_torch_is_not_loaded_before_it_is_needed(arguments):
    code = (
        "import sys\n"
        f"sys.argv = ['roadseg', *{arguments!r}]\n"
        "from roadseg.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules)"
    )
    assert run_python(code).splitlines()[-1] == "False"


@pytest.mark.parametrize("verb", [[], ["predict"], ["vectorize"], ["train"], ["evaluate"], ["compare"], ["info"]])
def test_help_loads_none_of_the_libraries_that_do_the_work(verb):
    code = (
        "import sys\n"
        f"sys.argv = ['roadseg', *{verb!r}, '--help']\n"
        "from roadseg.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'rasterio', 'numpy', 'scipy', 'shapely', 'pyogrio', 'cv2', 'tqdm', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert run_python(code).splitlines()[-1] == "[]"


def test_pyogrio_is_not_loaded_before_a_vector_file_is_opened():
    code = "import sys, roadseg.predict, roadseg.training.data.masks\nprint('pyogrio' in sys.modules)"
    assert run_python(code).splitlines()[-1] == "False"
