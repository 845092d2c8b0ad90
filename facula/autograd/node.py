"""Nodes of the graph of derivatives.

A node holds only what its derivative needs: edges to where gradients go, and saved values. An edge
is None (no gradient wanted), a leaf tensor, a node with one result, or (node, number of result).
"""

from __future__ import annotations

from typing import Any

from facula.graph.tape import Inst, Op

FREED = object()

SECOND_TIME = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed). Saved intermediate values of the graph are freed when you call "
    ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
    "graph a second time or if you need to access saved tensors after calling backward."
)


class Node:
    """A recorded derivative; `AddBackward0` and the like are subclasses."""

    __slots__ = ("__dict__", "__weakref__", "edges", "inst", "saved", "scalars", "seq")

    op: Op | None = None
    # what few nodes have stands in their __dict__; `special` says that there is something
    special = False
    hooks: Any = None
    pre_hooks: Any = None
    tensor_hooks: Any = None  # number of result -> {id: hook}
    _next: tuple | None = None  # `next_functions`, where it shows more than edges
    retained: Any = None  # number of result -> [weak references to tensors that keep their grad]
    edges: tuple[Any, ...]
    inst: Inst
    saved: Any
    scalars: tuple[Any, ...]
    seq: int

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"

    def name(self) -> str:
        """The node's name, as `grad_fn.name()`."""
        return type(self).__name__

    @property
    def n_outs(self) -> int:
        """How many results the recorded operator had."""
        return len(self.inst.outs)

    @property
    def _input_metadata(self) -> tuple:
        """Geometries of the recorded operator's results: what `backward` gets gradients of."""
        return self.inst.shown

    @property
    def metadata(self) -> dict:
        """A dict for the user's notes."""
        return self.__dict__.setdefault("_metadata", {})

    @property
    def next_functions(self) -> tuple:
        """((node, number of its result), ...), as PyTorch's."""
        shows = None if self.op is None else self.op.shows
        if shows is None:
            return tuple(next_function(e) for e in self.edges)
        if self._next is None:
            edges = self.edges
            if callable(shows):
                shown_edges = shows(self)
            else:
                shown_edges = [None if w == "-" else edges[int(w)] for w in shows.split()]
            self._next = tuple(next_function(e) for e in shown_edges)
        return self._next

    def needs(self, i: int) -> bool:
        """Whether input i wants a gradient."""
        return self.edges[i] is not None

    @property
    def params(self) -> tuple:
        """The operator's static parameters."""
        return self.inst.params

    def backward(self, *grads: Any) -> Any:
        """Gradients of the inputs for gradients of the results."""
        op = type(self).op
        if op is None or op.backward is None:
            raise RuntimeError(f"derivative for {self.inst.op.name} is not implemented")
        return op.backward(self, *grads)

    def reach_leaves(self, seed: Any, keep: bool) -> bool:
        """Does what a walk from this node does; False where it cannot."""
        return False

    def tensor(self, k: int) -> Any:
        """The k-th saved tensor; RuntimeError if it was freed or changed since."""
        if self.saved is FREED:
            raise RuntimeError(SECOND_TIME)
        return unpack(self, self.saved[k])

    def release(self) -> None:
        """Drops saved values after a backward pass."""
        if self.saved:
            self.saved = FREED

    def register_hook(self, hook: Any) -> Any:
        """Calls hook(grad_inputs, grad_outputs) after this node ran."""
        return _register(self, "hooks", hook)

    def register_prehook(self, hook: Any) -> Any:
        """Calls hook(grad_outputs) before this node runs."""
        return _register(self, "pre_hooks", hook)


class Shown(Node):
    """A node that PyTorch has where facula records one operator for several.

    It is there for who walks `next_functions`; the derivative is computed by the node that shows it.
    """

    __slots__ = ()

    def register_hook(self, hook: Any) -> Any:
        raise NotImplementedError(
            f"{self.name()} is computed within another operator: use a hook on a tensor instead"
        )

    register_prehook = register_hook

    @property
    def _input_metadata(self) -> tuple:
        return self.saved

    @property
    def n_outs(self) -> int:
        return 1


def shown(name: str, *edges: Any, meta: Any = None) -> Node:
    """A node that is only shown; `meta`: the geometry of its result, where it is known."""
    cls = _shown_classes.get(name)
    if cls is None:
        cls = _shown_classes[name] = type(name, (Shown,), {"__slots__": ()})
    node = cls()
    node.edges, node.scalars, node.seq = edges, (), 0
    node.saved = () if meta is None else (meta,)
    return node


_shown_classes: dict[str, type] = {}


def _register(node: Node, kind: str, hook: Any) -> Any:
    from facula.utils.hooks import RemovableHandle

    table = getattr(node, kind)
    if table is None:
        table = {}
        setattr(node, kind, table)
        node.special = True
    handle = RemovableHandle(table)
    table[handle.id] = hook
    return handle


class AccumulateGrad:
    """What `next_functions` shows for a leaf: where its gradient is added up."""

    def __init__(self, variable: Any) -> None:
        self.variable = variable
        self.next_functions = ()

    def name(self) -> str:
        """Its name, as PyTorch shows it."""
        return "torch::autograd::AccumulateGrad"

    def register_hook(self, hook: Any) -> Any:
        """Calls hook(grad_inputs, grad_outputs) after the gradient was added up."""
        return self.variable.register_post_accumulate_grad_hook(lambda t: hook((t.grad,), ()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccumulateGrad) and other.variable is self.variable

    def __hash__(self) -> int:
        return hash(("AccumulateGrad", id(self.variable)))


def next_function(edge: Any) -> tuple:
    """PyTorch's (node, index) for an edge."""
    if edge is None:
        return (None, 0)
    if isinstance(edge, tuple):
        return edge
    if isinstance(edge, Node):
        return (edge, 0)
    return (AccumulateGrad(edge), 0)


class Saved:
    """A result kept by its own node: without the node, which would be a cycle.

    `written`: the storage that a later write would spoil; another one where the result went into a
    view of it.
    """

    __slots__ = ("made", "meta", "number", "offset", "storage", "version", "written")

    def __init__(self, tensor: Any, number: int) -> None:
        self.storage, self.meta, self.offset = tensor._s, tensor.meta, tensor._off
        self.written = tensor._s
        self.version, self.number = tensor._s.version, number
        self.made = type(tensor)


HOOKS: list[tuple[Any, Any]] = []  # (pack, unpack) of saved_tensors_hooks, innermost last


class Packed:
    """A saved tensor that went through the user's pack hook."""

    __slots__ = ("packed", "unpack")

    def __init__(self, tensor: Any, hooks: tuple[Any, Any] | None = None) -> None:
        pack, self.unpack = hooks or HOOKS[-1]
        self.packed = pack(tensor)


class PackedResult(Packed):
    """A result that went through the user's pack hook."""

    __slots__ = ("number",)

    def __init__(self, tensor: Any, number: int, hooks: tuple[Any, Any] | None = None) -> None:
        from facula.tensor import wrap

        super().__init__(wrap(tensor._s, tensor.meta, tensor._off), hooks)
        self.number = number


def save_result(tensor: Any, number: int) -> Any:
    """A result as its own node keeps it."""
    if HOOKS and HOOKS[-1][0] is not None:
        return PackedResult(tensor, number)
    return Saved(tensor, number)


def save(tensor: Any) -> Any:
    """An input as a node keeps it."""
    version = tensor._s.version
    if version < 0:
        raise RuntimeError(
            "Inference tensors cannot be saved for backward. Please do not use Tensors created in "
            "inference mode in computation tracked by autograd. To work around this, you can make a "
            "clone to get a normal tensor and use it in autograd, or use `torch.no_grad()` instead "
            "of `torch.inference_mode()`."
        )
    if HOOKS and HOOKS[-1][0] is not None:
        return Packed(tensor)
    return (tensor, version)


def unpack(node: Node, kept: Any) -> Any:
    """The tensor that was saved; checks that it was not changed since."""
    if type(kept) is tuple:
        tensor, version = kept
        if tensor._s.version != version:
            raise changed(tensor.grad_fn, tensor.meta, tensor._s.version, version, tensor.output_nr)
        return tensor
    if type(kept) is Packed:
        return kept.unpack(kept.packed)
    if type(kept) is PackedResult:
        got = kept.unpack(kept.packed)
        tensor = type(got)._make_subclass(type(got), got)
        tensor._rg = True
        tensor._g = (node, kept.number) if node.n_outs > 1 else node
        return tensor
    if kept.written.version != kept.version:
        raise changed(node, kept.meta, kept.written.version, kept.version, kept.number)
    from facula.tensor import wrap

    tensor = wrap(kept.storage, kept.meta, kept.offset)
    tensor._rg = True
    tensor._g = (node, kept.number) if node.n_outs > 1 else node
    return tensor


def changed(node: Node | None, meta: Any, now: int, then: int, number: int) -> RuntimeError:
    """PyTorch's error for a saved value, made by node, that was modified in place."""
    made = "" if node is None else type(node).__name__.rstrip("0123456789").removesuffix("Backward")
    of = made and f", which is output {number} of {made},"
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace "
        f"operation: [torch.{meta.dtype.short}Tensor "
        f"{list(meta.shape)}]{of} is at version {now}; expected version {then} instead. "
        "Hint: enable anomaly detection to find the operation that failed to compute its "
        "gradient, with torch.autograd.set_detect_anomaly(True, check_nan=False)."
    )


def grad_class(op: Op) -> type[Node]:
    """The node class of an operator, made when first wanted."""
    found = op.grad_class
    if isinstance(found, str):
        from facula.autograd.saved_names import attributes

        members = {"__slots__": (), "op": op, **attributes(op)}
        found = op.grad_class = type(found, (Node,), members)
    return found
