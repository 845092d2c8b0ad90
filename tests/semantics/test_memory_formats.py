"""How results lie in memory: strides are PyTorch's, values do not depend on them."""

import pickle

import pytest

import facula as torch
import facula.nn as nn
import facula.nn.functional as F

LAST = torch.channels_last


def images(*shape):
    torch.manual_seed(0)
    return torch.randn(*shape)


def last(x):
    return x.is_contiguous(memory_format=LAST) and not x.is_contiguous()


KEPT = {
    "relu": torch.relu,
    "number": lambda x: 2 * x + 1,
    "channels": lambda x: torch.ones(4, 1, 1) * x,
    "compare": lambda x: x > 0,
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "gelu": F.gelu,
    "clamp": lambda x: x.clamp(-1, 1),
    "double": lambda x: x.double(),
    "clone": lambda x: x.clone(),
    "copy": lambda x: x.to(torch.float32, copy=True),
    "cat": lambda x: torch.cat([x, x], 1),
    "flip": lambda x: x.flip(2),
    "roll": lambda x: x.roll(1, 3),
    "pad": lambda x: F.pad(x, (1, 1, 1, 1)),
    "conv": lambda x: F.conv2d(x, images(3, 4, 3, 3), torch.ones(3)),
    "conv_transpose": lambda x: F.conv_transpose2d(x, images(4, 3, 3, 3)),
    "max_pool": lambda x: F.max_pool2d(x, 2),
    "indices": lambda x: F.max_pool2d(x, 2, return_indices=True)[1],
    "avg_pool": lambda x: F.avg_pool2d(x, 2),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, 2),
    "batch_norm": lambda x: nn.BatchNorm2d(4)(x),
    "evaluated": lambda x: nn.BatchNorm2d(4).eval()(x),
    "group_norm": lambda x: nn.GroupNorm(2, 4)(x),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "dropout": lambda x: F.dropout(x, 0.0),
    "zeros_like": torch.zeros_like,
    "full_like": lambda x: torch.full_like(x, 2.0),
    "chain": lambda x: F.max_pool2d((F.conv2d(x, images(4, 4, 1, 1)) + x).relu(), 2),
}


@pytest.mark.parametrize("name", KEPT)
def test_channels_last_is_carried_through(name):
    x, f = images(2, 4, 6, 6), KEPT[name]
    plain, kept = f(x), f(x.to(memory_format=LAST))
    assert plain.is_contiguous()
    assert last(kept)
    assert torch.equal(plain, kept)
    assert kept.clone(memory_format=torch.contiguous_format).is_contiguous()


def test_random_values_like():
    x = images(2, 4, 6, 6).to(memory_format=LAST)
    for make in (torch.empty_like, torch.rand_like, torch.randn_like):
        assert last(make(x))
    assert torch.randn_like(x, memory_format=torch.contiguous_format).is_contiguous()


def test_the_first_operand_of_the_whole_shape_decides():
    x, y = images(2, 4, 6, 6), images(2, 4, 6, 6).to(memory_format=LAST)
    assert last(y + x) and (x + y).is_contiguous() and last(x[0, :, :1, :1] + y)


def test_strides_and_volumes():
    x = images(2, 4, 3, 5).to(memory_format=LAST)
    assert x.exp().stride() == (60, 1, 20, 4)
    v = images(2, 3, 2, 2, 2).to(memory_format=torch.channels_last_3d)
    assert F.conv3d(v, images(5, 3, 1, 1, 1)).stride() == (40, 1, 20, 10, 5)
    assert x.to(memory_format=LAST) is x and x.contiguous().is_contiguous()


def test_writing_in_place_keeps_the_memory():
    x = images(2, 4, 6, 6)
    y = x.to(memory_format=LAST)
    seen = y.permute(0, 2, 3, 1)
    y.add_(1).relu_()
    assert last(y) and torch.equal(seen, (x + 1).relu().permute(0, 2, 3, 1))
    assert torch.equal(
        y.exp().permute(0, 2, 3, 1).view(-1), y.exp().permute(0, 2, 3, 1).reshape(-1)
    )


def network():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3)
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_training_gives_the_same(compiled):
    results = []
    for fmt in (torch.contiguous_format, LAST):
        model = network().to(memory_format=fmt)
        run = torch.compile(model) if compiled else model
        x = images(2, 3, 12, 12).to(memory_format=fmt).requires_grad_()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(12):  # backward passes that come again are replayed
            y = run(x)
            optimizer.zero_grad()
            x.grad = None
            y.square().mean().backward()
            optimizer.step()
        assert last(y) == (fmt is LAST)
        results.append([y, x.grad, *model.parameters()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_evaluated_layer_by_layer():
    model, x = network(), images(2, 3, 12, 12)
    want, y = model(x), x.to(memory_format=LAST)
    for layer in model:
        y = layer(y)
        y.numpy(force=True)
        assert last(y)
    torch.testing.assert_close(y, want, rtol=1e-5, atol=1e-6)


def test_no_second_copy_inside_a_plan():
    x = images(2, 4, 6, 6).to(memory_format=LAST)
    x.sum().item()
    assert len(torch.explain(x.relu() * 2 + 1).kernels) == 1


A, B, W = images(2, 5, 5), images(2, 5, 3), images(2, 6, 4)
P = A @ A.mT + torch.eye(5)
L = torch.linalg

COLUMNS = {
    "inv": lambda: L.inv(A),
    "solve": lambda: L.solve(A, B),
    "cholesky": lambda: L.cholesky(P),
    "qr": lambda: L.qr(W)[0],
    "r": lambda: L.qr(W)[1],
    "svd": lambda: L.svd(W)[0],
    "vh": lambda: L.svd(W, full_matrices=False)[2],
    "eigh": lambda: L.eigh(P)[1],
    "eig": lambda: L.eig(A)[1],
    "lu_factor": lambda: L.lu_factor(W)[0],
    "triangular": lambda: L.solve_triangular(A, B, upper=True),
    "cholesky_solve": lambda: torch.cholesky_solve(B, L.cholesky(P)),
    "geqrf": lambda: torch.geqrf(W)[0],
    "ldl": lambda: L.ldl_factor(P)[0],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_lapack_gives_columns(name):
    got = COLUMNS[name]()
    assert got.mT.is_contiguous() and not got.is_contiguous()


def test_columns_have_the_values():
    assert torch.linalg.solve(A, B.mT, left=False).is_contiguous()
    torch.testing.assert_close(A @ L.inv(A), torch.eye(5).expand(2, 5, 5), rtol=1e-4, atol=1e-4)
    q, r = L.qr(W)
    torch.testing.assert_close(q @ r, W, rtol=1e-5, atol=1e-5)


def test_out_lies_as_the_result():
    out = torch.empty(0)
    L.inv(A, out=out)
    assert out.mT.is_contiguous() and torch.equal(out, L.inv(A))
    x = images(2, 4, 6, 6).to(memory_format=LAST)
    out = torch.empty(0)
    torch.exp(x, out=out)
    assert last(out) and torch.equal(out, x.exp())
    kept = torch.empty(2, 4, 6, 6)
    torch.exp(x, out=kept)
    assert kept.is_contiguous() and torch.equal(kept, out)


def test_turned_by_quarters():
    x = torch.arange(24.0).view(2, 3, 4).requires_grad_()
    for k, want in (
        (0, x),
        (1, x.flip(2).mT),
        (2, x.flip(1, 2)),
        (3, x.flip(1).mT),
        (-1, x.flip(1).mT),
    ):
        got = torch.rot90(x, k, (1, 2))
        assert torch.equal(got, want) and got.stride() == want.stride()
        (g,) = torch.autograd.grad((got * torch.arange(24.0).view(got.shape)).sum(), x)
        (h,) = torch.autograd.grad((want * torch.arange(24.0).view(want.shape)).sum(), x)
        assert torch.equal(g, h)
    assert torch.equal(torch.roll(x, 5), x.reshape(-1)[[*range(19, 24), *range(19)]].view(2, 3, 4))


def test_pickled_tensors_lie_as_they_lay():
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last).requires_grad_()
    y = pickle.loads(pickle.dumps(x))
    assert y.stride() == x.stride() == (60, 1, 15, 3)
    assert y.requires_grad and y.is_leaf and torch.equal(x, y)
    y.pow(2).sum().backward()
    assert torch.equal(y.grad, 2 * x)
    t = pickle.loads(pickle.dumps(torch.arange(6).reshape(2, 3).t()))
    assert t.stride() == (1, 3) and t.tolist() == [[0, 3], [1, 4], [2, 5]]


# strides that PyTorch 2.13 gives results of x of shape (4, 3), which lies column by column, and y, which does not
TRANSPOSED = [
    (lambda x, y: x + 1, (1, 4)),
    (lambda x, y: x + y, (1, 4)),
    (lambda x, y: y + x, (3, 1)),
    (lambda x, y: x * y[0], (1, 4)),
    (lambda x, y: y[0] * x, (1, 4)),
    (lambda x, y: torch.where(x > 0, y, x), (1, 4)),
    (lambda x, y: x[::2].exp(), (1, 2)),
    (lambda x, y: x.expand(2, 4, 3) + 1, (12, 1, 4)),
    (lambda x, y: x.unsqueeze(0) * 2, (4, 1, 4)),
    (lambda x, y: x[:, :1] + y[:1], (3, 1)),
    (lambda x, y: x.clone(), (1, 4)),
    (lambda x, y: x.double(), (1, 4)),
    (lambda x, y: x.round(), (1, 4)),
    (lambda x, y: torch.rand_like(x), (1, 4)),
    (lambda x, y: torch.zeros_like(x), (1, 4)),
    (lambda x, y: x.masked_fill(x > 0, 1.0), (3, 1)),
    (lambda x, y: x.roll(1, 0), (3, 1)),
    (lambda x, y: x.contiguous(), (3, 1)),
    (lambda x, y: x.softmax(-1), (3, 1)),
]


@pytest.mark.parametrize("number", range(len(TRANSPOSED)))
def test_elementwise_results_lie_as_their_operands(number):
    make, strides = TRANSPOSED[number]
    plain, y = images(4, 3), torch.ones(4, 3)
    x = plain.T.contiguous().T
    got = make(x, y)
    assert got.stride() == strides
    if make(plain, y).equal(make(plain, y)):  # no random numbers
        torch.testing.assert_close(got, make(plain, y), check_stride=False)


DRAWS = {
    "rand_like": torch.rand_like,
    "randn_like": torch.randn_like,
    "randint_like": lambda t: torch.randint_like(t, 100),
    "dropout": lambda t: F.dropout(torch.ones_like(t), 0.5),
    "in place": lambda t: (t * 2).uniform_(),
}


@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers_come_in_the_order_of_memory(name):
    x = images(3, 4)
    torch.manual_seed(0)
    plain = DRAWS[name](x)
    torch.manual_seed(0)
    assert torch.equal(DRAWS[name](x.T), plain.T)


def test_multinomial_draws_in_the_order_of_its_weights():
    torch.manual_seed(0)  # PyTorch 2.13 gives these
    assert torch.multinomial(torch.ones(3, 4).T, 1).flatten().tolist() == [2, 2, 1, 2]
    torch.manual_seed(0)
    assert torch.multinomial(torch.ones(4, 3), 1).flatten().tolist() == [2, 1, 0, 2]
