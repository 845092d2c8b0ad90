"""Training steps inside of a compiled function: `zero_grad()`, `backward()`, `step()` and their like.

Such calls change what outlives the function: gradients, parameters, step counts, learning rates. They are
not captured but made again. What the function recorded before `backward()` is its region, and a replay is
that region, then the same calls in the same order. So hooks, accumulated gradients and schedules are as always.

The run that captures makes the calls, too: at `backward()` the derivative is recorded and taken off the tape
again, and the tape goes on as an ordinary one. After that nothing may happen but such calls.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from facula.autograd.written import Text
from facula.compiler.guards import Guards, Unsupported
from facula.compiler.region import Output
from facula.graph.tape import LOCAL
from facula.nn import Module
from facula.tensor import Tensor
from facula.utils._pytree import tree_flatten, tree_unflatten

BACKWARD = "tensor_backward"
_ZERO = ("Optimizer.zero_grad", "ConversionMixin.zero_grad")  # the latter: of modules
_STEP = "_hooked_step.<locals>.hooked"
# by the name of their code: the attribute or the global that is called
CALLS = {
    BACKWARD: "backward",
    **dict.fromkeys(_ZERO, "zero_grad"),
    _STEP: "step",
    "_note_steps.<locals>.step": "step",  # where a scheduler watches the optimizer
    "LRScheduler.step": "step",
    "CosineAnnealingWarmRestarts.step": "step",
    "SequentialLR.step": "step",
    "ChainedScheduler.step": "step",
    "clip_grad_norm_": "clip_grad_norm_",
}
# what of ours may run after backward(): it neither reads values nor records anything
HARMLESS = frozenset(
    ("Tensor.detach", "Module.__getattr__", "TraversalMixin.parameters",
     "TraversalMixin.named_parameters", "_Small.__del__", "_Large.__del__")
)  # fmt: skip
_PLAIN = (int, float, bool, str, type(None))
_CHANGED = "a tensor is used after backward()"


class Page:
    """What a capture's tape held when `backward()` was called, with the derivative."""

    def __init__(self, tape: Any, written: list[tuple[int, int, int]], n: int) -> None:
        self.n, self.key, self.scalars = n, list(tape.key), list(tape.scalars)
        self.hidden = {k: (s, None, entry) for k, (s, _, entry) in tape.hidden.items()}
        hidden = {id(buf) for _, buf, _ in tape.hidden.values()}
        self.leaves = [None if id(b) in hidden else b for b in tape.leaves]
        self.offsets = list(tape.offsets)
        self._written = written

    def written(self, versions: dict[int, int]) -> list[tuple[int, int, int]]:
        """As `CaptureTape.written`, before `backward()`."""
        return self._written


class Steps:
    """The calls that one run of a function made, and its region before them."""

    def __init__(self, attempt: Any) -> None:
        self.attempt = attempt
        self.calls: list[tuple[str, Any, tuple]] = []  # name of the code, what is called, arguments
        self.page: Page | None = None
        self.loss: Output | None = None
        self.entry = -1  # the loss's
        self.grads: Any = None

    def note(self, frame: Any) -> None:
        """One of `CALLS` is about to run."""
        attempt = self.attempt
        if attempt.watch.defeated is not None:
            return
        try:
            name = frame.f_code.co_qualname
            if name == BACKWARD:
                self._halt(frame.f_locals)
            elif self.page is None and name not in _ZERO:
                raise Unsupported(f"it calls {CALLS[name]}() before backward()")
            else:
                self.calls.append(self._call(name, frame))
        except Unsupported as reason:
            attempt.watch.defeat(str(reason))
        except Exception as error:
            attempt.watch.defeat(f"{type(error).__name__} in its derivative: {error}")

    # at backward()

    def _halt(self, given: dict[str, Any]) -> None:
        """Keeps what was recorded so far, and lets the tape go on as an ordinary one."""
        attempt, loss = self.attempt, given["self"]
        tape = attempt.tape
        if self.page is not None:
            raise Unsupported("it calls backward() twice")
        if LOCAL.tape is not tape or type(loss) is not Tensor or loss._s.tape is not tape:
            raise Unsupported("it calls backward() on something that it did not compute")
        if given["gradient"] is not None or given["inputs"] is not None or given["create_graph"]:
            raise Unsupported("it calls backward() with more than the loss")
        if type(given["retain_graph"]) not in (bool, type(None)):
            raise Unsupported("it calls backward() with more than the loss")
        out = attempt.output(loss)
        if out.kind != "result" or not out.grad:
            raise Unsupported("it calls backward() on something that it did not compute")
        written, n, before = tape.written(attempt.versions), tape.n, tape.place()
        try:
            self.grads = attempt.trace_backward([out])
            page = Page(tape, written, n)
        finally:
            tape.back_to(before)
        self.loss, self.entry, self.page = out, loss._s.i, page
        self.calls.append((BACKWARD, None, (given["retain_graph"],)))
        attempt.restore_histories()
        tape.show()

    # others

    def _call(self, name: str, frame: Any) -> tuple[str, Any, tuple]:
        code, given = frame.f_code, frame.f_locals
        names = code.co_varnames[: code.co_argcount]
        args = [given[n] for n in names]
        if code.co_flags & 0x0C:  # *args or **kwargs
            args += given.get("args", ())
            if given.get("kwargs"):
                raise Unsupported(f"it calls {CALLS[name]}() with keywords")
        if names[:1] != ("self",):
            function = called = frame.f_globals[CALLS[name]]
        else:
            owner = args.pop(0)
            if id(owner) not in self.attempt.guards.seen:
                raise Unsupported(f"the guards do not know what {CALLS[name]}() is called on")
            called = getattr(owner, CALLS[name])
            function = getattr(called, "__func__", None)
        while getattr(function, "__code__", None) is not code:
            function = getattr(function, "__wrapped__", None)
            if function is None:
                raise Unsupported(f"it calls {CALLS[name]}() in a way that is not known")
        if name == _STEP and not function.__module__.startswith(__name__.partition(".")[0] + "."):
            raise Unsupported(
                f"it steps a {type(called.__self__).__name__}, whose code is not ours"
            )
        return name, called, tuple([self._argument(x) for x in args])

    def _argument(self, x: Any) -> Any:
        guards = self.attempt.guards
        if type(x) in _PLAIN or (isinstance(x, Tensor) and id(x) in guards.tensors):
            return x
        if type(x) in (list, tuple):
            return type(x)([self._argument(y) for y in x])
        if type(x) is types.GeneratorType and x.gi_code is Module.parameters.__code__:
            given = x.gi_frame.f_locals  # of one that was not begun
            if id(given["self"]) in guards.seen and set(given) == {"self", "recurse"}:
                return Parameters(given["self"], given["recurse"])
        raise Unsupported(f"it hands a {type(x).__name__} to a call that a replay has to make")

    # afterwards

    def outputs(self, result: Any) -> tuple[list[Output], list[int], Any]:
        """The region's outputs, which of them are returned, and in which structure."""
        page, loss = self.page, self.loss
        assert page is not None and loss is not None
        if loss.tensor._s.tape is not self.attempt.tape or loss.tensor._s.i != self.entry:
            raise Unsupported(_CHANGED)
        leaves, spec = tree_flatten(result)
        made, places = [loss], []
        for x in leaves:
            if x is loss.tensor:
                places.append(0)
                continue
            o = self.attempt.output(x)
            if o.grad:
                raise Unsupported("it returns more than the loss with a history")
            if o.kind == "result" and o.tensor._s.i >= page.n:
                raise Unsupported(_CHANGED)
            places.append(len(made))
            made.append(o)
        return made, places, spec

    def guard(self, guards: Guards) -> None:
        """No code of the user's may run within the calls."""
        for name, called, _ in self.calls:
            if name == _STEP or name == "_note_steps.<locals>.step":
                k = guards.const(called.__self__)
                guards.need(
                    f"not ({k}._optimizer_step_pre_hooks or {k}._optimizer_step_post_hooks)"
                )
                space = type(called.__self__).zero_grad.__globals__
                both = (
                    guards.const(space["_global_pre_hooks"]),
                    guards.const(space["_global_post_hooks"]),
                )
                guards.need(f"not ({both[0]} or {both[1]})")
        for t, expression in guards.tensors.values():
            if t._rg:
                guards.need(f"not ({expression}._hooks or {expression}._post_hooks)")

    def replay(self, region: Any, places: list[int], spec: Any) -> Callable[[list[Tensor]], Any]:
        """The region, then the calls."""
        text = Text("def replay(tensors):")
        text.space |= {"region": region.replay, "unflatten": tree_unflatten, "spec": spec}
        text.say("values = region(tensors)")
        for name, called, args in self.calls:
            if name == BACKWARD:
                text.say(f"values[0].backward(None, {args[0]})")
                continue
            given = [
                f"{text.const(x.module)}.parameters({x.recurse})"
                if type(x) is Parameters
                else text.const(x)
                for x in args
            ]
            text.say(f"{text.const(called)}({', '.join(given)})")
        row = ", ".join(f"values[{k}]" for k in places)
        text.say(f"return {row}" if spec.is_leaf() else f"return unflatten([{row}], spec)")
        return text.function("replay")


class Parameters:
    """Stands for `module.parameters()`, which is asked for again."""

    def __init__(self, module: Any, recurse: bool) -> None:
        self.module, self.recurse = module, recurse


__all__ = ["BACKWARD", "CALLS", "HARMLESS", "Page", "Steps"]
