"""Guards: what a captured function depended on, as one generated function that looks again.

The walk starts at the function and at the globals of the code that ran, and follows closures, attributes and
containers. Of objects it looks at the attributes that the code names (`co_names`), of modules also at all
parameters, buffers and children. Tensors and objects are compared by identity, plain values by value.
"""

from __future__ import annotations

import enum
import functools
import sys
import types
from collections.abc import Callable, Container, Iterable
from typing import Any

import numpy as np

from facula.autograd import mode
from facula.autograd.anomaly import ANOMALY
from facula.autograd.node import HOOKS
from facula.graph import dtypes as dt
from facula.graph.meta import DEFAULT_DEVICES, Device, Meta, Size
from facula.graph.tape import LOCAL, Op, Storage
from facula.ops import autocast
from facula.random.generator import Generator
from facula.tensor import Tensor

MAX_LINES = 40_000

_PLAIN = (int, float, complex, bool, str, bytes, type(None), type(Ellipsis), slice, range, np.generic,
          enum.Enum, Size)  # fmt: skip
_BY_IDENTITY = (dt.dtype, Device, Meta, Op, Storage, types.BuiltinFunctionType,
                types.MethodDescriptorType, types.WrapperDescriptorType, types.CodeType)  # fmt: skip
_OURS = __name__.partition(".")[0]


class Unsupported(RuntimeError):
    """Why a function cannot be captured."""


def _foreign(name: str | None) -> bool:
    """Whether a Python module belongs neither to facula nor to the standard library nor to NumPy."""
    root = (name or "").partition(".")[0]
    return (
        root not in (_OURS, "numpy", "llvmlite", "torch") and root not in sys.stdlib_module_names
    ) or (root == "__main__")


def _plain(x: Any) -> bool:
    return isinstance(x, _PLAIN) or (type(x) is tuple and all(_plain(y) for y in x))


class Guards:
    """Collects conditions; `function` compiles them."""

    def __init__(self, names: Iterable[str], by_string: bool = False) -> None:
        """names: what the code names; by_string: it may also ask for attributes by computed names."""
        self.names = frozenset(names)
        self.lines: list[str] = []
        self.space: dict[str, Any] = {}
        self.known: dict[int, str] = {}  # id -> name of a constant
        self.seen: set[int] = set()
        self.classes_seen: set[type] = set()
        self.globals_seen: set[tuple[int, str]] = set()
        self.all = by_string
        # tensors that may be read: id -> (tensor, expression); `arguments` are those that change
        self.tensors: dict[int, tuple[Tensor, str]] = {}
        self.arguments: set[int] = set()
        self.generators: list[Generator] = []
        self.n_locals = 0

    def const(self, x: Any) -> str:
        """The name of a constant of the generated code."""
        name = self.known.get(id(x))
        if name is None:
            name = self.known[id(x)] = f"k{len(self.space)}"
            self.space[name] = x
        return name

    def need(self, condition: str) -> None:
        """The guard holds only if this expression does."""
        self.lines.append(f"  if not ({condition}): return None")
        if len(self.lines) > MAX_LINES:
            raise Unsupported("it depends on too many things")

    def local(self, expression: str) -> str:
        """A local variable of the generated code."""
        self.n_locals += 1
        self.lines.append(f"  v{self.n_locals} = {expression}")
        return f"v{self.n_locals}"

    # surroundings

    def modes(self) -> None:
        """Global modes that decide what operators do."""
        grad = LOCAL.tape.grad
        self.space.update(
            LOCAL=LOCAL, HOOKS=HOOKS, ANOMALY=ANOMALY, INFERENCE=mode._Inference,
            default_dtype=dt.default_dtype, DEVICES=DEFAULT_DEVICES, autocast=autocast, MODULES=sys.modules,
        )  # fmt: skip
        self.need(f"LOCAL.tape.grad is {grad}")
        self.need("not (HOOKS or ANOMALY[0])")
        self.need(f"INFERENCE.on is {mode._Inference.on}")
        self.need(f"default_dtype() is {self.const(dt.default_dtype())}")
        self.need(f"DEVICES[-1] is {self.const(DEFAULT_DEVICES[-1])}")
        if not autocast.active:
            self.need("not autocast.active")
        else:
            state = autocast.STATE
            enabled = {d: on for d, on in state.enabled.items() if on}
            self.need(f"autocast.STATE.enabled == {self.const(dict(state.enabled))}")
            if enabled:
                self.need(f"autocast.STATE.dtype == {self.const(dict(state.dtype))}")
        calling = sys.modules.get(_OURS + ".nn.modules.calling")
        if calling is not None:
            self.space["calling"] = calling
            self.need(f"calling._plain is {calling._plain}")

    # arguments

    def arguments_of(self, args: tuple, kwargs: dict, but: Container[str] = ()) -> None:
        """What the function was called with, but for arguments (as expressions) that are seen to later."""
        self.need(f"len(args) == {len(args)} and len(kwargs) == {len(kwargs)}")
        for i, x in enumerate(args):
            if f"args[{i}]" not in but:
                self.argument(f"args[{i}]", x)
        for k, x in kwargs.items():
            if f"kwargs[{k!r}]" in but:
                self.need(f"{k!r} in kwargs")
            else:
                self.argument(f"kwargs[{k!r}]", x)

    def argument(self, expression: str, x: Any) -> None:
        """One argument: tensors by geometry, containers by structure, the rest like anything else."""
        kind = type(x)
        if isinstance(x, Tensor):
            self._argument_tensor(expression, x)
        elif kind is list or kind is tuple or (isinstance(x, tuple) and hasattr(x, "_fields")):
            v = self.local(expression)
            self.need(f"type({v}) is {self.const(kind)} and len({v}) == {len(x)}")
            for i, y in enumerate(x):
                self.argument(f"{v}[{i}]", y)
        elif kind is dict:
            v = self.local(expression)
            self.need(f"type({v}) is dict and len({v}) == {len(x)}")
            for k, y in x.items():
                self.argument(f"{v}[{self.const(k)}]", y)
        else:
            self.walk(expression, x)

    def _argument_tensor(self, expression: str, x: Tensor) -> None:
        name = self.known.get(id(x))
        if name is not None and id(x) in self.tensors:
            self.need(f"{expression} is {self.tensors[id(x)][1]}")
            return
        if not _own_tensor(x):
            raise Unsupported(f"an argument is a {type(x).__name__}")
        v = self.local(expression)
        self.known[id(x)] = v
        self.tensors[id(x)] = (x, v)
        self.arguments.add(id(x))
        self.need(f"type({v}) is {self.const(type(x))} and {v}.meta is {self.const(x.meta)} "
                  f"and {v}._rg is {x._rg}")  # fmt: skip
        # an in-place write asks for these
        self.need(f"{v}._made == {x._made!r} and {v}._quiet is {x._quiet}")
        if "grad" in self.names or "_grad" in self.names:
            if x._grad is not None:
                raise Unsupported("it may read an argument's .grad")
            self.need(f"{v}._grad is None")
        if x._base is not None and id(x._base) not in self.tensors:
            self.need(f"{v}._base is not None")

    # everything else

    def walk(self, expression: str, x: Any) -> None:
        """Guards the value of an expression, and what can be reached from it."""
        if type(x) is float and x != x:
            raise Unsupported("it depends on a number that is NaN")
        if _plain(x):
            if type(x) in (bool, type(None)):
                self.need(f"{expression} is {x}")
                return
            v, k = self.local(expression), self.const(x)
            types_ = " and " + _types_test(v, x, self) if type(x) is tuple else ""
            self.need(f"{v} is {k} or (type({v}) is {self.const(type(x))} and {v} == {k}{types_})")
            return
        if isinstance(x, types.MethodType):
            v = self.local(expression)
            self.walk(f"{v}.__func__", x.__func__)
            self.walk(f"{v}.__self__", x.__self__)
            return
        k = self.const(x)
        if type(x) is tuple:  # rebuilt tuples are the same if their elements are
            v = self.local(expression)
            self.need(f"type({v}) is tuple and len({v}) == {len(x)}")
            for i, y in enumerate(x):
                self.walk(f"{v}[{i}]", y)
            return
        self.need(f"{expression} is {k}")
        if id(x) in self.seen:
            return
        self.seen.add(id(x))
        self.inside(k, x)

    def inside(self, k: str, x: Any) -> None:
        """What can be reached from an object whose identity is known."""
        kind = type(x)
        if isinstance(x, Tensor):
            self._tensor(k, x)
        elif isinstance(x, Generator):
            self.generators.append(x)
        elif isinstance(x, _BY_IDENTITY):
            return
        elif isinstance(x, np.ndarray):
            raise Unsupported("it can reach a NumPy array, whose values may change")
        elif isinstance(x, types.FunctionType):
            self._function(k, x)
        elif isinstance(x, functools.partial):
            self.walk(f"{k}.func", x.func)
            self.walk(f"{k}.args", x.args)
            self.walk(f"{k}.keywords", x.keywords)
        elif isinstance(x, (staticmethod, classmethod)):
            self.walk(f"{k}.__func__", x.__func__)
        elif isinstance(x, property):
            self.walk(f"{k}.fget", x.fget)
        elif isinstance(x, types.ModuleType):
            if _foreign(x.__name__):
                self._named(f"{k}.__dict__", vars(x), False)
        elif isinstance(x, type):
            self._class(x)
        elif hasattr(x, "__next__"):
            raise Unsupported(f"it can reach a {kind.__name__}, which goes on when it is asked")
        else:
            self._object(k, x)

    def _tensor(self, k: str, x: Tensor) -> None:
        if not _own_tensor(x):
            raise Unsupported(f"it can reach a {type(x).__name__}")
        self.tensors[id(x)] = (x, k)
        self.need(f"{k}.meta is {self.const(x.meta)} and {k}._rg is {x._rg}")
        if x._off:
            self.need(f"{k}._off == {x._off}")
        if "grad" in self.names or "_grad" in self.names:
            self.walk(f"{k}._grad", x._grad)
        extra = {n: y for n, y in x.__dict__.items() if not n.startswith("_") and n != "meta"}
        if extra:
            self._named(f"{k}.__dict__", extra)

    def _function(self, k: str, x: types.FunctionType) -> None:
        if "_captured" in x.__dict__:  # a compiled one does what its function does
            self.walk(f"{k}._torchdynamo_orig_callable", x._torchdynamo_orig_callable)  # type: ignore[attr-defined]
            return
        for i, cell in enumerate(x.__closure__ or ()):
            try:
                value = cell.cell_contents
            except ValueError:  # empty so far
                raise Unsupported(
                    f"{x.__code__.co_freevars[i]} is not bound in its closure"
                ) from None
            self.walk(f"{self.const(cell)}.cell_contents", value)
        if x.__defaults__:
            self.walk(f"{k}.__defaults__", x.__defaults__)
        if x.__kwdefaults__:
            self.walk(f"{k}.__kwdefaults__", x.__kwdefaults__)
        if _foreign(x.__module__):
            self.globals_of(x.__globals__, x.__code__.co_names)
        if x.__dict__:
            self._named(f"{k}.__dict__", x.__dict__)

    def globals_of(self, space: dict[str, Any], names: Iterable[str]) -> None:
        """The globals that some code names."""
        missing = []
        for name in names:
            key = (id(space), name)
            if key in self.globals_seen:
                continue
            self.globals_seen.add(key)
            if name in space:
                self.walk(f"{self.const(space)}[{name!r}]", space[name])
            elif name in _SHADOWABLE:
                missing.append(name)
        for name in missing:
            self.need(f"{name!r} not in {self.const(space)}")

    def _named(self, where: str, values: dict[str, Any], every: bool = True) -> None:
        names = {n for n in values if isinstance(n, str)}
        if not (every and self.all):
            names &= self.names
        for name in sorted(names):
            self.walk(f"{where}[{name!r}]", values[name])

    def _class(self, x: type) -> None:
        for cls in x.__mro__:
            if _foreign(cls.__module__) and cls not in self.classes_seen:
                self.classes_seen.add(cls)
                values = dict(cls.__dict__)
                for name in sorted(self.names & set(values)):
                    if not isinstance(values[name], types.MemberDescriptorType):
                        self.walk(f"{self.const(cls)}.__dict__[{name!r}]", values[name])

    def _object(self, k: str, x: Any) -> None:
        if isinstance(x, (list, tuple)):
            self.need(f"len({k}) == {len(x)}")
            if len(x) > 8 and all(type(y) in (int, float, str, bool) for y in x):
                self.need(f"{k} == {self.const(type(x)(x))}")
            else:
                for i, y in enumerate(x):
                    self.walk(f"{k}[{i}]", y)
        elif isinstance(x, dict):
            self.need(f"len({k}) == {len(x)}")
            for key, y in x.items():
                self.walk(f"{k}[{self.const(key)}]", y)
        elif isinstance(x, (set, frozenset)):
            self.need(f"{k} == {self.const(set(x))}")
        space = getattr(x, "__dict__", None)
        if type(space) is dict:
            d = self.const(space)
            if "_parameters" in space and "_modules" in space:
                self._module(d, space)
                space = {n: y for n, y in space.items() if n not in _MODULE_PARTS}
            else:
                self.need(f"{k}.__dict__ is {d} and len({d}) == {len(space)}")
            self._named(d, space)
        self._slots(k, x)
        cls = type(x)
        if id(cls) not in self.seen:
            self.seen.add(id(cls))
            self._class(cls)

    def _slots(self, k: str, x: Any) -> None:
        for cls in type(x).__mro__:
            slots = cls.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name in self.names and hasattr(x, name):
                    self.walk(f"{k}.{name}", getattr(x, name))

    def _module(self, d: str, space: dict[str, Any]) -> None:
        """A module's flag, hooks, parameters, buffers and children, in few words: there are many."""
        words = [f"len({d}) == {len(space)}", f"{d}['training'] is {bool(space['training'])}"]
        below = []
        for table in ("_parameters", "_buffers", "_modules"):
            values = space[table]
            if not values:
                words.append(f"not {d}[{table!r}]")
                continue
            t = self.const(values)
            words.append(f"{d}[{table!r}] is {t} and len({t}) == {len(values)}")
            for name, value in values.items():
                words.append(f"{t}[{name!r}] is {self.const(value)}")
                if value is not None and id(value) not in self.seen:
                    self.seen.add(id(value))
                    below.append(value)
        calling = self.space.get("calling")
        if calling is None or not calling._plain:  # else no module has hooks
            for table in _HOOKS:
                if space.get(table):
                    self.walk(f"{d}[{table!r}]", space[table])
                else:
                    words.append(f"not {d}[{table!r}]")
        self.need(" and ".join(words))
        for value in below:
            self.inside(self.const(value), value)

    def function(self, results: list[str]) -> Callable[[tuple, dict], list[Tensor] | None]:
        """The compiled guards: check(args, kwargs) -> the tensors named by results, or None."""
        body = "\n".join(self.lines)
        text = f"def check(args, kwargs):\n try:\n{body}\n  return [{', '.join(results)}]\n"
        text += " except (KeyError, IndexError, AttributeError, TypeError, ValueError):\n  return None\n"
        space = dict(self.space)
        exec(compile(text, "<guards of a compiled function>", "exec"), space)
        return space["check"]


# builtins that user code could shadow by a global of its own later are few in practice
_SHADOWABLE = frozenset(("len", "range", "sum", "min", "max", "abs", "int", "float", "isinstance"))


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# what is seen to for modules, or only read when they are saved and loaded
_MODULE_PARTS = frozenset(
    ("training", "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", *_HOOKS,
     "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs",
     "_is_full_backward_hook", "_state_dict_hooks", "_state_dict_pre_hooks",
     "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
)  # fmt: skip


def _types_test(v: str, x: tuple, guards: Guards) -> str:
    flat = tuple(map(type, x))
    return f"tuple(map(type, {v})) == {guards.const(flat)}"


def _own_tensor(x: Tensor) -> bool:
    return type(x) is Tensor or type(x).__module__ == _OURS + ".nn.parameter"
