"""`torch.compile`.

facula records what a function does, fuses it and compiles it with LLVM, whether asked to or not. So
`compile` returns a callable that runs the function as always: results, gradients and side effects are
those of the function, for changing shapes, flags and numbers too. Capturing a step once and replaying
it without recording it again is not done yet.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_BACKENDS = ("inductor", "eager", "aot_eager", "cudagraphs")


def compile(model: Callable | None = None, *, fullgraph: bool = False, dynamic: bool | None = None,
            backend: str | Callable | None = None, mode: str | None = None,
            options: dict[str, Any] | None = None, name: str | None = None,
            disable: bool = False, recompile_limit: int | None = None,
            isolate_recompiles: bool = False, shapes_spec: Any = None) -> Any:  # fmt: skip
    """A callable that does what model does.

    model: a function or module; without it a decorator is returned. The options are PyTorch's; they
    have no effect, and an unknown backend or mode is refused as PyTorch refuses it.

    >>> import facula as torch
    >>> f = torch.compile(lambda x: (x + 1).relu())
    >>> f(torch.tensor([-2., 2.]))
    tensor([0., 3.])
    """
    if mode is not None and options is not None:
        raise RuntimeError(
            "Either mode or options can be specified, but both can't be specified at the same time."
        )
    if isinstance(backend, str) and backend not in _BACKENDS:
        raise RuntimeError(f"Invalid backend: {backend!r}, expected one of {list(_BACKENDS)}")
    if mode not in (
        None,
        "default",
        "reduce-overhead",
        "max-autotune",
        "max-autotune-no-cudagraphs",
    ):
        raise RuntimeError(
            f"Unrecognized mode={mode}, should be one of default, reduce-overhead, max-autotune, max-autotune-no-cudagraphs"
        )
    if model is None:
        return lambda fn: compile(fn, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode,
                                  options=options, name=name, disable=disable, recompile_limit=recompile_limit,
                                  isolate_recompiles=isolate_recompiles, shapes_spec=shapes_spec)  # fmt: skip
    if not callable(model):
        raise AssertionError(f"A callable function is expected, but {type(model)} is provided.")
    if disable:
        return model
    if hasattr(model, "_modules"):
        return _optimized_module(model)

    @functools.wraps(model)
    def run(*args: Any, **kwargs: Any) -> Any:
        return model(*args, **kwargs)

    return run


def _optimized_module(module: Any) -> Any:
    from facula.nn import Module

    class OptimizedModule(Module):
        """A module behind `torch.compile`; `_orig_mod` is the module itself."""

        def __init__(self, original: Any) -> None:
            super().__init__()
            self._orig_mod = original

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return self._orig_mod(*args, **kwargs)

        def __getattr__(self, name: str) -> Any:
            if name == "_orig_mod":
                return self._modules["_orig_mod"]
            return getattr(self._orig_mod, name)

        def train(self, mode: bool = True) -> Any:
            self._orig_mod.train(mode)
            return super().train(mode)

    return OptimizedModule(module)
