"""Indices in memory are checked on the line that uses them; texts are PyTorch 2.13's."""

from __future__ import annotations

import pytest

import facula as torch
from facula.ops import bounds

X = torch.arange(12.0).reshape(3, 4)
ROW, FAR = torch.ones(1, 4), "is out of bounds for dimension"

CALLS = {
    "gather": (lambda i: X.gather(1, i[None]), 7, f"index 7 {FAR} 1 with size 4"),
    "gather, from the end": (lambda i: X.gather(1, i[None]), -1, f"index -1 {FAR} 1 with size 4"),
    "scatter": (lambda i: X.scatter(0, i[None], 1.0), 5, f"index 5 {FAR} 0 with size 3"),
    "scatter_add": (lambda i: X.scatter_add(0, i[None], ROW), 5, f"index 5 {FAR} 0 with size 3"),
    "scatter_reduce": (lambda i: X.scatter_reduce(0, i[None], ROW, "amax"), 5, f"index 5 {FAR} 0"),
    "index_select": (lambda i: X.index_select(0, i), 5, "index out of range in self"),
    "index_add": (lambda i: X.index_add(0, i, ROW), 5, f"index 5 {FAR} 0 with size 3"),
    "index_copy": (lambda i: X.index_copy(0, i, ROW), 5, rf"index_copy_\(\): index 5 {FAR} 0"),
    "take": (lambda i: X.take(i), -13, "out of range: tried to access index -13 on a tensor of 12"),
    "put": (lambda i: X.put(i, torch.ones(1)), 13, "out of range: tried to access index 13"),
}


@pytest.mark.parametrize("name", CALLS)
def test_told_when_called(name):
    call, bad, text = CALLS[name]
    with pytest.raises((IndexError, RuntimeError), match=text):
        call(torch.tensor([bad]))
    call(torch.tensor([2]))


def test_what_is_written_to_is_unharmed():
    x, index = torch.zeros(3), torch.tensor([0, 3])
    with pytest.raises(RuntimeError, match=FAR):
        x.scatter_(0, index, torch.ones(2))
    assert x.tolist() == [0, 0, 0]


def test_only_what_is_in_memory_is_looked_at():
    index = torch.arange(4) + 1  # recorded: its values are not known yet
    got = X.index_select(0, index)
    with pytest.raises(
        IndexError, match=r"index out of range in self\n  recorded at .*test_bounds"
    ):
        got.sum().item()


def test_a_new_value_is_looked_at_again():
    index = torch.tensor([0, 1])
    X.index_select(0, index)
    index[0] = 5
    index.tolist()
    with pytest.raises(IndexError):
        X.index_select(0, index)
    index.fill_(1).tolist()
    assert X.index_select(0, index).shape == (2, 4)


def test_elements_outside_of_a_view_do_not_count():
    index = torch.tensor([0, 1, 9, 2])
    assert X.index_select(0, index[:2]).shape == (2, 4)
    with pytest.raises(IndexError):
        X.index_select(0, index[1:])


def test_take_along_dim_counts_on_past_the_end():
    for k, row in ((5, 2), (-7, 2), (100, 1)):
        assert torch.equal(torch.take_along_dim(X, torch.tensor([[k]]), 0), X[row : row + 1])


def test_looked_at_once(monkeypatch):
    looks = []
    look = bounds._look
    monkeypatch.setattr(bounds, "_look", lambda s: looks.append(s) or look(s))
    index = torch.tensor([0, 1])
    for _ in range(3):
        X.index_select(0, index)
    assert len(looks) == 1


WHOLE = {
    "floor": lambda a, b: a // b,
    "remainder": lambda a, b: a % b,
    "fmod": torch.fmod,
    "trunc": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    "number": lambda a, b: 7 // b,
    "fused": lambda a, b: ((a + 1) // (b * 2)).sum(),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_whole_numbers_divided_by_zero(name, dtype):
    a, b = torch.arange(40).to(dtype), torch.arange(40).to(dtype) % 7 + 1
    WHOLE[name](a, b).tolist()
    b[33] = 0
    with pytest.raises(RuntimeError, match="ZeroDivisionError") as caught:
        WHOLE[name](a, b).tolist()
    assert "test_bounds.py" in str(caught.value)  # the line that divided


def test_the_number_zero_is_refused_at_once():
    x = torch.arange(3)
    for divide in (lambda: x % 0, lambda: x // 0, lambda: x.fmod(0), lambda: x.__imod__(0)):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            divide()
    assert x.tolist() == [0, 1, 2]
    assert (x[:0] % 0).tolist() == []
