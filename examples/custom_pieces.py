"""Pieces of one's own: a Dataset, a layer, a loss, and an autograd Function with its derivative."""

import math
import time

from common import chart, result

import facula as torch
import facula.nn as nn
from facula.utils.data import DataLoader, Dataset

EPOCHS, WIDTH = 60, 64


class Spirals(Dataset):
    """Points on two spirals that wind around each other; a few carry the wrong label."""

    def __init__(self, count, wrong=0.05):
        self.kind = torch.arange(count) % 2
        t = torch.rand(count).sqrt() * 3 * math.pi
        angle = t + math.pi * self.kind
        self.points = torch.stack([t * angle.cos(), t * angle.sin()], 1) / (3 * math.pi)
        self.points += 0.02 * torch.randn(count, 2)
        self.labels = torch.where(torch.rand(count) < wrong, 1 - self.kind, self.kind)

    def __len__(self):
        return len(self.points)

    def __getitem__(self, i):
        return self.points[i], self.labels[i]


class Bell(torch.autograd.Function):
    """exp(-x * x), with the derivative written by hand."""

    @staticmethod
    def forward(ctx, x):
        y = torch.exp(-x * x)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return -2 * x * y * grad


class Bumps(nn.Module):
    """Bells around centres that are learned: a layer of radial basis functions."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.centres = nn.Parameter(torch.empty(outputs, inputs))
        self.narrow = nn.Parameter(torch.full((outputs,), 4.0))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.uniform_(self.centres, -1, 1)

    def forward(self, x):
        distance = torch.cdist(x, self.centres)
        return Bell.apply(distance * self.narrow)

    def extra_repr(self):
        return f"inputs={self.centres.shape[1]}, outputs={self.centres.shape[0]}"


class TrimmedLoss(nn.Module):
    """Cross entropy without the worst cases: labels may be wrong."""

    def __init__(self, trim=0.05):
        super().__init__()
        self.trim = trim

    def forward(self, logits, labels):
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        return losses.sort().values[: round(len(losses) * (1 - self.trim))].mean()


def check_derivative():
    """The derivative by hand against differences, in double precision."""
    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    Bell.apply(x).sum().backward()
    step = 1e-6
    with torch.no_grad():
        slope = (Bell.apply(x + step) - Bell.apply(x - step)) / (2 * step)
    print(f"derivative of the Function: off by {(x.grad - slope).abs().max().item():.1e}")
    assert torch.allclose(x.grad, slope, atol=1e-8)


def picture(model, rows=24, columns=60):
    """What the network answers, over the square."""
    y, x = torch.meshgrid(
        torch.linspace(1.1, -1.1, rows), torch.linspace(-1.1, 1.1, columns), indexing="ij"
    )
    with torch.no_grad():
        answer = model(torch.stack([x, y], -1).reshape(-1, 2)).argmax(1).view(rows, columns)
    for line in answer.tolist():
        print("".join("#" if v else "." for v in line))


def main():
    start = time.perf_counter()
    torch.manual_seed(0)
    check_derivative()
    train, test = Spirals(2000), Spirals(1000, wrong=0)
    model = nn.Sequential(Bumps(2, WIDTH), nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, 2))
    print(model)
    criterion = TrimmedLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    loader = DataLoader(train, batch_size=100, shuffle=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    losses = []
    for epoch in range(1, EPOCHS + 1):
        for points, labels in loader:
            loss = criterion(model(points), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
        with torch.no_grad():
            right = (model(test.points).argmax(1) == test.labels).float().mean().item()
        if epoch % 10 == 0:
            print(f"epoch {epoch}/{EPOCHS}: loss {losses[-1]:.4f}, accuracy {right:.3f}")

    chart(losses, "trimmed loss")
    print()
    picture(model)
    result("accuracy", right, time.perf_counter() - start)


if __name__ == "__main__":
    main()
