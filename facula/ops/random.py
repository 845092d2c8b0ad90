"""Random tensors: drawn at once, in PyTorch's order, so that the generator's state is always true."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from facula import random as _module
from facula.graph import dtypes as dt
from facula.graph.blame import wrong_type
from facula.graph.dtypes import dtype as Dtype
from facula.graph.meta import META, Meta, meta_of
from facula.graph.tape import LOCAL, Op, settle
from facula.ops.apply import apply, check_devices, check_writable
from facula.ops.create import device_of, finish, sizes
from facula.ops.pointwise import need_tensors
from facula.ops.registry import TORCH, both, method, only_method, only_torch, to_out
from facula.ops.without_values import like_first, shape_rule
from facula.random import draws
from facula.random.generator import Generator as _Engine
from facula.random.generator import default_generator as _default
from facula.runtime.buffers import alloc
from facula.tensor import Tensor, adopt_array, empty_meta, from_array, from_buffer


class Generator(_Engine):
    """A source of random numbers of its own; states are uint8 tensors."""

    def __init__(self, device: Any = "cpu") -> None:
        super().__init__(device_of(device))

    def get_state(self) -> Tensor:  # type: ignore[override]
        """The state as a uint8 tensor in PyTorch's layout."""
        return from_array(super().get_state())

    def set_state(self, state: Tensor) -> Generator:  # type: ignore[override]
        """Continues from a state."""
        if not isinstance(state, Tensor):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(state).__name__}")
        super().set_state(state._array())
        return self

    def clone_state(self) -> Generator:
        """A generator that goes on from the same state."""
        other = Generator(self.device)
        return other.set_state(self.get_state())


default_generator = Generator()
if hasattr(_default, "initial_seed"):
    default_generator.manual_seed(_default.initial_seed())
TORCH["Generator"], TORCH["default_generator"] = Generator, default_generator


@only_torch()
def manual_seed(seed: Any) -> Generator:
    """Begins the default generator's sequence of `seed`; returns the generator.

    >>> import facula as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.rand(2)
    tensor([0.4963, 0.7682])
    """
    return default_generator.manual_seed(int(seed))  # type: ignore[return-value]


@only_torch()
def seed() -> int:
    """Takes a seed from the operating system for the default generator; returns it."""
    return default_generator.seed()


@only_torch()
def initial_seed() -> int:
    """The seed that the default generator's sequence began with."""
    return default_generator.initial_seed()


@only_torch()
def get_rng_state() -> Tensor:
    """The default generator's state."""
    return default_generator.get_state()


@only_torch()
def set_rng_state(new_state: Tensor) -> None:
    """Sets the default generator's state."""
    default_generator.set_state(new_state)


def generator_of(g: Any) -> Any:
    """The generator to draw from."""
    if g is None:
        return default_generator
    if not hasattr(g, "manual_seed"):
        raise wrong_type(g, "Generator")
    return g


def store(t: Tensor, draw: Callable[..., np.ndarray], generator: Any, *args: Any) -> Tensor:
    """Puts values of `draw(generator, *args)` (stored form) into t, in place.

    On the meta device nothing is drawn: the generator's state is what it was.
    """
    check_writable(t)
    if t.meta.device is META:
        t._s.version += 1
        return t
    watch = LOCAL.tape.watch
    if watch is not None:
        watch.defeat("random numbers are drawn into a tensor in place")
    settle(t._s)
    draws.place(t._array(), draw(generator_of(generator), *args))
    t._s.version += 1
    return t


def _fresh(m: Any, values: np.ndarray) -> Tensor:
    return adopt_array(values.reshape(m.shape), m.dtype)


def _floating(name: str, d: Dtype) -> None:
    if d.kind not in "fc":
        raise NotImplementedError(f"\"{name}\" not implemented for '{d.short}'")


def redrawable(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that draws a new tensor; `facula.compile` notes its calls, to repeat them."""

    @functools.wraps(draw)
    def run(*args: Any) -> Tensor:
        m = args[0]
        if type(m) is Meta and m.device is META:  # nothing is drawn
            return empty_meta(m)
        drawn = draw(*args)
        watch = LOCAL.tape.watch
        if watch is not None:
            watch.drew(drawn, draw, args)
        return drawn

    return run


@redrawable
def _uniform(m: Any, g: Any, low: float = 0.0, high: float = 1.0) -> Tensor:
    if m.dtype.kind == "c":
        parts = draws.uniform(generator_of(g), 2 * m.numel, m.dtype.to_real().name, low, high)
        return _fresh(m, parts.view(m.dtype.storage))
    if m.dtype in (dt.float32, dt.float64) and m.numel:
        buf = alloc(m.numel * m.dtype.itemsize)
        draws.uniform_into(generator_of(g), buf.addr, m.numel, m.dtype.name, low, high)
        return from_buffer(buf, m)
    return _fresh(m, draws.uniform(generator_of(g), m.numel, m.dtype.name, low, high))


@redrawable
def _normal(m: Any, g: Any, mean: float = 0.0, std: float = 1.0) -> Tensor:
    if m.dtype.kind == "c":
        parts = draws.normal(
            generator_of(g), 2 * m.numel, m.dtype.to_real().name, mean, std * 0.5**0.5
        )
        return _fresh(m, parts.view(m.dtype.storage))
    if m.dtype in (dt.float32, dt.float64) and m.numel >= 16:
        buf = alloc(m.numel * m.dtype.itemsize)
        draws.normal_into(generator_of(g), buf.addr, m.numel, m.dtype.name, mean, std)
        return from_buffer(buf, m)
    return _fresh(m, draws.normal(generator_of(g), m.numel, m.dtype.name, mean, std))


def _factory(name: str, draw: Any) -> None:
    def function(*size: Any, generator: Any = None, names: Any = None, out: Tensor | None = None,
                 dtype: Dtype | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
                 pin_memory: bool = False, **kwargs: Any) -> Tensor:  # fmt: skip
        shape = sizes(size, kwargs, name)
        if out is not None and not isinstance(out, Tensor):
            raise wrong_type(out, "Tensor")
        d = dtype or (out.dtype if out is not None else dt.default_dtype())
        _floating(name, d)
        m = meta_of(d, shape, device_of(device, out))
        return finish(to_out(draw(m, generator), out), requires_grad)

    def like(input: Tensor, *, dtype: Dtype | None = None, layout: Any = None, device: Any = None,
             requires_grad: bool = False, memory_format: Any = None, generator: Any = None,
             pin_memory: bool = False) -> Tensor:  # fmt: skip
        d = input.meta.device if device is None else device_of(device)
        m = meta_of(dtype or input.meta.dtype, input.meta.shape, d)
        _floating(name, m.dtype)
        return finish(draw(m, generator), requires_grad)

    for fn, n in ((function, name), (like, name + "_like")):
        fn.__name__ = fn.__qualname__ = n
        fn.__doc__ = (
            "Random values from [0, 1)."
            if name == "rand"
            else "Random values from the standard normal distribution."
        )
        TORCH[n] = fn


_factory("rand", _uniform)
_factory("randn", _normal)


@only_torch()
def randint(*args: Any, generator: Any = None, out: Tensor | None = None, dtype: Dtype | None = None,
            layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
            **kwargs: Any) -> Tensor:  # fmt: skip
    """Random integers from [low, high): randint(high, size) or randint(low, high, size).

    >>> import facula as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.randint(0, 10, (5,))
    tensor([4, 9, 3, 0, 3])
    """
    given = list(args)
    size, at = kwargs.get("size"), ""
    if size is None:
        size = given.pop() if given else None
        at = f" (position {len(given) + 1})"
    if not isinstance(size, (tuple, list)):
        kind = type(size).__name__
        raise TypeError(f"randint(): argument 'size'{at} must be tuple of ints, not {kind}")
    if "high" in kwargs:
        low, high = (given[0] if given else kwargs.get("low", 0)), kwargs["high"]
    else:
        low, high = (0, given[0]) if len(given) == 1 else given
    for number in (low, high):
        if not hasattr(number, "__index__"):
            raise wrong_type(number, "int")
    d = dtype or (out.dtype if out is not None else dt.int64)
    m = meta_of(d, sizes((size,), {}, "randint"), device_of(device, out))
    return finish(to_out(_integers(m, int(low), int(high), generator), out), requires_grad)


_C_INTEGERS = {"uint8": "unsigned char", "int8": "signed char", "int16": "short", "int32": "int",
               "int64": "long", "uint16": "unsigned short", "uint32": "unsigned int",
               "uint64": "unsigned long"}  # fmt: skip


def _integers(m: Any, low: int, high: int, g: Any) -> Tensor:
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    if m.dtype.kind in "iu":
        limits = dt.iinfo(m.dtype)
        for name, number in (("from", low), ("to - 1", high - 1)):
            if not limits.min <= number <= limits.max:
                raise RuntimeError(f"{name} is out of bounds for {_C_INTEGERS[m.dtype.name]}")
    return _drawn_integers(m, g, low, high)


@redrawable
def _drawn_integers(m: Any, g: Any, low: int, high: int) -> Tensor:
    return _fresh(m, draws.randint(generator_of(g), m.numel, low, high, m.dtype.name))


@only_torch()
def randint_like(input: Tensor, *args: Any, dtype: Dtype | None = None, layout: Any = None, device: Any = None,
                 requires_grad: bool = False, memory_format: Any = None, generator: Any = None,
                 pin_memory: bool = False, **kwargs: Any) -> Tensor:  # fmt: skip
    """Random integers from [low, high) in input's shape."""
    if len(args) == 1 and not kwargs:
        low, high = 0, args[0]
    else:
        low = args[0] if args else kwargs.get("low", 0)
        high = args[1] if len(args) > 1 else kwargs["high"]
    m = meta_of(dtype or input.meta.dtype, input.meta.shape, input.meta.device)
    return finish(_integers(m, int(low), int(high), generator), requires_grad)


@only_torch()
def randperm(n: int, *, generator: Any = None, out: Tensor | None = None, dtype: Dtype | None = None,
             layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """A random order of 0 .. n-1.

    >>> import facula as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.randperm(5)
    tensor([4, 0, 1, 3, 2])
    """
    if not hasattr(n, "__index__"):
        raise wrong_type(n, "int")
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    d = dtype or (out.dtype if out is not None else dt.int64)
    if device_of(device, out) is META:
        return finish(to_out(empty_meta(meta_of(d, (n,), META)), out), requires_grad)
    return finish(to_out(_permutation(n, generator, d), out), requires_grad)


@redrawable
def _permutation(n: int, g: Any, d: Dtype) -> Tensor:
    return adopt_array(draws.randperm(generator_of(g), n, d.name), d)


# in place -------------------------------------------------------------------------------------------


@only_method("uniform_")
def uniform_(
    self: Tensor, from_: float = 0, to: float = 1, *, generator: Any = None, **kwargs: Any
) -> Tensor:
    """Values from [from, to)."""
    low = kwargs.get("from", from_)
    _floating("check_uniform_bounds", self.meta.dtype)
    if low > to:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={to:g}"
        )
    return store(self, draws.uniform, generator, self.meta.numel, self.meta.dtype.name, low, to)


@only_method("normal_")
def normal_(self: Tensor, mean: float = 0, std: float = 1, *, generator: Any = None) -> Tensor:
    """Values of the normal distribution."""
    _floating("normal_kernel_cpu", self.meta.dtype)
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    m = self.meta
    if m.dtype.kind == "c":
        return store(self, lambda g: _normal(m.plain(), g, mean, std)._array(), generator)
    return store(self, draws.normal, generator, m.numel, m.dtype.name, mean, std, m.contiguous)


@only_method("random_")
def random_(self: Tensor, *args: Any, generator: Any = None, **kwargs: Any) -> Tensor:
    """Integers: all of the type's, below `to`, or from [from, to)."""
    m = self.meta
    given = list(args)
    low = kwargs.get("from", given[0] if len(given) == 2 else None)
    high = kwargs.get("to", given[-1] if given else None)
    if high is None and low is None:
        return store(self, draws.random, generator, m.numel, m.dtype.name)
    low = 0 if low is None else int(low)
    high = draws.randint_limit(m.dtype.name) if high is None else int(high)
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    return store(self, draws.randint, generator, m.numel, low, high, m.dtype.name)


@only_method("bernoulli_")
def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """1 with probability p, else 0."""
    name = self.meta.dtype.name
    if isinstance(p, Tensor):
        p = p.expand(self.meta.shape)  # type: ignore[attr-defined]
        return store(
            self, lambda g: draws.bernoulli_each(g, p._array(), p.meta.dtype.name, name), generator
        )
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return store(self, draws.bernoulli, generator, self.meta.numel, p, name)


@both("bernoulli")
def bernoulli(
    input: Tensor, p: Any = None, *, generator: Any = None, out: Tensor | None = None
) -> Tensor:
    """1 with the probability that input holds, else 0."""
    need_tensors("bernoulli", input=input)
    if p is not None:
        return TORCH["empty_like"](input).bernoulli_(p, generator=generator)
    drawn = _drawn_with(input, generator)
    return to_out(apply(_DRAWN, (input, drawn)) if input._rg else drawn, out)


@shape_rule(like_first)
def _drawn_with(p: Tensor, generator: Any) -> Tensor:
    x, d = p._array(), p.meta.dtype
    if x.size and not bool(((p._values() >= 0) & (p._values() <= 1)).all()):
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return _fresh(p.meta, draws.bernoulli_each(generator_of(generator), x, d.name, d.name))


# what was drawn has the history of the probabilities, with no slope
_DRAWN = Op(
    "bernoulli",
    lambda p, drawn: drawn.plain(),
    lambda g, p, drawn: drawn,
    lambda n, grad: (TORCH["zeros_like"](grad), None),
    grad_name="BernoulliBackward0",
)


def _sampler(name: str, defaults: tuple, check: Any = None) -> None:
    draw = getattr(draws, name)

    def run(self: Tensor, *args: Any, generator: Any = None, **kwargs: Any) -> Tensor:
        params = [*args, *defaults[len(args) :]]
        for i, key in enumerate(_NAMES[name]):
            params[i] = kwargs.get(key, params[i])
        if check is not None:
            check(*params)
        return store(self, draw, generator, self.meta.numel, *params, self.meta.dtype.name)

    run.__name__ = run.__qualname__ = name + "_"
    run.__doc__ = f"Values of the {name.replace('_', '-')} distribution."
    method(run, name + "_")


def _positive(name: str, what: str) -> Any:
    def check(*params: float) -> None:
        if not params[-1] > 0:
            raise RuntimeError(f"{name} expects {what} > 0.0, but found {what}={params[-1]:g}")

    return check


def _chance(p: float) -> None:
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")


_NAMES = {
    "exponential": ("lambd",),
    "cauchy": ("median", "sigma"),
    "log_normal": ("mean", "std"),
    "geometric": ("p",),
}
_sampler("exponential", (1.0,), _positive("exponential_", "lambda"))
_sampler("cauchy", (0.0, 1.0), _positive("cauchy_", "sigma"))
_sampler("log_normal", (1.0, 2.0), _positive("log_normal_", "std"))
_sampler("geometric", (0.5,), _chance)


@only_torch()
def normal(mean: Any, std: Any = 1.0, size: Any = None, *, generator: Any = None, out: Tensor | None = None,
           dtype: Dtype | None = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
           requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Normal values with given means and standard deviations (tensors or numbers)."""
    tensors = [x for x in (mean, std) if isinstance(x, Tensor)]
    if not tensors:
        if size is None:
            raise TypeError(
                "normal() received an invalid combination of arguments: `size` is missing"
            )
        m = meta_of(
            dtype or (out.dtype if out is not None else dt.default_dtype()),
            sizes((size,), {}, "normal"),
            device_of(device, out),
        )
        if std < 0:
            raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
        return finish(to_out(_normal(m, generator, mean, std), out), requires_grad)
    from facula.graph.meta import broadcast_shapes

    if isinstance(std, Tensor) and _any_negative(std):
        raise RuntimeError("normal expects all elements of std >= 0.0")
    if not isinstance(std, Tensor) and std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    shape = broadcast_shapes(*[x.meta.shape for x in tensors])
    check_devices(tensors)
    m = meta_of(tensors[0].meta.dtype, shape, tensors[0].meta.device)
    fixed = [x.detach() if isinstance(x, Tensor) else x for x in (mean, std)]
    if isinstance(std, Tensor):
        drawn = _normal(m, generator) * fixed[1] + fixed[0]
    else:
        drawn = _normal(m, generator, 0.0, std) + fixed[0]
    if any(x._rg for x in tensors):
        kind = 1 + isinstance(std, Tensor) * (1 + isinstance(mean, Tensor))
        drawn = apply(_NORMALS[kind], (*tensors, drawn))
    return to_out(drawn, out)


def _no_slope(n: Any, grad: Tensor) -> tuple:
    given = n.inst.ins[:-1]
    return (*[TORCH["zeros"](m.shape, dtype=m.dtype, device=grad.meta.device) for m in given], None)


# what was drawn has the history of means and deviations, with no slope
_NORMALS = {
    kind: Op(
        "normal",
        lambda *metas: metas[-1].plain(),
        lambda g, *values: values[-1],
        _no_slope,
        grad_name=f"NormalBackward{kind}",
    )
    for kind in (1, 2, 3)
}


def _any_negative(t: Tensor) -> bool:
    """Whether values are known and one is negative."""
    m = t.meta
    return m.numel > 0 and m.device is not META and bool((t < 0).any())  # type: ignore[attr-defined]


@both("poisson")
@shape_rule(like_first)
def poisson(input: Tensor, generator: Any = None) -> Tensor:
    """Poisson counts with the rates that input holds."""
    d = input.meta.dtype
    if _any_negative(input):
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    return _fresh(input.meta, draws.poisson(generator_of(generator), input._array(), d.name))


@both("multinomial")
def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None,
                out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Category numbers drawn with the weights in each row of input.

    Shapes: input (n) or (rows, n), of weights that need not add up to 1; int64 (num_samples) or
    (rows, num_samples). RuntimeError for negative weights and for more draws than there are without
    replacement.

    >>> import facula as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.multinomial(torch.tensor([0.0, 0.9, 0.1]), 4, replacement=True)
    tensor([2, 1, 1, 2])
    """
    m = input.meta
    if m.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if m.dtype.kind != "f":
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {m.dtype.short}"
        )
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > m.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    if out is not None and out.meta.dtype is not dt.int64:
        raise RuntimeError(f"multinomial expects Long tensor out, got: {out.meta.dtype.short}")
    return to_out(_categories(input, num_samples, replacement, generator), out)


@shape_rule(lambda input, count, *_: (dt.int64, (*input.meta.shape[:-1], count)))
def _categories(input: Tensor, num_samples: int, replacement: bool, generator: Any) -> Tensor:
    p = input._values()
    if p.size and not (p.min() >= 0 and p.max() < np.inf):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if p.size and (p.sum(-1) == 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    g = generator_of(generator)
    if replacement and num_samples > 1:
        return adopt_array(np.ascontiguousarray(draws.multinomial(g, p, num_samples)))
    shares = adopt_array(np.ascontiguousarray(draws.race(g, p, input.meta.dtype.name)))
    return TORCH["topk"](shares, num_samples, -1)[1]


# dropout: the mask is drawn as bernoulli_(1 - p) would --------------------------------------------------


@redrawable
def dropout_mask(m: Any, p: float, shape: Any = None) -> Tensor:
    """1 / (1 - p) with probability 1 - p, else 0."""
    shape = m.shape if shape is None else shape
    keep = draws.bernoulli(default_generator, int(np.prod(shape, dtype=np.int64)), 1 - p, "bool")
    return adopt_array(keep.reshape(tuple(shape)))


__all__ = ["Generator", "default_generator", "dropout_mask", "manual_seed"]


# the module torch.random ------------------------------------------------------------------------


@contextlib.contextmanager
def fork_rng(
    devices: Any = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str | None = None,
) -> Iterator[None]:
    """A context in which random numbers may be drawn without a trace."""
    state = get_rng_state() if enabled else None
    try:
        yield
    finally:
        if state is not None:
            set_rng_state(state)


def thread_safe_generator() -> Generator | None:
    """The generator of a DataLoader's thread; there are none."""
    return None


for _fn in (
    fork_rng,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
    thread_safe_generator,
):
    setattr(_module, _fn.__name__, _fn)
_module.default_generator = default_generator  # type: ignore[attr-defined]
