"""Calling a module with other parameters than its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from facula import Tensor
from facula.nn.modules.module import Module

__all__ = ["functional_call"]


def functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    args: Any | tuple | None = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`module(*args, **kwargs)` with the named parameters and buffers in place of its own.

    Parameters that are one tensor under several names stay one if `tie_weights`; with `strict`
    every name must be given and known. What the call writes to a given buffer lands in
    `parameters_and_buffers`.
    """
    return _functional_call(
        module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict
    )


def _functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    args: Any | tuple | None = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    if args is None:
        args = ()
    elif not isinstance(args, tuple):
        args = (args,)
    with _reparametrize_module(
        module, parameters_and_buffers, tie_weights=tie_weights, strict=strict
    ):
        return module(*args, **(kwargs or {}))


@contextlib.contextmanager
def _reparametrize_module(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    tie_weights: bool = False,
    strict: bool = False,
    stack_weights: bool = False,
) -> Iterator[None]:
    """The module with other tensors, for the length of a `with` block."""
    given = parameters_and_buffers
    if tie_weights:
        given = _untie_named_tensors_map(module, given)
    if strict:
        _check_names(module, given)
    saved: list[tuple[str, Any]] = []
    try:
        for name, tensor in given.items():
            saved.append((name, _swap(module, name, tensor)))
        yield
    finally:
        for name, original in reversed(saved):
            current = _swap(module, name, original)
            if name in parameters_and_buffers:  # a buffer may have been replaced by the call
                parameters_and_buffers[name] = current


def _check_names(module: Module, given: dict[str, Tensor]) -> None:
    own = set(_named_tensors(module))
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    problems = []
    if unexpected:
        problems.append(f"Unexpected key(s): {', '.join(map(repr, sorted(unexpected)))}.")
    if missing:
        problems.append(f"Missing key(s): {', '.join(map(repr, sorted(missing)))}.")
    if problems:
        raise RuntimeError(
            f"Error(s) in reparametrizing for {type(module).__name__}:\n\t" + "\n\t".join(problems)
        )


def _named_tensors(module: Module) -> dict[str, Tensor]:
    """All parameters and buffers, under every name they have."""
    tensors = dict(module.named_parameters(remove_duplicate=False))
    return tensors | dict(module.named_buffers(remove_duplicate=False))


def _untie_named_tensors_map(
    module: Module, parameters_and_buffers: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The given tensors, each also under the other names its original has in the module."""
    groups: dict[Tensor, list[str]] = {}
    for name, tensor in _named_tensors(module).items():
        groups.setdefault(tensor, []).append(name)
    result = dict(parameters_and_buffers)
    for names in groups.values():
        given = [name for name in names if name in parameters_and_buffers]
        if len({id(parameters_and_buffers[name]) for name in given}) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(given)}, "
                "which are tied. Consider using tie_weights=False"
            )
        for name in names if given else ():
            result[name] = parameters_and_buffers[given[0]]
    return result


def _swap(module: Module, name: str, tensor: Any) -> Any:
    """Put a tensor in the place of a parameter or buffer; what was there is returned."""
    *path, attribute = name.split(".")
    holder = module
    for step in path:
        holder = _member(holder, step)
        if not isinstance(holder, Module):
            raise TypeError(f"{holder!r} is not an instance of torch.nn.Module")
    for table in (holder._parameters, holder._buffers):
        if attribute in table:
            original = table[attribute]
            table[attribute] = tensor
            return original
    original = getattr(holder, attribute, _ABSENT)
    if not isinstance(original, Tensor) and original not in (None, _ABSENT):
        raise TypeError(f"{original!r} is not an instance of torch.Tensor")
    if tensor is _ABSENT:
        delattr(holder, attribute)
    else:
        setattr(holder, attribute, tensor)
    return original


_ABSENT = object()  # in place of a tensor that the module does not have


def _member(module: Module, name: str) -> Any:
    if not hasattr(module, name):
        raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
    return getattr(module, name)
