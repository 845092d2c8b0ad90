"""Reading a graph that comes again: one function that looks whether a graph has a known structure.

`repeat.Graph.read` finds out what a graph's structure is; once it is known, to look at each place for
what should be there is less than half of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.autograd.node import Node, Saved
from facula.autograd.written import Text

# what a reader gives: what the nodes keep, the leaves, and the nodes that keep something
Read = tuple[list[Any], list[Any], tuple[Node, ...]]

_MISSING = "(AttributeError, TypeError, ValueError)"


def written_reader(
    nodes: list[Node], leaves: list[Any], order: list[int], ordinary: set[type]
) -> Callable[[Node], Read | None]:
    """read(root): what is in a graph of the same structure, or None where it is another.

    nodes, leaves: of a graph, as `Graph.read` finds them. order: which leaves are wanted, in which
    order. ordinary: classes of tensors that nodes may keep.
    """
    text = Text("def read(n0):")
    text.space |= {"Saved": Saved, "ordinary": ordinary}
    names: dict[int, str] = {id(nodes[0]): "n0"}
    number = {id(n): k for k, n in enumerate(nodes)}
    leaf_number = {id(leaf): k for k, leaf in enumerate(leaves)}
    given: list[str] = []

    def say(line: str) -> None:
        text.say(" " + line)

    text.say("try:")
    for k, n in enumerate(nodes):
        me = f"n{k}"
        say(f"if type({me}) is not {text.const(type(n))} or {me}.inst is not {text.const(n.inst)} "
            f"or {me}.special: return None")  # fmt: skip
        if n.scalars:
            say(f"x = {me}.scalars")
            kinds = [f"type(x[{j}]) is {type(x).__name__}" for j, x in enumerate(n.scalars)]
            say(f"if not (x == {text.const(n.scalars)} and {' and '.join(kinds)}): return None")
        _edges(say, text, me, n, names, number, leaf_number)
        _kept(say, text, me, n, given)
    if len(nodes) > 1:  # the order in which gradients meet
        text.say(f" if not ({' > '.join(f'n{k}.seq' for k in range(len(nodes)))}): return None")
    if len(leaves) > 1:
        ids = ", ".join(f"id(l{k})" for k in range(len(leaves)))
        text.say(f" if len({{{ids}}}) != {len(leaves)}: return None")
    text.say(f"except {_MISSING}: return None")
    keepers = "".join(f"n{k}, " for k, n in enumerate(nodes) if n.saved)
    wanted = ", ".join(f"l{k}" for k in order)
    text.say(f"return [{', '.join(given)}], [{wanted}], ({keepers})")
    read: Callable[[Node], Read | None] = text.function("read")
    return read


def _edges(say: Callable[[str], None], text: Text, me: str, n: Node, names: dict[int, str],
           number: dict[int, int], leaf_number: dict[int, int]) -> None:  # fmt: skip
    targets: list[str] = []
    checks: list[str] = []
    for j, edge in enumerate(n.edges):
        if edge is None:
            targets.append(f"e{j}")
            checks.append(f"e{j} is not None")
            continue
        place = None
        if type(edge) is tuple:
            edge, place = edge
        name = names.get(id(edge))
        known = name is not None
        if name is None:
            node = isinstance(edge, Node)
            name = f"n{number[id(edge)]}" if node else f"l{leaf_number[id(edge)]}"
            names[id(edge)] = name
            if not node:  # nodes have no geometry
                checks.append(f"{name}.meta is not {text.const(edge.meta)}")
        target = f"e{j}" if known else name
        if known:
            checks.append(f"e{j} is not {name}")
        if place is not None:
            checks.append(f"p{j} != {place}")
            target = f"({target}, p{j})"
        targets.append(target)
    if targets:
        say(f"{''.join(f'{t}, ' for t in targets)} = {me}.edges")
        if checks:
            say(f"if {' or '.join(checks)}: return None")


def _kept(say: Callable[[str], None], text: Text, me: str, n: Node, given: list[str]) -> None:
    if not n.saved:
        say(f"if {me}.saved: return None")
        return
    # constants are named k0, k1, ...
    say(f"{''.join(f'kept{j}, ' for j in range(len(n.saved)))} = {me}.saved")
    for j, kept in enumerate(n.saved):
        k, s = f"kept{j}", f"s{len(given)}"
        if kept is None:
            say(f"if {k} is not None: return None")
            continue
        if type(kept) is tuple:
            t = kept[0]
            say(f"t, v = {k}")
            say(f"{s} = t._s")
            m = t.meta
            meta = text.const(m)
            say(
                f"if {s}.version != v or type(t) not in ordinary or t.meta is not {meta}: return None"
            )
            if m.offset:
                say(f"if {s}.meta.dtype is not {meta}.dtype: return None")
                say(f"o{len(given)} = t._off")
                given.append(f"({s}, {meta}, o{len(given)})")
                continue
            home = t._s.meta
        else:
            say(f"if type({k}) is not Saved or {k}.written.version != {k}.version or {k}.made is "
                f"not Tensor or {k}.meta is not {text.const(kept.meta)}: return None")  # fmt: skip
            say(f"{s} = {k}.storage")
            home = kept.storage.meta
        say(f"if {s}.meta is not {text.const(home)}: return None")
        given.append(s)


__all__ = ["Read", "written_reader"]
