"""A training that is stopped, saved and continued in another process ends with the same bits.

python examples/resume.py            # both ways, and compares
python examples/resume.py continue   # what the other process runs
"""

import hashlib
import os
import subprocess
import sys
import time

from common import OUTPUT, digits, result, table

import facula as torch
import facula.nn as nn
import facula.nn.functional as F
from facula.utils.data import DataLoader, TensorDataset

EPOCHS, STOP = 10, 5
CHECKPOINT = OUTPUT / "resume.pt"


class Training:
    """Everything that a checkpoint must hold."""

    def __init__(self):
        torch.manual_seed(0)
        images, labels = digits(train=True)
        self.data = TensorDataset(
            torch.tensor(images[:4000]).flatten(1), torch.tensor(labels[:4000])
        )
        self.model = nn.Sequential(
            nn.Linear(784, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-3)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, EPOCHS)
        self.epoch = 0

    def run(self, until):
        """Goes on to an epoch; prints and returns the last mean loss."""
        loader = DataLoader(self.data, batch_size=100, shuffle=True)
        self.model.train()
        mean = 0.0
        while self.epoch < until:
            total = 0.0
            for x, y in loader:
                loss = F.cross_entropy(self.model(x), y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                total += loss.item()
            self.scheduler.step()
            self.epoch += 1
            mean = total / len(loader)
            print(f"  epoch {self.epoch}/{EPOCHS}: loss {mean:.6f}", flush=True)
        return mean

    def save(self, path):
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "epoch": self.epoch,
                "random": torch.get_rng_state(),  # shuffles and dropout go on where they were
            },
            path,
        )

    def load(self, path):
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.epoch = state["epoch"]
        torch.set_rng_state(state["random"])

    def fingerprint(self):
        """A hash of every bit of the model and of the optimizer's state."""
        hashed = hashlib.sha256()
        tensors = list(self.model.state_dict().values())
        for state in self.optimizer.state_dict()["state"].values():
            tensors += [v for v in state.values() if isinstance(v, torch.Tensor)]
        for t in tensors:
            hashed.update(t.detach().numpy().tobytes())
        return hashed.hexdigest()[:16]


def go_on():
    training = Training()
    training.load(CHECKPOINT)
    loss = training.run(EPOCHS)
    print(training.fingerprint(), loss)


def main():
    start = time.perf_counter()
    OUTPUT.mkdir(exist_ok=True)
    print(f"{EPOCHS} epochs at once")
    whole = Training()
    loss = whole.run(EPOCHS)

    print(f"{STOP} epochs, then a checkpoint")
    first = Training()
    first.run(STOP)
    first.save(CHECKPOINT)

    print("another process goes on")
    paths = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, __file__, "continue"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    *lines, last = done.stdout.strip().splitlines()
    print("\n".join(f"  {line.strip()}" for line in lines))
    fingerprint, resumed_loss = last.split()

    print()
    table(
        ["training", "last loss", "all bits"],
        [
            ["at once", f"{loss:.9f}", whole.fingerprint()],
            ["resumed", f"{float(resumed_loss):.9f}", fingerprint],
        ],
    )
    assert fingerprint == whole.fingerprint(), "the resumed training went another way"
    print("\nidentical, bit for bit")
    result("loss", loss, time.perf_counter() - start)


if __name__ == "__main__":
    go_on() if sys.argv[1:] == ["continue"] else main()
