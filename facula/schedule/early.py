"""What is computed early, so that less has to be kept for later.

A backward pass reads what the forward pass left. Where it combines several of those values before it meets
a gradient (the derivative of a GELU: its argument and the error function of that), the combination can be
computed where they were, and is all that need be kept.

    y = f(x, s), s = g(x)      matrix product ...      dx = dy * h(x, s)

keeps h(x, s) instead of x and s. `early` finds such values from the graph alone: elementwise ones whose
readers all wait for a later heavy operator, while what they are computed from has no other late reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from facula.graph.ir import Val

_LEAVES = frozenset({"buffer", "const", "scalar", "iota", "buffer_at"})
_SMALL = 8  # what has so many times fewer elements (a bias, a row's mean) costs nothing to keep


class Early:
    """One graph, and which of its values have memory in any case."""

    def __init__(
        self,
        order: list[Val],
        users: dict[int, list[Val]],
        heavy: set[int],
        found: set[int],
        wanted: set[int],
        elementwise: Callable[[Val], bool],
    ) -> None:
        self.users, self.heavy, self.found, self.wanted = users, heavy, found, wanted
        self.elementwise = elementwise
        self.vals = {v.id: v for v in order}
        # heavy operators that a value waits for, one after the other
        self.depth: dict[int, int] = {}
        self.reads: dict[int, frozenset[int] | None] = {}  # None: not element by element
        for v in order:
            below = max((self.depth[s.id] for s in v.srcs), default=0)
            self.depth[v.id] = below + (v.id in heavy)
            self.reads[v.id] = self._reads(v)

    def values(self) -> set[int]:
        """The values to compute early."""
        out: set[int] = set()
        for last, reads in self._joined(v for v in self.vals.values() if self._is_last(v)):
            freed = [r for r in reads if self._is_freed(r, last)]
            if sum(map(self._bytes, freed)) > sum(map(self._bytes, last)):
                out |= last
        return out

    def _bytes(self, number: int) -> int:
        v = self.vals[number]
        return v.numel * v.dtype.itemsize

    def _inlined(self, v: Val) -> bool:
        """Whether v is computed where it is read, at the element that is read."""
        if v.id in self.found or v.id in self.heavy:
            return False
        return v.op == "reshape" or self.elementwise(v)

    def _reads(self, v: Val) -> frozenset[int] | None:
        """The large values in memory that v's elements are computed from."""
        if not self._inlined(v):
            return None
        out: frozenset[int] = frozenset()
        for s in v.srcs:
            if s.op in ("const", "scalar"):
                continue
            base = s
            while base.op in ("reshape", "expand", "permute") and base.id not in self.found:
                base = base.srcs[0]
            if base.numel * _SMALL <= v.numel and (base is not s or s.numel == 1):
                continue
            if self._inlined(s):
                got = self.reads[s.id]
                if got is None:
                    return None
                out |= got
            elif s.numel == v.numel and s.op not in _LEAVES:
                out |= {s.id}
            else:
                return None
        return out

    def _is_last(self, v: Val) -> bool:
        """Whether v is the last of its kind: its readers wait for something later."""
        users = self.users.get(v.id, ())
        if not users or not self.reads[v.id] or v.op == "reshape":
            return False
        return all(self.elementwise(u) and self.depth[u.id] > self.depth[v.id] for u in users)

    def _joined(self, lasts: Iterable[Val]) -> list[tuple[set[int], set[int]]]:
        """Those that share what they read, together, with what they read."""
        out: list[tuple[set[int], set[int]]] = []
        for v in lasts:
            mine, reads = {v.id}, set(self.reads[v.id] or ())
            apart = []
            for others, theirs in out:
                if theirs & reads:
                    mine, reads = mine | others, reads | theirs
                else:
                    apart.append((others, theirs))
            out = [*apart, (mine, reads)]
        return out

    def _is_freed(self, number: int, last: set[int]) -> bool:
        """Whether a value need not be kept once these are: it is else read only where it is made."""
        if number in self.wanted:
            return False
        depth = self.depth[number]
        stack, seen = list(self.users.get(number, ())), set[int]()
        while stack:
            u = stack.pop()
            if u.id in seen or u.id in last:
                continue
            seen.add(u.id)
            if self.depth[u.id] != depth or not (u.op == "reshape" or self.elementwise(u)):
                return False
            if u.id not in self.found:
                stack.extend(self.users.get(u.id, ()))
        return True
