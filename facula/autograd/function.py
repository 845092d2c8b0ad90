"""Custom derivatives: `torch.autograd.Function`."""

from __future__ import annotations

import warnings
from typing import Any

from facula.autograd.node import FREED, SECOND_TIME, Node, save, save_result, unpack
from facula.graph.tape import LOCAL, Inst, Op, next_seq
from facula.tensor import Tensor, wrap

_CUSTOM = Op("custom", lambda *a: None, lambda *a: None, None)


class FunctionCtx:
    """What forward leaves for backward: saved tensors and any attributes."""

    def save_for_backward(self, *tensors: Any) -> None:
        """Keeps tensors for backward; only inputs and outputs of forward, or None."""
        self.to_save = tensors

    save_for_forward = save_for_backward

    def mark_dirty(self, *args: Any) -> None:
        """Says that forward wrote to these inputs in place."""
        self.dirty_tensors = args

    def mark_non_differentiable(self, *args: Any) -> None:
        """Says that these outputs have no gradient."""
        self.non_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether missing gradients of outputs come as zeros (the default) or None."""
        self.materialize_grads = value

    def mark_shared_storage(self, *pairs: Any) -> None:
        """Deprecated: sharing is found by itself."""
        warnings.warn(
            "mark_shared_storage is deprecated. Tensors with shared storages are automatically tracked. "
            "Note that calls to `set_()` are not tracked",
            FutureWarning,
            stacklevel=2,
        )


class _OfContext:
    """What the `ctx` of a call has, named on the class of the function for those who look it up."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, ctx: Any, cls: Any = None) -> Any:
        return self if ctx is None else ctx.__dict__[self.name]

    def __call__(self, ctx: Any, *args: Any) -> Any:
        return getattr(ctx, self.name)(*args)

    def __repr__(self) -> str:
        return f"<attribute '{self.name}' of contexts of torch.autograd.Function>"


class _FunctionBase(FunctionCtx):
    dirty_tensors = _OfContext("dirty_tensors")
    materialize_grads = _OfContext("materialize_grads")
    maybe_clear_saved_tensors = _OfContext("maybe_clear_saved_tensors")
    metadata = _OfContext("metadata")
    name = _OfContext("name")
    needs_input_grad = _OfContext("needs_input_grad")
    next_functions = _OfContext("next_functions")
    non_differentiable = _OfContext("non_differentiable")
    register_hook = _OfContext("register_hook")
    register_prehook = _OfContext("register_prehook")
    requires_grad = _OfContext("requires_grad")
    saved_for_forward = _OfContext("saved_for_forward")
    saved_tensors = _OfContext("saved_tensors")
    saved_variables = _OfContext("saved_variables")
    to_save = _OfContext("to_save")


class BackwardCFunction(Node, FunctionCtx):
    """The node of a custom function; it is its own `ctx`."""

    _function: Any = None
    special = False

    @property
    def saved_tensors(self) -> tuple:
        """The tensors given to `save_for_backward`."""
        if self.saved is FREED:
            raise RuntimeError(SECOND_TIME)
        return tuple(None if k is None else unpack(self, k) for k in self.saved or ())

    saved_variables = saved_tensors

    @property
    def needs_input_grad(self) -> tuple[bool, ...]:
        """For each argument of forward, whether it wants a gradient."""
        return self.__dict__["_needs"]

    def name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<torch.autograd.function.{type(self).__name__} object at {id(self):#x}>"

    def backward(self, *grads: Any) -> Any:
        """Runs the user's backward on the gradients of the outputs."""
        outs = self.inst.outs
        if self.__dict__.get("materialize_grads", True):
            from facula.autograd.walk import OPS

            grads = tuple(
                OPS.zeros(m) if g is None else g for g, m in zip(grads, outs, strict=True)
            )
        user = (
            self._function.vjp
            if self._function.vjp is not Function.vjp
            else self._function.backward
        )
        got = user(self, *grads)
        got = got if isinstance(got, tuple) else (got,)
        places = self.__dict__["_places"]
        n = self.__dict__["_n_args"]
        if len(got) > n and all(g is None for g in got[n:]):
            got = got[:n]
        if len(got) != n:
            raise RuntimeError(
                f"function {type(self).__name__} returned an incorrect number of gradients (expected "
                f"{n}, got {len(got)})"
            )
        return tuple(self._fitted(got[i], j) for j, i in enumerate(places))

    def _fitted(self, g: Any, number: int) -> Any:
        """A gradient in its input's shape; refused if that can't be broadcast to the gradient's."""
        if not isinstance(g, Tensor) or self.edges[number] is None:
            return g
        shape, got = self.inst.ins[number].shape, g.meta.shape
        if got == shape:
            return g
        front = len(got) - len(shape)
        if front < 0 or any(n not in (1, m) for n, m in zip(shape, got[front:])):
            raise RuntimeError(
                f"Function {type(self).__name__} returned an invalid gradient at index "
                f"{self._places[number]} - got {list(got)} but expected shape compatible with "
                f"{list(shape)}"
            )
        return g.sum_to_size(shape)  # type: ignore[attr-defined]


class _Meta(type):
    """Gives every Function its node class, `<name>Backward`."""

    def __init__(cls, name: str, bases: tuple, space: dict) -> None:
        cls._backward_cls = type(name + "Backward", (BackwardCFunction,), {"_function": cls})
        super().__init__(name, bases, space)


class Function(_FunctionBase, metaclass=_Meta):
    """A differentiable function with a derivative of your own.

    >>> import facula as torch
    >>> class Cube(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x ** 3
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * 3 * x ** 2
    >>> x = torch.tensor(2., requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor(12.)
    """

    _backward_cls: type
    generate_vmap_rule = False
    boxed_grads_call = False  # gradients are always given one by one
    clear_saved_tensors_on_access = False  # saved tensors are let go of when backward is over

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you "
            "should invoke them on the class itself. Instantiating an autograd function will raise an error "
            "in a future version of PyTorch.",
            DeprecationWarning,
            stacklevel=2,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Of the old style of functions, with instances: refused, as PyTorch does."""
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style "
            "autograd function with static forward method. (Example: "
            "https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the result; with `setup_context` defined it gets no ctx."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> Any:
        """Saves what backward needs, where forward has no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Gradients of the arguments for gradients of the outputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it "
            "with backward mode AD."
        )

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """Forward-mode derivative."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward mode AD."
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """Batching rule."""
        raise NotImplementedError(
            "To use autograd.Function with vmap, you must either override the vmap staticmethod or "
            "set generate_vmap_rule=True."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Calls forward and records the derivative."""
        node = cls._backward_cls.__new__(cls._backward_cls)
        node.saved, node.scalars, node.seq = None, (), 0
        inputs = [(i, a) for i, a in enumerate(args) if isinstance(a, Tensor)]
        wanted = LOCAL.tape.grad and any(a._rg for _, a in inputs)
        node._needs = tuple(isinstance(a, Tensor) and a._rg for a in args)
        edges = []
        for _, a in inputs:
            edges.append((a if a._g is None else a._g) if a._rg else None)
        before = LOCAL.tape.grad
        LOCAL.tape.grad = False
        try:
            if cls.setup_context is Function.setup_context:
                out = cls.forward(node, *args, **kwargs)
            else:
                out = cls.forward(*args, **kwargs)
                cls.setup_context(node, args, out)
        finally:
            LOCAL.tape.grad = before
        if not wanted:
            return out
        return _attach(node, args, inputs, edges, out)


def _attach(node: Any, args: tuple, inputs: list, edges: list, out: Any) -> Any:
    single = not isinstance(out, tuple)
    outs = [out] if single else list(out)
    dirty = {id(t) for t in node.__dict__.get("dirty_tensors", ())}
    constant = {id(t) for t in node.__dict__.get("non_differentiable", ())}
    given = {id(a) for _, a in inputs}
    for i, o in enumerate(outs):
        if isinstance(o, Tensor) and id(o) in given and id(o) not in dirty:
            outs[i] = wrap(o._s, o.meta, o._off)
            outs[i].__dict__["_replaces"] = id(o)
    metas = tuple(o.meta for o in outs if isinstance(o, Tensor))
    node.inst = Inst(_CUSTOM, tuple(a.meta for _, a in inputs), (), metas)
    node.edges, node.seq = tuple(edges), next_seq()
    node._places = [i for i, _ in inputs]
    node._n_args = len(args)
    number = 0
    made = {}
    for o in outs:
        if not isinstance(o, Tensor):
            continue
        if id(o) not in constant and o.meta.dtype.kind in "fc":
            o._rg, o._g = True, (node if len(metas) == 1 else (node, number))
        made[id(o)] = number
        number += 1
    kept = []
    for t in node.__dict__.pop("to_save", ()):
        if t is None:
            kept.append(None)
        elif id(t) in made:
            kept.append(save_result(t, made[id(t)]))
        else:
            kept.append(save(t))
    node.saved = kept
    return outs[0] if single else tuple(outs)


def once_differentiable(fn: Any) -> Any:
    """Marks a backward whose own derivative must not be taken: who takes it gets a RuntimeError."""
    import functools

    @functools.wraps(fn)
    def run(ctx: Any, *args: Any) -> Any:
        before = LOCAL.tape.grad
        LOCAL.tape.grad = False
        try:
            out = fn(ctx, *args)
        finally:
            LOCAL.tape.grad = before
        if not before or not any(isinstance(a, Tensor) and a._rg for a in args):
            return out
        outs = out if isinstance(out, tuple) else (out,)
        wanted = [
            o.detach().requires_grad_() if isinstance(o, Tensor) else o  # type: ignore[attr-defined]
            for o in outs
        ]
        marked = _OnlyOnce.apply(*wanted)
        return marked if isinstance(out, tuple) else marked[0]

    return run


class _OnlyOnce(Function):
    """Gradients whose own derivative is an error."""

    @staticmethod
    def forward(ctx: Any, *grads: Any) -> Any:
        return grads

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )


_OnlyOnce._backward_cls.__name__ = "Error"  # as PyTorch shows it


class NestedIOFunction(Function):
    """Not offered: custom functions with nested inputs."""


class InplaceFunction(Function):
    """A custom function whose forward may write in place (`ctx.mark_dirty`)."""
