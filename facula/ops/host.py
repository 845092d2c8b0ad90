"""Operators that NumPy evaluates on the host: rare functions, LAPACK, FFT.

`host_op(name, fn, infer, backward)` makes an `Op` whose expansion is one call of `fn` on arrays.
`fn(*arrays, *params)` must be a module-level function: its identity is part of plan keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from facula.graph.ir import Val
from facula.graph.meta import meta_of
from facula.graph.reference import encode
from facula.graph.tape import Op
from facula.random.native import in_parts
from facula.random.scalar import Sampler
from facula.tensor import Tensor, adopt_array


def host_op(
    name: str,
    fn: Callable,
    infer: Callable,
    backward: Callable | None = None,
    *,
    saves: str = "",
    grad_name: str | None = None,
    materialize: bool = True,
    lies: Callable[..., Any] | None = None,
) -> Op:
    """An operator that NumPy computes; results are rounded to what `infer` says."""

    def expand(g: Any, *args: Any) -> Any:
        vals = [a for a in args if isinstance(a, Val)]
        params = tuple(args[len(vals) :])
        out = infer(*[meta_of(v.dtype, v.shape) for v in vals], *params)
        outs = out if isinstance(out, tuple) else (out,)
        return g.host(fn, [(m.dtype, tuple(m.shape)) for m in outs], vals, params)

    return Op(
        name,
        infer,
        expand,
        backward,
        saves=saves,
        grad_name=grad_name,
        materialize=materialize,
        lies=lies,
    )


def each(
    function: Sampler, arrays: Sequence[np.ndarray], kind: np.dtype | type, *params: Any
) -> np.ndarray:
    """function(address of each array, of the result, n, *params) on runs of elements, in parallel.

    arrays: of one shape; they are read as numbers of `kind`, which those of the result are, too.
    """
    kind = np.dtype(kind)
    arrays = [np.ascontiguousarray(x, kind) for x in arrays]
    out = np.empty(arrays[0].shape, kind)
    starts = [x.ctypes.data for x in (*arrays, out)]

    def part(first: int, last: int) -> None:
        at = [start + kind.itemsize * first for start in starts]
        function(*at, last - first, *params)

    in_parts(out.size, part)
    return out


def tensor_of(values: Any, d: Any) -> Tensor:
    """A tensor with dtype d of freshly computed values."""
    return adopt_array(np.asarray(encode(np.asarray(values), d), order="C"), d)


def wide(x: np.ndarray) -> np.ndarray:
    """float64 (complex128) values, in which host functions compute."""
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
