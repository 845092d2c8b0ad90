"""What a pass over a row keeps for a later one instead of computing it again.

A kernel passes over its row several times, once for each reduction that something waits for. A value
that several passes need is computed in the first and kept (`stash`) where that is less work than
computing it again. Rows are short beside the cache, and arithmetic is not free there.
"""

from __future__ import annotations

from collections.abc import Callable

from facula.kernel.program import Stmt

Phase = tuple[bool, int, int]  # whether it loops, its first statement, the end

# rough instructions per vector; others count one
_COST = {
    **dict.fromkeys("exp exp2 expm1".split(), 14),
    **dict.fromkeys("log log2 log10 log1p tanh sigmoid sin cos tan load_at".split(), 22),
    **dict.fromkeys("erf sinh cosh pow floordiv mod truncdiv".split(), 40),
    **dict.fromkeys("div sqrt rsqrt reciprocal".split(), 6),
    **dict.fromkeys("asin acos atan asinh acosh atanh erfc erfinv lgamma digamma atan2 hypot "
                    "nextafter fmod".split(), 120),
}  # fmt: skip
_ROOTS = frozenset({"store", "store_at", "accumulate", "reduce", "check"})
_FREE = frozenset({"const", "scalar", "param", "index", "size"})


class Keeper:
    """Rewrites a program's statements; `varies` tells which have a value for each inner index.

    `read_only`: whether what a load reads stays as it is while the kernel runs. `room`: how many
    values may be kept.
    """

    def __init__(
        self,
        stmts: list[Stmt],
        phases: list[Phase],
        varies: list[bool],
        read_only: Callable[[Stmt], bool],
        room: int,
    ) -> None:
        self.stmts, self.phases, self.varies = stmts, phases, varies
        self.room = room
        self.number = self._numbered(read_only)
        self.uses = self._uses()
        self.home: dict[int, int] = {}  # value number -> the phase that computes it first
        self.first: dict[int, int] = {}  # value number -> its statement there
        self.kept: set[int] = set()  # value numbers
        self.needed: list[set[int]] = []  # statements of each phase that are left
        # statement -> number of the value that it takes from before
        self.again: dict[int, int] = {}

    def run(self) -> tuple[list[Stmt], list[Phase]]:
        """The statements and phases that are left."""
        for p in range(len(self.phases)):
            self._look_at(p)
        return self._written() if self.kept else (self.stmts, self.phases)

    def _numbered(self, read_only: Callable[[Stmt], bool]) -> list[int]:
        """Statements with equal numbers have equal values."""
        known: dict[tuple, int] = {}
        out: list[int] = []
        for i, s in enumerate(self.stmts):
            key: tuple = ("unique", i)
            if s.op in ("load", "load_at"):
                if read_only(s):
                    key = self._key(s, out)
            elif s.op not in _ROOTS and s.op not in ("stash", "unstash"):
                key = self._key(s, out)
            out.append(known.setdefault(key, i))
        return out

    @staticmethod
    def _key(s: Stmt, numbers: list[int]) -> tuple:
        args = s.renumbered(numbers.__getitem__).args
        return (s.op, s.dtype, args, tuple(map(repr, args)) if s.op == "const" else None)

    def _uses(self) -> dict[int, set[int]]:
        """In which looping phases a value is computed."""
        out: dict[int, set[int]] = {}
        for p, (loop, a, b) in enumerate(self.phases):
            for i in range(a, b) if loop else ():
                if self.varies[i]:
                    out.setdefault(self.number[i], set()).add(p)
        return out

    def _look_at(self, p: int) -> None:
        loop, a, b = self.phases[p]
        needed: set[int] = set()
        stack = [i for i in range(a, b) if self.stmts[i].op in _ROOTS or not self.varies[i]]
        while stack:
            i = stack.pop()
            if i in needed or not a <= i < b:
                continue
            needed.add(i)
            if loop and self.varies[i] and self._take(i, p):
                continue
            stack.extend(self.stmts[i].operands)
        self.needed.append(needed)
        for i in sorted(needed - self.again.keys()):
            if loop and self.varies[i]:
                self.home.setdefault(self.number[i], p)
                self.first.setdefault(self.number[i], i)

    def _take(self, i: int, p: int) -> bool:
        """Whether the value is taken from an earlier pass."""
        k = self.number[i]
        if self.home.get(k, p) >= p or self.stmts[i].op in _ROOTS:
            return False
        if k not in self.kept:
            later = sum(q > self.home[k] for q in self.uses[k])
            # each later pass saves the work less one load; keeping takes a store
            if len(self.kept) >= self.room or later * (self._work(i) - 1) <= 2:
                return False
            self.kept.add(k)
        self.again[i] = k
        return True

    def _work(self, i: int) -> int:
        """Instructions that computing a value once more takes, loads among them."""
        total, seen, stack = 0, set(), [i]
        while stack:
            j = stack.pop()
            if j in seen or not self.varies[j]:
                continue
            seen.add(j)
            op = self.stmts[j].op
            total += 0 if op in _FREE else _COST.get(op, 1)
            if self.number[j] in self.kept:
                total += 1 - _COST.get(op, 1)
            else:
                stack.extend(self.stmts[j].operands)
        return total

    def _written(self) -> tuple[list[Stmt], list[Phase]]:
        stmts: list[Stmt] = []
        phases: list[Phase] = []
        place: dict[int, int] = {}  # old statement -> new
        stash: dict[int, int] = {}  # value number -> where it is kept
        for p, (loop, a, b) in enumerate(self.phases):
            start = len(stmts)
            taken: dict[int, int] = {}
            for i in range(a, b):
                if i not in self.needed[p]:
                    continue
                k = self.number[i]
                if i in self.again:
                    if k not in taken:
                        taken[k] = len(stmts)
                        stmts.append(Stmt("unstash", self.stmts[i].dtype, (stash[k],)))
                    place[i] = taken[k]
                    continue
                place[i] = len(stmts)
                stmts.append(self.stmts[i].renumbered(place.__getitem__))
                if k in self.kept and self.first[k] == i:
                    stash[k] = len(stmts)
                    stmts.append(Stmt("stash", self.stmts[i].dtype, (place[i],)))
            if len(stmts) > start:
                phases.append((loop, start, len(stmts)))
        return stmts, phases
