"""Errors that programs catch: their types, and the words they look for."""

from __future__ import annotations

import pytest

import facula as torch
import facula.nn.functional as F

x = torch.ones(2, 3)
CASES = [
    (lambda: x.clamp(), RuntimeError, "At least one of 'min' or 'max' must not be None"),
    (lambda: x.masked_fill(x, 0), RuntimeError, "only supports boolean masks"),
    (lambda: x.topk(9), RuntimeError, "selected index k out of range"),
    (lambda: x.repeat(2), RuntimeError, "Number of dimensions of repeat dims"),
    (lambda: torch.linalg.inv(torch.zeros(2, 2)), torch.linalg.LinAlgError, "singular"),
    (lambda: torch.linalg.cholesky(-torch.eye(2)), torch.linalg.LinAlgError, "not positive-definite"),
    (lambda: torch.linalg.det(x), RuntimeError, "must be batches of square matrices"),
    (lambda: torch.einsum("ij,jk->ik", x), RuntimeError, "fewer operands"),
    (lambda: torch.maximum(x, 1), TypeError, "must be Tensor, not int"),
    (lambda: torch.eq(1, x), TypeError, "must be Tensor, not int"),
    (lambda: torch.complex(x, x.double()), RuntimeError, "Expected object of scalar type"),
    (lambda: torch.view_as_complex(x), RuntimeError, "last dimension of size 2"),
    (lambda: x.quantile(2.0), RuntimeError, "must be in the range"),
    (lambda: x + torch.ones(4, 5), RuntimeError, r"a \(3\) must match .* b \(5\) .* dimension 1"),
    (lambda: F.cross_entropy(x, torch.ones(2, dtype=torch.int32)), RuntimeError, "Long or Byte, but got Int"),
    (lambda: F.nll_loss(x, torch.ones(2)), RuntimeError, "Long or Byte, but got Float"),
    (lambda: -(x > 0), RuntimeError, "on a bool tensor is not supported"),
    (lambda: F.relu(x > 0), RuntimeError, "Boolean inputs not supported for relu"),
    (lambda: torch.floor(x > 0), NotImplementedError, "not implemented for 'Bool'"),
    (lambda: torch.sign(x * 1j), NotImplementedError, "use torch.sgn instead"),
    (lambda: torch.fft.fft(x, norm="none"), RuntimeError, "Invalid normalization mode"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "words"), CASES)
def test_errors(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


@pytest.mark.parametrize(
    "spoil", [lambda x, v: v.sub_(1), lambda x, v: x.mul_(2), lambda x, v: v.sub_(v)]
)
@pytest.mark.parametrize("view", [lambda x: x.T, lambda x: x[1:], lambda x: x.view(6)])
def test_a_result_written_into_a_view_is_spoiled_by_a_later_write(view, spoil):
    y = torch.ones(2, 3, requires_grad=True)
    x = torch.zeros(2, 3)
    x.copy_(y)
    v = view(x)
    v.tanh_()  # keeps its result
    spoil(x, v)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        x.sum().backward()
