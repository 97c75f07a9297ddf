"""The tree keeps its shape: imports point one way, importing costs nothing, and what is public says what it does."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "trip").rglob("*.py"))
MAY_IMPORT = {  # part of trip -> parts that it may import, besides itself
    "__init__": set(),
    "settings": set(),
    "diffusion": set(),
    "system": set(),
    "media": {"system"},
    "data": {"media", "settings", "system"},
    "model": {"settings", "diffusion", "system"},
    "sampler": {"diffusion", "system"},
    "prior": {"diffusion", "model"},
    "checkpoint": {"system"},
    "output": {"diffusion", "media", "model"},
    "call": {"settings", "model", "output"},
    "loading": {"model", "checkpoint"},
    "pipeline": {"settings", "diffusion", "media", "model", "sampler", "output", "call", "loading", "__init__"},
    "render": {"media", "model", "output"},
    "inside": {"diffusion", "system"},
    "model_cache": {"model", "checkpoint", "pipeline", "system"},
    "first_frame": {"settings", "system", "data", "model", "model_cache"},
    "backbones": {
        "settings",
        "system",
        "media",
        "data",
        "model",
        "sampler",
        "prior",
        "output",
        "pipeline",
        "model_cache",
        "first_frame",
        "__init__",
    },
    "training": {"settings", "diffusion", "system", "media", "data", "model", "checkpoint", "pipeline"},
    "evaluation": {"settings", "diffusion", "system", "media", "data"},
    "jobs": {
        "settings",
        "system",
        "media",
        "data",
        "training",
        "evaluation",
        "inside",
        "output",
        "sampler",
        "pipeline",
        "render",
        "model_cache",
        "first_frame",
        "backbones",
    },
    "ui": {
        "settings",
        "system",
        "media",
        "data",
        "inside",
        "training",
        "evaluation",
        "jobs",
        "pipeline",
        "model_cache",
        "first_frame",
        "backbones",
        "__init__",
    },
    "cli": {
        "settings",
        "system",
        "media",
        "data",
        "model",
        "evaluation",
        "training",
        "output",
        "pipeline",
        "render",
        "model_cache",
        "first_frame",
        "backbones",
        "ui",
        "__init__",
    },
    "__main__": {"cli"},
}
OUTSIDE = {
    "system": {"torch", "psutil", "spaces"},
    "diffusion": {"torch"},
    "settings": {"pydantic", "annotated_types"},
    "__init__": set(),
}  # packages, where few are allowed
GRADIO = {"gradio", "gradio_client"}


def part_of(path: Path) -> str:
    """trip/model/unet.py -> model, trip/cli/train.py -> cli."""
    return path.relative_to(ROOT / "trip").parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Dotted names of every import of a file, wherever it stands; what comes out of a package is named below it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parent.parts[: -node.level + 1 or None] if node.level else ()
            module = ".".join((*package, *([node.module] if node.module else ())))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def parts_imported(path: Path) -> set[str]:
    """Parts of trip that a file imports; `import trip` and `from trip import NAME` count as `__init__`."""
    names = [name.split(".") for name in imports(path) if name.split(".")[0] == "trip"]
    parts = {name[1] if len(name) > 1 else "__init__" for name in names}
    return {part if part in MAY_IMPORT else "__init__" for part in parts}


def packages_imported(path: Path) -> set[str]:
    """Installed packages that a file imports."""
    return {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"trip"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_one_way(path):
    part = part_of(path)
    assert part in MAY_IMPORT, f"{part} is new: say in MAY_IMPORT where it stands"
    wrong = parts_imported(path) - MAY_IMPORT[part] - {part}
    assert not wrong, f"{name_of(path)} imports {', '.join(sorted(wrong))}"
    assert packages_imported(path) <= OUTSIDE.get(part, packages_imported(path))


def test_the_table_of_imports_has_no_circle():
    above = {part: set(below) for part, below in MAY_IMPORT.items() if part != "__init__"}
    while above:
        free = [part for part, below in above.items() if not below & set(above)]
        assert free, f"a circle among {', '.join(above)}"
        above = {part: below for part, below in above.items() if part not in free}


def test_a_wrong_arrow_would_be_found(tmp_path):
    """The reader of imports sees every way to write one."""
    file = ROOT / "trip" / "model" / "unet.py"
    assert {"model"} <= parts_imported(file) and "torch" in packages_imported(file)
    lines = {
        "import trip.ui.form as form": "trip.ui.form",
        "from trip import pipeline": "trip.pipeline",
        "def f():\n    from trip.cli import main": "trip.cli.main",
        "if True:\n    import gradio.themes": "gradio.themes",
    }
    for line, name in lines.items():
        (tmp_path / "one.py").write_text(line)
        assert list(imports(tmp_path / "one.py")) == [name]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_page_imports_gradio(path):
    assert part_of(path) == "ui" or not packages_imported(path) & GRADIO


def test_the_page_alone_is_importable_without_the_models():
    """trip/ui loads torch when there is something to animate, not before."""
    for path in (ROOT / "trip" / "ui").rglob("*.py"):
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        modules = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in top}
        assert not modules & {"torch", "diffusers", "transformers", "trip.pipeline", "trip.model_cache"}, path.name


@pytest.mark.parametrize(
    "modules, heavy",
    [
        ("trip", "pydantic"),
        ("trip.system.environment", "pydantic"),
        ("trip.settings, trip.cli.app", "torch"),
        ("trip.media", "torch"),
        ("trip.first_frame.local_models", "torch"),
    ],
)
def test_importing_does_no_work(modules, heavy):
    code = f"import sys, {modules}; sys.exit(', '.join({{'gradio', 'torch', 'diffusers', {heavy!r}}} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def test_public_names_are_where_they_are_said_to_be():
    import trip

    assert all(getattr(trip, name).__name__ == name for name in ("TripPipeline", "TripUNet", "NoiseFusion"))
    assert set(trip.VARIANTS) and set(trip.PRESETS) == {"paper", "embedded", "tiny"}
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        trip.Nothing  # noqa: B018


def test_what_is_needed_is_declared_and_what_ships_is_found(tmp_path):
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [line for line in (ROOT / "requirements-test.txt").read_text().splitlines() if line]
    assert told["project"]["optional-dependencies"]["test"] == needed
    assert told["project"]["scripts"]["trip"] == "trip.cli:main" and "requirements.txt" in str(told["tool"]["hatch"]["metadata"])
    (tmp_path / "trip" / "system").mkdir(parents=True)
    shutil.copy(ROOT / "trip" / "system" / "environment.py", tmp_path / "trip" / "system")
    for target in told["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].values():
        (tmp_path / target).mkdir(parents=True)
    code = "from trip.system.environment import ASSETS, EXAMPLES; print(ASSETS, EXAMPLES)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    assert found == [str(tmp_path / "trip" / name) for name in ("assets", "examples")]


def test_files_are_named_by_their_content():
    assert not [name_of(path) for path in FILES if path.stem in {"utils", "util", "helpers", "common", "misc"}]


def public(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Functions and classes without an underscore, and the methods of such classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield owner + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{node.name}.")


@pytest.mark.parametrize("path", [path for path in FILES if path.stat().st_size], ids=name_of)
def test_what_is_public_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the file itself"
    three_lines = {name for name, node in public(tree.body) if name.endswith(".forward") and node.end_lineno - node.lineno < 3}
    assert not [name for name, node in public(tree.body) if not ast.get_docstring(node) and name not in three_lines]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_functions_say_their_types(path):
    """Every argument and the result, in functions and methods without an underscore."""
    for name, node in public(ast.parse(path.read_text()).body):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            untyped = [one.arg for one in arguments if one.annotation is None and one.arg not in ("self", "cls")]
            assert not untyped and node.returns is not None, f"{name}: {', '.join(untyped) or 'result'}"


def test_the_readme_leads_to_every_folder_and_rule():
    """Paths in both pages are there, names beside a link are defined in the file that it leads to, each equation and folder has a place."""
    text = (ROOT / "README.md").read_text()
    pages = text + (ROOT / "trip" / "training" / "README.md").read_text()
    named = set(re.findall(r"[`(]((?:trip|tests|examples|assets)/[\w./-]+)[`)]", pages))
    assert len(named) > 20 and not [path for path in named if not (ROOT / path).exists()]

    rules = text[text.index("| in the paper |") : text.index("five variants")]
    assert {int(number) for number in re.findall(r"\b\d+\b", " ".join(re.findall(r"Eq\. (\d+(?: and \d+)?)", rules)))} == set(range(1, 12))
    for names, path in re.findall(r"((?:`\w+`(?:, )?)+) in \[[^]]+\]\(([^)]+)\)", rules):
        for name in re.findall(r"\w+", names):
            assert re.search(rf"\b(def|class) {name}\b|^{name} = |^ +\"{name}\": ", (ROOT / path).read_text(), re.M), f"{name} in {path}"

    tree = text[text.index("app.py  ") : text.index("## What the app takes")]
    folders = {path.parent.relative_to(ROOT / "trip").as_posix() for path in FILES} - {"."}
    assert {folder.split("/")[-1] for folder in folders} | {"trip"} <= set(re.findall(r"^ *(\w+)/", tree, re.M))
