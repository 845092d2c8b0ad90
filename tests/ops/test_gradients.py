"""Derivatives against finite differences, in double precision."""

from __future__ import annotations

import pytest

import facula as torch

CASES = {
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "cumprod": lambda x: x.cumprod(1),
    "cumprod_zero": lambda x: (x * torch.tensor([1.0, 0.0, 1.0])).cumprod(1),
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "logsumexp": lambda x: x.logsumexp((0, 1)),
    "std": lambda x: x.std(0),
    "norm3": lambda x: x.norm(3),
    "prod": lambda x: x.prod(),
    "sort": lambda x: x.sort(1)[0],
    "median": lambda x: x.median(1)[0],
    "index_put": lambda x: x.index_put((torch.tensor([0, 0]), torch.tensor([1, 2])), x[1, :2], True),
    "scatter_prod": lambda x: x.scatter_reduce(1, torch.tensor([[0, 0], [1, 2], [2, 2]]), x[:, :2], "prod"),
    "as_strided": lambda x: x.as_strided((2, 2), (1, 2)),
    "unfold": lambda x: x.unfold(1, 2, 1),
    "lerp": lambda x: x.lerp(x * x, 0.3),
    "atan2": lambda x: torch.atan2(x, x * x + 1),
    "xlogy": lambda x: torch.xlogy(x, x * x + 1),
    "logaddexp": lambda x: torch.logaddexp(x, 2 * x),
    "i1": lambda x: torch.special.i1(x),
    "erfcx": lambda x: torch.special.erfcx(x),
    "polygamma": lambda x: torch.polygamma(1, x * x + 1),
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
    "kron": lambda x: torch.kron(x, x),
    "fft": lambda x: torch.fft.rfft(x, dim=1).abs(),
    "irfft": lambda x: torch.fft.irfft(x, dim=1),
    "angle": lambda x: torch.complex(x, x * x).angle(),
    "inv": lambda x: torch.linalg.inv(x + 3 * torch.eye(3)),
    "det": lambda x: torch.linalg.det(x),
    "solve": lambda x: torch.linalg.solve(x + 3 * torch.eye(3), x),
    "cholesky": lambda x: torch.linalg.cholesky(x @ x.T + torch.eye(3)),
    "qr": lambda x: torch.linalg.qr(x)[1].abs(),
    "svdvals": lambda x: torch.linalg.svdvals(x),
    "eigvalsh": lambda x: torch.linalg.eigvalsh(x + x.T),
    "pinv": lambda x: torch.linalg.pinv(x[:, :2]),
    "lu": lambda x: torch.linalg.lu(x)[2],
    "matrix_exp": lambda x: torch.linalg.matrix_exp(x),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_first_derivatives(name):
    torch.manual_seed(3)
    x = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(CASES[name], (x,))


@pytest.mark.parametrize("name", ["clamp", "std", "prod", "lerp", "einsum", "inv", "matrix_exp"])
def test_second_derivatives(name):
    torch.manual_seed(4)
    x = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(CASES[name], (x,))


def test_in_place_operators_keep_what_they_overwrite():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * 1
    y.sin_()
    y.mul_(y)
    y.sum().backward()
    # d sin(x)^2 = 2 sin(x) cos(x)
    assert torch.allclose(x.grad, torch.tensor([0.9093, -0.7568]), atol=1e-4)


def test_overwriting_what_others_saved_is_an_error():
    x = torch.tensor([1.0], requires_grad=True)
    y = x * 1
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_backward_twice_through_a_product_with_a_number():
    x = torch.ones(3, requires_grad=True)
    for y in ((x * 2).sum(), (x / 2).sum()):
        y.backward()
        with pytest.raises(RuntimeError, match="a second time"):
            y.backward()


def test_a_product_keeps_only_what_its_derivative_reads():
    x = torch.ones(3, requires_grad=True) * 1
    c = torch.ones(3)
    for y in (x * 2, x / 2):
        assert y.grad_fn.saved == [None]
    assert (x * c).grad_fn.saved[0] is None and (c * x).grad_fn.saved[1] is None
    assert None not in (x * x).grad_fn.saved


def test_batch_norm_without_running_statistics():
    x = torch.tensor([[1.0, 4.0], [3.0, 8.0]])
    y, mean, invstd = torch._native_batch_norm_legit(x, None, None, True, 0.1, 0.0)
    assert y.tolist() == [[-1.0, -1.0], [1.0, 1.0]]
    assert mean.tolist() == [2.0, 6.0] and invstd.tolist() == [1.0, 0.5]
    assert torch.equal(
        y, torch._native_batch_norm_legit(x, None, None, None, None, True, 0.1, 0.0)[0]
    )


def test_normal_has_the_history_of_what_it_was_given_and_no_slope():
    mean, std = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
    for name, args in (("1", (mean, 1.0)), ("2", (0.0, std)), ("3", (mean, std))):
        drawn = torch.normal(*args)
        assert type(drawn.grad_fn).__name__ == "NormalBackward" + name
        given = [x for x in args if isinstance(x, torch.Tensor)]
        for grad in torch.autograd.grad(drawn.sum(), given):
            assert grad.tolist() == [0, 0, 0]


def test_linspace_of_whole_numbers_cuts_its_ends_first():
    line = torch.linspace(4.3, 1, 50, dtype=torch.uint8)
    assert line.bincount().tolist() == [0, 17, 16, 16, 1]
