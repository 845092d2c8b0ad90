"""Handles that remove hooks again."""

from __future__ import annotations

import itertools
import warnings
import weakref
from typing import Any

_next_id = itertools.count().__next__


class RemovableHandle:
    """Returned when a hook is registered; `remove()` takes the hook away."""

    __slots__ = ("__weakref__", "extra", "hooks_ref", "id")

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.id = _next_id()
        self.hooks_ref = _reference(hooks_dict)
        extras = (
            extra_dict
            if isinstance(extra_dict, list)
            else []
            if extra_dict is None
            else [extra_dict]
        )
        self.extra = [_reference(d) for d in extras]

    def remove(self) -> None:
        """Removes the hook; a second call does nothing."""
        for ref in (self.hooks_ref, *self.extra):
            table = ref()
            if table is not None:
                table.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def unserializable_hook(f: Any) -> Any:
    """Decorator: marks a hook that is left out, with a warning, when a tensor is saved."""
    f.__torch_unserializable__ = True
    return f


def warn_if_has_hooks(tensor: Any) -> None:
    """Warns of a tensor's hooks, which are not saved with it."""
    for hook in (getattr(tensor, "_backward_hooks", None) or {}).values():
        if not hasattr(hook, "__torch_unserializable__"):
            warnings.warn(
                f"backward hook {hook!r} on tensor will not be serialized.  If this is expected, you can "
                "decorate the function with @torch.utils.hooks.unserializable_hook to suppress this warning",
                stacklevel=2,
            )


def _reference(table: Any) -> Any:
    try:
        return weakref.ref(table)
    except TypeError:  # plain dicts have no weak references
        return lambda: table
