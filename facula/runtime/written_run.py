"""The run of a plan that comes again and again, written out for it.

What `NativePlan.run` of the schedule decides in loops (which memory each slot has, and which address)
is the same in every run of a plan: here it stands as one Python function without loops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.runtime import buffers, threads
from facula.runtime.plan import NativePlan
from facula.runtime.workspace import KEPT, most_kept, workspace


class Slots:
    """What the buffer slots of a plan hold.

    n_leaves: slots that are given. sources: for each slot after those a leaf whose memory it takes
    over, or -1 for memory of its own, which is allocated as `arranged`. Then follow temporaries
    (`arena_bytes`) and addresses derived from other slots': (slot, number, bytes) is that address plus
    so many bytes, times the number if it is not -1.
    """

    def __init__(self, n_leaves: int, sources: list[int], arranged: tuple[Any, list[int]],
                 arena_bytes: int, derived: list[tuple[int, int, int]]) -> None:  # fmt: skip
        self.n_leaves, self.sources, self.arranged = n_leaves, sources, arranged
        self.arena_bytes, self.derived = arena_bytes, derived


def written_run(
    native: NativePlan, slots: Slots, n_scalars: int, constants: list[Any],
    results: list[tuple[int, int]],
    fail: Callable[[tuple[int, int, int, int]], None],
) -> Callable[[list[Any], list[Any]], list[tuple[int, Any]]]:  # fmt: skip
    """run(leaves, scalars): the buffers of results, (entry, slot), as (entry, buffer).

    fail: raises what a kernel reported.
    """
    lines = ["def run(leaves, scalars):"]
    space: dict[str, Any] = {
        "new": object.__new__, "Small": buffers._Small, "Buffer": buffers.Buffer,
        "carve": buffers._carve, "alloc": buffers.alloc, "kept": KEPT, "workspace": workspace,
        "call": native._call, "pack": native._pack, "header": native._header_address,
        "native": native, "fail": fail, "ensure_workers": threads.ensure_workers,
    }  # fmt: skip

    def say(line: str) -> None:
        lines.append(" " + line)

    if slots.n_leaves:
        say(f"{_row(f'l{i}' for i in range(slots.n_leaves))} = leaves")
    names, addresses = _allocations(slots.arranged, say, space)
    held = [f"l{i}" for i in range(slots.n_leaves)]
    at = [f"l{i}.addr" for i in range(slots.n_leaves)]
    fresh = iter(zip(names, addresses, strict=True))
    for leaf in slots.sources:
        name, address = next(fresh) if leaf < 0 else (held[leaf], at[leaf])
        held.append(name)
        at.append(address)
    say("w = kept[0]")
    n = slots.arena_bytes
    say(f"if w is None or w.nbytes < {n} or w.nbytes > {most_kept(n)}: w = workspace({n})")
    held.append("w")
    at.append("w.addr")
    numbers = _row(f"x{k}" for k in range(n_scalars))
    if n_scalars:
        say(f"{numbers} = scalars")
    for j, (base, k, item) in enumerate(slots.derived):
        say(f"d{j} = {at[base]} + {f'x{k} * {item}' if k >= 0 else item}")
        at.append(f"d{j}")
    if native._parallel:
        say("ensure_workers()")
    space["constants"] = tuple(constants)
    rest = numbers[1:-1] + ("*constants" if constants else "")
    say(f"code = call(header, pack({', '.join(at)}, {rest}))")
    say("if code == -1: raise native.no_memory()")
    say("if code: fail(native.status)")
    say(f"return [{', '.join(f'({entry}, {held[slot]})' for entry, slot in results)}]")
    exec(compile("\n".join(lines), "<the run of a plan>", "exec"), space)
    run: Callable[[list[Any], list[Any]], list[tuple[int, Any]]] = space["run"]
    return run


def _row(names: Any) -> str:
    return f"({''.join(f'{name}, ' for name in names)})"


def _allocations(
    arranged: tuple[Any, list[int]], say: Callable[[str], None], space: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """Says what `alloc_arranged` does; the names and addresses of its buffers."""
    blocks, order = arranged
    made: list[tuple[str, str]] = []
    for j, (nbytes, members) in enumerate(blocks):
        if nbytes > buffers.SMALL:
            say(f"b{j} = alloc({nbytes})")
            made.append((f"b{j}", f"b{j}.addr"))
            continue
        units = (nbytes + 63) >> 6
        space[f"free{j}"] = buffers._small_free[units]
        say(f"try: a{j} = free{j}.pop()")
        say(f"except IndexError: a{j} = carve({units})")
        say(f"b{j} = new(Small)")
        say(f"b{j}.addr, b{j}.nbytes, b{j}.base = a{j}, {nbytes}, free{j}")
        if not members:
            made.append((f"b{j}", f"a{j}"))
        for k, (start, size) in enumerate(members):
            address = f"a{j} + {start}" if start else f"a{j}"
            say(f"m{j}_{k} = new(Buffer)")
            say(f"m{j}_{k}.addr, m{j}_{k}.nbytes, m{j}_{k}.base = {address}, {size}, b{j}")
            made.append((f"m{j}_{k}", address))
    return [made[place][0] for place in order], [made[place][1] for place in order]


__all__ = ["Slots", "written_run"]
