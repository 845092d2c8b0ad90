"""PyTorch's scalar samplers, in the Python subset that `scalar` compiles.

The generator keeps the second normal of a pair in hand.
Where PyTorch's build fuses a multiply-add, `fma` is written.
"""

from __future__ import annotations

from math import ceil, cos, exp, fabs, floor, lgamma, log, log1p, pi, pow, sin, sqrt, tan

from facula.random.scalar import (
    f64,
    f64s,
    fma,
    hand,
    i64,
    i64s,
    in_hand,
    prefetch,
    random32,
    random_block,
    rng,
    sampler,
    set_hand,
    single,
    u32s,
)

TWO_PI = 2 * pi
PERMUTE_BLOCK = 256  # draws ahead in `permute`
# float32 constants in double arithmetic, as PyTorch has them
THIRD = 0.3333333432674408
SQUEEZE = 0.033100001513957977


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
def standard_normal(engine: rng) -> f64:
    """Box-Muller, one at a time: the sine is kept for the next call."""
    if in_hand(engine) != 0.0:
        set_hand(engine, hand(engine), 0.0)
        return hand(engine)
    angle = uniform(engine) * TWO_PI
    radius = sqrt(-2.0 * log1p(-uniform(engine)))
    set_hand(engine, radius * sin(angle), 1.0)
    return radius * cos(angle)


@sampler
def normals(engine: rng, out: f64s, n: i64, mean: f64, std: f64) -> None:
    for k in range(n):
        out[k] = fma(standard_normal(engine), std, mean)


# -- draws of one parameter set -------------------------------------------------------


@sampler
def log_normals(engine: rng, out: f64s, n: i64, mean: f64, std: f64) -> None:
    for k in range(n):
        out[k] = exp(fma(standard_normal(engine), std, mean))


@sampler
def cauchies(engine: rng, out: f64s, n: i64, median: f64, sigma: f64) -> None:
    for k in range(n):
        out[k] = fma(sigma, tan(pi * (uniform(engine) - 0.5)), median)


@sampler
def exponentials(engine: rng, out: f64s, n: i64, rate: f64) -> None:
    scale = -1.0 / rate
    for k in range(n):
        out[k] = scale * log1p(-uniform(engine))


@sampler
def geometrics(engine: rng, out: f64s, n: i64, p: f64) -> None:
    bottom = log1p(-p)
    for k in range(n):
        out[k] = ceil(log(uniform(engine)) / bottom)


@sampler
def integers(engine: rng, out: i64s, n: i64, low: i64, span: i64) -> None:
    for k in range(n):
        out[k] = low + random32(engine) % span


@sampler
def wide_integers(engine: rng, out: i64s, n: i64, low: i64, span: i64) -> None:
    for k in range(n):
        out[k] = low + random64(engine) % span


@sampler
def permute(engine: rng, out: i64s, n: i64, draws: u32s) -> None:
    """Fisher-Yates from the front, with one 32-bit draw a step.

    The places to swap with are drawn a block ahead, so that they can be fetched in time.
    """
    first = 0
    while first < n - 1:
        count = min(PERMUTE_BLOCK, n - 1 - first)
        random_block(engine, draws, count)
        for k in range(count):
            other = draws[k] % (n - first - k)
            draws[k] = other
            prefetch(out, first + k + other)
        for k in range(first, first + count):
            other = k + draws[k - first]
            mine = out[k]
            out[k] = out[other]
            out[other] = mine
        first = first + count


@sampler
def permute_long(engine: rng, out: i64s, n: i64) -> None:
    """Inside-out Fisher-Yates with 64-bit draws, for lengths where 32 bits would be skewed."""
    for k in range(n):
        other = random64(engine) % (k + 1)
        out[k] = out[other]
        out[other] = k


# -- draws of a parameter for each value ----------------------------------------------


@sampler
def poisson(engine: rng, rate: f64) -> f64:
    """Transformed rejection (Hormann 1993) from 10 on, multiplication of uniforms below."""
    if rate >= 10.0:
        root = sqrt(rate)
        log_rate = log(rate)
        b = 0.931 + 2.53 * root
        a = -0.059 + 0.02483 * b
        inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
        accept = 0.9277 - 3.6224 / (b - 2.0)
        while True:
            u = uniform(engine) - 0.5
            v = uniform(engine)
            us = 0.5 - fabs(u)
            k = floor((2.0 * a / us + b) * u + rate + 0.43)
            if us >= 0.07 and v <= accept:
                return k
            if k < 0.0 or (us < 0.013 and v > us):
                continue
            left = log(v) + log(inverse_alpha) - log(a / (us * us) + b)
            if left <= -rate + k * log_rate - lgamma(k + 1.0):
                return k
    if rate == 0.0:
        return 0.0
    limit = exp(-rate)
    count = 0.0
    product = 1.0
    while True:
        product = product * uniform(engine)
        if product <= limit:
            return count
        count = count + 1.0


@sampler
def poissons(engine: rng, out: f64s, rates: f64s, n: i64) -> None:
    for k in range(n):
        out[k] = poisson(engine, rates[k])


@sampler
def standard_gamma(engine: rng, alpha: f64, narrow: i64) -> f64:
    """Marsaglia and Tsang (2000), with the boost for alpha < 1; `narrow`: alpha is float32."""
    scale = 1.0
    if alpha < 1.0:
        if alpha == 0.0:
            return 0.0
        power = single(1.0 / alpha) if narrow else 1.0 / alpha
        scale = pow(1.0 - uniform(engine), power)
        alpha = single(alpha + 1.0) if narrow else alpha + 1.0
    d = single(alpha - THIRD) if narrow else alpha - THIRD
    c = 1.0 / sqrt(9.0 * d)
    while True:
        x = standard_normal(engine)
        y = 1.0 + c * x
        if y <= 0.0:
            continue
        v = y * y * y
        u = 1.0 - uniform(engine)
        xx = x * x
        if u < 1.0 - SQUEEZE * xx * xx:
            return scale * d * v
        if log(u) < 0.5 * xx + d * (1.0 - v + log(v)):
            return scale * d * v


@sampler
def standard_gammas(engine: rng, out: f64s, alphas: f64s, n: i64, narrow: i64) -> None:
    for k in range(n):
        out[k] = standard_gamma(engine, alphas[k], narrow)


@sampler
def stirling_tail(k: f64) -> f64:
    """log k! less its Stirling approximation; a table below 10."""
    if k <= 9.0:
        return stirling_table(k)
    kp1sq = (k + 1.0) * (k + 1.0)
    return (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 / kp1sq) / kp1sq) / (k + 1.0)


@sampler
def stirling_table(k: f64) -> f64:
    if k == 0.0:
        return 0.0810614667953272
    if k == 1.0:
        return 0.0413406959554092
    if k == 2.0:
        return 0.0276779256849983
    if k == 3.0:
        return 0.02079067210376509
    if k == 4.0:
        return 0.0166446911898211
    if k == 5.0:
        return 0.0138761288230707
    if k == 6.0:
        return 0.0118967099458917
    if k == 7.0:
        return 0.0104112652619720
    if k == 8.0:
        return 0.00925546218271273
    return 0.00833056343336287


@sampler
def binomial_rejection(engine: rng, count: f64, p: f64, narrow: i64) -> f64:
    """Hormann's BTRS, for count * p >= 10 and p <= 1/2; `narrow`: count and p are float32."""
    center = single(count * p) if narrow else count * p
    odds = single(p / single(1.0 - p)) if narrow else p / (1.0 - p)
    spread = sqrt(count * p * (1.0 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    c = center + 0.5
    accept = 0.92 - 4.2 / b
    alpha = (2.83 + 5.1 / b) * spread
    m = floor((count + 1.0) * p)
    while True:
        u = uniform(engine) - 0.5
        v = uniform(engine)
        us = 0.5 - fabs(u)
        k = floor((2.0 * a / us + b) * u + c)
        if us >= 0.07 and v <= accept:
            return k
        if k < 0.0 or k > count:
            continue
        v = log(v * alpha / (a / (us * us) + b))
        bound = (
            (m + 0.5) * log((m + 1.0) / (odds * (count - m + 1.0)))
            + (count + 1.0) * log((count - m + 1.0) / (count - k + 1.0))
            + (k + 0.5) * log(odds * (count - k + 1.0) / (k + 1.0))
            + stirling_tail(m)
            + stirling_tail(count - m)
            - stirling_tail(k)
            - stirling_tail(count - k)
        )
        if v <= bound:
            return k


@sampler
def binomial_waiting(engine: rng, count: f64, p: f64) -> f64:
    """Sums of geometric waiting times, for count * p < 10 and p <= 1/2."""
    bottom = log1p(-p)
    total = 0.0
    done = 0.0
    while True:
        total = total + ceil(log(uniform(engine)) / bottom)
        if total > count:
            return done
        done = done + 1.0


@sampler
def binomial(engine: rng, count: f64, p: f64, narrow: i64) -> f64:
    if count <= 0.0 or p <= 0.0:
        return 0.0
    if p >= 1.0:
        return count
    if p <= 0.5:
        if count * p >= 10.0:
            return binomial_rejection(engine, count, p, narrow)
        return binomial_waiting(engine, count, p)
    if p != p:
        return p
    q = 1.0 - p
    if count * q >= 10.0:
        return count - binomial_rejection(engine, count, q, narrow)
    return count - binomial_waiting(engine, count, q)


@sampler
def binomials(engine: rng, out: f64s, counts: f64s, chances: f64s, n: i64, narrow: i64) -> None:
    for k in range(n):
        out[k] = binomial(engine, counts[k], chances[k], narrow)


@sampler
def search_many(engine: rng, out: i64s, n: i64, cumulative: f64s, size: i64) -> None:
    """For n uniforms the first place whose cumulative probability reaches it."""
    for k in range(n):
        u = uniform(engine)
        left = 0
        right = size
        while left < right:
            middle = left + (right - left) // 2
            if cumulative[middle] < u:
                left = middle + 1
            else:
                right = middle
        out[k] = left
