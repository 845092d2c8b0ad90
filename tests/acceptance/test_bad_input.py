"""Bad input: PyTorch's exception type, what came and what was expected, on the user's line.

Every text is part of what PyTorch 2.13 says for the same lines, looked up by running them there.
"""

import pickle
import zipfile

import pytest

import facula as torch
import facula.nn as nn
import facula.nn.functional as F

ones, tensor, int64 = torch.ones, torch.tensor, torch.int64


def leaf(*shape):
    return ones(*shape, requires_grad=True)


def backward_twice():
    y = (leaf(3) ** 2).sum()
    y.backward()
    y.backward()


def spoil_result():
    y = leaf(3).exp()
    y.add_(1)
    y.sum().backward()


def spoil_operand():
    a = ones(2, 3)
    b = a @ leaf(3, 4)
    a.mul_(2)
    b.sum().backward()


def write_to_leaf():
    leaf(3)[0] = 1


def into_narrower():
    a = ones(3, dtype=int64)
    a += 1.5


def put(index):
    x = ones(3, 4)
    x[tensor(index)] = 1.0
    return x


def wrong_state_dict():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    state = model.state_dict()
    state["2.extra"] = state.pop("1.bias")
    model.load_state_dict(state)


MISSING = (
    r'Missing key\(s\) in state_dict: "1.bias"[^"]*Unexpected key\(s\) in state_dict: "2.extra"'
)
TWICE = "Trying to backward through the graph a second time"
LEAF = "leaf Variable that requires grad is being used in an in-place operation"
ONE_ELEMENT = "only one element tensors can be converted to Python scalars"

AT_ONCE = {
    "add": (
        lambda: ones(2, 3) + ones(4),
        RuntimeError,
        r"size of tensor a \(3\) must match the size of tensor b \(4\) at non-singleton dimension 1",
    ),
    "matmul": (
        lambda: ones(2, 3) @ ones(4, 5),
        RuntimeError,
        r"mat1 and mat2 shapes cannot be multiplied \(2x3 and 4x5\)",
    ),
    "vector": (lambda: ones(2, 3) @ ones(4), RuntimeError, r"size mismatch, got input \(2\), mat \(2x3\), vec \(4\)"),
    "dtype": (lambda: nn.Linear(3, 2)(ones(2, 3, dtype=int64)), RuntimeError, "must have the same dtype"),
    "mean": (lambda: ones(3, dtype=int64).mean(), RuntimeError, "Input dtype must be either a floating point or"),
    "whole gradient": (
        lambda: ones(3, dtype=int64, requires_grad=True),
        RuntimeError,
        "Only Tensors of floating point and complex dtype can require gradients",
    ),
    "narrower": (into_narrower, RuntimeError, "result type Float can't be cast to the desired output type Long"),
    "embedding": (lambda: nn.Embedding(3, 4)(ones(2)), RuntimeError, "scalar types: Long, Int; but got torch.Float"),
    "twice": (backward_twice, RuntimeError, TWICE),
    "no gradient": (lambda: ones(3).sum().backward(), RuntimeError, "does not require grad and does not have a grad_fn"),
    "not scalar": (lambda: leaf(3).exp().backward(), RuntimeError, "grad can be implicitly created only for scalar"),
    "unused": (
        lambda: torch.autograd.grad(leaf(3).sum(), leaf(3)),
        RuntimeError,
        "The differentiated Tensor at index 0 appears to not have been used in the graph",
    ),
    "leaf": (lambda: leaf(3).add_(1), RuntimeError, LEAF),
    "leaf item": (write_to_leaf, RuntimeError, LEAF),
    "leaf view": (lambda: leaf(3)[:2].mul_(2), RuntimeError, LEAF),
    "spoiled result": (
        spoil_result,
        RuntimeError,
        r"inplace operation: \[torch.FloatTensor \[3\]\], which is output 0 of Exp, is at version 1; expected version 0",
    ),
    "spoiled operand": (
        spoil_operand,
        RuntimeError,
        r"inplace operation: \[torch.FloatTensor \[2, 3\]\] is at version 1; expected version 0",
    ),
    "view": (lambda: ones(2, 3).t().view(6), RuntimeError, r"view size is not compatible.*Use .reshape\(...\) instead"),
    "view size": (lambda: ones(2, 3).view(4), RuntimeError, r"shape '\[4\]' is invalid for input of size 6"),
    "index": (lambda: ones(2, 3)[2], IndexError, "index 2 is out of bounds for dimension 0 with size 2"),
    "second index": (lambda: ones(2, 3)[0, -4], IndexError, "index -4 is out of bounds for dimension 1 with size 3"),
    "indices": (lambda: ones(2, 3)[0, 0, 0], IndexError, "too many indices for tensor of dimension 2"),
    "mask": (lambda: ones(3)[ones(4) > 0], IndexError, r"shape of the mask \[4\] at index 0 does not match"),
    "dim": (lambda: ones(3).sum(2), IndexError, r"expected to be in range of \[-1, 0\], but got 2"),
    "item": (lambda: ones(3).item(), RuntimeError, "a Tensor with 3 elements cannot be converted to Scalar"),
    "float": (lambda: float(ones(3)), ValueError, ONE_ELEMENT),
    "int": (lambda: int(ones(3)), ValueError, ONE_ELEMENT),
    "bool": (lambda: bool(ones(3)), RuntimeError, "Boolean value of Tensor with more than one value is ambiguous"),
    "keys": (wrong_state_dict, RuntimeError, MISSING),
    "parameter": (
        lambda: nn.Linear(2, 3).load_state_dict({"weight": ones(3, 3), "bias": ones(3)}),
        RuntimeError,
        r"size mismatch for weight: copying a param with shape torch.Size\(\[3, 3\]\) from checkpoint, "
        r"the shape in current model is torch.Size\(\[3, 2\]\)",
    ),
    "strings": (lambda: tensor(["a"]), ValueError, "too many dimensions 'str'"),
    "ragged": (lambda: tensor([[1, 2], [3]]), ValueError, r"expected sequence of length 2 at dim 1 \(got 1\)"),
    "operand": (lambda: ones(3) + "a", TypeError, r"unsupported operand type\(s\) for \+: 'Tensor' and 'str'"),
}  # fmt: skip


@pytest.mark.parametrize("case", AT_ONCE)
def test_on_the_line(case):
    call, kind, text = AT_ONCE[case]
    with pytest.raises(kind, match=text) as caught:
        call()
    assert type(caught.value) is kind
    assert any(frame.path.name == "test_bad_input.py" for frame in caught.traceback)


def test_the_module_is_named():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(4, 5)
            self.fc2 = nn.Linear(6, 2)

        def forward(self, x):
            return self.fc2(self.fc1(x))

    model = Net()
    with pytest.raises(RuntimeError, match=r"\(3x5 and 6x2\)") as caught:
        model(ones(3, 4))
    assert "in model.fc2 (Linear)" in caught.value.__notes__


# found by a kernel: the exception (PyTorch's own, and IndexError in any case) and what it says
IN_KERNELS = {
    "index": (lambda: ones(3, 4)[tensor([0, 3])], IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
    "columns": (lambda: ones(3, 4)[:, tensor([0, -5])], IndexError, "index -5 is out of bounds.*with size 4"),
    "put": (lambda: put([0, 3]), IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
    "gather": (lambda: ones(3, 4).gather(1, tensor([[4]]) * 1), RuntimeError, "index 4 is out of bounds for dimension 1"),
    "no end": (lambda: ones(3).gather(0, tensor([-1]) * 1), RuntimeError, "index -1 is out of bounds for dimension 0"),
    "select": (lambda: ones(3, 4).index_select(0, tensor([3]) * 1), IndexError, "index out of range in self"),
    "index_add": (
        lambda: ones(3, 4).index_add(0, tensor([3]) * 1, ones(1, 4)),
        RuntimeError,
        "index 3 is out of bounds for dimension 0 with size 3",
    ),
    "scatter": (
        lambda: ones(3, 4).scatter(1, tensor([[4]]) * 1, 1.0),
        RuntimeError,
        "index 4 is out of bounds for dimension 1 with size 4",
    ),
    "embedding": (lambda: nn.Embedding(3, 4)(tensor([1, 3]) * 1), IndexError, "index out of range in self"),
    "before": (lambda: nn.Embedding(3, 4)(tensor([-1]) * 1), IndexError, "index out of range in self"),
    "target": (lambda: F.cross_entropy(ones(2, 3), tensor([0, 3])), IndexError, "Target 3 is out of bounds."),
    "negative": (lambda: F.cross_entropy(ones(2, 3), tensor([0, -1])), IndexError, "Target -1 is out of bounds."),
    "nll": (lambda: F.nll_loss(ones(2, 3), tensor([0, 3])), IndexError, "Target 3 is out of bounds."),
}  # fmt: skip


@pytest.mark.parametrize("case", IN_KERNELS)
def test_found_in_a_kernel(case):
    call, kind, text = IN_KERNELS[case]
    result = call()  # recorded here,
    with pytest.raises(kind, match=text) as caught:
        result.tolist()  # found here, reported with the line above
    assert isinstance(caught.value, IndexError)
    place = str(caught.value).splitlines()[-1]
    assert place.startswith(f"  recorded at {__file__}:"), place


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_an_embedding_looks_at_known_indices_at_the_call(dtype):
    model = nn.Sequential(nn.Embedding(3, 4))
    indices = tensor([[0, 1, 2, 3], [2, 1, 0, -1]], dtype=dtype)
    model(indices[:, :3])
    model(indices[:, :3].t())
    for bad in (indices, indices[:1], indices[1, 3:], indices[:, 3:]):
        with pytest.raises(IndexError, match="index out of range in self") as caught:
            model(bad)
        assert caught.value.__notes__ == ["in model.0 (Embedding)"]


@pytest.mark.parametrize("inside", [False, True])
def test_the_module_is_named_for_what_a_kernel_finds(inside):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 2))

        def forward(self, x):
            out = self.layers(x)
            return out.tolist() if inside else out

    def evaluate():
        return model(tensor([5]) * 1).sum().item()

    model = Net()
    with pytest.raises(IndexError, match="index out of range in self") as caught:
        evaluate()
    assert caught.value.__notes__ == ["in model.layers.0 (Embedding)"]


def test_the_line_is_the_operators_own():
    table = ones(3, 4)
    good = table[tensor([0, 1])]
    bad = table[tensor([0, 7])]
    line = test_the_line_is_the_operators_own.__code__.co_firstlineno + 3
    also = table.gather(0, tensor([[2]]))
    with pytest.raises(IndexError, match=f":{line}, in test_the_line_is_the_operators_own"):
        (bad.sum() + good.sum() + also.sum()).item()


def test_after_a_bad_index_the_model_is_as_it_was():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)

    def step(indices, targets):
        loss = F.cross_entropy(model(tensor(indices)), tensor(targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    with pytest.raises(IndexError, match="index out of range in self"):
        step([1, 5], [0, 1])  # nothing of the model was evaluated yet
    optimizer.state.clear()
    first = step([1, 4], [0, 1])
    before = [p.tolist() for p in model.parameters()]
    moments = optimizer.state[model[1].weight]["exp_avg"].tolist()
    for indices, targets in (([1, 4], [0, 3]), ([-1, 4], [0, 1])):
        with pytest.raises(IndexError):
            step(indices, targets)
        assert [p.tolist() for p in model.parameters()] == before
        assert optimizer.state[model[1].weight]["exp_avg"].tolist() == moments
    assert step([1, 4], [0, 1]) < first


def test_what_does_not_depend_on_a_bad_index_is_not_lost():
    x = torch.arange(6.0)
    doubled = x * 2
    x.add_(1)
    bad = x[tensor([6])] + 1
    later = doubled + 1
    x.mul_(bad)
    with pytest.raises(IndexError):
        print(bad)
    assert doubled.tolist() == [0, 2, 4, 6, 8, 10]
    assert later.tolist() == [1, 3, 5, 7, 9, 11]
    with pytest.raises(RuntimeError, match="value was lost"):
        print(bad)


# files --------------------------------------------------------------------------------------------


class Hostile:
    def __reduce__(self):
        import os

        return os.system, ("echo not this",)


def test_a_truncated_checkpoint(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(nn.Linear(50, 50).state_dict(), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(RuntimeError, match=r"model.pt|failed finding central directory"):
        torch.load(path)


def test_a_hostile_checkpoint(tmp_path):
    plain = tmp_path / "hostile.pkl"
    plain.write_bytes(pickle.dumps(Hostile()))
    archive = tmp_path / "hostile.pt"
    torch.save({"weight": ones(2)}, archive)
    with zipfile.ZipFile(archive) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as new:
        for name, data in members.items():
            new.writestr(name, pickle.dumps(Hostile(), 2) if name.endswith("data.pkl") else data)
    for path in (plain, archive):
        with pytest.raises(pickle.UnpicklingError, match=r"Weights only load failed|no checkpoint"):
            torch.load(path)


def test_a_missing_dataset(tmp_path):
    from facula.datasets import MNIST

    with pytest.raises((RuntimeError, FileNotFoundError), match="train-images-idx3-ubyte"):
        MNIST(tmp_path)
