"""The import directions and the sizes that keep this project readable."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("benchmark", "methods", "results", "slurm")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
# The rooms from the ground up. A module imports its own room and those above it in this table, but
# for the limits in the second column: "methods" works without the harness, `results` reads what
# the harness wrote. The third column names who may know torch and timm.
ROOMS = {
    "benchmark.core": ("", ""),
    "methods": ("benchmark.core", "torch"),
    "benchmark.data": ("benchmark.core", ""),
    "benchmark.backbones": ("benchmark.core benchmark.data", "torch timm"),
    "benchmark.scores": ("benchmark.core benchmark.data", "torch"),
    "benchmark.training": ("benchmark methods", "torch"),
    "benchmark.sweep": ("benchmark methods", ""),
    "benchmark.execution": ("benchmark", "torch"),
    "benchmark.trained": ("benchmark methods", "torch timm"),
    "benchmark.auditing": ("benchmark methods", "torch timm"),
    "slurm": ("benchmark", "torch"),
    "results.frame": ("benchmark.core benchmark.scores", ""),
    "results.tables": ("benchmark.core benchmark.scores results", ""),
    "results.statistics": ("benchmark.core benchmark.scores results", ""),
    "results.costs": ("benchmark.core benchmark.scores results", ""),
    "results.figures": ("benchmark.core benchmark.scores results", ""),
    "results.paper_table": ("benchmark.core benchmark.scores results", ""),
    "results.html": ("benchmark.core benchmark.scores results", ""),
    "results.reporting": ("benchmark.core benchmark.scores results", ""),
    "results.papers": ("benchmark.core benchmark.scores results", ""),
    "results": ("results", ""),
    "benchmark.api": ("benchmark methods results slurm", ""),
    "benchmark.bench": ("benchmark methods results", "torch"),
    "benchmark.commands": ("benchmark methods results slurm", "torch"),
    "benchmark": ("benchmark methods results slurm", ""),
}
ORDER = list(ROOMS)
MODULES = {
    path.relative_to(ROOT)
    .with_suffix("")
    .as_posix()
    .replace("/", ".")
    .removesuffix(".__init__"): path
    for path in FILES
}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def targets(path):
    """Yield the modules of this project, and torch and timm, that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in inner]
        else:
            continue
        for name in names:
            top = name.split(".")[0]
            if top in ("torch", "timm"):
                yield top
            elif name in MODULES:
                yield name


def room_of(module):
    """The room that a module is in: the longest name in the table that leads to it."""
    return max((r for r in ROOMS if f"{module}.".startswith(f"{r}.")), key=len)


def is_below(module, prefixes):
    return any(f"{module}.".startswith(f"{prefix}.") for prefix in prefixes.split())


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module):
    room = room_of(module)
    inside, libraries = ROOMS[room]
    for target in targets(MODULES[module]):
        if target in ("torch", "timm"):
            assert target in libraries.split(), f"{module} imports {target}"
        elif room_of(target) != room:
            assert is_below(target, inside), f"{room} may not know {target} ({module})"
            upward = ORDER.index(room_of(target)) > ORDER.index(room)
            assert not upward, f"{module} imports {target}, which stands higher"


def test_no_circle_of_imports():
    graph = {
        name: {t for t in targets(path) if t in MODULES} - {name} for name, path in MODULES.items()
    }
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the circle


# the trace that torch has just written into a folder of its own is no file from outside
@pytest.mark.parametrize(
    "path",
    [f for f in FILES if f.parent.name != "bench" and name_of(f) != "benchmark/core/files.py"],
    ids=name_of,
)
def test_files_of_json_are_read_in_one_place(path):
    """`files.read_json` waits at no pipe, and 5,000 brackets are an error of the file to it."""
    assert not re.search(r"(?<!or)json\.loads?\(.*(read_text|read_bytes|open)\(", path.read_text())


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_stay_short(path):
    text = path.read_text()
    assert text.count("\n") <= 600
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node, clean=False)
            lines = node.end_lineno - node.lineno + 1 - (doc.count("\n") + 1 if doc else 0)
            assert lines <= 100, f"{name_of(path)}:{node.lineno} {node.name} has {lines} lines"


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("from benchmark.__main__ import main; main(['--help'])", ("torch", "pandas", "timm")),
        ("from benchmark.__main__ import main; main(['run', '--help'])", ("torch", "pandas")),
        ("from benchmark import backbones; backbones.resolve('unet')", ("torch", "timm")),
        ("from benchmark.training.citations import lookup; lookup('data', 'busi')", ("torch",)),
        (
            "from benchmark.__main__ import main; main(['status', '--runs', '.'])",
            ("torch", "pandas"),
        ),
        ("import benchmark; benchmark.Sweep; benchmark.report", ("torch", "pandas", "numpy")),
        ("from benchmark.__main__ import main; main(['run', '--methods', 'lorra'])", ("torch",)),
        ("from benchmark.__main__ import main; main(['run', '--datasets', 'busii'])", ("torch",)),
        ("from benchmark.__main__ import main; main(['run', '--backbones', 'vitt'])", ("torch",)),
        ("from benchmark.__main__ import main; main(['run', '--suite', 'smok'])", ("torch",)),
        ("from benchmark.__main__ import main; main(['list', 'methods'])", ("torch", "timm")),
        ("from benchmark.__main__ import main; main(['list', 'backbones'])", ("torch", "timm")),
        ("from benchmark.__main__ import main; main(['list', 'datasets'])", ("torch", "pandas")),
        (
            "from benchmark.__main__ import main; main(['list', 'figures'])",
            ("torch", "pandas", "matplotlib"),
        ),
        (
            "from benchmark.__main__ import main; main(['report', '--figures', 'hetmap'])",
            ("torch", "pandas", "matplotlib"),
        ),
        (
            "from benchmark.__main__ import main; main(['report', '--format', 'latx'])",
            ("torch", "pandas", "matplotlib"),
        ),
        ("import results", ("torch", "timm")),
        ("from benchmark.__main__ import main; main(['report', '--runs', '.'])", ("torch", "timm")),
        (
            "from benchmark.__main__ import main; main(['compare', '--runs', '.'])",
            ("torch", "timm"),
        ),
    ],
)
def test_light_commands_stay_light(code, heavy, tmp_path):
    script = (
        "import sys\ntry:\n    " + code + "\nexcept SystemExit: pass\n"
        f"print('LOADED', [m for m in {heavy!r} if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert answer.stdout.strip().endswith("LOADED []"), answer.stdout + answer.stderr


def test_the_top_level_is_the_agreed_one():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    tops = {line.split("/")[0] for line in tracked.stdout.split()}
    agreed = {".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "README.md", "constraints.txt"}
    assert tops <= agreed | {"pyproject.toml", "tests", *PACKAGES}
