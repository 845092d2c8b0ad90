"""Measurements side by side, as a table."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from facula.utils.benchmark.measurement import (
    Measurement,
    ordered_unique,
    select_unit,
    trim_sigfig,
    unit_to_english,
)


class Colorize(enum.Enum):
    """What colours compare: nothing is coloured here."""

    NONE = "none"
    COLUMNWISE = "columnwise"
    ROWWISE = "rowwise"


class Compare:
    """A table of measurements: a row for each sub label, a column for each description."""

    def __init__(self, results: list[Measurement]) -> None:
        self._results: list[Measurement] = []
        self.extend_results(results)
        self._trim = False

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """Adds measurements."""
        results = list(results)
        for r in results:
            if not isinstance(r, Measurement):
                raise ValueError(f"Expected an instance of `Measurement`, got {type(r)} instead.")
        self._results.extend(results)

    def trim_significant_figures(self) -> None:
        """Shows only digits that mean something."""
        self._trim = True

    def colorize(self, rowwise: bool = False) -> None:
        """Accepted; the table stays without colours."""

    def highlight_warnings(self) -> None:
        """Accepted; the table stays without colours."""

    def print(self) -> None:
        """Prints the tables."""
        print(self)

    def __str__(self) -> str:
        merged = Measurement.merge(self._results)
        return "\n".join(
            self._table(label, [m for m in merged if m.label == label])
            for label in ordered_unique(m.label for m in merged)
        )

    def _table(self, label: str | None, results: list[Measurement]) -> str:
        unit, scale = select_unit(min(m.median for m in results))
        columns = ordered_unique(m.description or "" for m in results)
        lines: list[list[str]] = []
        breaks: dict[int, str] = {}
        for threads in ordered_unique(m.num_threads for m in results):
            breaks[len(lines)] = f"{threads} threads: "
            group = [m for m in results if m.num_threads == threads]
            for name in ordered_unique(m.as_row_name for m in group):
                cells = []
                for column in columns:
                    found = [
                        m
                        for m in group
                        if m.as_row_name == name and (m.description or "") == column
                    ]
                    t = found[0].median / scale if found else None
                    if t is not None and self._trim:
                        t = trim_sigfig(t, found[0].significant_figures)
                    cells.append("" if t is None else f"{t:.1f}")
                lines.append([f"      {name}", *cells])
        widths = [
            max(len(row[i]) for row in [["", *columns], *lines]) for i in range(len(columns) + 1)
        ]

        def text(row: list[str]) -> str:
            cells = [row[0].ljust(widths[0])]
            cells += [c.center(w) for c, w in zip(row[1:], widths[1:], strict=True)]
            return "  |  ".join(cells)

        body = [text(row) for row in lines]
        width = len(text(["", *columns]))
        out = [f" {label or ''} ".center(width, "-").join("[]"), text(["", *columns])]
        for i, line in enumerate(body):
            if i in breaks:
                out.append(breaks[i].ljust(width, "-"))
            out.append(line)
        return "\n".join([*out, "", f"Times are in {unit_to_english(unit)}s ({unit}).", ""])
