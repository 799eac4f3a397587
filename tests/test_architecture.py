"""The house: imports point downwards only, heavy ones wait until they are needed, and one name means one thing.

A *room* is a file or folder directly in the package.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from commands import run_python
from worlds import picture, write_raster

import roadseg

ROOT = Path(roadseg.__file__).parent
MODULES = {
    ".".join(("roadseg", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

ROWS = [
    {"cli"},
    {"predict", "vectorize", "evaluate", "compare", "train", "adapt", "export", "info"},
    {"training"},
    {"prediction", "evaluation"},
    {"roads"},
    {"raster"},
    {"model", "metrics", "files"},
    {"windows", "ragged", "thinning", "settings", "progress", "qgis"},
    {"errors"},
]
"""The rooms from the top down; a module may import from its own room and from rows below."""

ONLY_IN = {
    "rasterio": ("roadseg.raster.",),
    "typer": ("roadseg.cli",),
    "tqdm": ("roadseg.cli.",),
    "pyogrio": ("roadseg.roads.files.",),
    "pyarrow": ("roadseg.roads.files.geoparquet",),
    "qgis": ("roadseg.qgis.",),
    "onnx": ("roadseg.model.onnx_graph",),
    "onnxruntime": ("roadseg.prediction.engines.onnx",),
    "distributed": ("roadseg.prediction.cluster",),
    "openvino": ("roadseg.prediction.engines.openvino",),
    "click": ("roadseg.cli.rio",),
    "pickle": (),
}

TORCH = ("roadseg.model.resunet", "roadseg.model.weights", "roadseg.prediction.engines.torch", "roadseg.training.")

VERBS = ("roadseg.predict", "roadseg.train")


def room(module: str) -> str:
    """Return the room a module belongs to; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def row(module: str) -> int:
    """Return the index of a module's row; ``len(ROWS)`` if it is in none."""
    return next((index for index, rooms in enumerate(ROWS) if room(module) in rooms), len(ROWS))


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
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    if not everywhere:
        inner = (ast.FunctionDef, ast.AsyncFunctionDef)
        tree.body = [node for node in tree.body if not isinstance(node, inner) and not is_for_type_checkers(node)]
    return set(imported(tree))


def may_use(module: str, other: str) -> bool:
    here, there = room(module), room(other)
    if not there or here == there:
        return True
    return row(module) < row(other)


def graph() -> dict[str, set[str]]:
    """Return which modules of the package each module imports, anywhere in its code."""
    return {module: (imports(module) & set(MODULES)) - {module, "roadseg"} for module in MODULES}


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) not in {"", "__main__"}])
def test_imports_point_downwards(module):
    assert row(module) < len(ROWS), f"the room of {module} is not in ROWS"
    wrong = {other for other in imports(module) if other.split(".")[0] == "roadseg" and not may_use(module, other)}
    assert not wrong, f"{module} must not import {', '.join(sorted(wrong))}"


def test_every_room_in_the_rows_exists():
    assert set().union(*ROWS) == {room(module) for module in MODULES} - {"", "__main__"}
    assert sum(map(len, ROWS)) == len(set().union(*ROWS))


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter(graph()).prepare()


def test_the_house_is_small_enough_to_know():
    arrows = {(room(module), room(other)) for module, others in graph().items() for other in others}
    assert len({room(module) for module in MODULES} - {""}) <= 26
    assert len({(here, there) for here, there in arrows if here and here != there}) <= 100


def test_no_two_classes_have_one_name():
    classes = Counter(
        node.name
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert not {name for name, count in classes.items() if count > 1}


SHARED_NAMES = {"check_combinations", "check_outputs", "has_all_blocks", "load_model", "read_card"}
"""Functions that several verbs have, each for itself, or that a verb offers over one of a room below."""


def test_no_two_functions_have_one_name():
    modules = [name for name in MODULES if room(name) not in {"cli", "qgis"}]
    functions = Counter(
        node.name
        for name in modules
        for node in ast.parse(MODULES[name].read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    )
    assert {name for name, count in functions.items() if count > 1} == SHARED_NAMES


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
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                talkers.add(module)
            if isinstance(node, ast.Attribute) and node.attr in {"stdout", "stderr", "stdin"}:
                talkers.add(module)
    assert talkers
    assert not {module for module in talkers if room(module) not in {"cli", "qgis"}}


def test_no_module_is_imported_relatively():
    """The QGIS plugin is the exception: it is copied out of the package."""
    for path in (path for module, path in MODULES.items() if room(module) != "qgis"):
        levels = [
            node.level for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)
        ]
        assert not any(levels), path


def test_text_files_are_utf8_on_every_system():
    """Python's default is the system's encoding, which on Windows is seldom UTF-8."""
    files = [*MODULES.values(), *Path(__file__).parent.rglob("*.py")]
    calls = [
        node for path in files for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)
    ]
    texts = [
        call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in {"read_text", "write_text"}
    ]
    assert texts
    assert not {ast.unparse(call) for call in texts if "'utf-8" not in ast.unparse(call)}


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


def test_the_package_itself_loads_none_of_them():
    code = "import roadseg, sys\nprint({'torch', 'rasterio', 'numpy', 'typer'} & set(sys.modules))"
    assert run_python(code).splitlines()[-1] == "set()"


def test_a_prediction_loads_no_library_it_does_not_need(tmp_path):
    scene = write_raster(tmp_path / "scene.tif", picture(60, 70))
    code = (
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from engines import Identity, model_of\nfrom roadseg.predict import predict\n"
        f"predict({str(scene)!r}, {str(tmp_path / 'roads.tif')!r}, model=model_of(Identity()))\n"
        "heavy = {'torch', 'scipy', 'shapely', 'pyogrio', 'cv2', 'tqdm', 'ssl', 'onnx', 'openvino', 'dask'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert run_python(code).splitlines() == ["[]"]
    assert (tmp_path / "roads.tif").exists()


def test_pyogrio_is_not_loaded_before_a_vector_file_is_opened():
    code = "import sys, roadseg.predict, roadseg.training.data.masks\nprint('pyogrio' in sys.modules)"
    assert run_python(code).splitlines()[-1] == "False"


def test_maps_are_compared_without_scipy():
    assert run_python("import sys, roadseg.compare\nprint('scipy' in sys.modules)").splitlines()[-1] == "False"
