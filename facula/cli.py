"""The command line: `facula run script.py`, `facula info`, `facula cache clear`."""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import platform
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType


class _Alias(importlib.abc.Loader):
    """Loads `torch.x` by handing out the very module that `facula.x` is."""

    def __init__(self, real: str) -> None:
        self.real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.real)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system wrote torch's over it


class AliasFinder(importlib.abc.MetaPathFinder):
    """Resolves `alias` and all below it to the package `real`, whatever else is installed."""

    def __init__(self, alias: str, real: str) -> None:
        self.alias, self.real = alias, real

    def find_spec(
        self, name: str, path: object = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        head, dot, rest = name.partition(".")
        if head != self.alias:
            return None
        real = self.real + dot + rest
        if real not in sys.modules and importlib.util.find_spec(real) is None:
            return None
        return importlib.machinery.ModuleSpec(name, _Alias(real), origin=real)


def install_alias(alias: str = "torch", real: str = "facula") -> None:
    """From now on `import torch` imports facula.

    >>> install_alias()
    >>> import torch, facula
    >>> torch is facula
    True
    >>> del sys.meta_path[0], sys.modules["torch"]
    """
    if alias in sys.modules and sys.modules[alias] is not sys.modules.get(real):
        raise RuntimeError(f"{alias} is already imported: it cannot stand for {real} as well")
    if not any(isinstance(f, AliasFinder) and f.alias == alias for f in sys.meta_path):
        sys.meta_path.insert(0, AliasFinder(alias, real))


def run(arguments: argparse.Namespace) -> int:
    """Runs a script or a module as Python would, with `torch` standing for facula."""
    install_alias()
    sys.argv = [arguments.script, *arguments.args]
    if arguments.module:
        sys.path.insert(0, os.getcwd())
        runpy.run_module(arguments.script, run_name="__main__", alter_sys=True)
        return 0
    if not os.path.exists(arguments.script):
        print(f"facula run: there is no file {arguments.script!r}", file=sys.stderr)
        return 2
    sys.path.insert(0, os.path.dirname(os.path.abspath(arguments.script)))
    runpy.run_path(arguments.script, run_name="__main__")
    return 0


def info(arguments: argparse.Namespace) -> int:
    """Prints what a bug report should say."""
    import llvmlite
    import llvmlite.binding as llvm
    import numpy

    import facula
    from facula.llvm.target import Target

    target = Target.host()
    directory, files = _cache_files()
    rows = {
        "facula": facula.__version__,
        "Python": f"{platform.python_version()} ({sys.executable})",
        "NumPy": numpy.__version__,
        "llvmlite": f"{llvmlite.__version__} (LLVM {'.'.join(map(str, llvm.llvm_version_info))})",
        "system": platform.platform(),
        "CPU": f"{target.cpu}, {target.vector_bytes * 8}-bit vectors, {target.triple}",
        "cores": str(len(os.sched_getaffinity(0))),
        "threads": str(facula.get_num_threads()),
        "cache": f"{directory} ({_cache_summary(files)})",
        "switches": " ".join(
            sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith("FACULA_"))
        )
        or "none set (facula/config.py lists them)",
    }
    for name, value in rows.items():
        print(f"{name:9s} {value}")
    return 0


def _cache_files() -> tuple[Path | None, list[Path]]:
    """The directory of compiled kernels, None where there is none, and the files in it."""
    from facula.runtime.cache import cache_directory

    directory = cache_directory()
    files = [] if directory is None else [path for path in directory.rglob("*") if path.is_file()]
    return directory, files


def _cache_summary(files: list[Path]) -> str:
    return f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB"


def cache(arguments: argparse.Namespace) -> int:
    """Shows or empties the directory of compiled kernels."""
    directory, files = _cache_files()
    if directory is None:
        print("no cache in use: FACULA_CACHE turns it off, or its directory is not safe to use")
    elif arguments.action == "clear":
        summary = _cache_summary(files)
        for path in files:
            path.unlink(missing_ok=True)
        print(f"removed {summary} from {directory}")
    else:
        print(f"{directory}: {_cache_summary(files)}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    top = argparse.ArgumentParser(prog="facula", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    p = commands.add_parser("run", help="run a PyTorch program unchanged: torch resolves to facula")
    p.add_argument("-m", dest="module", action="store_true", help="SCRIPT is a module's name")
    p.add_argument("script", metavar="SCRIPT")
    p.add_argument("args", nargs=argparse.REMAINDER, help="arguments of the script")
    p.set_defaults(do=run)

    p = commands.add_parser("info", help="versions, processor, threads, cache: for bug reports")
    p.set_defaults(do=info)

    p = commands.add_parser("cache", help="the directory of compiled kernels")
    p.add_argument("action", choices=["show", "clear"])
    p.set_defaults(do=cache)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the `facula` command and of `python -m facula`."""
    arguments = parser().parse_args(argv)
    return arguments.do(arguments)
