"""The same inputs give the same bits: on any number of threads, on every run, after every start."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import facula as torch
import facula.nn as nn
import facula.nn.functional as F
from facula.runtime import threads

ROOT = Path(__file__).parent.parent.parent


def digest(*tensors):
    sha = hashlib.sha256()
    for t in tensors:
        sha.update(t.detach().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]


def trained(model, x, y, make, steps=3):
    optimizer = make(model.parameters(), lr=0.01)
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss, *model.parameters()


def tiny_net():
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    return trained(model, torch.randn(64, 784), torch.randint(0, 10, (64,)), torch.optim.SGD)


def conv_net():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 13 * 13, 10)
    )
    return trained(model, torch.randn(16, 1, 28, 28), torch.randint(0, 10, (16,)), torch.optim.SGD)


def adam():
    model = nn.Linear(300, 400)
    return trained(model, torch.randn(32, 300), torch.randint(0, 400, (32,)), torch.optim.Adam)


def softmax_norm():
    x = torch.randn(512, 512, requires_grad=True)
    y = F.layer_norm(x.softmax(-1), (512,))
    return y, *torch.autograd.grad(y, x, torch.randn(512, 512))


def sums():
    x = torch.randn(1_000_000)
    square = x.reshape(1000, 1000)
    return x.sum(), (x * x).mean(), x.std(), square.sum(0), square.sum(1), x.cumsum(0), x.max()


def product():
    a, b = torch.randn(300, 300), torch.randn(300, 300)
    return a @ b, a.T @ b, a @ b[:, 0]


def rows_added():
    table = torch.zeros(1000, 64, requires_grad=True)
    (F.embedding(torch.randint(0, 1000, (5000,)), table) * torch.randn(5000, 64)).sum().backward()
    return (table.grad,)


def residual_net():
    """Winograd's filtering both ways, a stride, batch norm, pooling, and depth."""
    model = nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(48, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )
    x, y = torch.randn(8, 3, 32, 32), torch.randint(0, 10, (8,))
    clip, filters = torch.randn(2, 4, 6, 12, 12, requires_grad=True), torch.randn(8, 4, 3, 3, 3)
    deep = F.avg_pool3d(F.max_pool3d(F.conv3d(clip, filters, padding=1), 2), 3, 1, 1)
    (grad,) = torch.autograd.grad(deep.sum(), clip)
    return *trained(model, x, y, torch.optim.SGD, 2), deep, grad


@pytest.fixture
def threads_restored():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


@pytest.mark.parametrize(
    "compute",
    [tiny_net, conv_net, residual_net, adam, softmax_norm, sums, product, rows_added],
)
def test_threads_and_runs(compute, threads_restored):
    seen = set()
    for count in (1, 2, 4, 2, 1, 2, 3, 2, 1, 2):
        threads.set_num_threads(count)
        torch.manual_seed(7)
        seen.add(digest(*compute()))
    assert len(seen) == 1


SECOND = """
import facula as torch
from facula.demo import __main__ as demo
from facula.runtime import jit
torch.manual_seed(0)
images, labels = demo.load(None, train=True)[:64]
data = torch.utils.data.TensorDataset(images, labels)
losses = []
for make in (lambda: torch.nn.Sequential(torch.nn.Flatten(), demo.MyTinyNet()), demo.SmallCNN):
    losses += demo.train("", make(), data, epochs=1)
print(jit.stats.compiled, jit.stats.loaded_from_disk > 0, losses)
"""


def test_a_second_process_compiles_nothing(tmp_path):
    """The first steps of the demo's networks, twice: from the cache they come with the same bits."""
    environment = os.environ | {"FACULA_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    outputs = [
        subprocess.run([sys.executable, "-c", SECOND], env=environment, check=True, capture_output=True,
                       text=True, timeout=300).stdout.splitlines()[-1].split(" ", 2)
        for _ in range(2)
    ]  # fmt: skip
    assert int(outputs[0][0]) > 5
    assert outputs[1][:2] == ["0", "True"]
    assert outputs[0][2] == outputs[1][2]
