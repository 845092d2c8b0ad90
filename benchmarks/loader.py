"""Times DataLoader against PyTorch's, where that is installed, as a table.

python -m benchmarks.loader [--samples 20000] [--batch 64] [--workers 0 1 2]
"""

from __future__ import annotations

import argparse
import importlib
import time
from typing import Any

from benchmarks.table import Table
from benchmarks.worker import installed

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


def table(libraries: list[str], samples: int, batch: int, workers: list[int], passes: int) -> Table:
    """Samples a second for each number of workers."""
    heads = ["workers", *(f"{name} samples/s" for name in libraries)]
    heads += ["ratio"] if len(libraries) == 2 else []
    out = Table("loader", "DataLoader: samples a second", heads, "ratio").begin()
    for count in workers:
        rates = [
            samples_per_second(importlib.import_module(name), samples, batch, count, passes)
            for name in libraries
        ]
        out.add(str(count), *rates, *([rates[0] / rates[1]] if len(rates) == 2 else []))
    return out


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=20000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--passes", type=int, default=3)
    options = parser.parse_args()
    table(installed(), options.samples, options.batch, options.workers, options.passes)


if __name__ == "__main__":
    main()
