"""What is timed, written on the PyTorch API alone.

A workload takes the library (facula or torch) and `wrap`, which is `torch.compile` or leaves a function as it
is, and goes around the forward pass. It returns a function that does one unit of work and ends with a Python
number that depends on all of it, so that nothing can be left undone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Step = Callable[[], float]
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]
Build = Callable[[Any, Wrap], Step]
WORKLOADS: dict[str, Build] = {}


def workload(build: Build) -> Build:
    """Registers a workload under its function's name."""
    WORKLOADS[build.__name__] = build
    return build


def trainer(optimizer: Any, loss_of: Callable[[], Any]) -> Step:
    """One step of training."""

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


@workload
def line_fit(torch, wrap):
    """A straight line through 32 points: the cost of doing nearly nothing."""
    x = torch.randn(32, 1)
    y = 3 * x + 0.5
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    return trainer(optimizer, wrap(lambda: (model(x) - y).square().mean()))


@workload
def scalar_chain(torch, wrap):
    """200 small operators in a row, without gradients: recording and little else."""
    a = torch.rand(8)

    def chain(a):
        x = a
        for _ in range(100):
            x = x * 0.99 + a
        return x.sum()

    chain = wrap(chain)
    return lambda: chain(a).item()


@workload
def mlp_digits(torch, wrap):
    """A training step of the demo's MLP, batch 64, Adam."""
    nn = torch.nn
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    x, y = torch.randn(64, 784), torch.randint(0, 10, (64,))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return trainer(optimizer, wrap(lambda: nn.functional.cross_entropy(model(x), y)))


@workload
def cnn_digits(torch, wrap):
    """A training step of the demo's convolutional network, batch 64, Adam."""
    nn = torch.nn
    convolve = [nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2)]
    convolve += [nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*convolve, nn.Flatten(), nn.Dropout(0.25), nn.Linear(800, 10))
    x, y = torch.randn(64, 1, 28, 28), torch.randint(0, 10, (64,))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return trainer(optimizer, wrap(lambda: nn.functional.cross_entropy(model(x), y)))


@workload
def mish_by_hand(torch, wrap):
    """x * tanh(log(1 + exp(x))) over two million elements, written out."""
    x = torch.randn(2_000_000)
    mish = wrap(lambda x: (x * torch.tanh(torch.log1p(torch.exp(x)))).sum())

    def step():
        with torch.no_grad():
            return mish(x).item()

    return step


@workload
def attention_rows(torch, wrap):
    """Softmax and layer norm of 2048 rows of 512, forward and backward."""
    F = torch.nn.functional
    x = torch.randn(2048, 512, requires_grad=True)
    g = torch.randn(2048, 512)
    rows = wrap(lambda x: (F.layer_norm(torch.softmax(x, dim=-1), (512,)) * g).sum())

    def step():
        x.grad = None
        rows(x).backward()
        return x.grad[0, 0].item()

    return step


@workload
def standardize(torch, wrap):
    """Columns of a table to mean 0 and deviation 1."""
    x = torch.rand(20_000, 80)
    furthest = wrap(lambda x: ((x - x.mean(dim=0)) / x.std(dim=0)).abs().max())
    return lambda: furthest(x).item()


@workload
def matmul_768(torch, wrap):
    """One product of 768 x 768 matrices."""
    a, b = torch.randn(768, 768), torch.randn(768, 768)
    return lambda: (a @ b)[0, 0].item()


@workload
def adam_10m(torch, wrap):
    """An Adam step over ten million parameters in 20 tensors."""
    params = [torch.randn(500_000, requires_grad=True) for _ in range(20)]
    for p in params:
        p.grad = torch.randn(500_000)
    optimizer = torch.optim.Adam(params, lr=1e-3)

    def step():
        optimizer.step()
        return params[-1][0].item()

    return step


@workload
def shuffled_batches(torch, wrap):
    """An epoch over 12,000 images, shuffled, 64 at a time."""
    data = torch.utils.data
    images, labels = torch.randn(12_000, 784), torch.randint(0, 10, (12_000,))
    loader = data.DataLoader(data.TensorDataset(images, labels), batch_size=64, shuffle=True)
    return lambda: float(sum(len(x) for x, _ in loader))


@workload
def gru_train(torch, wrap):
    """A training step of a GRU, 128 wide, over 32 sequences of 40 steps."""
    nn = torch.nn
    rnn, head = nn.GRU(32, 128, batch_first=True), nn.Linear(128, 5)
    x, y = torch.randn(32, 40, 32), torch.randint(0, 5, (32,))
    optimizer = torch.optim.Adam([*rnn.parameters(), *head.parameters()], lr=1e-3)
    return trainer(optimizer, wrap(lambda: nn.functional.cross_entropy(head(rnn(x)[0][:, -1]), y)))


@workload
def encoder_infer(torch, wrap):
    """Two transformer encoder layers, 256 wide, over 8 sequences of 64."""
    nn = torch.nn
    layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(8, 64, 256)
    forward = wrap(lambda x: model(x).sum())

    def step():
        with torch.no_grad():
            return forward(x).item()

    return step
