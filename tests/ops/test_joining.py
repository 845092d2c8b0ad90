"""Joining many short tensors."""

import facula as torch
from facula import engine


def parts(dtype):
    return [torch.arange(n, dtype=dtype) for n in (3, 1, 4, 1, 5, 9, 2, 6)]


def test_texts_of_any_lengths_need_no_plan():
    """Lengths are others in every batch: each would be a plan of its own."""
    for dtype in (torch.int64, torch.bfloat16):
        tensors = parts(dtype)
        torch.cat(tensors).tolist()  # evaluates the parts
        before = engine.Counters.plans_built
        joined = torch.cat(tensors)
        assert joined.tolist() == [float(k) for n in (3, 1, 4, 1, 5, 9, 2, 6) for k in range(n)]
        assert joined.dtype is dtype and engine.Counters.plans_built == before
        tensors[0].add_(1)
        assert joined[:3].tolist() == [0, 1, 2]  # a copy


def test_joining_many_along_another_dim_and_with_gradients():
    wide = [torch.ones(2, n) * n for n in (1, 2, 3, 1, 2, 3, 1, 2)]
    assert [w.sum().item() for w in wide]  # evaluated
    joined = torch.cat(wide, dim=1)
    assert joined.shape == (2, 15) and joined[1, 5].item() == 3.0
    wide[1].requires_grad_()
    (torch.cat(wide, dim=1) ** 2).sum().backward()
    assert wide[1].grad.tolist() == [[4.0, 4.0], [4.0, 4.0]]
