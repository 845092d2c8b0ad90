"""The computation of RNN, LSTM and GRU over a sequence, on public operators.

Everything goes through `layer`, one layer in one direction. It is one operator with a native
kernel (facula.ops.recurrent) in float32 and float64; what is composed here is for other types,
projections, and derivatives of derivatives. The products of the inputs with weight_ih do not depend
on the recurrence and are one matmul over all time steps.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import facula as torch
from facula import Tensor
from facula.nn import functional as F
from facula.ops import recurrent


class Weights(NamedTuple):
    """The weights of one layer in one direction."""

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None
    hr: Tensor | None = None  # projection of the hidden state (LSTM only)


# -- one time step -------------------------------------------------------------------
# A step takes the input's share of the gates and the state (a tuple of tensors), and gives
# the new state; state[0] is the output.


def _tanh_step(gates, state, w):
    return (torch.tanh(gates + F.linear(state[0], w.hh, w.bias_hh)),)


def _relu_step(gates, state, w):
    return (torch.relu(gates + F.linear(state[0], w.hh, w.bias_hh)),)


def _lstm_step(gates, state, w):
    h, c = state
    i, f, g, o = (gates + F.linear(h, w.hh, w.bias_hh)).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return (h if w.hr is None else F.linear(h, w.hr), c)


def _gru_step(gates, state, w):
    h = state[0]
    i_r, i_z, i_n = gates.chunk(3, -1)
    h_r, h_z, h_n = F.linear(h, w.hh, w.bias_hh).chunk(3, -1)
    r, z = torch.sigmoid(i_r + h_r), torch.sigmoid(i_z + h_z)
    n = torch.tanh(i_n + r * h_n)
    return ((h - n) * z + n,)


STEPS = {"RNN_TANH": _tanh_step, "RNN_RELU": _relu_step, "LSTM": _lstm_step, "GRU": _gru_step}


def cell(mode: str, input: Tensor, state, w: Weights):
    """One time step from the input itself: what RNNCell, LSTMCell and GRUCell compute."""
    if not torch.is_grad_enabled() and _native(input, state, w):  # else grad_fn would tell
        return _whole(mode, input, state, w, (1, input.shape[0]), False)[1]
    return STEPS[mode](F.linear(input, w.ih, w.bias_ih), state, w)


# -- one layer, one direction ----------------------------------------------------------


def _native(input: Tensor, state, w: Weights) -> bool:
    """Whether the operator takes it."""
    if w.hr is not None or torch.is_autocast_enabled("cpu"):
        return False
    if (w.bias_ih is None) != (w.bias_hh is None):
        return False
    tensors = [t for t in (input, *state, *w) if t is not None]
    kind = input.dtype
    return kind.name in recurrent.TYPES and all(t.dtype is kind and t.numel() for t in tensors)


def _whole(mode: str, rows: Tensor, state, w: Weights, sizes, reverse: bool, order=None):
    """One operator for all times."""
    biases = () if w.bias_ih is None else (w.bias_ih, w.bias_hh)
    return recurrent.recurrent(mode, rows, state, w.ih, w.hh, biases, sizes, reverse, order)


def layer(mode: str, input: Tensor, state, w: Weights, reverse: bool = False):
    """(output, last state) for an input (time, batch, features)."""
    if _native(input, state, w):
        times, batch, width = input.shape
        rows = input.reshape(times * batch, width)
        output, last = _whole(mode, rows, state, w, (times, batch), reverse)
        return output.view(times, batch, -1), last
    return _layer(mode, input, state, w, reverse)


def _layer(mode: str, input: Tensor, state, w: Weights, reverse: bool):
    step = STEPS[mode]
    gates = F.linear(input, w.ih, w.bias_ih).unbind(0)
    outputs = []
    for at in reversed(gates) if reverse else gates:
        state = step(at, state, w)
        outputs.append(state[0])
    if reverse:
        outputs.reverse()
    return torch.stack(outputs), state


class Packed(NamedTuple):
    """How sequences are packed: longest first, `sizes` rows at each time step."""

    sizes: tuple[int, ...]
    links: tuple[Tensor, ...]  # of each direction


def _packed(sizes, rows: int, batch: int, directions: int) -> Packed:
    """RuntimeError for sizes that the rows cannot have."""
    counts = tuple(int(n) for n in sizes if n)
    falling = all(a >= b > 0 for a, b in itertools.pairwise(counts))
    if not counts or counts[0] != batch or not falling or sum(counts) > rows:
        raise RuntimeError(
            f"expected batch_sizes that begin with {batch}, do not increase and add up to the "
            f"{rows} rows of the packed data, got {list(sizes)}"
        )
    order = [torch.tensor(recurrent.links(counts, reverse)) for reverse in range(directions)]
    return Packed(counts, tuple(order))


def packed_layer(mode: str, data: Tensor, packed: Packed, state, w: Weights, reverse: bool = False):
    """As `layer`, for packed sequences."""
    if _native(data, state, w):
        return _whole(mode, data, state, w, (packed.sizes,), reverse, packed.links[reverse])
    return _packed_layer(mode, data, packed.sizes, state, w, reverse)


def _packed_layer(mode: str, data: Tensor, sizes, state, w: Weights, reverse: bool):
    step = STEPS[mode]
    gates = F.linear(data, w.ih, w.bias_ih).split(sizes)
    run = _packed_backward if reverse else _packed_forward
    outputs, state = run(step, gates, sizes, state, w)
    return torch.cat(outputs), state


def _packed_forward(step, gates, sizes, state, w):
    outputs, finished = [], []
    running = sizes[0]
    for at, size in zip(gates, sizes, strict=True):
        if size < running:  # the shortest sequences end here
            finished.append(tuple(s[size:] for s in state))
            state = tuple(s[:size] for s in state)
            running = size
        state = step(at, state, w)
        outputs.append(state[0])
    parts = [state, *reversed(finished)]
    return outputs, tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))


def _packed_backward(step, gates, sizes, first, w):
    outputs = []
    state = tuple(s[: sizes[-1]] for s in first)
    running = sizes[-1]
    for at, size in zip(reversed(gates), reversed(sizes), strict=True):
        if size > running:  # sequences that begin (at their end) here
            joining = (s[running:size] for s in first)
            state = tuple(torch.cat(pair) for pair in zip(state, joining, strict=True))
            running = size
        state = step(at, state, w)
        outputs.append(state[0])
    outputs.reverse()
    return outputs, state


def _composed(mode: str, rows: Tensor, state, weights, sizes, reverse: bool):
    """What the operator computes, on public operators."""
    w = Weights(*weights)
    if len(sizes) == 1:
        return _packed_layer(mode, rows, sizes[0], state, w, reverse)
    output, last = _layer(mode, rows.view(*sizes, -1), state, w, reverse)
    return output.view(rows.shape[0], -1), last


recurrent.COMPOSED.append(_composed)


# -- the whole network -------------------------------------------------------------------


def _grouped(flat_weights, has_biases, projected):
    """The flat list of weights, one Weights per layer and direction."""
    per = (4 if has_biases else 2) + (1 if projected else 0)
    for at in range(0, len(flat_weights), per):
        group = flat_weights[at : at + per]
        biases = tuple(group[2:4]) if has_biases else (None, None)
        yield Weights(group[0], group[1], *biases, group[-1] if projected else None)


def _lowered(*tensors: Tensor) -> list[Tensor]:
    """Tensors in autocast's type; float64 is left alone."""
    d = torch.get_autocast_dtype("cpu")
    return [t if t.dtype == torch.float64 else t.to(d) for t in tensors]


def run(
    mode: str,
    input: Tensor,
    state,
    flat_weights,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
    sizes=None,
):
    """(output, state) of all layers; `sizes` is given for packed input.

    state: a tuple of tensors (layers * directions, batch, features), h or (h, c).
    """
    if mode == "LSTM" and torch.is_autocast_enabled("cpu"):
        # PyTorch's LSTM is on autocast's list as a whole; RNN and GRU are not, their products are
        input, *rest = _lowered(input, *state, *flat_weights)
        state, flat_weights = tuple(rest[: len(state)]), rest[len(state) :]
    directions = 2 if bidirectional else 1
    projected = mode == "LSTM" and state[0].size(-1) != state[1].size(-1)
    weights = iter(_grouped(flat_weights, has_biases, projected))
    first = [s.unbind(0) for s in state]
    packed = None
    if sizes is not None:
        packed = _packed(sizes, input.shape[0], state[0].shape[1], directions)
        input = input[: sum(packed.sizes)]
    last = []
    for number in range(num_layers):
        outputs = []
        for direction in range(directions):
            own = tuple(s[number * directions + direction] for s in first)
            args = (own, next(weights), direction == 1)
            if packed is None:
                output, end = layer(mode, input, *args)
            else:
                output, end = packed_layer(mode, input, packed, *args)
            outputs.append(output)
            last.append(end)
        input = outputs[0] if directions == 1 else torch.cat(outputs, -1)
        if dropout and training and number < num_layers - 1:
            input = F.dropout(input, dropout, training=True)
    return input, tuple(torch.stack(tensors) for tensors in zip(*last, strict=True))
