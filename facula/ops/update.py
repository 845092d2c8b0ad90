"""One recorded operator for the update of many parameters.

The arithmetic of an optimizer is a Python function on one parameter's tensors, written with public
in-place methods. `fused_update` records it once for all parameters: when the plan is built, the same
function runs on stand-ins that write primitives. Numbers are arguments of the plan; whether one
is 0 or 1 is part of its key if the function asks that of it (as of a weight decay, but not of a rate).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from facula.autograd.written import ROOM, Text, entry_of
from facula.graph import dtypes as dt
from facula.graph.ir import Graph, Val
from facula.graph.meta import CPU, Meta
from facula.graph.tape import ENGINE, LOCAL, MAX_NODES, Op
from facula.ops.apply import metas_of
from facula.ops.pointwise import opmath
from facula.tensor import Tensor


class CannotFuse(Exception):
    """The update does something the stand-ins have no meaning for."""


class Number:
    """A run-time number: arithmetic in double precision, as Python does it."""

    __slots__ = ("asked", "g", "name", "one", "val", "zero")

    def __init__(self, g: Graph, val: Val, zero: bool = False, one: bool = False,
                 name: str = "", asked: set[str] | None = None) -> None:  # fmt: skip
        self.g, self.val, self.zero, self.one = g, val, zero, one
        self.name, self.asked = name, asked

    def _with(self, name: str, other: Any, swap: bool = False) -> Any:
        if isinstance(other, Lane):
            return NotImplemented
        o = other.val if isinstance(other, Number) else self.g.const(other, dt.float64)
        a, b = (o, self.val) if swap else (self.val, o)
        return Number(self.g, self.g.binary(name, a, b))

    def __add__(self, o: Any) -> Any:
        return self._with("add", o)

    def __radd__(self, o: Any) -> Any:
        return self._with("add", o, True)

    def __sub__(self, o: Any) -> Any:
        return self._with("sub", o)

    def __rsub__(self, o: Any) -> Any:
        return self._with("sub", o, True)

    def __mul__(self, o: Any) -> Any:
        return self._with("mul", o)

    def __rmul__(self, o: Any) -> Any:
        return self._with("mul", o, True)

    def __truediv__(self, o: Any) -> Any:
        return self._with("div", o)

    def __rtruediv__(self, o: Any) -> Any:
        return self._with("div", o, True)

    def __neg__(self) -> Number:
        return Number(self.g, -self.val)

    def _ask(self) -> None:
        if self.asked is None:
            raise CannotFuse  # the result of arithmetic
        self.asked.add(self.name)

    def __eq__(self, o: object) -> bool:
        self._ask()
        if o == 0:
            return self.zero
        if o == 1:
            return self.one
        raise CannotFuse

    def __ne__(self, o: object) -> bool:
        return not self == o

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        self._ask()
        return not self.zero


class Lane:
    """Stands for one tensor of an update; every operation rounds to its dtype."""

    __slots__ = ("g", "val")

    def __init__(self, g: Graph, val: Val) -> None:
        self.g, self.val = g, val

    def _wide(self, x: Any) -> Val:
        work = opmath(self.val.dtype)
        if isinstance(x, Lane):
            return self.g.cast(x.val, work)
        if isinstance(x, Number):
            return self.g.cast(x.val, work)
        if isinstance(x, Tensor):
            raise CannotFuse
        return self.g.const(x, work)

    def _rounded(self, v: Val) -> Lane:
        return Lane(self.g, self.g.cast(v, self.val.dtype))

    def _set(self, other: Lane) -> Lane:
        self.val = other.val
        return self

    def detach(self) -> Lane:
        return self

    def clone(self) -> Lane:
        return Lane(self.g, self.val)

    def add(self, o: Any, alpha: Any = 1) -> Lane:
        term = self._wide(o)
        if not (type(alpha) is int and alpha == 1):
            term = term * self._wide(alpha)
        return self._rounded(self._wide(self) + term)

    def sub(self, o: Any, alpha: Any = 1) -> Lane:
        return self.add(o, -alpha)

    def mul(self, o: Any) -> Lane:
        return self._rounded(self._wide(self) * self._wide(o))

    def div(self, o: Any) -> Lane:
        return self._rounded(self._wide(self) / self._wide(o))

    def addcmul(self, a: Lane, b: Lane, value: Any = 1) -> Lane:
        return self._rounded(self._wide(self) + self._wide(value) * self._wide(a) * self._wide(b))

    def addcdiv(self, a: Lane, b: Lane, value: Any = 1) -> Lane:
        return self._rounded(self._wide(self) + self._wide(value) * self._wide(a) / self._wide(b))

    def lerp(self, end: Lane, weight: Any) -> Lane:
        start, w = self._wide(self), self._wide(weight)
        return self._rounded(start + w * (self._wide(end) - start))

    def maximum(self, o: Lane) -> Lane:
        return self._rounded(self.g.binary("maximum", self._wide(self), self._wide(o)))

    def sqrt(self) -> Lane:
        return self._rounded(self._wide(self).sqrt())

    def abs(self) -> Lane:
        return self._rounded(self._wide(self).abs())

    def sign(self) -> Lane:
        return self._rounded(self._wide(self).sign())

    def copy_(self, o: Lane) -> Lane:
        return self._set(self._rounded(self._wide(o)))

    def __neg__(self) -> Lane:
        return self._rounded(-self._wide(self))

    def __add__(self, o: Any) -> Lane:
        return self.add(o)

    def __sub__(self, o: Any) -> Lane:
        return self._rounded(self._wide(self) - self._wide(o))

    def __mul__(self, o: Any) -> Lane:
        return self.mul(o)

    __rmul__ = __mul__
    __radd__ = __add__

    def __truediv__(self, o: Any) -> Lane:
        return self.div(o)

    def __rtruediv__(self, o: Any) -> Lane:
        return self._rounded(self._wide(o) / self._wide(self))

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_") and not name.startswith("_"):
            plain = getattr(type(self), name[:-1], None)
            if plain is not None:
                return lambda *a, **k: self._set(plain(self, *a, **k))
        raise CannotFuse(name)


def _expand_with(fn: Callable) -> Callable:
    asked = _asked.setdefault(fn, set())

    def expand(g: Graph, *args: Any) -> list[Val]:
        *vals, rows, columns, options, names = args
        width = sum(c for c in columns)
        tensors, numbers = vals[: rows * width], list(vals[rows * width :])
        keyword: dict[str, Any] = {}
        for name, kind in zip(names, options, strict=True):
            if isinstance(kind, tuple) and kind and kind[0] == "number":
                keyword[name] = Number(
                    g, g.cast(numbers.pop(0), dt.float64), kind[1], kind[2], name, asked
                )
            else:
                keyword[name] = kind
        out: list[Val] = []
        for r in range(rows):
            row = iter(tensors[r * width : (r + 1) * width])
            lanes = [Lane(g, next(row)) if present else None for present in columns]
            fn(*lanes, **keyword)
            out += [lane.val for i, lane in enumerate(lanes) if lane is not None and i != 1]
        return out

    return expand


def _infer(*args: Any) -> tuple[Meta, ...]:
    *metas, rows, columns, _options, _names = args
    width = sum(columns)
    gradient = 1
    return tuple(metas[r * width + i] for r in range(rows) for i in range(width) if i != gradient)


_ops: dict[Callable, Op] = {}
_refused: set[tuple] = set()
_asked: dict[Callable, set[str]] = {}  # the numbers whose being 0 or 1 an update asks for
_NUMBER, _ZERO, _ONE = ("number", False, False), ("number", True, False), ("number", False, True)


def _describe(options: dict[str, Any], asked: set[str]) -> tuple[list[Any], list[float]] | None:
    """What is known of the options, and the numbers among them."""
    kinds: list[Any] = []
    numbers: list[float] = []
    for name, value in options.items():
        kind = type(value)
        if kind is float or kind is int:
            plain = name not in asked or value not in (0, 1)
            kinds.append(_NUMBER if plain else _ONE if value else _ZERO)
            numbers.append(float(value))
        elif value is None or kind is bool or kind is str:
            kinds.append(value)
        else:
            return None
    return kinds, numbers


def fused_again(
    fn: Callable, columns: Sequence[Sequence[Tensor | None]], options: dict[str, Any]
) -> bool:
    """`fused_update` where it recorded the like before; else False, and nothing was recorded."""
    known = _written.get((fn, len(columns[0]), *options))
    if known is not None:
        try:
            for record in known:
                if record(columns, options):
                    return True
        except (AttributeError, ValueError):
            pass  # something else than tensors, or unlike numbers of them
    return False


def fused_update(
    fn: Callable, columns: Sequence[Sequence[Tensor | None]], options: dict[str, Any]
) -> bool:
    """Records fn(param, grad, *states, **options) for every row of columns as one operator.

    columns: parameters, gradients, then states (None where an update has no such state). False if
    it cannot be done so: then the caller runs fn on the tensors themselves.
    """
    rows = len(columns[0])
    if fused_again(fn, columns, options):
        return True
    asked = _asked.setdefault(fn, set())
    described = _describe(options, asked)
    if described is None or not rows:
        return False
    kinds, numbers = described
    present = tuple([c[0] is not None for c in columns])
    given = columns if all(present) else [c for c, have in zip(columns, present) if have]
    flat: list[Any] = list(chain.from_iterable(zip(*given, strict=True)))
    op = _ops.get(fn)
    if op is None:
        op = _ops[fn] = Op(fn.__name__, _infer, _expand_with(fn))
    params = (rows, present, tuple(kinds), tuple(options))
    try:
        metas = tuple(map(metas_of, flat))
    except AttributeError:
        return False
    inst = op.insts.get((metas, params))
    if inst is None:
        known_asked = len(asked)
        if not _fits(flat, len(given)) or not _can(op, fn, flat, params, numbers, len(given)):
            return len(asked) > known_asked and fused_update(fn, columns, options)
        if len(asked) > known_asked:
            return fused_update(fn, columns, options)
        inst = op.inst(metas, params, len(numbers))
    elif len(flat) <= WRITTEN_SIZE:  # it comes again
        if len(_written) > WRITTEN_KINDS:
            _written.clear()
        kept = _written.setdefault((fn, rows, *options), [])
        kept.insert(0, written_update(inst, asked, options))
        del kept[WRITTEN_EACH:]
    return _record(inst, flat, len(given), numbers)


def _record(inst: Any, flat: list[Any], width: int, numbers: list[float]) -> bool:
    """Records the update of all tensors; False where one of them is not to be written so."""
    tape = LOCAL.tape
    grad = tape.grad
    entries: list[Any] = [inst]
    storages = []
    for t in flat:
        s = t._s
        if s.pin is not None or s.meta is not t.meta or t._base is not None or (grad and t._rg):
            return False
        entries.append(s.i if s.tape is tape else tape.leaf(s))
        storages.append(s)
    if width > 2:
        targets = [s for i, s in enumerate(storages) if i % width != 1]
    else:
        targets = storages[::width]
    params_only = storages[::width]
    if len(params_only) > 1 and len(set(map(id, params_only))) != len(params_only):
        return False  # one parameter twice: its updates come one after the other
    tape.key += entries
    tape.scalars += numbers
    tape.budget -= inst.nbytes
    tape.rebind_all(targets)
    if tape.budget < 0 or tape.n > MAX_NODES:
        ENGINE.flush(tape)
    return True


def before_step() -> None:
    """Evaluates gradients first where no later step will have the same plan."""
    tape = LOCAL.tape
    if (tape.varies or ENGINE.varying) and tape.watch is None:
        ENGINE.flush(tape)


# by update, rows and names of options: functions that record it for the geometries that came last
_written: dict[tuple, list[Callable[..., bool]]] = {}
WRITTEN_KINDS, WRITTEN_EACH = 64, 4
WRITTEN_SIZE = 200  # tensors; above, the loop is a small part of a step


def written_update(inst: Any, asked: set[str], options: dict[str, Any]) -> Callable[..., bool]:
    """record(columns, options): `_record` for tensors of inst's geometries, without loops.

    It gives False, and has done nothing, where something is not as it was.
    """
    rows, present, kinds, names = inst.params
    text = Text("def record(columns, options):")
    text.say(f"{''.join(f'c{c}, ' for c in range(len(present)))} = columns")
    text.say(f"{''.join(f'o{i}, ' for i in range(len(names)))} = options.values()")
    numbers = []
    for i, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        if not isinstance(kind, tuple):
            text.say(f"if o{i} is not {text.const(kind)}: return False")
            continue
        numbers.append(f"o{i}")
        text.say(f"if type(o{i}) is not float:")
        text.say(f" if type(o{i}) is not int: return False")
        text.say(f" o{i} = float(o{i})")
        if name in asked:
            test = f"o{i} != {1 if kind[2] else 0}" if kind is not _NUMBER else f"o{i} in (0, 1)"
            text.say(f"if {test}: return False")
    text.say("tape = LOCAL.tape")
    text.say("grad = tape.grad")
    here = [c for c, have in enumerate(present) if have]
    for c, have in enumerate(present):
        if not have:
            text.say(f"if c{c}[0] is not None: return False")
            continue
        text.say(f"{''.join(f't{c}_{r}, ' for r in range(rows))} = c{c}")
    width = len(here)
    order = [(r, c) for r in range(rows) for c in here]
    for at, (r, c) in enumerate(order):
        t, s, m = f"t{c}_{r}", f"s{c}_{r}", text.const(inst.ins[at])
        text.say(f"{s} = {t}._s")
        viewed = "" if c == 1 else f"{t}._base is not None or "  # gradients are only read
        text.say(f"if {t}.meta is not {m} or {s}.meta is not {m} or {s}.pin is not None or "
                 f"{viewed}(grad and {t}._rg): return False")  # fmt: skip
    if rows > 1:
        text.say(f"if len({{{', '.join(f's0_{r}' for r in range(rows))}}}) != {rows}: return False")
    entries = [entry_of(f"s{c}_{r}") for r, c in order]
    text.say(f"tape.key += ({text.const(inst)}, {', '.join(entries)})")
    text.say(f"tape.scalars += ({''.join(f'{x}, ' for x in numbers)})")
    text.say(f"tape.budget -= {inst.nbytes}")
    targets = [f"s{c}_{r}" for at, (r, c) in enumerate(order) if at % width != 1 or width < 2]
    text.rebind(targets)
    text.say(ROOM)
    text.say("return True")
    return text.function("record")


def end_of_step() -> None:
    """Evaluates what is recorded: a training loop that looks at nothing is then one plan, again and
    again, and not a long one that is cut somewhere else every time."""
    tape = LOCAL.tape
    if tape.key:
        ENGINE.flush(tape)


def _fits(flat: list[Tensor], width: int) -> bool:
    """Whether every row has one plain geometry of a floating dtype."""
    for i in range(0, len(flat), width):
        m = flat[i].meta
        if (
            not m.contiguous
            or m.offset
            or m.device is not CPU
            or m.dtype.kind != "f"
            or not m.numel
        ):
            return False
        if any(t.meta is not m for t in flat[i : i + width]):
            return False
    return True


_tried: set[tuple] = set()


def _can(
    op: Op, fn: Callable, flat: list[Tensor], params: tuple, numbers: list[float], width: int
) -> bool:
    """Whether the stand-ins know all that the update does; found out once."""
    key = (fn, *params[1:])
    if key in _tried:
        return True
    if key in _refused:
        return False
    g = Graph()
    row = [g.buffer(i, t.meta.dtype, t.meta.shape) for i, t in enumerate(flat[:width])]
    scalars = [g.scalar(i, dt.float64, True) for i in range(len(numbers))]
    try:
        op.expand(g, *row, *scalars, 1, *params[1:])
    except (CannotFuse, TypeError, AttributeError):
        _refused.add(key)
        return False
    _tried.add(key)
    return True
