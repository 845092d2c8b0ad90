"""Tensors on the meta device: shapes, errors, history; the expected results are PyTorch 2.13's.

Where PyTorch has no meta kernel (ctc_loss, the backward of margin losses, values of a variance), they
are the shapes of its CPU results.
"""

import copy

import pytest

import facula as torch
import facula.nn.functional as F
from facula import nn

HUGE = 10**15


def meta(*shape, dtype=None, **kwargs):
    return torch.empty(*shape, dtype=dtype, device="meta", **kwargs)


def index(*shape):
    return meta(*shape, dtype=torch.int64)


def mask(*shape):
    return meta(*shape, dtype=torch.bool)


def described(r):
    if isinstance(r, torch.Tensor):
        assert r.is_meta
        return tuple(r.shape), str(r.dtype).split(".")[1]
    return [described(x) for x in r]


F32, I64 = "float32", "int64"

# operators that NumPy computes, that read values, or that make constants
SHAPES = {
    "normal numbers": (lambda: torch.normal(0.0, 1.0, (3,), device="meta"), ((3,), F32)),
    "normal tensors": (lambda: torch.normal(meta(3, 4), meta(4)), ((3, 4), F32)),
    "multinomial": (lambda: torch.multinomial(meta(3, 4), 2), ((3, 2), I64)),
    "poisson": (lambda: torch.poisson(meta(3, 4)), ((3, 4), F32)),
    "rrelu": (lambda: F.rrelu(meta(3, 4), training=True), ((3, 4), F32)),
    "fractional": (
        lambda: F.fractional_max_pool2d(meta(1, 1, 6, 6), 2, output_size=2),
        ((1, 1, 2, 2), F32),
    ),
    "histc": (lambda: torch.histc(meta(3), 7), ((7,), F32)),
    "nonzero_static": (lambda: torch.nonzero_static(meta(3, 4), size=5), ((5, 2), I64)),
    "repeat_interleave": (
        lambda: torch.repeat_interleave(meta(3, 4), index(3), 0, output_size=7),
        ((7, 4), F32),
    ),
    "linspace": (lambda: torch.linspace(meta(()), meta(()), 4), ((4,), F32)),
    "masked_scatter": (lambda: meta(3, 4).masked_scatter(mask(3, 4), meta(9)), ((3, 4), F32)),
    "index_put": (lambda: torch.index_put(meta(3, 4), (mask(3, 4),), meta(())), ((3, 4), F32)),
    "CPU index": (lambda: meta(3, 4)[torch.tensor([0, 1])], ((2, 4), F32)),
    "list index": (lambda: meta(3, 4)[:, [0, 1]], ((3, 2), F32)),
    "CPU gather": (lambda: meta(3, 4).gather(0, torch.zeros(1, 4).long()), ((1, 4), F32)),
    "quantile": (lambda: torch.quantile(meta(3, 4), 0.5, 1), ((3,), F32)),
    "block_diag": (lambda: torch.block_diag(meta(1, 2), meta(3, 4)), ((4, 6), F32)),
    "cholesky": (lambda: torch.linalg.cholesky(meta(2, 3, 3)), ((2, 3, 3), F32)),
    "svd": (
        lambda: torch.linalg.svd(meta(4, 3)),
        [((4, 4), F32), ((3,), F32), ((3, 3), F32)],
    ),
    "lu": (lambda: torch.linalg.lu(meta(3, 4)), [((3, 3), F32), ((3, 3), F32), ((3, 4), F32)]),
    "eigvals": (lambda: torch.linalg.eigvals(meta(3, 3)), ((3,), "complex64")),
    "matrix_rank": (lambda: torch.linalg.matrix_rank(meta(2, 3, 4)), ((2,), I64)),
    "rfft2": (lambda: torch.fft.rfft2(meta(3, 8), (4, 12)), ((4, 7), "complex64")),
    "attention": (
        lambda: F.scaled_dot_product_attention(
            meta(1, 2, 3, 4), meta(1, 2, 5, 4), meta(1, 2, 5, 6), mask(3, 5), dropout_p=0.1
        ),
        ((1, 2, 3, 6), F32),
    ),
    "ctc_loss": (
        lambda: F.ctc_loss(meta(5, 2, 4), index(2, 3), (5, 5), (3, 2), reduction="none"),
        ((2,), F32),
    ),
    "pdist": (lambda: F.pdist(meta(4, 3)), ((6,), F32)),
    "tril_indices": (lambda: torch.tril_indices(3, 5, 1, device="meta"), ((2, 9), I64)),
    "0-d CPU operand": (lambda: meta(3) * torch.tensor(2.0), ((3,), F32)),
    "trunc_normal_": (lambda: nn.init.trunc_normal_(meta(4, 4)), ((4, 4), F32)),
    "eye_": (lambda: nn.init.eye_(meta(4, 4)), ((4, 4), F32)),
    "tensor of a tensor": (lambda: torch.tensor(meta(3)), ((3,), F32)),
}


@pytest.mark.filterwarnings("ignore:To copy construct")
@pytest.mark.parametrize("name", SHAPES)
def test_results_have_shapes_and_nothing_is_drawn(name):
    call, expected = SHAPES[name]
    before = torch.get_rng_state()
    assert described(call()) == expected
    assert torch.equal(torch.get_rng_state(), before)


NO_ITEM = (RuntimeError, r"Tensor\.item\(\) cannot be called on meta tensors")
NO_NONZERO = (NotImplementedError, r"register_meta function for torch\.nonzero\(\)")
MIXED = (RuntimeError, "Tensor on device cpu is not on the expected device meta!")
NO_DATA = (NotImplementedError, "^Cannot copy out of meta tensor; no data!$")
OTHER_DEVICE = (RuntimeError, "Attempting to copy from device meta to device cpu")


def no_kernel(name):
    return NotImplementedError, f"{name}: attempted to run this operator with Meta tensors"


ERRORS = {
    "item": (lambda x: x.sum().item(), NO_ITEM),
    "bool": (lambda x: bool(x.sum()), NO_ITEM),
    "float": (lambda x: float(x.sum()), NO_ITEM),
    "allclose": (lambda x: torch.allclose(x, x), NO_ITEM),
    "one_hot": (lambda x: F.one_hot(x.long()), NO_ITEM),
    "nonzero": (lambda x: x.nonzero(), NO_NONZERO),
    "mask": (lambda x: x[x > 0], NO_NONZERO),
    "where": (lambda x: torch.where(x > 0), NO_NONZERO),
    "unique": (lambda x: x.unique(), no_kernel("aten::_unique2")),
    "masked_select": (lambda x: x.masked_select(x > 0), no_kernel("aten::masked_select")),
    "equal": (lambda x: torch.equal(x, x), no_kernel("aten::equal")),
    "bincount": (lambda x: torch.bincount(x.long()), no_kernel("aten::bincount")),
    "cpu": (lambda x: x.cpu(), NO_DATA),
    "tolist": (lambda x: x.tolist(), NO_DATA),
    "add": (lambda x: x + torch.ones(3, 4), MIXED),
    "cat": (lambda x: torch.cat([x, torch.ones(3, 4)]), MIXED),
    "mse_loss": (lambda x: F.mse_loss(x, torch.ones(3, 4)), MIXED),
    "out": (lambda x: torch.add(x, x, out=torch.empty(3, 4)), OTHER_DEVICE),
    "repeat_interleave": (
        lambda x: torch.repeat_interleave(x, index(3), 0),
        (RuntimeError, "cannot repeat_interleave a meta tensor without output_size"),
    ),
    "split": (lambda x: x.tensor_split(index(2)), (RuntimeError, "to be on cpu, but it's on meta")),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_needs_values_says_so(name):
    call, (kind, words) = ERRORS[name]
    with pytest.raises(kind, match=words):
        call(meta(3, 4))


def test_writes_have_a_history_and_count_as_versions():
    w = meta(3, requires_grad=True)
    x = meta(4, 3)
    assert x.add_(w).requires_grad
    x.normal_()
    assert x._version == 2
    view = meta(4, 4)
    view[0].copy_(w.detach()[:1])
    assert view._version == 1
    y = w.exp()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


DERIVED = {
    "sort": (lambda x: x.sort()[0], (3, 4)),
    "getitem": (lambda x: x[torch.tensor([0, 2])], (3, 4)),
    "cumprod": (lambda x: x.cumprod(1), (3, 4)),
    "det": (lambda x: torch.linalg.det(x @ x.t()), (3, 4)),
    "eigh": (lambda x: torch.linalg.eigh(x @ x.t())[1], (3, 4)),
    "irfft": (lambda x: torch.fft.irfft(torch.fft.rfft(x)), (3, 4)),
    "unfold": (lambda x: x.unfold(1, 2, 1), (3, 4)),
    "diagonal": (lambda x: x.diagonal(), (3, 4)),
    "as_strided": (lambda x: x.as_strided((2, 2), (1, 2)), (3, 4)),
    "where": (lambda x: torch.where(x > 0, x, 1.0), (3, 4)),
}


@pytest.mark.parametrize("name", DERIVED)
def test_gradients_are_on_meta(name):
    call, shape = DERIVED[name]
    x = meta(*shape, requires_grad=True)
    call(x).sum().backward()
    assert described(x.grad) == (shape, F32)


M = {"device": "meta"}
MODULES = {
    "Linear": (lambda: nn.Linear(4, 3, **M), [(2, 4)], (2, 3)),
    "Bilinear": (lambda: nn.Bilinear(4, 3, 5, **M), [(2, 4), (2, 3)], (2, 5)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, **M), [(2, 4, 5, 6)], (2, 6, 3, 4)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 6, 3, **M), [(2, 4, 5)], (2, 6, 7)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4, **M), [(2, 4, 5, 6)], (2, 4, 5, 6)),
    "LayerNorm": (lambda: nn.LayerNorm(4, **M), [(2, 4)], (2, 4)),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2), [(2, 4, 5)], (2, 4, 5)),
    "LSTM": (lambda: nn.LSTM(4, 5, 2, dropout=0.1, **M), [(3, 2, 4)], (3, 2, 5)),
    "GRUCell": (lambda: nn.GRUCell(4, 5, **M), [(2, 4)], (2, 5)),
    "TransformerEncoderLayer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, **M),
        [(5, 2, 8)],
        (5, 2, 8),
    ),
    "Embedding": (lambda: nn.Embedding(10, 4, max_norm=1.0, **M), [index(2, 3)], (2, 3, 4)),
    "EmbeddingBag": (lambda: nn.EmbeddingBag(10, 4, **M), [index(2, 3)], (2, 4)),
    "RReLU": (nn.RReLU, [(2, 4)], (2, 4)),
    "Fold": (lambda: nn.Fold((4, 5), (2, 2)), [(1, 12, 12)], (1, 3, 4, 5)),
    "MultiMarginLoss": (nn.MultiMarginLoss, [(2, 4), index(2)], ()),
    "MultiLabelMarginLoss": (nn.MultiLabelMarginLoss, [(2, 4), index(2, 4)], ()),
    "GaussianNLLLoss": (nn.GaussianNLLLoss, [(2, 4), (2, 4), (2, 4)], ()),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_run_and_are_filled_later(name):
    make, operands, shape = MODULES[name]
    module = make()
    given = [x if isinstance(x, torch.Tensor) else meta(*x) for x in operands]
    if given[0].is_floating_point():
        given[0].requires_grad_()
    out = module(*given)
    out = out[0] if isinstance(out, tuple) else out
    assert described(out) == (shape, F32)
    out.sum().backward()
    assert all(p.grad.is_meta and p.grad.shape == p.shape for p in module.parameters())
    assert all(p.is_meta for p in copy.deepcopy(module).state_dict().values())
    real = make().to_empty(device="cpu")
    module.load_state_dict(real.state_dict(), assign=True)
    assert all(p.device.type == "cpu" for p in module.state_dict().values())


@pytest.mark.parametrize(
    "name", ["Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD"]
)
def test_optimizers_step(name):
    module = nn.Linear(3, 3, **M)
    optimizer = getattr(torch.optim, name)(module.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        module(meta(2, 3)).sum().backward()
        optimizer.step()
    for state in optimizer.state_dict()["state"].values():
        for key, value in state.items():
            assert value is None or value.is_meta == (key not in ("step", "mu_product")), key


# each of these would fail for want of memory if it made anything of the tensor's size
ENORMOUS = {
    "randperm": lambda: torch.randperm(HUGE, device="meta"),
    "eye": lambda: torch.eye(10**8, device="meta"),
    "full": lambda: torch.full((HUGE,), 1j, device="meta"),
    "hann_window": lambda: torch.hann_window(HUGE, device="meta"),
    "fftfreq": lambda: torch.fft.fftfreq(HUGE, device="meta"),
    "tril_indices": lambda: torch.tril_indices(10**8, 10**8, device="meta"),
    "chain": lambda: (meta(HUGE).sin() + 1).cumsum(0),
    "sort": lambda: meta(HUGE).sort()[0],
    "matmul": lambda: meta(10**8, 10**7) @ meta(10**7, 10**8),
    "pdist": lambda: F.pdist(meta(10**8, 3)),
    "unfold": lambda: torch.autograd.grad(
        (x := meta(HUGE, requires_grad=True)).unfold(0, 10, 3).sum(), x
    )[0],
    "multinomial": lambda: torch.multinomial(meta(10**8, 10**7), 3, True),
    "fill_": lambda: meta(HUGE).fill_(1).normal_(),
    "deepcopy": lambda: copy.deepcopy(meta(HUGE)),
}


@pytest.mark.parametrize("name", ENORMOUS)
def test_size_costs_nothing(name):
    assert ENORMOUS[name]().is_meta
