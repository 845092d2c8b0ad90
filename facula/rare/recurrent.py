"""`torch.lstm`, `torch.gru_cell` and the like: what nn.LSTM and its kin compute, as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import facula as torch
from facula.nn import recurrence

Tensor = torch.Tensor


def _sequence(mode: str, name: str) -> Callable:
    """The function of whole sequences: (input, hx, params, ...) or (data, batch_sizes, hx, ...)."""

    def run(input: Tensor, *args: Any, **kwargs: Any) -> tuple:
        first = args[0] if args else kwargs.get("batch_sizes")
        packed = isinstance(first, Tensor) and first.dtype == torch.int64
        names = ("hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional")
        names = ("batch_sizes", *names) if packed else (*names, "batch_first")
        given = dict(zip(names, args, strict=False)) | kwargs
        hx = given["hx"]
        state = tuple(hx) if mode == "LSTM" else (hx,)
        swap = bool(given.get("batch_first"))
        sizes = given["batch_sizes"].tolist() if packed else None
        output, last = recurrence.run(
            mode,
            input.transpose(0, 1) if swap else input,
            state,
            list(given["params"]),
            given["has_biases"],
            given["num_layers"],
            given["dropout"],
            given["train"],
            given["bidirectional"],
            sizes=sizes,
        )
        return (output.transpose(0, 1) if swap else output, *last)

    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"All layers of nn.{mode.split('_')[0]} over a sequence: (output, *last states)."
    return run


lstm = _sequence("LSTM", "lstm")
gru = _sequence("GRU", "gru")
rnn_tanh = _sequence("RNN_TANH", "rnn_tanh")
rnn_relu = _sequence("RNN_RELU", "rnn_relu")


def _step(mode: str, input: Tensor, state: Sequence[Tensor], *weights: Any) -> tuple:
    return tuple(recurrence.cell(mode, input, tuple(state), recurrence.Weights(*weights)))


def lstm_cell(input: Tensor, hx: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor,
              b_ih: Tensor | None = None, b_hh: Tensor | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(h, c) after one time step of an LSTM.

    >>> import facula as torch
    >>> x, h, w = torch.ones(1, 2), torch.zeros(1, 1), torch.ones(4, 2)
    >>> torch.lstm_cell(x, (h, h), w, torch.ones(4, 1))[0]
    tensor([[0.6083]])
    """
    return _step("LSTM", input, hx, w_ih, w_hh, b_ih, b_hh)  # type: ignore[return-value]


def gru_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
             b_hh: Tensor | None = None) -> Tensor:  # fmt: skip
    """The state after one time step of a GRU."""
    return _step("GRU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def rnn_tanh_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor,
                  b_ih: Tensor | None = None, b_hh: Tensor | None = None) -> Tensor:  # fmt: skip
    """The state after one time step of an Elman network with tanh."""
    return _step("RNN_TANH", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def rnn_relu_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor,
                  b_ih: Tensor | None = None, b_hh: Tensor | None = None) -> Tensor:  # fmt: skip
    """The state after one time step of an Elman network with relu."""
    return _step("RNN_RELU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]
