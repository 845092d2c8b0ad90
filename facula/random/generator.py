"""The CPU generator: an engine, its seed and the normals it has in hand."""

from __future__ import annotations

import functools
import secrets
import struct

import numpy as np

from facula.random.mt19937 import LEFT, MT19937, NEXT, N

DEFAULT_SEED = 67280421310721  # what PyTorch's generators begin with
STATE_BYTES = 5056

# Seed, left, seeded, next | 624 words of 8 bytes | a normal pair's unused fields, the double
# normal in hand and whether it is valid | the float normal in hand and whether it is valid.
_HEAD = struct.Struct("<QiiQ")
_TAIL = struct.Struct("<dddixxxxfBxxx")


def checked_seed(seed: int) -> int:
    """`seed` as an unsigned 64-bit number; negative seeds wrap as PyTorch's do."""
    if isinstance(seed, str):
        raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
    seed = int(seed)
    if not -(1 << 63) <= seed < 1 << 64:
        raise ValueError("Overflow when unpacking long long")
    return seed & 0xFFFFFFFFFFFFFFFF


class Generator:
    """A source of random numbers with PyTorch's states.

    >>> Generator().manual_seed(0).initial_seed()
    0
    """

    def __init__(self, device: object = "cpu") -> None:
        self.device = device
        self._seed = DEFAULT_SEED
        self.next_float_normal: float | None = None  # kept for the state; no CPU draw uses it

    @functools.cached_property
    def mt(self) -> MT19937:
        """The engine; made when first needed, because it may have to be compiled."""
        return MT19937(self._seed)

    @functools.cached_property
    def address(self) -> int:
        """What native code is given."""
        return self.mt.address

    @property
    def hand(self) -> np.ndarray:
        """The normal in hand, and 1 if there is one."""
        return self.mt.hand

    def manual_seed(self, seed: int) -> Generator:
        """Begin the sequence of `seed`; returns the generator."""
        self._seed = checked_seed(seed)
        if "mt" in self.__dict__:
            self.mt.seed(self._seed)
        self.next_float_normal = None
        return self

    def seed(self) -> int:
        """Take a seed from the operating system and return it."""
        seed = secrets.randbits(64)
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed the sequence began with."""
        return self._seed

    def get_state(self) -> np.ndarray:
        """The state as 5056 bytes, in PyTorch's layout."""
        engine = self.mt.engine
        double = self.hand[0] if self.hand[1] else 0.0
        single = self.next_float_normal
        head = _HEAD.pack(self._seed, int(engine[LEFT]), 1, int(engine[NEXT]))
        words = engine[:N].astype("<u8").tobytes()
        valid = single is not None
        tail = _TAIL.pack(0.0, double, 0.0, int(self.hand[1]), single or 0.0, valid)
        return np.frombuffer(head + words + tail, np.uint8).copy()

    def set_state(self, state: np.ndarray) -> Generator:
        """Continue from a state that `get_state` (here or PyTorch's) returned."""
        state = np.ascontiguousarray(state)
        if state.dtype != np.uint8 or state.ndim != 1:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if state.size != STATE_BYTES:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {STATE_BYTES} "
                f"but found the input RNG state size to be {state.size}"
            )
        data = state.tobytes()
        seed, left, seeded, after = _HEAD.unpack_from(data)
        if seeded != 1 or not 0 < left <= N or after > N:
            raise RuntimeError("Invalid mt19937 state")
        _, double, _, has_double, single, has_single = _TAIL.unpack_from(
            data, STATE_BYTES - _TAIL.size
        )
        self._seed = seed
        self.mt.engine[:N] = np.frombuffer(data, "<u8", N, _HEAD.size)
        self.mt.engine[LEFT], self.mt.engine[NEXT] = left, after
        self.hand[:] = (double, 1.0) if has_double else 0.0
        self.next_float_normal = single if has_single else None
        return self

    def clone_state(self) -> Generator:
        """A new generator at the same state."""
        return Generator(self.device).set_state(self.get_state())

    def get_offset(self) -> int:
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        raise RuntimeError("CPU Generator does not use offset")

    def graphsafe_get_state(self) -> Generator:
        raise NotImplementedError("graphsafe_get_state is not supported in this Generator")

    def graphsafe_set_state(self, state: Generator) -> None:
        raise NotImplementedError("graphsafe_set_state is not supported in this Generator")

    def random32(self, n: int) -> np.ndarray:
        """The next n 32-bit draws."""
        return self.mt.random32(n)

    def random64(self, n: int) -> np.ndarray:
        """The next n 64-bit draws."""
        return self.mt.random64(n)


default_generator = Generator()
default_generator.seed()  # until someone calls manual_seed
