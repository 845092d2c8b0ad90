"""Loads and stores of a loop program: contiguous, strided, at run-time offsets, masked."""

from __future__ import annotations

from facula.kernel.program import ITEMSIZE
from facula.llvm.build import MEMORY, REGISTER, Builder, dtype_literal, suffix


class Memory:
    """Writes memory accesses of `n` lanes. `mask` arguments are names of i1 vectors, or None."""

    def __init__(self, builder: Builder, n: int) -> None:
        self.builder = builder
        self.n = n
        self.slots: dict[str, str] = {}  # type -> a place on the stack

    def stack(self, kind: str, use: str = "") -> str:
        """A place on the stack for one value of a type."""
        if kind + use not in self.slots:
            self.slots[kind + use] = f"%slot{len(self.slots)}"
        return self.slots[kind + use]

    def stack_lines(self) -> list[str]:
        """Instructions for the function's entry."""
        return [
            f"  {name} = alloca {kind.split('!')[0]}, align 64" for kind, name in self.slots.items()
        ]

    def _from_memory(self, dtype: str, name: str, n: int) -> str:
        """bool is a byte in memory and a bit in a register."""
        if dtype != "bool":
            return name
        if not n:
            return self.builder.let(f"icmp ne i8 {name}, 0")
        return self.builder.let(f"icmp ne <{n} x i8> {name}, zeroinitializer")

    def _to_memory(self, dtype: str, name: str, n: int) -> str:
        if dtype != "bool":
            return name
        kind = f"<{n} x i1>" if n else "i1"
        wide = f"<{n} x i8>" if n else "i8"
        return self.builder.let(f"zext {kind} {name} to {wide}")

    def pointer(self, dtype: str, base: str, index: str) -> str:
        """base + index elements."""
        if index == "0":
            return base
        return self.builder.let(f"getelementptr {MEMORY[dtype]}, ptr {base}, i64 {index}")

    def pointers(self, dtype: str, base: str, indices: str) -> str:
        """The same for a vector of indices."""
        return self.builder.let(
            f"getelementptr {MEMORY[dtype]}, ptr {base}, <{self.n} x i64> {indices}"
        )

    def scalar_load(self, dtype: str, pointer: str, mask: str | None, other: float | int) -> str:
        kind, align = MEMORY[dtype], ITEMSIZE[dtype]
        if mask is not None:
            spare = self.stack(kind)
            self.builder.do(f"store {kind} {_literal(dtype, other)}, ptr {spare}")
            pointer = self.builder.let(f"select i1 {mask}, ptr {pointer}, ptr {spare}")
        name = self.builder.let(f"load {kind}, ptr {pointer}, align {align}")
        return self._from_memory(dtype, name, 0)

    def scalar_store(self, dtype: str, pointer: str, value: str, mask: str | None) -> None:
        kind, align = MEMORY[dtype], ITEMSIZE[dtype]
        if mask is not None:
            spare = self.stack(kind)
            pointer = self.builder.let(f"select i1 {mask}, ptr {pointer}, ptr {spare}")
        value = self._to_memory(dtype, value, 0)
        self.builder.do(f"store {kind} {value}, ptr {pointer}, align {align}")

    def _other(self, dtype: str, other: float | int) -> str:
        return f"splat ({MEMORY[dtype]} {_literal(dtype, other)})"

    def load(
        self,
        dtype: str,
        pointer: str,
        mask: str | None,
        rest: str | None,
        other: float | int = 0,
    ) -> str:
        """Contiguous elements; `rest`: how many the mask has (for machines without mask registers)."""
        return self._from_memory(dtype, self._load(dtype, pointer, mask, rest, other), self.n)

    def load_reversed(
        self, dtype: str, pointer: str, mask: str | None, other: float | int = 0
    ) -> str:
        """Contiguous elements, the last first: lane 0 is at pointer + n - 1."""
        if mask is not None:
            mask = self._reversed("i1", mask)
        name = self._reversed(MEMORY[dtype], self._load(dtype, pointer, mask, None, other))
        return self._from_memory(dtype, name, self.n)

    def _reversed(self, kind: str, name: str) -> str:
        vector, order = f"<{self.n} x {kind}>", ", ".join(f"i32 {k}" for k in range(self.n)[::-1])
        return self.builder.let(
            f"shufflevector {vector} {name}, {vector} poison, <{self.n} x i32> <{order}>"
        )

    def load_every_second(self, dtype: str, pointer: str) -> str:
        """Elements 0, 2, 4, ...; none after the last of them is touched."""
        n = self.n
        order = [*range(0, n, 2), *range(n + 1, 2 * n, 2)]
        second = self.pointer(dtype, pointer, str(n - 1))
        both = [self._load(dtype, place, None, None, 0) for place in (pointer, second)]
        return self._from_memory(dtype, self._shuffled(MEMORY[dtype], both, order), n)

    def store_in_turn(self, dtype: str, pointer: str, values: list[str]) -> None:
        """Elements of two vectors one after the other: the first two, the second two, ..."""
        n = self.n
        for start in (0, n // 2):
            order = [k + side for k in range(start, start + n // 2) for side in (0, n)]
            name = self._shuffled(REGISTER[dtype], values, order)
            self.store(dtype, self.pointer(dtype, pointer, str(2 * start)), name, None, None)

    def _shuffled(self, kind: str, pair: list[str], order: list[int]) -> str:
        vector, lanes = f"<{self.n} x {kind}>", ", ".join(f"i32 {k}" for k in order)
        return self.builder.let(
            f"shufflevector {vector} {pair[0]}, {vector} {pair[1]}, <{self.n} x i32> <{lanes}>"
        )

    def _load(
        self, dtype: str, pointer: str, mask: str | None, rest: str | None, other: float | int
    ) -> str:
        """Contiguous elements as they are in memory."""
        b, kind, align = self.builder, MEMORY[dtype], ITEMSIZE[dtype]
        vector = f"<{self.n} x {kind}>"
        if rest is not None and (align < 4 or self.n * align <= 16):  # no instruction for it
            spare = self.stack(vector)
            self._copy(spare, pointer, rest, align)
            return b.let(f"load {vector}, ptr {spare}, align 64")
        if mask is None:
            return b.let(f"load {vector}, ptr {pointer}, align {align}")
        full = f"llvm.masked.load.{suffix(self.n, kind)}.p0"
        b.declare(full, f"declare {vector} @{full}(ptr, i32, <{self.n} x i1>, {vector})")
        return b.let(
            f"call {vector} @{full}(ptr {pointer}, i32 {align}, <{self.n} x i1> {mask}, "
            f"{vector} {self._other(dtype, other)})"
        )

    def store(
        self, dtype: str, pointer: str, value: str, mask: str | None, rest: str | None
    ) -> None:
        b, kind, align = self.builder, MEMORY[dtype], ITEMSIZE[dtype]
        vector = f"<{self.n} x {kind}>"
        value = self._to_memory(dtype, value, self.n)
        if rest is not None:
            self._store_first(kind, pointer, value, rest, align)
        elif mask is None:
            b.do(f"store {vector} {value}, ptr {pointer}, align {align}")
        else:
            full = f"llvm.masked.store.{suffix(self.n, kind)}.p0"
            b.declare(full, f"declare void @{full}({vector}, ptr, i32, <{self.n} x i1>)")
            b.do(
                f"call void @{full}({vector} {value}, ptr {pointer}, i32 {align}, "
                f"<{self.n} x i1> {mask})"
            )

    def _store_first(self, kind: str, pointer: str, value: str, count: str, align: int) -> None:
        """The first `count` elements: by halves, each of them a store that is made or not."""
        b, n = self.builder, self.n

        def store(size: int) -> str:
            """Store if the count has this bit; the bit."""
            here, there = value, pointer

            def write(_: str, __: list[str]) -> list[str]:
                b.do(f"store <{size} x {kind}> {here}, ptr {there}, align {align}")
                return []

            bit = b.let(f"and i64 {count}, {size}")
            b.loop("0", bit, size, [], write)
            return bit

        store(n)
        while n > 1:
            whole, n = f"<{n} x {kind}> {value}, <{n} x {kind}> poison", n // 2
            orders = [", ".join(f"i32 {i}" for i in range(k, k + n)) for k in (0, n)]
            low, high = (b.let(f"shufflevector {whole}, <{n} x i32> <{order}>") for order in orders)
            value = low
            bit = store(n)
            some, half = b.let(f"icmp ne i64 {bit}, 0"), f"<{n} x {kind}>"
            value = b.let(f"select i1 {some}, {half} {high}, {half} {low}")
            pointer = b.let(f"getelementptr {kind}, ptr {pointer}, i64 {bit}")

    def _copy(self, to: str, source: str, count: str, size: int) -> None:
        name = "llvm.memcpy.p0.p0.i64"
        self.builder.declare(name, f"declare void @{name}(ptr, ptr, i64, i1)")
        n_bytes = self.builder.let(f"mul i64 {count}, {size}")
        self.builder.do(f"call void @{name}(ptr {to}, ptr {source}, i64 {n_bytes}, i1 false)")

    def gather(self, dtype: str, pointers: str, mask: str | None, other: float | int = 0) -> str:
        """Elements at a vector of pointers."""
        b, kind, align = self.builder, MEMORY[dtype], ITEMSIZE[dtype]
        vector = f"<{self.n} x {kind}>"
        full = f"llvm.masked.gather.{suffix(self.n, kind)}.v{self.n}p0"
        b.declare(
            full,
            f"declare {vector} @{full}(<{self.n} x ptr>, i32, <{self.n} x i1>, {vector})",
        )
        name = b.let(
            f"call {vector} @{full}(<{self.n} x ptr> {pointers}, i32 {align}, "
            f"<{self.n} x i1> {mask or 'splat (i1 true)'}, {vector} {self._other(dtype, other)})"
        )
        return self._from_memory(dtype, name, self.n)

    def scatter(self, dtype: str, pointers: str, value: str, mask: str | None) -> None:
        """Store to a vector of pointers, in order of the lanes."""
        b, kind, align = self.builder, MEMORY[dtype], ITEMSIZE[dtype]
        vector = f"<{self.n} x {kind}>"
        value = self._to_memory(dtype, value, self.n)
        full = f"llvm.masked.scatter.{suffix(self.n, kind)}.v{self.n}p0"
        b.declare(
            full,
            f"declare void @{full}({vector}, <{self.n} x ptr>, i32, <{self.n} x i1>)",
        )
        b.do(
            f"call void @{full}({vector} {value}, <{self.n} x ptr> {pointers}, i32 {align}, "
            f"<{self.n} x i1> {mask or 'splat (i1 true)'})"
        )


def _literal(dtype: str, number: float | int) -> str:
    return str(int(bool(number))) if dtype == "bool" else dtype_literal(dtype, number)


def register_type(dtype: str, n: int) -> str:
    """Type of `n` lanes of a dtype in a register (n=0: scalar)."""
    return f"<{n} x {REGISTER[dtype]}>" if n else REGISTER[dtype]
