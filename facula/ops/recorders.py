"""Recording written out: for each way that operators are made, a function without loops.

`apply.record` records any operator whose operands are read as they lie. What it does depends on little:
how many operands there are, which of them and whether the result is kept for the derivative. For each
such way one function is written, when the first operator of that way is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from facula.autograd.node import HOOKS, Saved, grad_class, save, save_result
from facula.autograd.written import ROOM, Text, entry_of
from facula.graph.tape import Inst, next_seq

MOST = 4  # operands; above, the loops are the smaller part

# errors must not take it for the user's code
_FILE = str(Path(__file__).parent / "<a recorder>")

_ways: dict[tuple, Callable[..., Any]] = {}


def recorder(inst: Inst, mark: Callable[..., None]) -> Callable[..., Any] | None:
    """record(tensors, scalars) for an instance with one result; None where the loops are as good."""
    op = inst.op
    if inst.n_in > MOST or not inst.n_in or inst.multi:
        return None
    assert inst.meta is not None
    differentiable = op.backward is not None and inst.meta.dtype.kind in "fc"
    way = (inst.n_in, op.marks, differentiable, op.saves_inputs, bool(op.saves_outputs))
    make = _ways.get(way)
    if make is None:
        make = _ways[way] = _written(*way)
    kind = op.grad_class if differentiable else None
    if type(kind) is str:
        kind = grad_class(op)
    made: Callable[..., Any] = make(inst, inst.meta, inst.outs[0], inst.nbytes, kind, mark)
    return made


def _written(
    n: int, marks: bool, differentiable: bool, keeps: tuple[int, ...], keeps_result: bool
) -> Callable[..., Any]:
    text = Text("def make(inst, meta, natural, nbytes, kind, mark):")
    text.space |= {"HOOKS": HOOKS, "Saved": Saved, "save": save, "save_result": save_result,
                   "next_seq": next_seq}  # fmt: skip
    text.say("def record(tensors, scalars):")

    def say(line: str) -> None:
        text.say(" " + line)

    say(f"{_row('t', n)} = tensors")
    for k in range(n):
        say(f"s{k} = t{k}._s")
    say("tape = LOCAL.tape")
    for k in range(n):
        say(f"i{k} = {entry_of(f's{k}')}")
    say(f"tape.key += (inst, {_row('i', n)})")
    say("if scalars: tape.scalars += scalars")
    if marks:
        say("mark(tape, tape.n)")
    say("s = new(Storage)")
    say(
        "s.tape, s.i, s.buf, s.meta, s.version, s.pin = tape, tape.n, None, natural, tape.born, None"
    )
    say("tape.n += 1")
    say("tape.values.append(s)")
    say("tape.budget -= nbytes")
    say("out = new(Tensor)")
    say("out._s, out.meta = s, meta")  # where the dims lie in another order than the value's
    if differentiable:
        say(f"if ({' or '.join(f't{k}._rg' for k in range(n))}) and tape.grad:")
        say(" node = new(kind)")
        say(" node.inst, node.scalars, node.seq = inst, scalars, next_seq()")
        edges = "".join(f"(t{k}._g or t{k}) if t{k}._rg else None, " for k in range(n))
        say(f" node.edges = ({edges})")
        say(" out._rg, out._g = True, node")
        _say_kept(say, n, keeps, keeps_result)
    say(ROOM)
    say("return out")
    text.say("return record")
    made: Callable[..., Any] = text.function("make", _FILE)
    return made


def _say_kept(
    say: Callable[[str], None], n: int, keeps: tuple[int, ...], keeps_result: bool
) -> None:
    """What the derivative reads: as `save` and `save_result` keep it, without their calls."""
    if not keeps and not keeps_result:
        say(" node.saved = []")
        return
    here = list(dict.fromkeys(k for k in keeps if k < n))
    for k in here:
        say(f" v{k} = s{k}.version")
    saved = [f"save(t{k})" if k < n else "None" for k in keeps]
    plain = [f"(t{k}, v{k})" if k < n else "None" for k in keeps]
    if keeps_result:
        saved.append("save_result(out, 0)")
        plain.append("kept")
    say(f" if {' or '.join(['HOOKS', *(f'v{k} < 0' for k in here)])}:")
    say(f"  node.saved = [{', '.join(saved)}]")
    say(" else:")
    if keeps_result:
        say("  kept = new(Saved)")
        say("  kept.storage, kept.meta, kept.offset, kept.version = s, meta, 0, s.version")
        say("  kept.written, kept.number, kept.made = s, 0, Tensor")
    say(f"  node.saved = [{', '.join(plain)}]")


def _row(name: str, n: int) -> str:
    return "".join(f"{name}{k}, " for k in range(n))


__all__ = ["recorder"]
