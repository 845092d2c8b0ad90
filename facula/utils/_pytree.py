"""Nested containers taken apart and put together: `torch.utils._pytree`."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class MappingKey(NamedTuple):
    """The key of a value in a dict."""

    key: Any


class SequenceKey(NamedTuple):
    """The place of a value in a sequence."""

    idx: int


class TreeSpec:
    """The shape of a nested container: its kind, what rebuilds it, and its children's shapes."""

    __slots__ = ("children_specs", "context", "num_leaves", "type")

    def __init__(self, type: Any, context: Any, children: list[TreeSpec]) -> None:
        self.type, self.context, self.children_specs = type, context, children
        self.num_leaves = 1 if type is None else sum(c.num_leaves for c in children)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TreeSpec)
            and (self.type, self.context) == (other.type, other.context)
            and self.children_specs == other.children_specs
        )

    def __hash__(self) -> int:
        return hash((self.type, self.num_leaves))

    def __repr__(self) -> str:
        if self.type is None:
            return "*"
        return f"TreeSpec({self.type.__name__}, {self.context}, {self.children_specs})"

    def is_leaf(self) -> bool:
        """Whether it stands for a single value."""
        return self.type is None


LeafSpec = lambda: TreeSpec(None, None, [])  # noqa: E731

# kind: (container -> (children, context), (children, context) -> container)
_REGISTRY: dict[type, tuple[Callable, Callable]] = {
    list: (lambda x: (list(x), None), lambda c, _: list(c)),
    tuple: (lambda x: (list(x), None), lambda c, _: tuple(c)),
    dict: (lambda x: (list(x.values()), list(x)), lambda c, k: dict(zip(k, c))),
    OrderedDict: (lambda x: (list(x.values()), list(x)), lambda c, k: OrderedDict(zip(k, c))),
    defaultdict: (
        lambda x: (list(x.values()), [x.default_factory, list(x)]),
        lambda c, k: defaultdict(k[0], zip(k[1], c)),
    ),
    deque: (lambda x: (list(x), x.maxlen), lambda c, n: deque(c, maxlen=n)),
    namedtuple: (lambda x: (list(x), type(x)), lambda c, cls: cls(*c)),  # type: ignore[dict-item]
}
SUPPORTED_NODES = _REGISTRY


def register_pytree_node(cls: type, flatten_fn: Callable, unflatten_fn: Callable, **_: Any) -> None:
    """Makes a class known: flatten_fn(x) -> (children, context), unflatten_fn(children, context)."""
    _REGISTRY[cls] = (flatten_fn, unflatten_fn)


_register_pytree_node = register_pytree_node


def _kind(tree: Any) -> Any:
    cls = type(tree)
    if cls in _REGISTRY:
        return cls
    if isinstance(tree, tuple) and hasattr(cls, "_fields"):
        return namedtuple
    return None


def tree_flatten(tree: Any, is_leaf: Callable | None = None) -> tuple[list, TreeSpec]:
    """(leaves, shape) of a nested container."""
    leaves: list = []
    return leaves, _flatten(tree, leaves, is_leaf)


def _flatten(tree: Any, leaves: list, is_leaf: Callable | None) -> TreeSpec:
    kind = None if is_leaf is not None and is_leaf(tree) else _kind(tree)
    if kind is None:
        leaves.append(tree)
        return TreeSpec(None, None, [])
    children, context = _REGISTRY[kind][0](tree)
    return TreeSpec(kind, context, [_flatten(c, leaves, is_leaf) for c in children])


def tree_unflatten(leaves: Iterable, treespec: TreeSpec) -> Any:
    """The container of a shape with other leaves."""
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(
            f"tree_unflatten(leaves, treespec): `leaves` has length {len(leaves)} but the spec refers to a pytree that holds {treespec.num_leaves} items ({treespec})."
        )
    return _unflatten(iter(leaves), treespec)


def _unflatten(leaves: Any, spec: TreeSpec) -> Any:
    if spec.type is None:
        return next(leaves)
    return _REGISTRY[spec.type][1](
        [_unflatten(leaves, c) for c in spec.children_specs], spec.context
    )


def tree_leaves(tree: Any, is_leaf: Callable | None = None) -> list:
    """The leaves."""
    return tree_flatten(tree, is_leaf)[0]


def tree_structure(tree: Any, is_leaf: Callable | None = None) -> TreeSpec:
    """The shape."""
    return tree_flatten(tree, is_leaf)[1]


tree_iter = tree_leaves


def tree_map(func: Callable, tree: Any, *rests: Any, is_leaf: Callable | None = None) -> Any:
    """func of every leaf (and of the leaves of further trees at the same place)."""
    leaves, spec = tree_flatten(tree, is_leaf)
    others = [_like(spec, r) for r in rests]
    return tree_unflatten([func(*args) for args in zip(leaves, *others)], spec)


def _like(spec: TreeSpec, tree: Any) -> list:
    """Subtrees of tree where spec has leaves."""
    if spec.type is None:
        return [tree]
    children, _ = _REGISTRY[spec.type][0](tree)
    return [x for c, s in zip(children, spec.children_specs) for x in _like(s, c)]


def tree_map_(func: Callable, tree: Any, *rests: Any, is_leaf: Callable | None = None) -> Any:
    """func called on every leaf; the tree itself comes back."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def tree_map_only(types: Any, func: Callable, tree: Any, is_leaf: Callable | None = None) -> Any:
    """func of every leaf of given types; the others as they are."""
    match = types if not isinstance(types, (type, tuple)) else lambda x: isinstance(x, types)
    return tree_map(lambda x: func(x) if match(x) else x, tree, is_leaf=is_leaf)


def tree_all(pred: Callable, tree: Any, is_leaf: Callable | None = None) -> bool:
    """Whether pred holds for all leaves."""
    return all(map(pred, tree_leaves(tree, is_leaf)))


def tree_any(pred: Callable, tree: Any, is_leaf: Callable | None = None) -> bool:
    """Whether pred holds for some leaf."""
    return any(map(pred, tree_leaves(tree, is_leaf)))


def broadcast_to_leaves(tree: Any, spec: TreeSpec) -> list | None:
    """A leaf of tree for each leaf of spec; a leaf of tree may stand for a subtree. None if it can't."""
    if spec.type is None:
        return [tree]
    if _kind(tree) is not spec.type:
        return [tree] * spec.num_leaves if _kind(tree) is None else None
    children, _ = _REGISTRY[spec.type][0](tree)
    if len(children) != len(spec.children_specs):
        return None
    parts = [broadcast_to_leaves(c, s) for c, s in zip(children, spec.children_specs)]
    return None if any(p is None for p in parts) else [x for p in parts for x in p]  # type: ignore[union-attr]


_broadcast_to_and_flatten = broadcast_to_leaves
