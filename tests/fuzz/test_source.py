"""What the source may not hold: ways to run, or to unpickle, what a file says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import shardkit

ROOT = Path(shardkit.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# Between processes of one run, over pipes and shared memory that nobody else can write to.
PICKLING = {"stream/sharedmemory.py", "stream/processes.py"}
NEVER = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.execvp", "os.spawnv",
         "yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "marshal.loads", "shelve.open",
         "torch.load", "joblib.load", "pandas.read_pickle"}  # fmt: skip
PICKLE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {word.arg: ast.unparse(word.value) for word in call.keywords}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_runs_or_unpickles_what_a_file_says(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for name, call in calls(tree):
        assert name not in NEVER, (name, call.lineno)
        assert keywords(call).get("shell") != "True", call.lineno
        assert not name.startswith("subprocess."), (name, call.lineno)
        if name.endswith((".load", ".read_array", "loadtxt")) and name.startswith(("np.", "numpy.")):
            assert keywords(call).get("allow_pickle") == "False", (name, call.lineno)
        assert keywords(call).get("allow_pickle") in (None, "False"), call.lineno
    modules = {name for node in ast.walk(tree) for name in imported(node)}
    if modules & PICKLE_MODULES:
        assert path.relative_to(ROOT).as_posix() in PICKLING, modules & PICKLE_MODULES


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    return [(node.module or "").partition(".")[0]] if isinstance(node, ast.ImportFrom) else []
