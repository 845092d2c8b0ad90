"""A table of measurements: printed as it grows, kept as Markdown, drawn as bars."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

Cell = str | float | None


def shown(cell: Cell) -> str:
    """A cell's text: four figures at most, nothing for None."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    return (
        f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3f}" if abs(cell) < 10 else f"{cell:.1f}"
    )


@dataclass
class Table:
    """Rows under heads. `bars` names the column that is drawn, `unit` what its numbers are.

    With `unit="×"` the bars start at 1, on a logarithmic axis: above it facula is ahead.
    """

    name: str
    title: str
    heads: Sequence[str]
    bars: str
    unit: str = "×"
    rows: list[list[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def begin(self) -> Table:
        """Prints the head."""
        print(f"\n{self.title}")
        self._print(self.heads)
        return self

    def add(self, *cells: Cell) -> None:
        """Adds a row, and prints it at once: a long run shows that it goes on."""
        self.rows.append(list(cells))
        self._print(cells)

    def note(self, text: str) -> None:
        """A line below the table."""
        self.notes.append(text)
        print(text, flush=True)

    def _print(self, cells: Sequence[Cell]) -> None:
        first, *others = map(shown, cells)
        print(f"{first:28s}" + "".join(f"{c:>18s}" for c in others), flush=True)

    def markdown(self) -> str:
        """The table for a report."""
        lines = [f"## {self.title}", "", "| " + " | ".join(self.heads) + " |"]
        lines.append("| --- |" + " ---: |" * (len(self.heads) - 1))
        lines += ["| " + " | ".join(map(shown, row)) + " |" for row in self.rows]
        lines += ["", *self.notes] if self.notes else []
        return "\n".join(lines) + "\n"

    def values(self) -> dict[str, float]:
        """The drawn column by the rows' names."""
        at = list(self.heads).index(self.bars)
        return {str(r[0]): r[at] for r in self.rows if isinstance(r[at], float)}  # type: ignore[misc]

    def draw(self, folder: Path) -> Path | None:
        """Draws the bars; None without matplotlib, or without anything to draw."""
        values = self.values() if self.bars in self.heads else {}
        if not values or importlib.util.find_spec("matplotlib") is None:
            return None
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        ratio = self.unit == "×"
        start = 1.0 if ratio else 0.0
        figure, axes = plt.subplots(figsize=(8, 0.32 * len(values) + 1.2), layout="constrained")
        colours = ["#c0261c" if ratio and v < 1 else "#2b7a2b" for v in values.values()]
        bars = axes.barh(
            list(values), [v - start for v in values.values()], left=start, color=colours
        )
        axes.bar_label(bars, [f"{v:.2f}{self.unit}" for v in values.values()], padding=3)
        axes.axvline(start, color="black", linewidth=1)
        axes.set(xlabel=self.bars, title=self.title)
        if ratio:
            axes.set_xscale("log")
            axes.set_xticks(ticks := [2.0**k for k in range(-3, 7)], [f"{t:g}×" for t in ticks])
            axes.minorticks_off()
            axes.set_xlim(min(0.5, *values.values()) / 1.3, max(2, *values.values()) * 1.3)
        axes.invert_yaxis()
        path = folder / f"{self.name}.png"
        figure.savefig(path, dpi=120)
        plt.close(figure)
        return path
