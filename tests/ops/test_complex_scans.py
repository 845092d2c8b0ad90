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
