"""Normalisation with weights of another dtype; which pairs PyTorch 2.13 takes was found by trying."""

import pytest

import facula as torch
from facula.nn import functional as F

NORMS = {
    "layer": lambda x, w, b: F.layer_norm(x, (3,), w, b),
    "group": lambda x, w, b: F.group_norm(x, 1, w, b),
    "batch": lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
    "instance": lambda x, w, b: F.instance_norm(x, None, None, w, b),
}


@pytest.mark.parametrize("name", NORMS)
def test_weights_of_another_type(name):
    def run(x, w, b=None):
        params = torch.ones(3, dtype=w), torch.zeros(3, dtype=b or w)
        return NORMS[name](torch.randn(2, 3, 3).to(x), *params).dtype

    for x in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        assert run(x, x) is x
    assert run(torch.bfloat16, torch.float32) is torch.bfloat16
    with pytest.raises(RuntimeError, match="all inputs must share same datatype"):
        run(torch.float64, torch.float32)
    for x, w in ((torch.float32, torch.float64), (torch.float16, torch.bfloat16)):
        with pytest.raises(RuntimeError, match="expect parameter to have scalar type of Float"):
            run(x, w)
    with pytest.raises(RuntimeError, match="expected scalar type Float but found Double"):
        run(torch.float32, torch.float32, torch.float64)


def test_statistics_of_another_type():
    x, w, half = torch.randn(4, 3), torch.ones(3), torch.bfloat16
    F.batch_norm(x.to(half), w.clone(), w.clone(), w, w, True)
    with pytest.raises(RuntimeError, match="expected scalar type BFloat16 but found Float"):
        F.batch_norm(x.to(half), w.clone(), w.clone(), w.to(half), w.to(half), True)


def test_rms_norm_keeps_the_type_of_its_input():
    x = torch.tensor([[3.0, 4.0]])
    for kind in (torch.bfloat16, torch.float32):
        for weight in (torch.float32, torch.float64):
            out = F.rms_norm(x.to(kind), (2,), torch.ones(2, dtype=weight), eps=0.0)
            assert out.dtype is kind
            assert torch.allclose(out.float(), torch.tensor([[0.8485, 1.1314]]), atol=4e-3)


def test_factors_of_a_singular_matrix():
    """PyTorch's `lu_factor` raises, `lu` and `lu_factor_ex` do not."""
    a = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    with pytest.raises(RuntimeError, match=r"lu_factor: U\[2,2\] is zero"):
        torch.linalg.lu_factor(a)
    with pytest.raises(RuntimeError, match=r"\(Batch element 1\): U\[2,2\] is zero"):
        torch.linalg.lu_factor(torch.stack([torch.eye(2), a, a]))
    with pytest.raises(RuntimeError, match=r"lu_factor_ex: U\[2,2\] is zero"):
        torch.linalg.lu_factor_ex(a, check_errors=True)
    assert torch.linalg.lu_factor_ex(a).info.item() == 2
    assert torch.linalg.lu(a).U.tolist() == [[2.0, 4.0], [0.0, 0.0]]
