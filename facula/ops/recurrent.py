"""Layers of LSTM, GRU and RNN in one direction, one operator each.

Templates (NumPy meaning in graph/reference_recurrent.py):
  recurrent(x, h0, weight_ih, weight_hh[, c0][, biases]) -> out and what the backward pass reads;
  recurrent_backward(weight_hh, h0, out, ..., gradients) -> gradients of the gates' arguments.
The gradients of weights and inputs are products over all times at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from facula.graph.meta import Meta, meta_of
from facula.graph.tape import LOCAL, Op
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
    return sizes[0] if _packed(sizes) else (sizes[1],) * sizes[0]


def _packed(sizes: Any) -> bool:
    return type(sizes[0]) is tuple


def links(sizes: Sequence[int], reverse: bool) -> np.ndarray:
    """Which rows belong together, for rows packed longest sequence first.

    For each row of the batch, where its last time is among the rows of x; then for each row of x
    what it goes on from, among the rows of the batch and of x, one after the other.
    As an operand it keeps plans short: row numbers in the plan would be a copy for each time.
    """
    counts = np.array(sizes, dtype=np.int64)
    starts = np.concatenate(([0], counts.cumsum()))
    batch = np.arange(counts[0])
    last = starts[(counts[:, None] > batch).sum(0) - 1] + batch
    time = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(starts[-1]) - starts[time]
    other = time + (1 if reverse else -1)
    near = np.clip(other, 0, len(counts) - 1)
    goes_on = (near == other) & (row < counts[near])
    return np.concatenate((last, np.where(goes_on, counts[0] + starts[near] + row, row)))


def _rows_of(g: Any, v: Any, at: int, count: int) -> Any:
    return g.slice(v, (at, *[0] * (v.ndim - 1)), (count, *v.shape[1:]), (1,) * v.ndim)


def _edge(g: Any, v: Any, batch: int, late: bool, links: Any) -> Any:
    """The rows of each sequence's first time, or of its last."""
    if not late:
        return _rows_of(g, v, 0, batch)
    if links is None:
        return _rows_of(g, v, v.shape[0] - batch, batch)
    return g.take(v, _rows_of(g, links, 0, batch), 0)


def _before(g: Any, h0: Any, out: Any, reverse: bool, links: Any) -> Any:
    """The state that each row of x goes on from."""
    batch, rows = h0.shape[0], out.shape[0]
    if links is None:
        kept = _rows_of(g, out, batch if reverse else 0, rows - batch)
        return g.cat([kept, h0] if reverse else [h0, kept], 0)
    at = _rows_of(g, links, batch, rows)
    first = g.take(h0, g.binary("minimum", at, batch - 1), 0)
    later = g.take(out, g.binary("maximum", at - batch, 0), 0)
    begins = g.expand(g.reshape(at < batch, (rows, 1)), out.shape)
    return g.where(begins, first, later)


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
    w_ih, w_hh, *rest = vals[n:]
    biases, order = rest[: 2 * bias], (rest[2 * bias :] or [None])[0]
    rows, hidden = x.shape[0], h0.shape[1]
    more = _biases(g, mode, hidden, *biases) if bias else []
    times = _times(sizes)
    outs = [(x.dtype, s) for s in [(rows, hidden), *_kept_shapes(mode, rows, hidden)]]
    got = g.template(
        "recurrent", outs, (x, h0, w_ih, w_hh, *c0, *more), (mode, times, reverse, bias)
    )
    states = [_edge(g, v, h0.shape[0], not reverse, order) for v in got[:n]]
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
    last = 3 + states
    ins, order, outs = saved[:last], saved[last + 2 * bias : count], saved[count:]
    needed = [d for d in grads if d is not None]
    got = apply(BACKWARD, (*ins, *order, *outs, *needed), (mode, sizes, reverse, given, wants))
    _note_packed(order)
    it = iter(got if isinstance(got, tuple) else (got,))
    out = [next(it) if want else None for want in wants[:last]]
    if bias:
        out += _bias_grads(mode, wants[last : last + 2], it)
    return (*out, *[None] * len(order))


def _note_packed(order: Sequence[Tensor]) -> None:
    """The next batch will have other lengths."""
    if order:
        LOCAL.tape.varies = True


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
    w_ih, w_hh, *after = vals[n:]
    order = after.pop(0) if _packed(sizes) else None
    out, *kept = after
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
        part = g.matmul(_edge(g, d_state, batch, reverse, order), w_hh)
        return part + got[2] if mode == "GRU" else part

    def w_hh_grad() -> Any:
        return g.matmul(g.permute(d_state, (1, 0)), _before(g, h0, out, reverse, order))

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

    mode, sizes, reverse, bias = n.params
    states = _n_states(mode)
    # views, so that a tensor given twice has its own gradient for each
    operands = []
    for i in range(len(n.inst.ins)):
        t = n.tensor(i)
        operands.append(t.view_as(t))
    x, *rest = operands
    weights = rest[states : states + 2 + 2 * bias]
    out, last = COMPOSED[0](mode, x, tuple(rest[:states]), weights, sizes, reverse)
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


def _op(mode: str, bias: bool, packed: bool) -> Op:
    n = 3 + _n_states(mode) + 2 * bias + packed
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
        shows=_lstm_shows if mode == "LSTM" and not packed else None,
    )


def _lstm_shows(n: Any) -> tuple:
    """PyTorch's layer takes the weights before the two states."""
    x, h, c, *weights = n.edges
    return (x, *weights, h, c)


OPS = {
    key: _op(*key) for key in itertools.product(GATES, (False, True), (False, True))
}  # by mode, whether there are biases, whether sequences are packed
BACKWARD = Op("recurrent_backward", _back_infer, _back_expand)


def recurrent(mode: str, x: Tensor, state: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor,
              biases: Sequence[Tensor], sizes: tuple[int, int] | tuple[tuple[int, ...]],
              reverse: bool, order: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
    """(output, last state) for rows (sum of sizes, features); sizes: (times, batch), or a tuple
    in a tuple: how many rows there are at each time, longest sequences first; then with `order`,
    their `links`."""
    packed = () if order is None else (order,)
    op = OPS[mode, bool(biases), bool(packed)]
    operands = (x, *state, w_ih, w_hh, *biases, *packed)
    got = apply(op, operands, (mode, sizes, reverse, bool(biases)))
    _note_packed(packed)
    return got[0], tuple(got[1 : 1 + len(state)])
