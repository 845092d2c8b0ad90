"""The NumPy meaning of recurrent layers: what their native kernels must give.

Rows of x are those of a packed sequence: `sizes[t]` rows at each time t, one after the other. A row
of the batch keeps its place among the rows of each time. `reverse` runs against time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from facula.graph.reference import TEMPLATES

Array = np.ndarray


class Piece(NamedTuple):
    """Rows first .. first+rows of the batch at one time, at `at` in packed order.

    `before` and `after` are where the same rows lie one step of the run earlier and later; None
    where they begin or end.
    """

    first: int
    rows: int
    at: int
    before: int | None
    after: int | None


def pieces(sizes: Sequence[int], reverse: bool) -> list[Piece]:
    """The steps of a run, in order; one time is in several pieces where rows begin or end."""
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    order = list(range(len(sizes)))
    if reverse:
        order.reverse()
    out: list[Piece] = []
    for number, t in enumerate(order):
        neighbours = []
        for other in (number - 1, number + 1):
            known = 0 <= other < len(order)
            neighbours.append((sizes[order[other]], starts[order[other]]) if known else (0, 0))
        (held, earlier), (kept, later) = neighbours
        cuts = sorted({0, min(held, sizes[t]), min(kept, sizes[t]), sizes[t]})
        for a, b in itertools.pairwise(cuts):
            before = earlier + a if b <= held else None
            after = later + a if b <= kept else None
            out.append(Piece(a, b - a, starts[t] + a, before, after))
    return out


def _rows(p: Piece, link: int | None, start: Array, rows: Array) -> Array:
    """What a piece goes on from."""
    return start[p.first : p.first + p.rows] if link is None else rows[link : link + p.rows]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def recurrent(x: Array, h0: Array, w_ih: Array, w_hh: Array, *rest: Any) -> list[Array]:
    """LSTM: out, c, gates; GRU: out, gates, the new gate's share of the state; RNN: out.

    rest: c0 (LSTM), a bias of the gates, a bias of GRU's share of the state; then what is static.
    """
    *tensors, mode, sizes, reverse, has_bias = rest
    tensors = list(tensors)
    c0 = tensors.pop(0) if mode == "LSTM" else None
    gates = x @ w_ih.T
    if has_bias:
        gates = gates + tensors.pop(0)
    hidden = h0.shape[1]
    out, other = (np.zeros((len(x), hidden), x.dtype) for _ in range(2))
    for p in pieces(sizes, reverse):
        here = slice(p.at, p.at + p.rows)
        h = _rows(p, p.before, h0, out)
        s = h @ w_hh.T
        if mode == "LSTM":
            c = _rows(p, p.before, c0, other)
            i, f, g, o = np.split(gates[here] + s, 4, -1)
            i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
            gates[here] = np.concatenate((i, f, g, o), -1)
            other[here] = f * c + i * g
            out[here] = o * np.tanh(other[here])
        elif mode == "GRU":
            i_r, i_z, i_n = np.split(gates[here], 3, -1)
            h_r, h_z, h_n = np.split(s, 3, -1)
            h_n = h_n + tensors[0] if has_bias else h_n
            r, z = _sigmoid(i_r + h_r), _sigmoid(i_z + h_z)
            n = np.tanh(i_n + r * h_n)
            gates[here] = np.concatenate((r, z, n), -1)
            other[here] = h_n
            out[here] = (h - n) * z + n
        else:
            s = gates[here] + s
            out[here] = np.tanh(s) if mode == "RNN_TANH" else np.maximum(s, 0)
    return {"LSTM": [out, other, gates], "GRU": [out, gates, other]}.get(mode, [out])


def recurrent_backward(w_hh: Array, h0: Array, out: Array, *rest: Any) -> list[Array]:
    """LSTM: gradients of the gates' arguments and of c0; GRU: those of the gates' arguments by way
    of the input and of the state, and the part of h0's that does not pass the product; RNN: the
    gates' arguments'.

    rest: c0, c, gates (LSTM) or gates and the share of the state (GRU); the gradients of out, h_n,
    c_n, those that `given` says are there; then what is static.
    """
    *tensors, mode, sizes, reverse, given = rest
    kept = tensors[: {"LSTM": 3, "GRU": 2}.get(mode, 0)]
    grads = iter(tensors[len(kept) :])
    dout, dhn, dcn = (next(grads) if there else None for there in given)
    batch, hidden = h0.shape
    zeros = np.zeros((batch, hidden), out.dtype)
    ends = zeros if dhn is None else dhn
    carry = np.array((zeros if dcn is None else dcn) if mode == "LSTM" else ends)
    d = np.zeros((len(out), w_hh.shape[0]), out.dtype)
    d_state = np.zeros_like(d) if mode == "GRU" else d
    for p in reversed(pieces(sizes, reverse)):
        here, rows = slice(p.at, p.at + p.rows), slice(p.first, p.first + p.rows)
        dh = np.zeros((p.rows, hidden), out.dtype)
        if p.after is not None:
            dh = d_state[p.after : p.after + p.rows] @ w_hh
        elif mode != "GRU":
            dh = ends[rows]
        dh = dh if dout is None else dh + dout[here]
        if mode == "LSTM":
            c0, c, gates = kept
            i, f, g, o = np.split(gates[here], 4, -1)
            flat = np.tanh(c[here])
            dc = carry[rows] + dh * o * (1 - flat * flat)
            carry[rows] = dc * f
            parts = (dc * g * i * (1 - i), dc * _rows(p, p.before, c0, c) * f * (1 - f),
                     dc * i * (1 - g * g), dh * flat * o * (1 - o))  # fmt: skip
            d[here] = np.concatenate(parts, -1)
        elif mode == "GRU":
            r, z, n = np.split(kept[0][here], 3, -1)
            dh = dh + carry[rows]
            carry[rows] = dh * z
            dn = dh * (1 - z) * (1 - n * n)
            dz = dh * (_rows(p, p.before, h0, out) - n) * z * (1 - z)
            dr = dn * kept[1][here] * r * (1 - r)
            d[here] = np.concatenate((dr, dz, dn), -1)
            d_state[here] = np.concatenate((dr, dz, dn * r), -1)
        else:
            h = out[here]
            d[here] = dh * (1 - h * h) if mode == "RNN_TANH" else np.where(h > 0, dh, 0)
    return {"LSTM": [d, carry], "GRU": [d, d_state, carry]}.get(mode, [d])


TEMPLATES["recurrent"] = recurrent
TEMPLATES["recurrent_backward"] = recurrent_backward
