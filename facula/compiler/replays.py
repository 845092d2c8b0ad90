"""The code of a replay: what a capture settled, written out as one Python function without loops.

It records one operator, makes its results, and hangs the derivative's node on them. Each function is
generated once for a capture, so that a replay does nothing that could have been decided before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.autograd.written import ROOM, Text, entry_of
from facula.tensor import Tensor


def forward_replay(region: Any, tools: dict[str, Any]) -> Callable[[list[Tensor]], Any]:
    """replay(tensors): records a region and gives its results."""
    text = Text("def replay(tensors):")
    text.space |= tools | {"region": region, "inst": region.inst, "written": region.written}
    text.say("tape = LOCAL.tape")
    if region.draws:
        text.space["draws"] = region.draws
        text.say("drawn = [draw(*args)._s for draw, args in draws]")
    kept = None if region.backward is None else region.backward.kept
    plain = [i for i in region.inputs if type(i) is int and i >= 0]
    plain += [k for kind, k in kept or () if kind == "source"]
    for k in dict.fromkeys(plain):
        text.say(f"s{k} = tensors[{k}]._s")
    row = []
    for j, i in enumerate(region.inputs):
        name = f"s{i}"
        if type(i) is not int or i < 0:
            text.say(f"i{j} = {text.const(i) if type(i) is not int else f'drawn[{-1 - i}]'}")
            name = f"i{j}"
        row.append(entry_of(name))
    _record(text, row, region, "region.forward.inst(region.metas, known)", "tensors")
    if region.forward.marks:
        text.say("tape.marks.append((tape.n, region.code, 0, []))")
    text.storages(list(region.inst.outs[: region.n_plain]))
    text.say(f"tape.budget -= {region.inst.nbytes}")
    if kept is not None:
        text.say(f"kept = [{', '.join(_kept(text, *x) for x in kept)}]")
    if region.written:
        text.say("write(tape, tensors, written)")
    for j, o in enumerate(region.outputs):
        if o.kind != "result":
            text.say(f"o{j} = output({text.const(o)}, tensors)")
            continue
        text.tensor(f"o{j}", f"r{o.place}", o.meta, o.off)
        if o.special:
            text.say(f"o{j}.__dict__.update({text.const(o.special)})")
    if kept is not None:
        _node(text, region)
    text.say(ROOM)
    names = ", ".join(f"o{j}" for j in range(len(region.outputs)))
    many = f"[{names}]" if region.spec is None else f"unflatten([{names}], region.spec)"
    text.say(f"return {'o0' if region.single else many}")
    return text.function("replay")


def _record(text: Text, row: list[str], of: Any, known: str, given: str) -> None:
    """Appends the operator and the numbers it reads to the tape."""
    text.say(f"row = ({''.join(f'{entry}, ' for entry in row)})")
    if of.offsets or of.float_places:
        text.space |= {"numbers": of.numbers, "offsets": of.offsets, "floats": of.float_places}
        text.say(f"values, known = at_hand(numbers, offsets, floats, {given})")
        text.say("tape.scalars += values")
        text.say(f"tape.key += ({known} if known else inst, *row)")
        return
    if of.numbers:
        text.say(f"tape.scalars += {text.const(of.numbers)}")
    text.say("tape.key += (inst, *row)")


def _kept(text: Text, kind: str, k: Any) -> str:
    """What the derivative reads, with its version."""
    if kind == "result":
        return f"(r{k}, 0)"
    if kind == "old":
        return f"(old(tensors[{k}]._s, tape), 0)"
    name = f"s{k}" if kind == "source" else f"drawn[{k}]" if kind == "draw" else text.const(k)
    return f"({name}, {name}.version)"


def _node(text: Text, region: Any) -> None:
    """Hangs the derivative's node on the results that want gradients."""
    text.say("node = new(Derivative)")
    text.say("node.inst, node.scalars, node.seq, node.saved = inst, (), next_seq(), kept")
    edges = [region.at[k] for k in region.edges]
    for k in edges:
        text.say(f"e{k} = tensors[{k}]")
    ends = "".join(f"e{k} if e{k}._g is None else e{k}._g, " for k in edges)
    text.say(f"node.edges = ({ends})")
    text.say("node.region, node.sources = region, tensors")
    for j, o in enumerate(region.outputs):
        if o.grad:
            edge = "node" if len(region.wanting) == 1 else f"(node, {o.number})"
            text.say(f"o{j}._rg, o{j}._g = True, {edge}")


def backward_replay(backward: Any, tools: dict[str, Any]) -> Callable[..., tuple]:
    """replay(node, grads): records the derivative and gives gradients for the edges."""
    text = Text("def replay(node, grads):")
    text.space |= tools | {"backward": backward, "insts": backward.insts}
    wanting = backward.region.wanting
    seeds = [f"g{k}" for k in range(len(wanting))]
    for k, o in enumerate(wanting):
        text.say(f"g{k} = grads[{k}]")
        text.say(f"if g{k} is None: g{k} = OPS.zeros({text.const(o.meta)})")
    text.say("tape = LOCAL.tape")
    text.say("saved = node.saved")
    for i in range(len(backward.kept)):
        text.say(f"s{i}, v = saved[{i}]")
        text.say(f"if s{i}.version != v: raise changed(None, s{i}.meta, s{i}.version, v, 0)")
    text.say(f"entries, metas = entries_of(tape, ({', '.join(seeds)},))")
    text.say("metas = tuple(metas)")
    text.say("inst = insts.get(metas) or backward.inst(metas)")
    row = [f"entries[{-1 - i}]" if i < 0 else entry_of(f"s{i}") for i in backward.inputs]
    known = "backward.segment.inst(backward.all_metas(metas), known)"
    _record(text, row, backward, known, "node.sources")
    text.storages(backward.segment.results)
    text.say("tape.budget -= inst.nbytes")
    results, made = [], {}
    for o in backward.outs:
        if type(o) is int:
            results.append(seeds[-1 - o])
            continue
        j, m, offset, name = o
        if name not in made:
            made[name] = f"t{name}"
            text.tensor(made[name], f"r{j}", m, offset)
            if backward.shared:
                text.say(f"t{name}._base = t{name}.detach()")
        results.append(made[name])
    if backward.segment.results:  # the results' entries must not look as if somebody held them
        text.say(f"del {', '.join(f'r{k}' for k in range(len(backward.segment.results)))}")
    text.say(ROOM)
    text.say(f"return ({''.join(f'{r}, ' for r in results)})")
    return text.function("replay")
