"""Values and gradients where something is infinite, NaN or too small; the figures are PyTorch's."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest

import facula as torch
import facula.nn.functional as F

inf, nan = math.inf, math.nan


def _gradients(f: Callable, *values: list) -> list[list]:
    leaves = [torch.tensor(v, requires_grad=True) for v in values]
    return [g.tolist() for g in torch.autograd.grad(f(*leaves).sum(), leaves)]


def _same(got: list, want: list) -> bool:
    return repr(got) == repr(want)


@pytest.mark.parametrize(
    "f, values, want",
    [
        (torch.sinc, ([1e-30, 0.0, nan],), [[0.0, 0.0, nan]]),
        (lambda x: F.l1_loss(x, torch.tensor([0.0, nan, 2.0])), ([nan, 1.0, inf],),
         [[0.0, 0.0, 1 / 3]]),
        (lambda x: x.amax(1), ([[nan, 1.0], [2.0, 2.0]],), [[[nan, nan], [0.5, 0.5]]]),
        (lambda x: x.amin(1), ([[nan, 1.0], [2.0, 2.0]],), [[[nan, nan], [0.5, 0.5]]]),
        (lambda x: x.max(), ([nan, 1.0, nan],), [[0.5, 0.0, 0.5]]),
        (torch.logaddexp, ([inf, inf, 1.0], [inf, -inf, inf]), [[nan, 1.0, 0.0], [nan, 0.0, 1.0]]),
        (torch.logaddexp2, ([inf, inf, 1.0], [inf, -inf, inf]), [[nan, 1.0, 0.0], [nan, 0.0, 1.0]]),
        (F.cosine_similarity, ([[1e30, 1.0]], [[1e30, 2.0]]), [[[0.0, 0.0]], [[0.0, 0.0]]]),
    ],
)  # fmt: skip
def test_gradients(f: Callable, values: tuple, want: list) -> None:
    got = [torch.tensor(g).tolist() for g in _gradients(f, *values)]
    assert _same(got, [torch.tensor(w).tolist() for w in want])


def test_hinge_embedding_loss_at_infinity() -> None:
    x, y = torch.tensor([inf, inf, -inf]), torch.tensor([1.0, -1.0, -1.0])
    assert F.hinge_embedding_loss(x, y, reduction="none").tolist() == [inf, 0.0, inf]


def test_a_norm_that_overflows_gives_no_similarity() -> None:
    assert F.cosine_similarity(torch.tensor([[1e30, 1.0]]), torch.tensor([[1e30, 2.0]])).item() == 0


def test_soft_margin_loss_is_infinite_where_its_exponential_is() -> None:
    for d, x in ((torch.float16, -12.0), (torch.float32, -100.0)):
        args = torch.tensor([x], dtype=d), torch.tensor([1.0], dtype=d)
        assert F.soft_margin_loss(*args).item() == inf


def test_avg_pool3d_refuses_a_window_larger_than_the_image() -> None:
    with pytest.raises(RuntimeError, match="smaller than kernel size"):
        F.avg_pool3d(torch.ones(1, 1, 2, 2, 2), 3, padding=1)


def test_out_of_another_dtype() -> None:
    x, wide = torch.ones(2, 2), torch.empty(2, 2, dtype=torch.float64)
    assert torch.exp(x, out=wide) is wide  # computed with a cast behind
    for f in (torch.ceil, torch.abs, lambda x, out: torch.mm(x, x, out=out), torch.tril,
              lambda x, out: torch.take(x, torch.ones(2, 2, dtype=torch.int64), out=out)):  # fmt: skip
        with pytest.raises(RuntimeError, match="dtype float, but got double"):
            f(x, out=wide)
    with pytest.raises(RuntimeError, match="does not match dtype of out"):
        torch.zeros(2, 2, dtype=torch.float32, out=wide)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.full((2, 2), 1.5, out=wide).sum().item() == 6


def test_properties_of_a_class_that_takes_part() -> None:
    asked = []

    class Noting(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            asked.append(func)
            return super().__torch_function__(func, types, args, kwargs or {})

    t = torch.ones(2, 3).as_subclass(Noting)
    assert t.shape == (2, 3) and t.requires_grad is False
    assert asked == [torch.Tensor.shape.__get__, torch.Tensor.requires_grad.__get__]
    assert type(t.T) is Noting and type(torch.ones(2, 3).shape) is torch.Size


@pytest.mark.parametrize("hermitian", [False, True])
def test_nothing_is_above_the_greatest_singular_value(hermitian):
    """The bound and what it is compared with are of one decomposition: in PyTorch too all is 0."""
    torch.manual_seed(0)
    for _ in range(30):
        a = torch.randn(5, 5, dtype=torch.float64)
        a = a @ a.mT if hermitian else a
        assert not torch.linalg.pinv(a, rtol=1.0, hermitian=hermitian).any()
        assert torch.linalg.pinv(a, rtol=1e-9, hermitian=hermitian).any()


def test_bounds_of_a_batch_are_tensors():
    a = torch.diag(torch.tensor([4.0, 2.0, 1.0])).expand(2, 3, 3)
    got = torch.linalg.pinv(a, atol=torch.tensor([1.5, 0.0]), rtol=torch.tensor(0.0))
    assert got.diagonal(dim1=-2, dim2=-1).tolist() == [[0.25, 0.5, 0.0], [0.25, 0.5, 1.0]]
    ranks = torch.linalg.matrix_rank(a, atol=torch.tensor([1.5, 0.0]), rtol=torch.tensor(0.3))
    assert ranks.tolist() == [2, 2]


@pytest.mark.parametrize("shape", [(4, 5), (3, 0), (1, 1), (9,), (2, 3, 4), ()])
@pytest.mark.parametrize("every", [1, 2, 3, 1000])
def test_coordinates_of_what_is_not_zero(shape, every):
    x = (torch.arange(math.prod(shape)) % every == every - 1).reshape(shape)
    rows = torch.nonzero(x)
    found = [i for i, v in enumerate(x.flatten().tolist()) if v]
    expected = []
    for i in found:
        at = []
        for n in reversed(shape):
            at.insert(0, i % n)
            i //= n
        expected.append(at)
    assert rows.shape == (len(found), len(shape)) and rows.tolist() == expected
    if shape:
        assert [t.tolist() for t in torch.nonzero(x, as_tuple=True)] == rows.t().tolist()
