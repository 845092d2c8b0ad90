"""vmap: a function of one element applied to a batch.

Inside, tensors of the batch are `BatchedTensor`s: they look like one element, and operators called on
them run on the whole batch (`batch_rules.py`). Operators without a rule run element by element. What
looks at values (`tolist`) or goes past the rules makes the whole function run element by element
instead; so it may be entered twice.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import facula as torch
from facula import overrides
from facula.func.batch_rules import RULES, Same, Unbatchable, Whole
from facula.utils._pytree import broadcast_to_leaves, tree_flatten, tree_map, tree_unflatten

Tensor = torch.Tensor


class NeedsLoop(RuntimeError):
    """The function has to run element by element."""


class LooksAtValues(NeedsLoop):
    """The function itself decides on a value, or wants it as a number: PyTorch refuses."""


_DECIDES = (
    "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support "
    "that yet, please file an issue at https://github.com/pytorch/pytorch/issues ."
)
_ITEM = (
    "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor, "
    "please try to rewrite what you're doing with other operations. If error is occurring somewhere inside PyTorch "
    "internals, please file a bug report."
)
_REFUSED = {
    "__bool__": _DECIDES,
    **dict.fromkeys(("item", "__int__", "__float__", "__index__"), _ITEM),
}
_HOME = str(Path(__file__).parent.parent)


def _asked_by_user() -> bool:
    """Whether the operator that this level sees was called by code outside of facula."""
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename in (__file__, overrides.__file__):
        frame = frame.f_back
    return frame is not None and not frame.f_code.co_filename.startswith(_HOME)


class _NoStorage:
    """Stands where a tensor has its storage: whoever wants it goes past the rules."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's own protocols look for names that need not be there
            raise AttributeError(name)
        raise NeedsLoop("a tensor of a vmapped function was read past its rules")


class BatchedTensor(Tensor):
    """One element to the function inside of vmap; `_batched` is the batch, its dim the first."""

    _batched: Any
    _level: Any
    _rg = property(lambda self: self._batched._rg, lambda self, flag: None)  # type: ignore[assignment]
    _g = property(lambda self: self._batched._g, lambda self, edge: None)
    T = property(lambda self: self.permute(*reversed(range(self.dim()))))
    mT = property(lambda self: self.transpose(-1, -2))
    data = property(lambda self: self.detach())  # type: ignore[assignment]

    def __deepcopy__(self, memo: Any) -> Any:
        raise NeedsLoop("a tensor of a vmapped function was copied")


def innermost(x: Any) -> Any:
    """The tensor behind all batches."""
    while isinstance(x, BatchedTensor):
        x = x._batched
    return x


_META = frozenset(
    "size dim numel nelement ndimension stride storage_offset is_floating_point is_complex is_signed element_size "
    "is_contiguous get_device __len__ is_same_size register_hook retain_grad result_type promote_types can_cast "
    "is_tensor broadcast_shapes is_nonzero is_inference is_conj is_neg __dir__".split()
)
_LOOKS = frozenset(
    "item tolist numpy data_ptr __bool__ __int__ __float__ __index__ __complex__ __contains__ nonzero argwhere "
    "masked_select unique unique_consecutive backward equal allclose is_nonzero storage untyped_storage set_ "
    "resize_ share_memory_ bincount histc".split()
)
_FACTORIES = frozenset("rand randn randint randperm normal".split())
_RANDOM = _FACTORIES | frozenset(
    "rand_like randn_like randint_like bernoulli bernoulli_ normal_ uniform_ exponential_ random_ cauchy_ "
    "log_normal_ geometric_ dropout alpha_dropout feature_dropout feature_alpha_dropout dropout1d dropout2d "
    "dropout3d multinomial poisson rrelu gumbel_softmax native_dropout".split()
)
_RANDOM_ERROR = (
    "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' "
    "randomness flags on vmap or perform the randomness operation out of vmap"
)
_names: dict[Any, str] = {}


def _name_of(func: Any) -> str:
    """The public name of a function, whatever its own is."""
    if not _names:
        from facula.ops.registry import FUNCTIONAL, NAMESPACES, TORCH

        wanted = {*RULES, *_META, *_LOOKS, *_RANDOM}
        tables = (*NAMESPACES.values(), FUNCTIONAL, TORCH, vars(Tensor))
        for table in tables:
            for name, fn in table.items():
                if name in wanted and callable(fn):
                    _names[getattr(fn, "__wrapped__", fn)] = name
    inner = getattr(func, "__wrapped__", func)
    return _names.get(inner) or getattr(func, "__name__", "")


class _Named:
    """An operator under its public name."""

    def __init__(self, name: str, fn: Any) -> None:
        self.__name__, self._fn = name, fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._fn(*args, **kwargs)


class _Level(overrides.TorchFunctionMode):
    """One vmap that is running: sees every operator called inside."""

    def __init__(self, n: int, randomness: str) -> None:
        self.n, self.randomness = n, randomness

    def __enter__(self) -> _Level:
        overrides.install()
        overrides._modes.append(self)
        return self

    def wrap(self, t: Any) -> Any:
        """A batch as one element."""
        if not isinstance(t, Tensor):
            return t
        x = object.__new__(BatchedTensor)
        x._batched, x._level, x._s = t, self, _NO_STORAGE
        with torch.no_grad():
            x.meta = t.detach().select(0, 0).meta
        return x

    def has(self, x: Any) -> bool:
        """Whether x is an element of this level's batch."""
        return isinstance(x, BatchedTensor) and x._level is self

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        every = (*args, *kwargs.values())
        touched = any(
            self.has(a) or (isinstance(a, (list, tuple)) and any(map(self.has, a))) for a in every
        )
        name = _name_of(func)
        if name in _RANDOM and not (name == "dropout" and not _trains(args, kwargs)):
            return self._random(name, func, args, kwargs)
        if not touched:
            return func(*args, **kwargs)
        if name in _META:
            return getattr(func, "__wrapped__", func)(*args, **kwargs)
        if name in _LOOKS or (name.startswith("__") and name not in RULES and name != "__iter__"):
            if name in _REFUSED and _asked_by_user():
                raise LooksAtValues(_REFUSED[name])
            raise NeedsLoop(f"vmap: {name} looks at values")
        if name == "__iter__":
            return iter(args[0].unbind(0))
        if name == "dropout":
            return args[0]
        found = RULES.get(name)
        try:
            if found is None:
                raise Unbatchable
            got = found(_Named(name, func), *self._whole(args, kwargs))
        except Unbatchable:
            return self._one_by_one(name, func, args, kwargs)
        if isinstance(got, Same):
            return got.value
        if isinstance(got, Whole):  # written in place
            return args[0]
        return tree_map(self.wrap, got)

    def _whole(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        def opened(a: Any) -> Any:
            if self.has(a):
                return Whole(a._batched)
            if type(a) in (list, tuple) and any(map(self.has, a)):
                return type(a)(map(opened, a))
            return a

        return tuple(map(opened, args)), {k: opened(v) for k, v in kwargs.items()}

    def _element(self, tree: Any, i: int) -> Any:
        return tree_map(lambda a: a._batched.select(0, i) if self.has(a) else a, tree)

    def _one_by_one(self, name: str, func: Callable, args: tuple, kwargs: dict) -> Any:
        results, spec = [], None
        for i in range(self.n):
            got = func(*self._element(args, i), **self._element(kwargs, i))
            leaves, spec = tree_flatten(got)
            results.append(leaves)
        if name.endswith("_") and not name.endswith("__") and self.has(args[0]):
            return args[0]
        merged = [
            self.wrap(torch.stack(column)) if isinstance(column[0], Tensor) else column[0]
            for column in ([r[k] for r in results] for k in range(len(results[0])))
        ]
        return tree_unflatten(merged, spec)

    def _random(self, name: str, func: Callable, args: tuple, kwargs: dict) -> Any:
        if self.randomness == "error":
            raise RuntimeError(_RANDOM_ERROR)
        same = self.randomness == "same"
        if not args or not self.has(args[0]):
            if same or name not in _FACTORIES - {"normal", "randperm"}:
                if same:
                    return func(*args, **kwargs)
                return self._one_by_one(name, func, args, kwargs)
            bounds = [a for a in args if isinstance(a, int)][: 2 if name == "randint" else 0]
            if name == "randint":
                *_, size = args
                return self.wrap(func(*bounds, (self.n, *size), **kwargs))
            sizes = args[0] if len(args) == 1 and not isinstance(args[0], int) else args
            return self.wrap(func(self.n, *sizes, **kwargs))
        x = args[0]._batched
        if not same:
            if (
                name == "multinomial"
                or name.endswith(("1d", "2d", "3d"))
                or name.startswith("feature")
            ):
                return self._one_by_one(name, func, args, kwargs)
            got = func(x, *args[1:], **kwargs)
            return args[0] if name.endswith("_") else self.wrap(got)
        if name in ("dropout", "feature_dropout", "dropout1d", "dropout2d", "dropout3d"):
            return self.wrap(func(torch.ones_like(x[0]), *args[1:], **kwargs) * x)
        if name.endswith("_like"):
            return func(x[0].detach(), *args[1:], **kwargs)
        raise NeedsLoop(f"vmap: {name} with randomness='same'")


_NO_STORAGE: Any = _NoStorage()


def _trains(args: tuple, kwargs: dict) -> bool:
    """Whether a dropout drops anything."""
    return bool(kwargs.get("training", args[2] if len(args) > 2 else True))


def levels() -> list[_Level]:
    """The vmaps that are running, outermost first."""
    return [m for m in overrides._modes if isinstance(m, _Level)]


def everywhere(x: Any) -> Any:
    """x as an element of every batch: copies without memory of their own where it is not one yet."""
    for level in levels():
        have = x
        while isinstance(have, BatchedTensor) and have._level is not level:
            have = have._batched
        if not isinstance(have, BatchedTensor):
            with _without(level):
                x = level.wrap(x.expand(level.n, *x.shape))
    return x


class _without:
    """Inside, a level (and those within it) does not see operators."""

    def __init__(self, level: _Level) -> None:
        self.level = level

    def __enter__(self) -> None:
        at = overrides._modes.index(self.level)
        self.kept = overrides._modes[at:]
        del overrides._modes[at:]

    def __exit__(self, *exc: object) -> None:
        overrides._modes.extend(self.kept)


def gradients(outs: list, ins: list, weights: list | None) -> list:
    """`autograd.grad` inside of any number of vmaps."""
    running = levels()
    if not running:
        return list(torch.autograd.grad(outs, ins, weights, create_graph=True, allow_unused=True))
    level = running[-1]
    loose = weights is not None and any(
        level.has(w) and not level.has(o) for o, w in zip(outs, weights)
    )
    with _without(level):
        if loose or not all(map(level.has, ins)):
            if not any(map(level.has, (*outs, *ins, *(weights or ())))):
                return gradients(outs, ins, weights)
            return _one_weight_each(level, outs, ins, weights)
        pairs = [(o._batched, None if weights is None else weights[k])
                 for k, o in enumerate(outs) if level.has(o)]  # fmt: skip
        if not pairs:
            return [None] * len(ins)
        whole = [
            torch.ones_like(o) if w is None else w._batched if level.has(w) else w.expand(o.shape)
            for o, w in pairs
        ]
        got = gradients([o for o, _ in pairs], [t._batched for t in ins], whole)
    return [g if g is None else level.wrap(g) for g in got]


def _one_weight_each(level: _Level, outs: list, ins: list, weights: list | None) -> list:
    """A backward pass for each element: the graph is not batched, or only a part of it."""
    if any(map(level.has, (*outs, *ins))):
        raise NeedsLoop("vmap: a gradient of something outside of the batch")
    columns: list[list] = [[] for _ in ins]
    for i in range(level.n):
        own = [level._element(w, i) for w in weights or ()]
        for column, t, g in zip(columns, ins, gradients(outs, ins, own)):
            column.append(torch.zeros_like(t) if g is None else g)
    return [level.wrap(torch.stack(c)) for c in columns]


def _batch_size(leaves: list, dims: list) -> int:
    sizes = set()
    for x, d in zip(leaves, dims):
        if d is None:
            continue
        if not isinstance(x, torch.Tensor):
            raise ValueError(
                f"Got in_dim={d} for an input but the input is of type {type(x)}. We cannot vmap over non-Tensor arguments, please use None as the respective in_dim"
            )
        if not isinstance(d, int):
            raise ValueError(
                f"Got in_dim={d} for an input but in_dim must be either an integer dimension or None."
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
        if not args:
            raise ValueError(
                "vmap(func)(): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a function with no inputs."
            )
        dims = broadcast_to_leaves(wanted, spec)
        if dims is None:
            raise ValueError(
                f"vmap: in_dims is not compatible with the structure of inputs. in_dims has structure {tree_flatten(in_dims)[1]} but inputs has structure {spec}."
            )
        n = _batch_size(leaves, dims)
        if n == 0:
            raise RuntimeError("vmap over a dim of size 0: use sizes of at least 1")
        step = chunk_size or n
        if step < n:
            return _in_chunks(func, leaves, dims, spec, kwargs, out_dims, randomness, n, step)
        state = torch.get_rng_state()
        try:
            return batched(func, leaves, dims, spec, kwargs, out_dims, randomness, n)
        except LooksAtValues as refused:
            raise RuntimeError(str(refused)) from None
        except NeedsLoop:
            torch.set_rng_state(state)
            return _looped(func, leaves, dims, spec, kwargs, out_dims, randomness, n)

    return run


def batched(func: Callable, leaves: list, dims: list, spec: Any, kwargs: dict, out_dims: Any,
            randomness: str, n: int) -> Any:  # fmt: skip
    """func on whole batches; NeedsLoop where that cannot be."""
    level = _Level(n, randomness)
    parts = [x if d is None else level.wrap(x.movedim(d, 0)) for x, d in zip(leaves, dims)]
    with level:
        func = overrides.asking(func)
        outs, out_spec = tree_flatten(func(*tree_unflatten(parts, spec), **kwargs))
    got = []
    for x, d in zip(outs, _out_dims(outs, out_spec, out_dims)):
        if d is None:
            if level.has(x):
                raise ValueError(
                    "vmap: a return value depends on the batch, but its out_dim is None: give a number"
                )
            got.append(x)
            continue
        whole = x._batched if level.has(x) else x.expand(n, *x.shape)
        got.append(whole.movedim(0, d))
    return tree_unflatten(got, out_spec)


def _in_chunks(func: Callable, leaves: list, dims: list, spec: Any, kwargs: dict, out_dims: Any,
               randomness: str, n: int, step: int) -> Any:  # fmt: skip
    """The batch in several parts, results joined."""
    part = vmap(func, tuple_of(dims, spec), out_dims, randomness)
    results, out_spec = [], None
    for at in range(0, n, step):
        own = [x if d is None else x.narrow(d, at, min(step, n - at)) for x, d in zip(leaves, dims)]
        outs, out_spec = tree_flatten(part(*tree_unflatten(own, spec), **kwargs))
        results.append(outs)
    joined = [
        results[0][k] if d is None else torch.cat([r[k] for r in results], d)
        for k, d in enumerate(_out_dims(results[0], out_spec, out_dims))
    ]
    return tree_unflatten(joined, out_spec)


def tuple_of(dims: list, spec: Any) -> Any:
    """The dims of leaves, nested as the arguments are."""
    return tree_unflatten(list(dims), spec)


def _looped(func: Callable, leaves: list, dims: list, spec: Any, kwargs: dict, out_dims: Any,
            randomness: str, n: int) -> Any:  # fmt: skip
    """func for one element after the other."""
    state = torch.get_rng_state()
    results, out_spec = [], None
    for i in range(n):
        if randomness == "same":
            torch.set_rng_state(state)
        parts = [x if d is None else x.select(d, i) for x, d in zip(leaves, dims)]
        outs, out_spec = tree_flatten(func(*tree_unflatten(parts, spec), **kwargs))
        results.append(outs)
    if randomness == "error" and not torch.equal(state, torch.get_rng_state()):
        raise RuntimeError(_RANDOM_ERROR)
    dims_out = _out_dims(results[0], out_spec, out_dims)
    stacked = [
        results[0][k] if d is None else torch.stack([r[k] for r in results], d)
        for k, d in enumerate(dims_out)
    ]
    return tree_unflatten(stacked, out_spec)


def _out_dims(outs: list, spec: Any, out_dims: Any) -> list:
    """Where each result gets its batch."""
    wanted = out_dims if isinstance(out_dims, int) or out_dims is None else tuple(out_dims)
    dims = broadcast_to_leaves(wanted, spec)
    if dims is None and isinstance(wanted, tuple) and len(wanted) == 1:
        dims = broadcast_to_leaves(wanted[0], spec)
    if dims is None:
        raise ValueError(f"vmap: out_dims is not compatible with the structure of outputs {spec}.")
    for x in outs:
        if not isinstance(x, Tensor):
            raise ValueError(
                f"vmap: function must only return Tensors, got type {type(x)} as a return."
            )
    return dims
