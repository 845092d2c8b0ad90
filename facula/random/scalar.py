"""Samplers written as plain Python functions, compiled to native code.

A rejection sampler is a short loop that draws as it goes: too slow in Python, unreadable as LLVM
IR. So it is written in a small subset of Python and translated statement by statement:

* values are `f64`, `i64` and `bool`; a name keeps the type of its first assignment;
* parameters are annotated with f64, i64, rng (the engine) or f32s, f64s, i32s, i64s, u8s, u32s
  (arrays, widened when read and narrowed when written);
* `if`, `while`, `for .. in range(..)`, `break`, `continue`, `return`, arithmetic, comparisons,
  `and`/`or`/`not` (both sides are always evaluated), calls of other such functions and of `MATH`.

Arithmetic is done as written: no reordering and no fused multiply-add but where `fma` is called.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable

from facula.random.mt19937 import DRAW, HAND, LEFT, NEXT, TWIST, N
from facula.random.native import compile_function
from facula.random.vector import float_literal

# The subset's types, as a type checker may take them.
rng = int
i64 = int
f64 = float
f32s = f64s = list[float]
i32s = i64s = u8s = u32s = list[int]


def random32(engine: rng) -> i64:
    """The next 32-bit draw (in compiled code only)."""
    raise NotImplementedError("random32 exists in compiled samplers; use Generator.random32")


def random_block(engine: rng, out: u32s, n: i64) -> None:
    """The next n 32-bit draws (in compiled code only)."""
    raise NotImplementedError("random_block exists in compiled samplers only")


def hand(engine: rng) -> f64:
    """The normal in hand (in compiled code only)."""
    raise NotImplementedError("hand exists in compiled samplers only")


def in_hand(engine: rng) -> f64:
    """1.0 if there is a normal in hand (in compiled code only)."""
    raise NotImplementedError("in_hand exists in compiled samplers only")


def set_hand(engine: rng, value: f64, valid: f64) -> None:
    """Put a normal in hand, or none (in compiled code only)."""
    raise NotImplementedError("set_hand exists in compiled samplers only")


def prefetch(array: list, index: i64) -> None:
    """Begin to fetch array[index] for writing (in compiled code only)."""


def single(x: f64) -> f64:
    """x rounded to float32 (in compiled code only)."""
    raise NotImplementedError("single exists in compiled samplers only")


def fma(a: f64, b: f64, c: f64) -> f64:
    """a * b + c, rounded once (in compiled code only)."""
    raise NotImplementedError("fma exists in compiled samplers only")


def ctz(x: i64) -> i64:
    """How many zeros x ends with, 64 for 0 (in compiled code only)."""
    raise NotImplementedError("ctz exists in compiled samplers only")


# Functions of the C library: name -> number of arguments. They take and return f64.
MATH = {
    **dict.fromkeys(
        ("log", "log1p", "exp", "sin", "cos", "tan", "sqrt", "floor", "ceil", "lgamma", "fabs"), 1
    ),
    "pow": 2,
    "fma": 3,
}
_INTRINSIC = ("sqrt", "floor", "ceil", "fabs", "fma")  # done by one instruction

_ELEMENT = {  # array element -> (LLVM type, type of the value, widening, narrowing)
    "f32": ("float", "double", "fpext", "fptrunc"),
    "f64": ("double", "double", "", ""),
    "i64": ("i64", "i64", "", ""),
    "i32": ("i32", "i64", "sext", "trunc"),
    "u32": ("i32", "i64", "zext", "trunc"),
    "u8": ("i8", "i64", "zext", "trunc"),
}
_ALIGN = {"i8": 1, "i32": 4, "float": 4, "i64": 8, "double": 8}
_SCALARS = {None: "void", "None": "void", "f64": "double", "i64": "i64", "bool": "i1"}
_SIGNATURE = {"f64": "d", "i64": "i"}
_FLOAT_OPS = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
_INT_OPS = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.FloorDiv: "sdiv", ast.Mod: "urem",
    ast.BitAnd: "and", ast.BitOr: "or", ast.BitXor: "xor", ast.LShift: "shl", ast.RShift: "lshr",
}  # fmt: skip
_COMPARE = {ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne"}

_RANDOM = f"""
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.cttz.i64(i64, i1)

define i64 @random32(ptr %engine) {{
  %left.p = getelementptr i32, ptr %engine, i64 {LEFT}
  %next.p = getelementptr i32, ptr %engine, i64 {NEXT}
  %left = load i32, ptr %left.p, align 4
  %empty = icmp eq i32 %left, 1
  br i1 %empty, label %refill, label %take
refill:
  %twist.p = getelementptr i64, ptr %engine, i64 {TWIST}
  %twist = load ptr, ptr %twist.p, align 8
  call void %twist(ptr %engine)
  store i32 {N + 1}, ptr %left.p, align 4
  store i32 0, ptr %next.p, align 4
  br label %take
take:
  %l = load i32, ptr %left.p, align 4
  %k = load i32, ptr %next.p, align 4
  %l1 = sub i32 %l, 1
  %k1 = add i32 %k, 1
  store i32 %l1, ptr %left.p, align 4
  store i32 %k1, ptr %next.p, align 4
  %k64 = zext i32 %k to i64
  %p = getelementptr i32, ptr %engine, i64 %k64
  %y0 = load i32, ptr %p, align 4
  %u11 = lshr i32 %y0, 11
  %y1 = xor i32 %y0, %u11
  %u7 = shl i32 %y1, 7
  %m7 = and i32 %u7, {0x9D2C5680 - (1 << 32)}
  %y2 = xor i32 %y1, %m7
  %u15 = shl i32 %y2, 15
  %m15 = and i32 %u15, {0xEFC60000 - (1 << 32)}
  %y3 = xor i32 %y2, %m15
  %u18 = lshr i32 %y3, 18
  %y4 = xor i32 %y3, %u18
  %r = zext i32 %y4 to i64
  ret i64 %r
}}

define void @random_block(ptr %engine, ptr %out, i64 %n) {{
  %draw.p = getelementptr i64, ptr %engine, i64 {DRAW}
  %draw = load ptr, ptr %draw.p, align 8
  call void %draw(ptr %engine, ptr %out, i64 %n)
  ret void
}}

define double @hand(ptr %engine) {{
  %p = getelementptr double, ptr %engine, i64 {HAND}
  %x = load double, ptr %p, align 8
  ret double %x
}}

define double @in_hand(ptr %engine) {{
  %p = getelementptr double, ptr %engine, i64 {HAND + 1}
  %x = load double, ptr %p, align 8
  ret double %x
}}

define void @set_hand(ptr %engine, double %value, double %valid) {{
  %p = getelementptr double, ptr %engine, i64 {HAND}
  store double %value, ptr %p, align 8
  %q = getelementptr double, ptr %engine, i64 {HAND + 1}
  store double %valid, ptr %q, align 8
  ret void
}}
"""

# Functions of that module: name -> (result, arguments)
_GIVEN = {
    "random32": ("i64", ("ptr",)),
    "random_block": ("void", ("ptr", "ptr", "i64")),
    "hand": ("double", ("ptr",)),
    "in_hand": ("double", ("ptr",)),
    "set_hand": ("void", ("ptr", "double", "double")),
}


class Sampler:
    """A Python function and, once called, its native code. Arrays are passed as addresses."""

    def __init__(self, function: Callable[..., object]) -> None:
        functools.update_wrapper(self, function)
        self.name = function.__name__
        self.function = function
        self.scope = function.__globals__
        parameters = inspect.get_annotations(function)
        self.result = _scalar(parameters.pop("return", None))
        self.parameters = parameters
        self._native: Callable[..., None] | None = None

    def __call__(self, *arguments: object) -> None:
        if self._native is None:
            self._native = compile_function(
                self.name,
                self.module(),
                "".join(_SIGNATURE.get(t, "p") for t in self.parameters.values()),
                optimize=True,
            )
        self._native(*arguments)

    def of(self, **kinds: str) -> Sampler:
        """The same function of parameters of other types: `count.of(x="f32s")`."""
        other = Sampler(self.function)
        other.name = "_".join([self.name, *kinds.values()])
        other.parameters = self.parameters | kinds
        return other

    @functools.cached_property
    def definition(self) -> tuple[str, list[Sampler], set[str]]:
        """The function as IR, the samplers it calls and the math functions it calls."""
        writer = _Writer(self)
        return writer.definition(), writer.callees, writer.math

    def module(self) -> str:
        """The IR module of this function and all that it calls."""
        todo, done, math = [self], {}, set()
        while todo:
            sampler = todo.pop()
            if sampler.name in done:
                continue
            text, callees, used = sampler.definition
            done[sampler.name] = text
            todo += callees
            math |= used
        declared = []
        for name in sorted(math):
            symbol = f"llvm.{name}.f64" if name in _INTRINSIC else name
            declared.append(f"declare double @{symbol}({', '.join(['double'] * MATH[name])})")
        return "\n".join([_RANDOM, *declared, *done.values()])


def sampler(function: Callable[..., object]) -> Sampler:
    """Decorator: compile `function` when it is first called."""
    return Sampler(function)


def _scalar(annotation: str | None) -> str:
    return _SCALARS.get(annotation, "ptr")


class _Writer:
    """Translates one function. Names live in stack slots, which LLVM's passes turn into registers."""

    def __init__(self, owner: Sampler) -> None:
        self.owner = owner
        self.lines: list[str] = []
        self.slots: dict[str, str] = {}  # name -> type
        self.callees: list[Sampler] = []
        self.math: set[str] = set()
        self.count = 0
        self.loops: list[tuple[str, str]] = []  # labels for continue and break

    def definition(self) -> str:
        source = textwrap.dedent(inspect.getsource(self.owner.function))
        tree = ast.parse(source).body[0]
        assert isinstance(tree, ast.FunctionDef)
        arguments = []
        for name, kind in self.owner.parameters.items():
            kind = _scalar(kind)
            arguments.append(f"{kind} %{name}")
            if kind != "ptr":
                self.slots[name] = kind
                self.emit(f"store {kind} %{name}, ptr %{name}.slot")
        self.block(tree.body)
        if self.owner.result == "void":
            self.emit("ret void")
        else:
            self.emit("unreachable")
        slots = [f"  %{name}.slot = alloca {kind}" for name, kind in self.slots.items()]
        head = f"define {self.owner.result} @{self.owner.name}({', '.join(arguments)}) {{"
        return "\n".join([head, "entry:", *slots, *self.lines, "}", ""])

    # -- text ------------------------------------------------------------------------

    def emit(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def value(self, text: str) -> str:
        self.count += 1
        self.emit(f"%t{self.count} = {text}")
        return f"%t{self.count}"

    def label(self) -> str:
        self.count += 1
        return f"l{self.count}"

    def place(self, label: str) -> None:
        self.emit(f"br label %{label}")
        self.lines.append(f"{label}:")

    def jump(self, label: str) -> None:
        """Go to `label`; what follows cannot be reached but needs a block of its own."""
        self.emit(f"br label %{label}")
        self.lines.append(f"{self.label()}:")

    def branch(self, condition: str, yes: str, no: str) -> None:
        self.emit(f"br i1 {condition}, label %{yes}, label %{no}")
        self.lines.append(f"{yes}:")

    # -- statements --------------------------------------------------------------------

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            getattr(self, f"do_{type(statement).__name__}")(statement)

    def do_Expr(self, s: ast.Expr) -> None:
        if isinstance(s.value, ast.Call):
            self.expression(s.value)

    def do_Pass(self, s: ast.Pass) -> None:
        pass

    def do_Assign(self, s: ast.Assign) -> None:
        (target,) = s.targets
        self.assign(target, *self.expression(s.value))

    def do_AugAssign(self, s: ast.AugAssign) -> None:
        load = ast.copy_location(ast.parse(ast.unparse(s.target), mode="eval").body, s)
        self.assign(s.target, *self.expression(ast.BinOp(load, s.op, s.value)))

    def assign(self, target: ast.expr, value: str, kind: str) -> None:
        if isinstance(target, ast.Name):
            known = self.slots.setdefault(target.id, kind)
            value = self.convert(value, kind, known)
            self.emit(f"store {known} {value}, ptr %{target.id}.slot")
            return
        assert isinstance(target, ast.Subscript)
        pointer, (llvm, wide, _, narrow) = self.element(target)
        value = self.convert(value, kind, wide)
        if narrow:
            value = self.value(f"{narrow} {wide} {value} to {llvm}")
        self.emit(f"store {llvm} {value}, ptr {pointer}, align {_ALIGN[llvm]}")

    def do_Return(self, s: ast.Return) -> None:
        if s.value is None:
            self.emit("ret void")
        else:
            value, kind = self.expression(s.value)
            self.emit(f"ret {self.owner.result} {self.convert(value, kind, self.owner.result)}")
        self.lines.append(f"{self.label()}:")

    def do_If(self, s: ast.If) -> None:
        yes, no, end = self.label(), self.label(), self.label()
        self.branch(self.condition(s.test), yes, no)
        self.block(s.body)
        self.emit(f"br label %{end}")
        self.lines.append(f"{no}:")
        self.block(s.orelse)
        self.place(end)

    def do_While(self, s: ast.While) -> None:
        test, body, end = self.label(), self.label(), self.label()
        self.place(test)
        self.branch(self.condition(s.test), body, end)
        self.loops.append((test, end))
        self.block(s.body)
        self.loops.pop()
        self.emit(f"br label %{test}")
        self.lines.append(f"{end}:")

    def do_For(self, s: ast.For) -> None:
        assert isinstance(s.target, ast.Name) and isinstance(s.iter, ast.Call)
        bounds = [self.expression(a)[0] for a in s.iter.args]
        first, last = (["0", *bounds] if len(bounds) == 1 else bounds)[:2]
        test, body, step, end = (self.label() for _ in range(4))
        self.assign(s.target, first, "i64")
        self.place(test)
        k = self.value(f"load i64, ptr %{s.target.id}.slot")
        self.branch(self.value(f"icmp slt i64 {k}, {last}"), body, end)
        self.loops.append((step, end))
        self.block(s.body)
        self.loops.pop()
        self.place(step)
        k = self.value(f"load i64, ptr %{s.target.id}.slot")
        self.assign(s.target, self.value(f"add i64 {k}, 1"), "i64")
        self.emit(f"br label %{test}")
        self.lines.append(f"{end}:")

    def do_Break(self, s: ast.Break) -> None:
        self.jump(self.loops[-1][1])

    def do_Continue(self, s: ast.Continue) -> None:
        self.jump(self.loops[-1][0])

    # -- expressions -------------------------------------------------------------------

    def convert(self, value: str, source: str, target: str) -> str:
        if source == target:
            return value
        how = {("i64", "double"): "sitofp", ("i1", "double"): "uitofp", ("i1", "i64"): "zext"}
        return self.value(f"{how[source, target]} {source} {value} to {target}")

    def condition(self, node: ast.expr) -> str:
        value, kind = self.expression(node)
        return value if kind == "i1" else self.value(f"icmp ne i64 {value}, 0")

    def element(self, node: ast.Subscript) -> tuple[str, tuple[str, str, str, str]]:
        assert isinstance(node.value, ast.Name)
        kind = _ELEMENT[self.owner.parameters[node.value.id][:-1]]
        index, _ = self.expression(node.slice)
        return self.value(f"getelementptr {kind[0]}, ptr %{node.value.id}, i64 {index}"), kind

    def expression(self, node: ast.expr) -> tuple[str, str]:
        """(value, type) of an expression."""
        return getattr(self, f"on_{type(node).__name__}")(node)

    def on_Constant(self, node: ast.Constant) -> tuple[str, str]:
        if isinstance(node.value, bool):
            return str(int(node.value)), "i1"
        if isinstance(node.value, int):
            return str(node.value), "i64"
        return float_literal(node.value, "double"), "double"

    def on_Name(self, node: ast.Name) -> tuple[str, str]:
        if node.id in self.slots:
            kind = self.slots[node.id]
            return self.value(f"load {kind}, ptr %{node.id}.slot"), kind
        if node.id in self.owner.parameters:
            return f"%{node.id}", "ptr"
        return self.on_Constant(ast.Constant(self.owner.scope[node.id]))

    def on_UnaryOp(self, node: ast.UnaryOp) -> tuple[str, str]:
        value, kind = self.expression(node.operand)
        if isinstance(node.op, ast.Not):
            return self.value(f"xor i1 {value}, true"), "i1"
        if kind == "double":
            return self.value(f"fneg double {value}"), kind
        return self.value(f"sub i64 0, {value}"), kind

    def on_BinOp(self, node: ast.BinOp) -> tuple[str, str]:
        a, ka = self.expression(node.left)
        b, kb = self.expression(node.right)
        if "double" in (ka, kb) or isinstance(node.op, ast.Div):
            a, b = self.convert(a, ka, "double"), self.convert(b, kb, "double")
            return self.value(f"{_FLOAT_OPS[type(node.op)]} double {a}, {b}"), "double"
        return self.value(f"{_INT_OPS[type(node.op)]} i64 {a}, {b}"), "i64"

    def on_BoolOp(self, node: ast.BoolOp) -> tuple[str, str]:
        op = "and" if isinstance(node.op, ast.And) else "or"
        value = self.condition(node.values[0])
        for other in node.values[1:]:
            value = self.value(f"{op} i1 {value}, {self.condition(other)}")
        return value, "i1"

    def on_Compare(self, node: ast.Compare) -> tuple[str, str]:
        (op,), (right,) = node.ops, node.comparators
        a, ka = self.expression(node.left)
        b, kb = self.expression(right)
        how = _COMPARE[type(op)]
        if "double" in (ka, kb):
            a, b = self.convert(a, ka, "double"), self.convert(b, kb, "double")
            order = "u" if how == "ne" else "o"
            return self.value(f"fcmp {order}{how} double {a}, {b}"), "i1"
        sign = "" if how in ("eq", "ne") else "s"
        return self.value(f"icmp {sign}{how} i64 {a}, {b}"), "i1"

    def on_IfExp(self, node: ast.IfExp) -> tuple[str, str]:
        c = self.condition(node.test)
        a, kind = self.expression(node.body)
        b, other = self.expression(node.orelse)
        if kind != other:
            a, b, kind = self.convert(a, kind, "double"), self.convert(b, other, "double"), "double"
        return self.value(f"select i1 {c}, {kind} {a}, {kind} {b}"), kind

    def on_Subscript(self, node: ast.Subscript) -> tuple[str, str]:
        pointer, (llvm, wide, widen, _) = self.element(node)
        value = self.value(f"load {llvm}, ptr {pointer}, align {_ALIGN[llvm]}")
        return (self.value(f"{widen} {llvm} {value} to {wide}") if widen else value), wide

    def on_Call(self, node: ast.Call) -> tuple[str, str]:
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        arguments = [self.expression(a) for a in node.args]
        values = [value for value, _ in arguments]
        if name in _GIVEN:
            return self.call(name, *_GIVEN[name], arguments)
        if name == "prefetch":
            array = ast.Subscript(node.args[0], node.args[1])
            pointer, _ = self.element(array)
            self.emit(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 1, i32 3, i32 1)")
            return "", "void"
        if name == "single":
            narrow = self.value(f"fptrunc double {values[0]} to float")
            return self.value(f"fpext float {narrow} to double"), "double"
        if name == "min":
            least = self.value(f"call i64 @llvm.smin.i64(i64 {values[0]}, i64 {values[1]})")
            return least, "i64"
        if name == "ctz":
            return self.value(f"call i64 @llvm.cttz.i64(i64 {values[0]}, i1 false)"), "i64"
        if name in ("int", "float"):
            ((value, kind),) = arguments
            if name == "float":
                return self.convert(value, kind, "double"), "double"
            return (value if kind == "i64" else self.value(f"fptosi double {value} to i64")), "i64"
        if name in MATH:
            self.math.add(name)
            given = ", ".join(f"double {self.convert(v, k, 'double')}" for v, k in arguments)
            symbol = f"llvm.{name}.f64" if name in _INTRINSIC else name
            return self.value(f"call double @{symbol}({given})"), "double"
        callee = self.owner.scope[name]
        self.callees.append(callee)
        kinds = tuple(_scalar(kind) for kind in callee.parameters.values())
        return self.call(callee.name, callee.result, kinds, arguments)

    def call(
        self, name: str, result: str, kinds: tuple[str, ...], arguments: list[tuple[str, str]]
    ) -> tuple[str, str]:
        given = ", ".join(
            f"{wanted} {self.convert(value, kind, wanted)}"
            for (value, kind), wanted in zip(arguments, kinds, strict=True)
        )
        if result == "void":
            self.emit(f"call void @{name}({given})")
            return "", "void"
        return self.value(f"call {result} @{name}({given})"), result
