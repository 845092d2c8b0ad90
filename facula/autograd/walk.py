"""The backward walk: gradients from roots to leaves.

Nodes run in reverse order of recording (their sequence numbers), which is a topological order, so no
dependencies need counting. Gradients that meet are added once all have arrived, in order of arrival.
"""

from __future__ import annotations

import heapq
from bisect import bisect
from collections.abc import Callable, Sequence
from typing import Any

from facula.autograd.mode import set_grad_enabled
from facula.autograd.node import FREED, SECOND_TIME, Node
from facula.graph.tape import ENGINE, LOCAL, flush, passed


class Ops:
    """Tensor operations of the walk, filled in by the operators' room."""

    add_n: Callable[[Sequence[Any]], Any]
    zeros: Callable[[Any], Any]
    accumulate: Callable[[Any, Any, bool], None]
    retain: Callable[[Any, Any], None]
    repeat: Callable[[Any, Any, bool], bool]
    mark: Callable[[Any], None]


OPS = Ops()

ANOMALY = [False]


def combine(grads: Any) -> Any:
    """The sum of the gradients that arrived at one place."""
    if type(grads) is list:
        return OPS.add_n(grads)
    return grads


def cuts_before(last: int) -> list[int]:
    """Where the forward pass was evaluated in parts: the backward pass will be, too.

    Without a part's sizes in the rest's plan, both have a chance to come again.
    """
    return [] if LOCAL.tape.watch else [seq for seq in ENGINE.cuts if seq < last]


class Walk:
    """One backward pass."""

    def __init__(self, keep_graph: bool, create_graph: bool) -> None:
        self.keep, self.create = keep_graph, create_graph
        self.heap: list[tuple[int, Node]] = []
        self.arrived: dict[Any, Any] = {}  # node -> grad, list of grads, or {number: ...}
        self.leaves: dict[int, list[Any]] = {}  # id(leaf) -> [leaf, grad or list]
        self.captured: dict[Any, Any] = {}
        self.wanted: dict[Any, Any] = {}
        self.needed: set[Node] | None = None
        self.accumulate = True

    def send(self, edge: Any, grad: Any) -> None:
        """A gradient arrives at an edge."""
        kind = type(edge)
        if kind is tuple:
            node, number = edge
            self._send_to(node, number, grad)
        elif isinstance(edge, Node):
            if self.needed is not None and edge not in self.needed:
                return
            arrived = self.arrived
            if edge in arrived:
                seen = arrived[edge]
                if type(seen) is list:
                    seen.append(grad)
                else:
                    arrived[edge] = [seen, grad]
            else:
                arrived[edge] = grad
                heapq.heappush(self.heap, (-edge.seq, edge))
        else:
            seen = self.leaves.get(id(edge))
            if seen is None:
                self.leaves[id(edge)] = [edge, grad]
            elif type(seen[1]) is list:
                seen[1].append(grad)
            else:
                seen[1] = [seen[1], grad]

    def _send_to(self, node: Node, number: int, grad: Any) -> None:
        if self.needed is not None and node not in self.needed:
            return
        slots = self.arrived.get(node)
        if slots is None:
            slots = self.arrived[node] = {}
            heapq.heappush(self.heap, (-node.seq, node))
        if number in slots:
            seen = slots[number]
            if type(seen) is list:
                seen.append(grad)
            else:
                slots[number] = [seen, grad]
        else:
            slots[number] = grad

    def run(self) -> None:
        """Runs all nodes that gradients reach, then hands leaves theirs."""
        heap, arrived, leaves = self.heap, self.arrived, self.leaves
        needed, wanted, keep = self.needed, self.wanted, self.keep
        # the node that was reached last waits outside of the heap: mostly it is the next to run
        pop, push, latest = heapq.heappop, heapq.heappush, None
        cuts = cuts_before(-heap[0][0]) if ENGINE.varying and heap else None
        while heap or latest:
            node = (heapq.heappushpop(heap, latest) if latest else pop(heap))[1]
            latest = None
            if cuts and node.seq < cuts[-1]:
                del cuts[bisect(cuts, node.seq) :]
                self._add_up()
                flush()
            got = arrived.pop(node)
            kind = type(got)
            if kind is list:
                got = OPS.add_n(got)
            plain = kind is not dict and not node.special
            if not plain or wanted:
                got = self._before(node, got)
                if got is FREED:
                    continue
            op = node.op
            if kind is dict:
                grads = self._call_many(node, got)
            elif op is not None and op.backward is not None:
                grads = op.backward(node, got)
            else:
                grads = node.backward(got)
            if type(grads) is not tuple:
                grads = (grads,)
            if not plain or ANOMALY[0]:
                grads = self._after(node, grads, got)
            if not keep and node.saved:
                node.saved = FREED
            for edge, grad in zip(node.edges, grads):
                if edge is None or grad is None:
                    continue
                if type(edge) is tuple:
                    self._send_to(*edge, grad)
                elif isinstance(edge, Node):
                    if needed is not None and edge not in needed:
                        continue
                    seen = arrived.get(edge)
                    if seen is None:
                        arrived[edge] = grad
                        if latest:
                            push(heap, latest)
                        latest = (-edge.seq, edge)
                    elif type(seen) is list:
                        seen.append(grad)
                    else:
                        arrived[edge] = [seen, grad]
                else:
                    entry = leaves.get(id(edge))
                    if entry is None:
                        leaves[id(edge)] = [edge, grad]
                    elif type(entry[1]) is list:
                        entry[1].append(grad)
                    else:
                        entry[1] = [entry[1], grad]
        # who else holds a gradient decides whether a leaf may keep it: not these
        got = grads = grad = seen = entry = None
        self._finish()

    def _add_up(self) -> None:
        """Adds what has arrived at leaves so far: the part that is evaluated then comes again,
        where a sum at the end would have ever other numbers of gradients."""
        for entry in self.leaves.values():
            if type(entry[1]) is list:
                entry[1] = OPS.add_n(entry[1])

    def _call_many(self, node: Node, slots: dict) -> Any:
        n = node.n_outs
        grads: list[Any] = [None] * n
        for i, g in slots.items():
            grads[i] = g
        if type(node).op is not None and node.op.materialize:  # type: ignore[union-attr]
            outs = node.inst.shown
            grads = [OPS.zeros(outs[i]) if g is None else g for i, g in enumerate(grads)]
        return node.backward(*grads)

    def _before(self, node: Node, got: Any) -> Any:
        """Tensor hooks, captures and pre-hooks of one node."""
        slots = got if type(got) is dict else {0: got}
        for i in list(slots):
            slots[i] = combine(slots[i])
        for i, hooks in (node.tensor_hooks or {}).items():
            if i in slots:
                for hook in list(hooks.values()):
                    slots[i] = _hooked(hook, slots[i])
        for i, refs in (node.retained or {}).items():
            if i in slots:
                for ref in refs:
                    tensor = ref()
                    if tensor is not None:
                        OPS.retain(tensor, slots[i])
        if self.wanted:
            for i in slots:
                if (node, i) in self.wanted:
                    self.captured[node, i] = slots[i]
            if self.needed is not None and node in self.wanted and not self.wanted[node]:
                return FREED
        for hook in list((node.pre_hooks or {}).values()):
            full = tuple(slots.get(i) for i in range(max(node.n_outs, len(slots))))
            changed = hook(full)
            if changed is not None:
                changed = changed if isinstance(changed, tuple) else (changed,)
                slots = dict(enumerate(changed))
        return slots if type(got) is dict else slots[0]

    def _after(self, node: Node, grads: tuple, got: Any) -> tuple:
        for hook in list((node.hooks or {}).values()):
            outs = tuple(got.get(i) for i in range(node.n_outs)) if type(got) is dict else (got,)
            changed = hook(grads, outs)
            if changed is not None:
                grads = changed if isinstance(changed, tuple) else (changed,)
        if ANOMALY[0]:
            from facula.autograd.anomaly import check

            check(node, grads)
        return grads

    def _finish(self) -> None:
        plain = self.accumulate and not self.wanted
        for entry in list(self.leaves.values()):
            leaf, grad = entry
            entry[1] = None
            if type(grad) is list:
                grad = OPS.add_n(grad)
            if grad.meta is not leaf.meta and grad.meta.dtype is not leaf.meta.dtype:
                # e.g. of a parameter used beside a lower type
                grad = grad.to(leaf.meta.dtype)
            hooks = leaf._hooks
            if plain and not hooks and not leaf._post_hooks:
                OPS.accumulate(leaf, grad, self.create)
                continue
            if hooks:
                for hook in list(hooks.values()):
                    grad = _hooked(hook, grad)
            if self.wanted and id(leaf) in self.wanted:
                self.captured[id(leaf)] = grad
            if self.accumulate:
                OPS.accumulate(leaf, grad, self.create)
                post = leaf._post_hooks
                for hook in list(post.values()) if post else ():
                    hook(leaf)


def hand_over(leaves: Sequence[Any], grads: list[Any], fresh: bool) -> None:
    """Adds gradients that were recorded without a walk to their leaves', as the end of a walk does.

    fresh: each gradient was made for this alone, lies row by row on memory of its own and has its
    leaf's type, so that a leaf without a gradient may keep it.
    """
    walk = None
    for k, leaf in enumerate(leaves):
        if fresh and walk is None and leaf._grad is None and not (leaf._hooks or leaf._post_hooks):
            leaf._grad = grads[k]
            continue
        walk = walk or Walk(False, False)
        if grads[k] is not None:
            walk.leaves[id(leaf)] = [leaf, grads[k]]
            grads[k] = None
    if walk is not None:
        walk._finish()


def _hooked(hook: Callable[[Any], Any], grad: Any) -> Any:
    """A gradient as a tensor hook leaves it."""
    changed = hook(grad)
    if changed is None:
        return grad
    if not hasattr(changed, "meta"):
        raise TypeError(f"expected Variable, but hook returned '{type(changed).__name__}'")
    if changed.meta.shape != grad.meta.shape:
        name = getattr(hook, "__name__", "unknown")
        raise RuntimeError(f"hook '{name}' has changed the size of value")
    return changed


def edge_of(tensor: Any) -> Any:
    """Where the tensor's gradient goes."""
    g = tensor._g
    return tensor if g is None else g


def backward(tensors: Sequence[Any], grads: Sequence[Any], keep_graph: bool, create_graph: bool,
             inputs: Sequence[Any] | None = None) -> None:  # fmt: skip
    """Adds gradients to the `.grad` of leaves (or of `inputs` only)."""
    if inputs is None:
        once = not create_graph and len(tensors) == 1
        if not (once and repeated(tensors[0]._g, grads[0], keep_graph)):
            walk_from(tensors, grads, keep_graph, create_graph)
        passed()
        return
    for tensor in inputs:
        if tensor._g is not None or not tensor._rg:
            tensor.retain_grad()  # the walk stores its gradient
    got = gradients(tensors, grads, inputs, keep_graph, create_graph, True)
    with set_grad_enabled(create_graph):
        for tensor, grad in zip(inputs, got, strict=True):
            if grad is not None and tensor._g is None:
                OPS.accumulate(tensor, grad, create_graph)


def walk_from(
    tensors: Sequence[Any], grads: Sequence[Any], keep_graph: bool, create_graph: bool
) -> None:
    """A whole backward pass, node by node."""
    _run(Walk(keep_graph, create_graph), tensors, grads)


def repeated(root: Any, grad: Any, keep_graph: bool) -> bool:
    """Whether a backward pass from one place of the graph could be done without a walk.

    It then was. The gradient is only read, and nobody else sees it.
    """
    tape = LOCAL.tape
    before, tape.grad = tape.grad, False
    try:
        return OPS.repeat(root, grad, keep_graph)
    finally:
        LOCAL.tape.grad = before


def _run(walk: Walk, tensors: Sequence[Any], grads: Sequence[Any]) -> None:
    tape = LOCAL.tape
    before = tape.grad
    tape.grad = walk.create
    try:
        for tensor, grad in zip(tensors, grads, strict=True):
            walk.send(edge_of(tensor), grad)
        walk.run()
    finally:
        LOCAL.tape.grad = before


def gradients(outputs: Sequence[Any], grads: Sequence[Any], inputs: Sequence[Any], keep_graph: bool,
              create_graph: bool, allow_unused: bool) -> list[Any]:  # fmt: skip
    """Gradients of inputs, as a list (None where unused)."""
    walk = Walk(keep_graph, create_graph)
    walk.accumulate = False
    keys = []
    targets: set[Node] = set()
    for t in inputs:
        edge = edge_of(t)
        if isinstance(edge, Node):
            key: Any = (edge, 0)
            targets.add(edge)
        elif type(edge) is tuple:
            key = edge
            targets.add(edge[0])
        else:
            key = id(edge)
        walk.wanted[key] = True
        keys.append(key)
    leaves = {id(edge_of(t)) for t in inputs if not isinstance(edge_of(t), (Node, tuple))}
    walk.needed, passing = _on_the_way([edge_of(t) for t in outputs], targets, leaves)
    for node in targets:
        walk.wanted[node] = node in passing
    _run(walk, outputs, grads)
    if not create_graph:
        passed()
    return [walk.captured.get(k) for k in keys]


def _on_the_way(
    roots: list[Any], targets: set[Node], leaves: set[int]
) -> tuple[set[Node], set[Node]]:
    """Nodes that lead to a target (targets included), and those that lead further than themselves."""
    nodes: list[Node] = []
    seen: set[Node] = set()
    stack = [e[0] if type(e) is tuple else e for e in roots]
    stack = [e for e in stack if isinstance(e, Node)]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        nodes.append(node)
        for e in node.edges:
            e = e[0] if type(e) is tuple else e
            if isinstance(e, Node):
                stack.append(e)
    nodes.sort(key=lambda n: n.seq)
    good: set[Node] = set()
    passing: set[Node] = set()
    for node in nodes:
        for e in node.edges:
            e = e[0] if type(e) is tuple else e
            if e is None:
                continue
            if (isinstance(e, Node) and e in good) or (not isinstance(e, Node) and id(e) in leaves):
                passing.add(node)
                break
        if node in passing or node in targets:
            good.add(node)
    return good, passing


__all__ = [
    "ANOMALY",
    "OPS",
    "SECOND_TIME",
    "backward",
    "edge_of",
    "gradients",
    "hand_over",
    "repeated",
]
