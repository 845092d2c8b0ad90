"""The same training in float32, in bfloat16, and in float16 with a scaled loss."""

import time

from common import digits, result, table

import facula as torch
import facula.nn as nn
import facula.nn.functional as F
from facula.utils.data import DataLoader, TensorDataset

EPOCHS = 3


def load(train):
    images, labels = digits(train)
    return TensorDataset(torch.tensor(images).flatten(1), torch.tensor(labels))


def network():
    return nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.LayerNorm(256), nn.Linear(256, 128), nn.ReLU(),
        nn.Linear(128, 10),
    )  # fmt: skip


def fit(dtype, train, test):
    """(loss, accuracy, seconds, scale of the loss at the end)."""
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    lower = dtype is not torch.float32
    # float16 has few small numbers: its gradients are kept away from zero by scaling the loss
    scaler = torch.amp.GradScaler("cpu", enabled=dtype is torch.float16, growth_interval=100)
    loader = DataLoader(train, batch_size=100, shuffle=True)
    start = time.perf_counter()
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for x, y in loader:
            with torch.autocast("cpu", dtype=dtype if lower else None, enabled=lower):
                output = model(x)
                loss = F.cross_entropy(output, y)
            assert loss.dtype is torch.float32
            assert output.dtype is dtype
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            total += loss.item()
        print(f"{dtype} epoch {epoch}/{EPOCHS}: loss {total / len(loader):.4f}")
    seconds = time.perf_counter() - start
    x, y = test.tensors
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype if lower else None, enabled=lower):
        accuracy = (model(x).argmax(1) == y).float().mean().item()
    return total / len(loader), accuracy, seconds, scaler.get_scale()


def main():
    start = time.perf_counter()
    train, test = load(True), load(False)
    rows = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        loss, accuracy, seconds, scale = fit(dtype, train, test)
        rows.append([str(dtype), loss, accuracy, f"{seconds:.1f} s", f"{scale:g}"])
    print()
    table(["type", "loss", "accuracy", "time", "scale"], rows)
    result("accuracy in bfloat16", rows[1][2], time.perf_counter() - start)


if __name__ == "__main__":
    main()
