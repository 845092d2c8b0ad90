"""Autocast: while it is on, listed operators take their floating inputs in another type.

What is listed is PyTorch's choice for CPUs. An operator that is not listed computes in the type
it gets. When autocast is off, a listed operator pays for the test of one global name.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from facula.autograd import mode
from facula.graph import dtypes as dt
from facula.graph.dtypes import dtype as Dtype
from facula.ops import registry
from facula.ops.registry import only_torch
from facula.tensor import Tensor

# public names by what happens to their inputs; a name may live in several namespaces
LOWER = """
conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d conv_tbc convolution
linear mm bmm matmul addmm addbmm baddbmm inner tensordot multi_dot chain_matmul vecdot
prelu scaled_dot_product_attention __matmul__ __rmatmul__
""".split()

FLOAT32 = """
avg_pool3d adaptive_avg_pool3d max_pool3d adaptive_max_pool3d max_unpool1d max_unpool2d
max_unpool3d fractional_max_pool2d fractional_max_pool3d
grid_sample binary_cross_entropy binary_cross_entropy_with_logits mse_loss l1_loss smooth_l1_loss
huber_loss cross_entropy nll_loss kl_div cosine_embedding_loss hinge_embedding_loss
poisson_nll_loss margin_ranking_loss soft_margin_loss triplet_margin_loss multi_margin_loss
multilabel_margin_loss ctc_loss cdist prod trace quantile nanquantile polar stft view_as_complex
inverse pinverse cholesky cholesky_inverse cholesky_solve lu_solve orgqr ormqr geqrf
cond matrix_rank solve triangular_solve eig eigvals eigh eigvalsh svd svdvals qr lstsq inv inv_ex cholesky_ex
householder_product ldl_factor tensorinv tensorsolve
fft ifft fft2 ifft2 fftn ifftn rfft irfft rfft2 irfft2 rfftn irfftn hfft ihfft
""".split()

WIDEST = (
    "cat concat concatenate stack hstack vstack dstack column_stack row_stack index_copy".split()
)

# not listed, though written with products: they are left alone as a whole
UNTOUCHED = ["bilinear"]

DEVICES = ("cpu", "cuda", "xpu", "mps", "hpu", "xla", "ipu", "mtia", "maia", "privateuseone")

active = 0  # contexts for the CPU that are on, in all threads


class _State(threading.local):
    def __init__(self) -> None:
        self.enabled: dict[str, bool] = {}
        self.dtype: dict[str, Dtype] = {}
        self.cache_enabled = True
        self.nesting = 0
        # casts of parameters: id -> (the parameter, kept alive so that the id stays its own; the cast)
        self.cache: dict[tuple[int, Dtype], tuple[Tensor, Tensor]] = {}


STATE = _State()


# casting ---------------------------------------------------------------------------------------


def _eligible(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and x.dtype is not dt.float64  # type: ignore[attr-defined]


def _cast(x: Tensor, to: Dtype) -> Tensor:
    """x in another type; parameters are cast once for each outermost context."""
    if x.dtype is to:
        return x
    keep = (
        STATE.cache_enabled and x.requires_grad and x.is_leaf and x._base is None
        and to is not dt.float32 and mode.is_grad_enabled()
    )  # fmt: skip
    if not keep:
        return x.to(to)  # type: ignore[attr-defined]
    key = (id(x), to)
    if key not in STATE.cache:
        STATE.cache[key] = (x, x.to(to))  # type: ignore[attr-defined]
    return STATE.cache[key][1]


def _mapped(x: Any, to: Dtype) -> Any:
    if _eligible(x):
        return _cast(x, to)
    if type(x) in (list, tuple):
        return type(x)([_mapped(v, to) for v in x])
    return x


def _lower(args: tuple, kwargs: dict) -> Dtype | None:
    return get_autocast_dtype("cpu")


def _untouched(args: tuple, kwargs: dict) -> Dtype | None:
    return None


def _float32(args: tuple, kwargs: dict) -> Dtype | None:
    return dt.float32


def _widest(args: tuple, kwargs: dict) -> Dtype | None:
    """The widest type among the tensors; they are left alone where all have one type."""
    found: set[Dtype] = set()
    for x in (*args, *kwargs.values()):
        found.update(t.dtype for t in (x if type(x) in (list, tuple) else (x,)) if _eligible(t))
    return None if len(found) < 2 else functools.reduce(dt.promote_types, found)


def _recast(fn: Callable, rule: Callable, args: tuple, kwargs: dict) -> Any:
    on = STATE.enabled.get("cpu")
    to = rule(args, kwargs) if on else None
    if (to is None and rule is not _untouched) or kwargs.get("out") is not None:
        return fn(*args, **kwargs)
    was, STATE.enabled["cpu"] = bool(on), False  # what fn itself calls is settled
    try:
        if to is None:
            return fn(*args, **kwargs)
        args = _mapped(args, to)
        return fn(*args, **{k: _mapped(v, to) for k, v in kwargs.items()})
    finally:
        STATE.enabled["cpu"] = was


def casting(fn: Callable, rule: Callable) -> Callable:
    """fn, with its inputs cast while autocast is on."""

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        if active:
            return _recast(fn, rule, args, kwargs)
        return fn(*args, **kwargs)

    return run


def _einsum_rule(args: tuple, kwargs: dict) -> Dtype | None:
    """Sums of products are matrix products; one operand alone is only summed."""
    operands = args[1] if len(args) == 2 and type(args[1]) in (list, tuple) else args[1:]
    if len(operands) < 2 or (type(args[0]) is str and not _contracts(args[0])):
        return None
    return _lower(args, kwargs)


def _contracts(equation: str) -> bool:
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    letters = [c for c in inputs if c.isalpha()]
    return any(c not in output if arrow else letters.count(c) > 1 for c in letters)


def _pad_rule(args: tuple, kwargs: dict) -> Dtype | None:
    """Padding by reflection (up to two dims) and by replication works in float32."""
    given = dict(zip(("input", "pad", "mode"), args, strict=False)) | kwargs
    mode, dims = given.get("mode", "constant"), len(given.get("pad", ())) // 2
    return dt.float32 if mode == "replicate" or (mode == "reflect" and dims < 3) else None


def _then_lower(fn: Callable) -> Callable:
    """fn, with its result lowered: PyTorch's `pinv` decomposes in float32 and ends with a product."""

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        if not active or not STATE.enabled.get("cpu") or not _eligible(result):
            return result
        return result if kwargs.get("out") is not None else result.to(get_autocast_dtype("cpu"))

    return run


def install() -> None:
    """Wraps the listed operators, wherever they are known. Called once all are registered."""
    rules: dict[str, Callable] = {"einsum": _einsum_rule, "pad": _pad_rule}
    lists = ((LOWER, _lower), (FLOAT32, _float32), (WIDEST, _widest), (UNTOUCHED, _untouched))
    for names, rule in lists:
        rules |= dict.fromkeys(names, rule)
    wrapped: dict[int, Callable] = {}
    spaces = [registry.TORCH, registry.FUNCTIONAL, *registry.NAMESPACES.values()]
    linalg = registry.NAMESPACES["linalg"]
    linalg["pinv"] = _then_lower(linalg["pinv"])
    for name, rule in rules.items():
        for space in spaces:
            if name in space:
                fn = space[name]
                space[name] = wrapped.setdefault(id(fn), casting(fn, rule))
        fn = Tensor.__dict__.get(name)
        if callable(fn):
            setattr(Tensor, name, wrapped.setdefault(id(fn), casting(fn, rule)))


# the state, as PyTorch's functions read and set it ------------------------------------------------


def _device(device_type: str) -> str:
    if device_type not in DEVICES:
        raise RuntimeError(
            "unknown device type for autocast in get_autocast_dispatch_key_from_device_type: "
            f"{device_type}"
        )
    return device_type


@only_torch()
def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on for a kind of device."""
    return STATE.enabled.get(_device(device_type), False)


@only_torch()
def set_autocast_enabled(device_type: Any, enabled: bool | None = None) -> None:
    """Switches autocast on or off for a kind of device."""
    global active
    if enabled is None:
        device_type, enabled = "cuda", device_type
    enabled = bool(enabled)
    if _device(device_type) == "cpu":
        active += enabled - STATE.enabled.get("cpu", False)
    STATE.enabled[device_type] = enabled


@only_torch()
def get_autocast_dtype(device_type: str) -> Dtype:
    """The type autocast lowers to on a kind of device."""
    fallback = dt.float16 if _device(device_type) in ("cuda", "mps", "xpu") else dt.bfloat16
    return STATE.dtype.get(device_type, fallback)


@only_torch()
def set_autocast_dtype(device_type: str, dtype: Dtype) -> None:
    """Sets the type autocast lowers to on a kind of device."""
    STATE.dtype[_device(device_type)] = dtype


@only_torch()
def is_autocast_cache_enabled() -> bool:
    """Whether casts of parameters are kept."""
    return STATE.cache_enabled


@only_torch()
def set_autocast_cache_enabled(enabled: bool) -> None:
    """Sets whether casts of parameters are kept."""
    STATE.cache_enabled = enabled


@only_torch()
def clear_autocast_cache() -> None:
    """Forgets casts of parameters."""
    STATE.cache.clear()


@only_torch()
def autocast_increment_nesting() -> int:
    """One context more."""
    STATE.nesting += 1
    return STATE.nesting


@only_torch()
def autocast_decrement_nesting() -> int:
    """One context less; how many are left."""
    STATE.nesting -= 1
    return STATE.nesting


_OLD_NAMES = {"cpu": "cpu", "gpu": "cuda", "xla": "xla", "ipu": "ipu"}
for _old, _kind in _OLD_NAMES.items():
    registry.TORCH |= {
        f"get_autocast_{_old}_dtype": functools.partial(get_autocast_dtype, _kind),
        f"set_autocast_{_old}_dtype": functools.partial(set_autocast_dtype, _kind),
    }
    if _old != "gpu":
        registry.TORCH |= {
            f"is_autocast_{_old}_enabled": functools.partial(is_autocast_enabled, _kind),
            f"set_autocast_{_old}_enabled": functools.partial(set_autocast_enabled, _kind),
        }

install()
