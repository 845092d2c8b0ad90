"""Orthogonal polynomials by degree, in native code that goes by blocks of elements.

All of them follow, for their own numbers,

    p_0 = 1,  p_1 = a x + b,  p_{k+1} = ((u + u' k) x + v + v' k) p_k - (w + w' k) p_{k-1}

with the right side over k + 1 for some.
"""

from __future__ import annotations

import numpy as np

from facula.random.native import in_parts
from facula.random.scalar import f64, f64s, i64, sampler

BLOCK = 256  # elements that climb from degree to degree together
DEGREES = BLOCK  # where in the room what is kept
BEFORE = 2 * BLOCK
NOW = 3 * BLOCK
RESULT = 4 * BLOCK
LIMIT = 2.0**62


@sampler
def begin(x: f64s, degree: f64s, first: i64, count: i64, a: f64, b: f64, scale: f64, shift: f64,
          room: f64s) -> i64:  # fmt: skip
    """Degrees 0 and 1; the highest degree wanted."""
    top = 0
    for j in range(count):
        v = x[first + j] * scale + shift
        d = degree[first + j]
        whole = int(d) if d > -1.0 and d < LIMIT else -1
        top = top if top > whole else whole
        room[j] = v
        room[DEGREES + j] = float(whole)
        room[BEFORE + j] = 1.0
        room[NOW + j] = a * v + b
        room[RESULT + j] = 1.0 if whole == 0 else 0.0
    return top


@sampler
def climb(k: f64, u: f64, v: f64, w: f64, room: f64s) -> None:
    """From degree k to the next."""
    for j in range(BLOCK):
        now = room[NOW + j]
        room[RESULT + j] = now if room[DEGREES + j] == k else room[RESULT + j]
        room[NOW + j] = (u * room[j] + v) * now - w * room[BEFORE + j]
        room[BEFORE + j] = now


@sampler
def polynomials(x: f64s, degree: f64s, out: f64s, n: i64, a: f64, b: f64, u: f64, u_k: f64, v: f64,
                v_k: f64, w: f64, w_k: f64, over: i64, scale: f64, shift: f64, room: f64s) -> None:  # fmt: skip
    """out[k] = the polynomial of degree[k] at x[k], by a recurrence of three terms, block by block."""
    first = 0
    while first < n:
        count = min(BLOCK, n - first)
        top = begin(x, degree, first, count, a, b, scale, shift, room)
        for k in range(1, top + 1):
            share = 1.0 / (k + 1) if over != 0 else 1.0
            climb(
                float(k), (u + u_k * k) * share, (v + v_k * k) * share, (w + w_k * k) * share, room
            )
        for j in range(count):
            out[first + j] = room[RESULT + j]
        first = first + BLOCK


# name -> a, b, u, u', v, v', w, w', whether over k + 1
_NUMBERS = {
    "chebyshev_polynomial_t": (1, 0, 2, 0, 0, 0, 1, 0, 0),
    "chebyshev_polynomial_u": (2, 0, 2, 0, 0, 0, 1, 0, 0),
    "chebyshev_polynomial_v": (2, -1, 2, 0, 0, 0, 1, 0, 0),
    "chebyshev_polynomial_w": (2, 1, 2, 0, 0, 0, 1, 0, 0),
    "hermite_polynomial_h": (2, 0, 2, 0, 0, 0, 0, 2, 0),
    "hermite_polynomial_he": (1, 0, 1, 0, 0, 0, 0, 1, 0),
    "laguerre_polynomial_l": (-1, 1, -1, 0, 1, 2, 0, 1, 1),
    "legendre_polynomial_p": (1, 0, 1, 2, 0, 0, 0, 1, 1),
}
# name -> the same, and what x is multiplied by and then shifted by
POLYNOMIALS = {name: (*numbers, 1, 0) for name, numbers in _NUMBERS.items()}
for _kind in "tuvw":
    _name = f"chebyshev_polynomial_{_kind}"
    POLYNOMIALS[f"shifted_{_name}"] = (*_NUMBERS[_name], 2, -1)


def np_polynomial(x: np.ndarray, degree: np.ndarray, name: str) -> np.ndarray:
    """The polynomial of `POLYNOMIALS` of each degree (cut to an integer; 0 if negative) at each x."""
    x, degree = (np.ascontiguousarray(v, np.float64) for v in (x, degree))
    out = np.empty(x.shape)
    starts = [v.ctypes.data for v in (x, degree, out)]

    def part(first: int, last: int) -> None:
        room = np.zeros(5 * BLOCK)
        at = [start + 8 * first for start in starts]
        polynomials(*at, last - first, *POLYNOMIALS[name], room.ctypes.data)

    in_parts(out.size, part)
    return out
