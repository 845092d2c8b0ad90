"""What recording an operator costs, in microseconds: python -m benchmarks.recording

CPU time of the recording thread: 1,000 operators are recorded, nothing is evaluated. The best of
several rounds is shown. `--torch` times the same with PyTorch, which evaluates them.
"""

import argparse
import gc
import time

from benchmarks.table import Table

COUNT, ROUNDS = 1000, 15


def operators(torch):
    """(name, operator on a tensor)."""
    other = torch.ones(8, 8)
    index = torch.tensor([1, 3, 5])
    functional = torch.nn.functional
    return [
        ("x + y", lambda x: x + other),
        ("x * 0.37", lambda x: x * 0.37),
        ("x.exp()", lambda x: x.exp()),
        ("x @ y", lambda x: x @ other),
        ("x.sum(1)", lambda x: x.sum(1)),
        ("x.softmax(-1)", lambda x: x.softmax(-1)),
        ("x.t()", lambda x: x.t()),
        ("x[2]", lambda x: x[2]),
        ("x[index]", lambda x: x[index]),
        ("F.linear", lambda x: functional.linear(x, other)),
        ("layer_norm", lambda x: functional.layer_norm(x, (8,))),
    ]


def forget(torch):
    """Drops what was recorded, where recording is what was timed."""
    if torch.__name__ == "facula":
        from facula.graph.tape import flush

        flush()  # nothing of it is referred to any more: an empty plan


def cost(torch, operator, grad):
    x = torch.ones(8, 8, requires_grad=grad)
    best = float("inf")
    gc.collect()
    for _ in range(ROUNDS):
        forget(torch)
        gc.disable()
        start = time.thread_time()
        for _ in range(COUNT):
            operator(x)
        best = min(best, time.thread_time() - start)
        gc.enable()
    return best / COUNT * 1e6


def table(torch):
    """Microseconds of each operator, without and with gradients."""
    heads = ("operator", "plain us", "gradients us")
    title = "Recording: microseconds of Python for an operator"
    out = Table("recording", title, heads, "gradients us", " us").begin()
    for name, operator in operators(torch):
        out.add(name, cost(torch, operator, False), cost(torch, operator, True))
    return out


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recording", description=__doc__)
    parser.add_argument("--torch", action="store_true", help="time PyTorch instead")
    if parser.parse_args().torch:
        import torch

        torch.set_num_threads(1)  # recording is the work of one thread
    else:
        import facula as torch
    table(torch)


if __name__ == "__main__":
    main()
