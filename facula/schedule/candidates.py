"""Which values of a graph may need memory: the candidates that fusion places into kernels.

Results, what heavy operators read, reductions, and what is dear and used twice. All else is computed
where it is read.
"""

from __future__ import annotations

from facula.graph.complexes import PARTED
from facula.graph.ir import BINARY, TERNARY, UNARY, Val
from facula.schedule.affine import row_major, strided_base
from facula.schedule.early import Early

LEAVES = frozenset({"buffer", "const", "scalar", "iota", "buffer_at"})
VIEWS = frozenset({"reshape", "permute", "expand", "slice"})
# what kernels do with complex numbers: they take them apart, put them together and move them
COMPLEX = frozenset({"real", "imag", "complex"})
MOVES = LEAVES - {"scalar"} | VIEWS | {"copy", "as_strided"}
POINTWISE = UNARY | BINARY | TERNARY | COMPLEX | {"cast", "copy", "check", "pad", "take", "gather"}
# what takes long beside a load: it is not computed again for each user
DEAR = frozenset(
    "exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc erfinv "
    "lgamma digamma sigmoid pow atan2 hypot take gather div sqrt rsqrt floordiv mod fmod truncdiv".split()
)
NATIVE = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64".split()
)
STORES = frozenset({"cat", "boxes", "write", "write_at"})
MAX_READS = 24  # operands of one kernel
MAX_LOADS = 14  # of one value


def is_native(v: Val) -> bool:
    """Whether loop programs can compute this value."""
    names = {v.dtype.name, *(s.dtype.name for s in v.srcs)}
    if names & PARTED:
        return names <= NATIVE | PARTED and (v.op in COMPLEX or v.op in MOVES)
    if not names <= NATIVE:
        return False
    return v.op in LEAVES or v.op in VIEWS or v.op in POINTWISE or v.op in ("reduce", "as_strided")


def stores(v: Val) -> bool:
    """Whether v's operands are computed where it stores them; what NumPy stores reads them from memory."""
    return v.op in STORES and v.dtype.name in NATIVE | PARTED


def puts_natively(v: Val) -> bool:
    """Whether there is a kernel for this put or scatter."""
    _, mode, tag = v.arg
    if tag is not None or v.dtype.name not in NATIVE or not v.numel or not v.ndim:
        return False
    return v.srcs[1].dtype.name == "int64" and not (v.dtype.name == "bfloat16" and mode != "set")


def _checked_memory(v: Val) -> bool:
    """Whether v is an index that lies in memory and has only been checked."""
    if v.op != "check" or v.srcs[0].dtype.name != "int64":
        return False
    got = strided_base(v.srcs[0], frozenset())
    return got is not None and got[0].op in ("buffer", "buffer_at", "out")


def read_from_memory(v: Val) -> tuple[Val, ...]:
    """What a heavy operator reads from memory: a put takes indices as they were before a check."""
    if v.op in ("put", "scatter") and puts_natively(v) and _checked_memory(v.srcs[1]):
        return v.srcs[0], v.srcs[1].srcs[0], v.srcs[2]
    return v.srcs


def _picks(u: Val, index: Val) -> bool:
    """Whether a value is the index of a take, which reads it again for each row."""
    return u.op == "take" and u.srcs[1] is index and u.numel > index.numel


def _to_whole(v: Val) -> bool:
    """Whether a value is a cast that AVX2 has no instruction for: it is done number by number."""
    return v.op == "cast" and v.dtype.name == "int64" and v.srcs[0].dtype.kind == "f"


def _under_views(v: Val) -> Val:
    """The value that views are views of."""
    while v.op in VIEWS:
        v = v.srcs[0]
    return v


def _shared_places(index: Val) -> set[int]:
    """What an index computes for few elements and then reads for many: it is computed once."""
    out: set[int] = set()
    stack, seen = [index], set()
    while stack:
        v = stack.pop()
        base = _under_views(v)
        if base.op not in POINTWISE or base.id in seen:
            continue
        seen.add(base.id)
        if base.numel < v.numel:
            if base.op not in ("take", "gather"):
                out.add(base.id)
        elif base.numel > 1:
            stack.extend(base.srcs)
    return out


class Candidates:
    """One graph: its values in order, who uses each, which are heavy, which are wanted."""

    def __init__(
        self, order: list[Val], users: dict[int, list[Val]], heavy: set[int], wanted: set[int]
    ) -> None:
        self.order, self.users, self.heavy, self.wanted = order, users, heavy, wanted

    def found(self) -> set[int]:
        """The ids of what needs memory, or may."""
        found: set[int] = set()
        for v in self.order:
            if v.op in ("const", "scalar", "buffer", "iota"):
                if v.id in self.wanted and v.op != "buffer" and v.id not in self.heavy:
                    found.add(v.id)
                continue
            if v.id in self.heavy:
                for s in () if stores(v) else read_from_memory(v):
                    self._needs_memory(s, found)
                if v.op in ("write", "write_at") and stores(v):
                    self._needs_memory(v.srcs[0], found)
            elif v.op in ("as_strided", "buffer_at"):
                self._needs_memory(v.srcs[0], found, flat=True)
            elif v.op in ("take", "gather"):
                self._needs_memory(v.srcs[0], found)
                found |= _shared_places(v.srcs[1])
            if v.op == "reduce":
                found.add(v.id)
            if v.id in self.wanted and v.id not in self.heavy and v.op != "out":
                found.add(v.id)
        self._add_shared(found)
        found |= Early(
            self.order, self.users, self.heavy, found, self.wanted, lambda v: v.op in POINTWISE
        ).values()
        self._bound_reads(found)
        return found

    def _needs_memory(self, v: Val, found: set[int], flat: bool = False) -> None:
        """v is read by something that wants an address: the base of its views, or v itself.

        `flat`: the reader wants its elements one after the other.
        """
        if (
            v.op in ("buffer", "buffer_at", "out")
            or v.id in self.heavy
            or v.dtype.name not in NATIVE | PARTED
        ):
            return
        if v.op in VIEWS or v.op == "as_strided":
            got = strided_base(v, found)
            if flat and got is not None and not row_major(v.shape, got[1]):
                got = None
            if got is not None and got[0].op not in ("const", "scalar", "iota"):
                base = got[0]
                if base.op not in ("buffer", "buffer_at", "out") and base.id not in self.heavy:
                    found.add(base.id)
                return
        found.add(v.id)

    def _add_shared(self, found: set[int]) -> None:
        """Dear values with several users, and what would make a kernel too large."""
        cost: dict[int, int] = {}
        loads: dict[int, int] = {}
        for v in self.order:
            if v.op in LEAVES or v.id in self.heavy or v.op == "out" or v.id in found:
                cost[v.id] = loads[v.id] = 0 if v.op in ("const", "scalar") else 1
                continue
            total = sum(cost[s.id] for s in v.srcs) + (
                8 if v.op in DEAR or _to_whole(v) else 0 if v.op in VIEWS else 1
            )
            reads = sum(loads[s.id] for s in v.srcs)
            users = self.users.get(v.id, ())
            spread = any(u.op == "expand" or _picks(u, v) for u in users)
            mean = spread and v.op in DEAR and any(_under_views(s).op == "reduce" for s in v.srcs)
            shared = len(users) > 1 or spread
            if v.op in POINTWISE and (
                mean or (total > 10 and shared) or total > 200 or reads > MAX_LOADS
            ):
                found.add(v.id)
                total = reads = 1
            cost[v.id], loads[v.id] = total, reads

    def _bound_reads(self, found: set[int]) -> None:
        """Parts of long sums get memory, so that no kernel has to read more than it may."""
        reads: dict[int, set[int]] = {}  # what computing a value reads

        def of(v: Val) -> set[int]:
            base = _under_views(v)
            return {base.id} if base.id in found else reads[base.id]

        for v in self.order:
            if v.op in LEAVES or v.id in self.heavy or v.op == "out":
                reads[v.id] = set() if v.op in ("const", "scalar", "iota") else {v.id}
                continue
            total = set[int]().union(*map(of, v.srcs))
            while len(total) > MAX_READS:
                part = max(v.srcs, key=lambda s: len(of(s)))
                if len(of(part)) < 2:
                    break
                found.add(_under_views(part).id)
                total = set[int]().union(*map(of, v.srcs))
            reads[v.id] = total
