"""Whether derivatives are recorded: no_grad, enable_grad, set_grad_enabled, inference_mode."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from facula.graph.tape import INFERENCE, LOCAL


def is_grad_enabled() -> bool:
    """Whether operators record their derivatives now."""
    return LOCAL.tape.grad


class Context:
    """A context manager that also decorates functions and generators."""

    def __call__(self, fn: Callable) -> Callable:
        if inspect.isclass(fn):
            fn.__init__ = self(fn.__init__)  # type: ignore[misc]
            return fn
        if inspect.isgeneratorfunction(fn):
            return self._wrap_generator(fn)

        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return fn(*args, **kwargs)

        return run

    def _wrap_generator(self, fn: Callable) -> Callable:
        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            gen = fn(*args, **kwargs)
            sent: Any = None
            while True:
                with self.clone():
                    try:
                        item = gen.send(sent)
                    except StopIteration as stop:
                        return stop.value
                sent = yield item

        return run

    def clone(self) -> Any:
        """A fresh context of the same kind."""
        return type(self)()

    def __enter__(self) -> Any:
        raise NotImplementedError

    def __exit__(self, *exc: Any) -> None:
        raise NotImplementedError


class _Plain(Context):
    """A context without settings, which decorates with or without parentheses."""

    def __new__(cls, orig_func: Callable | None = None) -> Any:
        self = object.__new__(cls)
        return self if orig_func is None else self(orig_func)


class no_grad(_Plain):
    """Nothing recorded inside wants gradients. Also a decorator.

    >>> import facula as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    flag = False

    def __init__(self) -> None:
        self.before: list[bool] = []

    def __enter__(self) -> None:
        tape = LOCAL.tape
        self.before.append(tape.grad)
        tape.grad = self.flag and not tape.born  # nothing is recorded in inference mode

    def __exit__(self, *exc: Any) -> None:
        LOCAL.tape.grad = self.before.pop()


class enable_grad(no_grad):
    """Derivatives are recorded inside. Also a decorator.

    >>> import facula as torch
    >>> x = torch.ones(1, requires_grad=True)
    >>> with torch.no_grad(), torch.enable_grad():
    ...     y = x * 2
    >>> y.requires_grad
    True
    """

    flag = True

    def __new__(cls, orig_func: Callable | None = None) -> Any:
        return super().__new__(cls, orig_func)


class set_grad_enabled(Context):
    """Sets whether derivatives are recorded, at once; as a context, until its end."""

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool):
            raise TypeError(
                "set_grad_enabled(): argument 'enabled' (position 1) must be bool, not "
                f"{type(mode).__name__}"
            )
        self.mode = mode
        self.before = LOCAL.tape.grad
        LOCAL.tape.grad = self.mode

    def __call__(self, fn: Callable) -> Callable:
        LOCAL.tape.grad = self.before
        return super().__call__(fn)

    def clone(self) -> Any:
        return set_grad_enabled(self.mode)

    def __enter__(self) -> None:
        LOCAL.tape.grad = self.mode

    def __exit__(self, *exc: Any) -> None:
        LOCAL.tape.grad = self.before


class set_multithreading_enabled(Context):
    """Accepted: the backward walk runs on one thread, its kernels on all."""

    def __init__(self, mode: bool) -> None:
        self.prev, self.mode = _Switches.multithreading, bool(mode)
        _Switches.multithreading = self.mode

    def __enter__(self) -> None:
        """Switched when it was made."""

    def __exit__(self, *exc: Any) -> None:
        _Switches.multithreading = self.prev

    def clone(self) -> Any:
        return set_multithreading_enabled(self.mode)


class enforce_grad_layout_policy(Context):
    """Accepted: gradients always have the layout of what they are gradients of."""

    def __init__(self, enable: bool = True) -> None:
        self.enable = enable

    def __enter__(self) -> None:
        """Nothing to switch."""

    def __exit__(self, *exc: Any) -> None:
        """Nothing to switch back."""

    def clone(self) -> Any:
        return enforce_grad_layout_policy(self.enable)


class _Switches:
    multithreading = True


class inference_mode(Context):
    """As `no_grad`; tensors made inside can't be used for gradients later.

    Outside they can be read, but not be written, be saved for a backward pass or require gradients:
    RuntimeError says so. A `clone` is a tensor like any other.

    >>> import facula as torch
    >>> with torch.inference_mode():
    ...     x = torch.ones(2)
    >>> x.is_inference(), x.clone().is_inference()
    (True, False)
    """

    def __new__(cls, mode: Any = True) -> Any:
        self = object.__new__(cls)
        if isinstance(mode, bool):
            self.__init__(mode)  # type: ignore[misc]
            return self
        self.__init__(True)  # type: ignore[misc]
        return self(mode)

    def __init__(self, mode: Any = True) -> None:
        self.mode = mode if isinstance(mode, bool) else True
        self.before: list[tuple[bool, int, bool]] = []

    def clone(self) -> Any:
        return inference_mode(self.mode)

    def __enter__(self) -> None:
        tape = LOCAL.tape
        self.before.append((tape.grad, tape.born, _Inference.on))
        tape.grad = not self.mode  # inference_mode(False) also turns derivatives on
        tape.born = INFERENCE if self.mode else 0
        _Inference.on = self.mode

    def __exit__(self, *exc: Any) -> None:
        tape = LOCAL.tape
        tape.grad, tape.born, _Inference.on = self.before.pop()


class _Inference:
    on = False


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on."""
    return _Inference.on
