"""Recurrent layers: the input's products at once, then a step of a kernel for each time."""

from __future__ import annotations

from typing import Any

from facula.graph.ir import Val
from facula.graph.reference_recurrent import Piece, pieces
from facula.kernel.recurrent import GATES, StepSizes, Sweep, pack_weights, plan_inputs, sweep_of
from facula.llvm.target import Target
from facula.schedule.templates.common import contiguous, planner, result

_TYPES = frozenset(("float32", "float64"))
At = tuple[int, int]


class _Room:
    """Parts of the step's workspace, for what is not a result of the plan."""

    def __init__(self, builder: Any, itemsize: int) -> None:
        self.builder, self.itemsize = builder, itemsize
        self.slot = builder.workspace(64)
        self.used = 0

    def take(self, count: int) -> At:
        at = self.used
        self.used = at + -(-count // 16) * 16
        self.builder.workspace(self.used * self.itemsize + 64)
        return self.slot, at

    def result(self, v: Val, k: int) -> At:
        """The k-th result's place, or a part of the workspace if nobody reads it."""
        place = result(self.builder, v, k)
        if place is not None:
            return place.slot, place.offset
        _, shape = v.arg[0][k]
        count = 1
        for n in shape:
            count *= n
        return self.take(count)


def _operands(builder: Any, srcs: Any) -> tuple[list[Any], list[At]] | None:
    steps, places = [], []
    for s in srcs:
        got = contiguous(builder, s)
        if got is None:
            return None
        steps += got[0]
        places.append(got[1:])
    return steps, places


def _past(at: At, rows: int, width: int) -> At:
    """A place some rows further on."""
    return at[0], at[1] + rows * width


def _linked(link: int | None, first: int, start: At, rows: At, width: int) -> At:
    """What a piece goes on from: a place in the start's rows, or in the run's."""
    return _past(start, first, width) if link is None else _past(rows, link, width)


def _sweep(mode: str, backward: bool, sizes: Any, hidden: int, dtype: str, target: Target) -> Any:
    """How to go through all times in one step; None if there must be one for each."""
    if len(set(sizes)) > 1:
        return None
    return sweep_of(mode, backward, (len(sizes), sizes[0], hidden), dtype, target)


def _time_steps(shared: StepSizes, cut: Sweep | None, a_row: int, times: list[Any]) -> list[Any]:
    """The steps of all times, each given as its rows, what the weights are multiplied with, arrays."""
    if cut is None:
        return [shared.step(rows, a, a_row, arrays) for rows, a, arrays in times]
    return [shared.sweep(cut, times[0][0], a_row, [(a, arrays) for _, a, arrays in times])]


@planner("recurrent")
def _forward(builder: Any, v: Val) -> list[Any] | None:
    """LSTM: out, c, gates; GRU: out, gates, share of the state; RNN: out."""
    x, h0, w_ih, *_ = v.srcs
    mode, sizes, reverse, has_bias = v.arg[1]
    got = _operands(builder, v.srcs) if x.dtype.name in _TYPES and v.numel else None
    if got is None:
        return None
    steps, (at_x, at_h0, at_ih, at_hh, *more) = got
    hidden, n_gates, target = h0.shape[1], GATES[mode], Target.host()
    at_c0 = more.pop(0) if mode == "LSTM" else None
    width = n_gates * hidden
    bias = more[0] if has_bias else None
    room = _Room(builder, x.dtype.itemsize)

    def product(to: At) -> Any:
        sizes = (*x.shape, w_ih.shape[0])
        return plan_inputs(sizes, at_x, at_ih, bias, to, x.dtype.name, room.slot)

    # what the product packs comes first in the workspace; how much it is, shapes alone say
    room.take(product((0, 0)).workspace_bytes // x.dtype.itemsize + 1)
    out = room.result(v, 0)
    keeps = any(result(builder, v, k) for k in range(2 if mode == "LSTM" else 1, len(v.arg[0])))
    if mode == "LSTM":
        cells, gates = room.result(v, 1), room.result(v, 2)
    elif mode == "GRU":
        gates, cells = room.result(v, 1), room.result(v, 2)
    else:
        gates, cells = (out if n_gates == 1 else room.take(x.shape[0] * width)), None
    steps += product(gates).steps
    cut = _sweep(mode, False, sizes, hidden, x.dtype.name, target)
    pack, packed, used = pack_weights(
        *(mode, False, hidden, (*at_hh, hidden), x.dtype.name, room.slot, room.used, target),
        cut.vectors if cut else 0,
    )
    room.take(used - room.used)
    steps.append(pack)
    shared = StepSizes(mode, False, x.dtype.name, hidden, packed, target, keeps)
    times: list[Any] = []
    for p in pieces(sizes, reverse):
        h = _linked(p.before, p.first, at_h0, out, hidden)
        arrays = {"gates": _past(gates, p.at, width), "out": _past(out, p.at, hidden)}
        if mode == "LSTM":
            arrays["before"] = _linked(p.before, p.first, at_c0, cells, hidden)
            arrays["c"] = _past(cells, p.at, hidden)
        elif mode == "GRU":
            arrays["before"] = h
            arrays["linear"] = _past(cells, p.at, hidden)
            if has_bias:
                arrays["bias"] = more[1]
        times.append((p.rows, h, arrays))
    return steps + _time_steps(shared, cut, hidden, times)


@planner("recurrent_backward")
def _backward(builder: Any, v: Val) -> list[Any] | None:
    """LSTM: dgates, carry; GRU: dgates, dstate, carry; RNN: dgates."""
    w_hh, h0, *_ = v.srcs
    mode, sizes, reverse, given = v.arg[1]
    if w_hh.dtype.name not in _TYPES or not v.numel:
        return None
    got = _operands(builder, v.srcs)
    if got is None:
        return None
    steps, (at_hh, at_h0, at_out, *more) = got
    hidden, target = h0.shape[1], Target.host()
    n_kept = {"LSTM": 3, "GRU": 2}.get(mode, 0)
    kept, grads = more[:n_kept], iter(more[n_kept:])
    dout, dhn, dcn = (next(grads) if there else None for there in given)
    room = _Room(builder, w_hh.dtype.itemsize)
    results = [room.result(v, k) for k in range(len(v.arg[0]))]
    cut = _sweep(mode, True, sizes, hidden, w_hh.dtype.name, target)
    pack, packed, used = pack_weights(
        *(mode, True, hidden, (*at_hh, hidden), w_hh.dtype.name, room.slot, room.used, target),
        cut.vectors if cut else 0,
    )
    room.take(used - room.used)
    steps.append(pack)
    shared = StepSizes(mode, True, w_hh.dtype.name, hidden, packed, target)
    width = GATES[mode] * hidden
    ends = {"LSTM": (dhn, dcn), "GRU": (None, dhn)}.get(mode, (dhn, None))
    times: list[Any] = []
    for p in reversed(pieces(sizes, reverse)):
        arrays = _backward_arrays(mode, p, hidden, width, (at_h0, at_out), kept, results)
        if dout:
            arrays["dout"] = _past(dout, p.at, hidden)
        extra, start = ends if p.after is None else (None, None)
        if extra:
            arrays["extra"] = _past(extra, p.first, hidden)
        if mode in ("LSTM", "GRU"):
            carry = _past(results[-1], p.first, hidden)
            arrays["carry"] = carry
            if p.after is not None:
                arrays["carry_in"] = carry
            elif start:
                arrays["carry_in"] = _past(start, p.first, hidden)
        source = results[1] if mode == "GRU" else results[0]
        a = None if p.after is None else _past(source, p.after, width)
        times.append((p.rows, a, arrays))
    return steps + _time_steps(shared, cut, width, times)


def _backward_arrays(mode: str, p: Piece, hidden: int, width: int, states: Any, kept: Any,
                     results: Any) -> dict[str, Any]:  # fmt: skip
    """Where a piece's saved values lie and its results go."""
    arrays: dict[str, Any] = {"dgates": _past(results[0], p.at, width)}
    if mode == "LSTM":
        c0, cells, gates = kept
        arrays["before"] = _linked(p.before, p.first, c0, cells, hidden)
        arrays["c"] = _past(cells, p.at, hidden)
        arrays["gates"] = _past(gates, p.at, width)
    elif mode == "GRU":
        gates, linear = kept
        arrays["before"] = _linked(p.before, p.first, *states, hidden)
        arrays["gates"] = _past(gates, p.at, width)
        arrays["linear"] = _past(linear, p.at, hidden)
        arrays["dstate"] = _past(results[1], p.at, width)
    else:
        arrays["out"] = _past(states[1], p.at, hidden)
    return arrays
