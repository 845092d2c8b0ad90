"""Random programs, played on a library (facula; PyTorch itself where it is installed) or on the model.

A program is a list of instructions, each six small numbers; what they mean is decided while playing from
shapes and strides alone, so that every player does the same. Playing gives a trace of what was seen.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tests.semantics import model

SHAPES = [(3, 4), (2, 3, 4), (6,), (4, 4), (1,), (), (2, 1, 3), (5, 2), (0, 3), (40, 12)]
DTYPES = ["float64", "float64", "float32", "int64"]
WORDS = [
    "a leaf Variable", "a view of a leaf", "modified by an inplace", "second time", "does not require grad",
    "more than one element", "some elements", "created in no_grad mode", "output with shape", "must match the size",
]  # fmt: skip


def numbers(seed, shape, dtype):
    x = np.random.default_rng(seed).integers(-6, 7, shape)
    return np.asarray(x, dtype) if dtype == "int64" else np.asarray(x * 0.25, dtype)


# name -> (method of tensors, the same for NumPy); parameters are found by `View`
def _np_expand(a, n):
    return as_strided(a, (n, *a.shape), (0 if n > 1 else a.itemsize, *a.strides))


def _np_strided(a, shape, strides):
    return as_strided(a, shape, [s * a.itemsize for s in strides])


def _np_diagonal(a, k):
    count = min(a.shape[0], a.shape[1] - k)
    return as_strided(
        a[:, k:], (*a.shape[2:], count), (*a.strides[2:], a.strides[0] + a.strides[1])
    )


def _np_unfold(a, d, size, step):
    count = (a.shape[d] - size) // step + 1
    shape = [*a.shape[:d], count, *a.shape[d + 1 :], size]
    return as_strided(
        a, shape, [*a.strides[:d], a.strides[d] * step, *a.strides[d + 1 :], a.strides[d]]
    )


def _np_view(a, shape):
    b = a.view()
    b.shape = shape
    return b


VIEWS = {
    "slice": (lambda t, i: t[i], lambda a, i: a[i]),
    "select": (lambda t, d, i: t.select(d, i), lambda a, d, i: a[(slice(None),) * d + (i, ...)]),
    "transpose": (lambda t, d, e: t.transpose(d, e), lambda a, d, e: a.swapaxes(d, e)),
    "permute": (lambda t, p: t.permute(*p), lambda a, p: a.transpose(p)),
    "flat": (lambda t: t.view(-1), lambda a: _np_view(a, (-1,))),
    "unsqueeze": (lambda t, d: t.unsqueeze(d), lambda a, d: np.expand_dims(a, d)),
    "squeeze": (lambda t: t.squeeze(), lambda a: a.squeeze()),
    "narrow": (lambda t, d, i, n: t.narrow(d, i, n), lambda a, d, i, n: a[(slice(None),) * d + (slice(i, i + n),)]),
    "diagonal": (lambda t, k: t.diagonal(k, 0, 1), _np_diagonal),
    "expand": (lambda t, n: t.unsqueeze(0).expand(n, *[-1] * t.ndim), _np_expand),
    "split": (lambda t, d, n: t.view(*t.shape[:d], n, t.shape[d] // n, *t.shape[d + 1 :]),
              lambda a, d, n: _np_view(a, (*a.shape[:d], n, a.shape[d] // n, *a.shape[d + 1 :]))),
    "as_strided": (lambda t, shape, strides: t.as_strided(shape, strides), _np_strided),
    "unfold": (lambda t, d, size, step: t.unfold(d, size, step), _np_unfold),
    "alias": (lambda t: t[...], lambda a: a[...]),
}  # fmt: skip
VIEW_NAMES = list(VIEWS)


def view_parameters(name, t, p, q):
    """Parameters of a view of t, or None where it has none of this kind."""
    shape, n = t.shape, t.ndim
    if name in ("squeeze", "alias"):
        return ()
    if name == "unsqueeze":
        return (p % (n + 1),)
    if name == "expand":
        return (1 + p % 3,) if n < 3 else None
    if n == 0:
        return None
    d = p % n
    size = shape[d]
    if name == "transpose":
        return (d, q % n)
    if name == "permute":
        return (tuple((i + p) % n for i in range(n)),)
    if name == "flat":
        return () if contiguous(t) else None
    if size == 0:
        return None
    if name == "slice":
        start, step = q % size, 1 + (q // 7) % 3
        return ((slice(None),) * d + (slice(start, size - (q // 3) % 2 or None, step),),)
    if name == "select":
        return (d, q % size)
    if name == "narrow":
        return (d, q % size, 1 + (q // 5) % (size - q % size))
    if name == "diagonal":
        return (q % 2,) if n >= 2 and shape[1] > 1 and shape[0] else None
    if name == "split":
        return (d, 2) if size % 2 == 0 and contiguous(t) else None
    if name == "as_strided":
        # a denser or a sparser walk over the same elements, never outside
        if t.requires_grad or n != 1 or size < 2:
            return None
        s = t.stride()[0]
        return ((size // 2, 2), (s, s)) if p % 2 and size > 2 else (((size + 1) // 2,), (2 * s,))
    if name == "unfold":
        k = 1 + q % min(size, 3)
        return (d, k, 1 + q % 2) if n < 3 and not t.requires_grad else None
    raise AssertionError(name)


def contiguous(t):
    if 0 in t.shape:
        return True
    at = 1
    for n, s in zip(reversed(t.shape), reversed(tuple(t.stride())), strict=True):
        if n != 1 and s != at:
            return False
        at *= max(n, 1)
    return True


def places(t):
    """Where in its storage every element of t is."""
    at = np.full(tuple(t.shape), t.storage_offset())
    for d, (n, s) in enumerate(zip(t.shape, t.stride(), strict=True)):
        at += (np.arange(n) * s).reshape([-1 if i == d else 1 for i in range(at.ndim)])
    return at.reshape(-1)


def across(t, u):
    """Whether writing t from u depends on the order of elements (PyTorch leaves open what happens).

    Or on the strides of dims of size 1, by which PyTorch tells the same tensor from another one: NumPy's
    are different.
    """
    if t is u or getattr(t, "family", t) is not getattr(u, "family", u):
        return False
    a, b = places(t), places(u)
    if dense(t) and dense(u):
        return 1 in (*t.shape, *u.shape) and np.array_equal(np.sort(a), np.sort(b))
    return not (t.shape == u.shape and np.array_equal(a, b)) and len(np.intersect1d(a, b)) > 0


def dense(t):
    if 0 in t.shape:
        return True
    at = 1
    for s, n in sorted((s, n) for n, s in zip(t.shape, t.stride(), strict=True) if n != 1):
        if s != at:
            return False
        at *= n
    return True


def tangled(t):
    """Whether elements of t share memory in a way that only places tell."""
    return not repeated(t) and not dense(t) and len(np.unique(places(t))) < t.numel()


def repeated(t):
    """Whether t is expanded. (Strides of dims of size 1 differ between libraries.)"""
    return any(s == 0 and n > 1 for s, n in zip(t.stride(), t.shape, strict=True))


class Library:
    """PyTorch's interface: facula, or PyTorch."""

    def __init__(self, torch):
        self.torch = torch
        self.no_grad = torch.no_grad

    def new(self, array):
        return self.torch.from_numpy(np.array(array)).clone()

    def from_numpy(self, array):
        return self.torch.from_numpy(array)

    def constant(self, array):
        return self.torch.tensor(array)

    def values(self, t):
        return np.array(t.detach().tolist(), self.dtype(t)).reshape(tuple(t.shape))

    def dtype(self, t):
        return str(t.dtype).removeprefix("torch.")

    def view(self, name, t, args):
        return VIEWS[name][0](t, *args)

    def binary(self, name, x, y):
        return getattr(self.torch, name)(x, y)

    def binary_(self, name, x, y):
        return getattr(x, name + "_")(y)

    def unary(self, name, x):
        return getattr(self.torch, name)(x)

    def unary_(self, name, x):
        return getattr(x, name + "_")()

    def scale_(self, x, k, c):
        x.mul_(k)
        return x.add_(c) if c else x

    def copy_(self, x, y):
        return x.copy_(y)

    def fill_(self, x, v):
        return x.zero_() if v == 0 else x.fill_(v)

    def put_(self, x, index, y):
        x[tuple(self.torch.from_numpy(i) for i in index)] = y

    def take(self, x, index):
        return x[tuple(self.torch.from_numpy(i) for i in index)]

    def clone(self, x):
        return x.clone()

    def total(self, x):
        return x.sum()

    def sum_dim(self, x, d):
        return x.sum(d)

    def matmul(self, x, y):
        return x @ y

    def cat(self, xs, d):
        return self.torch.cat(xs, d)

    def where(self, c, x, y):
        return self.torch.where(self.torch.from_numpy(c), x, y)

    def sgd(self, params, state, lr):
        made = state.setdefault("made", {})
        for p in params:
            if id(p) not in made:
                made[id(p)] = self.torch.optim.SGD([p], lr=lr, momentum=0.5)
            made[id(p)].param_groups[0]["lr"] = lr
            made[id(p)].step()


class Model:
    """The NumPy model."""

    no_grad = staticmethod(model.no_grad)
    binary, binary_, unary, unary_ = map(
        staticmethod, (model.binary, model.binary_, model.unary, model.unary_)
    )
    copy_, fill_, put_, take = map(staticmethod, (model.copy_, model.fill_, model.put_, model.take))
    clone, total, sum_dim, matmul = map(
        staticmethod, (model.clone, model.total, model.sum_dim, model.matmul)
    )
    cat, where, sgd = map(staticmethod, (model.cat, model.where, model.sgd))

    def new(self, array):
        return model.Tensor(np.array(array))

    def from_numpy(self, array):
        return model.Tensor(array)

    constant = new

    def values(self, t):
        return t.values()

    def dtype(self, t):
        return t.dtype

    def view(self, name, t, args):
        if name == "expand":  # two views, as it is written for tensors
            return t.view_as_array(VIEWS[name][1](t.a, *args))
        return t.view_as_array(VIEWS[name][1](t.a, *args))

    def scale_(self, x, k, c):
        model.scale_(x, k, 0)
        return model.scale_(x, 1, c) if c else x


class Player:
    """Plays one program."""

    def __init__(self, library):
        self.lib = library
        self.tensors, self.arrays, self.trace, self.state = [], [], [], {}
        self.leaves = []

    def play(self, program):
        for self.at, (kind, a, b, c, d, e) in enumerate(program):
            name = KINDS[kind % len(KINDS)]
            try:
                getattr(self, name)(a, b, c, d, e)
            except (RuntimeError, IndexError) as error:
                word = next((w for w in WORDS if w in str(error)), None)
                if word is None:
                    raise
                self.saw(name, word)
        for i in range(len(self.tensors)):
            self.read(i, 0, 0, 0, 0)
        self.saw(
            "grads", [None if t.grad is None else self.lib.values(t.grad) for t in self.leaves]
        )
        return self.trace

    def saw(self, name, what):
        self.trace.append((self.at, name, what))

    def target(self, i, floating=False):
        """A tensor to write to."""
        t = self.floating(i) if floating else self.pick(i)
        t.is_leaf
        return self.keep(self.lib.clone(self.plain(t))) if tangled(t) else t

    def pick(self, i):
        if not self.tensors:
            self.new(i, 1, 0, 0, 0)
        return self.tensors[i % len(self.tensors)]

    def keep(self, t, source=None):
        t.family = t if source is None else getattr(source, "family", source)
        self.tensors.append(t)
        if len(self.tensors) > 10:
            del self.tensors[1]
        return t

    def other(self, t, i, seed):
        """A tensor of t's dtype that broadcasts with t, and does not lie across it."""
        for k in range(len(self.tensors)):
            u = self.tensors[(i + k) % len(self.tensors)]
            if self.lib.dtype(u) == self.lib.dtype(t) and not across(t, u):
                try:
                    if np.broadcast_shapes(tuple(u.shape), tuple(t.shape)) == tuple(t.shape):
                        return u
                except ValueError:
                    continue
            if k == 4:
                break
        return self.lib.constant(numbers(seed, tuple(t.shape), self.lib.dtype(t)))

    def plain(self, t):
        """Results of permuted operands lie permuted, which the model does not know."""
        return t.contiguous() if isinstance(self.lib, Library) else t

    def floating(self, i):
        for k in range(len(self.tensors)):
            t = self.tensors[(i + k) % len(self.tensors)]
            if self.lib.dtype(t) != "int64":
                return t
        return self.new(i, 0, i % 3, 0, 0)

    # instructions

    def new(self, a, b, c, d, e):
        t = self.lib.new(numbers(a, SHAPES[b % len(SHAPES)], DTYPES[c % len(DTYPES)]))
        if d % 2 and DTYPES[c % len(DTYPES)] != "int64":
            t.requires_grad_()
            self.leaves.append(t)
            t = self.keep(t)
            return t
        return self.keep(t)

    def from_numpy(self, a, b, c, d, e):
        array = np.array(numbers(a, SHAPES[b % 8], DTYPES[c % len(DTYPES)]))
        if d % 3 == 0 and array.ndim > 1:
            array = array.T if e % 2 else array[:, ::2]
        self.arrays.append(array)
        self.keep(self.lib.from_numpy(array))

    def to_numpy(self, a, b, c, d, e):
        t = self.pick(a)
        self.arrays.append(t.detach().numpy())
        self.arrays = self.arrays[-4:]

    def write_array(self, a, b, c, d, e):
        if self.arrays:
            x = self.arrays[a % len(self.arrays)]
            if x.size and not any(
                s == 0 and n > 1 for s, n in zip(x.strides, x.shape, strict=True)
            ):
                if b % 2:
                    x[...] = x * 0.5 + c % 3
                else:
                    x[(c % x.shape[0],) if x.ndim else ()] = d % 5

    def read_array(self, a, b, c, d, e):
        if self.arrays:
            self.saw("array", np.array(self.arrays[a % len(self.arrays)]))

    def view(self, a, b, c, d, e):
        t = self.pick(a)
        name = VIEW_NAMES[b % len(VIEW_NAMES)]
        args = view_parameters(name, t, c, d)
        if args is not None:
            self.keep(self.lib.view(name, t, args), t)

    def view_of_view(self, a, b, c, d, e):
        self.view(a, b, c, d, e)
        self.view(len(self.tensors) - 1, c, b, e, d)

    def detach(self, a, b, c, d, e):
        self.keep(self.pick(a).detach(), self.pick(a))

    def clone(self, a, b, c, d, e):
        self.keep(self.lib.clone(self.plain(self.pick(a))))

    def binary(self, a, b, c, d, e):
        x = self.floating(a)
        y = self.other(x, b, c)
        name = list(model.BINARY)[d % 3]
        self.keep(self.lib.binary(name, self.plain(x), self.plain(y)))

    def unary(self, a, b, c, d, e):
        self.keep(self.lib.unary(list(model.UNARY)[b % 4], self.plain(self.floating(a))))

    def reduce(self, a, b, c, d, e):
        x = self.floating(a)
        self.keep(
            self.lib.sum_dim(self.plain(x), b % x.ndim) if x.ndim and c % 2 else self.lib.total(x)
        )

    def matmul(self, a, b, c, d, e):
        x = self.floating(a)
        if x.ndim == 2 and 0 not in x.shape:
            y = self.floating(b)
            if y.ndim != 2 or y.shape[0] != x.shape[1] or self.lib.dtype(y) != self.lib.dtype(x):
                y = self.lib.constant(numbers(c, (x.shape[1], 3), self.lib.dtype(x)))
            self.keep(self.lib.unary("tanh", self.plain(self.lib.matmul(x, y))))

    def join(self, a, b, c, d, e):
        x = self.floating(a)
        y = self.other(x, b, c)
        if x.ndim and tuple(x.shape) == tuple(y.shape) and x.numel() < 200:
            self.keep(self.lib.cat([self.plain(x), self.plain(y)], d % x.ndim))

    def where(self, a, b, c, d, e):
        x = self.floating(a)
        y = self.other(x, b, c)
        self.keep(
            self.lib.where(
                np.asarray(numbers(d, tuple(x.shape), "int64") > 0), self.plain(x), self.plain(y)
            )
        )

    def binary_(self, a, b, c, d, e):
        x = self.target(a)
        name = ["add", "mul", "sub"][d % 3]
        y = self.other(x, b, c)
        if name == "mul" and x.requires_grad and getattr(x, "family", x) is getattr(y, "family", y):
            name = "add"  # PyTorch refuses the derivative; facula keeps the old value
        self.lib.binary_(name, x, y)

    def unary_(self, a, b, c, d, e):
        self.lib.unary_(list(model.UNARY)[b % 4], self.target(a, True))

    def scale_(self, a, b, c, d, e):
        self.lib.scale_(self.target(a, True), [0.5, 2.0, -1.0][b % 3], [0, 0.25][c % 2])

    def copy_(self, a, b, c, d, e):
        x = self.target(a)
        self.lib.copy_(x, self.other(x, b, c))

    def fill_(self, a, b, c, d, e):
        t = self.pick(a)
        t.is_leaf
        self.lib.fill_(t, b % 3)

    def set_item(self, a, b, c, d, e):
        x = self.target(a)
        name = ["slice", "select", "narrow", "alias"][b % 4]
        args = view_parameters(name, x, c, d)
        if args is None:
            return
        target = self.lib.view(name, x, args)
        target.family = getattr(x, "family", x)
        if e % 2:
            self.lib.fill_(target, e % 5)
        else:
            self.lib.copy_(target, self.other(target, c, d))

    def put_item(self, a, b, c, d, e):
        x = self.target(a)
        index = self._index(x, b, c)
        if index is not None and not repeated(x):
            shape = np.empty(x.shape)[index].shape if d % 2 else ()
            y = self.lib.constant(numbers(e, shape, self.lib.dtype(x)))
            if d % 4 == 1 and self.lib.dtype(x) != "int64":
                y = self._made(y)
            self.lib.put_(x, index, y)

    def _made(self, y):
        """A value with a history."""
        y.requires_grad_()
        self.leaves.append(y)
        return self.lib.unary("tanh", y)

    def _index(self, x, b, c):
        if not x.ndim or 0 in x.shape:
            return None
        if b % 2:
            return (numbers(c, tuple(x.shape), "int64") > 0,)
        count = 1 + c % x.shape[0]
        return (np.random.default_rng(c).permutation(x.shape[0])[:count],)

    def take(self, a, b, c, d, e):
        x = self.floating(a)
        index = self._index(x, b, c)
        if index is not None:
            self.keep(self.plain(self.lib.take(self.plain(x), index)))

    def data_write(self, a, b, c, d, e):
        self.lib.scale_(self.target(a, True).data, 0.5, 0.25)

    def no_grad_write(self, a, b, c, d, e):
        x = self.target(a)
        with self.lib.no_grad():
            name = ["slice", "select", "narrow", "transpose"][b % 4]
            args = view_parameters(name, x, c, d)
            target = x if args is None or e % 2 else self.lib.view(name, x, args)
            self.lib.binary_("add", target, self.lib.constant(numbers(e, (), self.lib.dtype(x))))

    def no_grad_view_write(self, a, b, c, d, e):
        x = self.target(a, True)
        args = view_parameters("narrow", x, c, d)
        if args is not None:
            with self.lib.no_grad():
                v = self.lib.view("narrow", x, args)
            self.lib.unary_("neg", v)

    def step(self, a, b, c, d, e):
        if self.leaves:
            self.lib.sgd([self.leaves[a % len(self.leaves)]], self.state, [0.5, 0.25, 0.125][b % 3])

    def zero_grad(self, a, b, c, d, e):
        if self.leaves:
            leaf = self.leaves[a % len(self.leaves)]
            if b % 2:
                leaf.grad = None
            elif leaf.grad is not None:
                self.keep(leaf.grad, leaf.grad)  # somebody else sees what the next pass adds

    def backward(self, a, b, c, d, e):
        t = self.pick(a)
        if self.lib.dtype(t) != "int64":
            loss = self.lib.total(
                self.lib.binary(
                    "mul", t, self.lib.constant(numbers(b, tuple(t.shape), self.lib.dtype(t)))
                )
            )
            loss.backward(retain_graph=bool(c % 2))

    def read(self, a, b, c, d, e):
        t = self.pick(a)
        self.saw("read", (self.lib.values(t), bool(t.requires_grad), bool(t.is_leaf)))

    def element(self, a, b, c, d, e):
        t = self.pick(a)
        if t.numel():
            self.saw("element", self.lib.values(self.lib.view("alias", t, ())).reshape(-1)[0])

    def version(self, a, b, c, d, e):
        self.saw("version", self.pick(a)._version)

    def drop(self, a, b, c, d, e):
        if len(self.tensors) > 2:
            del self.tensors[a % len(self.tensors)]


KINDS = (
    "new new from_numpy to_numpy write_array write_array read_array view view view view_of_view view_of_view detach clone "
    "binary binary binary unary unary reduce matmul join where binary_ binary_ binary_ unary_ scale_ copy_ copy_ fill_ "
    "set_item set_item put_item put_item take data_write no_grad_write no_grad_view_write step zero_grad backward backward "
    "read element version drop drop drop"
).split()


def same(a, b):
    """Whether two traces show the same; the first difference as text, or None."""
    for x, y in zip(a, b, strict=False):
        if x[:2] != y[:2] or not _equal(x[2], y[2]):
            return f"instruction {x[0]}: {x[1:]}\n  against {y[0]}: {y[1:]}"
    return None if len(a) == len(b) else f"{len(a)} things seen against {len(b)}"


def _equal(x, y):
    if isinstance(x, (list, tuple)):
        return isinstance(y, (list, tuple)) and len(x) == len(y) and all(map(_equal, x, y))
    if isinstance(x, np.ndarray):
        if not isinstance(y, np.ndarray) or x.shape != y.shape or x.dtype != y.dtype:
            return False
        tolerance = 1e-3 if x.dtype == np.float32 else 1e-9
        with np.errstate(all="ignore"):
            return (
                bool(np.allclose(x, y, tolerance, tolerance, equal_nan=True))
                or not np.isfinite(x).all()
            )
    if isinstance(x, (float, np.floating)):
        return isinstance(y, (float, np.floating)) and (
            abs(x - y) <= 1e-3 * (1 + abs(x)) or not np.isfinite(x)
        )
    return x == y
