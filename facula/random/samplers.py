"""PyTorch's scalar samplers, in the Python subset that `scalar` compiles.

`hand` is the generator's normal in hand: hand[0] its value, hand[1] whether there is one.
Where PyTorch's build fuses a multiply-add, `fma` is written.
"""

from __future__ import annotations

from math import cos, log1p, pi, sin, sqrt

from facula.random.scalar import f64, f64s, fma, i64, random32, rng, sampler

TWO_PI = 2 * pi


@sampler
def random64(engine: rng) -> i64:
    """Two draws, the first is the high half."""
    high = random32(engine)
    return (high << 32) | random32(engine)


@sampler
def uniform(engine: rng) -> f64:
    """A double in [0, 1): 53 bits of a 64-bit draw."""
    return float(random64(engine) & 0x1FFFFFFFFFFFFF) * 1.1102230246251565e-16


@sampler
def standard_normal(engine: rng, hand: f64s) -> f64:
    """Box-Muller, one at a time: the sine is kept for the next call."""
    if hand[1] != 0.0:
        hand[1] = 0.0
        return hand[0]
    angle = uniform(engine) * TWO_PI
    radius = sqrt(-2.0 * log1p(-uniform(engine)))
    hand[0] = radius * sin(angle)
    hand[1] = 1.0
    return radius * cos(angle)


@sampler
def normals(engine: rng, hand: f64s, out: f64s, n: i64, mean: f64, std: f64) -> None:
    for k in range(n):
        out[k] = fma(standard_normal(engine, hand), std, mean)
