"""Compares second derivatives with PyTorch's, for the operators of PyTorch's own database.

    python tools/check_second_order.py                 # float64, all operators that have them
    python tools/check_second_order.py -o '^nn\\.' -n 5 --conformance ../shared/conformance

For each sample: the first derivatives of a weighted sum of the results, with create_graph=True, and
then those of a weighted sum of the first derivatives. A line for each operator that fails. Needs
PyTorch and the conformance scripts, whose way of carrying samples over is used.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import torch


def second(runner: Any, bridge: Any, case: Any, call: Any, weights: list[Any]) -> list[Any]:
    """Second derivatives; PyTorch's run fills `weights`, the other's reads them."""
    first, args, kwargs = case.arguments(bridge)
    leaves = [t for t in bridge.tensors((first, args, kwargs)) if t.requires_grad]
    bridge.seed(case.seed)
    result = runner.processed(bridge, case, call.on(bridge)(first, *args, **kwargs))
    outputs = [t for t in bridge.tensors(result) if t.requires_grad]
    grad = bridge.lib.autograd.grad
    fill = runner.weights_for if bridge is runner.torch else None
    if fill:
        weights.append(fill(bridge, outputs, case.seed))
    seeds = [bridge.tensor(w) for w in weights[0]]
    once = grad(outputs, leaves, seeds, create_graph=True, allow_unused=True)
    able = {i: g for i, g in enumerate(once) if g is not None and g.requires_grad}
    if fill:
        weights.append(dict(zip(able, fill(bridge, list(able.values()), case.seed + 1))))
    # a constant one may be told apart from others or not: its derivative is 0
    both = {i: g for i, g in able.items() if i in weights[1]}
    if not both:
        return [None] * len(leaves)
    seeds = [bridge.tensor(weights[1][i]) for i in both]
    return list(grad(list(both.values()), leaves, seeds, allow_unused=True))


def check(runner: Any, case: Any, call: Any) -> str | None:
    """What is wrong with a sample, '' if nothing, None if PyTorch has no second derivative."""
    weights: list[Any] = []
    try:
        want = second(runner, runner.torch, case, call, weights)
    except Exception:
        return None
    if not any(w is not None for w in want):
        return None
    try:
        got = second(runner, runner.bridge, case, call, weights)
        for i, (a, b) in enumerate(zip(want, got, strict=True)):
            if b is None and a is not None and not a.any():
                want[i] = None
            elif a is None and b is not None:
                want[i] = torch.zeros_like(runner.bridge.to_torch(b))
        runner.comparer(False).check(want, got)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--ops", default="", help="regular expression of names")
    parser.add_argument("-n", "--samples", type=int, default=4)
    parser.add_argument("--conformance", type=Path, default=Path("../shared/conformance"))
    options = parser.parse_args()
    sys.path.insert(0, str(options.conformance.resolve()))
    import harness
    import ops
    from bridge import Bridge

    warnings.simplefilter("ignore")
    options.seed, options.strides, options.rng = 0, False, False
    bridge, passed, failed = Bridge(__import__("facula")), 0, 0
    for op in ops.op_db:
        if not (re.search(options.ops, op.full_name) and op.supports_gradgrad):
            continue
        if torch.float64 not in op.supported_backward_dtypes("cpu"):
            continue
        try:
            runner = ops.OpRunner(op, torch.float64, bridge, harness.Record((op.full_name,)), options,
                                  False)  # fmt: skip
            runner.weights_for = ops.weights_for
            cases = list(itertools.islice(runner.cases(True), options.samples))
            found = [check(runner, case, runner.function) for case in cases]
        except Exception as error:
            found = [f"{type(error).__name__}: {error}"]
        told = [f for f in found if f]
        passed += bool(any(f is not None for f in found) and not told)
        failed += bool(told)
        if told:
            print(
                f"{op.full_name}\t{len(told)}/{len(found)}\t{' '.join(told[0].split())[:300]}",
                flush=True,
            )
    print(f"second order: {passed}/{passed + failed}")


if __name__ == "__main__":
    main()
