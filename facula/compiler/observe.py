"""Which code runs when a function is called, and whether it does what a replay would leave out."""

from __future__ import annotations

import builtins
import contextlib
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from facula.compiler.steps import CALLS, HARMLESS

_BY_STRING = frozenset(("getattr", "vars", "attrgetter", "__dict__", "__getattribute__"))
_HOME = str(Path(__file__).resolve().parent.parent) + "/"
# rooms of facula that are written as a user's own code would be: what they name is looked at
_PUBLIC = tuple(_HOME + room for room in ("nn/", "optim/", "utils/", "distributions/", "amp/"))
_STANDARD = str(Path(contextlib.__file__).parent) + "/"
_FROZEN = "<frozen "  # parts of the standard library come without a file: importing, os, abc
_TALKS = tuple(
    _STANDARD + name for name in ("logging/", "warnings.py", "threading.py", "subprocess.py")
)
_WRAPPED = "_wrap.<locals>.run"  # of overrides
_FORBIDDEN = {
    id(f): f.__name__
    for f in (
        print, input, open, builtins.breakpoint, time.time, time.time_ns, time.perf_counter,
        time.perf_counter_ns, time.monotonic, time.monotonic_ns, time.process_time, time.sleep,
        time.localtime, time.gmtime, time.strftime,
    )
}  # fmt: skip


class Observer:
    """The names and globals that the code of one function uses, as far as it has run."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.codes: dict[Any, dict[str, Any]] = {}
        self.by_string = False  # whether attributes may be asked for by computed names
        self.computes = False  # whether numbers may be computed with by C code, unseen by stand-ins
        self._seen: set[Any] = set()

    def frames(self) -> list[tuple[dict[str, Any], tuple[str, ...]]]:
        """(globals, names) of code that is the user's."""
        return [(space, code.co_names) for code, space in self.codes.items()]

    @contextlib.contextmanager
    def watching(self, watch: Any) -> Iterator[None]:
        """Notes what runs inside; tells watch of what cannot be repeated."""
        before = sys.getprofile()
        states = random.getstate(), np.random.get_state()
        within: Any = None  # a call that replays make as it is: what it does is of no account

        def profile(frame: Any, event: str, arg: Any) -> None:
            nonlocal within
            if within is not None:
                if event == "return" and frame is within:
                    within = None
            elif event == "call":
                code = frame.f_code
                if code.co_qualname in CALLS and code.co_filename.startswith(_HOME):
                    within = frame
                    watch.called(frame)
                    return
                if watch.late and _comes_in(frame) and (name := _called(frame)) not in HARMLESS:
                    watch.defeat(f"it calls {name}() after backward()")
                if code not in self._seen:
                    self._note(code, frame.f_globals)
                if code.co_filename.startswith(_TALKS) and _by_user(frame.f_back):
                    watch.defeat(f"it calls {Path(code.co_filename).stem}")
            elif event == "c_call":
                name = _FORBIDDEN.get(id(arg))
                if (name is not None or _talks(arg)) and _by_user(frame):
                    watch.defeat(f"it calls {name or arg.__name__}()")
                elif not self.computes and arg.__module__ not in (None, "builtins"):
                    self.computes = _by_user(frame)

        sys.setprofile(profile)
        try:
            yield
        finally:
            sys.setprofile(before)
        if random.getstate() != states[0] or not _same(np.random.get_state(), states[1]):
            watch.defeat("it draws random numbers of Python's or NumPy's")

    def _note(self, code: Any, space: dict[str, Any]) -> None:
        self._seen.add(code)
        place = code.co_filename
        if place.startswith(_HOME):
            if place.startswith(_PUBLIC):
                self.names.update(code.co_names)
        elif str(space.get("__name__")).partition(".")[0] in ("llvmlite", "numpy"):
            return  # at work for facula
        elif _outside(place):
            self.names.update(code.co_names)
            self.codes[code] = space
            self.by_string |= not _BY_STRING.isdisjoint(code.co_names)
            self.computes |= any(_in_c(space.get(name)) for name in code.co_names)


def _in_c(x: Any) -> bool:
    """Whether x is a function or a module that computes with numbers in C."""
    kind = type(x).__module__
    home = x.__name__ if type(x) is type(sys) else getattr(x, "__module__", None)
    root = home.partition(".")[0] if isinstance(home, str) else ""
    return kind == "numpy" or root in ("math", "cmath", "numpy", "operator", "statistics", "struct")


def _by_user(frame: Any) -> bool:
    """Whether the user's code calls, through the standard library or not; facula does for itself."""
    while frame is not None:
        place = frame.f_code.co_filename
        if place.startswith(_HOME):
            return place.startswith(_PUBLIC)
        if place.startswith(_FROZEN):
            return False
        if _outside(place):
            return True
        frame = frame.f_back
    return True


def _called(frame: Any) -> str:
    """The name of what is called, which programs that had a class or mode that is asked have wrapped."""
    name: str = frame.f_code.co_qualname
    return frame.f_locals["fn"].__qualname__ if name == _WRAPPED else name


def _comes_in(frame: Any) -> bool:
    """Whether code of facula, but for this room's own, is called from outside of it."""
    place, caller = frame.f_code.co_filename, frame.f_back
    return (
        place.startswith(_HOME)
        and not place.startswith(_HOME + "compiler/")
        and not (caller is not None and caller.f_code.co_filename.startswith(_HOME))
    )


def _outside(place: str) -> bool:
    """Whether a file is not the standard library's."""
    return not place.startswith((_STANDARD, _FROZEN)) or "site-packages" in place


def _talks(f: Any) -> bool:
    kind = type(getattr(f, "__self__", None)).__module__
    return (kind == "_io" and f.__name__ in ("write", "writelines", "read", "readline")) or (
        f.__name__ in ("now", "utcnow", "today", "urandom") and kind != "builtins"
    )


def _same(a: Any, b: Any) -> bool:
    return a[0] == b[0] and np.array_equal(a[1], b[1]) and a[2:] == b[2:]
