"""What operators record, and that functions written for the way they are made record it."""

from __future__ import annotations

import warnings

import pytest

import facula as torch
from facula.graph.tape import LEAF, LOCAL, OPERATORS, flush
from facula.ops import apply as apply_room
from facula.ops import recorders

F = torch.nn.functional


def recorded(work):
    """Names of the operators on the tape after work()."""
    flush()
    kept = work()
    names = [k.op.name for k in LOCAL.tape.key if hasattr(k, "op") and k.op is not LEAF]
    del kept
    return names


@pytest.mark.parametrize("equation, names", [
    ("ij,jk->ik", ["mm"]),
    ("ij,kj->ik", ["mm"]),
    ("bij,bjk->bik", ["bmm"]),
    ("ij,ij->ij", ["mul"]),
])  # fmt: skip
def test_einsum_records_no_views_that_change_nothing(equation, names):
    shapes = [[3] * len(term) for term in equation.partition("->")[0].split(",")]
    operands = [torch.rand(shape) for shape in shapes]
    assert [
        n for n in recorded(lambda: torch.einsum(equation, *operands)) if n != "view_at"
    ] == names


def test_einsum_of_one_operand_is_a_view():
    x = torch.rand(2, 3)
    y = torch.einsum("ij->ij", x)
    assert y is not x and y.data_ptr() == x.data_ptr()


def test_settled_losses_go_on_to_warn_and_refuse():
    x, y = torch.rand(3, 1), torch.rand(3)
    for _ in range(3):
        assert F.mse_loss(x, x + 1).item() == pytest.approx(1)
        assert F.mse_loss(x, x + 1, reduction="sum").item() == pytest.approx(3)
        assert F.mse_loss(x, x + 1, reduction="none").shape == (3, 1)
        with pytest.warns(UserWarning, match="different to the input size"):
            assert F.mse_loss(x, y).shape == ()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert F.mse_loss(x, x + 1, size_average=False).item() == pytest.approx(3)
        with pytest.raises(ValueError):
            F.mse_loss(x, x, reduction="average")


def ways():
    """Calls of operators that are made in different ways."""
    index = torch.tensor([1, 0])
    return {
        "the result kept": lambda a, b: a.exp(),
        "operands kept": lambda a, b: a @ b,
        "nothing kept": lambda a, b: a.sum(1),
        "params and the result": lambda a, b: a.softmax(1),
        "marks": lambda a, b: a[index],
        "three operands": lambda a, b: F.linear(a, b, b[0].detach()),
        "a number": lambda a, b: torch.addcmul(a, a, b, value=0.5),
    }


@pytest.mark.parametrize("name", ways())
def test_each_way_is_as_the_loops(name, monkeypatch):
    """With and without gradients, with hooks on what is kept, and in inference mode."""
    call = ways()[name]

    def work():
        torch.manual_seed(1)
        a, b = torch.rand(2, 2, requires_grad=True), torch.rand(2, 2, requires_grad=True)
        out = []
        for x, y in ((a, b), (a, b.detach()), (a.detach(), b), (a.detach(), b.detach())):
            a.grad = b.grad = None
            got = call(x, y)
            node = None if got.grad_fn is None else got.grad_fn.name()
            if got.requires_grad:
                (got * got).sum().backward()
            grads = [None if t.grad is None else t.grad.tolist() for t in (a, b)]
            out.append((got.tolist(), got.requires_grad, node, grads))
        packed = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: packed.append(t.tolist()) or t, lambda t: t
        ):
            call(a, b).sum().backward()
        with torch.inference_mode():
            got = call(a, b)
            out.append((got.is_inference(), got.tolist()))
        return out, packed, a.grad.tolist()

    mine = work()
    monkeypatch.setattr(apply_room, "recorder", lambda *_: None)
    for op in OPERATORS:
        for inst in op.insts.values():
            inst.record = None
    assert work() == mine


def test_few_functions_are_written():
    ways()["operands kept"](torch.rand(2, 2), torch.rand(2, 2))
    before = len(recorders._ways)
    for n in range(3, 12):
        torch.rand(n, n) @ torch.rand(n, n)
    assert len(recorders._ways) == before


def test_bad_indices_name_the_users_line():
    x = torch.rand(3, 3)
    with pytest.raises(IndexError, match=r"recorded at .*test_recorders\.py:\d+, in test_bad"):
        x[torch.tensor([5])].tolist()
