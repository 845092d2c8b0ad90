"""Results that are PyTorch's (2.13, CPU) to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

import facula as torch
from facula import config

native = pytest.mark.skipif(config.BACKEND != "native", reason="NumPy has an exp of its own")
X = [0.3, -1.7, 2.2, 0.9, -0.4, 1.1, -3.2, 0.05, 1.9, -0.8]
SOFTMAX = (
    "0x1.bbc2ep-5 0x1.e073d2p-8 0x1.72de1ep-2 0x1.944afap-4 0x1.b8bb08p-6 0x1.edcdfp-4 0x1.acd05p-10 "
    "0x1.599a04p-5 0x1.12bed8p-2 0x1.276e3cp-6"
)
SIGMOID = (
    "0x1.261d54p-1 0x1.3c5848p-3 0x1.cced82p-1 0x1.6c0192p-1 0x1.9af1ap-2 0x1.802218p-1 0x1.40d878p-5 "
    "0x1.06660ep-1 0x1.bd626ep-1 0x1.3d7754p-2"
)


def numbers(text):
    return [float.fromhex(word) for word in text.split()]


@native
@pytest.mark.parametrize("rows", [1, 3, 200])
def test_softmax_of_ten_classes(rows):
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("rows of ten are longer than a vector of AVX2")
    x = torch.tensor(X).repeat(rows, 1)
    for row in x.softmax(1).tolist():
        assert row == numbers(SOFTMAX)


@native
def test_sigmoid():
    assert torch.tensor(X).sigmoid().tolist() == numbers(SIGMOID)


@native
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_of_a_long_row(dtype):
    """All vectors of a row are added up in turn; elements 0, 77 and 199 of PyTorch's result."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("recorded with vectors of AVX-512")
    want = {
        "float32": "0x1.ed312ep-15 0x1.ca1b94p-13 0x1.1c5004p-6",
        "float64": "0x1.ed312dc798888p-15 0x1.ca1b9501ed076p-13 0x1.1c5002d8370e6p-6",
    }
    x = torch.tensor([(37 * k % 101 - 50) / 16 for k in range(200)], dtype=getattr(torch, dtype))
    assert x.softmax(0)[[0, 77, 199]].tolist() == numbers(want[dtype])


@native
def test_softmax_of_doubles():
    """A row shorter than any vector: PyTorch's result."""
    x = torch.tensor(X[:3], dtype=torch.float64)
    want = "0x1.05d9f5bdc66c9p-3 0x1.1b807ac8bd0a2p-6 0x1.b5ad7eba487c9p-1"
    assert x.softmax(0).tolist() == numbers(want)


@native
@pytest.mark.parametrize("start", [0x00000000, 0x007F0000, 0x3F7F0000, 0x7F7F0000, 0x80000000])
def test_bfloat16_is_rounded_to_even(start):
    """Denormals, numbers, what rounds to infinity; ties, and the numbers beside them."""
    bits = start + np.arange(0, 0x20000, 0x400, dtype=np.uint32)
    bits = np.sort(np.concatenate([bits, bits + 1, bits - (bits > start)]))
    x = bits.view(np.float32)
    want = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    for part in (slice(None), slice(5, 6), slice(3, 40)):
        got = torch.from_numpy(x[part].copy()).bfloat16().view(torch.int16).numpy()
        nan = np.isnan(x[part])
        np.testing.assert_array_equal(got[~nan].view(np.uint16), want[part][~nan])
        assert (np.abs(got[nan].view(np.uint16) & 0x7FFF) > 0x7F80).all()
