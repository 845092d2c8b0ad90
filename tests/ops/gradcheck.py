"""Derivatives against finite differences, in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import facula as torch

STEP = 1e-6


def check(fn: Callable, *arrays: np.ndarray, rtol: float = 1e-5) -> None:
    """fn's first derivatives, and the first derivatives of what the backward pass computes."""
    inputs = [torch.tensor(a, requires_grad=True) for a in arrays]
    weight = np.random.RandomState(0).randn(*fn(*inputs).shape)
    _first(lambda *xs: (fn(*xs) * torch.tensor(weight)).sum(), arrays, rtol)

    def squared(*xs):
        total = (fn(*xs) * torch.tensor(weight)).sum()
        grads = torch.autograd.grad(total, xs, create_graph=True)
        return sum((g * g).sum() for g in grads)

    _first(squared, arrays, rtol)


def _first(fn: Callable, arrays: tuple[np.ndarray, ...], rtol: float) -> None:
    inputs = [torch.tensor(a, requires_grad=True) for a in arrays]
    out = fn(*inputs)
    if not out.requires_grad:
        return
    grads = torch.autograd.grad(out, inputs, allow_unused=True)
    for k, (a, g) in enumerate(zip(arrays, grads, strict=True)):
        direction = np.random.RandomState(k).randn(*a.shape)
        ends = []
        for sign in (1, -1):
            moved = [b + sign * STEP * direction if i == k else b for i, b in enumerate(arrays)]
            ends.append(fn(*[torch.tensor(b, requires_grad=True) for b in moved]).item())
        slope = (ends[0] - ends[1]) / (2 * STEP)
        got = 0.0 if g is None else float((g.numpy() * direction).sum())
        assert np.isclose(got, slope, rtol=rtol, atol=1e-6), (k, got, slope)
