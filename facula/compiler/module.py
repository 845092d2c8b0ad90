"""Modules behind `torch.compile`."""

from __future__ import annotations

from typing import Any

from facula.nn import Module


class OptimizedModule(Module):
    """A module behind `torch.compile`; `_orig_mod` is the module itself."""

    def __init__(self, original: Any, *options: Any) -> None:
        from facula.compiler.frontend import compiled

        super().__init__()
        self._orig_mod = original
        self.forward = compiled(original.__call__, *options)

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_mod":
            return self._modules["_orig_mod"]
        return getattr(self._orig_mod, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("_orig_mod", "forward", "training") or "_orig_mod" not in self.__dict__.get(
            "_modules", ()
        ):
            super().__setattr__(name, value)
        else:
            setattr(self._orig_mod, name, value)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return optimized, (self._orig_mod,)

    def train(self, mode: bool = True) -> Any:
        self._orig_mod.train(mode)
        return super().train(mode)


def optimized(module: Any, *options: Any) -> OptimizedModule:
    """The module behind its captures; options as `frontend.compiled` takes them."""
    return OptimizedModule(module, *options)
