"""Derivatives as functions of functions.

Inputs are connected to the graph of an enclosing transform, so transforms nest; results forget
their history unless something outside of the transform wants their gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import facula as torch
from facula.func.batching import NeedsLoop, batched, everywhere, gradients, innermost
from facula.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

_COPIED = 1 << 22  # elements of arguments that are copied at a time for the rows of a Jacobian
LEAF = TreeSpec(tuple, None, [TreeSpec(None, None, [])])


def _is_tensor(x: Any) -> bool:
    return isinstance(x, torch.Tensor)


def _fresh(x: Any) -> Any:
    """A tensor to differentiate at."""
    x = everywhere(x)
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()


def _leaf_ids(tensors: list) -> set[int]:
    return {id(innermost(t)) for t in tensors if t.is_leaf}


def _needed_outside(x: Any, own: set[int]) -> bool:
    """Whether leaves other than the transform's own inputs lie behind x."""
    if x.is_leaf:
        return x.requires_grad and id(innermost(x)) not in own
    stack, seen = [x.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) not in own:
            return True
        stack += [n for n, _ in node.next_functions]
    return False


def _released(tree: Any, own: set[int]) -> Any:
    return tree_map(
        lambda t: (
            t.detach() if _is_tensor(t) and t.requires_grad and not _needed_outside(t, own) else t
        ),
        tree,
    )


def _picked(args: tuple, argnums: Any) -> tuple:
    nums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for n in nums:
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
    return tuple(n % len(args) for n in nums)


def _with_fresh(args: tuple, nums: tuple) -> tuple[list, list, list]:
    """(args with fresh tensors at nums, all fresh tensors, shapes of the trees)."""
    new, leaves_all, specs = list(args), [], []
    for n in nums:
        leaves, spec = tree_flatten(args[n])
        for leaf in leaves:
            if not _is_tensor(leaf):
                raise ValueError(
                    f"Expected all inputs to be differentiated to be Tensors, got {type(leaf)}"
                )
        leaves = [_fresh(leaf) for leaf in leaves]
        new[n] = tree_unflatten(leaves, spec)
        leaves_all.append(leaves)
        specs.append(spec)
    return new, leaves_all, specs


def _grads(outs: list, ins: list, weights: Any = None, keep: bool = True) -> list:
    live = [i for i, o in enumerate(outs) if o.requires_grad]
    if not live:
        return [torch.zeros_like(t) for t in ins]
    w = None if weights is None else [weights[i] for i in live]
    got = gradients([outs[i] for i in live], ins, w)
    return [torch.zeros_like(t) if g is None else g for g, t in zip(got, ins)]


def grad_and_value(func: Callable, argnums: Any = 0, has_aux: bool = False) -> Callable:
    """A function that gives (gradient, value) of a scalar function."""

    @functools.wraps(func)
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.enable_grad():
            nums = _picked(args, argnums)
            new, leaves, specs = _with_fresh(args, nums)
            out = func(*new, **kwargs)
            aux = None
            if has_aux:
                if not (isinstance(out, tuple) and len(out) == 2):
                    raise RuntimeError(
                        "grad_and_value(f)(*args): output of function f should be a tuple: (output, aux) if has_aux is True"
                    )
                out, aux = out
            if not _is_tensor(out):
                raise RuntimeError(
                    f"Expected f(*args) to return a Tensor for grad(f), got {type(out)}"
                )
            if out.dim():
                raise RuntimeError(
                    f"grad_and_value(f)(*args): Expected f(*args) to return a scalar tensor, got tensor with {out.dim()} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
                )
            flat = [t for part in leaves for t in part]
            grads = iter(_grads([out], flat))
            trees = [
                tree_unflatten([next(grads) for _ in part], s) for part, s in zip(leaves, specs)
            ]
            got = trees[0] if isinstance(argnums, int) else tuple(trees)
        own = _leaf_ids(flat)
        got, out, aux = (_released(x, own) for x in (got, out, aux))
        return (got, (out, aux)) if has_aux else (got, out)

    return run


def grad(func: Callable, argnums: Any = 0, has_aux: bool = False) -> Callable:
    """A function that gives the gradient of a scalar function.

    >>> import facula as torch
    >>> torch.func.grad(torch.sin)(torch.tensor(0.))
    tensor(1.)
    """

    @functools.wraps(func)
    def run(*args: Any, **kwargs: Any) -> Any:
        got, value = grad_and_value(func, argnums, has_aux)(*args, **kwargs)
        return (got, value[1]) if has_aux else got

    return run


def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> Any:
    """(func's value, a function from cotangents to gradients of the primals[, aux])."""
    with torch.enable_grad():
        new, leaves, specs = _with_fresh(primals, tuple(range(len(primals))))
        out = func(*new)
        aux = None
        if has_aux:
            out, aux = out
        flat = [t for part in leaves for t in part]
        outs, out_spec = tree_flatten(out)
    own = _leaf_ids(flat)

    def pull(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> tuple:
        weights, spec = tree_flatten(cotangents)
        if spec != out_spec:
            raise RuntimeError(
                f"Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function. cotangents: {spec}, primal output: {out_spec}"
            )
        with torch.enable_grad():
            grads = iter(_grads(outs, flat, weights))
            trees = tuple(
                tree_unflatten([next(grads) for _ in part], s) for part, s in zip(leaves, specs)
            )
        got = _released(trees, own)
        return got

    def pull_one(*cotangents: Any, **kwargs: Any) -> Any:
        return pull(cotangents[0] if len(cotangents) == 1 else cotangents, **kwargs)

    value = _released(out, own)
    return (value, pull_one, _released(aux, own)) if has_aux else (value, pull_one)


def _push(outs: list, flat: list, tangents: list) -> list:
    """Jacobian times tangents: the backward pass differentiated by its weights."""
    # gradients are linear in the weights: any will do, but 0 is where abs and log break
    weights = [torch.ones_like(o).requires_grad_() for o in outs]
    grads = _grads(outs, flat, weights)
    met = [(g, t) for g, t in zip(grads, tangents) if g.requires_grad]
    if not met:
        return [torch.zeros_like(o) for o in outs]
    got = gradients([g for g, _ in met], weights, [t for _, t in met])
    got = _released(list(got), _leaf_ids(flat + weights))
    return [torch.zeros_like(o) if g is None else g for g, o in zip(got, outs)]


def jvp(
    func: Callable, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False
) -> Any:
    """(func's value, its derivative along tangents[, aux])."""
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise RuntimeError(
            f"jvp(f, primals, tangents): Expected primals and tangents to be tuples, got {type(primals)} and {type(tangents)}"
        )
    with torch.enable_grad():
        new, leaves, _ = _with_fresh(primals, tuple(range(len(primals))))
        out = func(*new)
        aux = None
        if has_aux:
            out, aux = out
        flat = [t for part in leaves for t in part]
        outs, spec = tree_flatten(out)
        moved, _ = tree_flatten(tangents)
        pushed = tree_unflatten(_push(outs, flat, moved), spec)
    own = _leaf_ids(flat)
    value, pushed = _released(out, own), _released(pushed, own)
    return (value, pushed, _released(aux, own)) if has_aux else (value, pushed)


def linearize(func: Callable, *primals: Any) -> tuple[Any, Callable]:
    """(func's value, a function from tangents to its derivative along them)."""
    value = func(*primals)
    return value, lambda *tangents: jvp(func, primals, tangents)[1]


def _units(t: Any) -> list:
    """Tensors of t's shape with a single one."""
    flat = torch.eye(t.numel(), dtype=t.dtype, device=t.device)
    return [row.reshape(t.shape) for row in flat]


def jacrev(func: Callable, argnums: Any = 0, *, has_aux: bool = False, chunk_size: int | None = None,
           _preallocate_and_copy: bool = False) -> Callable:  # fmt: skip
    """A function that gives func's Jacobian, row by row through backward passes."""

    @functools.wraps(func)
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.enable_grad():
            nums = _picked(args, argnums)
            new, leaves, specs = _with_fresh(args, nums)
            out = func(*new, **kwargs)
            aux = None
            if has_aux:
                out, aux = out
            flat = [t for part in leaves for t in part]
            outs, out_spec = tree_flatten(out)

            def again(*parts: Any) -> list:
                given, at = list(args), iter(parts)
                for n, s in zip(nums, specs):
                    given[n] = tree_unflatten([next(at) for _ in range(s.num_leaves)], s)
                got = func(*given, **kwargs)
                return tree_flatten(got[0] if has_aux else got)[0]

            rows = [_jacobian_rows(again, k, o, flat, chunk_size) for k, o in enumerate(outs)]
        own = _leaf_ids(flat)
        got = _released(_shaped(rows, out_spec, leaves, specs, argnums), own)
        return (got, _released(aux, own)) if has_aux else got

    return run


def _jacobian_rows(again: Callable, k: int, out: Any, flat: list, chunk: int | None) -> list:
    """d out / d t for each t of flat, the dims of out first; again(*flat)[k] computes out.

    All rows at once: func on as many copies of its arguments as out has elements. Where that
    cannot be, a backward pass for each row.
    """
    if out.numel() > 1:

        def row(unit: Any) -> tuple:
            own = [_fresh(t) for t in flat]
            return tuple(_grads([again(*own)[k]], own, [unit]))

        state = torch.get_rng_state()
        n = out.numel()
        units = torch.eye(n, dtype=out.dtype, device=out.device).reshape(n, *out.shape)
        step = chunk or max(1, min(n, _COPIED // max(1, sum(t.numel() for t in flat))))
        try:
            parts = [batched(row, [u], [0], LEAF, {}, 0, "different", len(u))
                     for u in units.split(step)]  # fmt: skip
        except NeedsLoop:
            pass
        else:
            return [
                torch.cat(p).reshape(tuple(out.shape) + tuple(t.shape))
                for p, t in zip(zip(*parts), flat)
            ]
        finally:
            torch.set_rng_state(state)
    rows = [_grads([out], flat, [unit]) for unit in _units(out)]
    shape = tuple(out.shape)
    return [torch.stack([r[i] for r in rows]).reshape(shape + tuple(t.shape)) if rows else out.new_zeros(shape + tuple(t.shape))
            for i, t in enumerate(flat)]  # fmt: skip


def _shaped(rows: list, out_spec: Any, leaves: list, specs: list, argnums: Any) -> Any:
    """Jacobians per output and input as nested containers."""
    per_out = []
    for row in rows:
        parts = iter(row)
        trees = [tree_unflatten([next(parts) for _ in part], s) for part, s in zip(leaves, specs)]
        per_out.append(trees[0] if isinstance(argnums, int) else tuple(trees))
    return tree_unflatten(per_out, out_spec)


def jacfwd(
    func: Callable, argnums: Any = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable:
    """A function that gives func's Jacobian, column by column along unit tangents."""

    @functools.wraps(func)
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.enable_grad():
            nums = _picked(args, argnums)
            new, leaves, specs = _with_fresh(args, nums)
            out = func(*new, **kwargs)
            aux = None
            if has_aux:
                out, aux = out
            flat = [t for part in leaves for t in part]
            outs, out_spec = tree_flatten(out)
            rows: list[list] = [[] for _ in outs]
            for i, t in enumerate(flat):
                columns = [_push(outs, [flat[i]], [unit]) for unit in _units(t)]
                for k, o in enumerate(outs):
                    line = torch.stack([c[k] for c in columns], -1)
                    rows[k].append(line.reshape(tuple(o.shape) + tuple(t.shape)))
        own = _leaf_ids(flat)
        got = _released(_shaped(rows, out_spec, leaves, specs, argnums), own)
        return (got, _released(aux, own)) if has_aux else got

    return run


def hessian(func: Callable, argnums: Any = 0) -> Callable:
    """A function that gives func's second derivatives."""
    return jacrev(jacrev(func, argnums), argnums)


def functionalize(func: Callable, *, remove: str = "mutations") -> Callable:
    """func itself: what is recorded never mutates."""
    return func
