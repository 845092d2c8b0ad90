"""Layers of LSTM, GRU and RNN in one direction, one operator each.

Templates (NumPy meaning in graph/reference_recurrent.py):
  recurrent(x, h0, weight_ih, weight_hh[, c0][, biases]) -> out and what the backward pass reads;
  recurrent_backward(weight_hh, h0, out, ..., gradients) -> gradients of the gates' arguments.
The gradients of weights and inputs are products over all times at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from facula.graph.meta import Meta, meta_of
from facula.graph.reference_recurrent import pieces
from facula.graph.tape import Op
from facula.ops.apply import apply
from facula.ops.formula import recording
from facula.tensor import Tensor

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
TYPES = frozenset(("float32", "float64"))
# what a layer computes from public operators, for derivatives of derivatives; set by nn.recurrence
COMPOSED: list[Callable[..., Any]] = []


def _n_states(mode: str) -> int:
    return 2 if mode == "LSTM" else 1


def _kept_shapes(mode: str, rows: int, hidden: int) -> list[tuple[int, int]]:
    """The shapes of what the forward pass leaves besides out."""
    gates = (rows, GATES[mode] * hidden)
    return {"LSTM": [(rows, hidden), gates], "GRU": [gates, (rows, hidden)]}.get(mode, [])


def _infer(x: Meta, *rest: Any) -> tuple[Meta, ...]:
    """x is (rows, features), rows of all times one after the other."""
    *metas, mode, _sizes, _reverse, _bias = rest
    batch, hidden = metas[0].shape
    rows = x.shape[0]
    shapes = [
        (rows, hidden),
        *[(batch, hidden)] * _n_states(mode),
        *_kept_shapes(mode, rows, hidden),
    ]
    return tuple(meta_of(x.dtype, s, x.device) for s in shapes)


def _times(sizes: Any) -> tuple[int, ...]:
    """Rows at each time; (times, rows) where it is always the same."""
    return (sizes[1],) * sizes[0] if type(sizes[0]) is int else sizes[0]


def _rows_of(g: Any, v: Any, at: int, count: int) -> Any:
    return g.slice(v, (at, 0), (count, v.shape[1]), (1, 1))


def _joined(g: Any, parts: Sequence[tuple[Any, int, int]]) -> Any:
    """Rows (value, first, count), neighbours taken together."""
    runs: list[list[Any]] = []
    for v, at, count in parts:
        if runs and runs[-1][0] is v and runs[-1][1] + runs[-1][2] == at:
            runs[-1][2] += count
        else:
            runs.append([v, at, count])
    return g.cat([_rows_of(g, *run) for run in runs], 0)


def _ends(g: Any, v: Any, sizes: Sequence[int], reverse: bool) -> Any:
    """The last row of each row of the batch."""
    last = [p for p in pieces(sizes, reverse) if p.after is None]
    return _joined(g, [(v, p.at, p.rows) for p in sorted(last, key=lambda p: p.first)])


def _starts(g: Any, v: Any, sizes: Sequence[int], reverse: bool) -> Any:
    """The row with which each row of the batch begins."""
    first = [p for p in pieces(sizes, reverse) if p.before is None]
    return _joined(g, [(v, p.at, p.rows) for p in sorted(first, key=lambda p: p.first)])


def _biases(g: Any, mode: str, hidden: int, b_ih: Any, b_hh: Any) -> list[Any]:
    """The bias of the gates; GRU's share of the state in its last gate has one of its own."""
    if mode != "GRU":
        return [b_ih + b_hh]
    both = g.pad(g.slice(b_hh, (0,), (2 * hidden,), (1,)), (0,), (hidden,))
    return [b_ih + both, g.slice(b_hh, (2 * hidden,), (hidden,), (1,))]


def _expand(g: Any, x: Any, *rest: Any) -> Any:
    *vals, mode, sizes, reverse, bias = rest
    n = _n_states(mode)
    h0, *c0 = vals[:n]
    w_ih, w_hh, *biases = vals[n:]
    rows, hidden = x.shape[0], h0.shape[1]
    more = _biases(g, mode, hidden, *biases) if bias else []
    times = _times(sizes)
    outs = [(x.dtype, s) for s in [(rows, hidden), *_kept_shapes(mode, rows, hidden)]]
    got = g.template(
        "recurrent", outs, (x, h0, w_ih, w_hh, *c0, *more), (mode, times, reverse, bias)
    )
    states = [_ends(g, v, times, reverse) for v in got[:n]]
    return [got[0], *states, *got[1:]]


def _backward(n: Any, *grads: Any) -> tuple:
    mode, sizes, reverse, bias = n.params
    count, states = len(n.inst.ins), _n_states(mode)
    grads = grads[: 1 + states]
    if recording():
        return _composed_backward(n, grads)
    given = tuple(d is not None for d in grads)
    wants = tuple(n.needs(i) for i in range(count))
    saved = [n.tensor(i).detach() for i in range(len(n.saved))]
    ins, outs = saved[: 3 + states], saved[count:]
    needed = [d for d in grads if d is not None]
    got = apply(BACKWARD, (*ins, *outs, *needed), (mode, sizes, reverse, given, wants))
    it = iter(got if isinstance(got, tuple) else (got,))
    last = 3 + states
    out = [next(it) if want else None for want in wants[:last]]
    if bias:
        out += _bias_grads(mode, wants[last:], it)
    return tuple(out)


def _bias_grads(mode: str, wants: tuple[bool, ...], it: Any) -> list[Any]:
    if mode == "GRU":
        return [next(it) if want else None for want in wants]
    d = next(it) if any(wants) else None
    return [d if want else None for want in wants]


def _back_infer(x: Meta, *rest: Any) -> tuple[Meta, ...]:
    *metas, mode, _sizes, _reverse, _given, wants = rest
    n = _n_states(mode)
    ins = [x, *metas[: 2 + n]]
    out = [m.plain() for m, want in zip(ins, wants, strict=False) if want]
    flags = wants[len(ins) :]
    b = meta_of(x.dtype, (metas[n].shape[0],), x.device)
    return (*out, *[b] * (sum(flags) if mode == "GRU" else any(flags)))


def _back_expand(g: Any, x: Any, *rest: Any) -> Any:
    *vals, mode, sizes, reverse, given, wants = rest
    n = _n_states(mode)
    h0, *c0 = vals[:n]
    w_ih, w_hh = vals[n : n + 2]
    out, *kept = vals[n + 2 :]
    times = _times(sizes)
    rows, batch, hidden = x.shape[0], *h0.shape
    wide = (x.dtype, (rows, GATES[mode] * hidden))
    carry = (x.dtype, (batch, hidden))
    outs = {"LSTM": [wide, carry], "GRU": [wide, wide, carry]}.get(mode, [wide])
    absent = (False,) * (3 - len(given))
    got = g.template(
        "recurrent_backward",
        outs,
        (w_hh, h0, out, *c0, *kept),
        (mode, times, reverse, (*given, *absent)),
    )
    d, d_state = got[0], got[1] if mode == "GRU" else got[0]

    def h0_grad() -> Any:
        part = g.matmul(_starts(g, d_state, times, reverse), w_hh)
        return part + got[2] if mode == "GRU" else part

    def w_hh_grad() -> Any:
        order = sorted(pieces(times, reverse), key=lambda p: p.at)
        before = _joined(
            g,
            [(h0, p.first, p.rows) if p.before is None else (out, p.before, p.rows) for p in order],
        )
        return g.matmul(g.permute(d_state, (1, 0)), before)

    makers: list[Callable[[], Any]] = [
        lambda: g.matmul(d, w_ih),
        h0_grad,
        *[lambda: got[1]] * (n - 1),
        lambda: g.matmul(g.permute(d, (1, 0)), x),
        w_hh_grad,
    ]
    made = [make() for make, want in zip(makers, wants, strict=False) if want]
    flags = wants[len(makers) :]
    sums = [d, d_state] if mode == "GRU" else [d]
    if mode != "GRU":
        flags = (any(flags),)
    return made + [
        g.reduce("sum", v, 0, keepdim=False) for v, want in zip(sums, flags, strict=False) if want
    ]


def _composed_backward(n: Any, grads: Sequence[Any]) -> tuple:
    """The derivative by way of the layer in public operators, for derivatives of it."""
    from facula.autograd import grad as gradients

    mode, sizes, reverse, _ = n.params
    states = _n_states(mode)
    # views, so that a tensor given twice has its own gradient for each
    operands = []
    for i in range(len(n.inst.ins)):
        t = n.tensor(i)
        operands.append(t.view_as(t))
    x, *rest = operands
    out, last = COMPOSED[0](mode, x, tuple(rest[:states]), rest[states:], sizes, reverse)
    pairs = [(y, d) for y, d in zip((out, *last), grads, strict=True) if d is not None]
    wanted = [i for i in range(len(operands)) if n.needs(i)]
    got = gradients(
        [y for y, _ in pairs],
        [operands[i] for i in wanted],
        [d for _, d in pairs],
        create_graph=True,
        allow_unused=True,
    )
    by_number = dict(zip(wanted, got, strict=True))
    return tuple(by_number.get(i) for i in range(len(operands)))


def _op(mode: str, bias: bool) -> Op:
    n = 3 + _n_states(mode) + 2 * bias
    kept = range(1 + _n_states(mode), 1 + _n_states(mode) + len(_kept_shapes(mode, 1, 1)))
    saves = [*map(str, range(n)), "out0", *(f"out{k}" for k in kept)]
    return Op(
        "recurrent",
        _infer,
        _expand,
        _backward,
        saves=" ".join(saves),
        grad_name="MkldnnRnnLayerBackward0" if mode == "LSTM" else "StackBackward0",
        materialize=False,
    )


OPS = {(mode, bias): _op(mode, bias) for mode in GATES for bias in (False, True)}
BACKWARD = Op("recurrent_backward", _back_infer, _back_expand)


def recurrent(mode: str, x: Tensor, state: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor,
              biases: Sequence[Tensor], sizes: tuple[int, int] | tuple[tuple[int, ...]],
              reverse: bool) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
    """(output, last state) for rows (sum of sizes, features); sizes: (times, batch), or a tuple
    in a tuple: how many rows there are at each time, longest sequences first."""
    operands = (x, *state, w_ih, w_hh, *biases)
    got = apply(OPS[mode, bool(biases)], operands, (mode, sizes, reverse, bool(biases)))
    return got[0], tuple(got[1 : 1 + len(state)])
