#!/usr/bin/env python3
"""Training that one library begins and the other goes on with, for every optimizer and scheduler.

    python tools/optimizer_exchange.py [--only REGEX] [--details]

Needs torch. The writer makes three steps and saves parameters, state and schedule; the reader loads
them with weights_only=True and makes three more, as the writer does. Then parameters, learning rates
and states must agree: floating point numbers but for rounding, everything else exactly. What is
loaded is also compared with what PyTorch makes of the same file, bit for bit. Optimizers come with
all configurations of PyTorch's own tests.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import math
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from checkpoint_matrix import LIBRARIES, describe

STEPS = 3
SHAPES = {"Muon": ((4, 3), (5, 5), (2, 6))}
DEFAULT_SHAPES = ((4, 3), (5,), (2, 3, 2))
# relative to the largest number of a tensor: two libraries round in other places
TOLERANCE = {"float32": 1e-5, "float64": 1e-5, "bfloat16": 0.02}

# Every scheduler; `s` is the namespace, `o` an SGD optimizer with momentum and two groups.
SCHEDULERS: dict[str, Callable[[Any, Any], Any]] = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda e: 0.95**e),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.97),
    "StepLR": lambda s, o: s.StepLR(o, 2, gamma=0.7),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 2, 4], gamma=0.5),
    "ConstantLR": lambda s, o: s.ConstantLR(o, factor=0.25, total_iters=4),
    "LinearLR": lambda s, o: s.LinearLR(o, start_factor=0.1, total_iters=5),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, total_iters=5, power=2.5),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 4, eta_min=0.003),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, T_mult=2),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=2),
    "CyclicLR exp_range": lambda s, o: s.CyclicLR(
        o, 0.01, 0.2, step_size_up=2, mode="exp_range", gamma=0.98
    ),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.3, total_steps=10),
    "OneCycleLR three phases": lambda s, o: s.OneCycleLR(
        o, [0.3, 0.9], total_steps=10, anneal_strategy="linear", three_phase=True
    ),
    "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(o, patience=1, cooldown=1),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1), s.ExponentialLR(o, 0.9)], milestones=[2]
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, 0.1, total_iters=4), s.ExponentialLR(o, 0.9)]
    ),
    "SWALR": lambda s, o: _swa(s).SWALR(o, swa_lr=0.05, anneal_epochs=4),
}


# What checkpoints of PyTorch 1.6 do not say.
_LATER = frozenset(
    "maximize differentiable capturable foreach fused decoupled_weight_decay amsgrad nesterov".split()
)


def _age(state: dict[str, Any]) -> None:
    """Makes an optimizer's state what PyTorch 1.6 wrote: fewer options, and counts as numbers."""
    for group in state["param_groups"]:
        for name in _LATER & group.keys():
            del group[name]
    for entry in state["state"].values():
        for name in {"step", "eta", "mu", "mu_product"} & entry.keys():
            if hasattr(entry[name], "item"):
                entry[name] = entry[name].item()


def _swa(namespace: Any) -> Any:
    return importlib.import_module(namespace.__name__.rpartition(".")[0] + ".swa_utils")


class Differs(Exception):
    """What was read is not what was written."""


# -- both sides -------------------------------------------------------------------------------


class Problem:
    """Parameters and an optimizer of library `t`, given the same gradients in the same step."""

    def __init__(self, t: Any, case: Case, params: list[Any] | None = None) -> None:
        self.t, self.case, self.done = t, case, 0
        start = [self.number(x) for x in case.start] if params is None else params
        self.params = [t.nn.Parameter(x.detach().clone()) for x in start]
        groups: Any = self.params
        if case.groups:
            groups = [{"params": self.params[:-1]}, {"params": self.params[-1:]}]
            if not case.has_tensor_lr:
                groups[1]["lr"] = 0.02
        kwargs = {k: self.translated(v) for k, v in case.kwargs.items()}
        self.optimizer = getattr(t.optim, case.name)(groups, **kwargs)
        make = case.scheduler
        self.scheduler = None if make is None else make(t.optim.lr_scheduler, self.optimizer)
        self.rates: list[Any] = []

    def number(self, x: np.ndarray) -> Any:
        return self.t.tensor(x).to(getattr(self.t, self.case.dtype))

    def translated(self, x: Any) -> Any:
        """A configuration's value in this library."""
        if type(x).__name__ == "Tensor":
            return self.t.tensor(x.numpy())
        return tuple(map(self.translated, x)) if isinstance(x, tuple) else x

    def train(self, steps: int) -> None:
        for _ in range(steps):
            if self.case.closure:
                self.optimizer.step(self.closure)
            else:
                for p, g in zip(self.params, self.case.gradients[self.done], strict=True):
                    p.grad = self.gradient(g)
                self.optimizer.step()
            self.done += 1
            if self.scheduler is not None:
                plateau = type(self.scheduler).__name__ == "ReduceLROnPlateau"
                self.scheduler.step(*([1.0 + self.done] if plateau else []))
            self.rates.append([float(g["lr"]) for g in self.optimizer.param_groups])

    def gradient(self, g: np.ndarray) -> Any:
        if not self.case.sparse:
            return self.number(g)
        rows = self.t.arange(0, g.shape[0], 2)
        return self.t.sparse_coo_tensor(rows[None], self.number(g)[rows], g.shape)

    def closure(self) -> Any:
        self.optimizer.zero_grad()
        loss = sum(
            ((p * 1.5 - self.number(x)) ** 2).sum()
            for p, x in zip(self.params, self.case.start, strict=True)
        )
        loss.backward()
        return loss

    def checkpoint(self) -> dict[str, Any]:
        scheduler = None if self.scheduler is None else self.scheduler.state_dict()
        return {
            "params": [p.detach() for p in self.params],
            "optimizer": self.optimizer.state_dict(),
            "scheduler": scheduler,
        }


class Case:
    """One configuration of an optimizer, perhaps with a scheduler."""

    def __init__(self, name: str, kwargs: dict[str, Any], dtype: str, label: str, info: Any = None,
                 scheduler: Callable | None = None) -> None:  # fmt: skip
        self.name, self.kwargs, self.dtype, self.scheduler = name, kwargs, dtype, scheduler
        self.label = f"{name} {dtype}: {label}"
        self.groups = info is None or info.supports_param_groups
        self.closure = info is not None and info.step_requires_closure
        self.sparse = info is not None and info.only_supports_sparse_grads
        self.has_tensor_lr = type(kwargs.get("lr")).__name__ == "Tensor"
        rng = np.random.default_rng(len(label))
        shapes = SHAPES.get(name, DEFAULT_SHAPES)
        self.start = [rng.standard_normal(s) for s in shapes]
        self.gradients = [[rng.standard_normal(s) for s in shapes] for _ in range(2 * STEPS)]

    def resumed(self, t: Any, path: Path, old: bool = False) -> Problem:
        """A new process' problem at what the file says, or at what an `old` one would say."""
        read = t.load(path, weights_only=True)
        if old:
            _age(read["optimizer"])
        other = Problem(t, self, read["params"])
        other.optimizer.load_state_dict(read["optimizer"])
        if other.scheduler is not None:
            other.scheduler.load_state_dict(read["scheduler"])
        other.done = STEPS
        return other


def cases(pattern: str) -> Iterator[Case]:
    from torch.testing._internal.common_optimizers import optim_db

    for info in optim_db:
        name = info.optim_cls.__name__
        flags: list[dict[str, bool]] = [{}]
        flags += [{"foreach": True}] * ("foreach" in info.supported_impls)
        flags += [{"fused": True}] * ("cpu" in info.supports_fused_on)
        for number, config in enumerate(info.optim_inputs_func("cpu")):
            # in L-BFGS small numbers are what rounding leaves of large ones
            dtype = "float64" if info.step_requires_closure else "float32"
            for flag in flags:
                label = ", ".join([config.desc, *flag])
                yield Case(name, {**config.kwargs, **flag}, dtype, label, info)
            if number == 0 and not info.step_requires_closure:
                yield Case(name, config.kwargs, "bfloat16", config.desc, info)
    for label, make in SCHEDULERS.items():
        yield Case("SGD", {"lr": 0.1, "momentum": 0.9}, "float32", label, scheduler=make)


# -- comparing --------------------------------------------------------------------------------


def compare(want: Any, got: Any, where: str, tolerance: float) -> None:
    """Differs unless both are the same but for rounding."""
    if type(want).__name__ != type(got).__name__:
        raise Differs(f"{where}: {type(got).__name__} instead of {type(want).__name__}")
    if isinstance(want, dict):
        if list(want) != list(got):
            raise Differs(f"{where}: keys {list(got)} instead of {list(want)}")
        for key in want:
            compare(want[key], got[key], f"{where}[{key!r}]", tolerance)
    elif isinstance(want, list | tuple):
        if len(want) != len(got):
            raise Differs(f"{where}: {len(got)} entries instead of {len(want)}")
        for k, (a, b) in enumerate(zip(want, got, strict=True)):
            compare(a, b, f"{where}[{k}]", tolerance)
    elif hasattr(want, "dtype") and hasattr(want, "shape"):
        if str(want.dtype) != str(got.dtype) or tuple(want.shape) != tuple(got.shape):
            raise Differs(f"{where}: {got.dtype} {got.shape}, not {want.dtype} {want.shape}")
        a, b = (np.array(x.detach().tolist(), dtype=np.float64) for x in (want, got))
        far = np.abs(a - b).max(initial=0)
        if not far <= tolerance * max(np.abs(a).max(initial=0), 1e-3):
            raise Differs(f"{where}: {far:.3g} off")
    elif isinstance(want, float):
        if not math.isclose(want, got, rel_tol=max(tolerance, 1e-12)):
            raise Differs(f"{where}: {got} instead of {want}")
    elif not callable(want) and want != got:
        raise Differs(f"{where}: {got!r} instead of {want!r}")


def _first_difference(want: Any, got: Any) -> str:
    if isinstance(want, list | tuple) and type(want) is type(got) and len(want) == len(got):
        for a, b in zip(want, got, strict=True):
            if a != b:
                return _first_difference(a, b)
    return f"{got} instead of {want}"


def _sorted_groups(p: Problem) -> dict[str, Any]:
    """The state; options that a file does not say come in any order."""
    state = p.optimizer.state_dict()
    return {**state, "param_groups": [sorted(g.items()) for g in state["param_groups"]]}


def _same_state(torch: Any, want: Problem, reader: Any, got: Problem) -> None:
    expected, found = (
        describe(t, _sorted_groups(p), {}) for t, p in ((torch, want), (reader, got))
    )
    if expected != found:
        raise Differs(f"loaded {_first_difference(expected, found)}")


def exchange(case: Case, writer: Any, reader: Any, torch: Any, path: Path) -> None:
    """Differs, or any error of the reader's, where going on is not what the writer does."""
    first = Problem(writer, case)
    first.train(STEPS)
    writer.save(first.checkpoint(), path)
    torch_made = case.resumed(torch, path)
    other = case.resumed(reader, path)
    _same_state(torch, torch_made, reader, other)
    if case.scheduler is None:
        _same_state(
            torch, case.resumed(torch, path, True), reader, case.resumed(reader, path, True)
        )
    first.train(STEPS)
    other.train(STEPS)
    first.rates = first.rates[STEPS:]
    tolerance = TOLERANCE[case.dtype]
    compare(first.rates, other.rates, "learning rates", 1e-12)
    compare(first.checkpoint(), other.checkpoint(), "state", tolerance)


def torch_runs(case: Case, torch: Any, path: Path) -> bool:
    """Whether PyTorch itself supports the combination."""
    try:
        exchange(case, torch, torch, torch, path)
    except Exception:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=inspect.cleandoc(__doc__).splitlines()[0])
    parser.add_argument("--only", default="", metavar="REGEX", help="only what matches")
    parser.add_argument("--details", action="store_true", help="list what PyTorch cannot do")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    facula, torch = (importlib.import_module(name) for name in LIBRARIES)
    passed = total = skipped = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        for case in cases(options.only):
            if not re.search(options.only, case.label):
                continue
            if not torch_runs(case, torch, path):
                skipped += 1
                if options.details:
                    print(f"PyTorch cannot: {case.label}")
                continue
            for writer, reader in ((facula, torch), (torch, facula), (facula, facula)):
                total += 1
                try:
                    exchange(case, writer, reader, torch, path)
                    passed += 1
                except Exception as error:
                    pair = f"{writer.__name__} -> {reader.__name__}"
                    print(f"failed: {pair}, {case.label}: {type(error).__name__}: {error}")
    print(f"continued training: {passed}/{total} ({skipped} that PyTorch itself cannot)")
    return 0 if passed == total and total else 1


if __name__ == "__main__":
    sys.exit(main())
