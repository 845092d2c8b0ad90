"""Examples of operators that are written by tables and loops: they become part of their docstrings."""

from __future__ import annotations

from facula.ops.registry import FUNCTIONAL, TORCH

OF_TORCH = {
    "zeros": """
>>> torch.zeros(2, 3)
tensor([[0., 0., 0.],
        [0., 0., 0.]])
""",
    "ones": """
>>> torch.ones(3, dtype=torch.int64)
tensor([1, 1, 1])
""",
    "empty": """
>>> torch.empty(2, 3).shape
torch.Size([2, 3])
""",
    "zeros_like": """
>>> torch.zeros_like(torch.tensor([1, 2]))
tensor([0, 0])
""",
    "ones_like": """
>>> torch.ones_like(torch.tensor([1.5, 2.5]))
tensor([1., 1.])
""",
    "full_like": """
>>> torch.full_like(torch.zeros(3), 7)
tensor([7., 7., 7.])
""",
    "rand": """
>>> _ = torch.manual_seed(0)
>>> torch.rand(2, 2)
tensor([[0.4963, 0.7682],
        [0.0885, 0.1320]])
""",
    "randn": """
>>> _ = torch.manual_seed(0)
>>> torch.randn(3)
tensor([ 1.5410, -0.2934, -2.1788])
""",
    "randn_like": """
>>> _ = torch.manual_seed(0)
>>> torch.randn_like(torch.zeros(2))
tensor([ 1.5410, -0.2934])
""",
    "linspace": """
>>> torch.linspace(0, 1, 5)
tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
""",
    "exp": """
>>> torch.exp(torch.tensor([0.0, 1.0]))
tensor([1.0000, 2.7183])
""",
    "log": """
>>> torch.log(torch.tensor([1.0, 0.0, -1.0]))
tensor([0., -inf, nan])
""",
    "sqrt": """
>>> torch.sqrt(torch.tensor([4, 2]))
tensor([2.0000, 1.4142])
""",
    "sigmoid": """
>>> torch.sigmoid(torch.tensor([0.0, 100.0]))
tensor([0.5000, 1.0000])
""",
    "tanh": """
>>> torch.tanh(torch.tensor([0.0, 1.0]))
tensor([0.0000, 0.7616])
""",
    "abs": """
>>> torch.abs(torch.tensor([-1, 2]))
tensor([1, 2])
""",
    "sin": """
>>> torch.sin(torch.tensor([0.0, 1.0]))
tensor([0.0000, 0.8415])
""",
    "cos": """
>>> torch.cos(torch.tensor([0.0, 1.0]))
tensor([1.0000, 0.5403])
""",
    "floor": """
>>> torch.floor(torch.tensor([1.7, -1.2]))
tensor([ 1., -2.])
""",
    "isnan": """
>>> torch.isnan(torch.tensor([1.0, float("nan")]))
tensor([False,  True])
""",
    "isfinite": """
>>> torch.isfinite(torch.tensor([1.0, float("inf")]))
tensor([ True, False])
""",
    "max": """
>>> x = torch.tensor([[1, 5], [9, 2]])
>>> torch.max(x)
tensor(9)
>>> torch.max(x, 1)
torch.return_types.max(
values=tensor([5, 9]),
indices=tensor([1, 0]))
>>> torch.max(x, torch.tensor(4))
tensor([[4, 5],
        [9, 4]])
""",
    "min": """
>>> torch.min(torch.tensor([[1, 5], [9, 2]]), 0).indices
tensor([0, 1])
""",
    "maximum": """
>>> torch.maximum(torch.tensor([1, 5]), torch.tensor([3, 2]))
tensor([3, 5])
""",
    "softmax": """
>>> torch.softmax(torch.tensor([[0.0, 1.0]]), dim=1)
tensor([[0.2689, 0.7311]])
""",
    "log_softmax": """
>>> torch.log_softmax(torch.zeros(1, 4), dim=1)
tensor([[-1.3863, -1.3863, -1.3863, -1.3863]])
""",
    "add": """
>>> torch.add(torch.tensor([1, 2]), torch.tensor([10, 20]), alpha=2)
tensor([21, 42])
""",
    "mul": """
>>> torch.mul(torch.tensor([[1], [2]]), torch.tensor([10, 20]))
tensor([[10, 20],
        [20, 40]])
""",
    "div": """
>>> torch.div(torch.tensor([7, -7]), 2)
tensor([ 3.5000, -3.5000])
>>> torch.div(torch.tensor([7, -7]), 2, rounding_mode="floor")
tensor([ 3, -4])
""",
    "tril": """
>>> torch.tril(torch.ones(3, 3))
tensor([[1., 0., 0.],
        [1., 1., 0.],
        [1., 1., 1.]])
""",
    "triu": """
>>> torch.triu(torch.ones(3, 3), diagonal=1)
tensor([[0., 1., 1.],
        [0., 0., 1.],
        [0., 0., 0.]])
""",
}

OF_FUNCTIONAL = {
    "conv1d": """
>>> x, weight = torch.ones(2, 3, 10), torch.ones(6, 3, 5)
>>> torch.nn.functional.conv1d(x, weight, padding=2).shape
torch.Size([2, 6, 10])
""",
    "conv2d": """
>>> x, weight = torch.ones(1, 3, 8, 8), torch.ones(6, 3, 3, 3)
>>> torch.nn.functional.conv2d(x, weight, stride=2, padding=1).shape
torch.Size([1, 6, 4, 4])
""",
    "max_pool2d": """
>>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
>>> torch.nn.functional.max_pool2d(x, 2)
tensor([[[[ 5.,  7.],
          [13., 15.]]]])
""",
    "avg_pool2d": """
>>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
>>> torch.nn.functional.avg_pool2d(x, 2)
tensor([[[[ 2.5000,  4.5000],
          [10.5000, 12.5000]]]])
""",
}

for _names, _examples in ((TORCH, OF_TORCH), (FUNCTIONAL, OF_FUNCTIONAL)):
    for _name, _text in _examples.items():
        _function = _names[_name]
        _function.__doc__ = (
            f"{_function.__doc__ or ''}\n\n>>> import facula as torch{_text}".lstrip()
        )

# where doctest finds them
__test__ = {
    name: f"\n>>> import facula as torch{text}" for name, text in (OF_TORCH | OF_FUNCTIONAL).items()
}
