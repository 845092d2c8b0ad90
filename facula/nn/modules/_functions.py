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
        # The window reaches (size - 1) // 2 + 1 - 1 channels to either side.
        before = int((size - 1) / 2 + 1) - 1
        after = int((size - 1) / 2 + 1) - 1
        padded = torch.nn.functional.pad(input * input, (0, 0, 0, 0, before, after))
        total = padded[:, :channels]
        for shift in range(1, before + after + 1):
            total = total + padded[:, shift : shift + channels]
        return input * (k + alpha / size * total) ** -beta
