"""Matrix products of groups of rows (mixtures of experts), and names of scaled float8 products."""

from __future__ import annotations

import enum
from typing import Any

from facula.graph import dtypes as dt
from facula.ops.registry import FUNCTIONAL, TORCH, functional
from facula.tensor import Tensor


class ScalingType(enum.IntEnum):
    """How the scales of a scaled product are laid out."""

    TensorWise = 0
    RowWise = 1
    BlockWise1x16 = 2
    BlockWise1x32 = 3
    BlockWise1x128 = 4
    BlockWise128x128 = 5


class SwizzleType(enum.IntEnum):
    """How the scales of a scaled product are permuted."""

    NO_SWIZZLE = 0
    SWIZZLE_32_4_4 = 1


FUNCTIONAL["ScalingType"], FUNCTIONAL["SwizzleType"] = ScalingType, SwizzleType
FUNCTIONAL["Tensor"] = Tensor


def _groups(offs: Tensor) -> list[tuple[int, int]]:
    ends = [int(e) for e in offs._values()]
    return list(zip([0, *ends[:-1]], ends, strict=True))


@functional("grouped_mm")
def grouped_mm(
    mat_a: Tensor,
    mat_b: Tensor,
    *,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: Any = None,
) -> Tensor:
    """One matrix product for each group; `offs` says where the groups of a 2D operand end.

    Shapes: (M, K) with (G, K, N) groups rows, (G, M, K) with (K, N) columns, (M, K) with (K, N) the
    inner dim; (G, M, K) with (G, K, N) needs no offs.
    """
    a, b = mat_a.meta, mat_b.meta
    if a.ndim not in (2, 3) or b.ndim not in (2, 3):
        raise RuntimeError("mat_a and mat_b have to be 2 or 3 dimensional")
    if (offs is not None) != (a.ndim == 2 or b.ndim == 2):
        raise RuntimeError(
            "Have to provide offsets if there is a 2d matrix, or no offset if both are 3d"
        )
    if bias is not None:
        raise RuntimeError("Bias not supported yet")
    if out_dtype is not None and out_dtype is not a.dtype:
        raise RuntimeError("Grouped gemm output dtype must match `mat_a` dtype")
    mm = TORCH["mm"]
    if offs is None:
        return TORCH["bmm"](mat_a, mat_b)
    if offs.meta.dtype is not dt.int32:
        raise RuntimeError("Offsets have to be int32")
    spans = _groups(offs)
    if a.ndim == 2 and b.ndim == 2:
        return TORCH["stack"]([mm(mat_a[:, s:e], mat_b[s:e]) for s, e in spans])
    if a.ndim == 2:
        parts = [mm(mat_a[s:e], mat_b[g]) for g, (s, e) in enumerate(spans)]
        return _joined(parts, a.shape[0] - spans[-1][1], 0)
    parts = [mm(mat_a[g], mat_b[:, s:e]) for g, (s, e) in enumerate(spans)]
    return _joined(parts, b.shape[1] - spans[-1][1], 1)


def _joined(parts: list[Tensor], rest: int, dim: int) -> Tensor:
    """Parts side by side; what no group names is zero."""
    if rest > 0:
        shape = list(parts[0].meta.shape)
        shape[dim] = rest
        parts = [
            *parts,
            TORCH["zeros"](shape, dtype=parts[0].meta.dtype, device=parts[0].meta.device),
        ]
    return TORCH["cat"](parts, dim)


def _scaled(name: str) -> None:
    def function(*args: Any, **kwargs: Any) -> Tensor:
        raise NotImplementedError(
            f"{name} of float8 matrices is not available: use "
            "(a.float() * scale_a) @ (b.float() * scale_b)"
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = "Products of scaled float8 matrices: not available."
    FUNCTIONAL[name] = function


_scaled("scaled_mm")
_scaled("scaled_grouped_mm")
