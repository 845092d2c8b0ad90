"""How many kernels common computations take, and that they stay few."""

import math

import pytest

import facula as torch
import facula.nn as nn
import facula.nn.functional as F

from .kernels import watched


def evaluated(*tensors):
    for t in tensors:
        t.detach().sum().item()
    return tensors if len(tensors) > 1 else tensors[0]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


COUNTS = {
    "softmax": (lambda x, w, t: x.softmax(-1), 1),
    "softmax over rows": (lambda x, w, t: x.softmax(0), 1),
    "log_softmax": (lambda x, w, t: x.log_softmax(-1), 1),
    "layer norm": (lambda x, w, t: F.layer_norm(x, (100,), w, w), 1),
    "rms norm": (lambda x, w, t: F.rms_norm(x, (100,), w), 1),
    "gelu by hand": (lambda x, w, t: gelu(x), 1),
    "gelu": (lambda x, w, t: F.gelu(x), 1),
    "standard deviation": (lambda x, w, t: x.std(), 1),
    "mean square": (lambda x, w, t: ((x - w) ** 2).mean(), 1),
    "cross entropy": (lambda x, w, t: F.cross_entropy(x, t), 2),
    "cross entropy of each": (lambda x, w, t: F.cross_entropy(x, t, reduction="none"), 1),
    "linear and relu": (lambda x, w, t: F.linear(x, w.reshape(1, 100).expand(8, 100)).relu(), 1),
    "linear and gelu": (lambda x, w, t: F.gelu(F.linear(x, x, w[:64])), 1),
    "linear, bias, residual": (lambda x, w, t: x[:, :64] + F.linear(x, x, w[:64]).tanh() * 0.3, 1),
    "batched product, scaled": (
        lambda x, w, t: (x.view(4, 16, 100) @ x.view(4, 16, 100).mT) * 0.1,
        1,
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_forward(name):
    compute, most = COUNTS[name]
    x, w, t = evaluated(torch.randn(64, 100), torch.randn(100), torch.randint(0, 100, (64,)))
    with watched() as ran:
        kept = compute(x, w, t)
    assert kept is not None
    assert 1 <= len(ran.names) <= most, ran.names
    assert not ran.host_steps


@pytest.mark.parametrize("compute", [lambda x: x.softmax(-1), lambda x: x.log_softmax(-1), gelu, F.gelu,
                                     lambda x: F.layer_norm(x, (100,))])  # fmt: skip
def test_backward_is_one_kernel(compute):
    x, g = evaluated(torch.randn(64, 100), torch.randn(64, 100))
    y = compute(x.requires_grad_())
    evaluated(y)
    with watched() as ran:
        kept = torch.autograd.grad(y, x, g)
    assert kept
    assert ran.names == ["loop"]


@pytest.mark.parametrize(
    "make", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop]
)
def test_an_optimizer_step(make):
    """At most one kernel for each parameter."""
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    optimizer = make(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(4, 20)).sum().backward()
        evaluated(*[p.grad for p in model.parameters()])
        with watched() as ran:
            optimizer.step()
        assert set(ran.names) == {"loop"}
        assert len(ran.names) <= 4
        assert not ran.host_steps


def test_cross_entropy_and_its_gradient():
    x, t = evaluated(torch.randn(64, 100, requires_grad=True), torch.randint(0, 100, (64,)))
    with watched() as ran:
        loss = F.cross_entropy(x, t)
        kept = torch.autograd.grad(loss, x)
    assert kept
    assert ran.names == ["loop"] * 3


# plans --------------------------------------------------------------------------------------------


def test_a_number_that_changes_is_no_new_plan():
    x = evaluated(torch.randn(100))
    with watched() as ran:
        for k in range(20):
            y = torch.add(x * (0.1 + k), x, alpha=0.5 * k - 7.25).clamp(-k - 1.5, k + 0.5) ** (
                2.5 + k
            )
            y.tolist()
    assert ran.built == 1


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("read", [True, False], ids=["loss read", "nothing read"])
def test_a_schedule_is_no_new_plan(make, read):
    """One plan for all steps but the first few; 400 steps: Adam's first bias correction is exactly 1
    from step 356 on.

    The first step makes the optimizer's state; the second is another one where `loss` of the step
    before is still named when the next is recorded.
    """
    model = nn.Linear(3, 2)
    evaluated(*model.parameters())
    x = evaluated(torch.randn(4, 3))
    optimizer = make(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 / (k + 1.5))

    def steps(count):
        with watched() as ran:
            for _ in range(count):
                loss = model(x).square().sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                if read:
                    loss.item()
        assert len(ran.plans) == count
        return ran

    first = steps(3)
    assert first.built <= 3, first.built
    later = steps(397)
    assert later.built == 0
    assert len({id(plan) for plan in later.plans}) == 1


# lengths ------------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.norm, self.out = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x):
        h = self.embed(x)
        weights = (self.q(h) @ self.k(h).transpose(-1, -2) / 4.0).softmax(-1)
        return self.out(self.norm(h + weights @ self.v(h)).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.embed, self.rnn, self.out = (
            nn.Embedding(50, 16),
            kind(16, 16, batch_first=True),
            nn.Linear(16, 5),
        )

    def forward(self, x):
        return self.out(self.rnn(self.embed(x))[0][:, -1])


def kernels_by_length(model, train, lengths):
    """For each length the kernels that no shorter one used."""
    target = torch.randint(0, 5, (2,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen, new = set(), {}
    for length in lengths:
        x = evaluated(torch.randint(0, 50, (2, length)))
        with watched() as ran:
            loss = F.cross_entropy(model(x), target)
            if train:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            loss.item()
        new[length] = ran.keys - seen
        seen |= ran.keys
    return new


def test_forty_lengths_of_attention():
    """Sizes are arguments of kernels, but for the tile of a small product: at most 6 + 4 heights (even
    ones above 6) of at most 3 widths for each way its operands may lie. Loops are those of lengths 1
    to 5, which lack some dims."""
    new = kernels_by_length(Attention(), True, range(1, 41))
    loops = {length: [k for k in keys if k.startswith("loop")] for length, keys in new.items()}
    assert sum(map(len, loops.values())) <= 40
    assert not any(loops[length] for length in range(6, 41))
    assert sum(map(len, new.values())) <= 90
    assert not any(new[length] for length in range(31, 41))


def test_the_first_backward_cuts_no_step(monkeypatch):
    """The gradient of one that it starts from is made without evaluating what is recorded."""
    monkeypatch.setattr("facula.ops.gradients._ones", {})
    x = evaluated(torch.randn(3, 4)).requires_grad_()
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        x.grad = None
        with watched() as ran:
            x.to(dtype).square().sum().backward()
        assert len(ran.plans) == 1
        assert torch.equal(x.grad, (2 * x.detach().to(dtype)).float())


def test_forty_usual_lengths_of_attention():
    new = kernels_by_length(Attention(), True, range(8, 48))
    assert sum(map(len, new.values())) <= 50
    assert sum(bool(keys) for keys in new.values()) <= 8  # of 40 lengths, those that compile


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_forty_lengths_of_a_recurrence(kind):
    """All time steps are one kernel, forwards and backwards."""
    new = kernels_by_length(Recurrent(kind), True, range(1, 41))
    assert sum(map(len, new.values())) <= 40
    assert not any(new[length] for length in range(9, 41))


def test_batch_norm_is_one_kernel_each_way():
    """With its running statistics, the residual and the relu around it."""
    x = torch.randn(4, 8, 6, 6, requires_grad=True)
    norm, skip = nn.BatchNorm2d(8), torch.randn(4, 8, 6, 6)
    y = F.relu(norm(x) + skip)
    assert len(torch.explain(y, norm.running_mean, norm.running_var).kernels) == 1
    y.sum().item()
    y.backward(torch.randn(4, 8, 6, 6))
    assert len(torch.explain(x.grad, norm.weight.grad, norm.bias.grad).kernels) == 1


def test_depth_is_native():
    x, w = torch.randn(1, 4, 6, 8, 8, requires_grad=True), torch.randn(4, 4, 3, 3, 3)
    with watched() as ran:
        y = F.avg_pool3d(F.max_pool3d(F.conv3d(x, w, padding=1), 2), 2)
        y.sum().backward()
        evaluated(y, x.grad)
    assert ran.host_steps == 0


def test_a_long_sum_whose_last_dim_is_short_is_shared_out():
    """It is cut along its longest dim, wherever that stands: one kernel alone would be one task."""
    tall = evaluated(torch.randn(2, 200000))
    for x in (tall.t(), evaluated(torch.randn(8, 3, 60000)).permute(2, 0, 1)):
        with watched() as ran:
            total = x.sum().item()
        assert total == pytest.approx(x.double().sum().item(), rel=1e-3, abs=1e-2)
        assert max(step.ntasks for plan in ran.plans for step in plan.kernels) > 1
