"""Python floats among the arguments: run-time numbers of a replay, where the function allows it.

A function gets stand-ins that notice whether it looks at them. Two captures for different values that nobody
looked at, and that differ in nothing but these very numbers, are one capture for all values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.tensor import Tensor


class Traced(float):
    """A float that notices when it is used otherwise than as an operand of a tensor."""

    used = False


_LOOKS = """
add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow divmod rdivmod
eq ne lt le gt ge bool int float round trunc floor ceil abs neg pos hash repr str format
""".split()


def _looking(name: str) -> Callable:
    plain = getattr(float, name)

    def look(self: Any, *args: Any) -> Any:
        if args and isinstance(args[0], Tensor):
            return NotImplemented
        self.used = True
        return plain(self, *args)

    return look


for _name in [f"__{n}__" for n in _LOOKS] + ["is_integer", "as_integer_ratio", "hex", "conjugate"]:
    setattr(Traced, _name, _looking(_name))


def _part(name: str) -> property:
    plain = getattr(float, name)

    def get(self: Any) -> float:
        self.used = True
        return plain.__get__(self)

    return property(get)


Traced.real, Traced.imag = _part("real"), _part("imag")  # type: ignore[misc,assignment]


class Floats:
    """The floats among a call's positional and keyword arguments; traced: stand-ins are given instead."""

    def __init__(self, args: tuple, kwargs: dict, traced: bool) -> None:
        every = [(f"args[{i}]", x) for i, x in enumerate(args)]
        every += [(f"kwargs[{k!r}]", x) for k, x in kwargs.items()]
        self.values: dict[str, float] = {e: x for e, x in every if type(x) is float}
        self.found = {e: Traced(x) for e, x in self.values.items()} if traced else {}

    def instead(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """The arguments with stand-ins."""
        found = self.found
        given = tuple([found.get(f"args[{i}]", x) for i, x in enumerate(args)])
        return given, {k: found.get(f"kwargs[{k!r}]", x) for k, x in kwargs.items()}

    def untouched(self) -> bool:
        """Whether nobody looked at the stand-ins."""
        return bool(self.found) and not any(t.used for t in self.found.values())


class Sample:
    """What one capture recorded: to tell whether another one differs in the floats alone."""

    def __init__(self, tape: Any, floats: Floats, constants: list[bytes]) -> None:
        self.place = {id(t): e for e, t in floats.found.items()}
        self.key, self.numbers, self.constants = list(tape.key), list(tape.scalars), constants
        self.values = floats.values

    def follows(self, earlier: Sample) -> bool:
        """Whether both recorded the same, but for numbers that are the floats themselves."""
        if self.key != earlier.key or self.constants != earlier.constants:
            return False
        for before, now in zip(earlier.numbers, self.numbers, strict=True):
            e = self.place.get(id(now))
            if repr(before) != repr(now if e is None else earlier.values[e]):
                return False
        return True
