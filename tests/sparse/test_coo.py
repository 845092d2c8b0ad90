"""Sparse tensors in coordinate form; expected figures are PyTorch 2.13's."""

from __future__ import annotations

import pytest

import facula as torch

AT = [[0, 1, 1], [2, 0, 2]]
DENSE = torch.tensor([[0.0, 0.0, 3.0], [4.0, 0.0, 5.0]])


def made(values=(3.0, 4.0, 5.0), **kwargs):
    return torch.sparse_coo_tensor(torch.tensor(AT), torch.tensor(values), (2, 3), **kwargs)


def test_what_it_says_and_holds():
    x = made()
    assert repr(x) == (
        "tensor(indices=tensor([[0, 1, 1],\n                       [2, 0, 2]]),\n"
        "       values=tensor([3., 4., 5.]),\n       size=(2, 3), nnz=3, layout=torch.sparse_coo)"
    )
    assert isinstance(x, torch.Tensor) and x.is_sparse and x.layout is torch.sparse_coo
    assert x.shape == (2, 3) and x.dtype is torch.float32 and x.numel() == 6
    assert (x.sparse_dim(), x.dense_dim(), x._nnz()) == (2, 0, 3)
    assert torch.equal(x.to_dense(), DENSE)
    assert not DENSE.is_sparse
    with pytest.raises(RuntimeError, match=r"please call \.coalesce"):
        x.indices()
    with pytest.raises(NotImplementedError, match="not offered on sparse tensors"):
        torch.exp(x)


def test_coalesce_adds_up_and_sorts():
    x = torch.sparse_coo_tensor([[1, 0, 1], [0, 1, 0]], [1.0, 2.0, 3.0], (2, 2)).coalesce()
    assert x.is_coalesced()
    assert x.indices().tolist() == [[0, 1], [1, 0]] and x.values().tolist() == [2, 4]


def test_dense_to_sparse_and_back():
    x = DENSE.to_sparse()
    assert x.indices().tolist() == AT and x.values().tolist() == [3, 4, 5]
    rows = DENSE.to_sparse(1)
    assert rows.values().shape == (2, 3) and torch.equal(rows.to_dense(), DENSE)


def test_arithmetic():
    x = made()
    for got, want in (
        (x * 2, DENSE * 2), (2 * x, DENSE * 2), (x / 2, DENSE / 2), (-x, -DENSE), (x + x, DENSE * 2),
        (x - x * 3, DENSE * -2), (x.t(), DENSE.t()), (x.to(torch.float64), DENSE.double()),
        (x * DENSE, DENSE * DENSE), (torch.sparse.sum(x, 0), DENSE.sum(0)),
        (torch.sparse.sum(x, 1), DENSE.sum(1)),
    ):  # fmt: skip
        assert torch.equal(got.to_dense(), want)
    assert x.sum().item() == 12
    soft = torch.sparse.softmax(x, 1).values()
    torch.testing.assert_close(soft, torch.tensor([1.0, 0.26894143, 0.7310586]))


def test_products():
    x, y = made(), torch.arange(6.0).reshape(3, 2)
    for got in (torch.sparse.mm(x, y), torch.spmm(x, y), x @ y, x.matmul(y), x.mm(y)):
        assert torch.equal(got, DENSE @ y)
    assert torch.equal(torch.mv(DENSE, y[:, 0]), x @ y[:, 0])
    assert torch.equal(y.t() @ x.t(), y.t() @ DENSE.t())
    row = torch.tensor([2.0, -1.0])
    assert torch.equal(row @ x, row @ DENSE)
    both = torch.sparse.mm(x, x.t())
    assert both.is_sparse and torch.equal(both.to_dense(), DENSE @ DENSE.t())
    added = torch.sparse.addmm(torch.ones(2, 3), x, torch.eye(3), beta=2)
    assert torch.equal(added, DENSE + 2)


def test_gradients_of_values_and_of_the_dense_operand():
    values = torch.tensor([3.0, 4.0, 5.0], requires_grad=True)
    dense = torch.ones(3, 2, requires_grad=True)
    x = torch.sparse_coo_tensor(AT, values, (2, 3))
    assert x.requires_grad
    torch.sparse.mm(x, dense).sum().backward()
    assert values.grad.tolist() == [2, 2, 2]
    assert dense.grad.tolist() == [[4, 4], [0, 0], [8, 8]]


def test_old_constructors():
    x = torch.sparse.FloatTensor(torch.tensor(AT), torch.tensor([3, 4, 5]), torch.Size([2, 3]))
    assert x.dtype is torch.float32 and torch.equal(x.to_dense(), DENSE)


@pytest.mark.parametrize(
    "at, values, size, text",
    [
        (AT, [1.0, 2.0], (2, 3), "same nnz"),
        (AT, [1.0, 2.0, 3.0], (1, 3), "for dim 0, size is 1 but found index 1"),
        ([[-1], [0]], [1.0], (2, 3), "negative index"),
        (AT, [1.0, 2.0, 3.0], (2, 3, 4), "number of dimensions"),
    ],
)
def test_refuses_what_does_not_fit(at, values, size, text):
    with pytest.raises(RuntimeError, match=text):
        torch.sparse_coo_tensor(at, values, size)
