"""A progress bar of one line."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any


class Progress:
    """Counts images while it walks over batches, and shows what it is told.

    On a terminal the line is redrawn ten times a second; elsewhere it is written once, at the end.

    >>> bar = Progress("epoch 1", [[1, 2], [3, 4]], total=4)
    >>> for batch in bar:
    ...     bar.show(loss=0.5, accuracy=0.75, images=len(batch))
    epoch 1 ... loss 0.500  accuracy 75.00 %  ... images/s
    """

    def __init__(self, label: str, batches: Iterable, total: int, stream: Any = None) -> None:
        self.label, self.batches, self.total = label, batches, total
        self.stream = sys.stdout if stream is None else stream
        self.live = self.stream.isatty()
        self.done, self.text = 0, ""
        self.drawn = 0.0

    def __iter__(self) -> Iterator:
        self.start = time.perf_counter()
        yield from self.batches
        self.draw("\n")

    def show(self, loss: float, accuracy: float, images: int) -> None:
        """Adds `images` to the count; loss and accuracy stand beside the bar."""
        self.done += images
        self.text = f"loss {loss:.3f}  accuracy {100 * accuracy:5.2f} %"
        now = time.perf_counter()
        if self.live and now - self.drawn > 0.1:
            self.drawn = now
            self.draw("")

    @property
    def rate(self) -> float:
        """Images per second so far."""
        return self.done / max(time.perf_counter() - self.start, 1e-9)

    def draw(self, end: str) -> None:
        """Writes the line."""
        tail = f"  {self.text}  {self.rate:,.0f} images/s"
        room = shutil.get_terminal_size((100, 20)).columns - len(self.label) - len(tail) - 3
        bar = ""
        if room >= 8:
            full = round(min(room, 30) * self.done / max(self.total, 1))
            bar = " " + "━" * full + "─" * (min(room, 30) - full)
        self.stream.write(("\r" if self.live else "") + self.label + bar + tail + end)
        self.stream.flush()
