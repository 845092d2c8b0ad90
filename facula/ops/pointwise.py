"""Machinery of elementwise operators: promotion, the recording fast path, methods and variants.

An operator is one call of `unary` or `binary` (see `elementwise.py`, `math_ops.py`): its name, its
expansion on primitive values, its derivative in public operators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from facula.autograd.node import FREED, SECOND_TIME, grad_class, shown
from facula.graph import dtypes as dt
from facula.graph.blame import wrong_type
from facula.graph.dtypes import default_dtype, dtype, promote_types
from facula.graph.formats import AS_OPERANDS
from facula.graph.ir import Val
from facula.graph.meta import META, Meta, broadcast_shapes, meta_of
from facula.graph.tape import ENGINE, LOCAL, MAX_NODES, Op, Storage, next_seq
from facula.ops.apply import apply, before_write, mark
from facula.ops.apply import record as record_inst
from facula.ops.inplace import write_back
from facula.ops.registry import TORCH, to_out
from facula.tensor import Tensor

_new = object.__new__


class _Ranks(dict):
    def __missing__(self, kind: str) -> int:
        raise RuntimeError(
            "quantized, sub-byte and bits types only have names and sizes: no arithmetic"
        )


_RANK = _Ranks({"b": 0, "u": 1, "i": 1, "f": 2, "c": 3})
NUMBERS = (int, float, complex)  # bool is an int

# result rules: dtype of the result from the promoted dtype of the operands
SAME, FLOAT, BOOL = "same", "float", "bool"
COUNT = "count"  # bool gives int64


def number_type(x: object) -> str:
    """'b', 'i', 'f' or 'c': the kind of a Python number."""
    kind = type(x)
    if kind is bool:
        return "b"
    if kind is float:
        return "f"
    if kind is int:
        return "i"
    if isinstance(x, complex):
        return "c"
    if isinstance(x, (int,)):
        return "i"
    if not hasattr(kind, "__float__"):
        raise wrong_type(x, "Number")
    return "f"


_OF_KIND = {"b": lambda: dt.bool_, "i": lambda: dt.int64, "f": default_dtype,
            "c": lambda: default_dtype().to_complex()}  # fmt: skip


def result_type(metas: tuple[Meta, ...], numbers: tuple[str, ...] = ()) -> dtype:
    """PyTorch's promotion: tensors with dims, then 0-d tensors, then numbers, each only by kind."""
    dims: dtype | None = None
    zero: dtype | None = None
    for m in metas:
        if m.ndim:
            dims = m.dtype if dims is None else promote_types(dims, m.dtype)
        else:
            zero = m.dtype if zero is None else promote_types(zero, m.dtype)
    number: dtype | None = None
    for kind in numbers:
        d = _OF_KIND[kind]()
        number = d if number is None else promote_types(number, d)
    best = dims
    for d in (zero, number):
        if d is None:
            continue
        if best is None:
            best = d
        elif _RANK[d.kind] > _RANK[best.kind]:
            # a complex number with a double tensor gives complex128
            best = (
                promote_types(best, d)
                if d.kind == "c" and best.kind == "f" and d is number
                else (best.to_complex() if d.kind == "c" and best.kind == "f" else d)
            )
            if d.kind == "c" and best.kind != "c":
                best = d
    assert best is not None
    return best


def apply_rule(rule: str, d: dtype) -> dtype:
    """The result's dtype for operands of promoted dtype d."""
    if rule is BOOL:
        return dt.bool_
    if rule is FLOAT and d.kind not in "fc":
        return default_dtype()
    return dt.int64 if rule is COUNT and d.kind == "b" else d


def opmath(d: dtype) -> dtype:
    """The type an operator computes in: 16-bit floats are widened and rounded once."""
    return dt.float32 if d.kind == "f" and d.itemsize <= 2 else d


def sum_to(g: Tensor, m: Meta) -> Tensor:
    """g added up over the dims that m was broadcast along, in m's dtype."""
    gm = g.meta
    if gm.shape != m.shape:
        lead = gm.ndim - m.ndim
        dims = [*range(lead)] + [
            i for i in range(lead, gm.ndim) if m.shape[i - lead] == 1 and gm.shape[i] != 1
        ]
        if dims:
            g = g.sum(dims, keepdim=True)  # type: ignore[attr-defined]
        if g.meta.shape != m.shape:
            g = g.reshape(m.shape)  # type: ignore[attr-defined]
        gm = g.meta
    if gm.dtype is not m.dtype:
        if gm.dtype.kind == "c" and m.dtype.kind != "c":
            g = g.real  # type: ignore[attr-defined]
        g = g.to(m.dtype)  # type: ignore[attr-defined]
    return g


# expansion shared by all: operands to the opmath type, result rounded -----------------


def _compute(
    rule: str, fn: Callable, g: Any, promoted: dtype, operands: list[Val], *rest: Any
) -> Val:
    work = promoted
    if rule is FLOAT and work.kind not in "fc":
        work = default_dtype()
    work = opmath(apply_rule(rule, work) if rule is COUNT else work)
    out = fn(g, *[g.cast(v, work) for v in operands], *rest)
    return g.cast(out, dt.bool_ if rule is BOOL else apply_rule(rule, promoted))


class Unary:
    """One elementwise operator of one tensor (and perhaps numbers), ready to record."""

    def __init__(self, name: str, fn: Callable, backward: Callable | None, saves: str, rule: str,
                 grad_name: str | None, refuse: str | Mapping[str, str]) -> None:  # fmt: skip
        self.name = name

        def infer(a: Meta, *params: Any) -> Meta:
            kind = a.dtype.kind
            if kind in refuse:
                words = unsupported(name, a.dtype) if isinstance(refuse, str) else refuse[kind]
                raise NotImplementedError(words) if kind == "c" else _refusal(words)
            return meta_of(
                apply_rule(rule, a.dtype)
                if not (name == "abs" and a.dtype.kind == "c")
                else a.dtype.to_real(),
                a.shape,
                a.device,
            )

        def expand(g: Any, a: Val, *params: Any) -> Val:
            if name == "abs" and a.dtype.kind == "c":
                return fn(g, a)
            return _compute(rule, fn, g, a.dtype, [a], *params)

        self.op = Op(name, infer, expand, backward, saves=saves, grad_name=grad_name,
                     lies=AS_OPERANDS)  # fmt: skip


def _refusal(words: str) -> RuntimeError:
    return NotImplementedError(words) if "not implemented for" in words else RuntimeError(words)


def unsupported(name: str, d: dtype) -> str:
    """PyTorch's words for a dtype that an operator has no kernel for."""
    return f"\"{name}\" not implemented for '{d.short}'"


def _record_unary(op: Op) -> Callable[[Tensor], Tensor]:
    """The fast path: one plain tensor in, one out."""
    insts = op.insts

    def record(a: Tensor) -> Tensor:
        inst = insts.get(((a.meta,), ()))
        if inst is None or not inst.reads:
            return apply(op, (a,))
        write = inst.record
        return record_inst(op, inst, (a,)) if write is None else write((a,), ())

    return record


# whose `out=` must have the result's dtype: PyTorch computes these without a cast behind
_EXACT = frozenset(
    "abs bitwise_not ceil conj_physical floor frac isneginf isposinf neg round sgn sign signbit trunc".split()
)


def unary(
    name: str,
    fn: Callable[[Any, Val], Val],
    backward: Callable | None = None,
    *,
    saves: str = "",
    rule: str = SAME,
    grad_name: str | None = None,
    refuse: str | Mapping[str, str] = "",
    aliases: tuple[str, ...] = (),
    method: bool = True,
    inplace: bool = True,
    doc: str = "",
) -> Callable:
    """Defines `torch.name(input, *, out=None)`, `Tensor.name()` and `Tensor.name_()`.

    `refuse`: kinds of dtypes that are refused; with the words for it, where PyTorch has its own.
    """
    record = _record_unary(Unary(name, fn, backward, saves, rule, grad_name, refuse).op)
    exact = name in _EXACT

    def function(input: Tensor, *, out: Tensor | None = None) -> Tensor:
        if not isinstance(input, Tensor):
            raise TypeError(
                f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}"
            )
        if out is None:
            return record(input)
        got = record(input)
        return to_out(
            got, out, exact=exact and (name != "abs" or input.meta.dtype is got.meta.dtype)
        )

    def run(self: Tensor) -> Tensor:
        return record(self)

    def run_(self: Tensor) -> Tensor:
        return write_back(self, record(self))

    function.__name__ = function.__qualname__ = name
    run.__name__, run_.__name__ = name, name + "_"
    function.__doc__ = (
        doc
        or f"Elementwise {name}; see https://docs.pytorch.org/docs/2.13/generated/torch.{name}.html"
    )
    for n in (name, *aliases):
        TORCH[n] = function
        if method:
            setattr(Tensor, n, run)
        if inplace:
            setattr(Tensor, n + "_", run_)
            TORCH[n + "_"] = run_
    return function


# binary -------------------------------------------------------------------------------


class Binary:
    """One elementwise operator of two operands, each a tensor or a number."""

    def __init__(self, name: str, fn: Callable, backward: Callable | None, saves: str, rule: str,
                 grad_name: str | None, check: Callable[[dtype], str | None] | None) -> None:  # fmt: skip
        self.name = name
        self.fn, self.rule = fn, rule

        def infer(a: Meta, b: Meta, *params: Any) -> Meta:
            d = result_type((a, b))
            if check is not None:
                bad = check(d)
                if bad:
                    raise _refusal(bad)
            return meta_of(apply_rule(rule, d), broadcast_shapes(a.shape, b.shape), a.device)

        def expand(g: Any, a: Val, b: Val, *params: Any) -> Val:
            d = self._promoted(a, b)
            return _compute(rule, fn, g, d, [a, b])

        def infer_number(a: Meta, kind: str, left: bool, *params: Any) -> Meta:
            d = result_type((a,), (kind,))
            if check is not None:
                bad = check(d)
                if bad:
                    raise _refusal(bad)
            return meta_of(apply_rule(rule, d), a.shape, a.device)

        def expand_number(g: Any, a: Val, x: Val, kind: str, left: bool, *params: Any) -> Val:
            d = _promote_val(a, kind)
            work = opmath(apply_rule(FLOAT, d) if rule is FLOAT else d)
            x = params[0] if False else x
            out = (
                fn(g, g.cast(x, work), g.cast(a, work))
                if left
                else fn(g, g.cast(a, work), g.cast(x, work))
            )
            return g.cast(out, dt.bool_ if rule is BOOL else apply_rule(rule, d))

        self.op = Op(name, infer, expand, backward, saves=saves, grad_name=grad_name,
                     lies=AS_OPERANDS)  # fmt: skip
        # with a number for the right operand, and for the left one
        numbers = _NUMBER_GRADS.get(name, ((grad_name, None, None),) * 2)
        self.number_ops = [
            Op(name, infer_number, expand_number, saves=_number_saves(saves) if kept is None else kept,
               grad_name=node, shows=shows, lies=AS_OPERANDS)
            for node, shows, kept in numbers
        ]  # fmt: skip

    @staticmethod
    def _promoted(a: Val, b: Val) -> dtype:
        return result_type((_shape_meta(a), _shape_meta(b)))


# Derivatives where an operand is a number, on the right and on the left: the name, what PyTorch's
# node shows, and what is saved where that is not what two tensors need ("1": the number alone).
_NUMBER_GRADS: dict[str, tuple[tuple, tuple]] = {
    "add": ((None, "0 -", None), (None, "- 0", None)),
    "mul": ((None, "0 -", "1"), (None, "0 -", "1")),
    "sub": ((None, "0 -", None), ("RsubBackward1", None, None)),
    "div": (
        (None, "0 -", "1"),
        ("MulBackward0", lambda n: (shown("ReciprocalBackward0", n.edges[0]), None), None),
    ),
    "pow": (("PowBackward0", None, None), ("PowBackward2", None, None)),
}


def _shape_meta(v: Val) -> Meta:
    return meta_of(v.dtype, v.shape)


def _promote_val(a: Val, kind: str) -> dtype:
    return result_type((_shape_meta(a),), (kind,))


def _number_saves(saves: str) -> str:
    # with a number as other operand only the tensor (saved as 0) and the result remain
    return " ".join(
        ["0"] * bool(set(saves.split()) & {"0", "1"})
        + [w for w in saves.split() if w.startswith("out")]
    )


class NumberContext:
    """A node whose operator had a number for one operand, seen as if that were a tensor."""

    __slots__ = ("left", "node", "number", "order")

    def __init__(self, node: Any) -> None:
        self.node = node
        self.left = node.inst.params[1]
        self.number = node.scalars[0]

    def needs(self, i: int) -> bool:
        return (i == 1) == self.left

    @property
    def a(self) -> Any:
        return self.number if self.left else self.node.tensor(0)

    @property
    def b(self) -> Any:
        return self.node.tensor(0) if self.left else self.number

    @property
    def out(self) -> Any:
        return self.node.tensor(len(self.node.saved) - 1)

    @property
    def ins(self) -> tuple:
        m = self.node.inst.ins[0]
        return (m, m)


class TensorContext:
    """A node of two tensors: `a`, `b`, `out` as they were saved."""

    __slots__ = ("node",)

    def __init__(self, node: Any) -> None:
        self.node = node

    def needs(self, i: int) -> bool:
        return self.node.edges[i] is not None

    @property
    def a(self) -> Any:
        return self.node.tensor(self.node.op.saves_inputs.index(0))

    @property
    def b(self) -> Any:
        return self.node.tensor(self.node.op.saves_inputs.index(1))

    @property
    def out(self) -> Any:
        return self.node.tensor(len(self.node.saved) - 1)

    @property
    def ins(self) -> tuple:
        return self.node.inst.ins


def backward_number(backward: Callable, node: Any, g: Tensor) -> Any:
    """The derivative with respect to the tensor of a tensor-and-number operator."""
    if node.saved is FREED:
        raise RuntimeError(SECOND_TIME)
    ctx = NumberContext(node)
    ga, gb = backward(ctx, g)
    return sum_to(gb if ctx.left else ga, node.inst.ins[0])


def _pair_backward(pair: Callable | None) -> Callable | None:
    """backward(ctx, g) -> (ga, gb) as the node's derivative, reduced to the operands' shapes."""
    if pair is None:
        return None

    def backward(node: Any, g: Tensor) -> tuple:
        ga, gb = pair(TensorContext(node), g)
        ins = node.inst.ins
        return (
            None if ga is None else sum_to(ga, ins[0]),
            None if gb is None else sum_to(gb, ins[1]),
        )

    return backward


def number_of(x: Any) -> Any:
    """A Python number of x, or None."""
    kind = type(x)
    if kind is float or kind is int or kind is bool or kind is complex:
        return x
    if isinstance(x, NUMBERS):
        return x
    if hasattr(x, "dtype") and getattr(x, "shape", None) == () and not isinstance(x, Tensor):
        return x.item()
    if kind.__name__ in ("SymInt", "SymFloat"):
        return x.__index__()
    return None


def _record_binary(b: Binary, raw_backward: Callable | None) -> Callable[[Any, Any], Any]:
    op, number_ops = b.op, b.number_ops
    insts = op.insts
    crossed = b.name == "mul"  # the derivative in one operand reads the other one
    saves_a, saves_b = 0 in op.saves_inputs, 1 in op.saves_inputs
    saves_out = bool(op.saves_outputs)
    from facula.autograd.node import save, save_result

    def with_number(t: Tensor, x: Any, left: bool) -> Tensor:
        kind = type(x)
        number_op = number_ops[left]
        inst = number_op.calls.get((t.meta, kind))
        if inst is not None and (kind is float or -(1 << 63) <= x < 1 << 63):
            return record_inst(number_op, inst, (t,), (x,))
        if type(x) is int and not -(1 << 63) <= x < 1 << 63:
            if x >= 1 << 64 or x < 0:
                raise RuntimeError("value cannot be converted to type int64_t without overflow")
            x -= 1 << 64
        params = (number_type(x), left)
        out = apply(number_op, (t,), params, (x,))
        inst = number_op.insts.get(((t.meta,), params))
        if inst is not None and inst.reads and (kind is float or kind is int):
            number_op.remember(t.meta, kind, inst)
        return out

    def slow(a: Any, c: Any) -> Any:
        if isinstance(a, Tensor):
            if isinstance(c, Tensor):
                a, c = _on_one_device(a, c)
                ma, mb = a.meta, c.meta
                if ((ma, mb), ()) not in insts and not (
                    ma.offset or mb.offset or ma.device is META
                ):
                    op.inst((ma, mb))  # not seen before: now it is
                    return record(a, c)
                return apply(op, (a, c))
            x = number_of(c)
            return NotImplemented if x is None else with_number(a, x, False)
        x = number_of(a)
        if x is None or not isinstance(c, Tensor):
            return NotImplemented
        return with_number(c, x, True)

    def record(a: Any, c: Any) -> Any:
        kind = type(c)
        if kind is float or kind is int:
            return with_number(a, c, False) if isinstance(a, Tensor) else slow(a, c)
        try:
            inst = insts.get(((a.meta, c.meta), ()))
        except AttributeError:
            return slow(a, c)
        if inst is None or not inst.fast:
            return slow(a, c)
        sa, sb = a._s, c._s
        tape = LOCAL.tape
        i = sa.i if sa.tape is tape else tape.leaf(sa)
        j = sb.i if sb.tape is tape else tape.leaf(sb)
        s = _new(Storage)
        s.tape, s.buf, s.version, s.pin = tape, None, tape.born, None
        s.meta = out_meta = inst.meta
        tape.key += (inst, i, j)
        s.i = tape.n
        tape.n += 1
        tape.values.append(s)
        tape.budget -= inst.nbytes
        out = _new(Tensor)
        out._s, out.meta = s, out_meta
        if (
            tape.grad
            and (a._rg or c._rg)
            and raw_backward is not None
            and out_meta.dtype.kind in "fc"
        ):
            cls = op.grad_class
            if type(cls) is str:
                cls = grad_class(op)
            node = _new(cls)
            node.inst, node.scalars, node.seq = inst, (), next_seq()
            ga, gc = a._g, c._g
            node.edges = ((a if ga is None else ga) if a._rg else None,
                          (c if gc is None else gc) if c._rg else None)  # fmt: skip
            out._rg, out._g = True, node
            if saves_a or saves_b or saves_out:
                node.saved = []
                if saves_a:
                    node.saved.append(save(a) if c._rg or not crossed else None)
                if saves_b:
                    node.saved.append(save(c) if a._rg or not crossed else None)
                if saves_out:
                    node.saved.append(save_result(out, 0))
            else:
                node.saved = None
        if tape.budget < 0 or tape.n > MAX_NODES:
            ENGINE.flush(tape)
        return out

    return record


def _on_one_device(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Operands on one device: a 0-d CPU tensor goes along with any."""
    da, db = a.meta.device, b.meta.device
    if da is db or META not in (da, db):
        return a, b
    if (da is META and b.meta.ndim == 0) or (db is META and a.meta.ndim == 0):
        return (a.to("meta"), b.to("meta"))  # type: ignore[attr-defined]
    raise RuntimeError(f"Tensor on device {db} is not on the expected device {da}!")


def binary(
    name: str,
    fn: Callable[[Any, Val, Val], Val],
    backward: Callable | None = None,
    *,
    saves: str = "",
    rule: str = SAME,
    grad_name: str | None = None,
    check: Callable[[dtype], str | None] | None = None,
    dunder: str | None = None,
    raw_backward: Callable | None = None,
    refuse: Callable[[Any, Any], None] | None = None,
) -> Callable[[Any, Any], Any]:
    """Defines an elementwise operator of two operands; returns its recorder.

    backward(ctx, g) -> (grad of a, grad of b), not yet summed to the operands' shapes; ctx has a,
    b, out (as saved), needs(i). `raw_backward(node, g)` replaces it where speed matters. With
    `dunder="add"` Python's `+` and the reflected `+` are defined. `refuse(a, b)` looks at the
    operands first; it says that kernels look at values as well, and report the user's line.
    """
    b = Binary(name, fn, raw_backward or _pair_backward(backward), saves, rule, grad_name, check)
    if raw_backward is not None or backward is not None:
        pair = backward
        for op in b.number_ops:
            op.backward = lambda node, g: backward_number(pair, node, g)
    record = _record_binary(b, raw_backward or backward)
    if refuse is not None:
        record = _refusing(record, refuse)
        b.op.marks = b.number_ops[True].marks = True  # a number on the right is looked at here
    record.__name__ = record.__qualname__ = name
    if dunder:

        def reflected(self: Tensor, other: Any) -> Any:
            if not isinstance(self, Tensor):
                raise TypeError(
                    f"descriptor '__r{dunder}__' for 'torch._C.TensorBase' objects doesn't apply to a "
                    f"'{type(self).__name__}' object"
                )
            return record(other, self)

        def augmented(self: Tensor, other: Any) -> Any:
            before_write(self, (other,))
            got = record(self, other)
            return got if got is NotImplemented else write_back(self, got)

        reflected.__name__, augmented.__name__ = f"__r{dunder}__", f"__i{dunder}__"
        setattr(Tensor, f"__{dunder}__", record)
        setattr(Tensor, f"__r{dunder}__", reflected)
        setattr(Tensor, f"__i{dunder}__", augmented)
    return record


def _refusing(record: Callable, refuse: Callable[[Any, Any], None]) -> Callable[[Any, Any], Any]:
    def checked(a: Any, b: Any) -> Any:
        refuse(a, b)
        out = record(a, b)
        if type(a) is type(b) is Tensor and out.meta.dtype.kind in "iu":
            s = out._s
            if s.tape is not None:
                mark(s.tape, s.i, 2)
        return out

    return checked


def publish(name: str, function: Callable, *, aliases: tuple[str, ...] = (), method: bool = True,
            inplace: bool = True, torch: bool = True) -> None:  # fmt: skip
    """Makes function(input, ..., *, out=None) known, with its method and in-place variant."""

    def run_(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        before_write(self, args)
        since = next_seq()
        return write_back(self, function(self, *args, **kwargs), since)

    run_.__name__ = name + "_"
    for n in (name, *aliases):
        if torch:
            TORCH[n] = function
        if method:
            setattr(Tensor, n, function)
        if inplace:
            setattr(Tensor, n + "_", run_)


def operands(name: str, input: Any, other: Any) -> None:
    """TypeError in PyTorch's words where an operand is neither tensor nor number."""
    for place, arg, x in ((1, "input", input), (2, "other", other)):
        if not isinstance(x, Tensor) and number_of(x) is None:
            raise TypeError(
                f"{name}(): argument '{arg}' (position {place}) must be Tensor, not {type(x).__name__}"
            )
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        raise TypeError(
            f"{name}() received an invalid combination of arguments - got "
            f"({type(input).__name__}, {type(other).__name__})"
        )


def need_tensors(name: str, **given: Any) -> None:
    """TypeError in PyTorch's words where an argument is no tensor."""
    for place, (arg, x) in enumerate(given.items(), 1):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{name}(): argument '{arg}' (position {place}) must be Tensor, not {type(x).__name__}"
            )
