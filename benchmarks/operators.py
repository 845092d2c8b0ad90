"""Every pointwise, reduction, sorting and indexing operator on a million elements.

    python -m benchmarks.operators                  # a table; beside PyTorch where it is installed
    python -m benchmarks.operators -o '^(sort|topk)' --seconds 0.2

Each library works in a process of its own and they take turns; a figure is the fastest of several
calls, each evaluated in full. A ratio above 1 says that facula is faster.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import re
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.table import Table
from benchmarks.worker import installed

SIDE = 1000  # operands are SIDE x SIDE

Case = Callable[[Any, Any], Any]

# name -> operand; each is called as torch.NAME(operand)
UNARY = {
    "x": "abs neg sign sgn exp exp2 expm1 sin cos tan sinh cosh tanh asinh atan sigmoid erf erfc floor "
    "ceil round trunc frac square relu selu isnan isinf isfinite signbit logical_not sinc positive "
    "nan_to_num deg2rad rad2deg special.i0 special.i0e special.i1 special.i1e special.ndtr special.log_ndtr special.erfcx "
    "special.bessel_j0 special.bessel_j1 nn.functional.gelu nn.functional.silu nn.functional.mish "
    "nn.functional.softplus nn.functional.elu nn.functional.leaky_relu nn.functional.hardswish "
    "nn.functional.hardsigmoid nn.functional.logsigmoid nn.functional.softsign nn.functional.relu6 "
    "nn.functional.tanhshrink nn.functional.hardshrink nn.functional.softshrink "
    "sum mean prod amax amin max min all any std var norm argmax argmin aminmax median nanmedian "
    "std_mean var_mean count_nonzero nansum nanmean frexp flatten clone",
    "p": "log log2 log10 log1p sqrt rsqrt reciprocal lgamma digamma acosh special.bessel_y0 special.bessel_y1 "
    "special.modified_bessel_i0 special.modified_bessel_k0 special.entr",
    "u": "asin acos atanh erfinv special.ndtri logit",
    "i": "abs neg sign bitwise_not sum amax argmax prod aminmax count_nonzero",
    "f": "abs exp log sqrt sin tanh erf sum amax special.ndtr special.ndtri nn.functional.gelu",
    "b": "logical_not all any sum count_nonzero",
    "z": "neg abs exp log sqrt sin cos tanh sigmoid square reciprocal conj_physical angle sgn sum mean prod isnan clone",
    "w": "neg abs exp conj_physical sum",
}
# name -> operands; torch.NAME(first, second)
BINARY = {
    "x y": "add sub mul div maximum minimum fmax fmin atan2 hypot copysign nextafter fmod remainder "
    "floor_divide eq ne lt le gt ge logical_and logical_or logical_xor logaddexp logaddexp2 heaviside "
    "isclose nn.functional.mse_loss nn.functional.smooth_l1_loss dist",
    "p y": "pow special.xlogy special.xlog1py xlogy float_power",
    "p q": "special.zeta special.gammainc special.gammaincc",
    "i j": "add sub mul div remainder fmod floor_divide bitwise_and bitwise_or bitwise_xor gcd lcm maximum eq lt",
    "i s": "bitwise_left_shift bitwise_right_shift",
    "b c": "logical_and logical_or logical_xor bitwise_and eq",
    "z z2": "add sub mul div eq pow",
    "w w2": "add mul div",
    "f f2": "add mul div maximum atan2 pow",
}
OTHERS: dict[str, Case] = {
    "pow(x, 3)": lambda t, d: d.x**3,
    "pow(p, 0.5)": lambda t, d: d.p**0.5,
    "pow(2, x)": lambda t, d: 2**d.x,
    "clamp": lambda t, d: d.x.clamp(-1, 1),
    "lerp": lambda t, d: t.lerp(d.x, d.y, 0.3),
    "addcmul": lambda t, d: t.addcmul(d.x, d.y, d.p),
    "addcdiv": lambda t, d: t.addcdiv(d.x, d.y, d.p),
    "where": lambda t, d: t.where(d.b, d.x, d.y),
    "polygamma(1)": lambda t, d: t.polygamma(1, d.p),
    "ldexp": lambda t, d: t.ldexp(d.x, d.s),
    "to(float64)": lambda t, d: d.x.to(t.float64),
    "to(int64)": lambda t, d: d.x.to(t.int64),
    "to(bfloat16)": lambda t, d: d.x.to(t.bfloat16),
    "int64 to float32": lambda t, d: d.i.to(t.float32),
    # reductions along a dim
    **{f"{n}(dim={k})": (lambda t, d, n=n, k=k: getattr(d.x, n)(k))
       for n in "sum mean prod amax max argmax std var norm logsumexp softmax log_softmax median any all".split()
       for k in (0, 1)},
    "aminmax(dim=1)": lambda t, d: t.aminmax(d.x, dim=1),
    "mode(dim=1), int64": lambda t, d: t.mode(d.small, 1),
    "nansum(dim=1)": lambda t, d: t.nansum(d.x, 1),
    "norm(p=1)": lambda t, d: t.linalg.vector_norm(d.x, 1),
    "norm(p=3)": lambda t, d: t.linalg.vector_norm(d.x, 3),
    "quantile": lambda t, d: t.quantile(d.x.flatten(), 0.3),
    "quantile(dim=1)": lambda t, d: t.quantile(d.x, 0.3, 1),
    "nanquantile(dim=1)": lambda t, d: t.nanquantile(d.x, 0.3, 1),
    "kthvalue(dim=1)": lambda t, d: t.kthvalue(d.x, 300, 1),
    "kthvalue, flat": lambda t, d: t.kthvalue(d.x.flatten(), 300_000),
    "cov": lambda t, d: t.cov(d.x[:100]),
    "cdist": lambda t, d: t.cdist(d.x[:, :20], d.y[:, :20]),
    "cdist(p=1)": lambda t, d: t.cdist(d.x[:, :20], d.y[:, :20], p=1.0),
    # scans
    **{f"{n}(dim={k})": (lambda t, d, n=n, k=k: getattr(t, n)(d.x, k))
       for n in "cumsum cumprod cummax cummin logcumsumexp".split() for k in (0, 1)},
    "cumsum, flat": lambda t, d: t.cumsum(d.x.flatten(), 0),
    "cumsum, int64": lambda t, d: t.cumsum(d.i, 1),
    "diff": lambda t, d: t.diff(d.x),
    "trapezoid": lambda t, d: t.trapezoid(d.x, dim=1),
    # sorting and searching
    "sort, flat": lambda t, d: t.sort(d.x.flatten()),
    "sort(dim=1)": lambda t, d: t.sort(d.x, 1),
    "sort(dim=0)": lambda t, d: t.sort(d.x, 0),
    "sort(stable, descending)": lambda t, d: t.sort(d.x, dim=1, descending=True, stable=True),
    "sort, int64": lambda t, d: t.sort(d.i.flatten()),
    "argsort(dim=1)": lambda t, d: t.argsort(d.x, 1),
    "msort": lambda t, d: t.msort(d.x),
    "topk(10), flat": lambda t, d: t.topk(d.x.flatten(), 10),
    "topk(10, dim=1)": lambda t, d: t.topk(d.x, 10, 1),
    "topk(500, dim=1)": lambda t, d: t.topk(d.x, 500, 1),
    "unique, int64": lambda t, d: t.unique(d.small),
    "unique, many": lambda t, d: t.unique(d.i),
    "unique, inverse and counts": lambda t, d: t.unique(d.small, return_inverse=True, return_counts=True),
    "unique, float": lambda t, d: t.unique(d.x),
    "unique_consecutive": lambda t, d: t.unique_consecutive(d.small),
    "searchsorted": lambda t, d: t.searchsorted(d.edges, d.x),
    "bucketize": lambda t, d: t.bucketize(d.x, d.few),
    "isin": lambda t, d: t.isin(d.small, d.small[0, :20]),
    "histc": lambda t, d: t.histc(d.x, 100, -3, 3),
    "histogram": lambda t, d: t.histogram(d.x, 100),
    "bincount": lambda t, d: t.bincount(d.small.flatten()),
    "bincount, weights": lambda t, d: t.bincount(d.small.flatten(), d.p.flatten()),
    # indexing
    "nonzero": lambda t, d: t.nonzero(d.b),
    "argwhere, float": lambda t, d: t.argwhere(d.x),
    "masked_select": lambda t, d: t.masked_select(d.x, d.b),
    "x[mask]": lambda t, d: d.x[d.b],
    "x[mask] = 0": lambda t, d: d.t.__setitem__(d.b, 0.0),
    "masked_fill": lambda t, d: d.x.masked_fill(d.b, 0.0),
    "masked_scatter": lambda t, d: d.x.masked_scatter(d.b, d.y),
    "index_select(dim=0)": lambda t, d: t.index_select(d.x, 0, d.rows),
    "index_select(dim=1)": lambda t, d: t.index_select(d.x, 1, d.rows),
    "x[rows]": lambda t, d: d.x[d.rows],
    "x[:, rows]": lambda t, d: d.x[:, d.rows],
    "x[i, j]": lambda t, d: d.x[d.at, d.at2],
    "x[i, j] = y": lambda t, d: d.t.__setitem__((d.at, d.at2), d.y),
    "index_put accumulate": lambda t, d: d.x.index_put((d.at, d.at2), d.y, accumulate=True),
    "gather(dim=1)": lambda t, d: t.gather(d.x, 1, d.at),
    "gather(dim=0)": lambda t, d: t.gather(d.x, 0, d.at),
    "take_along_dim": lambda t, d: t.take_along_dim(d.x, d.at, 1),
    "take": lambda t, d: t.take(d.x, d.flat),
    "scatter(dim=1)": lambda t, d: d.x.scatter(1, d.at, d.y),
    "scatter_add(dim=1)": lambda t, d: d.x.scatter_add(1, d.at, d.y),
    "scatter_add(dim=0)": lambda t, d: d.x.scatter_add(0, d.at, d.y),
    "scatter_reduce(amax)": lambda t, d: d.x.scatter_reduce(1, d.at, d.y, "amax"),
    "scatter_reduce(mean)": lambda t, d: d.x.scatter_reduce(1, d.at, d.y, "mean"),
    "index_add(dim=0)": lambda t, d: d.x.index_add(0, d.rows, d.y),
    "index_copy(dim=0)": lambda t, d: d.x.index_copy(0, d.order, d.y),
    "index_fill(dim=1)": lambda t, d: d.x.index_fill(1, d.rows, 0.0),
    "put": lambda t, d: d.x.put(d.flat, d.y),
    "one_hot": lambda t, d: t.nn.functional.one_hot(d.rows, SIDE),
    "embedding": lambda t, d: t.nn.functional.embedding(d.rows, d.x),
    # moving
    "cat(dim=0)": lambda t, d: t.cat([d.x, d.y], 0),
    "cat(dim=1)": lambda t, d: t.cat([d.x, d.y], 1),
    "stack(dim=-1)": lambda t, d: t.stack([d.x, d.y], -1),
    "flip": lambda t, d: t.flip(d.x, [0, 1]),
    "roll": lambda t, d: t.roll(d.x, (3, 7), (0, 1)),
    "rot90": lambda t, d: t.rot90(d.x),
    "tril": lambda t, d: t.tril(d.x),
    "triu": lambda t, d: t.triu(d.x),
    "t().contiguous()": lambda t, d: d.x.t().contiguous(),
    "repeat": lambda t, d: d.x[:500].repeat(2, 1),
    "tile": lambda t, d: t.tile(d.x[:, :500], (1, 2)),
    "repeat_interleave": lambda t, d: t.repeat_interleave(d.x[:500], 2, 0),
    "pad": lambda t, d: t.nn.functional.pad(d.x, (1, 1, 1, 1)),
    "pad(reflect)": lambda t, d: t.nn.functional.pad(d.x[None], (2, 2, 2, 2), "reflect"),
    "unfold": lambda t, d: d.x.unfold(1, 4, 2).contiguous(),
    "diag_embed": lambda t, d: t.diag_embed(d.x[0]),
    "real parts": lambda t, d: d.z.real.contiguous(),
    "complex": lambda t, d: t.complex(d.x, d.y),
    "complex64 times 2": lambda t, d: d.z * 2.0,
    "where, complex64": lambda t, d: t.where(d.b, d.z, d.z2),
    "sum(dim=0), complex64": lambda t, d: d.z.sum(0),
    "sum(dim=1), complex64": lambda t, d: d.z.sum(1),
    "complex64 to complex128": lambda t, d: d.z.to(t.complex128),
    "x[:, ::2]": lambda t, d: d.x[:, ::2].contiguous(),
    "arange": lambda t, d: t.arange(SIDE * SIDE),
    "linspace": lambda t, d: t.linspace(0, 1, SIDE * SIDE),
    "full": lambda t, d: t.full((SIDE, SIDE), 2.0),
    "meshgrid": lambda t, d: t.meshgrid(d.x[0], d.y[0], indexing="ij")[0].contiguous(),
    "outer": lambda t, d: t.outer(d.x[0], d.y[0]),
    "cross": lambda t, d: t.linalg.cross(d.x[:999].reshape(-1, 3), d.y[:999].reshape(-1, 3)),
    # random numbers
    "rand": lambda t, d: t.rand(SIDE, SIDE),
    "randn": lambda t, d: t.randn(SIDE, SIDE),
    "randint": lambda t, d: t.randint(0, 100, (SIDE, SIDE)),
    "randperm": lambda t, d: t.randperm(SIDE * SIDE),
    "bernoulli": lambda t, d: t.bernoulli(d.unit),
    "exponential_": lambda t, d: t.empty(SIDE, SIDE).exponential_(),
    "dropout": lambda t, d: t.nn.functional.dropout(d.x, 0.3),
    "multinomial": lambda t, d: t.multinomial(d.p, 20),
}  # fmt: skip


def cases() -> dict[str, Case]:
    """All of them, by name."""
    table: dict[str, Case] = {}
    for operand, names in UNARY.items():
        for name in names.split():
            call = f"{name}{_kind(operand)}"
            table[call] = lambda t, d, n=name, o=operand: _find(t, n)(getattr(d, o))
    for operands, names in BINARY.items():
        first, second = operands.split()
        for name in names.split():
            table[f"{name}{_kind(first)}"] = lambda t, d, n=name, a=first, b=second: _find(t, n)(
                getattr(d, a), getattr(d, b)
            )
    return table | OTHERS


def _kind(operand: str) -> str:
    kinds = {"i": "int64", "b": "bool", "f": "float64", "z": "complex64", "w": "complex128"}
    return f", {kinds[operand]}" if operand in kinds else ""


def _find(torch: Any, name: str) -> Any:
    for part in name.split("."):
        torch = getattr(torch, part)
    return torch


def operands(torch: Any) -> SimpleNamespace:
    """What the operators are called on."""
    torch.manual_seed(0)
    d = SimpleNamespace(
        x=torch.randn(SIDE, SIDE), y=torch.randn(SIDE, SIDE), t=torch.zeros(SIDE, SIDE)
    )
    d.unit = torch.rand(SIDE, SIDE)
    d.p, d.q, d.u = d.unit * 5 + 0.1, torch.rand(SIDE, SIDE) * 5 + 0.1, d.unit * 1.98 - 0.99
    d.p = d.p + 1
    d.i = torch.randint(-100_000, 100_000, (SIDE, SIDE))
    d.j = torch.randint(1, 100_000, (SIDE, SIDE))
    d.s, d.small = torch.randint(0, 20, (SIDE, SIDE)), torch.randint(0, 100, (SIDE, SIDE))
    d.b, d.c = d.x > 0.3, d.y > 0
    d.at, d.at2 = torch.randint(0, SIDE, (SIDE, SIDE)), torch.randint(0, SIDE, (SIDE, SIDE))
    d.rows, d.order = torch.randint(0, SIDE, (SIDE,)), torch.randperm(SIDE)
    d.flat = torch.randint(0, SIDE * SIDE, (SIDE, SIDE))
    d.z, d.z2 = torch.complex(d.x, d.y), torch.complex(d.y, d.unit)
    d.w, d.w2 = d.z.to(torch.complex128), d.z2.to(torch.complex128)
    d.f, d.f2 = d.unit.to(torch.float64), d.u.to(torch.float64)
    d.edges, d.few = torch.randn(10_000).sort().values, torch.linspace(-2, 2, 50)
    return d


def waiting(torch: Any) -> Callable[[], None]:
    """What waits for the values of all that was recorded."""
    if torch.__name__ == "facula":
        return importlib.import_module("facula.graph.tape").flush
    return lambda: None


def best(torch: Any, case: Case, d: Any, seconds: float) -> float:
    """The fastest call, in seconds."""
    evaluate = waiting(torch)
    fastest, spent, calls = float("inf"), 0.0, -2  # the first two compile and warm up
    kept = None
    while calls < 3 or spent < seconds:
        del kept
        start = time.perf_counter()
        kept = case(torch, d)
        evaluate()
        took = time.perf_counter() - start
        calls += 1
        if calls > 0:
            fastest, spent = min(fastest, took), spent + took
        if spent > 10 * seconds:
            break
    return fastest


def serve(library: str, pipe: Connection) -> None:
    """Times the cases it is told to."""
    torch = importlib.import_module(library)
    table, d = cases(), operands(torch)
    best(torch, lambda t, d: t.exp(d.x), d, 0)  # what only a process's first call does
    pipe.send(None)
    while (order := pipe.recv()) is not None:
        try:
            pipe.send(best(torch, table[order[0]], d, order[1]))
        except Exception as error:  # not being there is a result as well
            pipe.send(f"{type(error).__name__}: {error}".splitlines()[0][:60])


def start(library: str) -> Connection:
    """The pipe to a process that has the library."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    context.Process(target=serve, args=(library, other), daemon=True).start()
    other.close()
    pipe.recv()
    return pipe


def table(libraries: list[str], names: list[str], seconds: float) -> Table:
    """The operators' times; with two libraries their ratio, above 1 where the first is ahead."""
    pipes = [start(library) for library in libraries]
    ratio = ["ratio"] if len(pipes) == 2 else []
    heads = ["operator", *[f"{n} ms" for n in libraries], *ratio]
    title = f"Operators on {SIDE}x{SIDE} elements: time of PyTorch / time of facula"
    out = Table("operators", title, heads, bars="").begin()
    ratios = []
    for name in names:
        times = []
        for pipe in pipes:
            pipe.send((name, seconds))
            times.append(pipe.recv())
        cells = [t if isinstance(t, str) else t * 1e3 for t in times]
        if ratio and not any(isinstance(t, str) for t in times):
            cells.append(times[1] / times[0])
            ratios.append(cells[-1])
        out.add(name, *cells)
    for pipe in pipes:
        pipe.send(None)
    if ratios:
        behind = sum(r < 1 / 1.5 for r in ratios)
        median = statistics.median(ratios)
        out.note(f"{len(ratios)} operators: median {median:.2f}, {behind} behind by more than 1.5x")
    return out


def main() -> None:
    """Prints the table, or a part of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operators", description=__doc__)
    parser.add_argument("-o", "--ops", default="", help="regular expression of names")
    parser.add_argument("--piece", default="1/1", help="K/N: the K-th of N parts of the table")
    parser.add_argument("--seconds", type=float, default=0.1, help="spent on an operator")
    parser.add_argument("--without-torch", action="store_true", help="time facula alone")
    parser.add_argument("--json", type=Path, help="where the rows are written")
    options = parser.parse_args()
    part, parts = map(int, options.piece.split("/"))
    names = [n for n in cases() if re.search(options.ops, n)]
    names = names[len(names) * (part - 1) // parts : len(names) * part // parts]
    libraries = ["facula"] if options.without_torch else installed()
    rows = table(libraries, names, options.seconds).rows
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
