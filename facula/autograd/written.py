"""Functions written out for one case: the lines of a replay and the constants that they name."""

from __future__ import annotations

from typing import Any

from facula.graph.meta import Meta
from facula.graph.tape import ENGINE, LOCAL, MAX_NODES, Storage
from facula.tensor import Tensor

_COMMON = {"LOCAL": LOCAL, "ENGINE": ENGINE, "MAX_NODES": MAX_NODES, "Storage": Storage,
           "Tensor": Tensor, "new": object.__new__}  # fmt: skip
ROOM = "if tape.budget < 0 or tape.n > MAX_NODES: ENGINE.flush(tape)"


class Text:
    """Lines of a function, and the constants that they name."""

    def __init__(self, head: str) -> None:
        self.lines = [head]
        self.space: dict[str, Any] = dict(_COMMON)

    def say(self, line: str) -> None:
        """One more line of the body."""
        self.lines.append(" " + line)

    def const(self, x: Any) -> str:
        """The name of a constant."""
        name = f"k{len(self.space)}"
        self.space[name] = x
        return name

    def storages(self, metas: list[Meta]) -> None:
        """Makes the results r0, r1, ... and their entries."""
        self.say("n = tape.n")
        for k, m in enumerate(metas):
            self.say(f"r{k} = new(Storage)")
            self.say(f"r{k}.tape, r{k}.i, r{k}.buf, r{k}.meta, r{k}.version, r{k}.pin = "
                     f"tape, n + {k}, None, {self.const(m)}, 0, None")  # fmt: skip
        self.say(f"tape.n = n + {len(metas)}")
        if metas:
            self.say(f"tape.values += ({', '.join(f'r{k}' for k in range(len(metas)))},)")

    def tensor(self, name: str, storage: str, m: Meta, offset: int) -> None:
        """Makes a tensor on a storage."""
        self.say(f"{name} = new(Tensor)")
        self.say(f"{name}._s, {name}.meta = {storage}, {self.const(m)}")
        if offset:
            self.say(f"{name}._off = {offset}")

    def rebind(self, storages: list[str]) -> None:
        """Makes new entries the values of storages, as `Tape.rebind_all` does."""
        self.say("n, values = tape.n, tape.values")
        for k, s in enumerate(storages):
            self.say(f"if {s}.buf is not None:")
            self.say(f" tape.rebound.append(({s}, {s}.i))")
            self.say(f" {s}.buf = None")
            self.say(f"elif values[{s}.i] is {s}: values[{s}.i] = None")
            self.say(f"{s}.i = n + {k}")
            self.say(f"{s}.version += 1")
        self.say(f"values += ({''.join(f'{s}, ' for s in storages)})")
        self.say(f"tape.n = n + {len(storages)}")

    def function(self, name: str, file: str = "<a replay>") -> Any:
        """The compiled function."""
        exec(compile("\n".join(self.lines), file, "exec"), self.space)
        return self.space[name]


def entry_of(storage: str) -> str:
    """The expression of a storage's entry on the tape."""
    return f"{storage}.i if {storage}.tape is tape else tape.leaf({storage})"
