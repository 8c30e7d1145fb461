"""The import directions and the sizes that keep this project readable."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("benchmark", "methods", "results", "slurm")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
USES_TIMM = {
    "benchmark/scratch.py",
    "benchmark/backbones.py",
    "benchmark/audit/families.py",
    "benchmark/export.py",
}
USES_METHODS = {
    "benchmark/export.py",
    "benchmark/audit/checks.py",
    "benchmark/audit/graph.py",
    "benchmark/audit/matrix.py",
    "benchmark/audit/probe.py",
    "benchmark/bench/latency.py",
    "benchmark/bench/subjects.py",
    "benchmark/prefix.py",
    "benchmark/run.py",
    "benchmark/cells.py",
    "benchmark/catalogue.py",
    "benchmark/panels.py",
}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def allowed(path, module):
    """Return whether `path` may import `module`."""
    name, top = name_of(path), module.split(".")[0]
    room = name.split("/")[0]
    command = name.startswith("benchmark/commands/")
    if top == "timm":
        return name in USES_TIMM
    if top == "torch" and room == "results":
        return False
    if top not in PACKAGES or top == room:
        return True
    if top == "benchmark" and room == "methods":
        return module == "benchmark" or module.startswith(("benchmark.registry", "benchmark.spec"))
    if top == "benchmark" and room == "results":
        readable = (
            "benchmark.record",
            "benchmark.spec",
            "benchmark.registry",
            "benchmark.calibration",
        )
        return module == "benchmark" or module.startswith(readable)
    if top == "methods":
        return command or name in USES_METHODS
    return command or (room == "slurm" and top == "benchmark")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_follow_the_architecture(path):
    wrong = [module for module in imported(path) if not allowed(path, module)]
    assert not wrong, f"{name_of(path)} imports {wrong}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_stay_short(path):
    text = path.read_text()
    assert text.count("\n") <= 250
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node, clean=False)
            lines = node.end_lineno - node.lineno + 1 - (doc.count("\n") + 1 if doc else 0)
            assert lines <= 40, f"{name_of(path)}:{node.lineno} {node.name} has {lines} lines"


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("from benchmark.__main__ import main; main(['--help'])", ("torch", "pandas", "timm")),
        ("from benchmark.__main__ import main; main(['run', '--help'])", ("torch", "pandas")),
        (
            "from benchmark.__main__ import main; main(['status', '--runs', '.'])",
            ("torch", "pandas"),
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
