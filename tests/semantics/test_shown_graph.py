"""`grad_fn.next_functions`: names and structure as PyTorch 2.13 shows them (found by running it there).

Names without `Backward`; `*` is a leaf, `-` nothing.
"""

import pytest

import facula as torch
import facula.nn as nn
import facula.nn.functional as F


def leaf(*shape):
    return torch.ones(*shape, requires_grad=True)


def spoken(fn):
    if fn is None:
        return "-"
    name = fn.name().split("::")[-1]
    if name == "AccumulateGrad":
        return "*"
    inner = ",".join(spoken(f) for f, _ in fn.next_functions)
    return name.replace("Backward", "") + (f"({inner})" if inner else "")


def written(x):
    x[TARGET] = 1.0
    return x


TARGET = torch.tensor([0, 1])
CASES = {
    "linear": (lambda: nn.Linear(3, 2)(leaf(4, 3)), "Addmm0(*,*,T0(*))"),
    "linear of one": (lambda: nn.Linear(3, 2)(leaf(3)), "View0(Addmm0(*,View0(*),T0(*)))"),
    "linear of many": (lambda: nn.Linear(3, 2)(leaf(2, 4, 3)), "View0(Addmm0(*,View0(*),T0(*)))"),
    "without bias": (lambda: nn.Linear(3, 2, bias=False)(leaf(4, 3)), "Mm0(*,T0(*))"),
    "network": (
        lambda: F.cross_entropy(
            nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))(torch.ones(2, 3)), TARGET
        ),
        "NllLoss0(LogSoftmax0(Addmm0(*,Relu0(Addmm0(*,-,T0(*))),T0(*))))",
    ),
    "nll": (lambda: F.nll_loss(leaf(2, 3).log_softmax(1), TARGET), "NllLoss0(LogSoftmax0(*))"),
    "l1": (lambda: F.l1_loss(leaf(3), torch.ones(3)), "Mean0(Abs0(Sub0(*,-)))"),
    "layer norm": (lambda: F.layer_norm(leaf(2, 3), (3,)), "NativeLayerNorm0(*,-,-)"),
    "batch norm": (lambda: nn.BatchNorm1d(3)(leaf(2, 3)), "NativeBatchNorm0(*,*,*)"),
    "batch norm at rest": (lambda: nn.BatchNorm1d(3).eval()(leaf(2, 3)), "NativeBatchNorm0(*,*,*)"),
    "rms norm": (
        lambda: nn.RMSNorm(3)(leaf(2, 3)),
        "Mul0(Mul0(*,Rsqrt0(Add1(Mean1(Pow0(*))))),*)",
    ),
    "embedding": (lambda: nn.Embedding(3, 2)(TARGET), "Embedding0(*)"),
    "max_pool1d": (
        lambda: F.max_pool1d(leaf(1, 2, 4), 2),
        "Squeeze1(MaxPool2DWithIndices0(Unsqueeze0(*)))",
    ),
    "index": (lambda: leaf(3, 2)[TARGET], "Index0(*)"),
    "index put": (lambda: written(leaf(2, 3) * 1), "IndexPut0(Mul0(*,-),-)"),
    "unbind": (lambda: leaf(2, 3).unbind(1)[2], "Unbind0(*)"),
    "rot90": (lambda: torch.rot90(leaf(2, 3)), "Rot900(*)"),
    "roll": (lambda: leaf(2, 3).roll(1), "Roll0(*)"),
    "vector and matrix": (lambda: leaf(3) @ leaf(3, 2), "Squeeze4(Mm0(Unsqueeze0(*),*))"),
    "outer": (lambda: torch.outer(leaf(3), leaf(2)), "Mul0(View0(*),*)"),
    "columns": (lambda: leaf(3, 2)[:, 0:1], "Slice0(*)"),
    "where": (lambda: torch.where(torch.ones(2) > 0, leaf(2), 0.0), "Where0(*,-)"),
    "matmul": (lambda: leaf(4, 2, 3) @ leaf(3, 5), "UnsafeView0(Mm0(View0(*),*))"),
    "batched vector": (lambda: leaf(4, 2, 3) @ leaf(3), "UnsafeView0(Mv0(View0(*),*))"),
    "numbers": (
        lambda: 2 / (1 - leaf(3) * 2 + 1) ** 2,
        "Mul0(Reciprocal0(Pow0(Add0(Rsub1(Mul0(*,-)),-))),-)",
    ),
    "powers": (lambda: 2 ** leaf(3) + leaf(3) ** leaf(3), "Add0(Pow2(*),Pow1(*,*))"),
    "bounds": (
        lambda: leaf(3).clamp(0, 1) + leaf(3).clamp_min(0),
        "Add0(Clamp1(*),ClampMin0(*))",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_names_and_structure(case):
    make, shown = CASES[case]
    assert spoken(make().grad_fn) == shown


def test_what_is_shown_stays_the_same():
    loss = F.cross_entropy(leaf(2, 3), TARGET)
    first, second = loss.grad_fn.next_functions[0][0], loss.grad_fn.next_functions[0][0]
    assert first is second
    with pytest.raises(NotImplementedError, match="LogSoftmaxBackward0 is computed within another"):
        first.register_hook(print)


def test_names_of_things_shown():
    """What prints shows as PyTorch has it: an error's type, tables of hooks, a dual tensor."""
    assert repr(nn.Linear(1, 1)._forward_hooks) == "OrderedDict()"
    with pytest.raises(torch.linalg.LinAlgError) as raised:
        torch.linalg.inv(torch.zeros(2, 2))
    assert (type(raised.value).__module__, type(raised.value).__name__) == (
        "torch._C",
        "_LinAlgError",
    )
    forward = torch.autograd.forward_ad
    with forward.dual_level():
        dual = forward.make_dual(torch.ones(2), torch.zeros(2))
        assert repr(dual * 2) == "tensor([2., 2.], tangent=tensor([0., 0.]))"
        assert repr(torch.ones(2)) == "tensor([1., 1.])"


def test_values_in_memory_are_looked_at():
    one = torch.ones(1)
    for bad in ([1.5], [-0.5], [float("nan")]):
        with pytest.raises(RuntimeError, match="all elements of input should be between 0 and 1"):
            F.binary_cross_entropy(torch.tensor(bad), one)
    rows, places = torch.ones(5, 2), torch.tensor([1, 2, 3])
    with pytest.raises(RuntimeError, match=r"offsets\[0\] has to be 0, i.e., .*However, got 1"):
        F.embedding_bag(places, rows, torch.tensor([1, 2]))
    with pytest.raises(RuntimeError, match=r"input's length 3 but got offsets\[-1\] of 5"):
        F.embedding_bag(places, rows, torch.tensor([0, 5]))
