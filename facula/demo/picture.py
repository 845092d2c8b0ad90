"""The picture of the demo: how the networks learned, and what one of them says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROWS, COLUMNS, WRONG = 5, 9, 9
RIGHT_COLOUR, WRONG_COLOUR = "#2b7a2b", "#c0261c"


def draw(
    path: Path, curves: dict[str, list[float]], images: Any, labels: Any, guesses: Any
) -> bool:
    """Writes a PNG; False where matplotlib is not installed (it comes with the extra `demo`).

    `curves` holds the loss of every step of every network, the rest are tensors of the test set.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(15, 6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.9])
    draw_curves(left.subplots(), curves)
    draw_digits(right, images.numpy(), labels.tolist(), guesses.tolist())
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def draw_curves(axes: Any, curves: dict[str, list[float]]) -> None:
    """Loss over images seen, smoothed; the raw values behind it."""
    for name, losses in curves.items():
        smooth, value = [], losses[0]
        for loss in losses:
            value += 0.05 * (loss - value)
            smooth.append(value)
        (line,) = axes.plot(smooth, label=name)
        axes.plot(losses, color=line.get_color(), alpha=0.2, linewidth=0.8)
    axes.set(xlabel="step", ylabel="cross entropy", yscale="log", title="Learning")
    axes.grid(alpha=0.3)
    axes.legend()


def draw_digits(figure: Any, images: Any, labels: list[int], guesses: list[int]) -> None:
    """Right guesses, and in the last row wrong ones."""
    pairs = list(enumerate(zip(labels, guesses, strict=True)))
    wrong = [i for i, (label, guess) in pairs if label != guess]
    right = [i for i, (label, guess) in pairs if label == guess]
    chosen = right[: ROWS * COLUMNS - min(len(wrong), WRONG)] + wrong[:WRONG]
    for axes, i in zip(figure.subplots(ROWS, COLUMNS).flat, chosen, strict=False):
        good = labels[i] == guesses[i]
        axes.imshow(images[i], cmap="gray_r")
        axes.set(xticks=[], yticks=[])
        axes.set_title(
            f"{guesses[i]}" if good else f"{guesses[i]}, not {labels[i]}",
            color=RIGHT_COLOUR if good else WRONG_COLOUR,
            fontsize=11,
        )
        for spine in axes.spines.values():
            spine.set(color=RIGHT_COLOUR if good else WRONG_COLOUR, linewidth=1 if good else 2.5)
    figure.suptitle(
        f"What the convolutional network says: {len(right):,} right, {len(wrong):,} wrong"
    )
