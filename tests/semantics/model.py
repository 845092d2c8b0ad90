"""A small eager model of the semantics: NumPy arrays with real aliasing, and a reverse-mode tape.

What is written here is what PyTorch does, in as few words as possible: no laziness, no fusion, no reuse
of memory. Positions of a view in its source are found from addresses, whatever made the view.
"""

from __future__ import annotations

import contextlib
import itertools

import numpy as np

STATE = {"grad": True}
_seq = itertools.count()


@contextlib.contextmanager
def no_grad():
    before = STATE["grad"]
    STATE["grad"] = False
    try:
        yield
    finally:
        STATE["grad"] = before


class Version:
    def __init__(self):
        self.n = 0


class Node:
    """edges: nodes or leaves; fn(gradient) -> gradients, one for each edge."""

    def __init__(self, edges, fn, saved=()):
        self.edges, self.fn, self.seq = edges, fn, next(_seq)
        self.saved = [(t, t.version, t.version.n) for t in saved]
        self.freed = False

    def run(self, g, keep):
        if self.freed:
            raise RuntimeError("Trying to backward through the graph a second time")
        for _, version, n in self.saved:
            if version.n != n:
                raise RuntimeError("modified by an inplace operation")
        out = self.fn(g)
        if not keep and self.saved:
            self.freed = True
        return out


def addresses(a):
    """The address of every element."""
    at = np.full(a.shape, a.__array_interface__["data"][0], np.int64)
    for d, step in enumerate(a.strides):
        at += (np.arange(a.shape[d]) * step).reshape([-1 if i == d else 1 for i in range(a.ndim)])
    return at


def positions(view, base):
    """Where the elements of a view stand in base, counted row-major."""
    at = addresses(base).reshape(-1)
    order = np.argsort(at, kind="stable")
    return order[np.searchsorted(at[order], addresses(view).reshape(-1))]


def sum_to(g, shape):
    while g.ndim > len(shape):
        g = g.sum(0)
    for d, n in enumerate(shape):
        if n == 1 and g.shape[d] != 1:
            g = g.sum(d, keepdims=True)
    return g


class Tensor:
    def __init__(self, a, version=None, origin=None):
        self.a, self.version = np.asarray(a), version or Version()
        self.origin = self.a.__array_interface__["data"][0] if origin is None else origin
        self.rg, self.node, self.grad, self.base, self.made = False, None, None, None, None
        self.at_version = 0

    shape = property(lambda self: self.a.shape)
    ndim = property(lambda self: self.a.ndim)
    dtype = property(lambda self: str(self.a.dtype))
    is_leaf = property(lambda self: self.fn() is None)

    @property
    def requires_grad(self):
        return (
            self.rg or self.fn() is not None or (self.base is not None and self.base.requires_grad)
        )

    _version = property(lambda self: self.version.n)

    def stride(self):
        return tuple(s // self.a.itemsize for s in self.a.strides)

    def storage_offset(self):
        return (self.a.__array_interface__["data"][0] - self.origin) // self.a.itemsize

    def numel(self):
        return self.a.size

    def values(self):
        return self.a.copy()

    # history

    def fn(self):
        """A view's history is its base's, once the base was written."""
        b = self.base
        if b is not None and (b.rg or b.node) and self.at_version != self.version.n:
            self.node = _view_node(b, self)
            self.at_version = self.version.n
        return self.node

    def edge(self):
        return (self.fn() or self) if self.requires_grad else None

    def requires_grad_(self, flag=True):
        self.rg = flag
        return self

    def view_as_array(self, a):
        """A view with history, given its array."""
        out = Tensor(a, self.version, self.origin)
        out.base = self.base or self
        out.at_version = self.version.n
        if not STATE["grad"]:
            out.made = "no_grad"
        elif self.requires_grad:
            out.node = _view_node(self, out)
        return out

    def detach(self):
        return Tensor(self.a, self.version, self.origin)

    data = property(lambda self: Tensor(self.a, None, self.origin))

    def numpy(self):
        return self.a

    # writing

    def check_write(self, others, overlap=True):
        if STATE["grad"] and (self.requires_grad or any(o.requires_grad for o in others)):
            if self.base is not None:
                if self.made:
                    raise RuntimeError(
                        "A view was created in no_grad mode and is being modified inplace"
                    )
                if self.requires_grad and self.base.is_leaf:
                    raise RuntimeError("a view of a leaf Variable that requires grad")
            if self.requires_grad and self.is_leaf:
                raise RuntimeError("a leaf Variable that requires grad")
        if (
            overlap
            and self.a.size
            and any(s == 0 and n > 1 for n, s in zip(self.shape, self.a.strides, strict=True))
        ):
            raise RuntimeError("unsupported operation: more than one element")
        for o in others:
            if overlap and _partial(self, o):
                raise RuntimeError("unsupported operation: some elements")

    def write(self, value, others, grads, saved=()):
        """self[...] = value; grads(g) -> gradients of (old self, *others), with respect to the result."""
        edges = [self.edge(), *[o.edge() for o in others]]
        self.a[...] = value
        self.version.n += 1
        if not STATE["grad"] or not any(e is not None for e in edges):
            return self
        base = self.base
        if base is None:
            self.node, self.rg = Node(edges, grads, saved), False
            return self
        at, shape = positions(self.a, base.a), self.shape

        def copy_slices(g):
            g = np.array(g)
            got = grads(g.reshape(-1)[at].reshape(shape))
            g.reshape(-1)[at] = 0 if got[0] is None else got[0].reshape(-1)
            return (g, *got[1:])

        base.node = Node([base.edge(), *edges[1:]], copy_slices, [*saved, KEPT])
        base.rg = False
        self.rg = False
        return self

    def backward(self, gradient=None, retain_graph=False):
        backward(self, np.ones_like(self.a) if gradient is None else gradient.a, retain_graph)


def _partial(t, o):
    """PyTorch's notion: two dense tensors whose ranges meet without being the same tensor."""
    a, b = t.a, o.a
    if o is t or not a.size or not b.size or not (_dense(a) and _dense(b)):
        return False
    a0, b0 = addresses(a).min(), addresses(b).min()
    if a0 == b0 and a.nbytes == b.nbytes:
        return t.stride() != o.stride()
    return bool(a0 < b0 + b.nbytes and b0 < a0 + a.nbytes)


def _start(t):
    return t.a.__array_interface__["data"][0]


def _dense(a):
    """Whether the elements fill a range, each once."""
    at = 1
    for s, n in sorted(
        (s // a.itemsize, n) for n, s in zip(a.shape, a.strides, strict=True) if n != 1
    ):
        if s != at:
            return False
        at *= n
    return True


def _view_node(src, out):
    at, shape, kind = positions(out.a, src.a), src.shape, src.a.dtype

    def grads(g):
        full = np.zeros(int(np.prod(shape)), kind)
        np.add.at(full, at, np.asarray(g).reshape(-1))
        return (full.reshape(shape),)

    return Node([src.edge()], grads)


def backward(root, g, keep):
    if not root.requires_grad:
        raise RuntimeError("does not require grad")
    arrived, todo, leaves = {}, [], {}

    def send(edge, g):
        table = arrived if isinstance(edge, Node) else leaves
        if edge in table:
            table[edge] = table[edge] + g
        else:
            table[edge] = g
            if table is arrived:
                todo.append(edge)

    send(root.edge(), g)
    while todo:
        todo.sort(key=lambda n: n.seq)
        node = todo.pop()
        for edge, grad in zip(node.edges, node.run(arrived.pop(node), keep), strict=True):
            if edge is not None and grad is not None:
                send(edge, grad)
    for leaf, g in leaves.items():
        if leaf.grad is None:
            leaf.grad = Tensor(np.array(g, leaf.a.dtype))
        else:
            leaf.grad.a += g
            leaf.grad.version.n += 1


# what a node keeps and nobody else can write: a copy, a condition, an index
KEPT = Tensor(np.zeros(()))

# operators: result and gradients from values; gradients read what was saved only when they run


def result(value, sources, grads, saved=()):
    """A new tensor; grads(g) -> gradients of the sources."""
    out = Tensor(np.array(value, order="C"))
    if STATE["grad"] and any(s.requires_grad for s in sources) and out.a.dtype.kind == "f":
        out.node = Node([s.edge() for s in sources], grads, saved)
    return out


def _needed(x, y):
    """What a product keeps: each factor if the other wants a gradient."""
    return ([y] if x.requires_grad else []) + ([x] if y.requires_grad else [])


BINARY = {
    "add": (np.add, lambda g, x, y: (g, g), False),
    "sub": (np.subtract, lambda g, x, y: (g, -g), False),
    "mul": (np.multiply, lambda g, x, y: (g * y, g * x), True),
}
UNARY = {
    "neg": (np.negative, lambda g, x, y: -g, ""),
    "tanh": (np.tanh, lambda g, x, y: g * (1 - y * y), "out"),
    "sin": (np.sin, lambda g, x, y: g * np.cos(x), "in"),
    "square": (np.square, lambda g, x, y: g * 2 * x, "in"),
}


def binary(name, x, y):
    fn, grads, keeps = BINARY[name]
    saved = _needed(x, y) if keeps else []

    def back(g):
        gx, gy = grads(np.asarray(g), x.a, y.a)
        return sum_to(np.asarray(gx), x.shape), sum_to(np.asarray(gy), y.shape)

    return result(fn(x.a, y.a).astype(x.a.dtype), [x, y], back, saved)


def binary_(name, x, y):
    if np.broadcast_shapes(x.shape, y.shape) != x.shape:
        raise RuntimeError("output with shape")
    x.check_write([y])
    fn, grads, keeps = BINARY[name]
    old, same = x.values(), y is x
    shape = y.shape
    saved = [y] if keeps and not same and x.requires_grad else []
    if keeps and y.requires_grad:
        saved.append(KEPT)

    def back(g):
        gx, gy = grads(np.asarray(g), old, old if same else y.a)
        return np.asarray(gx), sum_to(np.asarray(gy), shape)

    return x.write(fn(x.a, y.a), [y], back, saved)


def unary(name, x):
    fn, grads, keeps = UNARY[name]
    value = fn(x.a)
    out = result(
        value, [x], lambda g: (grads(np.asarray(g), x.a, out.a),), [x] if keeps == "in" else []
    )
    if out.node and keeps == "out":
        out.node.saved.append((None, out.version, 0))
    return out


def unary_(name, x):
    x.check_write([])
    fn, grads, keeps = UNARY[name]
    old, value = x.values(), fn(x.a)
    tracked = x.requires_grad
    kept = [KEPT] if keeps == "in" and tracked else []
    x.write(value, [], lambda g: (grads(np.asarray(g), old, x.a),), kept)
    node = x.base.node if x.base is not None else x.node
    if keeps == "out" and tracked and STATE["grad"]:
        node.saved.append((None, x.version, x.version.n))
    return x


def scale_(x, k, c):
    """x * k + c in place."""
    x.check_write([])
    kept = [] if k == 1 else [KEPT]
    value = x.a * x.a.dtype.type(k) + x.a.dtype.type(c)
    return x.write(value, [], lambda g: (np.asarray(g) * k,), kept)


def copy_(x, y):
    if np.broadcast_shapes(x.shape, y.shape) != x.shape:
        raise RuntimeError("must match the size")
    alike = x.shape == y.shape and x.a.strides == y.a.strides and _start(x) == _start(y)
    x.check_write([y], overlap=not alike)
    shape, kind = y.shape, y.a.dtype
    return x.write(
        y.a.copy(), [y], lambda g: (np.zeros_like(g), sum_to(np.asarray(g), shape).astype(kind))
    )


def fill_(x, v):
    x.check_write([], overlap=False)
    return x.write(v, [], lambda g: (np.zeros_like(g),))


def put_(x, index, y):
    """x[index] = y, for index arrays and masks."""
    x.check_write([y], overlap=False)
    value = x.values()
    value[index] = y.a

    def back(g):
        old = np.array(g)
        old[index] = 0
        return old, sum_to(np.asarray(g)[index], y.shape)

    return x.write(value, [y], back, [KEPT])


def take(x, index):
    """x[index], for index arrays and masks."""

    def back(g):
        full = np.zeros(x.shape, x.a.dtype)
        np.add.at(full, index, np.asarray(g))
        return (full,)

    return result(x.a[index], [x], back, [KEPT])


def clone(x):
    return result(x.a, [x], lambda g: (g,))


def total(x):
    return result(np.asarray(x.a.sum()), [x], lambda g: (np.broadcast_to(g, x.shape),))


def sum_dim(x, d):
    return result(x.a.sum(d), [x], lambda g: (np.broadcast_to(np.expand_dims(g, d), x.shape),))


def matmul(x, y):
    return result(x.a @ y.a, [x, y], lambda g: (g @ y.a.T, x.a.T @ g), _needed(x, y))


def cat(xs, d):
    ends = np.cumsum([x.shape[d] for x in xs])[:-1]
    return result(
        np.concatenate([x.a for x in xs], d), xs, lambda g: tuple(np.split(np.asarray(g), ends, d))
    )


def where(c, x, y):
    return result(
        np.where(c, x.a, y.a),
        [x, y],
        lambda g: (sum_to(np.where(c, g, 0), x.shape), sum_to(np.where(c, 0, g), y.shape)),
        [KEPT],
    )


def sgd(params, momenta, lr):
    """One step of SGD with momentum 0.5; momenta: a dict kept between steps."""
    for p in params:
        if p.grad is None:
            continue
        d = p.grad.a
        if id(p) in momenta:
            momenta[id(p)] = momenta[id(p)] * 0.5 + d
        else:
            momenta[id(p)] = d.copy()
        p.a[...] = p.a - p.a.dtype.type(lr) * momenta[id(p)]
        p.version.n += 1
