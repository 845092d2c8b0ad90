"""One time step of a recurrent layer, as LLVM IR: products with the state, then the gates.

A task is a panel of hidden units for some tiles of rows. Its products come first, one after the
other: a few gates (or, backward, the only product), a stretch of k that the first cache holds, all
tiles. The sums gather in scratch memory, and what makes the gates of them follows in the same task.
Backward, the product is that of the next step's gate gradients with the weights, and the gradients
of this step's gates follow. The weights are packed once for all steps: panels along k.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.llvm import vmath
from facula.llvm.elementwise import FLOAT
from facula.llvm.target import Target
from facula.llvm.tile import NUMBERS, Emit, Value, lanes, vec
from facula.llvm.tile_gemm import UNROLL
from facula.llvm.tile_pack import lanes_of
from facula.llvm.tile_task import TaskFrame

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}

HEADER = (
    *("hidden", "depth", "stretch", "a_row", "panel", "gate", "tiles", "larger", "part", "tasks_m"),
    *("a", "a_off", "w", "w_off"),
)
# The arrays of a step, each a slot (-1: absent, it reads as zeros) and an offset.
ARRAYS = {
    ("LSTM", False): ("gates", "before", "c", "out"),
    ("LSTM", True): ("dout", "extra", "carry_in", "gates", "before", "c", "carry", "dgates"),
    ("GRU", False): ("gates", "before", "bias", "linear", "out"),
    ("GRU", True): ("dout", "carry_in", "gates", "before", "linear", "carry", "dgates", "dstate"),
    ("RNN", False): ("gates", "out"),
    ("RNN", True): ("dout", "extra", "out", "dgates"),
}
# Arrays that are fetched ahead (the others were at hand a step ago), and those with all gates in a row.
FETCHED = {
    False: ("gates", "c", "linear", "out"),
    True: ("dout", "gates", "before", "linear", "out", "dgates", "dstate"),
}
WIDE = frozenset(("gates", "dgates", "dstate"))
_LINE = 64  # bytes that are fetched at once

_CHAINS = 8  # sums that have to be under way to keep the multipliers busy


def arrays_of(mode: str, backward: bool) -> tuple[str, ...]:
    """The names of a step's arrays, in the order of its arguments."""
    return ARRAYS[mode[:3] if mode.startswith("RNN") else mode, backward]


@dataclass(frozen=True)
class RecurrentShape:
    """What is fixed in the code of a time step."""

    mode: str
    backward: bool
    dtype: str
    rows: int  # a tile's, or one less
    vectors: int  # registers of hidden units in a panel
    together: int = 1  # gates whose products are made at once
    keeps: bool = True  # forward: whether it stores what the backward pass reads

    @property
    def key(self) -> str:
        way = "backward" if self.backward else "forward"
        size = f"{self.rows}x{self.together}x{self.vectors}"
        return f"recurrent {self.mode} {way} {self.dtype} {size}" + " alone" * (not self.keeps)

    @property
    def gates(self) -> int:
        """How many products a hidden unit has."""
        return 1 if self.backward else GATES[self.mode]


class RecurrentWriter:
    """Writes the kernel of a `RecurrentShape`."""

    def __init__(self, shape: RecurrentShape, target: Target, name: str) -> None:
        self.shape = shape
        self.b = Emit(target, name)
        self.number = NUMBERS[shape.dtype]
        self.ty = self.number.compute
        self.n = lanes_of(self.b, self.number)
        self.v = vec(self.n, self.ty)
        self.math = lanes(self.b, self.n, self.ty)
        self.width = shape.vectors * self.n
        self.arrays = arrays_of(shape.mode, shape.backward)
        names = [*HEADER, *(x + end for x in self.arrays for end in ("", "_off"))]
        self.arg = TaskFrame(self.b, names, 0)
        self.gate_count = GATES[shape.mode]

    def write(self) -> str:
        b = self.b
        self.arg.load_all()
        with b.loop("%t0", "%t1") as t:
            self._task(t.i)
        return b.module()

    def _task(self, t: str) -> None:
        """Some tiles of rows, for one panel of hidden units."""
        b, arg = self.b, self.arg
        panel, tm = b.divmod(t, arg("tasks_m"))
        self.unit = b.mul(panel, self.width)
        first = b.mul(tm, arg("part"))
        last = b.least(b.add(first, arg("part")), arg("tiles"))
        w = b.at(b.buffer(arg("w")), arg("w_off"), self.ty)
        self.w = b.at(w, b.mul(panel, arg("panel")), self.ty)
        self.a = b.at(b.buffer(arg("a")), arg("a_off"), self.ty)
        self.start = self._row_of(first)
        end = self._row_of(last)
        with (
            b.loop(0, self.shape.gates, self.shape.together) as g,
            b.loop(0, b.most(arg("depth"), 1), arg("stretch")) as k,
        ):
            self.gate, self.k0 = g.i, k.i
            self.k1 = b.least(b.add(k.i, arg("stretch")), arg("depth"))
            self.sums = b.at("%scratch", b.mul(g.i, self.width), self.ty)
            self.columns = b.at(self.w, b.mul(g.i, arg("gate")), self.ty)
            self.columns = b.at(self.columns, b.mul(k.i, self.width), self.ty)
            with b.loop(first, last) as i:
                self._either_tile(i.i)
        self._gates(end)

    def _row_of(self, tile: Value) -> Value:
        """Where a tile begins: the first `larger` ones have a row more than the others."""
        b = self.b
        return b.add(b.mul(tile, self.shape.rows - 1), b.least(tile, self.arg("larger")))

    def _either_tile(self, i: str) -> None:
        """The products of a tile of `rows` rows, or of one less."""
        rows, row = self.shape.rows, self._row_of(i)
        with self.b.when(self.b.test("eq", self.b.add(self.gate, self.k0), 0)):
            self._fetch_ahead(row, self._row_of(self.b.add(i, 1)))
        if rows == 1:
            self._tile(row, 1)
            return
        with self.b.choose(self.b.test("slt", i, self.arg("larger"))) as way:
            with way.yes:
                self._tile(row, rows)
            with way.no:
                self._tile(row, rows - 1)

    def _tile(self, row: Value, count: int) -> None:
        """Adds a stretch of k to the sums of some gates."""
        b, ty = self.b, self.ty
        places = self._places(row, count)
        with b.choose(b.test("eq", self.k0, 0)) as way:
            with way.yes:
                pass
            with way.no:
                earlier = [b.load(self.v, p, ty) for p in places]
        start = [way.merge(self.v, "zeroinitializer", x) for x in earlier]
        for place, value in zip(places, self._products(row, count, start), strict=True):
            b.store(self.v, value, place, ty)

    def _places(self, row: Value, count: int) -> list[str]:
        """Where the sums of a tile lie."""
        b, ty = self.b, self.ty
        pitch, width = self.shape.gates * self.width, self.shape.together * self.width
        here = b.at(self.sums, b.mul(b.sub(row, self.start), pitch), ty)
        return [
            b.at(here, r * pitch + c, ty) for r in range(count) for c in range(0, width, self.n)
        ]

    def _gates(self, end: Value) -> None:
        """What follows the products, row by row."""
        b, ty, n, shape = self.b, self.ty, self.n, self.shape
        with b.loop(self.start, end) as i:
            self.row = i.i
            sums = b.at("%scratch", b.mul(b.sub(i.i, self.start), shape.gates * self.width), ty)
            for u in range(0, self.width, n):
                self.col = b.add(self.unit, u)
                self.mask = b.mask(n, b.sub(self.arg("hidden"), self.col))
                places = [b.at(sums, g * self.width + u, ty) for g in range(shape.gates)]
                STEPS[shape.mode, shape.backward](self, [b.load(self.v, p, ty) for p in places])

    def _fetch_ahead(self, first: Value, end: Value) -> None:
        """Asks for what follows the products: short pieces far apart, which no hardware foresees."""
        b = self.b
        with b.loop(first, end) as i:
            self.row = i.i
            for name in (x for x in FETCHED[self.shape.backward] if x in self.arrays):
                with b.when(self.given(name)):
                    self._fetch(name)

    def _fetch(self, name: str) -> None:
        b, gates = self.b, self.gate_count if name in WIDE else 1
        for k in range(gates):
            for u in range(0, self.width, _LINE // self.number.compute_bytes):
                self.col = b.add(self.unit, u)
                b.prefetch(self.place(name, k, gates), write=False, level=2)

    def _products(self, row: Value, count: int, start: list[str]) -> list[str]:
        """`start` plus count x width products, the units of a gate side by side.

        Few sums would wait for each other: then neighbours in k go to sums of their own.
        """
        b, ty = self.b, self.ty
        size, chains = len(start), 1
        while size * chains < _CHAINS and chains < UNROLL:
            chains *= 2
        rows = [b.opaque(self.state(b.add(row, r))) for r in range(count)]
        sums = start + ["zeroinitializer"] * (size * (chains - 1))
        depth = b.sub(self.k1, self.k0)
        whole = b.add(self.k0, b.mul(b.div(depth, UNROLL), UNROLL))
        here = self.columns
        for lo, hi, times in ((self.k0, whole, UNROLL), (whole, self.k1, 1)):
            with b.loop(lo, hi, times, [*((self.v, s) for s in sums), ("ptr", here)]) as k:
                sums, here = k.vars[:-1], k.vars[-1]
                for u in range(times):
                    at = u % chains * size
                    more = self._one_of_k(rows, b.add(k.i, u), here, sums[at : at + size])
                    sums[at : at + size] = more
                    here = b.at(here, self.width, ty)
                k.next = [*sums, here]
            sums, here = k.vars[:-1], k.vars[-1]
        while len(sums) > size:
            half = len(sums) // 2
            sums = [b.plus(self.n, ty, x, y) for x, y in zip(sums, sums[half:], strict=False)]
        return sums

    def _one_of_k(self, rows: list[str], k: Value, here: str, sums: list[str]) -> list[str]:
        """The sums after one more of k, whose columns begin at `here`."""
        b, arg, ty, n = self.b, self.arg, self.ty, self.n
        columns = []
        for g in range(self.shape.together):
            gate = b.at(here, b.mul(arg("gate"), g), ty)
            columns += [b.load(self.v, b.at(gate, u, ty), ty) for u in range(0, self.width, n)]
        pairs = [(r, c) for r in range(len(rows)) for c in range(len(columns))]
        if len(rows) < len(columns):  # by columns, so that few of them are held at a time
            pairs.sort(key=lambda pair: pair[1])
        ones: dict[int, str] = {}
        out = {}
        for r, c in pairs:
            if r not in ones:  # only now: many rows would take the registers of the sums
                ones[r] = b.splat(n, ty, b.load(ty, b.at(rows[r], k, ty)))
            before = sums[r * len(columns) + c]
            out[r, c] = b.fma(n, ty, ones[r], columns[c], before)
        return [out[pair] for pair in sorted(out)]

    # -- arrays ------------------------------------------------------------------------------

    def state(self, row: Value) -> str:
        """A row of what the weights are multiplied with."""
        return self.b.at(self.a, self.b.mul(row, self.arg("a_row")), self.ty)

    def given(self, name: str) -> str:
        """Whether there is such an array."""
        return self.b.test("sge", self.arg(name), 0)

    def base(self, name: str) -> str:
        """Where an array begins."""
        return self.b.at(self.b.buffer(self.arg(name)), self.arg(f"{name}_off"), self.ty)

    def place(self, name: str, gate: int = 0, gates: int = 1) -> str:
        """Where the units at hand lie in an array of rows of `gates` times the hidden units."""
        b, arg = self.b, self.arg
        pitch = b.mul(arg("hidden"), gates)
        shift = b.add(b.mul(self.row, pitch), b.add(b.mul(arg("hidden"), gate), self.col))
        return b.at(self.base(name), shift, self.ty)

    def load(self, name: str, gate: int = 0, gates: int = 1) -> str:
        return self.b.masked_load(self.n, self.ty, self.place(name, gate, gates), self.mask)

    def save(self, value: str, name: str, gate: int = 0, gates: int = 1) -> None:
        self.b.masked_store(self.n, self.ty, value, self.place(name, gate, gates), self.mask)

    def keep(self, value: str, name: str, gate: int = 0, gates: int = 1) -> None:
        """Saves what the backward pass reads, if there will be one."""
        if self.shape.keeps:
            self.save(value, name, gate, gates)

    def optional(self, name: str, like_row: bool = False) -> str:
        """As `load`, zeros if the array is absent; `like_row`: one row for the whole batch."""
        b = self.b
        with b.choose(self.given(name)) as way:
            with way.yes:
                if like_row:
                    place = b.at(self.base(name), self.col, self.ty)
                    got = b.masked_load(self.n, self.ty, place, self.mask)
                else:
                    got = self.load(name)
            with way.no:
                pass
        return way.merge(self.v, got, "zeroinitializer")


# -- the cells: what follows the product -------------------------------------------------------


def _lstm(w: RecurrentWriter, sums: list[str]) -> None:
    m = w.math
    sums = [m.add(s, w.load("gates", k, 4)) for k, s in enumerate(sums)]
    i, f, o = (vmath.sigmoid(m, sums[k]) for k in (0, 1, 3))
    g = vmath.tanh(m, sums[2])
    c = m.fma(f, w.load("before"), m.mul(i, g))
    for k, gate in enumerate((i, f, g, o)):
        w.keep(gate, "gates", k, 4)
    w.save(c, "c")
    w.save(m.mul(o, vmath.tanh(m, c)), "out")


def _slope(m, value: str, gate: str) -> str:
    """value times the sigmoid's derivative, from its result."""
    return m.mul(m.mul(value, gate), m.sub(m.c(1.0), gate))


def _tanh_slope(m, value: str, result: str) -> str:
    return m.mul(value, m.sub(m.c(1.0), m.mul(result, result)))


def _relu_slope(m, value: str, result: str) -> str:
    return m.select(m.cmp("ole", result, m.c(0.0)), m.c(0.0), value)


def _lstm_backward(w: RecurrentWriter, sums: list[str]) -> None:
    m = w.math
    dh = m.add(m.add(sums[0], w.optional("dout")), w.optional("extra"))
    carried = w.optional("carry_in")
    i, f, g, o = (w.load("gates", k, 4) for k in range(4))
    flat = vmath.tanh(m, w.load("c"))
    dc = m.add(carried, _tanh_slope(m, m.mul(dh, o), flat))
    w.save(m.mul(dc, f), "carry")
    grads = (
        _slope(m, m.mul(dc, g), i),
        _slope(m, m.mul(dc, w.load("before")), f),
        _tanh_slope(m, m.mul(dc, i), g),
        _slope(m, m.mul(dh, flat), o),
    )
    for k, d in enumerate(grads):
        w.save(d, "dgates", k, 4)


def _gru(w: RecurrentWriter, sums: list[str]) -> None:
    m = w.math
    r, z = (vmath.sigmoid(m, m.add(sums[k], w.load("gates", k, 3))) for k in (0, 1))
    linear = m.add(sums[2], w.optional("bias", True))
    new = vmath.tanh(m, m.fma(r, linear, w.load("gates", 2, 3)))
    for k, gate in enumerate((r, z, new)):
        w.keep(gate, "gates", k, 3)
    w.keep(linear, "linear")
    w.save(m.fma(m.sub(w.load("before"), new), z, new), "out")


def _gru_backward(w: RecurrentWriter, sums: list[str]) -> None:
    m = w.math
    dh = m.add(m.add(sums[0], w.optional("dout")), w.optional("carry_in"))
    r, z, new = (w.load("gates", k, 3) for k in range(3))
    w.save(m.mul(dh, z), "carry")
    dn = _tanh_slope(m, m.mul(dh, m.sub(m.c(1.0), z)), new)
    dz = _slope(m, m.mul(dh, m.sub(w.load("before"), new)), z)
    dr = _slope(m, m.mul(dn, w.load("linear")), r)
    for k, (d, of_state) in enumerate(((dr, dr), (dz, dz), (dn, m.mul(dn, r)))):
        w.save(d, "dgates", k, 3)
        w.save(of_state, "dstate", k, 3)


def _rnn(w: RecurrentWriter, sums: list[str]) -> None:
    m = w.math
    x = m.add(sums[0], w.load("gates"))
    tanh = w.shape.mode == "RNN_TANH"
    w.save(vmath.tanh(m, x) if tanh else FLOAT["relu"](m, w.shape.dtype, x), "out")


def _rnn_backward(w: RecurrentWriter, sums: list[str]) -> None:
    m = w.math
    dh = m.add(m.add(sums[0], w.optional("dout")), w.optional("extra"))
    h = w.load("out")
    tanh = w.shape.mode == "RNN_TANH"
    w.save(_tanh_slope(m, dh, h) if tanh else _relu_slope(m, dh, h), "dgates")


STEPS = {
    ("LSTM", False): _lstm,
    ("LSTM", True): _lstm_backward,
    ("GRU", False): _gru,
    ("GRU", True): _gru_backward,
    ("RNN_TANH", False): _rnn,
    ("RNN_RELU", False): _rnn,
    ("RNN_TANH", True): _rnn_backward,
    ("RNN_RELU", True): _rnn_backward,
}

__all__ = ["GATES", "HEADER", "RecurrentShape", "RecurrentWriter", "Value", "arrays_of"]
