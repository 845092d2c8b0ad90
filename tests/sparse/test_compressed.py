"""CSR, CSC, BSR and BSC tensors; expected figures are PyTorch 2.13's."""

from __future__ import annotations

import pytest

import facula as torch

DENSE = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]])
LAYOUTS = ("sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")


def csr(**kwargs):
    return torch.sparse_csr_tensor([0, 2, 3], [0, 2, 2], [1.0, 2.0, 3.0], (2, 3), **kwargs)


def test_what_it_says_and_holds():
    x = csr()
    assert repr(x) == (
        "tensor(crow_indices=tensor([0, 2, 3]),\n       col_indices=tensor([0, 2, 2]),\n"
        "       values=tensor([1., 2., 3.]), size=(2, 3), nnz=3,\n       layout=torch.sparse_csr)"
    )
    assert x.layout is torch.sparse_csr and x.is_sparse_csr and not x.is_sparse
    assert (x.shape, x.dtype, x._nnz(), x.sparse_dim(), x.dense_dim()) == (
        (2, 3), torch.float32, 3, 2, 0)  # fmt: skip
    assert x.crow_indices().tolist() == [0, 2, 3] and x.col_indices().tolist() == [0, 2, 2]
    assert torch.equal(x.to_dense(), DENSE)
    with pytest.raises(RuntimeError, match="ccol_indices expected sparse column compressed"):
        x.ccol_indices()
    with pytest.raises(RuntimeError, match="row compressed tensor layout but got Strided"):
        DENSE.crow_indices()
    with pytest.raises(NotImplementedError, match="not offered on sparse tensors"):
        torch.exp(x)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_from_dense_and_back(layout):
    block = (2, 3) if layout[7] == "b" else None
    dense = torch.zeros(4, 6)
    dense[0, 1], dense[3, 2], dense[2, 0] = 1, 2, 3
    x = dense.to_sparse(layout=getattr(torch, layout), blocksize=block)
    assert torch.equal(x.to_dense(), dense) and x._nnz() == (2 if block else 3)
    assert torch.equal(x.t().to_dense(), dense.t())
    assert torch.equal(x.to_sparse_coo().to_dense(), dense)
    assert torch.equal(x @ torch.eye(6), dense)
    for other in LAYOUTS:
        block = (2, 2) if other[7] == "b" else None
        y = x.to_sparse(layout=getattr(torch, other), blocksize=block)
        assert str(y.layout) == "torch." + other and torch.equal(y.to_dense(), dense)


def test_batches_blocks_and_values_with_dims():
    batch = torch.stack([torch.eye(3), torch.eye(3).flip(0)])
    x = batch.to_sparse_csr()
    assert x.crow_indices().tolist() == [[0, 1, 2, 3]] * 2
    assert torch.equal(x.to_dense(), batch)
    assert torch.equal(x.to_sparse_coo().to_dense(), batch)
    with pytest.raises(RuntimeError, match="same number of specified elements per batch"):
        torch.stack([torch.eye(2), torch.ones(2, 2)]).to_sparse_csr()
    blocks = torch.eye(4).to_sparse_bsr((2, 2))
    assert blocks.values().shape == (2, 2, 2) and blocks.col_indices().tolist() == [0, 1]
    with pytest.raises(RuntimeError, match=r"\(3,3\) must be divisible by given blocksize \(2,2\)"):
        torch.ones(3, 3).to_sparse_bsr((2, 2))
    deep = torch.ones(2, 3, 2).to_sparse_csr(dense_dim=1)
    assert deep.values().shape == (6, 2) and torch.equal(deep.to_dense(), torch.ones(2, 3, 2))
    assert torch.equal(torch.zeros(2, 2).to_sparse_csr().to_dense(), torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("parts", "size", "message"),
    [
        (([0, 1, 1], [3], [1.0]), (2, 2), "`0 <= col_indices < ncols` is not satisfied"),
        (([1, 1, 1], [0], [1.0]), (2, 2), r"`crow_indices\[..., 0\] == 0` is not satisfied"),
        (([0, 2], [0], [1.0]), (1, 1), r"`crow_indices\[..., -1\] == nnz` is not satisfied"),
        (([0, 1, 1], [0], [1.0]), (1, 1), r"number of rows \+ 1 \(=2\), but got 3"),
        (([0, 2, 2], [1, 0], [1.0, 2.0]), (2, 2), "are sorted and distinct"),
        (([0, 1], [0], [1.0, 2.0]), (1, 1), r"must be equal to nnz \(=2\)"),
        (([0, 1], [0], 1.0), (1, 1), "values must have dimensionality > sum of batch"),
    ],
)
def test_parts_that_do_not_fit(parts, size, message):
    with pytest.raises(RuntimeError, match=message):
        torch.sparse_csr_tensor(*parts, size, check_invariants=True)


def test_sizes_are_inferred():
    assert torch.sparse_csr_tensor([0, 1, 2], [0, 4], [1.0, 2.0]).shape == (2, 5)
    assert torch.sparse_csc_tensor([0, 1, 2], [0, 4], [1.0, 2.0]).shape == (5, 2)
    assert torch.sparse_bsr_tensor([0, 1], [0], [[[1.0, 2.0]]]).shape == (1, 2)
    with pytest.raises(RuntimeError, match="expected sparse compressed tensor layout but got none"):
        torch.sparse_compressed_tensor([0, 1], [0], [1.0])


def test_arithmetic():
    x, y = csr(), torch.arange(6.0).reshape(3, 2)
    for got, want in (
        (x * 2, DENSE * 2), (x / 2, DENSE / 2), (-x, -DENSE), (x + x, DENSE * 2), (x.sin(), DENSE.sin()),
        (x * DENSE, DENSE * DENSE), (x.to(torch.float64), DENSE.double()), (x.t(), DENSE.t()),
        (x * x.t().t(), DENSE * DENSE), (x.sum(1, keepdim=True), DENSE.sum(1, keepdim=True)),
    ):  # fmt: skip
        assert got.layout in (torch.sparse_csr, torch.sparse_csc)
        assert torch.equal(got.to_dense(), want)
    assert x.sum().item() == 6 and x[0, 2].item() == 2 and x[1].to_dense().tolist() == [0, 0, 3]
    for got in (x @ y, torch.mm(x, y), torch.matmul(x, y), torch.sparse.mm(x, y), torch.spmm(x, y)):
        assert torch.equal(got, DENSE @ y)
    assert torch.equal(torch.mv(x, y[:, 1]), DENSE @ y[:, 1])
    assert torch.equal(y.t() @ x.t(), y.t() @ DENSE.t())
    assert torch.equal(torch.addmm(torch.ones(2, 2), x, y, beta=2), DENSE @ y + 2)
    both = x @ x.t()
    assert both.layout is torch.sparse_csr and torch.equal(both.to_dense(), DENSE @ DENSE.t())
    assert torch.equal(DENSE + x, DENSE * 2) and torch.equal(x + DENSE, DENSE * 2)


def test_products_with_coordinates_through_torch_functions():
    x, y = DENSE.to_sparse(), torch.arange(6.0).reshape(3, 2)
    assert torch.equal(torch.mm(x, y), DENSE @ y)
    assert torch.equal(torch.matmul(x, y[:, 0]), DENSE @ y[:, 0])
    assert torch.equal(torch.mm(y.t(), x.t()), y.t() @ DENSE.t())


def test_gradients_of_leaves():
    for x in (csr().requires_grad_(), DENSE.to_sparse().requires_grad_()):
        y = torch.ones(3, 2, requires_grad=True)
        (x @ y).sum().backward()
        assert x.grad.layout is x.layout
        assert x.grad.to_dense().tolist() == [[2, 0, 2], [0, 0, 2]]
        assert y.grad.tolist() == [[1, 1], [0, 0], [5, 5]]
        got = torch.autograd.grad((x @ y).sum(), x)[0]
        assert torch.equal(got.to_dense(), x.grad.to_dense())


def test_sampled_addmm():
    x = csr().requires_grad_()
    a, b = torch.ones(2, 4, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    out = torch.sparse.sampled_addmm(x, a, b, beta=2.0, alpha=3.0)
    assert out.layout is torch.sparse_csr and out.values().tolist() == [14, 16, 18]
    torch.autograd.backward(out, torch.sparse_csr_tensor([0, 2, 3], [0, 2, 2], torch.ones(3)))
    assert x.grad.values().tolist() == [2, 2, 2]
    assert a.grad.tolist() == [[6] * 4, [3] * 4]
    assert b.grad.tolist() == [[3, 0, 6]] * 4
    batch = torch.stack([torch.eye(3), torch.eye(3)]).to_sparse_csr()
    left, right = torch.randn(2, 3, 5), torch.randn(2, 5, 3)
    got = torch.sparse.sampled_addmm(batch, left, right, beta=0.0)
    torch.testing.assert_close(got.to_dense(), (left @ right) * torch.eye(3))
    empty = torch.zeros(0, 5).to_sparse_csr()
    assert torch.sparse.sampled_addmm(empty, torch.ones(0, 2), torch.ones(2, 5)).shape == (0, 5)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        torch.sparse.sampled_addmm(csr(), b, a)


@pytest.mark.parametrize(
    ("reduce", "want", "of_x", "of_y"),
    [
        ("sum", [[8.0, 11.0], [12.0, 15.0]], [1, 9, 9], [[1, 1], [0, 0], [5, 5]]),
        ("mean", [[4.0, 5.5], [12.0, 15.0]], [0.5, 4.5, 9], [[0.5, 0.5], [0, 0], [4, 4]]),
        ("amax", [[8.0, 10.0], [12.0, 15.0]], [0, 9, 9], [[0, 0], [0, 0], [5, 5]]),
        ("amin", [[0.0, 1.0], [12.0, 15.0]], [1, 0, 9], [[1, 1], [0, 0], [3, 3]]),
    ],
)
def test_reduced_products(reduce, want, of_x, of_y):
    x = torch.sparse_csr_tensor([0, 2, 3, 3], [0, 2, 2], [1.0, 2.0, 3.0], (3, 3)).requires_grad_()
    y = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], requires_grad=True)
    out = torch.sparse.mm(x, y, reduce)
    assert torch.equal(out, torch.tensor([*want, [0.0, 0.0]]))
    out.sum().backward()
    assert x.grad.values().tolist() == of_x and y.grad.tolist() == of_y


def test_reductions_need_csr():
    y = torch.ones(3, 2)
    with pytest.raises(RuntimeError, match="expect self to be SparseCsr, got SparseCsc"):
        torch.sparse.mm(csr().to_sparse_csc(), y, "mean")
    with pytest.raises(RuntimeError, match="must be either sum, prod, mean, amax or amin, got foo"):
        torch.sparse.mm(csr(), y, "foo")


def test_saved_and_loaded(tmp_path):
    for x in (csr(), csr().to_sparse_csc()):
        torch.save(x, tmp_path / "x.pt")
        got = torch.load(tmp_path / "x.pt")
        assert got.layout is x.layout and torch.equal(got.to_dense(), DENSE)
