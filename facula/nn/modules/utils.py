"""Small helpers of the layers: one number per dimension, key prefixes."""

import itertools
from collections.abc import Iterable

__all__ = ["consume_prefix_in_state_dict_if_present"]


def _ntuple(n, name="parse"):
    def parse(x):
        if isinstance(x, Iterable):
            return tuple(x)
        return tuple(itertools.repeat(x, n))

    parse.__name__ = name
    return parse


_single = _ntuple(1, "_single")
_pair = _ntuple(2, "_pair")
_triple = _ntuple(3, "_triple")
_quadruple = _ntuple(4, "_quadruple")


def _reverse_repeat_tuple(t, n):
    """The elements from last to first, each n times: how F.pad wants symmetric padding."""
    return tuple(x for x in reversed(t) for _ in range(n))


def _list_with_default(out_size, defaults):
    """A size in which None stands for the input's own size (its last dimensions)."""
    if isinstance(out_size, int):
        return out_size
    if len(defaults) <= len(out_size):
        raise ValueError(f"Input dimension should be at least {len(out_size) + 1}")
    own = defaults[-len(out_size) :]
    return [d if v is None else v for v, d in zip(out_size, own, strict=False)]


def consume_prefix_in_state_dict_if_present(state_dict, prefix: str) -> None:
    """Take a prefix ("module.") off all keys of a state dict, in place."""
    for key in [k for k in state_dict if k.startswith(prefix)]:
        state_dict[key[len(prefix) :]] = state_dict.pop(key)
    metadata = getattr(state_dict, "_metadata", None)
    if metadata is None:
        return
    for key in list(metadata):
        if key == "":
            continue
        new_key = "" if key == prefix.replace(".", "") else key[len(prefix) :]
        metadata[new_key] = metadata.pop(key)
