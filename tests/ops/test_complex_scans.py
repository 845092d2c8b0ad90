"""logcumsumexp of complex numbers. Expected figures: PyTorch 2.13, CPU."""

from __future__ import annotations

import facula as torch


def test_the_angle_follows_the_larger_number():
    x = torch.tensor([1 + 2j, 0.5 - 3j, 2 + 4j, -1 + 1j, 0.1 + 9j, complex("-inf+1j"), 3 - 8j])
    want = [1 + 2j, 1.2688 + 2.4606j, 2.1163 + 3.5574j, 2.079 + 3.532j, 2.1737 + 3.4404j,
            2.1737 + 3.4404j, 3.225 - 8.321j]  # fmt: skip
    got = torch.logcumsumexp(x, 0)
    torch.testing.assert_close(got, torch.tensor(want), rtol=0, atol=1e-4)


def test_infinities_and_nan():
    x = torch.tensor(
        [complex("-inf"), complex("-inf+2j"), 1 + 1j, complex("inf+1j"), complex("nan")]
    )
    got = torch.logcumsumexp(x, 0).tolist()
    assert got[:4] == [complex("-inf"), complex("-inf"), 1 + 1j, complex("inf+1j")]
    assert got[4].real != got[4].real and got[4].imag != got[4].imag


def test_gradients_where_sums_leave_the_range_of_numbers():
    x = torch.tensor([100 + 1j, -100 + 2j, 3 - 1j], requires_grad=True)
    got = torch.autograd.grad(torch.logcumsumexp(x, 0).real.sum(), x)[0]
    torch.testing.assert_close(got, torch.tensor([3 + 0j, 0j, 0j]))
    x = torch.tensor([-100 + 1j, -99 + 2j, 100 + 0j], requires_grad=True)
    got = torch.autograd.grad(torch.logcumsumexp(x, 0).real.sum(), x)[0]
    want = torch.tensor([1.2180 + 0.2019j, 0.7820 - 0.2019j, 1 + 0j])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


def test_powers_of_zero_have_pytorchs_derivatives():
    for exponent, want in ((2 + 1j, "nan"), (1 + 0j, "0"), (-1 + 0j, "nan")):
        b = torch.tensor(exponent, requires_grad=True)
        got = torch.autograd.grad((0j**b).real, b)[0].item()
        assert str(got.real).strip("-") == want + ".0" * (want == "0")
