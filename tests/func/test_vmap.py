"""vmap: results are those of a loop over the batch, and the rules are really taken."""

from __future__ import annotations

import pytest

import facula as torch
from facula.func import batching

F = torch.nn.functional
W = torch.linspace(-1, 1, 30).reshape(5, 6)


def batch(*shape):
    torch.manual_seed(len(shape))
    return torch.randn(3, *shape)


def loop(f, *args):
    """What vmap has to give: f of each element."""
    results = [f(*parts) for parts in zip(*args)]
    if isinstance(results[0], tuple):
        return tuple(torch.stack(column) for column in zip(*results))
    return torch.stack(results)


FUNCTIONS = {
    "pointwise with broadcasting": (lambda x, y: x * y + 1, (4, 5), (5,)),
    "softmax": (lambda x: F.softmax(x, 0), (4, 5)),
    "matmul chain": (lambda m: (m @ W).relu().sum(0), (4, 5)),
    "matrix by vector": (torch.mv, (4, 5), (5,)),
    "vector by matrix": (lambda v, m: v @ m, (4,), (4, 5)),
    "addmm": (lambda b, m: torch.addmm(b, m, W), (6,), (4, 5)),
    "full reductions": (lambda x: x.sum() + x.max() + x.std() + x.mean(), (4, 5)),
    "reduction with a dim": (lambda x: x.sum(0, keepdim=True) - x.amax(dim=1).sum(), (4, 5)),
    "max with indices": (lambda x: tuple(torch.max(x, 0)), (4, 5)),
    "sort": (lambda x: tuple(torch.sort(x, descending=True)), (5,)),
    "scans": (lambda x: x.cumsum(0).flip(0), (4, 5)),
    "shapes": (lambda x: x.view(2, 10).t().reshape(-1).unsqueeze(0).expand(2, 20), (4, 5)),
    "permute and flatten": (lambda x: x.permute(2, 0, 1).flatten(1), (2, 3, 4)),
    "cat and stack": (lambda x, y: torch.stack([torch.cat([x, y]), torch.ones(10)], 1), (5,), (5,)),
    "basic index": (lambda x: x[1:3, None] * x[..., 0, :], (4, 5)),
    "index with a tensor": (lambda x: x[:, torch.tensor([0, 2])], (4, 5)),
    "index with a mask": (lambda x: x[torch.tensor([True, False, True, False])], (4, 5)),
    "in place": (lambda x: x.clone().add_(1).mul_(x), (4, 5)),
    "einsum": (lambda m: torch.einsum("ij,jk->ki", m, W), (4, 5)),
    "conv": (lambda x: F.conv2d(x, torch.ones(2, 1, 3, 3), torch.ones(2)), (2, 1, 5, 5)),
    "conv with its own weights": (lambda x, w: F.conv2d(x, w, padding=1), (2, 1, 5, 5), (2, 1, 3, 3)),
    "pooling": (lambda x: F.max_pool2d(x, 2), (1, 4, 4)),
    "linear with its own weights": (lambda x, w, b: F.linear(x, w, b), (2, 4), (3, 4), (3,)),
    "layer norm": (lambda x, w: F.layer_norm(x, (5,), w), (4, 5), (5,)),
    "attention": (lambda q: F.scaled_dot_product_attention(q, q, q), (2, 4, 8)),
    "loss": (lambda x, y: F.mse_loss(x, y), (4,), (4,)),
    "determinant": (torch.linalg.det, (4, 4)),
    "properties": (lambda m: m.T @ m, (4, 5)),
    "types of tensors without dims": (lambda x, s: x.half() * s, (4,), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gives_what_a_loop_gives(name, monkeypatch):
    def no_loop(*args):
        raise AssertionError("the whole function ran element by element")

    monkeypatch.setattr(batching, "_looped", no_loop)
    f, *shapes = FUNCTIONS[name]
    args = [batch(*shape) for shape in shapes]
    got, want = torch.vmap(f)(*args), loop(f, *args)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_indices_of_each_element():
    x, i = batch(4), torch.tensor([0, 1, 3])
    assert torch.equal(torch.vmap(lambda a, k: a[k])(x, i), x[torch.arange(3), i])
    table = torch.vmap(F.embedding, (None, 0))(torch.tensor([1, 0]), batch(4, 5))
    assert torch.equal(table, batch(4, 5)[:, [1, 0]])


def test_writing_into_new_tensors():
    def f(x):
        z = x.new_zeros(4)
        z[1] = x[0]
        return z

    assert torch.equal(torch.vmap(f)(batch(4))[:, 1], batch(4)[:, 0])


def test_decisions_on_values_are_refused():
    x = batch(4)
    with pytest.raises(
        RuntimeError, match="vmap: It looks like you're attempting to use a Tensor in some data-dep"
    ):
        torch.vmap(lambda a: a * 2 if a.sum() > 0 else a)(x)
    for number in (lambda a: a.sum().item(), lambda a: a * float(a.sum()), lambda a: a[int(a[0])]):
        with pytest.raises(RuntimeError, match=r"calling .item\(\) on a Tensor"):
            torch.vmap(number)(x)


def test_what_looks_at_values_runs_element_by_element():
    x = batch(4)
    got = torch.vmap(lambda a: torch.tensor(a.tolist()) * 2)(x)
    assert torch.equal(got, x * 2)


def test_dims_of_arguments_and_results():
    x, y = batch(4), batch(4)[0]
    got = torch.vmap(torch.vmap(lambda a, b: a - b, (0, None)), (None, 0))(y, y)
    assert torch.equal(got, y[None, :] - y[:, None])
    a, b = torch.vmap(lambda d: (d["x"], d["x"].sum()), in_dims=1, out_dims=(1, 0))({"x": x})
    assert torch.equal(a, x) and torch.allclose(b, x.sum(0))
    assert torch.vmap(lambda d: torch.ones(2))(x).shape == (3, 2)
    assert torch.equal(torch.vmap(torch.sum, chunk_size=2)(x), torch.vmap(torch.sum)(x))


def test_randomness():
    x = torch.zeros(3, 4)

    def noisy(a):
        return a + torch.randn(4)

    with pytest.raises(RuntimeError, match="randomness error mode"):
        torch.vmap(noisy)(x)
    torch.manual_seed(3)
    same = torch.vmap(noisy, randomness="same")(x)
    assert torch.equal(same[0], same[2])
    torch.manual_seed(3)
    other = torch.vmap(noisy, randomness="different")(x)
    torch.manual_seed(3)
    assert torch.equal(other, torch.randn(3, 4))
    dropped = torch.vmap(lambda a: F.dropout(a + 1), randomness="same")(x)
    assert torch.equal(dropped[0], dropped[1])


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_gradients_of_each_sample(kind):
    torch.manual_seed(0)
    nn = torch.nn
    if kind == "mlp":
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3))
        x = torch.randn(5, 4)
    else:
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))  # fmt: skip
        x = torch.randn(5, 1, 8, 8)
    y = torch.tensor([0, 1, 2, 1, 0])
    params = {k: p.detach() for k, p in net.named_parameters()}

    def loss(p, a, b):
        out = torch.func.functional_call(net, p, (a.unsqueeze(0),))
        return F.cross_entropy(out, b.unsqueeze(0))

    got = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(params, x, y)
    for i in range(5):
        net.zero_grad()
        F.cross_entropy(net(x[i : i + 1]), y[i : i + 1]).backward()
        for name, p in net.named_parameters():
            torch.testing.assert_close(got[name][i], p.grad, atol=1e-6, rtol=1e-5)


def test_ensembles():
    models = [torch.nn.Linear(4, 2) for _ in range(3)]
    params, buffers = torch.func.stack_module_state(models)
    x = batch(4)

    def call(p, b, a):
        return torch.func.functional_call(models[0], (p, b), (a,))

    got = torch.func.vmap(call, (0, 0, None))(params, buffers, x)
    torch.testing.assert_close(got, torch.stack([m(x) for m in models]))


def test_jacobians_and_hessians():
    x, w = batch(4)[0], W[:4, :4]
    jacobian = torch.func.jacrev(lambda a: (a @ w).tanh())(x)
    slope = 1 - (x @ w).tanh() ** 2
    torch.testing.assert_close(jacobian, slope[:, None] * w.T)
    torch.testing.assert_close(torch.func.jacfwd(lambda a: (a @ w).tanh())(x), jacobian)
    hessian = torch.func.hessian(lambda a: (a**3).sum())(x)
    torch.testing.assert_close(hessian, torch.diag(6 * x))
    many = torch.func.vmap(torch.func.hessian(lambda a: (a**3).sum()))(batch(4))
    torch.testing.assert_close(many, torch.diag_embed(6 * batch(4)))
    value, pull = torch.func.vjp(lambda a: a**2, x)
    torch.testing.assert_close(torch.func.vmap(pull)(torch.eye(4))[0], torch.diag(2 * x))
    push = torch.func.vmap(lambda t: torch.func.jvp(lambda a: a**2, (x,), (t,))[1])
    torch.testing.assert_close(push(torch.eye(4)), torch.diag(2 * x))


def test_gradients_reach_what_is_outside():
    scale = torch.tensor(2.0, requires_grad=True)
    x = batch(4)
    torch.vmap(lambda a: (a * scale).sum())(x).sum().backward()
    torch.testing.assert_close(scale.grad, x.sum())
