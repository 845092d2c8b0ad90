"""Autocast: which types come out, when it is on, and what it remembers."""

import threading

import pytest

import facula as torch
from facula.nn import functional as F

# what PyTorch 2.13 gives under torch.autocast("cpu") for float32 inputs
FROM_FLOAT32 = {
    "linear": (lambda x: F.linear(x, x), torch.bfloat16),
    "matmul": (lambda x: x @ x, torch.bfloat16),
    "method": (lambda x: x.mm(x), torch.bfloat16),
    "mv": (lambda x: x.mv(x[0]), torch.float32),
    "conv": (lambda x: F.conv2d(x[None, None], x[None, None]), torch.bfloat16),
    "prelu": (lambda x: F.prelu(x, x[0, :1]), torch.bfloat16),
    "softmax": (lambda x: x.softmax(-1), torch.float32),
    "lstm": (lambda x: torch.nn.LSTM(3, 2)(x)[0], torch.bfloat16),
    "gru": (lambda x: torch.nn.GRU(3, 2)(x)[0], torch.float32),
    "out": (lambda x: torch.mm(x, x, out=torch.empty(3, 3)), torch.float32),
    "pinv": (lambda x: torch.linalg.pinv(x), torch.bfloat16),
    "pinverse": (lambda x: torch.pinverse(x), torch.float32),
    "bilinear": (lambda x: F.bilinear(x, x, x[None]), torch.float32),
    "power": (lambda x: torch.linalg.matrix_power(x, 2), torch.bfloat16),
    "lstm in double": (
        lambda x: torch.nn.LSTM(3, 2).double()(x.double())[0],
        torch.float64,
    ),
    "double": (lambda x: x.double() @ x.double(), torch.float64),
}
FROM_BFLOAT16 = {
    "mse": (lambda x: F.mse_loss(x, x), torch.float32),
    "cross_entropy": (lambda x: F.cross_entropy(x, torch.tensor([0, 1, 2])), torch.float32),
    "bilinear": (lambda x: F.bilinear(x, x, x[None]), torch.bfloat16),
    "power": (lambda x: torch.linalg.matrix_power(x, 2), torch.bfloat16),
    "inverse power": (lambda x: torch.linalg.matrix_power(x + x.diag().diag(), -1), torch.float32),
    "triangular": (lambda x: torch.triangular_solve(x, x)[0], torch.float32),
    "gelu": (lambda x: F.gelu(x), torch.bfloat16),
    "layer_norm": (lambda x: F.layer_norm(x, (3,)), torch.bfloat16),
    "cat": (lambda x: torch.cat([x, x.float()]), torch.float32),
    "cat alike": (lambda x: torch.cat([x, x]), torch.bfloat16),
    "pad": (lambda x: F.pad(x[None, None], (1, 1, 1, 1), "reflect"), torch.float32),
    "mixed product": (lambda x: x @ x.float(), torch.bfloat16),
}


@pytest.mark.parametrize("name", FROM_FLOAT32)
def test_float32_inputs(name):
    fn, dtype = FROM_FLOAT32[name]
    with torch.autocast("cpu"):
        assert fn(torch.ones(3, 3)).dtype is dtype


@pytest.mark.parametrize("name", FROM_BFLOAT16)
def test_bfloat16_inputs(name):
    fn, dtype = FROM_BFLOAT16[name]
    with torch.autocast("cpu"):
        assert fn(torch.ones(3, 3, dtype=torch.bfloat16)).dtype is dtype


def test_nesting_and_float16():
    x = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.float16):
        assert (x @ x).dtype is torch.float16
        with torch.autocast("cpu", enabled=False):
            assert (x @ x).dtype is torch.float32
        assert (x @ x).dtype is torch.float16
    assert (x @ x).dtype is torch.float32
    assert not torch.is_autocast_enabled("cpu")
    assert torch.get_autocast_dtype("cpu") is torch.bfloat16


def test_decorator():
    @torch.autocast("cpu")
    def product(x):
        return x @ x

    assert product(torch.ones(2, 2)).dtype is torch.bfloat16


def test_other_threads_are_not_concerned():
    seen = []
    x = torch.ones(2, 2)
    with torch.autocast("cpu"):
        thread = threading.Thread(target=lambda: seen.append((x @ x).dtype))
        thread.start()
        thread.join()
    assert seen == [torch.float32]


def test_parameters_get_float32_gradients():
    layer = torch.nn.Linear(3, 2)
    with torch.autocast("cpu"):
        with torch.no_grad():
            layer(torch.ones(1, 3))  # leaves no cast without history behind
        loss = (layer(torch.ones(1, 3)) + layer(torch.ones(1, 3))).float().sum()
    loss.backward()
    assert layer.weight.grad.dtype is torch.float32
    assert layer.weight.grad.tolist() == [[2.0] * 3] * 2


def test_what_cannot_be_is_off_with_a_warning():
    with pytest.warns(UserWarning, match="CPU Autocast only supports"):
        context = torch.autocast("cpu", dtype=torch.float64)
    with context:
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32
    with pytest.warns(UserWarning, match="CUDA is not available"):
        torch.autocast("cuda")


def test_custom_forward_and_backward():
    class Product(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x @ x

        @staticmethod
        @torch.amp.custom_bwd(device_type="cpu")
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            assert not torch.is_autocast_enabled("cpu")
            return grad @ x.t() + x.t() @ grad

    x = torch.ones(2, 2, requires_grad=True)
    with torch.autocast("cpu"):
        y = Product.apply(x)
    assert y.dtype is torch.float32
    y.sum().backward()
    assert x.grad.tolist() == [[4.0, 4.0], [4.0, 4.0]]


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_recurrent_layers_take_lower_inputs(kind):
    """As from a layer before, under autocast; without it the dtypes must agree."""
    layer, x = getattr(torch.nn, kind)(3, 2), torch.rand(4, 1, 3).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x)[0].dtype is torch.bfloat16
    with pytest.raises(ValueError, match="does not match weight dtype"):
        layer(x)


def test_unpooling_works_in_float32():
    x, at = torch.rand(1, 1, 2).bfloat16(), torch.tensor([[[0, 2]]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.nn.functional.max_unpool1d(x, at, 2).dtype is torch.float32
