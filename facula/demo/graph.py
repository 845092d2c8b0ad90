"""Draws the computational graph behind a value: an SVG picture in a page of its own.

The graph is what autograd recorded: it is read from `grad_fn` and `next_functions` alone, so the
same code draws any model.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 170, 44, 24, 40, 20

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em;
       color: #222; background: #fff }
svg { max-width: 100%; height: auto }
svg text { font: 13px system-ui, sans-serif; text-anchor: middle; fill: #222 }
svg .small { font-size: 11px; fill: #555 }
.op rect { fill: #e8eef7; stroke: #6c8ebf }
.leaf rect { fill: #dcefdc; stroke: #5a9a5a; rx: 20 }
.root rect { fill: #fbe3d6; stroke: #c8763a }
path { fill: none; stroke: #888; stroke-width: 1.3 }
code { background: #f2f2f2; padding: 0 .2em }
"""


@dataclass(eq=False)
class Box:
    """A box of the drawing, or the place where an edge passes a row (`title` is then empty)."""

    title: str
    shape: str
    kind: str
    node: Any = None  # kept, so that its identity stays its own
    inputs: list[Box] = field(default_factory=list)
    row: int = 0
    x: float = 0.0

    @property
    def width(self) -> float:
        return WIDTH if self.title else 10.0


def boxes_of(value: Any, names: dict[int, str]) -> Box:
    """The graph of a value as boxes, the value's own operator first."""
    made: dict[int, Box] = {}
    root = make_box(value.grad_fn, names)
    made[identity(value.grad_fn)] = root
    todo = [root]
    while todo:
        box = todo.pop()
        for node, _ in box.node.next_functions:
            if node is None:
                continue
            key = identity(node)
            if key not in made:
                made[key] = make_box(node, names)
                todo.append(made[key])
            box.inputs.append(made[key])
    root.kind = "root"
    return root


def identity(node: Any) -> int:
    """One number for one place in the graph: a leaf is its variable."""
    return id(getattr(node, "variable", node))


def make_box(node: Any, names: dict[int, str]) -> Box:
    """A leaf shows its name, an operator the name of its derivative without the ending."""
    variable = getattr(node, "variable", None)
    if variable is not None:
        title = names.get(id(variable), "leaf")
        return Box(title, size(variable.shape), "leaf", node)
    title = type(node).__name__.rstrip("0123456789").removesuffix("Backward")
    known = node._input_metadata
    return Box(title, size(known[0].shape) if known else "", "op", node)


def size(shape: Iterable[int]) -> str:
    """`64 × 10`; a scalar has no sizes."""
    return " × ".join(map(str, shape)) or "scalar"


def rows_of(root: Box) -> list[list[Box]]:
    """Boxes by their longest way to the root; long edges get a place in each row they pass."""
    order: list[Box] = []
    seen: set[int] = set()

    def visit(box: Box) -> None:
        stack = [(box, iter(box.inputs))]
        seen.add(id(box))
        while stack:
            box, rest = stack[-1]
            for other in rest:
                if id(other) not in seen:
                    seen.add(id(other))
                    stack.append((other, iter(other.inputs)))
                    break
            else:
                order.append(stack.pop()[0])

    visit(root)
    for box in reversed(order):  # every box after all that use it
        for other in box.inputs:
            other.row = max(other.row, box.row + 1)
    rows: list[list[Box]] = [[] for _ in range(max(b.row for b in order) + 1)]
    for box in reversed(order):
        rows[box.row].append(box)
    for box in order:
        for k, other in enumerate(box.inputs):
            user, slot = box, k
            for row in range(box.row + 1, other.row):
                passing = Box("", "", "pass", inputs=[other], row=row)
                rows[row].append(passing)
                user.inputs[slot] = passing
                user, slot = passing, 0
    return rows


def place(rows: list[list[Box]]) -> float:
    """Gives every box its x, near the middle of what uses it; returns the width of the drawing."""
    for row, above in itertools.pairwise([[], *rows]):
        wish: dict[int, list[float]] = {}
        for user in row:
            spread = len(user.inputs) - 1
            for k, box in enumerate(user.inputs):
                # the first input in the middle of its user, the rest beside it, left and right
                side = (k + 1) // 2 * (1 if k % 2 else -1) if spread else 0
                wish.setdefault(id(box), []).append(user.x + side * (WIDTH + GAP_X))
        target = {key: sum(xs) / len(xs) for key, xs in wish.items()}
        above.sort(key=lambda b: target.get(id(b), 0.0))
        edge = float("-inf")
        for box in above:
            box.x = max(target.get(id(box), 0.0), edge + box.width / 2)
            edge = box.x + box.width / 2 + GAP_X
    boxes = [box for row in rows for box in row]
    left = min(box.x - box.width / 2 for box in boxes)
    for box in boxes:
        box.x += MARGIN - left
    return max(box.x + box.width / 2 for box in boxes) + MARGIN


def svg(root: Box) -> str:
    """The drawing: leaves on top, the value at the bottom."""
    rows = rows_of(root)
    width = place(rows)
    height = 2 * MARGIN + len(rows) * (HEIGHT + GAP_Y) - GAP_Y

    def top(box: Box) -> float:
        return MARGIN + (len(rows) - 1 - box.row) * (HEIGHT + GAP_Y)

    edges, boxes = [], []
    for box in itertools.chain.from_iterable(rows):
        y = top(box)
        for other in box.inputs:
            y0, y1 = top(other) + HEIGHT, y
            bend = (y1 - y0) / 2
            end = "" if not box.title else ' marker-end="url(#arrow)"'
            edges.append(
                f'<path d="M{other.x:.0f} {y0:.0f} C{other.x:.0f} {y0 + bend:.0f} '
                f'{box.x:.0f} {y1 - bend:.0f} {box.x:.0f} {y1:.0f}"{end}/>'
            )
        if not box.title:
            edges.append(f'<path d="M{box.x:.0f} {y:.0f}V{y + HEIGHT:.0f}"/>')
            continue
        title, shape = html.escape(box.title), html.escape(box.shape)
        boxes.append(
            f'<g class="{box.kind}"><title>{title}, {shape}</title>'
            f'<rect x="{box.x - WIDTH / 2:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" '
            f'rx="6"/><text x="{box.x:.0f}" y="{y + 18:.0f}">{title}</text>'
            f'<text class="small" x="{box.x:.0f}" y="{y + 35:.0f}">{shape}</text></g>'
        )
    arrow = (
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" style="fill:#888"/></marker></defs>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">{arrow}{"".join(edges)}{"".join(boxes)}</svg>'
    )


def page(value: Any, title: str, named_parameters: Iterable[tuple[str, Any]] = ()) -> str:
    """An HTML page with the graph of `value`, which needs gradients."""
    names = {id(tensor): name for name, tensor in named_parameters}
    drawing = svg(boxes_of(value, names))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>{STYLE}</style>
<h1>{html.escape(title)}</h1>
<p>Each blue box is an operator that was recorded while the value was computed, with the sizes of
its result; each green one a parameter that the gradient flows to. The value itself stands at the
bottom. <code>backward()</code> walks the arrows in the other direction. Data that need no gradient
(the images, the labels) are not part of this graph.</p>
{drawing}
</html>
"""
