"""CrossMapLRN2d as a function of public operators."""

import facula as torch

from .backward_hooks import BackwardHook  # noqa: F401  (PyTorch keeps its own here)


class CrossMapLRN2d:
    """x / (k + alpha / size * sum of squares over `size` neighbouring channels) ** beta."""

    @staticmethod
    def apply(input, size, alpha=1e-4, beta=0.75, k=1):
        if input.dim() != 4:
            raise ValueError(
                f"CrossMapLRN2d: Expected input to be 4D, got {input.dim()}D instead."
            )
        channels = input.size(1)
        reach = int((size - 1) / 2)  # channels of the window to either side
        square = input * input
        padded = torch.nn.functional.pad(square, (0, 0, 0, 0, reach, reach))
        total = padded[:, :channels]
        for shift in range(1, 2 * reach + 1):
            total = total + padded[:, shift : shift + channels]
        if channels > reach + 1:
            # As in PyTorch, whose sliding sum never drops the first channel.
            late = square[:, :1].expand(-1, channels - reach - 1, -1, -1)
            total = total + torch.nn.functional.pad(late, (0, 0, 0, 0, reach + 1, 0))
        return input * (k + alpha / size * total) ** -beta
