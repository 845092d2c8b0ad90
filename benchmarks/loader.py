"""Times DataLoader against PyTorch's, where that is installed, as a table.

python -m benchmarks.loader [--samples 20000] [--batch 64] [--workers 0 1 2]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time
from typing import Any

FEATURES = 784


def samples_per_second(library: Any, samples: int, batch: int, workers: int, passes: int) -> float:
    """The best of a few passes over (784 floats, a label), shuffled; starting workers included."""
    data = importlib.import_module(f"{library.__name__}.utils.data")
    dataset = data.TensorDataset(library.randn(samples, FEATURES), library.arange(samples) % 10)
    dataset.tensors[0].sum().item(), dataset.tensors[1].sum().item()  # drawn before the clock runs
    loader = data.DataLoader(dataset, batch_size=batch, shuffle=True, num_workers=workers)
    best = float("inf")
    for _ in range(passes):
        start, seen = time.perf_counter(), 0
        for x, _y in loader:
            seen += len(x)
        best = min(best, time.perf_counter() - start)
        if seen != samples:
            raise RuntimeError(f"{seen} samples arrived, not {samples}")
    return samples / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=20000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--passes", type=int, default=3)
    options = parser.parse_args()
    names = ["facula", *(["torch"] if importlib.util.find_spec("torch") else [])]
    print("| workers | " + " | ".join(f"{name}, samples/s" for name in names) + " |")
    print("|" + " --- |" * (len(names) + 1))
    for workers in options.workers:
        row = [
            samples_per_second(
                importlib.import_module(name),
                options.samples,
                options.batch,
                workers,
                options.passes,
            )
            for name in names
        ]
        print(f"| {workers} | " + " | ".join(f"{rate:,.0f}" for rate in row) + " |", flush=True)


if __name__ == "__main__":
    main()
