"""vmap: a function of one element applied to a batch, by a loop and a stack."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import facula as torch
from facula.utils._pytree import broadcast_to_leaves, tree_flatten, tree_unflatten


def _batch_size(leaves: list, dims: list) -> int:
    sizes = set()
    for x, d in zip(leaves, dims):
        if d is None:
            continue
        if not isinstance(x, torch.Tensor):
            raise ValueError(
                f"Got in_dim={d} for an input but the input is of type {type(x)}. We cannot vmap over non-Tensor arguments, please use None as the respective in_dim"
            )
        if not -x.dim() <= d < x.dim():
            raise ValueError(
                f"Got in_dim={d} for some input, but that input is a Tensor of dimensionality {x.dim()} so expected in_dim to satisfy -{x.dim()} <= in_dim < {x.dim()}."
            )
        sizes.add(x.shape[d])
    if not sizes:
        raise ValueError("vmap: at least one input must be mapped over (its in_dim is not None)")
    if len(sizes) > 1:
        raise ValueError(
            f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sorted(sizes)} for the mapped dimension"
        )
    return sizes.pop()


def vmap(func: Callable, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *,
         chunk_size: int | None = None) -> Callable:  # fmt: skip
    """func applied along a dim of its arguments; results are stacked.

    >>> import facula as torch
    >>> torch.vmap(torch.dot)(torch.ones(2, 3), torch.ones(2, 3))
    tensor([3., 3.])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(
            f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}"
        )
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def run(*args: Any, **kwargs: Any) -> Any:
        leaves, spec = tree_flatten(args)
        wanted = in_dims if isinstance(in_dims, int) else tuple(in_dims)
        dims = broadcast_to_leaves(wanted, spec)
        if not args:
            raise ValueError(
                "vmap(func)(): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a function with no inputs."
            )
        if dims is None:
            raise ValueError(
                f"vmap: in_dims is not compatible with the structure of inputs. in_dims has structure {tree_flatten(in_dims)[1]} but inputs has structure {spec}."
            )
        n = _batch_size(leaves, dims)
        state = torch.get_rng_state() if randomness == "same" else None
        results, out_spec = [], None
        for i in range(n):
            if state is not None:
                torch.set_rng_state(state)
            parts = [x if d is None else x.select(d, i) for x, d in zip(leaves, dims)]
            outs, out_spec = tree_flatten(func(*tree_unflatten(parts, spec), **kwargs))
            results.append(outs)
        if out_spec is None:
            raise RuntimeError(
                "vmap over a dim of size 0: the loop has nothing to run; use sizes of at least 1"
            )
        return _stacked(results, out_spec, out_dims)

    return run


def _stacked(results: list, spec: Any, out_dims: Any) -> Any:
    wanted = out_dims if isinstance(out_dims, int) or out_dims is None else tuple(out_dims)
    dims = broadcast_to_leaves(wanted, spec)
    if dims is None:
        raise ValueError(f"vmap: out_dims is not compatible with the structure of outputs {spec}.")
    stacked = []
    for k, d in enumerate(dims):
        column = [r[k] for r in results]
        for x in column:
            if not isinstance(x, torch.Tensor):
                raise ValueError(
                    f"vmap: function must only return Tensors, got type {type(x)} as a return."
                )
        stacked.append(column[0] if d is None else torch.stack(column, d))
    return tree_unflatten(stacked, spec)
