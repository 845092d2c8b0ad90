"""Checkpointing: forget what a part of a model computed, and compute it again for its gradients."""

from __future__ import annotations

import contextlib
import enum
import warnings
from collections.abc import Callable
from typing import Any

import facula as torch

__all__ = ["CheckpointError", "CheckpointFunction", "CheckpointPolicy", "DefaultDeviceType", "check_backward_validity", "checkpoint",
           "create_selective_checkpoint_contexts", "detach_variable", "get_device_states", "set_device_states", "checkpoint_sequential", "noop_context_fn", "set_checkpoint_debug_enabled",
           "set_checkpoint_early_stop"]  # fmt: skip


class CheckpointPolicy(enum.Enum):
    """What a selective checkpoint does with an operator's result."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4


def create_selective_checkpoint_contexts(
    policy_fn_or_list: Any, allow_cache_entry_mutation: bool = False
) -> tuple[Any, Any]:
    """Not offered: which results are kept cannot be chosen; leave `context_fn` out."""
    raise NotImplementedError(
        "create_selective_checkpoint_contexts: facula's checkpoints recompute everything inside; use "
        "checkpoint without context_fn, on smaller parts of the model"
    )


class DefaultDeviceType:
    """The kind of device whose random state a checkpoint keeps."""

    _kind = "cuda"

    @staticmethod
    def set_device_type(device: str = "cuda") -> None:
        """Sets it."""
        DefaultDeviceType._kind = device

    @staticmethod
    def get_device_type() -> str:
        """Gives it."""
        return DefaultDeviceType._kind


def check_backward_validity(inputs: Any) -> None:
    """Warns if none of the inputs needs gradients."""
    if not any(x.requires_grad for x in inputs if isinstance(x, torch.Tensor)):
        warnings.warn(
            "None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2
        )


def detach_variable(inputs: tuple) -> tuple:
    """Tensors without their history, with their `requires_grad`; other values as they are."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(
            f"Only tuple of tensors is supported. Got Unsupported input type: {type(inputs).__name__}"
        )
    out = []
    for x in inputs:
        if isinstance(x, torch.Tensor):
            wanted, x = x.requires_grad, x.detach()
            x.requires_grad = wanted
        out.append(x)
    return tuple(out)


def get_device_states(*args: Any) -> tuple[list[int], list[Any]]:
    """(numbers, random states) of the GPUs that tensors in args live on: none here."""
    return [], []


def set_device_states(
    devices: list[int], states: list[Any], *, device_type: str | None = None
) -> None:
    """Puts random states of GPUs back."""
    if devices:
        raise NotImplementedError("set_device_states: there are no GPUs here")


class CheckpointError(RuntimeError):
    """The second computation did not save what the first one did."""


def noop_context_fn() -> tuple[Any, Any]:
    """Contexts for the first and the second computation that do nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


class _Recomputed:
    """What a checkpointed function saved, by order; computed again when first asked for."""

    def __init__(
        self, run: Callable[[], Any], preserve_rng: bool, context: Any, check: bool
    ) -> None:
        self.run, self.context, self.check = run, context, check
        self.rng = torch.get_rng_state() if preserve_rng else None
        self.metas: list[Any] = []
        self.values: list[Any] | None = None

    def pack(self, t: Any) -> int:
        """The number that stands for a saved tensor."""
        self.metas.append((tuple(t.shape), t.dtype))
        return len(self.metas) - 1

    def unpack(self, number: int) -> Any:
        """The saved tensor of a number."""
        if self.values is None:
            self._again()
        got = self.values[number]  # type: ignore[index]
        self.values[number] = None  # type: ignore[index]
        if got is None:
            self._again()
            got = self.values[number]  # type: ignore[index]
        return got

    def _again(self) -> None:
        values: list[Any] = []

        def keep(t: Any) -> Any:
            values.append(t.detach() if t.requires_grad else t)
            if t.requires_grad:
                values[-1].requires_grad_()
            return t

        state = torch.get_rng_state() if self.rng is not None else None
        if self.rng is not None:
            torch.set_rng_state(self.rng)
        try:
            with (
                torch.enable_grad(),
                torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x),
                self.context,
            ):
                self.run()
        finally:
            if state is not None:
                torch.set_rng_state(state)
        if self.check:
            self._compare(values)
        self.values = values

    def _compare(self, values: list) -> None:
        if len(values) != len(self.metas):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original forward and "
                f"recomputation.\nNumber of tensors saved during forward: {len(self.metas)}\nNumber of tensors saved "
                f"during recomputation: {len(values)}."
            )
        for i, ((shape, dtype), t) in enumerate(zip(self.metas, values)):
            if (shape, dtype) != (tuple(t.shape), t.dtype):
                raise CheckpointError(
                    "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than "
                    f"during the forward pass.\ntensor at position {i}:\nsaved metadata: {shape}, {dtype}\nrecomputed "
                    f"metadata: {tuple(t.shape)}, {t.dtype}"
                )


class CheckpointFunction(torch.autograd.Function):
    """The old way: the backward pass runs the function and a backward pass of its own."""

    @staticmethod
    def forward(ctx: Any, function: Callable, preserve: bool, *args: Any) -> Any:
        ctx.function = function
        ctx.rng = torch.get_rng_state() if preserve else None
        ctx.args = args
        with torch.no_grad():
            return function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        args = tuple(
            a.detach().requires_grad_(a.requires_grad) if isinstance(a, torch.Tensor) else a
            for a in ctx.args
        )
        state = torch.get_rng_state()
        if ctx.rng is not None:
            torch.set_rng_state(ctx.rng)
        try:
            with torch.enable_grad():
                outs = ctx.function(*args)
        finally:
            torch.set_rng_state(state)
        outs = (outs,) if isinstance(outs, torch.Tensor) else outs
        pairs = [
            (o, g) for o, g in zip(outs, grads) if isinstance(o, torch.Tensor) and o.requires_grad
        ]
        if not pairs:
            raise RuntimeError(
                "none of output has requires_grad=True, this checkpoint() is not necessary"
            )
        torch.autograd.backward([o for o, _ in pairs], [g for _, g in pairs])
        return (None, None, *[a.grad if isinstance(a, torch.Tensor) else None for a in args])


def checkpoint(function: Callable, *args: Any, use_reentrant: bool | None = None, context_fn: Callable = noop_context_fn,
               determinism_check: str = "default", debug: bool = False, early_stop: bool = True, **kwargs: Any) -> Any:  # fmt: skip
    """function(*args, **kwargs); what it saves for gradients is computed again when they are wanted."""
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. Starting "
            "in PyTorch 2.9, calling checkpoint without use_reentrant will raise an exception. "
            "use_reentrant=False is recommended, but if you need to preserve the current default "
            "behavior, you can pass use_reentrant=True. Refer to docs for more details on the "
            "differences between the two variants.",
            stacklevel=2,
        )
        use_reentrant = True
    if use_reentrant:
        if context_fn is not noop_context_fn or debug:
            raise ValueError(
                "Passing `context_fn` or `debug` is only supported when use_reentrant=False."
            )
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        check_backward_validity(args)
        return CheckpointFunction.apply(function, preserve, *args)
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    first, second = context_fn()
    kept = _Recomputed(
        lambda: function(*args, **kwargs), preserve, second, determinism_check != "none"
    )
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, kept.unpack), first:
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """A chain of modules in `segments` checkpointed parts; the last part is not checkpointed."""
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed "
            "explicitly. In version 2.9 we will raise an exception if use_reentrant is not passed. "
            "use_reentrant=False is recommended, but if you need to preserve the current default "
            "behavior, you can pass use_reentrant=True. Refer to docs for more details on the "
            "differences between the two variants.",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    parts = (
        list(functions.children())
        if isinstance(functions, torch.nn.Sequential)
        else list(functions)
    )
    size = len(parts) // segments

    def runner(start: int, end: int) -> Callable:
        def run(x: Any) -> Any:
            for part in parts[start:end]:
                x = part(x)
            return x

        return run

    start = 0
    for start in range(0, size * (segments - 1), size):
        input = checkpoint(
            runner(start, start + size),
            input,
            use_reentrant=use_reentrant,
            preserve_rng_state=preserve,
        )
    return runner(size * (segments - 1), len(parts))(input)


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Any:
    """Kept for programs that set it: the second computation always runs to its end."""
    yield


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Any:
    """Kept for programs that set it."""
    yield
