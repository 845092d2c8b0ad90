"""The house: imports go one way, files and functions stay readable, two dependencies."""

from __future__ import annotations

import ast
import fnmatch
import functools
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "facula"
MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 100

# What a room may import besides itself. A room is the first component below the package.
# PUBLIC stands for the API a user sees; rooms built on it may use each other freely.
PUBLIC = "public"
ROOMS: dict[str, set[str]] = {
    "config": set(),
    "graph": {"config"},
    "runtime": {"config"},
    "kernel": {"graph", "config"},
    "llvm": {"kernel", "graph", "config"},
    "schedule": {"graph", "kernel", "config"},
    "random": {"graph", "kernel", "llvm", "runtime", "config"},
    "ops": {"graph", "tensor", "autograd", "random", "config"},
    "tensor": {"ops", "graph", "autograd", "random", "config"},
    "autograd": {"graph", "tensor", "ops", "config"},
    "compiler": {"graph", "tensor", "ops", "autograd", "random", "runtime", "config", PUBLIC},
    "engine": {"graph", "schedule", "kernel", "llvm", "runtime", "tensor", "config"},
}
# Everything not listed in ROOMS is written on the public API, which these rooms are not.
INNER = {"graph", "schedule", "kernel", "llvm", "runtime", "engine"}
# Files that tie the house together, or look into it on purpose.
DOORS = {"__init__.py", "cli.py", "explanation.py", "config.py"}

# Modules that any room may import, because they import nothing of facula but each other.
LEAVES = {
    "facula.llvm.target": "what the machine is",
    "facula.runtime.buffers": "what memory is",
    "facula.runtime.pages": "where buffers get theirs",
    "facula.printing": "arrays as text",
    "facula.running": "which modules are being called",
    "facula.utils.hooks": "the handle that removes a hook",
}
# Single exceptions, each with its reason: (beginning of the importing file, imported module).
ALLOWED: dict[tuple[str, str], str] = {
    ("kernel/", "facula.llvm.tile*"): "a template writes its own machine-near loops",
    (
        "schedule/native_plan.py",
        "facula.llvm.loops",
    ): "the engine's hand: from steps to native code",
    ("schedule/native_plan.py", "facula.runtime"): "the same",
}

# Imports of the base installation beside the standard library.
DEPENDENCIES = {"numpy", "llvmlite"}
# Named by an extra: each may be imported inside a function, where its absence is reported.
EXTRAS = {
    "matplotlib",
    "onnx",
    "tensorboard",
    "safetensors",
    "mpi4py",
    "scipy",
    "tqdm",
    "PIL",
    "torch",  # `facula run` and the benchmark; never needed
}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@functools.cache
def type_checking_only(module: ast.Module) -> set[int]:
    """Lines under `if TYPE_CHECKING:`, which never run."""
    lines: set[int] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                lines.update(range(child.lineno, (child.end_lineno or child.lineno) + 1))
    return lines


@functools.cache
def imports(path: Path) -> list[tuple[str, int, bool]]:
    """(absolute dotted name, line, whether at module level) for every import in a file."""
    module = tree(path)
    top = {id(node) for node in module.body}
    package = ("facula", *path.relative_to(PACKAGE).with_suffix("").parts)[:-1]
    found = []
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join((*base, *(node.module or "").split("."))).strip(".")
            found += [(f"{prefix}.{a.name}", node.lineno, id(node) in top) for a in node.names]
    return found


def target_room(name: str) -> str | None:
    """The room an import of `name` reaches; None outside the package."""
    parts = name.split(".")
    if parts[0] != "facula":
        return None
    if len(parts) == 1 or parts[1] not in ROOMS:
        return PUBLIC
    return parts[1]


def inside(name: str, module: str) -> bool:
    return (name + ".").startswith(module + ".")


def matches(name: str, module: str) -> bool:
    return fnmatch.fnmatch(name, module) or inside(name, module)


def allowed(where: str, name: str) -> bool:
    return any(inside(name, leaf) for leaf in LEAVES) or any(
        where.startswith(begin) and matches(name, module) for begin, module in ALLOWED
    )


def violations(path: Path) -> list[str]:
    """Imports of one file that go against the order."""
    room = room_of(path)
    where = path.relative_to(PACKAGE).as_posix()
    ignored = type_checking_only(tree(path))
    found = []
    for name, line, _ in imports(path):
        target = target_room(name)
        if target is None or target == room or line in ignored or allowed(where, name):
            continue
        if target not in ROOMS[room] if room in ROOMS else target in INNER:
            found.append(f"facula/{where}:{line}: {room} may not import {name}")
    return found


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_imports_go_one_way(room):
    paths = [p for p in files() if room_of(p) == room]
    assert not [v for p in paths for v in violations(p)]


def test_outer_rooms_use_the_public_api():
    """nn, optim, utils, ...: what they do, a user's own code could do as well."""
    outer = [p for p in files() if room_of(p) not in ROOMS]
    outer = [p for p in outer if p.relative_to(PACKAGE).as_posix() not in DOORS]
    assert not [v for p in outer for v in violations(p)]


def test_the_allow_list_is_needed():
    """An exception that no file uses any more is taken off the list."""
    used = [
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in files()
        for name, _, _ in imports(path)
    ]
    for begin, module in ALLOWED:
        assert any(w.startswith(begin) and matches(n, module) for w, n in used), begin


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaves_import_nothing_else(leaf):
    path = PACKAGE.parent.joinpath(*leaf.split(".")).with_suffix(".py")
    ours = [name for name, _, _ in imports(path) if name.startswith("facula.")]
    assert not [n for n in ours if not any(inside(n, f) or n == "facula" for f in LEAVES)]


def test_no_module_needs_itself():
    """The inner rooms' imports at the top of files have no cycles."""
    names = {
        ".".join(("facula", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): p
        for p in files()
        if room_of(p) in INNER
    }
    needs: dict[str, set[str]] = {}
    for name, path in names.items():
        ignored = type_checking_only(tree(path))
        wanted = {n for n, line, top in imports(path) if top and line not in ignored}
        wanted |= {n.rpartition(".")[0] for n in wanted}
        # `from package import module` also runs the package, which is no cycle by itself
        needs[name] = {w for w in wanted & set(names) if not inside(name, w)}
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for other in sorted(needs[name]):
                walk(other, (*way, name))
            done.add(name)

    for name in names:
        walk(name, ())


def test_the_order_has_no_way_back_to_the_bottom():
    """The rooms that compile know nothing of tensors: following the table never leads there."""

    def reach(room: str) -> set[str]:
        seen: set[str] = set()
        todo = [room]
        while todo:
            for next_room in ROOMS[todo.pop()] - seen:
                seen.add(next_room)
                todo.append(next_room)
        return seen

    for room in INNER - {"engine"}:
        assert not reach(room) & {"engine", "tensor", "ops", "autograd", PUBLIC}


def test_only_the_two_dependencies():
    """`import facula` needs NumPy, llvmlite and the standard library; extras are imported late."""
    wrong = []
    for path in files():
        late_ok = EXTRAS | DEPENDENCIES
        ignored = type_checking_only(tree(path))
        for name, line, top in imports(path):
            root = name.split(".")[0]
            if root in sys.stdlib_module_names or root in {"facula", *DEPENDENCIES}:
                continue
            if line in ignored or (root in late_ok and not top):
                continue
            wrong.append(f"{path.relative_to(PACKAGE.parent)}:{line}: {name}")
    assert not wrong


def test_torch_is_never_imported():
    """PyTorch is what facula is compared with, from outside; the package does not know it."""
    found = [
        f"{path}:{line}"
        for path in files()
        for name, line, _ in imports(path)
        if name.split(".")[0] in {"torch", "torchvision"}
    ]
    assert not found


def test_files_can_be_read():
    long = {
        path.relative_to(PACKAGE.parent).as_posix(): count
        for path in [*files(), *sorted((PACKAGE.parent / "tests").glob("*.py"))]
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_FILE_LINES
    }
    assert not long


def code_lines(function: ast.AST) -> int:
    """Lines of a function, without those inside long texts: templates, docstrings."""
    texts: set[int] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str)
        ):
            texts.update(range(node.lineno + 1, (node.end_lineno or node.lineno) + 1))
    return len(set(range(function.lineno, function.end_lineno + 1)) - texts)


def test_functions_can_be_read():
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.name} has {code_lines(node)} lines"
        for path in files()
        for node in ast.walk(tree(path))
        if isinstance(node, functions) and code_lines(node) > MAX_FUNCTION_LINES
    ]
    assert not long


def test_every_folder_is_a_package():
    """Setuptools leaves a folder without __init__.py out of what it installs."""
    folders = {path.parent for path in files()}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_packaged_mnist_is_small():
    size = sum(p.stat().st_size for p in (PACKAGE / "data_files").glob("*.gz"))
    assert 1_000_000 < size < 3_000_000
